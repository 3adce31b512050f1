//! Runs a line: ticks, what is written down, and the opening draw.
//!
//! Any number of processes do this at once, and any of them may die at any moment. The store makes each step atomic; the
//! database refuses what belongs to an earlier life of the line. So every step may be repeated by anybody.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

use onsale_domain::{
    concert::SaleState,
    ids::{ConcertId, UserId},
    queue::{DrawSeed, Eta},
};
use parking_lot::Mutex;
use tokio::sync::{MutexGuard, Semaphore};
use uuid::Uuid;

use super::{
    lane::Lane,
    model::{Call, Promoted, Promotion, Slot, Swept, Tick},
    place::{Entrant, Entrants, Entry, Place},
    ports::{LineDraws, LineHead, LineJournal, LinePlaces, LineStore, Seeds, Told, Written},
    records::LineRecords,
    snapshots::Snapshots,
    stock::{StockCache, StockQueries},
};
use crate::{
    audit::AuditLog,
    catalogue::{CatalogueStore, Concert},
    context::{Clock, Ids, Tasks},
    error::StoreError,
};

/// Events and calls written to the log at once.
pub(super) const BATCH: usize = 1_000;
/// Fans told to the store at once.
pub(super) const PART: usize = 500;
/// Places read from the database at once.
pub(super) const PLACES: usize = 5_000;
/// Places sent to the store at once, so that no step holds it up for long.
pub(super) const PLACES_SENT: usize = 500;
/// Ballots drawn at once.
const BALLOTS: i64 = 5_000;
/// Turns of each kind that are looked at once more at once.
const TURNS: i64 = 5_000;
/// Milliseconds between two looks for holds that have no slot, and for turns that are over.
const CHECK_EVERY_MS: i64 = 10_000;
/// Estimates noted per line between two ticks.
const TOLD: usize = 100;
/// Dry runs at once; each keeps a processor busy for some 10 ms, and less than 100.
const FORECASTS_AT_ONCE: usize = 2;

/// What the line needs of the database.
pub trait LineDatabase:
    CatalogueStore + LinePlaces + LineJournal + LineDraws + LineRecords + StockQueries + AuditLog
{
}
impl<P: CatalogueStore + LinePlaces + LineJournal + LineDraws + LineRecords + StockQueries + AuditLog> LineDatabase
    for P
{
}

/// What came of one tick of one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ticked {
    /// The last call of the promoter.
    pub last: Promotion,
    /// Whether the interval was over.
    pub due: bool,
    /// Fans made active.
    pub promoted: i64,
    /// Turns that lapsed.
    pub lapsed: i64,
    /// Tokens that expired.
    pub expired: i64,
}

/// What came of a sweep.
#[derive(Default)]
struct Sweeping {
    expired: i64,
    lapsed: i64,
    entered: i64,
}

/// Runs lines.
pub struct Keeper<P, L, C> {
    /// Concerts, lines on disk and seats.
    pub database: Arc<P>,
    /// The lines.
    pub lines: Arc<L>,
    /// Snapshots of the lines.
    pub snapshots: Snapshots<P, L, C>,
    /// Seats.
    pub stock: Arc<StockCache<P, C>>,
    /// Time, ids and seeds.
    pub context: C,
    pub(super) tasks: Arc<dyn Tasks>,
    pub(super) forecasts: Arc<Semaphore>,
    lanes: Mutex<HashMap<ConcertId, Arc<Lane>>>,
    seeds: Mutex<HashMap<ConcertId, DrawSeed>>,
    /// Commitments of opening draws, as far as they cannot change any more.
    commitments: Mutex<HashMap<ConcertId, Option<[u8; 32]>>>,
}

