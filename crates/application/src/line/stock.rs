//! The seats of a concert, counted rarely and told to many.

use std::{collections::HashMap, future::Future, sync::Arc};

use onsale_domain::{
    ids::{ConcertId, ShowId},
    queue::Stock,
};
use parking_lot::{Mutex, RwLock};

use crate::{context::Clock, error::StoreError};

/// Milliseconds between two counts at least.
const COUNT_EVERY_MS: i64 = 1_000;
/// A count that nobody has looked at for so many milliseconds is not renewed.
const WANTED_MS: i64 = 10_000;

/// The seats of one section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SectionStock {
    /// Section.
    pub section: String,
    /// Seats.
    pub stock: Stock,
    /// Lowest price in minor units.
    pub price_min_minor: i64,
    /// Highest price in minor units.
    pub price_max_minor: i64,
    /// ISO 4217 code.
    pub currency: String,
}

/// The seats of one show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShowStock {
    /// Which show.
    pub show_id: ShowId,
    /// Whether it is still to come.
    pub to_come: bool,
    /// Most seats of one fan.
    pub seats_per_fan: i64,
    /// ISO 4217 code.
    pub currency: String,
    /// Each section, by name; none when the show has no seats.
    pub sections: Vec<SectionStock>,
}

/// The seats of a concert, all shows to come together, and of each show.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConcertStock {
    /// All sections together.
    pub total: Stock,
    /// Each section.
    pub sections: Vec<SectionStock>,
    /// Most seats of one fan at one show.
    pub seats_per_fan: i64,
    /// Each show, those over included.
    pub shows: Vec<ShowStock>,
}

impl ConcertStock {
    /// Adds the shows to come up.
    pub fn of(shows: Vec<ShowStock>) -> Self {
        let mut whole = Self::default();
        for show in shows.iter().filter(|show| show.to_come) {
            whole.seats_per_fan = whole.seats_per_fan.max(show.seats_per_fan);
            for section in &show.sections {
                whole.total = whole.total.plus(&section.stock);
                let same =
                    |other: &&mut SectionStock| other.section == section.section && other.currency == section.currency;
                match whole.sections.iter_mut().find(same) {
                    Some(known) => {
                        known.stock = known.stock.plus(&section.stock);
                        known.price_min_minor = known.price_min_minor.min(section.price_min_minor);
                        known.price_max_minor = known.price_max_minor.max(section.price_max_minor);
                    }
                    None => whole.sections.push(section.clone()),
                }
            }
        }
        whole.sections.sort_by(|one, other| one.section.cmp(&other.section));
        whole.shows = shows;
        whole
    }
}

/// Counts seats.
pub trait StockQueries: Send + Sync + 'static {
    /// The seats of the concert's shows. A hold that ran out counts as available.
    fn concert_stock(&self, concert: ConcertId) -> impl Future<Output = Result<ConcertStock, StoreError>> + Send;
}

#[derive(Default)]
struct Count {
    /// One counts at a time; who wants a count that there is does not wait for it.
    counting: tokio::sync::Mutex<()>,
    told: RwLock<Told>,
}

#[derive(Default, Clone)]
struct Told {
    wanted_at_ms: i64,
    again_at_ms: i64,
    /// When the last count began, and whether it could be finished.
    tried: Option<(i64, bool)>,
    stock: Option<Arc<ConcertStock>>,
}

/// Counts of all concerts that somebody asked about.
pub struct StockCache<Q, C> {
    queries: Arc<Q>,
    clock: C,
    counts: Mutex<HashMap<ConcertId, Arc<Count>>>,
}

impl<Q: StockQueries, C: Clock> StockCache<Q, C> {
    /// Nothing counted yet.
    pub fn new(queries: Arc<Q>, clock: C) -> Self {
        Self { queries, clock, counts: Mutex::default() }
    }

    fn count_of(&self, concert: ConcertId) -> Arc<Count> {
        let mut counts = self.counts.lock();
        Arc::clone(counts.entry(concert).or_default())
    }

    /// The last count, which [`StockCache::due`] keeps from getting old; `None` when there is none yet, or when nobody has
    /// asked for so long that it was not renewed. Never waits: a slow count holds up neither polls nor ticks.
    pub fn at_hand(&self, concert: ConcertId) -> Option<Arc<ConcertStock>> {
        let count = self.count_of(concert);
        let mut told = count.told.write();
        let now = self.clock.monotonic_ms();
        if now - std::mem::replace(&mut told.wanted_at_ms, now) >= WANTED_MS {
            told.stock = None;
        }
        told.stock.clone()
    }

    /// The last count, or the first one, which is waited for.
    pub async fn first(&self, concert: ConcertId) -> Result<Arc<ConcertStock>, StoreError> {
        match self.at_hand(concert) {
            Some(stock) => Ok(stock),
            None => self.count(concert, false).await,
        }
    }

    /// Concerts whose seats somebody wants to know and that are to be counted now: a second after the last count, or later
    /// when counting took more than a twentieth of that, so that it never costs more than 5 % of one connection.
    pub fn due(&self) -> Vec<ConcertId> {
        let now = self.clock.monotonic_ms();
        let counts = self.counts.lock();
        let is_due = |count: &Count| {
            let told = count.told.read();
            now >= told.again_at_ms && now - told.wanted_at_ms < WANTED_MS && count.counting.try_lock().is_ok()
        };
        counts.iter().filter(|(_, count)| is_due(count)).map(|(concert, _)| *concert).collect()
    }

    /// Counts now, unless the last count is young and the caller does not ask `anew`, or somebody else has begun one since the
    /// caller asked. When the seats cannot be counted, the last count holds for [`StockCache::at_hand`].
    pub async fn count(&self, concert: ConcertId, anew: bool) -> Result<Arc<ConcertStock>, StoreError> {
        let count = self.count_of(concert);
        let asked_ms = self.clock.monotonic_ms();
        let _one = count.counting.lock().await;
        let begun_ms = self.clock.monotonic_ms();
        let last = count.told.read().clone();
        let tried_since = last.tried.filter(|(at, _)| *at >= asked_ms);
        match (last.stock, tried_since) {
            (Some(stock), Some((_, true))) => return Ok(stock),
            (_, Some((_, false))) => return Err(StoreError::Unavailable("the seats could not be counted".into())),
            (Some(stock), None) if !anew && last.again_at_ms > asked_ms => return Ok(stock),
            _ => {}
        }
        let counted = self.queries.concert_stock(concert).await.map(Arc::new);
        let done_ms = self.clock.monotonic_ms();
        let mut told = count.told.write();
        told.tried = Some((begun_ms, counted.is_ok()));
        told.again_at_ms = done_ms + ((done_ms - begun_ms) * 20).max(COUNT_EVERY_MS);
        if let Ok(stock) = &counted {
            told.stock = Some(Arc::clone(stock));
        }
        counted
    }
}
