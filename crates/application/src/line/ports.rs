//! What the line needs from outside.

use std::future::Future;

use onsale_domain::{
    ids::{ConcertId, UserId},
    queue::{BallotKey, DrawSeed, Eta},
};
use uuid::Uuid;

use super::{
    model::{
        Admission, Call, Ended, Found, HoldLeft, Intent, Joined, News, QueueTicket, Restored, Slot, Snapshot, Swept,
        Tick, Ticked,
    },
    views::DrawView,
};
use crate::error::StoreError;

/// Signs and reads queue tokens and receipts.
pub trait QueueTokens: Send + Sync + 'static {
    /// Signs a token.
    fn sign_queue(&self, ticket: &QueueTicket) -> String;
    /// The ticket of a genuine token.
    fn verify_queue(&self, token: &str) -> Option<QueueTicket>;
    /// A random number, 0 up to 1, to spread polls with.
    fn jitter(&self) -> f64;
}

/// Signs receipts, which anyone can verify with the published key.
pub trait Receipts: Send + Sync + 'static {
    /// A compact JWS that says which number the place with this id has.
    fn receipt(&self, ticket: &QueueTicket) -> String;
}

/// A snapshot as the store gives it, with what is new on its list of departures.
pub struct RawSnapshot {
    /// All but the departures and the pace.
    pub snapshot: Snapshot,
    /// How many entries come before the new ones.
    pub before: i64,
    /// The new entries, oldest first.
    pub entries: Vec<String>,
}

/// The part of a draw that comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Drawing {
    /// These ballots, in order; the first gets the number after `after`.
    Next {
        /// The line's life.
        life: i64,
        /// Number before the first.
        after: i64,
        /// Tells this part from what others may draw.
        turn: i64,
        /// Fans and their ballots.
        ballots: Vec<(UserId, Uuid)>,
    },
    /// Nothing is left to draw.
    Nothing,
    /// So many more numbers must be recorded first.
    NeedsNumbers(i64),
    /// The line's life has not begun on this server.
    Lost,
}

