//! Runs a line: ticks, the admission log, recovery after a loss of the line's store, and the opening draw.
//!
//! Any number of processes do this at once, and any of them may die at any moment. The store makes each step atomic; the
//! database refuses what belongs to an earlier life of the line. So every step may be repeated by anybody.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use onsale_domain::{
    ids::{ConcertId, UserId},
    queue::{BallotKey, DrawSeed, Eta, QueuePolicy},
};
use uuid::Uuid;

use super::{
    model::{Promotion, Slot, Swept, Tick, Ticked},
    ports::{Ceiling, Drawing, LineJournal, LineStore, NewLife, Seeds, Told, Written},
    snapshots::Snapshots,
    stock::{StockCache, StockQueries},
};
use crate::{
    audit::AuditLog,
    catalogue::{CatalogueStore, Concert},
    context::{Clock, Ids},
    error::StoreError,
};

/// Numbers by which the recorded ceiling is ahead of what has been given out, at least.
const LEAD: i64 = 20_000;
/// Events and calls written to the log at once.
const BATCH: usize = 1_000;
/// Admissions, departures or fans sent to the store at once.
const PART: usize = 500;
/// Ballots read and written to the database at once.
const BALLOTS: usize = 2_000;
/// Ballots placed at once, so that no step holds up the store for long.
const BALLOTS_PLACED: usize = 1_000;
/// Milliseconds for which another process is given to finish a recovery.
const PATIENCE_MS: i64 = 5_000;
/// Milliseconds between two looks for holds that have no slot.
const CHECK_EVERY_MS: i64 = 10_000;
/// Estimates noted per line between two ticks.
const TOLD: usize = 100;

/// What the line needs of the database.
pub trait LineDatabase: CatalogueStore + LineJournal + StockQueries + AuditLog {}
impl<P: CatalogueStore + LineJournal + StockQueries + AuditLog> LineDatabase for P {}

/// What came of one tick of one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tended {
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

/// What a process remembers of a line between two ticks.
#[derive(Default)]
struct Memory {
    recorded: Ceiling,
    given_out: i64,
    draw_finished: bool,
    stranger_since: Option<i64>,
    checked_at_ms: Option<i64>,
}

#[derive(Default)]
struct Lane {
    /// One at a time writes news or recovers; others wait, and then find it done.
    settling: tokio::sync::Mutex<()>,
    memory: Mutex<Memory>,
    /// When this process last tried to raise the ceiling because numbers were used up, and whether it could; one at a time
    /// does.
    raised: tokio::sync::Mutex<Option<(i64, bool)>>,
    sweeping: tokio::sync::Mutex<()>,
    sweep_wanted: AtomicBool,
    told: Mutex<Vec<Told>>,
}

/// Runs lines.
pub struct Keeper<P, L, C> {
    /// Concerts, admission logs and seats.
    pub database: Arc<P>,
    /// The lines.
    pub lines: Arc<L>,
    /// Snapshots of the lines.
    pub snapshots: Snapshots<P, L, C>,
    /// Seats.
    pub stock: Arc<StockCache<P, C>>,
    /// Time, ids and seeds.
    pub context: C,
    /// Tells this process from others that draw.
    owner: Uuid,
    lanes: Mutex<HashMap<ConcertId, Arc<Lane>>>,
    seeds: Mutex<HashMap<ConcertId, DrawSeed>>,
    /// Commitments of opening draws, as far as they cannot change any more.
    commitments: Mutex<HashMap<ConcertId, Option<[u8; 32]>>>,
}

