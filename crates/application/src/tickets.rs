//! Tickets: the right to one sold seat, with a code that a gate can verify by itself.

use std::{future::Future, sync::Arc};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use onsale_domain::{
    ids::{ConcertId, ReservationId, SeatId, ShowId, TicketId, UserId},
    ticket::TicketState,
};

use crate::{
    error::StoreError,
    page::{Page, rows_for},
};

/// A ticket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// Id.
    pub id: TicketId,
    /// Which reservation it was bought with.
    pub reservation_id: ReservationId,
    /// At which show.
    pub show_id: ShowId,
    /// Which seat.
    pub seat_id: SeatId,
    /// Section.
    pub section: String,
    /// Row.
    pub row: String,
    /// Number.
    pub number: i32,
    /// What it is good for.
    pub state: TicketState,
    /// When it was issued.
    pub issued_at: DateTime<Utc>,
}

/// A ticket as its holder shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldTicket {
    /// The ticket.
    pub ticket: Ticket,
    /// Of which concert.
    pub concert_id: ConcertId,
    /// Its title.
    pub concert_title: String,
    /// Where.
    pub venue: String,
    /// When it starts.
    pub starts_at: DateTime<Utc>,
    /// What the seat cost, in minor units.
    pub price_minor: i64,
    /// ISO 4217 code.
    pub currency: String,
    /// The holder's display name.
    pub holder_name: String,
}

/// Reads of tickets.
pub trait TicketQueries: Send + Sync + 'static {
    /// One ticket of this fan.
    fn ticket(&self, id: TicketId, user: UserId)
    -> impl Future<Output = Result<Option<HeldTicket>, StoreError>> + Send;
    /// This fan's tickets, newest first; one more than `limit` when there are more.
    fn tickets(
        &self,
        user: UserId,
        before: Option<TicketId>,
        limit: i64,
    ) -> impl Future<Output = Result<Vec<HeldTicket>, StoreError>> + Send;
}

/// Signs ticket codes.
pub trait TicketSigner: Send + Sync + 'static {
    /// The code: a compact JWS (EdDSA) whose claims name the ticket, show and seat. The same ticket has the same code.
    fn code(&self, ticket: &Ticket) -> String;
    /// The public keys as a JSON Web Key Set.
    fn public_keys(&self) -> String;
}

/// Why there is no ticket.
#[derive(Debug, thiserror::Error)]
pub enum TicketError {
    /// There is none with this id that is this fan's.
    #[error("there is no such ticket")]
    NotFound,
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Tickets, as the HTTP edge sees them.
#[async_trait]
pub trait Tickets: Send + Sync {
    /// One ticket of the fan with its code.
    async fn ticket(&self, id: TicketId, fan: UserId) -> Result<(HeldTicket, String), TicketError>;
    /// The fan's tickets with their codes, newest first.
    async fn tickets(
        &self,
        fan: UserId,
        before: Option<TicketId>,
        limit: usize,
    ) -> Result<Page<(HeldTicket, String), TicketId>, TicketError>;
    /// The public keys as a JSON Web Key Set.
    fn public_keys(&self) -> String;
}

/// Tickets over the database and a signer.
pub struct TicketsFacade<Q, T> {
    /// Reads.
    pub queries: Arc<Q>,
    /// Signer.
    pub signer: Arc<T>,
}

#[async_trait]
impl<Q: TicketQueries, T: TicketSigner> Tickets for TicketsFacade<Q, T> {
    async fn ticket(&self, id: TicketId, fan: UserId) -> Result<(HeldTicket, String), TicketError> {
        let held = self.queries.ticket(id, fan).await?.ok_or(TicketError::NotFound)?;
        let code = self.signer.code(&held.ticket);
        Ok((held, code))
    }

    async fn tickets(
        &self,
        fan: UserId,
        before: Option<TicketId>,
        limit: usize,
    ) -> Result<Page<(HeldTicket, String), TicketId>, TicketError> {
        let found = self.queries.tickets(fan, before, rows_for(limit)).await?;
        let page = Page::cut(found, limit, |held| held.ticket.id);
        Ok(page.map(|held| {
            let code = self.signer.code(&held.ticket);
            (held, code)
        }))
    }

    fn public_keys(&self) -> String {
        self.signer.public_keys()
    }
}
