//! What everything behind the line asks before it serves a fan.

use std::{future::Future, sync::Arc};

use onsale_domain::ids::{ConcertId, UserId};

use super::{
    facade::LineFacade,
    keeper::LineDatabase,
    model::{Admission, Ended, Intent, Slot, TokenClaims},
    ports::{LineStore, QueueTokens, Receipts, Seeds},
    views::LineError,
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

/// What a fan wants behind the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To see seats.
    See,
    /// To hold seats.
    Hold,
}

/// Milliseconds for which a slot lasts at least once its fan has begun to hold seats; a hold that takes longer than
/// [`HOLD_WITHIN_MS`] is given up. So no slot is given away while a hold of its fan is being made.
const SLOT_LASTS_MS: i64 = 10_000;

/// Milliseconds within which a hold must be ready to be committed after its fan has passed the gate.
pub const HOLD_WITHIN_MS: i64 = 8_000;

/// A fan's turn behind the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// Place in the order of joining.
    pub number: i64,
}

/// Checks queue tokens for everything behind the line, and hears what becomes of holds, which keep slots when turns end.
/// What it cannot tell the line's store at once, the next ticks find out from the database.
pub trait Gate: Send + Sync + 'static {
    /// Lets an active fan of this concert through and renews the token.
    fn pass(
        &self,
        concert: ConcertId,
        user: UserId,
        token: Option<&str>,
        purpose: Purpose,
    ) -> impl Future<Output = Result<Turn, GateRefusal>> + Send;
    /// The fan has begun or given up a hold, maybe in a turn that ended meanwhile.
    fn holds_changed(&self, concert: ConcertId, user: UserId) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// The fan has paid what was held in this turn, which ends.
    fn paid(&self, concert: ConcertId, user: UserId, turn: i64) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// The gate over the same line.
pub struct LineGate<P, L, T, C>(pub Arc<LineFacade<P, L, T, C>>);

impl<P: LineDatabase, L: LineStore, T: QueueTokens + Receipts, C: Clock + Ids + Seeds + Clone> LineGate<P, L, T, C> {
    async fn admit(&self, claims: &TokenClaims, purpose: Purpose) -> Result<Turn, GateRefusal> {
        let line = &self.0;
        let lasts_ms = match purpose {
            Purpose::See => 0,
            Purpose::Hold => SLOT_LASTS_MS,
        };
        for _ in 0..3 {
            match line.keeper.lines.admit(claims, lasts_ms).await? {
                Admission::Admitted { number } => return Ok(Turn { number }),
                Admission::Waiting => return Err(GateRefusal::Waiting),
                Admission::Lost => {
                    line.keeper.load_soon(claims.concert_id);
                    break;
                }
                Admission::Nowhere { entered } if claims.is_within(entered) => return Err(GateRefusal::Expired),
                // The database knows more.
                Admission::Moved | Admission::Nowhere { .. } => {
                    let found =
                        line.find_on_disk(claims.concert_id, claims.user_id, Some(claims), Intent::ShowsUp).await;
                    match found {
                        Ok(_) => {}
                        Err(LineError::TokenMoved) => return Err(GateRefusal::Moved),
                        Err(LineError::NotInLine) => return Err(GateRefusal::Expired),
                        Err(LineError::Store(error)) => return Err(GateRefusal::Store(error)),
                        Err(_) => break,
                    }
                }
            }
        }
        Err(GateRefusal::Store(StoreError::Unavailable("the line recovers".into())))
    }
}

impl<P: LineDatabase, L: LineStore, T: QueueTokens + Receipts, C: Clock + Ids + Seeds + Clone> Gate
    for LineGate<P, L, T, C>
{
    async fn pass(
        &self,
        concert: ConcertId,
        user: UserId,
        token: Option<&str>,
        purpose: Purpose,
    ) -> Result<Turn, GateRefusal> {
        let claims = token.and_then(|token| self.0.tokens.verify_queue(token)).ok_or(GateRefusal::Required)?;
        if claims.user_id != user || claims.concert_id != concert {
            return Err(GateRefusal::Required);
        }
        match self.admit(&claims, purpose).await {
            // The line's store is away, or is being loaded. Whose turn is on disk goes on buying; nobody else slips through.
            Err(GateRefusal::Store(StoreError::Unavailable(cause))) => {
                let admitted = self.0.keeper.database.admitted(&claims).await?;
                admitted.map(|number| Turn { number }).ok_or(GateRefusal::Store(StoreError::Unavailable(cause)))
            }
            result => result,
        }
    }

    async fn holds_changed(&self, concert: ConcertId, user: UserId) -> Result<(), StoreError> {
        let keeper = &self.0.keeper;
        if keeper.lines.keep(concert, &[Slot::Ask(user)]).await? > 0 {
            keeper.sweep_soon(concert).await?;
        }
        Ok(())
    }

    async fn paid(&self, concert: ConcertId, user: UserId, turn: i64) -> Result<(), StoreError> {
        let keeper = &self.0.keeper;
        if keeper.lines.end_paid(concert, user, turn).await? == Ended::PlaceAndAsks {
            keeper.sweep_soon(concert).await?;
        }
        Ok(())
    }
}
