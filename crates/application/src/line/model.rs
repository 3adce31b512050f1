//! What the line knows of a fan, and what a snapshot knows of the line.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use onsale_domain::{
    concert::SaleState,
    ids::{ConcertId, UserId},
    queue::{self, LogKind, Pace, QueuePolicy},
};
use roaring::RoaringBitmap;
use uuid::Uuid;

use super::stock::ConcertStock;

/// What a queue token says, under its signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenClaims {
    /// The concert whose line it is.
    pub concert_id: ConcertId,
    /// The fan it belongs to.
    pub user_id: UserId,
    /// Place in the order of joining, from 1; 0 in the pre-queue, until the draw.
    pub number: i64,
    /// Tells the newest token of a place from older ones, and this place from an earlier one of the same fan.
    pub id: Uuid,
}

/// What a pass for one stream says, under its signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamPass {
    /// The token that it stands for.
    pub claims: TokenClaims,
    /// Tells it from every other pass.
    pub id: Uuid,
    /// When it ends, in milliseconds since 1970.
    pub until_ms: i64,
}

/// How long a pass is good for, in seconds.
pub(super) const STREAM_PASS_SECS: i64 = 30;

impl TokenClaims {
    /// Whether the place is among the numbers that are all in the line's store.
    pub fn is_within(&self, entered: i64) -> bool {
        (1..=entered).contains(&self.number)
    }
}

/// Where a fan is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whereabouts {
    /// Registered for the opening draw.
    PreQueue,
    /// In line.
    Waiting,
    /// Called, and not yet in the log: active in a moment.
    Called,
    /// Back at the head after a turn that lapsed; so many others came back before.
    Back {
        /// Fans before this one.
        ahead: i64,
    },
    /// Past the line until this instant.
    Active {
        /// When the token ends if it is not used.
        expires_at: DateTime<Utc>,
    },
    /// The turn was not used in time. Who shows up until this instant stands at the head again.
    Lapsed {
        /// End of the time to come back.
        until: DateTime<Utc>,
    },
}

/// What a request of the fan's means for a place. This is the one rule of what counts as showing up: joining and using the
/// token behind the line do; reading and following one's place, by whatever means, does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    /// The fan is there: a lapsed turn comes back to the head of the line, once.
    ShowsUp,
    /// The fan, or a program that the fan left open, looks. Nothing changes.
    Looks,
}

/// A fan's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// What the fan's token says.
    pub claims: TokenClaims,
    /// Where the fan is.
    pub at: Whereabouts,
}

/// What came of joining.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joined {
    /// The fan has a place: a new one (`true`) or the one from before. Where the fan is, is as the database has it while the
    /// line's store is away.
    Placed(bool, Held),
    /// The place has just ended, which the database hears in a moment: write it there and ask again.
    Over,
    /// As many wait as may.
    Full,
    /// The line takes nobody in its stage.
    NotOpen(SaleState),
    /// Nothing is left and nothing can come back.
    SoldOut,
}

/// What came of asking the line's store for a fan's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Here.
    Here(Held),
    /// Another token holds the place. The database knows whether that is the newest.
    Moved,
    /// There is none here.
    Nowhere {
        /// The last of the numbers that are all here: a higher one may not have been entered yet.
        entered: i64,
    },
    /// The line has not been loaded on this server.
    Lost,
}

/// What came of using a token at the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Go on.
    Admitted {
        /// Number of the turn.
        number: i64,
    },
    /// The fan still waits.
    Waiting,
    /// Another token holds the place. The database knows whether that is the newest.
    Moved,
    /// There is no place here.
    Nowhere {
        /// The last of the numbers that are all here.
        entered: i64,
    },
    /// The line has not been loaded on this server.
    Lost,
}

/// Whether the line has been loaded on this server of its store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loading {
    /// It lives here.
    Done,
    /// Somebody loads it.
    UnderWay,
    /// Somebody should.
    Wanted,
}

/// What came of ending a fan's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// There was none, or it is another one.
    Nothing,
    /// It is over.
    Place,
    /// It is over, and its slot is free as soon as the database has said that the fan holds no seats.
    PlaceAndAsks,
    /// The line has not been loaded on this server.
    Lost,
}

/// A fan whose turn is over and of whom the database must be asked whether a hold keeps the slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Who.
    pub user_id: UserId,
    /// Tells this question from others about the same fan.
    pub mark: String,
}

/// How long a fan's live holds at a concert last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldLeft {
    /// Who.
    pub user_id: UserId,
    /// Milliseconds to the end of the last of them; 0 when there is none.
    pub left_ms: i64,
}

