//! How operators steer a sale: what they change of a concert reaches its line at once.

use std::sync::Arc;

use async_trait::async_trait;
use onsale_domain::{
    concert::SaleState,
    ids::{ConcertId, UserId},
};

use crate::{
    catalogue::{Catalogue, CatalogueError, Concert, ConcertChanges},
    line::{Line, LineError, LineStats},
};

/// A sale, and its line in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SaleNow {
    /// Stage of the sale.
    pub state: SaleState,
    /// Numbers of its line.
    pub stats: LineStats,
}

/// What closing a sale would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closing {
    /// Which concert.
    pub concert: ConcertId,
    /// Its title.
    pub title: String,
    /// Who is in its line; `None` when that cannot be told at the moment.
    pub crowd: Option<Crowd>,
}

/// Who is in a line that would be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crowd {
    /// Fans who wait, in line or for the draw, and would never be called.
    pub waiting: i64,
    /// Fans past the line, who could only pay what they hold.
    pub active: i64,
}

/// Why a sale was not steered.
#[derive(Debug, thiserror::Error)]
pub enum SteeringError {
    /// Closing is the end of a sale, and was not confirmed.
    #[error("closing the sale is not confirmed")]
    Unconfirmed(Closing),
    /// The concert.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// Its line.
    #[error(transparent)]
    Line(#[from] LineError),
}

/// Steering, as the HTTP edge sees it.
#[async_trait]
pub trait Steering: Send + Sync {
    /// Edits a concert and makes its line follow at once. With `expected` it must still have that version; without, the newest is
    /// taken. What is saved stays saved when the line's store is away: the line follows at its next tick then.
    async fn edit(
        &self,
        actor: UserId,
        id: ConcertId,
        expected: Option<i32>,
        changes: ConcertChanges,
    ) -> Result<Concert, SteeringError>;
    /// Puts the sale into its next stage, whatever version the concert has. Answers how the sale is then; with all numbers zero when
    /// they cannot be told.
    async fn put_into(&self, actor: UserId, id: ConcertId, next: SaleState) -> Result<SaleNow, SteeringError>;
    /// Ends the sale for good. Only when `confirmed` is the concert's id; else nothing changes, and the error says what closing would
    /// do.
    async fn close(
        &self,
        actor: UserId,
        id: ConcertId,
        expected: i32,
        confirmed: Option<ConcertId>,
    ) -> Result<SaleNow, SteeringError>;
    /// How the sale of a concert is that is public; a draft is not found.
    async fn now(&self, id: ConcertId) -> Result<SaleNow, SteeringError>;
}

/// Steering over the catalogue and the line.
pub struct SteeringFacade<K, N> {
    /// Concerts.
    pub catalogue: Arc<K>,
    /// Their lines.
    pub line: Arc<N>,
}

impl<K: Catalogue + 'static, N: Line + 'static> SteeringFacade<K, N> {
    async fn move_on(
        &self,
        actor: UserId,
        id: ConcertId,
        expected: Option<i32>,
        next: SaleState,
    ) -> Result<SaleNow, SteeringError> {
        let changes = ConcertChanges { sale_state: Some(next), ..ConcertChanges::default() };
        let concert = self.edit(actor, id, expected, changes).await?;
        // The stage is saved, whether or not the line can be looked at.
        let stats = self.line.overview(&concert).await.map(|view| view.stats).unwrap_or_default();
        Ok(SaleNow { state: concert.sale_state, stats })
    }
}

#[async_trait]
impl<K: Catalogue + 'static, N: Line + 'static> Steering for SteeringFacade<K, N> {
    async fn edit(
        &self,
        actor: UserId,
        id: ConcertId,
        expected: Option<i32>,
        changes: ConcertChanges,
    ) -> Result<Concert, SteeringError> {
        let concert = self.catalogue.edit_concert(actor, id, expected, changes).await?;
        // The schedulers would apply it at their next tick; a Redis that is away does not undo what is saved.
        if let Err(error) = self.line.apply(&concert).await {
            tracing::warn!(%error, concert_id = %id, "the line does not follow an edit yet; the next tick applies it");
        }
        Ok(concert)
    }

    async fn put_into(&self, actor: UserId, id: ConcertId, next: SaleState) -> Result<SaleNow, SteeringError> {
        self.move_on(actor, id, None, next).await
    }

    async fn close(
        &self,
        actor: UserId,
        id: ConcertId,
        expected: i32,
        confirmed: Option<ConcertId>,
    ) -> Result<SaleNow, SteeringError> {
        if confirmed == Some(id) {
            return self.move_on(actor, id, Some(expected), SaleState::Closed).await;
        }
        let concert = self.catalogue.concert_uncached(id).await?;
        let stats = self.line.overview(&concert).await.ok().map(|view| view.stats);
        let crowd = stats.map(|stats| Crowd { waiting: stats.waiting + stats.registered, active: stats.active });
        Err(SteeringError::Unconfirmed(Closing { concert: id, title: concert.details.title, crowd }))
    }

    async fn now(&self, id: ConcertId) -> Result<SaleNow, SteeringError> {
        let concert = self.catalogue.concert_uncached(id).await?;
        let view = self.line.overview(&concert).await?;
        Ok(SaleNow { state: view.line.state, stats: view.stats })
    }
}
