//! The line in front of the sale, and the gate that its active tokens open.

use std::{future::Future, sync::Arc};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use onsale_domain::{
    concert::SaleState,
    ids::{ConcertId, UserId},
    queue::{self, Eta, QueuePolicy},
};

use crate::{
    catalogue::{CatalogueStore, Concert},
    context::{Clock, Ids},
    error::StoreError,
};

/// What a queue token says, under its signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueTicket {
    /// The concert whose line it is.
    pub concert_id: ConcertId,
    /// The fan it belongs to.
    pub user_id: UserId,
    /// Place in the order of joining, from 1.
    pub number: i64,
    /// Which life of the line it is from; a line that had to start anew has another.
    pub epoch: i64,
    /// Tells this place from an earlier one of the same fan.
    pub id: uuid::Uuid,
}

/// Signs and reads queue tokens.
pub trait QueueTokens: Send + Sync + 'static {
    /// Signs.
    fn sign_queue(&self, ticket: &QueueTicket) -> String;
    /// The ticket of a genuine token.
    fn verify_queue(&self, token: &str) -> Option<QueueTicket>;
    /// A random number, 0 up to 1, to spread polls with.
    fn jitter(&self) -> f64;
}

/// A fan's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In line.
    Waiting {
        /// 1 is the head.
        position: i64,
        /// Milliseconds until the next promotion is due.
        next_promotion_ms: i64,
    },
    /// Past the line until this instant.
    Active {
        /// When the token ends if it is not used.
        expires_at: DateTime<Utc>,
    },
}

/// A fan's place with what is needed to tell the fan about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// What the fan's token says.
    pub ticket: QueueTicket,
    /// Where the fan is.
    pub place: Place,
    /// Stage of the sale, as the line knows it.
    pub state: SaleState,
    /// Settings of the line, as applied.
    pub policy: QueuePolicy,
}

/// What came of joining.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joined {
    /// The fan has a place: a new one (`true`) or the one from before.
    Placed(bool, Standing),
    /// As many wait as may.
    Full,
    /// The line takes nobody in its stage.
    NotOpen(SaleState),
    /// The store does not know the line's settings (yet, or any more): configure it and ask again.
    Unconfigured,
}

/// What came of using a token at the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Go on; the token now ends at this instant if it is not used again.
    Admitted(DateTime<Utc>),
    /// The fan still waits.
    Waiting,
    /// The turn is over, the place was left, or it was another place.
    Over,
}

/// Numbers of one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LineStats {
    /// Fans waiting.
    pub waiting: i64,
    /// Fans active.
    pub active: i64,
    /// Fans promoted since the line exists.
    pub promoted_total: i64,
    /// Fans who joined since the line exists.
    pub joined_total: i64,
    /// Tokens that expired since the line exists.
    pub expired_total: i64,
    /// Fans who left since the line exists.
    pub left_total: i64,
}

/// What one call of the promoter did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Promotion {
    /// Whether the interval was over, so that this call was the one that promoted.
    pub due: bool,
    /// Fans promoted by this call.
    pub promoted: i64,
    /// Whether a part of the batch is left for another call at once.
    pub more: bool,
    /// Active tokens found expired by this call.
    pub expired: i64,
    /// The line afterwards.
    pub stats: LineStats,
}

/// The lines in their store. Every method MUST be atomic, judge time by the store's own clock, and be exact with any
/// number of callers at once.
pub trait LineStore: Send + Sync + 'static {
    /// Gives the fan a place, the same one as long as it lives.
    fn join(
        &self,
        concert: ConcertId,
        user: UserId,
        id: uuid::Uuid,
    ) -> impl Future<Output = Result<Joined, StoreError>> + Send;
    /// The fan's place.
    fn place(
        &self,
        concert: ConcertId,
        user: UserId,
    ) -> impl Future<Output = Result<Option<Standing>, StoreError>> + Send;
    /// Uses an active token; renews it when less than half is left.
    fn admit(&self, ticket: &QueueTicket) -> impl Future<Output = Result<Admission, StoreError>> + Send;
    /// Ends the fan's place, waiting or active. `false` when there was none.
    fn leave(&self, concert: ConcertId, user: UserId) -> impl Future<Output = Result<bool, StoreError>> + Send;
    /// Applies the settings unless newer ones (by `version`) are applied already; sweeps expired tokens; when the
    /// interval is over, promotes the oldest waiting, at most a batch and never beyond the limit.
    fn promote(
        &self,
        concert: ConcertId,
        state: SaleState,
        policy: &QueuePolicy,
        version: i32,
    ) -> impl Future<Output = Result<Promotion, StoreError>> + Send;
    /// The numbers of a line.
    fn stats(&self, concert: ConcertId) -> impl Future<Output = Result<LineStats, StoreError>> + Send;
}

