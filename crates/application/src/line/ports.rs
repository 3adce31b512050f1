//! What the line needs from outside.

use std::future::Future;

use onsale_domain::{
    concert::SaleState,
    ids::{ConcertId, UserId},
    queue::{BallotKey, DrawSeed, Eta},
};
use uuid::Uuid;

use super::{
    model::{
        Admission, Call, Ended, Found, HoldLeft, Intent, Loading, News, Promoted, Slot, Snapshot, StreamPass, Swept,
        Tick, TokenClaims, Whereabouts,
    },
    place::{Entrants, Place, Stand},
};
use crate::{catalogue::Concert, error::StoreError};

/// Signs and reads queue tokens and receipts.
pub trait QueueTokens: Send + Sync + 'static {
    /// Signs a token.
    fn sign_queue(&self, claims: &TokenClaims) -> String;
    /// The claims of a genuine token.
    fn verify_queue(&self, token: &str) -> Option<TokenClaims>;
    /// Signs a pass.
    fn sign_pass(&self, pass: &StreamPass) -> String;
    /// What a genuine pass says.
    fn verify_pass(&self, pass: &str) -> Option<StreamPass>;
    /// A random number, 0 up to 1, to spread polls with.
    fn jitter(&self) -> f64;
}

/// Signs receipts, which anyone can verify with the published key.
pub trait Receipts: Send + Sync + 'static {
    /// A compact JWS that says which number the place has, or which ballot, and since when.
    fn receipt(&self, concert: ConcertId, place: &Place) -> String;
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

/// The lines in their store: who is where, in which order, and until when. Every method MUST be atomic, judge time by the
/// store's own clock, and be exact with any number of callers at once. Everything in it comes from the database or gets there
/// within a tick, so it may be lost at any moment.
pub trait LineStore: Send + Sync + 'static {
    /// Enters places that the database has, and answers where each fan is, nothing for places that are over. Doing it twice, late
    /// or in another order MUST be doing it once. `None` when the line has not been loaded on this server.
    fn enter(
        &self,
        concert: ConcertId,
        entrants: &Entrants,
    ) -> impl Future<Output = Result<Option<Vec<Option<Whereabouts>>>, StoreError>> + Send;
    /// The place of a fan; one who shows up and whose turn lapsed stands at the head again.
    fn place(
        &self,
        concert: ConcertId,
        user: UserId,
        shown: Option<&TokenClaims>,
        intent: Intent,
    ) -> impl Future<Output = Result<Found, StoreError>> + Send;
    /// Uses an active token: claims it, or renews it when less than half is left. Its slot MUST last for `lasts_ms` from
    /// now, whatever becomes of the turn.
    fn admit(&self, claims: &TokenClaims, lasts_ms: i64) -> impl Future<Output = Result<Admission, StoreError>> + Send;
    /// Ends the fan's place with this number, which the database has ended. The slot of a turn MUST stay taken until the
    /// database has been asked about holds.
    fn leave(
        &self,
        concert: ConcertId,
        user: UserId,
        number: i64,
    ) -> impl Future<Output = Result<Ended, StoreError>> + Send;
    /// Ends the turn with this number, which was paid. A newer place of the fan MUST stay as it is.
    fn end_paid(
        &self,
        concert: ConcertId,
        user: UserId,
        turn: i64,
    ) -> impl Future<Output = Result<Ended, StoreError>> + Send;
    /// Ends turns that ran out. Their slots MUST stay taken until [`LineStore::keep`] has been told about holds.
    fn sweep(&self, concert: ConcertId) -> impl Future<Output = Result<Swept, StoreError>> + Send;
    /// Who has a turn, or had one and may come back: at most `most`.
    fn turns(&self, concert: ConcertId, most: i64) -> impl Future<Output = Result<Vec<Call>, StoreError>> + Send;
    /// Tells what holds keep slots whose turns are over. Answers of how many fans the database must be asked.
    fn keep(&self, concert: ConcertId, slots: &[Slot]) -> impl Future<Output = Result<i64, StoreError>> + Send;
    /// One tick, after a sweep: settings, and when the interval is over the calls. Nobody beyond the first number that is missing
    /// MUST be called.
    fn promote(&self, concert: ConcertId, tick: &Tick) -> impl Future<Output = Result<Promoted, StoreError>> + Send;
    /// Up to `most` events that are not in the database yet, and who is called; `None` when the line has not been loaded on this
    /// server, unless `any` will do.
    fn news(
        &self,
        concert: ConcertId,
        most: usize,
        any: bool,
    ) -> impl Future<Output = Result<Option<News>, StoreError>> + Send;
    /// What is in the database now: events up to `last` are dropped, called fans made active, and places taken away that are
    /// over there. Answers how many became active.
    fn written(
        &self,
        concert: ConcertId,
        life: i64,
        last: Option<(i64, i64)>,
        calls: &[Call],
        over: &[Call],
    ) -> impl Future<Output = Result<i64, StoreError>> + Send;
    /// The line now, with what came onto the list of departures after `known` entries; `None` when the line has not been loaded
    /// on this server.
    fn snapshot(
        &self,
        concert: ConcertId,
        known: i64,
    ) -> impl Future<Output = Result<Option<RawSnapshot>, StoreError>> + Send;

    /// Whether nobody has used this id before; it is remembered for so many seconds.
    fn first_use(
        &self,
        concert: ConcertId,
        id: Uuid,
        secs: i64,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Whether the line has been loaded on this server.
    fn loading(&self, concert: ConcertId) -> impl Future<Output = Result<Loading, StoreError>> + Send;
    /// Empties the line to load it anew, but for newer settings than those of `concert`. Like each step, `false` when a later
    /// life has begun or is being loaded.
    fn begin_load(&self, concert: &Concert, life: &NewLife) -> impl Future<Output = Result<bool, StoreError>> + Send;
    /// Loads places.
    fn load_places(
        &self,
        concert: ConcertId,
        life: i64,
        places: &[Place],
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;
    /// Loads slots of fans who hold seats without a turn. After the places.
    fn load_holds(
        &self,
        concert: ConcertId,
        life: i64,
        holds: &[HoldLeft],
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;
    /// The line lives, with all places up to number `entered`.
    fn end_load(
        &self,
        concert: ConcertId,
        life: &NewLife,
        entered: i64,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;
}

/// A life of a line that the database has recorded: from now on it refuses what the line's store says of an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewLife {
    /// 1, 2, 3...
    pub life: i64,
    /// The last number given out.
    pub seq: i64,
    /// Highest number that was called, and when that was.
    pub passed: i64,
    /// By the line's clock in milliseconds; 0 for never.
    pub last_call_ms: i64,
    /// The newest event in the log.
    pub newest: (i64, i64),
    /// What the log counts.
    pub totals: Totals,
}

/// How often what happened since a line exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Fans made active.
    pub promoted: i64,
    /// Turns that ran out.
    pub expired: i64,
    /// Turns that were not used.
    pub lapsed: i64,
    /// Fans who came back after a lapse.
    pub returned: i64,
    /// Fans who left, or paid.
    pub left: i64,
    /// Places whose time to come back ended.
    pub forfeited: i64,
}

/// What the database has of a line as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LineHead {
    /// How often the line has been loaded.
    pub life: i64,
    /// The last number given out.
    pub seq: i64,
    /// Highest number that was called.
    pub passed: i64,
    /// Whether joins are refused because nothing is left.
    pub sold_out: bool,
    /// Whether there are ballots that have no number yet.
    pub draws: bool,
    /// The last of the numbers that are all there: the numbers of a draw are set aside before they are drawn.
    pub whole: i64,
}