/// What the store is told of a slot whose turn is over. A slot of a turn stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slot {
    /// Holds of the fan have changed, maybe without a turn: the database must be asked.
    Ask(UserId),
    /// The fan has a live hold: if nothing has a slot for it, the database must be asked.
    Check(UserId),
    /// What the database says to a question: milliseconds for which holds last, 0 when there is none.
    Answer(Asked, i64),
}

/// What came of a sweep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Swept {
    /// It was done.
    Done {
        /// Active tokens found expired.
        expired: i64,
        /// Turns found lapsed.
        lapsed: i64,
        /// Whether a part of the work is left for another call at once.
        more: bool,
        /// Whose holds must be asked about.
        asked: Vec<Asked>,
        /// The last of the numbers that are all in the store.
        entered: i64,
    },
    /// The line has not been loaded on this server.
    Lost,
}

/// What a tick applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tick {
    /// Stage of the sale.
    pub state: SaleState,
    /// Settings.
    pub policy: QueuePolicy,
    /// What the operators say to everyone in line.
    pub message: String,
    /// Which edit of the concert these are from; older ones are not applied.
    pub version: i32,
    /// Whether nothing is left and nothing can come back; `None` when it is not known.
    pub sold_out: Option<bool>,
    /// Fans to call now, beyond the batch but within the limit.
    pub admit: i64,
}

/// A called fan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// Who.
    pub user_id: UserId,
    /// Place in the order of joining.
    pub number: i64,
}

/// What one call of the promoter did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Promotion {
    /// The line's life.
    pub life: i64,
    /// Whether the interval was over, so that this call was the one that called a batch.
    pub due: bool,
    /// Whether a part of the work is left for another call at once.
    pub more: bool,
    /// Fans waiting afterwards.
    pub waiting: i64,
    /// Slots taken: by active fans, those called, and holds that outlive their turns.
    pub active: i64,
    /// The limit.
    pub limit: i64,
    /// The line's clock in milliseconds.
    pub now_ms: i64,
    /// Fans made active since the line exists.
    pub promoted_total: i64,
}

/// What is not yet in the database, at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct News {
    /// The line's life.
    pub life: i64,
    /// The line's clock in milliseconds.
    pub now_ms: i64,
    /// Active fans, and those called.
    pub active: i64,
    /// The limit.
    pub limit: i64,
    /// The newest event that ever was.
    pub newest: (i64, i64),
    /// What happened, oldest first.
    pub events: Vec<Event>,
    /// Entries among them that cannot be read.
    pub odd_entries: Vec<OddEntry>,
    /// Everybody who is called and not open yet; none when there are more events than were asked for.
    pub calls: Vec<Call>,
}

impl News {
    /// How many entries there are, those included that cannot be read.
    pub fn entries(&self) -> usize {
        self.events.len() + self.odd_entries.len()
    }

    /// The newest of them.
    pub fn last_entry(&self) -> Option<(i64, i64)> {
        let events = self.events.iter().map(|event| (event.at_ms, event.counter));
        events.chain(self.odd_entries.iter().map(|odd| (odd.at_ms, odd.counter))).max()
    }
}

/// What came of a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promoted {
    /// It was done.
    Done(Promotion),
    /// The line has not been loaded on this server.
    Lost,
}

/// An entry that should say what happened and cannot be read. It is kept for a person to look at, and the line goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OddEntry {
    /// When, by the line's clock.
    pub at_ms: i64,
    /// Tells entries of the same millisecond apart.
    pub counter: i64,
    /// What it says.
    pub text: String,
}

/// Something that happened in the line, as the store noted it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When, by the line's clock.
    pub at_ms: i64,
    /// Tells events of the same millisecond apart.
    pub counter: i64,
    /// What.
    pub kind: LogKind,
    /// To whom.
    pub numbers: Vec<i64>,
}

/// Numbers of one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LineStats {
    /// Fans waiting, those who came back included.
    pub waiting: i64,
    /// Fans who came back after their turn lapsed and go first.
    pub returning: i64,
    /// Fans active, with those whose holds keep their slots after their turns.
    pub active: i64,
    /// Fans in the pre-queue.
    pub registered: i64,
    /// Highest number given out.
    pub joined_total: i64,
    /// Fans promoted since the line exists.
    pub promoted_total: i64,
    /// Tokens that expired since the line exists.
    pub expired_total: i64,
    /// Turns that lapsed since the line exists.
    pub lapsed_total: i64,
    /// Fans who came back after a lapse since the line exists.
    pub returned_total: i64,
    /// Fans who left, or whose turn ended by payment, since the line exists.
    pub left_total: i64,
    /// Places whose time to come back ended, since the line exists.
    pub forfeited_total: i64,
}

impl LineStats {
    fn turns_seen(&self) -> [i64; 6] {
        let Self { promoted_total, expired_total, lapsed_total, returned_total, left_total, forfeited_total, .. } =
            *self;
        [promoted_total, expired_total, lapsed_total, returned_total, left_total, forfeited_total]
    }
}