/// What a fan in line is told.
#[derive(Debug, Clone, PartialEq)]
pub struct PlaceView {
    /// The signed token, for the `Queue-Token` header.
    pub token: String,
    /// Place in the order of joining.
    pub number: i64,
    /// Waiting or active.
    pub place: Place,
    /// The probable wait; `None` when active or when the line stands still.
    pub eta: Option<Eta>,
    /// When to ask again.
    pub poll_after_ms: i64,
}

/// What everybody is told about a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineView {
    /// Stage of the sale.
    pub state: SaleState,
    /// Numbers.
    pub stats: LineStats,
    /// Promotions per minute when the line is full.
    pub promoted_per_minute: i64,
}

/// Why the line refused.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// There is no such concert.
    #[error("there is no such concert")]
    NoConcert,
    /// The sale has not started.
    #[error("the sale is not open yet")]
    NotOpen,
    /// The line takes nobody any more.
    #[error("the line is closed")]
    Closed,
    /// As many wait as may.
    #[error("the line is full")]
    Full,
    /// The fan has no place.
    #[error("there is no place of this fan in this line")]
    NotInLine,
    /// The queue token is forged, damaged, another fan's or another concert's.
    #[error("the queue token is not valid here")]
    TokenInvalid,
    /// A store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

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
    /// The line's store is away: nobody slips through.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The line, as the HTTP edge sees it.
#[async_trait]
pub trait Line: Send + Sync {
    /// Gives the fan a place; `true` when it is a new one.
    async fn join(&self, concert: ConcertId, user: UserId) -> Result<(bool, PlaceView), LineError>;
    /// The fan's place. A token that is shown must be this fan's and this concert's.
    async fn status(&self, concert: ConcertId, user: UserId, token: Option<&str>) -> Result<PlaceView, LineError>;
    /// Leaves the line, or ends the turn.
    async fn leave(&self, concert: ConcertId, user: UserId, token: Option<&str>) -> Result<(), LineError>;
    /// What everybody may know.
    async fn overview(&self, concert: ConcertId) -> Result<LineView, LineError>;
    /// Makes new settings take effect now rather than at the next tick.
    async fn apply(&self, concert: &Concert) -> Result<Promotion, LineError>;
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

/// The line over its store.
pub struct LineFacade<S, L, T, C> {
    /// Concerts, for the settings.
    pub catalogue: Arc<S>,
    /// The lines.
    pub lines: Arc<L>,
    /// Signed tokens.
    pub tokens: Arc<T>,
    /// Ids.
    pub context: C,
}

impl<S: CatalogueStore, L: LineStore, T: QueueTokens, C: Clock + Ids> LineFacade<S, L, T, C> {
    async fn concert(&self, id: ConcertId) -> Result<Concert, LineError> {
        let concert = self.catalogue.concert(id, self.context.now()).await?.ok_or(LineError::NoConcert)?;
        if concert.sale_state.is_public() { Ok(concert) } else { Err(LineError::NoConcert) }
    }

    /// A token that is shown must be genuine and belong here; which place it is does not matter for reading.
    fn check_shown(&self, concert: ConcertId, user: UserId, token: Option<&str>) -> Result<(), LineError> {
        let Some(token) = token else { return Ok(()) };
        match self.tokens.verify_queue(token) {
            Some(ticket) if ticket.user_id == user && ticket.concert_id == concert => Ok(()),
            _ => Err(LineError::TokenInvalid),
        }
    }