/// The lines in their store. Every method MUST be atomic, judge time by the store's own clock, and be exact with any
/// number of callers at once.
pub trait LineStore: Send + Sync + 'static {
    /// Gives the fan a place, the same one as long as it lives; a fan who has one takes it over.
    fn join(
        &self,
        concert: ConcertId,
        user: UserId,
        new: Uuid,
        key: Option<BallotKey>,
    ) -> impl Future<Output = Result<Joined, StoreError>> + Send;
    /// The place of a fan; one who shows up and whose turn lapsed stands at the head again.
    fn place(
        &self,
        concert: ConcertId,
        user: UserId,
        shown: Option<&QueueTicket>,
        intent: Intent,
    ) -> impl Future<Output = Result<Found, StoreError>> + Send;
    /// Uses an active token: claims it, or renews it when less than half is left. Its slot MUST last for `lasts_ms` from
    /// now, whatever becomes of the turn.
    fn admit(&self, ticket: &QueueTicket, lasts_ms: i64) -> impl Future<Output = Result<Admission, StoreError>> + Send;
    /// Ends the fan's place. The slot of a turn MUST stay taken until the database has been asked about holds.
    fn leave(&self, concert: ConcertId, user: UserId) -> impl Future<Output = Result<Ended, StoreError>> + Send;
    /// Ends the turn with this number, which was paid. A newer place of the fan MUST stay as it is.
    fn end_paid(
        &self,
        concert: ConcertId,
        user: UserId,
        turn: i64,
    ) -> impl Future<Output = Result<Ended, StoreError>> + Send;
    /// Ends turns that ran out. Their slots MUST stay taken until [`LineStore::keep`] has been told about holds.
    fn sweep(&self, concert: ConcertId) -> impl Future<Output = Result<Swept, StoreError>> + Send;
    /// Tells what holds keep slots whose turns are over. Answers of how many fans the database must be asked.
    fn keep(&self, concert: ConcertId, slots: &[Slot]) -> impl Future<Output = Result<i64, StoreError>> + Send;
    /// One tick, after a sweep: settings, and when the interval is over the calls.
    fn promote(&self, concert: ConcertId, tick: &Tick) -> impl Future<Output = Result<Ticked, StoreError>> + Send;
    /// Up to `most` events that are not in the database yet, and who is called; `None` when the line's life has not begun
    /// on this server, unless `any` will do.
    fn news(
        &self,
        concert: ConcertId,
        most: usize,
        any: bool,
    ) -> impl Future<Output = Result<Option<News>, StoreError>> + Send;
    /// Makes called fans active. Answers how many.
    fn open(
        &self,
        concert: ConcertId,
        life: i64,
        calls: &[Call],
    ) -> impl Future<Output = Result<i64, StoreError>> + Send;
    /// The line now, with what came onto the list of departures after `known` entries; `None` when the line's life has
    /// not begun on this server.
    fn snapshot(
        &self,
        concert: ConcertId,
        known: i64,
    ) -> impl Future<Output = Result<Option<RawSnapshot>, StoreError>> + Send;
    /// Gives back the place that a token of an earlier life proves. `verdict` is what the admission log says of a number
    /// that has been passed.
    fn restore(
        &self,
        ticket: &QueueTicket,
        verdict: Option<Verdict>,
        key: Option<BallotKey>,
        intent: Intent,
    ) -> impl Future<Output = Result<Restored, StoreError>> + Send;

    /// Drops events up to and with this one, which are in the database.
    fn forget(
        &self,
        concert: ConcertId,
        life: i64,
        last: (i64, i64),
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Lets numbers be given out up to `ceiling`. `false` when the line is in another life.
    fn raise(
        &self,
        concert: ConcertId,
        life: i64,
        ceiling: i64,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Before life `life` begins: loads admissions and departures.
    fn merge(
        &self,
        concert: ConcertId,
        life: i64,
        policy_ms: (i64, i64),
        admissions: &[LiveAdmission],
        departed: &[i64],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Before life `life` begins: gives ballots that the database has drawn, and that still are in the pre-queue, their
    /// numbers.
    fn merge_drawn(
        &self,
        concert: ConcertId,
        life: &NewLife,
        drawn: &[(i64, UserId, Uuid)],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Before life `life` begins, after the admissions: the slots of fans who hold seats without a turn.
    fn merge_held(
        &self,
        concert: ConcertId,
        life: i64,
        first: bool,
        held: &[HoldLeft],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// How many are in the pre-queue.
    fn registered(&self, concert: ConcertId) -> impl Future<Output = Result<i64, StoreError>> + Send;
    /// Everybody who is active in the store.
    fn active_fans(&self, concert: ConcertId) -> impl Future<Output = Result<Vec<UserId>, StoreError>> + Send;
    /// Before life `life` begins: ends active tokens that the database knows to be over.
    fn prune(
        &self,
        concert: ConcertId,
        life: i64,
        fans: &[UserId],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Begins a life. `false` when it, or a later one, has begun.
    fn begin(
        &self,
        concert: ConcertId,
        life: &NewLife,
        hold_secs: i32,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// The next ballots of the opening draw, for one `owner` at a time.
    fn draw_next(
        &self,
        concert: ConcertId,
        most: usize,
        owner: Uuid,
    ) -> impl Future<Output = Result<Drawing, StoreError>> + Send;
    /// Puts drawn fans into line; `last` is the key of the last of them. Answers how many.
    fn draw_place(
        &self,
        concert: ConcertId,
        life: i64,
        after: i64,
        turn: i64,
        ballots: &[(UserId, Uuid)],
        last: BallotKey,
    ) -> impl Future<Output = Result<i64, StoreError>> + Send;
}

/// A life of a line that the database has recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLife {
    /// 1, 2, 3...
    pub life: i64,
    /// Highest number that may have been given out before.
    pub given_out: i64,
    /// Numbers skipped by this life and earlier ones, because nobody knew whether they had been given out: first and last.
    pub jumps: Vec<(i64, i64)>,
    /// Highest number that may be given out now.
    pub ceiling: i64,
    /// Highest number that was called.
    pub served: i64,
    /// Where an opening draw stands: the last number drawn, and the last number of its block.
    pub draw: Option<(i64, i64)>,
    /// The newest turn of the draw.
    pub draw_turn: i64,
    /// The key of the last ballot drawn.
    pub draw_key: Option<BallotKey>,
    /// The newest event in the log.
    pub newest: (i64, i64),
}

/// What the database knows of a line's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ceiling {
    /// The life they belong to.
    pub life: i64,
    /// Highest number that may be given out.
    pub ceiling: i64,
    /// Highest number that was certainly given out.
    pub seen: i64,
    /// Most fans ever seen in the pre-queue.
    pub registered: i64,
}

/// An admission that has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveAdmission {
    /// Who.
    pub user_id: UserId,
    /// Place in the order of joining.
    pub number: i64,
    /// Id of the place.
    pub id: Uuid,
    /// When the token ends whatever happens, by the line's clock.
    pub last_end_ms: i64,
    /// Whether it has been used.
    pub arrived: bool,
    /// Whether the number had been called before.
    pub again: bool,
}

/// What came of writing to the admission log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It is there.
    Done,
    /// Somebody else has written since the news was read: read it again.
    Stale,
    /// The line has another life by now.
    OtherLife,
}

/// What the admission log says of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was never called.
    Missed,
    /// The turn lapsed, and the fan may come back until this instant.
    Lapsed {
        /// End of the time to come back, by the line's clock in milliseconds.
        until_ms: i64,
    },
    /// The turn lapsed, and the fan had come back.
    Returned,
    /// The turn was used or is under way.
    Over,
}

/// What was told to a fan who joined now, to be held against what happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// The number.
    pub number: i64,
    /// The estimate.
    pub eta: Eta,
}

