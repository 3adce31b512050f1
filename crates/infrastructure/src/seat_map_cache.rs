//! One load of a show's seats for everybody who asks at the same time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use moka::{future::Cache, sync};
use onsale_application::{
    error::StoreError,
    seat_maps::{FRESH_FOR_MS, NOTED_FOR_MS, SeatMap, SeatMapStore, SeatView, SharedSeatMaps},
};
use onsale_domain::ids::{SeatId, ShowId};

/// Most shows whose seats are kept; an arena of 60,000 seats takes about 10 MB.
const SHOWS_KEPT: u64 = 64;

/// Most seats that are noted one by one.
const SEATS_NOTED: u64 = 10_000;

/// How long the past of a show's seats is known after somebody has looked at them.
const PAST_KEPT: Duration = Duration::from_mins(1);

/// Counters of changes.
const COUNTERS: usize = 4_096;

/// Seat maps shared within the process.
pub struct SeatMapCache<S> {
    store: S,
    /// By show and by how often this process had changed its seats when the load began.
    maps: Cache<(ShowId, u64), Arc<SeatMap>>,
    /// The seats that were read last, of shows that somebody looks at: what changes is seen by comparing.
    newest: sync::Cache<ShowId, Arc<SeatMap>>,
    noted: sync::Cache<(ShowId, SeatId), (u64, SeatView)>,
    /// How often this process has changed seats, by the last bits of the show. Two shows that share a counter only make each
    /// other's copies end early.
    changes: Box<[AtomicU64]>,
}

impl<S> SeatMapCache<S> {
    /// An empty cache over the store.
    pub fn new(store: S) -> Self {
        let maps = Cache::builder().max_capacity(SHOWS_KEPT).time_to_live(Duration::from_millis(FRESH_FOR_MS)).build();
        let noted =
            sync::Cache::builder().max_capacity(SEATS_NOTED).time_to_live(Duration::from_millis(NOTED_FOR_MS)).build();
        let newest = sync::Cache::builder().max_capacity(SHOWS_KEPT).time_to_idle(PAST_KEPT).build();
        Self {
            store,
            maps,
            newest,
            noted,
            changes: std::iter::repeat_with(AtomicU64::default).take(COUNTERS).collect(),
        }
    }

    fn counter(&self, show: ShowId) -> Option<&AtomicU64> {
        let (_, low) = show.0.as_u64_pair();
        self.changes.get(usize::try_from(low).unwrap_or(0) % COUNTERS)
    }

    /// Goes on from the seats that were read before, if that was not long ago.
    fn remember(&self, mut map: SeatMap) -> Arc<SeatMap> {
        map.follow(self.newest.get(&map.show_id).as_deref());
        let map = Arc::new(map);
        self.newest.insert(map.show_id, Arc::clone(&map));
        map
    }

    fn changes(&self, show: ShowId) -> u64 {
        self.counter(show).map_or(0, |counter| counter.load(Ordering::Acquire))
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
                Ok(Some(map)) => Ok(self.remember(map)),
                Ok(None) => Err(Miss::NoShow),
                Err(error) => Err(Miss::Store(error)),
            }
        };
        match self.maps.try_get_with((show, self.changes(show)), load).await {
            Ok(map) => Ok(Some(map)),
            Err(miss) => match miss.as_ref() {
                Miss::NoShow => Ok(None),
                Miss::Store(error) => Err(error.shared()),
            },
        }
    }

    fn at_hand(&self, show: ShowId) -> Option<Arc<SeatMap>> {
        use futures_util::FutureExt;
        // A lookup in the process's memory never waits.
        self.maps.get(&(show, self.changes(show))).now_or_never().flatten()
    }

    fn as_of(&self, show: ShowId) -> u64 {
        self.changes(show)
    }

    fn note(&self, show: ShowId, as_of: u64, seats: &[SeatView]) {
        for seat in seats {
            self.noted.insert((show, seat.id), (as_of, seat.clone()));
        }
    }

    fn noted(&self, show: ShowId, seat: SeatId) -> Option<SeatView> {
        let (as_of, seat) = self.noted.get(&(show, seat))?;
        (as_of == self.changes(show)).then_some(seat)
    }

    async fn forget(&self, show: ShowId) {
        if let Some(counter) = self.counter(show) {
            let before = counter.fetch_add(1, Ordering::AcqRel);
            self.maps.invalidate(&(show, before)).await;
        }
    }
}