/// A fan who joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Joiner {
    /// Who.
    pub user_id: UserId,
    /// Id of a new place, or of the newest token of the one that there is.
    pub id: Uuid,
}

/// What the database says to a fan who joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// A new place with this number.
    New(i64),
    /// The fan has a place, which is this fan's newest device's now.
    Known(i64, Stand),
    /// The fan has a ballot: a new one (`true`) or the one from before.
    Ballot(bool, Uuid),
    /// As many wait as may.
    Full,
    /// Nothing is left.
    SoldOut,
    /// The line takes nobody in this stage, or nobody like this.
    NotOpen(SaleState),
    /// The numbers of the opening draw must be set aside first.
    Opening,
}

/// What came of leaving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// The place with this number is over; 0 for a ballot.
    Place(i64),
    /// The fan's ballot is being drawn: ask again in a moment.
    BeingDrawn,
    /// There was none.
    Nothing,
}

/// What came of writing to the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// It is there. These were called and are over: nobody may let them in.
    Done(Vec<Call>),
    /// Somebody else has written since the news was read: read it again.
    Stale,
    /// The line has another life by now.
    OtherLife,
}

/// What was told to a fan who joined now, to be held against what happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// The number.
    pub number: i64,
    /// The estimate.
    pub eta: Eta,
}

