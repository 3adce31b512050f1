//! One snapshot per line and process, refreshed by one call of the store however many ask.

use std::{collections::HashMap, sync::Arc};

use onsale_domain::{ids::ConcertId, queue::PaceMeter};
use parking_lot::RwLock;
use tokio::sync::watch;

use super::{
    model::{Departures, LineStats, Snapshot},
    ports::{LineHead, LineStore, RawSnapshot},
    stock::{StockCache, StockQueries},
};
use crate::{catalogue::Concert, context::Clock, error::StoreError};

/// While somebody else refreshes, a snapshot that is as many times as old as a fresh one still answers.
const USABLE: i64 = 4;
/// Entries of the list of departures taken over in one call.
const ENTRIES: i64 = 10_000;

/// What is followed from one refresh to the next.
#[derive(Default)]
struct Following {
    life: i64,
    known: i64,
    departures: Arc<Departures>,
    meter: PaceMeter,
}

struct Cell {
    current: RwLock<Option<Arc<Snapshot>>>,
    following: tokio::sync::Mutex<Following>,
    news: watch::Sender<Option<Arc<Snapshot>>>,
}

/// Snapshots of all lines.
pub struct Snapshots<Q, L, C> {
    store: Arc<L>,
    stock: Arc<StockCache<Q, C>>,
    clock: C,
    /// A snapshot younger than this answers without asking the store.
    fresh_ms: i64,
    cells: RwLock<HashMap<ConcertId, Arc<Cell>>>,
}

impl<Q: StockQueries, L: LineStore, C: Clock> Snapshots<Q, L, C> {
    /// None yet.
    pub fn new(store: Arc<L>, stock: Arc<StockCache<Q, C>>, clock: C, fresh_ms: i64) -> Self {
        Self { store, stock, clock, fresh_ms, cells: RwLock::new(HashMap::new()) }
    }

    fn cell(&self, concert: ConcertId) -> Arc<Cell> {
        if let Some(cell) = self.cells.read().get(&concert) {
            return Arc::clone(cell);
        }
        let mut cells = self.cells.write();
        let cell = cells.entry(concert).or_insert_with(|| {
            Arc::new(Cell {
                current: RwLock::new(None),
                following: tokio::sync::Mutex::default(),
                news: watch::Sender::new(None),
            })
        });
        Arc::clone(cell)
    }

    /// The line as it was a moment ago: at most 250 ms by default, a second while another caller refreshes. While the store does not
    /// answer, the last snapshot, marked as such. `None` when the line's life has not begun on the store's server and
    /// there is no earlier snapshot.
    pub async fn fresh(&self, concert: ConcertId) -> Result<Option<Arc<Snapshot>>, StoreError> {
        let cell = self.cell(concert);
        let current = || cell.current.read().clone();
        let younger_than = |snapshot: &Option<Arc<Snapshot>>, ms: i64| {
            snapshot.as_ref().is_some_and(|snapshot| self.clock.monotonic_ms() - snapshot.taken_ms < ms)
        };
        let now = current();
        if younger_than(&now, self.fresh_ms) {
            return Ok(now);
        }
        let following = match cell.following.try_lock() {
            Ok(following) => following,
            Err(_) if younger_than(&now, self.fresh_ms * USABLE) => return Ok(now),
            Err(_) => {
                let following = cell.following.lock().await;
                let now = current();
                if younger_than(&now, self.fresh_ms) {
                    return Ok(now);
                }
                following
            }
        };
        self.refresh(concert, &cell, following).await
    }

    /// Asks the store now, whatever the age of the snapshot. For what has just been changed.
    pub async fn renewed(&self, concert: ConcertId) -> Result<Option<Arc<Snapshot>>, StoreError> {
        let cell = self.cell(concert);
        let following = cell.following.lock().await;
        self.refresh(concert, &cell, following).await
    }

