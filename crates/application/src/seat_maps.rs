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
    error::StoreError,
    line::{Gate, GateRefusal, Purpose},
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
    /// The seats.
    pub seats: Vec<SeatView>,
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

/// Free and taken seats of one section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SectionAvailability {
    /// Section.
    pub section: String,
    /// Can be reserved.
    pub available: i64,
    /// In live reservations.
    pub held: i64,
    /// Sold.
    pub sold: i64,
    /// Lowest price in minor units.
    pub price_low_minor: i64,
    /// Highest price in minor units.
    pub price_high_minor: i64,
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
    /// Counts and prices per section, for everybody.
    async fn availability(&self, show: ShowId) -> Result<(Arc<SeatMap>, Vec<SectionAvailability>), SeatMapError>;
}

/// Seats over shared loads and the gate.
pub struct SeatMapsFacade<M, G> {
    /// Shared loads.
    pub maps: Arc<M>,
    /// The gate.
    pub gate: Arc<G>,
}

impl<M: SharedSeatMaps, G> SeatMapsFacade<M, G> {
    async fn public_map(&self, show: ShowId) -> Result<Arc<SeatMap>, SeatMapError> {
        let map = self.maps.seat_map(show).await?.ok_or(SeatMapError::NotFound)?;
        if map.public { Ok(map) } else { Err(SeatMapError::NotFound) }
    }
}

#[async_trait]
impl<M: SharedSeatMaps, G: Gate> SeatMaps for SeatMapsFacade<M, G> {
    async fn seats(&self, show: ShowId, fan: UserId, queue_token: Option<&str>) -> Result<Arc<SeatMap>, SeatMapError> {
        let map = self.public_map(show).await?;
        self.gate.pass(map.concert_id, fan, queue_token, Purpose::See).await?;
        Ok(map)
    }

    async fn availability(&self, show: ShowId) -> Result<(Arc<SeatMap>, Vec<SectionAvailability>), SeatMapError> {
        let map = self.public_map(show).await?;
        let mut sections: Vec<SectionAvailability> = Vec::new();
        for seat in &map.seats {
            if sections.last().is_none_or(|last| last.section != seat.section) {
                sections.push(SectionAvailability {
                    section: seat.section.clone(),
                    available: 0,
                    held: 0,
                    sold: 0,
                    price_low_minor: seat.price_minor,
                    price_high_minor: seat.price_minor,
                });
            }
            if let Some(section) = sections.last_mut() {
                match seat.state {
                    SeatState::Available => section.available += 1,
                    SeatState::Held => section.held += 1,
                    SeatState::Sold => section.sold += 1,
                    SeatState::Blocked => {}
                }
                section.price_low_minor = section.price_low_minor.min(seat.price_minor);
                section.price_high_minor = section.price_high_minor.max(seat.price_minor);
            }
        }
        Ok((map, sections))
    }
}
