//! What everything behind the line asks before it serves a fan.

use std::{future::Future, sync::Arc};

use onsale_domain::ids::{ConcertId, UserId};

use super::{
    facade::{LineFacade, Resumed, store_error},
    keeper::LineDatabase,
    model::{Admission, End, QueueTicket},
    ports::{LineStore, QueueTokens, Receipts, Seeds},
};
use crate::{
    context::{Clock, Ids},
    error::StoreError,
};

/// Why the gate stays shut.
#[derive(Debug, thiserror::Error)]
pub enum GateRefusal {
    /// No token was shown, or none that is genuine, this fan's and this concert's.
    #[error("an active queue token of this concert is needed")]
    Required,
    /// The fan still waits.
    #[error("it is not this fan's turn yet")]
    Waiting,
    /// The turn is over.
    #[error("the turn is over")]
    Expired,
    /// Another device of the fan took the place over.
    #[error("another device took the place over")]
    Moved,
    /// The line's store is away: nobody slips through.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Checks queue tokens for everything behind the line.
pub trait Gate: Send + Sync + 'static {
    /// Lets an active fan of this concert through and renews the token.
    fn pass(
        &self,
        concert: ConcertId,
        user: UserId,
        token: Option<&str>,
    ) -> impl Future<Output = Result<(), GateRefusal>> + Send;
    /// Ends the turn after payment. A failure is not the fan's: the token then ends by itself.
    fn finish(&self, concert: ConcertId, user: UserId) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// The gate over the same line.
pub struct LineGate<P, L, T, C>(pub Arc<LineFacade<P, L, T, C>>);

impl<P: LineDatabase, L: LineStore, T: QueueTokens + Receipts, C: Clock + Ids + Seeds + Clone> LineGate<P, L, T, C> {
    async fn admit(&self, ticket: &QueueTicket) -> Result<(), GateRefusal> {
        let line = &self.0;
        for _ in 0..3 {
            match line.keeper.lines.admit(ticket).await? {
                Admission::Admitted(_) => return Ok(()),
                Admission::Waiting => return Err(GateRefusal::Waiting),
                Admission::Lost => line.revive(ticket.concert_id).await.map_err(GateRefusal::Store)?,
                // A token of an earlier life proves its place.
                Admission::Moved { life } | Admission::Nowhere { life } if ticket.life < life => {
                    match line.resume(ticket).await? {
                        Resumed::Here(_) => {}
                        Resumed::Moved => return Err(GateRefusal::Moved),
                        Resumed::Gone => return Err(GateRefusal::Expired),
                    }
                }
                Admission::Moved { .. } => return Err(GateRefusal::Moved),
                Admission::Nowhere { .. } => return Err(GateRefusal::Expired),
            }
        }
        Err(GateRefusal::Store(StoreError::Unavailable("the line recovers".into())))
    }
}

impl<P: LineDatabase, L: LineStore, T: QueueTokens + Receipts, C: Clock + Ids + Seeds + Clone> Gate
    for LineGate<P, L, T, C>
{
    async fn pass(&self, concert: ConcertId, user: UserId, token: Option<&str>) -> Result<(), GateRefusal> {
        let ticket = token.and_then(|token| self.0.tokens.verify_queue(token)).ok_or(GateRefusal::Required)?;
        if ticket.user_id != user || ticket.concert_id != concert {
            return Err(GateRefusal::Required);
        }
        match self.admit(&ticket).await {
            // The line's store is away. Who is in the admission log goes on buying; nobody else slips through.
            Err(GateRefusal::Store(StoreError::Unavailable(cause))) => {
                if self.0.keeper.database.is_admitted(&ticket).await? {
                    Ok(())
                } else {
                    Err(GateRefusal::Store(StoreError::Unavailable(cause)))
                }
            }
            result => result,
        }
    }

    async fn finish(&self, concert: ConcertId, user: UserId) -> Result<(), StoreError> {
        self.0.end(concert, user, End::Paid).await.map(|_| ()).map_err(store_error)
    }
}