/// The line in the database: lives, ceilings, the admission log, and the draw. Writes that name a life are
/// refused when the line has another life by now, so that a process that talks to a store of the past changes nothing.
pub trait LineJournal: Send + Sync + 'static {
    /// Records the next life of a line, whose numbers start above all that may have been given out.
    fn begin_life(&self, concert: ConcertId, lead: i64) -> impl Future<Output = Result<NewLife, StoreError>> + Send;
    /// What is recorded of the numbers.
    fn ceiling(&self, concert: ConcertId) -> impl Future<Output = Result<Ceiling, StoreError>> + Send;
    /// Records numbers.
    fn raise(&self, concert: ConcertId, to: Ceiling) -> impl Future<Output = Result<bool, StoreError>> + Send;
    /// Writes events and then calls to the log, each once however often it is written. `longest_ms` after the news a
    /// token of these calls has ended whatever happens.
    fn write(
        &self,
        concert: ConcertId,
        news: &News,
        longest_ms: i64,
    ) -> impl Future<Output = Result<Written, StoreError>> + Send;
    /// The number of this place if the log has it as admitted and not ended. For the gate while the line's store is away.
    fn admitted(&self, ticket: &QueueTicket) -> impl Future<Output = Result<Option<i64>, StoreError>> + Send;
    /// How long the live holds of these fans at the concert last; nothing for those who have none.
    fn holds_of(
        &self,
        concert: ConcertId,
        fans: &[UserId],
    ) -> impl Future<Output = Result<Vec<HoldLeft>, StoreError>> + Send;
    /// How long the live holds at the concert last, by fan, behind this one.
    fn holds(
        &self,
        concert: ConcertId,
        after: UserId,
        most: i64,
    ) -> impl Future<Output = Result<Vec<HoldLeft>, StoreError>> + Send;
    /// Admissions that have not ended, by number. A turn whose reservation is paid has ended.
    fn live_admissions(
        &self,
        concert: ConcertId,
        after: i64,
        most: i64,
    ) -> impl Future<Output = Result<Vec<LiveAdmission>, StoreError>> + Send;
    /// Numbers above `after` whose fans left while they waited, in order.
    fn departed(
        &self,
        concert: ConcertId,
        after: i64,
        most: i64,
    ) -> impl Future<Output = Result<Vec<i64>, StoreError>> + Send;
    /// What the log says of a number whose fan may come back for `return_ms` after a lapsed turn.
    fn verdict(
        &self,
        concert: ConcertId,
        number: i64,
        return_ms: i64,
    ) -> impl Future<Output = Result<Verdict, StoreError>> + Send;
    /// Notes what fans are told, to be held against what happens.
    fn note_told(
        &self,
        concert: ConcertId,
        at_ms: i64,
        told: &[Told],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The seed of the concert's draw; a fresh one is recorded when there is none.
    fn draw_seed(
        &self,
        concert: ConcertId,
        fresh: DrawSeed,
    ) -> impl Future<Output = Result<DrawSeed, StoreError>> + Send;
    /// Records the numbers of the opening draw, once; answers those that were recorded first. `None` when the line has
    /// another life.
    fn open_draw(
        &self,
        concert: ConcertId,
        life: i64,
        block: (i64, i64),
    ) -> impl Future<Output = Result<Option<(i64, i64)>, StoreError>> + Send;
    /// Writes the next part of the draw. `false` when a newer turn has been written.
    fn write_draw(
        &self,
        concert: ConcertId,
        life: i64,
        after: i64,
        turn: i64,
        ballots: &[(UserId, Uuid)],
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;
    /// Drawn ballots with numbers above `after`, in order: number, fan, ballot.
    fn ballots(
        &self,
        concert: ConcertId,
        after: i64,
        most: i64,
    ) -> impl Future<Output = Result<Vec<(i64, UserId, Uuid)>, StoreError>> + Send;
    /// The number that a ballot drew.
    fn drawn(&self, concert: ConcertId, ballot: Uuid) -> impl Future<Output = Result<Option<i64>, StoreError>> + Send;
    /// What is public of the concert's draw; `None` when it has none.
    fn draw(&self, concert: ConcertId) -> impl Future<Output = Result<Option<DrawView>, StoreError>> + Send;
    /// Marks the draw as done, so that the seed is published.
    fn finish_draw(&self, concert: ConcertId) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Fresh seeds.
pub trait Seeds: Send + Sync + 'static {
    /// 32 random bytes.
    fn seed(&self) -> DrawSeed;
}
