//! The seats of a concert, counted rarely and told to many.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};

use onsale_domain::{ids::ConcertId, queue::Stock};

use crate::{context::Clock, error::StoreError};

/// The seats of one section, all shows to come together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SectionStock {
    /// Section.
    pub section: String,
    /// Seats.
    pub stock: Stock,
    /// Lowest price in minor units.
    pub price_min: i64,
    /// Highest price in minor units.
    pub price_max: i64,
    /// ISO 4217 code.
    pub currency: String,
}

/// The seats of a concert, all shows to come together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConcertStock {
    /// All sections together.
    pub total: Stock,
    /// Each section.
    pub sections: Vec<SectionStock>,
    /// Most seats of one fan at one show.
    pub seats_per_fan: i64,
}

/// Counts seats.
pub trait StockQueries: Send + Sync + 'static {
    /// The seats of the concert's shows to come. A hold that ran out counts as available.
    fn concert_stock(&self, concert: ConcertId) -> impl Future<Output = Result<ConcertStock, StoreError>> + Send;
}

#[derive(Default)]
struct Counted {
    again_at_ms: i64,
    stock: Option<Arc<ConcertStock>>,
}

/// Counts of all concerts that somebody asked about.
pub struct StockCache<Q, C> {
    queries: Arc<Q>,
    clock: C,
    counts: Mutex<HashMap<ConcertId, Arc<tokio::sync::Mutex<Counted>>>>,
}

impl<Q: StockQueries, C: Clock> StockCache<Q, C> {
    /// Nothing counted yet.
    pub fn new(queries: Arc<Q>, clock: C) -> Self {
        Self { queries, clock, counts: Mutex::default() }
    }

    /// The seats, counted at most a second ago; less often when counting takes more than a twentieth of that, so that it
    /// never costs more than 5 % of one connection. When they cannot be counted, the last count holds.
    pub async fn of(&self, concert: ConcertId) -> Option<Arc<ConcertStock>> {
        let cell = {
            let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(counts.entry(concert).or_default())
        };
        let mut counted = cell.lock().await;
        let now = self.clock.monotonic_ms();
        if now >= counted.again_at_ms {
            match self.queries.concert_stock(concert).await {
                Ok(stock) => counted.stock = Some(Arc::new(stock)),
                Err(error) => tracing::warn!(%error, concert_id = %concert, "the seats cannot be counted"),
            }
            let done = self.clock.monotonic_ms();
            counted.again_at_ms = done + ((done - now) * 20).max(1_000);
        }
        counted.stock.clone()
    }
}