fn whole<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn count(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

fn lost() -> StoreError {
    StoreError::Unavailable("the line has no life on this server yet".into())
}

fn millis(secs: i32) -> i64 {
    i64::from(secs) * 1_000
}

impl<P: LineDatabase, L: LineStore, C: Clock + Ids + Seeds + Clone> Keeper<P, L, C> {
    /// A keeper of all lines of the store, with snapshots that are used for `fresh_ms`.
    pub fn new(database: Arc<P>, lines: Arc<L>, context: C, fresh_ms: i64) -> Self {
        let stock = Arc::new(StockCache::new(Arc::clone(&database), context.clone()));
        Self {
            snapshots: Snapshots::new(Arc::clone(&lines), Arc::clone(&stock), context.clone(), fresh_ms),
            stock,
            database,
            lines,
            owner: context.new_id(),
            context,
            lanes: Mutex::default(),
            seeds: Mutex::default(),
            commitments: Mutex::default(),
        }
    }

    fn lane(&self, concert: ConcertId) -> Arc<Lane> {
        Arc::clone(whole(&self.lanes).entry(concert).or_default())
    }

    /// Applies a concert's settings, sweeps, promotes what is due, and draws. To be called every half a second or so, and
    /// after every edit.
    pub async fn tick(&self, concert: &Concert) -> Result<Tended, StoreError> {
        self.tend(concert, 0).await
    }

    /// The same, and calls `admit` fans more, within the limit.
    pub async fn tend(&self, concert: &Concert, admit: i64) -> Result<Tended, StoreError> {
        let lane = self.lane(concert.id);
        let mut tick = self.settings(concert, &lane, admit);
        let mut tended = Tended::default();
        if self.is_time_to_check(&lane) {
            self.check_holds(concert.id).await?;
        }
        (tended.expired, tended.lapsed) = self.sweep(concert.id).await?;
        let mut troubles = 0;
        loop {
            match self.lines.promote(concert.id, &tick).await? {
                Ticked::Done(promotion) => {
                    tick.admit = 0;
                    tended.due |= promotion.due;
                    tended.last = promotion;
                    self.record_numbers(concert, &lane, &promotion).await?;
                    tended.promoted += self.settle(concert).await?;
                    if !promotion.more {
                        break;
                    }
                }
                Ticked::NeedsNumbers(more) => {
                    self.raise(concert, more).await?;
                    troubles += 1;
                }
                Ticked::OpensDraw { life, block } => {
                    tick.draw = self.database.open_draw(concert.id, life, block).await?;
                    troubles += 1;
                }
                Ticked::Lost => {
                    self.revive(concert).await?;
                    troubles += 1;
                }
            }
            if troubles > 5 {
                return Err(lost());
            }
        }
        self.draw(concert, &lane, &tended.last).await?;
        self.flush_told(concert.id, &lane, tended.last.now_ms).await;
        Ok(tended)
    }

    /// Ends turns that ran out, and frees their slots unless the database has a live hold of the fan, which keeps the slot.
    /// Answers how many turns expired and lapsed.
    pub async fn sweep(&self, id: ConcertId) -> Result<(i64, i64), StoreError> {
        let (mut all_expired, mut all_lapsed) = (0, 0);
        loop {
            // A line that has no life here is revived by the promoter.
            let Swept::Done { expired, lapsed, more, asked } = self.lines.sweep(id).await? else { break };
            (all_expired, all_lapsed) = (all_expired + expired, all_lapsed + lapsed);
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
                break;
            }
        }
        Ok((all_expired, all_lapsed))
    }

    fn is_time_to_check(&self, lane: &Lane) -> bool {
        let now = self.context.monotonic_ms();
        let mut memory = whole(&lane.memory);
        let due = memory.checked_at_ms.is_none_or(|at| now - at >= CHECK_EVERY_MS);
        if due {
            memory.checked_at_ms = Some(now);
        }
        due
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
                self.sweep(id).await?;
            }
        }
        Ok(())
    }

    fn settings(&self, concert: &Concert, lane: &Lane, admit: i64) -> Tick {
        let stock = self.stock.at_hand(concert.id);
        Tick {
            state: concert.sale_state,
            policy: concert.policy,
            message: concert.message.clone(),
            version: concert.version,
            sold_out: stock.map(|stock| stock.total.is_sold_out()),
            admit,
            registered: whole(&lane.memory).recorded.registered,
            draw: None,
        }
    }

    /// Writes what happened to the log, and then makes active who is called. Answers how many.
    pub async fn settle(&self, concert: &Concert) -> Result<i64, StoreError> {
        let lane = self.lane(concert.id);
        let _one = lane.settling.lock().await;
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
            match self.database.write(concert.id, &news, longest_ms).await? {
                Written::Done => {}
                Written::Stale => continue,
                Written::OtherLife => return Err(self.meet_stranger(concert, &lane).await?),
            }
            if let Some(last) = news.last_entry() {
                self.lines.forget(concert.id, news.life, last).await?;
            }
            for calls in news.calls.chunks(PART) {
                opened += self.lines.open(concert.id, news.life, calls).await?;
            }
            if news.entries() < BATCH && news.calls.len() < PART {
                break;
            }
        }
        whole(&lane.memory).stranger_since = None;
        Ok(opened)
    }

    /// The database knows another life than the store. Mostly somebody is recovering the line just now; when nobody
    /// finishes, this process does. Answers what to tell who asked meanwhile.
    async fn meet_stranger(&self, concert: &Concert, lane: &Lane) -> Result<StoreError, StoreError> {
        let now = self.context.monotonic_ms();
        let since = *whole(&lane.memory).stranger_since.get_or_insert(now);
        if now - since > PATIENCE_MS {
            whole(&lane.memory).stranger_since = None;
            self.begin_life(concert).await?;
        }
        Ok(lost())
    }

    /// Makes the line live on the store's server, whatever has happened to it.
    pub async fn revive(&self, concert: &Concert) -> Result<(), StoreError> {
        let lane = self.lane(concert.id);
        let one = lane.settling.lock().await;
        // Somebody may have done it while this waited.
        if self.lines.news(concert.id, 0, false).await?.is_none() {
            self.begin_life(concert).await?;
        }
        drop(one);
        let tick = self.settings(concert, &lane, 0);
        self.lines.promote(concert.id, &tick).await?;
        Ok(())
    }

    /// A new life: above all numbers that may have been given out, with everybody who is active by the admission log, and
    /// without those who are not.
    async fn begin_life(&self, concert: &Concert) -> Result<(), StoreError> {
        let QueuePolicy { active_sliding_secs, claim_secs, recovery_hold_secs, .. } = concert.policy;
        let id = concert.id;
        let life = self.database.begin_life(id, LEAD).await?;
        if life.given_out > 0 {
            tracing::warn!(concert_id = %id, life = life.life, "the line's store was restarted or lost; the line recovers");
        }
        let life =
            NewLife { newest: self.write_rest(id, &life).await?, draw_key: self.last_drawn(id, &life).await?, ..life };
        let policy_ms = (millis(active_sliding_secs), millis(claim_secs));
        let (mut live, mut after) = (HashSet::new(), 0);
        loop {
            let part = self.database.live_admissions(id, after, count(PART)).await?;
            let Some(last) = part.last() else { break };
            after = last.number;
            live.extend(part.iter().map(|admission| admission.user_id));
            self.lines.merge(id, life.life, policy_ms, &part, &[]).await?;
        }
        after = life.served;
        loop {
            let part = self.database.departed(id, after, count(PART)).await?;
            let Some(last) = part.last() else { break };
            after = *last;
            self.lines.merge(id, life.life, policy_ms, &[], &part).await?;
        }
        if self.lines.registered(id).await? > 0 {
            after = 0;
            loop {
                let part = self.database.ballots(id, after, count(PART)).await?;
                let Some((last, ..)) = part.last() else { break };
                after = *last;
                self.lines.merge_drawn(id, &life, &part).await?;
            }
        }
        let over: Vec<UserId> =
            self.lines.active_fans(id).await?.into_iter().filter(|fan| !live.contains(fan)).collect();
        for part in over.chunks(PART) {
            self.lines.prune(id, life.life, part).await?;
        }
        let (mut first, mut behind) = (true, UserId(Uuid::nil()));
        loop {
            let part = self.database.holds(id, behind, count(PART)).await?;
            self.lines.merge_held(id, life.life, first, &part).await?;
            let Some(last) = part.last() else { break };
            (first, behind) = (false, last.user_id);
        }
        if self.lines.begin(id, &life, recovery_hold_secs).await? {
            tracing::info!(concert_id = %id, life = life.life, active = live.len(), "the line lives");
        }
        Ok(())
    }

    /// The key of the last ballot drawn, when a draw is under way.
    async fn last_drawn(&self, id: ConcertId, life: &NewLife) -> Result<Option<BallotKey>, StoreError> {
        let Some((done, _)) = life.draw else { return Ok(None) };
        let Some((_, _, ballot)) = self.database.ballots(id, done - 1, 1).await?.into_iter().next() else {
            return Ok(None);
        };
        Ok(Some(self.seed(id).await?.key(ballot)))
    }

    /// Before a new life: what the store noted and the log does not have yet, so that both agree on who is active. Answers
    /// the newest event in the log.
    async fn write_rest(&self, id: ConcertId, life: &NewLife) -> Result<(i64, i64), StoreError> {
        let mut newest = life.newest;
        loop {
            let Some(mut news) = self.lines.news(id, BATCH, true).await? else { break };
            let Some(last) = news.last_entry() else { break };
            let of_life = std::mem::replace(&mut news.life, life.life);
            news.calls.clear();
            // Refused when all of it is older than the log.
            if self.database.write(id, &news, 0).await? != Written::Done {
                break;
            }
            newest = newest.max(last);
            self.lines.forget(id, of_life, last).await?;
            if news.entries() < BATCH {
                break;
            }
        }
        Ok(newest)
    }

    /// Keeps the recorded ceiling ahead of the numbers given out, and the numbers seen recorded.
    async fn record_numbers(&self, concert: &Concert, lane: &Lane, seen: &Promotion) -> Result<(), StoreError> {
        let id = concert.id;
        let (recorded, last) = {
            let memory = whole(&lane.memory);
            (memory.recorded, memory.given_out)
        };
        let joined = if recorded.life == seen.life { seen.given_out - last } else { 0 };
        let lead = LEAD.max(joined * 4) + seen.registered;
        let registered = recorded.registered.max(seen.registered);
        let low = seen.ceiling - seen.given_out < lead / 2;
        let ceiling = if low { seen.given_out + lead } else { seen.ceiling };
        let next = Ceiling { life: seen.life, ceiling, seen: seen.given_out, registered };
        if next != recorded {
            if !self.database.raise(id, next).await? {
                let _one = lane.settling.lock().await;
                return Err(self.meet_stranger(concert, lane).await?);
            }
            if low {
                self.lines.raise(id, seen.life, ceiling).await?;
            }
        }
        let mut memory = whole(&lane.memory);
        (memory.recorded, memory.given_out) = (next, seen.given_out);
        Ok(())
    }

    /// Records `more` numbers, at once.
    pub async fn raise(&self, concert: &Concert, more: i64) -> Result<(), StoreError> {
        let id = concert.id;
        let mut next = self.database.ceiling(id).await?;
        next.ceiling += LEAD + more;
        if self.database.raise(id, next).await? && self.lines.raise(id, next.life, next.ceiling).await? {
            return Ok(());
        }
        let lane = self.lane(id);
        let _one = lane.settling.lock().await;
        Err(self.meet_stranger(concert, &lane).await?)
    }

    /// Records more numbers because they are used up, once for everybody in this process who found them so after
    /// `asked_at_ms`.
    pub async fn raise_once(&self, concert: &Concert, asked_at_ms: i64) -> Result<(), StoreError> {
        let lane = self.lane(concert.id);
        let mut raised = lane.raised.lock().await;
        match *raised {
            Some((at, true)) if at >= asked_at_ms => Ok(()),
            // Who waited for a try that failed does not try again.
            Some((at, false)) if at >= asked_at_ms => Err(StoreError::Unavailable("numbers are used up".into())),
            _ => {
                let done = self.raise(concert, 0).await;
                *raised = Some((self.context.monotonic_ms(), done.is_ok()));
                done
            }
        }
    }

    /// The seed of a concert's opening draw.
    pub async fn seed(&self, id: ConcertId) -> Result<DrawSeed, StoreError> {
        if let Some(seed) = self.known_seed(id) {
            return Ok(seed);
        }
        let seed = self.database.draw_seed(id, self.context.seed()).await?;
        whole(&self.seeds).insert(id, seed);
        Ok(seed)
    }

    /// What was committed to before the opening draw; `None` when the line has none.
    pub async fn commitment(&self, concert: &Concert) -> Result<Option<[u8; 32]>, StoreError> {
        use onsale_domain::concert::SaleState::{Draft, PreQueue, Scheduled};
        if let Some(known) = whole(&self.commitments).get(&concert.id) {
            return Ok(*known);
        }
        let commitment = self.database.draw(concert.id).await?.map(|draw| draw.commitment);
        // Before the sale a draw may still be committed to.
        if commitment.is_some() || !matches!(concert.sale_state, Draft | Scheduled | PreQueue) {
            whole(&self.commitments).insert(concert.id, commitment);
        }
        Ok(commitment)
    }

    /// The seed, if this process has needed it before.
    pub fn known_seed(&self, id: ConcertId) -> Option<DrawSeed> {
        whole(&self.seeds).get(&id).copied()
    }

    /// Gives registered fans their numbers once the line has opened, in bounded steps, each written to the database first.
    async fn draw(&self, concert: &Concert, lane: &Lane, seen: &Promotion) -> Result<(), StoreError> {
        use onsale_domain::concert::SaleState::{Closed, Draft, PreQueue, Scheduled};
        if matches!(concert.sale_state, Draft | Scheduled | PreQueue | Closed) {
            return Ok(());
        }
        if seen.registered > 0 {
            loop {
                match self.lines.draw_next(concert.id, BALLOTS, self.owner).await? {
                    Drawing::Next { life, after, turn, ballots } => {
                        if !self.database.write_draw(concert.id, life, after, turn, &ballots).await? {
                            return Ok(());
                        }
                        let (mut from, seed) = (after, self.seed(concert.id).await?);
                        for part in ballots.chunks(BALLOTS_PLACED) {
                            let Some((_, last)) = part.last() else { break };
                            self.lines.draw_place(concert.id, life, from, turn, part, seed.key(*last)).await?;
                            from += count(part.len());
                        }
                    }
                    Drawing::NeedsNumbers(more) => self.raise(concert, more).await?,
                    // While the line holds after a loss, fans of the pre-queue still show their ballots.
                    Drawing::Nothing | Drawing::Lost => return Ok(()),
                }
            }
        }
        if !seen.holding && !whole(&lane.memory).draw_finished {
            self.database.finish_draw(concert.id).await?;
            whole(&lane.memory).draw_finished = true;
        }
        Ok(())
    }

    /// Notes what a fan was told, for the report; a sample when many are.
    pub fn note_told(&self, id: ConcertId, number: i64, eta: Eta) {
        let lane = self.lane(id);
        let mut told = whole(&lane.told);
        if told.len() < TOLD {
            told.push(Told { number, eta });
        }
    }

    async fn flush_told(&self, id: ConcertId, lane: &Lane, now_ms: i64) {
        let told = std::mem::take(&mut *whole(&lane.told));
        if told.is_empty() {
            return;
        }
        if let Err(error) = self.database.note_told(id, now_ms, &told).await {
            tracing::warn!(%error, concert_id = %id, "estimates could not be noted for the report");
        }
    }
}
