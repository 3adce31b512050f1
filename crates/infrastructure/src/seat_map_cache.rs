//! One load of a show's seats for everybody who asks at the same time.

use std::{sync::Arc, time::Duration};

use moka::future::Cache;
use onsale_application::{
    error::{Cause, StoreError},
    seat_maps::{FRESH_FOR_MS, SeatMap, SeatMapStore, SeatView, SharedSeatMaps},
};
use onsale_domain::ids::{SeatId, ShowId};

/// Most shows whose seats are kept; an arena of 60,000 seats takes about 10 MB.
const SHOWS_KEPT: u64 = 64;

/// Most seats that are noted one by one.
const SEATS_NOTED: u64 = 10_000;

/// Seat maps shared within the process.
pub struct SeatMapCache<S> {
    store: S,
    maps: Cache<ShowId, Arc<SeatMap>>,
    noted: Cache<SeatId, SeatView>,
}

impl<S> SeatMapCache<S> {
    /// An empty cache over the store.
    pub fn new(store: S) -> Self {
        let maps = Cache::builder().max_capacity(SHOWS_KEPT).time_to_live(Duration::from_millis(FRESH_FOR_MS)).build();
        let noted =
            Cache::builder().max_capacity(SEATS_NOTED).time_to_live(Duration::from_millis(FRESH_FOR_MS)).build();
        Self { store, maps, noted }
    }
}

/// Carries "there is no such show" through the cache's error path, so that it is not kept.
enum Miss {
    NoShow,
    Store(StoreError),
}

impl<S: SeatMapStore> SharedSeatMaps for SeatMapCache<S> {
    async fn seat_map(&self, show: ShowId) -> Result<Option<Arc<SeatMap>>, StoreError> {
        let load = async {
            match self.store.load_seat_map(show).await {
                Ok(Some(map)) => Ok(Arc::new(map)),
                Ok(None) => Err(Miss::NoShow),
                Err(error) => Err(Miss::Store(error)),
            }
        };
        match self.maps.try_get_with(show, load).await {
            Ok(map) => Ok(Some(map)),
            Err(miss) => match miss.as_ref() {
                Miss::NoShow => Ok(None),
                // The error is shared by all who waited for the same load; each gets its meaning and its text.
                Miss::Store(StoreError::Unavailable(cause)) => Err(StoreError::Unavailable(copy(cause))),
                Miss::Store(StoreError::Conflict(cause)) => Err(StoreError::Conflict(copy(cause))),
                Miss::Store(StoreError::Broken(cause)) => Err(StoreError::Broken(copy(cause))),
            },
        }
    }

    fn at_hand(&self, show: ShowId) -> Option<Arc<SeatMap>> {
        use futures_util::FutureExt;
        // A lookup in the process's memory never waits.
        self.maps.get(&show).now_or_never().flatten()
    }

    async fn note(&self, seats: &[SeatView]) {
        for seat in seats {
            self.noted.insert(seat.id, seat.clone()).await;
        }
    }

    fn noted(&self, seat: SeatId) -> Option<SeatView> {
        use futures_util::FutureExt;
        self.noted.get(&seat).now_or_never().flatten()
    }

    async fn forget(&self, show: ShowId) {
        self.maps.invalidate(&show).await;
    }
}

fn copy(cause: &Cause) -> Cause {
    cause.to_string().into()
}
