//! What runs by itself: promotion and sweeping. Any number of instances may run both at once.

use std::future::Future;

use onsale_domain::ids::ConcertId;

use crate::{
    context::{Clock, Ids},
    error::StoreError,
    line::{Keeper, LineDatabase, LineStore, Seeds, Ticked},
};

/// One line within a tick.
#[derive(Debug)]
pub struct LineTick {
    /// Which concert.
    pub concert_id: ConcertId,
    /// What came of it.
    pub outcome: Result<Ticked, StoreError>,
}

/// Ticks every open line. A line whose tick fails does not keep the others waiting.
pub async fn tick_all<P: LineDatabase, L: LineStore, C: Clock + Ids + Seeds + Clone>(
    keeper: &Keeper<P, L, C>,
) -> Result<Vec<LineTick>, StoreError> {
    let mut ticks = Vec::new();
    for concert in keeper.database.concerts_with_a_line().await? {
        ticks.push(LineTick { concert_id: concert.id, outcome: keeper.tick(&concert).await });
    }
    Ok(ticks)
}

/// Ends what ran out. Housekeeping only: nobody waits for it.
pub trait Sweeper: Send + Sync + 'static {
    /// Ends up to `limit` holds that ran out, skipping those that others are ending. Answers how many.
    fn sweep_holds(&self, limit: i64) -> impl Future<Output = Result<i64, StoreError>> + Send;
    /// Deletes up to `limit` idempotency keys older than a day and refresh tokens that ended, and moves as many places of sales
    /// that closed two days ago out of the way. Answers how many.
    fn sweep_leftovers(&self, limit: i64) -> impl Future<Output = Result<i64, StoreError>> + Send;
}