/// Numbers that wait no longer although they have not been called, and numbers whose token has changed.
#[derive(Debug, Clone, Default)]
pub struct Departures {
    gone: RoaringBitmap,
    moved: RoaringBitmap,
}

fn small(number: i64) -> u32 {
    u32::try_from(number.max(0)).unwrap_or(u32::MAX)
}

impl Departures {
    /// Notes what the store wrote: `n` left, `mn` moved to another token.
    pub fn note(&mut self, entry: &str) -> Option<()> {
        if let Some(number) = entry.strip_prefix('m') {
            self.moved.insert(number.parse().ok()?);
        } else {
            self.gone.insert(entry.parse().ok()?);
        }
        Some(())
    }

    /// How many numbers above `served` and below `number` wait no longer.
    pub fn between(&self, served: i64, number: i64) -> i64 {
        let range = small(served).saturating_add(1)..small(number);
        if range.is_empty() { 0 } else { i64::try_from(self.gone.range_cardinality(range)).unwrap_or(i64::MAX) }
    }

    /// Whether the number's fan left.
    pub fn has_left(&self, number: i64) -> bool {
        self.gone.contains(small(number))
    }

    /// Whether the place was taken over by another token.
    pub fn has_moved(&self, number: i64) -> bool {
        self.moved.contains(small(number))
    }

    /// Forgets numbers that have been passed.
    pub fn forget_up_to(&mut self, passed: i64) {
        self.gone.remove_range(..=small(passed));
        self.moved.remove_range(..=small(passed));
    }
}

/// A line at one moment, from which any number of polls is answered.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The line's life.
    pub life: i64,
    /// Stage of the sale.
    pub state: SaleState,
    /// Settings, as applied.
    pub policy: QueuePolicy,
    /// What the operators say to everyone in line.
    pub message: String,
    /// Whether nothing is left and nothing can come back.
    pub sold_out: bool,
    /// The line's clock in milliseconds.
    pub now_ms: i64,
    /// When the next promotion is due, by the line's clock.
    pub next_at_ms: i64,
    /// Highest number called.
    pub served: i64,
    /// Highest number made active, from which positions count. What is called and not in the database yet may be undone by a
    /// loss of the store; a position must not grow by that.
    pub passed: i64,
    /// Numbers.
    pub stats: LineStats,
    /// Numbers that wait no longer.
    pub departures: Arc<Departures>,
    /// How many entries of the store's list of departures are in it.
    pub entries_seen: i64,
    /// Seats, when they have been counted.
    pub stock: Option<Arc<ConcertStock>>,
    /// How fast the line was seen to move.
    pub pace: Option<Pace>,
    /// When it was taken, by this process's monotonic clock.
    pub taken_ms: i64,
    /// Whether the store answered the last time it was asked. An older snapshot stays in use while it does not.
    pub reachable: bool,
}

impl Snapshot {
    /// The position of a waiting number.
    pub fn position(&self, number: i64) -> i64 {
        queue::position(number, self.passed, self.departures.between(self.passed, number))
    }

    /// Whether a number that was given out certainly still waits under the token that it was last given.
    pub fn certainly_waits(&self, number: i64) -> bool {
        number > self.served && !self.departures.has_left(number) && !self.departures.has_moved(number)
    }

    /// Whether `later` has anything that a follower of this one must hear of.
    pub fn differs_for_followers(&self, later: &Snapshot) -> bool {
        let seen = |snapshot: &Snapshot| {
            let Snapshot { life, state, sold_out, passed, served, entries_seen, reachable, .. } = *snapshot;
            (life, state, sold_out, passed, served, entries_seen, reachable)
        };
        seen(self) != seen(later)
            || self.message != later.message
            // Turns begin and end without a number of the line being passed: of those who had been called before.
            || self.stats.turns_seen() != later.stats.turns_seen()
    }

    /// Milliseconds until the next promotion is due.
    pub fn next_promotion_ms(&self) -> i64 {
        (self.next_at_ms - self.now_ms).max(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn departures_count_exactly_what_is_between() {
        let mut departures = Departures::default();
        for entry in ["5", "7", "7", "150", "160", "m300"] {
            departures.note(entry).expect("an entry");
        }
        assert_eq!(departures.between(0, 5), 0);
        assert_eq!(departures.between(0, 6), 1);
        assert_eq!(departures.between(5, 8), 1);
        assert_eq!(departures.between(0, 1_000), 4);
        assert_eq!(departures.between(1_000, 5), 0);
        assert!(departures.has_left(150) && !departures.has_left(300) && departures.has_moved(300));
        departures.forget_up_to(150);
        assert_eq!(departures.between(0, 1_000), 1);
        assert_eq!(departures.note("x"), None);
    }
}