/// The places of lines on disk: each is there before its fan hears of it.
pub trait LinePlaces: Send + Sync + 'static {
    /// Gives each fan, who is there once, the next number or the live place from before. All of them or nothing; nothing of a
    /// fan whose place has just ended, or when the line has no row yet.
    fn join(
        &self,
        concert: ConcertId,
        joiners: &[Joiner],
    ) -> impl Future<Output = Result<Vec<(UserId, Taken)>, StoreError>> + Send;
    /// The same for a pre-queue: ballots.
    fn register(
        &self,
        concert: ConcertId,
        joiners: &[(Joiner, BallotKey)],
    ) -> impl Future<Output = Result<Vec<(UserId, Taken)>, StoreError>> + Send;
    /// Ends the live place of a fan who leaves: the one with this number, or whichever it is.
    fn leave(
        &self,
        concert: ConcertId,
        user: UserId,
        number: Option<i64>,
    ) -> impl Future<Output = Result<Left, StoreError>> + Send;
    /// The live place or ballot of a fan, or with `past` the newest one.
    fn place_of(
        &self,
        concert: ConcertId,
        user: UserId,
        past: bool,
    ) -> impl Future<Output = Result<Option<Place>, StoreError>> + Send;
    /// The line as a whole. Makes its row when there is none.
    fn head(&self, concert: ConcertId) -> impl Future<Output = Result<LineHead, StoreError>> + Send;
    /// Records whether joins are refused because nothing is left.
    fn note_sold_out(&self, concert: ConcertId, sold_out: bool) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Places behind a number, in order, up to number `to`: all that live, and those over beyond number `beyond`.
    fn places(
        &self,
        concert: ConcertId,
        after: i64,
        to: i64,
        beyond: i64,
        most: i64,
    ) -> impl Future<Output = Result<Vec<Place>, StoreError>> + Send;
    /// Ballots behind this one, in the order in which they are drawn.
    fn ballots(
        &self,
        concert: ConcertId,
        after: Option<(BallotKey, Uuid)>,
        most: i64,
    ) -> impl Future<Output = Result<Vec<Place>, StoreError>> + Send;
    /// Which of these turns are over, and whether because they were paid.
    fn turns_over(
        &self,
        concert: ConcertId,
        turns: &[Call],
    ) -> impl Future<Output = Result<Vec<(Call, bool)>, StoreError>> + Send;

    /// The number of this token's place if it is active. For the gate while the line's store is away.
    fn admitted(&self, claims: &TokenClaims) -> impl Future<Output = Result<Option<i64>, StoreError>> + Send;
}

/// What the line's store decides and the database must know: turns, and with them the published log. Writes that name a life are
/// refused when the line has another life by now, so that a process that talks to a store of the past changes nothing.
pub trait LineJournal: Send + Sync + 'static {
    /// Records the next life of a line.
    fn begin_life(&self, concert: ConcertId) -> impl Future<Output = Result<NewLife, StoreError>> + Send;
    /// Turns that have been paid and that the log has not heard of.
    fn paid_turns(&self, concert: ConcertId) -> impl Future<Output = Result<Vec<i64>, StoreError>> + Send;
    /// Writes events and then calls to the places and the log, each once however often it is written. `longest_ms` after the
    /// news a token of these calls has ended whatever happens.
    fn write(
        &self,
        concert: ConcertId,
        news: &News,
        longest_ms: i64,
    ) -> impl Future<Output = Result<Written, StoreError>> + Send;
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
    /// Notes what fans are told, to be held against what happens.
    fn note_told(
        &self,
        concert: ConcertId,
        at_ms: i64,
        told: &[Told],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Opening draws; what is public of them stands in [`LineRecords`](super::LineRecords).
pub trait LineDraws: Send + Sync + 'static {
    /// The seed of the concert's draw; a fresh one is recorded when there is none.
    fn draw_seed(
        &self,
        concert: ConcertId,
        fresh: DrawSeed,
    ) -> impl Future<Output = Result<DrawSeed, StoreError>> + Send;
    /// Sets the next numbers aside for the ballots, once the line has opened; whoever joins from now on stands behind them.
    fn open_draw(&self, concert: ConcertId) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Draws the next part. Answers how many places it made, and the last number drawn so far; `None` when somebody else draws
    /// just now.
    fn draw_part(
        &self,
        concert: ConcertId,
        most: i64,
    ) -> impl Future<Output = Result<Option<(i64, i64)>, StoreError>> + Send;
    /// Marks the draw as done, so that the seed is published. `false` when somebody is left to be drawn.
    fn finish_draw(&self, concert: ConcertId) -> impl Future<Output = Result<bool, StoreError>> + Send;
}

/// Fresh seeds.
pub trait Seeds: Send + Sync + 'static {
    /// 32 random bytes.
    fn seed(&self) -> DrawSeed;
}
