//! What runs by itself: promotion and sweeping. Any number of instances may run both at once.

use std::{future::Future, sync::Arc};

use onsale_domain::ids::ConcertId;

use crate::{
    catalogue::CatalogueStore,
    error::StoreError,
    line::{LineStore, Promotion},
};

/// One call for one concert within a tick.
#[derive(Debug)]
pub struct LineTick {
    /// Which concert.
    pub concert_id: ConcertId,
    /// What came of it.
    pub outcome: Result<Promotion, StoreError>,
}

/// Calls the promoter of every open line until nothing more is due. A line whose call fails does not keep the others waiting.
pub async fn promote_all<S: CatalogueStore, L: LineStore>(
    catalogue: &Arc<S>,
    lines: &Arc<L>,
) -> Result<Vec<LineTick>, StoreError> {
    let mut ticks = Vec::new();
    for concert in catalogue.concerts_with_a_line().await? {
        // A large batch is done in bounded steps; each call is one.
        loop {
            let outcome = lines.promote(concert.id, concert.sale_state, &concert.policy, concert.version).await;
            let more = matches!(&outcome, Ok(promotion) if promotion.more);
            ticks.push(LineTick { concert_id: concert.id, outcome });
            if !more {
                break;
            }
        }
    }
    Ok(ticks)
}

/// Ends what ran out. Housekeeping only: nobody waits for it.
pub trait Sweeper: Send + Sync + 'static {
    /// Ends up to `limit` holds that ran out, skipping those that others are ending. Answers how many.
    fn sweep_holds(&self, limit: i64) -> impl Future<Output = Result<i64, StoreError>> + Send;
    /// Deletes up to `limit` idempotency keys older than a day and refresh tokens that ended. Answers how many.
    fn sweep_leftovers(&self, limit: i64) -> impl Future<Output = Result<i64, StoreError>> + Send;
}