pub(super) fn count(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

pub(super) fn lost() -> StoreError {
    StoreError::Unavailable("the line is being loaded".into())
}

fn millis(secs: i32) -> i64 {
    i64::from(secs) * 1_000
}

/// Whether whoever was in the pre-queue gets a number now.
fn has_opened(concert: &Concert) -> bool {
    !matches!(concert.sale_state, SaleState::Draft | SaleState::Scheduled | SaleState::PreQueue)
}

impl<P: LineDatabase, L: LineStore, C: Clock + Ids + Seeds + Clone> Keeper<P, L, C> {
    /// A keeper of all lines of the store, with snapshots that are used for `fresh_ms`.
    pub fn new(database: Arc<P>, lines: Arc<L>, context: C, tasks: Arc<dyn Tasks>, fresh_ms: i64) -> Self {
        let stock = Arc::new(StockCache::new(Arc::clone(&database), context.clone()));
        Self {
            snapshots: Snapshots::new(Arc::clone(&lines), Arc::clone(&stock), context.clone(), fresh_ms),
            stock,
            database,
            lines,
            context,
            tasks,
            forecasts: Arc::new(Semaphore::new(FORECASTS_AT_ONCE)),
            lanes: Mutex::default(),
            seeds: Mutex::default(),
            commitments: Mutex::default(),
        }
    }

    pub(super) fn lane(&self, concert: ConcertId) -> Arc<Lane> {
        Arc::clone(self.lanes.lock().entry(concert).or_default())
    }

    /// Whether this process has had to do with the line before.
    pub fn knows(&self, concert: ConcertId) -> bool {
        self.lanes.lock().contains_key(&concert)
    }

    /// Sweeps, draws, fills gaps, applies a concert's settings, and promotes what is due. To be called every half a second or
    /// so, and after every edit.
    pub async fn tick(&self, concert: &Concert) -> Result<Ticked, StoreError> {
        self.tick_and_admit(concert, 0).await
    }

    /// The same, and calls `admit` fans more, within the limit.
    pub async fn tick_and_admit(&self, concert: &Concert, admit: i64) -> Result<Ticked, StoreError> {
        let id = concert.id;
        let lane = self.lane(id);
        let mut tick = self.settings(concert, admit);
        let mut ticked = Ticked::default();
        let mut head = self.database.head(id).await?;
        if let Some(sold_out) = tick.sold_out.filter(|sold_out| *sold_out != head.sold_out) {
            self.database.note_sold_out(id, sold_out).await?;
        }
        if self.is_time_to_check(&lane) {
            self.check_holds(id).await?;
            self.check_turns(id).await?;
        }
        let mut loaded = false;
        loop {
            let Some(swept) = self.sweep_all(id).await? else {
                if std::mem::replace(&mut loaded, true) {
                    return Err(lost());
                }
                self.load_unless_under_way(concert, &lane).await?;
                continue;
            };
            ticked.expired += swept.expired;
            ticked.lapsed += swept.lapsed;
            let mut entered = swept.entered;
            if has_opened(concert)
                && let Some(drawn) = self.draw(id, &lane, head, entered).await?
            {
                entered = drawn;
                head = self.database.head(id).await?;
            }
            self.fill(id, entered, head.whole).await?;
            let Promoted::Done(promotion) = self.lines.promote(id, &tick).await? else {
                // Lost between the two: the sweep finds it so too.
                continue;
            };
            tick.admit = 0;
            ticked.due |= promotion.due;
            ticked.last = promotion;
            ticked.promoted += self.write_news(concert).await?;
            if !promotion.more {
                break;
            }
        }
        self.flush_told(id, &lane, ticked.last.now_ms).await;
        Ok(ticked)
    }

    /// Enters places that the database has and the store lacks, because a process died or stalled between the two, or could not
    /// reach the store, or because they were drawn. Nobody behind them is called before.
    pub async fn fill(&self, id: ConcertId, entered: i64, whole: i64) -> Result<(), StoreError> {
        let mut after = entered;
        while after < whole {
            let places = self.database.places(id, after, whole, after, count(PLACES)).await?;
            let all = places.len() < PLACES;
            for part in places.chunks(PLACES_SENT) {
                let last = part.last().map_or(after, |place| place.number);
                self.enter_read(id, (after + 1, last), part).await?;
                after = last;
            }
            if all && after < whole {
                self.enter_read(id, (after + 1, whole), &[]).await?;
                after = whole;
            }
        }
        Ok(())
    }

    async fn enter_read(&self, id: ConcertId, range: (i64, i64), places: &[Place]) -> Result<(), StoreError> {
        let entrants =
            Entrants { why: Entry::Filled(range.0, range.1), places: places.iter().map(Entrant::from).collect() };
        self.lines.enter(id, &entrants).await?.ok_or_else(lost).map(|_| ())
    }

    /// Ends turns that ran out, and frees their slots unless the database has a live hold of the fan, which keeps the slot.
    /// `None` when the line has not been loaded on the store's server.
    async fn sweep_all(&self, id: ConcertId) -> Result<Option<Sweeping>, StoreError> {
        let mut all = Sweeping::default();
        loop {
            let Swept::Done { expired, lapsed, more, asked, entered } = self.lines.sweep(id).await? else {
                return Ok(None);
            };
            all = Sweeping { expired: all.expired + expired, lapsed: all.lapsed + lapsed, entered };
            if !asked.is_empty() {
                let fans: Vec<UserId> = asked.iter().map(|asked| asked.user_id).collect();
                let held: HashMap<UserId, i64> = self
                    .database
                    .holds_of(id, &fans)
                    .await?
                    .into_iter()
                    .map(|hold| (hold.user_id, hold.left_ms))
                    .collect();
                let left = |fan: &UserId| held.get(fan).copied().unwrap_or(0);
                let answers: Vec<Slot> =
                    asked.into_iter().zip(&fans).map(|(asked, fan)| Slot::Answer(asked, left(fan))).collect();
                self.lines.keep(id, &answers).await?;
            }
            if !more {
                return Ok(Some(all));
            }
        }
    }

    fn is_time_to_check(&self, lane: &Lane) -> bool {
        let now = self.context.monotonic_ms();
        let mut memory = lane.memory.lock();
        let due = memory.checked_at_ms.is_none_or(|at| now - at >= CHECK_EVERY_MS);
        if due {
            memory.checked_at_ms = Some(now);
        }
        due
    }

    /// Ends turns that are over by the database, of which the store was not told because it was away.
    async fn check_turns(&self, id: ConcertId) -> Result<(), StoreError> {
        for part in self.lines.turns(id, TURNS).await?.chunks(PART) {
            for (turn, paid) in self.database.turns_over(id, part).await? {
                if paid {
                    self.lines.end_paid(id, turn.user_id, turn.number).await?;
                } else {
                    self.lines.leave(id, turn.user_id, turn.number).await?;
                }
            }
        }
        Ok(())
    }

    /// Finds holds that have no slot, because a process could not tell the line of them.
    async fn check_holds(&self, id: ConcertId) -> Result<(), StoreError> {
        let mut behind = UserId(Uuid::nil());
        loop {
            let part = self.database.holds(id, behind, count(PART)).await?;
            let Some(last) = part.last() else { return Ok(()) };
            behind = last.user_id;
            let slots: Vec<Slot> = part.iter().map(|hold| Slot::Check(hold.user_id)).collect();
            self.lines.keep(id, &slots).await?;
        }
    }

    /// The same for slots that have just been given up. Callers who come while one of them sweeps leave it to that one.
    pub async fn sweep_soon(&self, id: ConcertId) -> Result<(), StoreError> {
        let lane = self.lane(id);
        lane.sweep_wanted.store(true, Ordering::Release);
        while lane.sweep_wanted.load(Ordering::Acquire) {
            let Ok(_one) = lane.sweeping.try_lock() else { break };
            while lane.sweep_wanted.swap(false, Ordering::AcqRel) {
                self.sweep_all(id).await?;
            }
        }
        Ok(())
    }

    pub(super) fn settings(&self, concert: &Concert, admit: i64) -> Tick {
        let stock = self.stock.at_hand(concert.id);
        Tick {
            state: concert.sale_state,
            policy: concert.policy,
            message: concert.message.clone(),
            version: concert.version,
            sold_out: stock.map(|stock| stock.total.is_sold_out()),
            admit,
        }
    }

    /// Writes what happened up to now to the database, and then makes active who is called. When thousands ask at once, one of
    /// them does it for all.
    pub async fn write_news_together(&self, concert: &Concert) -> Result<(), StoreError> {
        let lane = self.lane(concert.id);
        let begun_before = lane.writings_begun.load(Ordering::Acquire);
        let one = lane.writing.lock().await;
        if *one > begun_before {
            return Ok(());
        }
        self.write_news_alone(concert, &lane, one).await.map(|_| ())
    }

    /// The same, always by this caller. Answers how many it made active.
    pub async fn write_news(&self, concert: &Concert) -> Result<i64, StoreError> {
        let lane = self.lane(concert.id);
        let one = lane.writing.lock().await;
        self.write_news_alone(concert, &lane, one).await
    }

    async fn write_news_alone(
        &self,
        concert: &Concert,
        lane: &Lane,
        mut one: MutexGuard<'_, u64>,
    ) -> Result<i64, StoreError> {
        let run = lane.writings_begun.fetch_add(1, Ordering::AcqRel) + 1;
        let longest_ms = millis(concert.policy.claim_secs) + millis(concert.policy.active_absolute_secs);
        let mut opened = 0;
        loop {
            let news = self.lines.news(concert.id, BATCH, false).await?.ok_or_else(lost)?;
            if news.events.is_empty() && news.odd_entries.is_empty() && news.calls.is_empty() {
                break;
            }
            for odd in &news.odd_entries {
                tracing::error!(concert_id = %concert.id, entry = odd.text, "an entry of the line cannot be read; it is set aside and the line goes on");
            }
            let over = match self.database.write(concert.id, &news, longest_ms).await? {
                Written::Done(over) => over,
                Written::Stale => continue,
                Written::OtherLife => {
                    drop(one);
                    return Err(self.meet_other_life(concert, lane).await?);
                }
            };
            let calls: Vec<Call> = news.calls.iter().copied().filter(|call| !over.contains(call)).collect();
            opened += self.lines.written(concert.id, news.life, news.last_entry(), &calls, &over).await?;
            if news.entries() < BATCH && news.calls.len() < PART {
                break;
            }
        }
        lane.memory.lock().other_life_since = None;
        *one = run;
        Ok(opened)
    }

    /// The seed of a concert's opening draw.
    pub async fn seed(&self, id: ConcertId) -> Result<DrawSeed, StoreError> {
        let known = self.seeds.lock().get(&id).copied();
        if let Some(seed) = known {
            return Ok(seed);
        }
        let seed = self.database.draw_seed(id, self.context.seed()).await?;
        self.seeds.lock().insert(id, seed);
        Ok(seed)
    }

    /// What was committed to before the opening draw; `None` when the line has none.
    pub async fn commitment(&self, concert: &Concert) -> Result<Option<[u8; 32]>, StoreError> {
        if let Some(known) = self.commitments.lock().get(&concert.id) {
            return Ok(*known);
        }
        let commitment = self.database.draw(concert.id).await?.map(|draw| draw.commitment);
        // Before the sale a draw may still be committed to.
        if commitment.is_some() || has_opened(concert) {
            self.commitments.lock().insert(concert.id, commitment);
        }
        Ok(commitment)
    }

    /// Gives registered fans their numbers once the line has opened, in bounded steps; while one part is drawn, the one before is
    /// entered. Answers up to which number, when there was anything to draw.
    async fn draw(&self, id: ConcertId, lane: &Lane, head: LineHead, entered: i64) -> Result<Option<i64>, StoreError> {
        if lane.memory.lock().draw_finished {
            return Ok(None);
        }
        let mut entered = entered;
        if head.draws {
            self.database.open_draw(id).await?;
            let mut drawn = 0;
            loop {
                let (part, filled) = tokio::join!(self.database.draw_part(id, BALLOTS), self.fill(id, entered, drawn));
                filled?;
                entered = entered.max(drawn);
                match part? {
                    Some((0, _)) => break,
                    Some((_, last)) => drawn = last,
                    // Somebody else draws.
                    None => return Ok(Some(entered)),
                }
            }
        }
        let finished = self.database.finish_draw(id).await?;
        lane.memory.lock().draw_finished = finished;
        Ok(head.draws.then_some(entered))
    }

    /// Notes what a fan was told, for the report; a sample when many are.
    pub fn note_told(&self, id: ConcertId, number: i64, eta: Eta) {
        let lane = self.lane(id);
        let mut told = lane.told.lock();
        if told.len() < TOLD {
            told.push(Told { number, eta });
        }
    }

    async fn flush_told(&self, id: ConcertId, lane: &Lane, now_ms: i64) {
        let told = std::mem::take(&mut *lane.told.lock());
        if told.is_empty() {
            return;
        }
        if let Err(error) = self.database.note_told(id, now_ms, &told).await {
            tracing::warn!(%error, concert_id = %id, "estimates could not be noted for the report");
        }
    }
}