    async fn refresh(
        &self,
        concert: ConcertId,
        cell: &Cell,
        mut following: tokio::sync::MutexGuard<'_, Following>,
    ) -> Result<Option<Arc<Snapshot>>, StoreError> {
        let next = loop {
            match self.store.snapshot(concert, following.known).await {
                Ok(Some(raw)) if raw.snapshot.life != following.life && following.life != 0 => {
                    // Another life: follow its list from the start.
                    let life = raw.snapshot.life;
                    *following = Following { life, ..Following::default() };
                }
                Ok(Some(raw)) => {
                    following.life = raw.snapshot.life;
                    let whole = i64::try_from(raw.entries.len()).unwrap_or(ENTRIES) < ENTRIES;
                    let snapshot = take_over(&mut following, raw);
                    if whole {
                        break snapshot;
                    }
                }
                failed => {
                    // The store does not answer, or is not the one that the line lives on: the last snapshot holds.
                    let last = cell.current.read().clone();
                    let Some(last) = last else { return failed.map(|_| None) };
                    let held =
                        Snapshot { reachable: false, taken_ms: self.clock.monotonic_ms(), ..Snapshot::clone(&last) };
                    return Ok(Some(publish(cell, held)));
                }
            }
        };
        let taken_ms = self.clock.monotonic_ms();
        let next = Snapshot { taken_ms, stock: self.stock.at_hand(concert), ..next };
        Ok(Some(publish(cell, next)))
    }

    /// How many lines this process keeps something of.
    pub fn lines(&self) -> usize {
        self.cells.read().len()
    }

    /// Hears of every new snapshot of a line.
    pub fn watch(&self, concert: ConcertId) -> watch::Receiver<Option<Arc<Snapshot>>> {
        self.cell(concert).news.subscribe()
    }

    /// Refreshes the lines that somebody watches. To be called every quarter of a second.
    pub async fn refresh_watched(&self) {
        let watched: Vec<ConcertId> = {
            let cells = self.cells.read();
            cells.iter().filter(|(_, cell)| cell.news.receiver_count() > 0).map(|(concert, _)| *concert).collect()
        };
        for concert in watched {
            if let Err(error) = self.renewed(concert).await {
                tracing::warn!(concert_id = %concert, %error, "a line that fans watch cannot be read");
            }
        }
    }

    /// The line as far as the database knows it, for when its store has not answered since this process started. Who left is
    /// not known, so positions may be too large.
    pub fn of_database(&self, concert: &Concert, head: &LineHead) -> Arc<Snapshot> {
        let stats = LineStats { waiting: head.seq - head.passed, joined_total: head.seq, ..LineStats::default() };
        let snapshot = Snapshot {
            life: head.life,
            state: concert.sale_state,
            policy: concert.policy,
            message: concert.message.clone(),
            sold_out: head.sold_out,
            now_ms: 0,
            next_at_ms: 0,
            served: head.passed,
            passed: head.passed,
            stats,
            departures: Arc::default(),
            entries_seen: 0,
            stock: self.stock.at_hand(concert.id),
            pace: None,
            taken_ms: self.clock.monotonic_ms(),
            reachable: false,
        };
        publish(&self.cell(concert.id), snapshot)
    }
}

/// Adds what is new to what is followed.
fn take_over(following: &mut Following, raw: RawSnapshot) -> Snapshot {
    let RawSnapshot { mut snapshot, before, entries } = raw;
    if !entries.is_empty() {
        let departures = Arc::make_mut(&mut following.departures);
        departures.forget_up_to(snapshot.passed);
        for entry in &entries {
            if departures.note(entry).is_none() {
                tracing::warn!(entry, "an entry of the list of departures cannot be read");
            }
        }
    }
    following.known = before + i64::try_from(entries.len()).unwrap_or(0);
    snapshot.entries_seen = following.known;
    following.meter.note(snapshot.now_ms, snapshot.stats.promoted_total);
    snapshot.departures = Arc::clone(&following.departures);
    snapshot.pace = following.meter.pace(snapshot.policy.interval_secs);
    snapshot
}

fn publish(cell: &Cell, snapshot: Snapshot) -> Arc<Snapshot> {
    let snapshot = Arc::new(snapshot);
    *cell.current.write() = Some(Arc::clone(&snapshot));
    cell.news.send_if_modified(|known| {
        // Followers wake when there is something to tell them.
        let changed = known.as_ref().is_none_or(|known| known.differs_for_followers(&snapshot));
        *known = Some(Arc::clone(&snapshot));
        changed
    });
    snapshot
}