    fn view(&self, standing: &Standing) -> PlaceView {
        let Standing { ticket, place, state, policy } = standing;
        let (eta, poll_after_ms) = match *place {
            Place::Waiting { position, next_promotion_ms } => {
                let eta = queue::eta(policy, position, next_promotion_ms);
                (state.promotes().then_some(eta), queue::poll_after_ms(eta, self.tokens.jitter()))
            }
            Place::Active { .. } => (None, queue::ACTIVE_POLL_AFTER_MS),
        };
        PlaceView { token: self.tokens.sign_queue(ticket), number: ticket.number, place: *place, eta, poll_after_ms }
    }
}

#[async_trait]
impl<S: CatalogueStore, L: LineStore, T: QueueTokens, C: Clock + Ids> Line for LineFacade<S, L, T, C> {
    async fn join(&self, concert_id: ConcertId, user: UserId) -> Result<(bool, PlaceView), LineError> {
        let id = self.context.new_id();
        let mut joined = self.lines.join(concert_id, user, id).await?;
        if matches!(joined, Joined::Unconfigured) {
            let concert = self.concert(concert_id).await?;
            self.apply(&concert).await?;
            joined = self.lines.join(concert_id, user, id).await?;
        }
        match joined {
            Joined::Placed(new, standing) => Ok((new, self.view(&standing))),
            Joined::Full => Err(LineError::Full),
            Joined::NotOpen(SaleState::Draft) | Joined::Unconfigured => Err(LineError::NoConcert),
            Joined::NotOpen(SaleState::Scheduled) => Err(LineError::NotOpen),
            Joined::NotOpen(_) => Err(LineError::Closed),
        }
    }

    async fn status(&self, concert_id: ConcertId, user: UserId, token: Option<&str>) -> Result<PlaceView, LineError> {
        self.check_shown(concert_id, user, token)?;
        let standing = self.lines.place(concert_id, user).await?.ok_or(LineError::NotInLine)?;
        Ok(self.view(&standing))
    }

    async fn leave(&self, concert: ConcertId, user: UserId, token: Option<&str>) -> Result<(), LineError> {
        self.check_shown(concert, user, token)?;
        if self.lines.leave(concert, user).await? { Ok(()) } else { Err(LineError::NotInLine) }
    }

    async fn overview(&self, concert_id: ConcertId) -> Result<LineView, LineError> {
        let concert = self.concert(concert_id).await?;
        let stats = self.lines.stats(concert_id).await?;
        let per_minute = i64::from(concert.policy.batch) * 60 / i64::from(concert.policy.interval_secs.max(1));
        Ok(LineView { state: concert.sale_state, stats, promoted_per_minute: per_minute })
    }

    async fn apply(&self, concert: &Concert) -> Result<Promotion, LineError> {
        Ok(self.lines.promote(concert.id, concert.sale_state, &concert.policy, concert.version).await?)
    }
}

/// The gate over the same store.
pub struct LineGate<L, T> {
    /// The lines.
    pub lines: Arc<L>,
    /// Signed tokens.
    pub tokens: Arc<T>,
}

impl<L: LineStore, T: QueueTokens> Gate for LineGate<L, T> {
    async fn pass(&self, concert: ConcertId, user: UserId, token: Option<&str>) -> Result<(), GateRefusal> {
        let ticket = token.and_then(|token| self.tokens.verify_queue(token)).ok_or(GateRefusal::Required)?;
        if ticket.user_id != user || ticket.concert_id != concert {
            return Err(GateRefusal::Required);
        }
        match self.lines.admit(&ticket).await? {
            Admission::Admitted(_) => Ok(()),
            Admission::Waiting => Err(GateRefusal::Waiting),
            Admission::Over => Err(GateRefusal::Expired),
        }
    }

    async fn finish(&self, concert: ConcertId, user: UserId) -> Result<(), StoreError> {
        self.lines.leave(concert, user).await.map(|_| ())
    }
}
