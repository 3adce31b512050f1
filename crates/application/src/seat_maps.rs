//! What is free: the hot read when a batch of fans is promoted at once.
//!
//! One load from the database serves everybody who asks within [`FRESH_FOR_MS`]; nobody is shown a seat as free for
//! longer than a second after it was taken.

use std::{future::Future, sync::Arc};

use async_trait::async_trait;
use onsale_domain::{
    ids::{ConcertId, SeatId, ShowId, UserId},
    seat::SeatState,
};

use crate::{
    catalogue::{Catalogue, CatalogueError},
    context::Clock,
    error::StoreError,
    line::{ConcertStock, Gate, GateRefusal, Purpose, ShowStock, StockCache, StockQueries},
};

/// How long one load of a show's seats is shared, in milliseconds. With the time of a load on top this stays below
/// the bound of one second.
pub const FRESH_FOR_MS: u64 = 300;

/// How long a loser's look at the seats answers other losers, in milliseconds. A change by another instance shows in
/// refusals after this time at the latest, one by this instance at once.
pub const NOTED_FOR_MS: u64 = 100;

/// A seat as a fan sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeatView {
    /// Id.
    pub id: SeatId,
    /// Section.
    pub section: String,
    /// Row.
    pub row: String,
    /// Number within the row.
    pub number: i32,
    /// Price in minor units.
    pub price_minor: i64,
    /// State; a hold that ran out is shown as available.
    pub state: SeatState,
    /// To be sent back when reserving.
    pub version: i32,
}

/// All seats of a show at one moment, ordered by section, row and number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeatMap {
    /// Which show.
    pub show_id: ShowId,
    /// Of which concert.
    pub concert_id: ConcertId,
    /// Currency of the prices.
    pub currency: String,
    /// Whether fans may see the concert.
    pub public: bool,
    /// What was committed by then shows in the seats, in microseconds since 1970 by the database's clock.
    pub as_of_us: i64,
    /// When they had been read: what shows in the seats was committed by then.
    pub read_by_us: i64,
    /// The seats, in the order in which people count.
    pub seats: Vec<SeatView>,
    /// What is known of their past.
    pub past: SeatsPast,
}

/// When the seats of a map changed, as far as one process knows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SeatsPast {
    /// Since when it has looked: the first map had been read by then.
    pub known_from_us: i64,
    /// [`SeatMap::as_of_us`] of that first map, whose readers know it whole.
    pub first_as_of_us: i64,
    /// By when each seat had changed last, in the order of the seats; [`SeatsPast::known_from_us`] for those that did not.
    pub changed_by_us: Vec<i64>,
}

impl SeatMap {
    /// Goes on from what was known when `before` was read.
    pub fn follow(&mut self, before: Option<&SeatMap>) {
        let same_seats = |before: &&SeatMap| {
            before.seats.len() == self.seats.len() && before.seats.iter().zip(&self.seats).all(|(a, b)| a.id == b.id)
        };
        let Some(before) = before.filter(same_seats) else {
            let changed_by_us = vec![self.read_by_us; self.seats.len()];
            self.past = SeatsPast { known_from_us: self.read_by_us, first_as_of_us: self.as_of_us, changed_by_us };
            return;
        };
        let known = before.past.changed_by_us.iter().zip(before.seats.iter().zip(&self.seats));
        let changed_by_us = known.map(|(known, (then, now))| {
            let same = (then.state, then.version, then.price_minor) == (now.state, now.version, now.price_minor);
            if same { *known } else { self.read_by_us }
        });
        self.past = SeatsPast { changed_by_us: changed_by_us.collect(), ..before.past };
    }

    /// The seats that may have changed since another map was read, maybe by another process; `None` when that is not known,
    /// or when the whole list is as good.
    pub fn changed_since(&self, as_of_us: i64) -> Option<Vec<&SeatView>> {
        let SeatsPast { known_from_us, first_as_of_us, ref changed_by_us } = self.past;
        if as_of_us != first_as_of_us && !(known_from_us..=self.as_of_us).contains(&as_of_us) {
            return None;
        }
        let since = as_of_us.max(known_from_us);
        let seats = self.seats.iter().zip(changed_by_us);
        let changed: Vec<_> = seats.filter(|(_, by)| **by > since).map(|(seat, _)| seat).collect();
        (changed.len() <= self.seats.len() / 4).then_some(changed)
    }
}

/// Knows whose shows are.
pub trait ShowConcerts: Send + Sync + 'static {
    /// The concert of a show, whatever its stage.
    fn concert_of_show(&self, show: ShowId) -> impl Future<Output = Result<Option<ConcertId>, StoreError>> + Send;
}

/// Loads seats.
pub trait SeatMapStore: Send + Sync + 'static {
    /// All seats of a show by the database's clock; `None` when there is no such show.
    fn load_seat_map(&self, show: ShowId) -> impl Future<Output = Result<Option<SeatMap>, StoreError>> + Send;
}

/// Shares loads between callers.
pub trait SharedSeatMaps: Send + Sync + 'static {
    /// The seats as they were at most [`FRESH_FOR_MS`] before the call, loaded once however many ask.
    fn seat_map(&self, show: ShowId) -> impl Future<Output = Result<Option<Arc<SeatMap>>, StoreError>> + Send;
    /// The seats if they are at hand, however many milliseconds old they are within the sharing time.
    fn at_hand(&self, show: ShowId) -> Option<Arc<SeatMap>>;
    /// How often this process has changed the show's seats, to be asked before they are read for [`SharedSeatMaps::note`].
    fn as_of(&self, show: ShowId) -> u64;
    /// Remembers seats as the database has just shown them, for [`NOTED_FOR_MS`], unless this process has changed the show's
    /// seats since `as_of`.
    fn note(&self, show: ShowId, as_of: u64, seats: &[SeatView]);
    /// A seat of this show that was noted.
    fn noted(&self, show: ShowId, seat: SeatId) -> Option<SeatView>;
    /// Makes the next caller load anew, after a change made by this process, and drops what was noted. A load that is under
    /// way is not shared with who comes after this.
    fn forget(&self, show: ShowId) -> impl Future<Output = ()> + Send;
}

/// Why seats are not shown.
#[derive(Debug, thiserror::Error)]
pub enum SeatMapError {
    /// There is no such show, or its concert is a draft.
    #[error("there is no such show")]
    NotFound,
    /// The gate.
    #[error(transparent)]
    Gate(#[from] GateRefusal),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Seats, as the HTTP edge sees them.
#[async_trait]
pub trait SeatMaps: Send + Sync {
    /// All seats of a show, for a fan with an active token.
    async fn seats(&self, show: ShowId, fan: UserId, queue_token: Option<&str>) -> Result<Arc<SeatMap>, SeatMapError>;
    /// Counts and prices per section, for everybody: from the last count of the concert's seats.
    async fn availability(&self, show: ShowId) -> Result<ShowStock, SeatMapError>;
}

/// Seats over shared loads, counts and the gate.
pub struct SeatMapsFacade<M, G, Q, K, C> {
    /// Shared loads.
    pub maps: Arc<M>,
    /// The gate.
    pub gate: Arc<G>,
    /// Shows.
    pub shows: Arc<Q>,
    /// Public concerts.
    pub catalogue: Arc<K>,
    /// Counts.
    pub stock: Arc<StockCache<Q, C>>,
}

impl<M, G, Q: ShowConcerts, K: Catalogue, C> SeatMapsFacade<M, G, Q, K, C> {
    /// The concert of a show that fans may see; from memory when it was asked for before.
    async fn public_concert_of(&self, show: ShowId) -> Result<ConcertId, SeatMapError> {
        let concert = self.shows.concert_of_show(show).await?.ok_or(SeatMapError::NotFound)?;
        match self.catalogue.concert(concert).await {
            Ok(_) => Ok(concert),
            Err(CatalogueError::Store(error)) => Err(SeatMapError::Store(error)),
            Err(_) => Err(SeatMapError::NotFound),
        }
    }
}

#[async_trait]
impl<M, G, Q, K, C> SeatMaps for SeatMapsFacade<M, G, Q, K, C>
where
    M: SharedSeatMaps,
    G: Gate,
    Q: ShowConcerts + StockQueries,
    K: Catalogue + 'static,
    C: Clock,
{
    async fn seats(&self, show: ShowId, fan: UserId, queue_token: Option<&str>) -> Result<Arc<SeatMap>, SeatMapError> {
        // Seats are loaded for those who may see them.
        let concert = self.public_concert_of(show).await?;
        self.gate.pass(concert, fan, queue_token, Purpose::See).await?;
        let map = self.maps.seat_map(show).await?.ok_or(SeatMapError::NotFound)?;
        if map.public { Ok(map) } else { Err(SeatMapError::NotFound) }
    }

    async fn availability(&self, show: ShowId) -> Result<ShowStock, SeatMapError> {
        let concert = self.public_concert_of(show).await?;
        let of_show = |stock: &ConcertStock| stock.shows.iter().find(|known| known.show_id == show).cloned();
        match of_show(&*self.stock.first(concert).await?) {
            Some(found) => Ok(found),
            // A show that was added since the last count.
            None => of_show(&*self.stock.count(concert, true).await?).ok_or(SeatMapError::NotFound),
        }
    }
}
