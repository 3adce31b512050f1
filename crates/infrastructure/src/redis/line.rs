//! The line in Redis: sorted sets, moved by the scripts beside this file.

use std::sync::Arc;

use deadpool_redis::redis::{self, Value};
use onsale_application::{
    catalogue::Concert,
    error::StoreError,
    line::{
        Admission, Asked, Call, Ended, Entrants, Entry, Event, Found, Held, HoldLeft, Intent, LineStats, LineStore,
        Loading, NewLife, News, OddEntry, Place, Promoted, Promotion, RawSnapshot, Slot, Snapshot, Stand, Swept, Tick,
        TokenClaims, Whereabouts,
    },
};
use onsale_domain::{
    ids::{ConcertId, UserId},
    queue::{LogKind, QueuePolicy},
};
use uuid::Uuid;

use super::{
    script::{Arguments, Group, Reply, odd},
    scripts::Scripts,
    shared::SharedRedis,
    words::{
        ASK, AT_ACTIVE, AT_BACK, AT_GONE, AT_LAPSED, AT_MOVED, AT_PRE_QUEUE, AT_UNUSED, AT_WAITING, CHECK, DONE,
        FILLED, LOOKS, LOST, MOVED, MUST_ASK, NO, NOWHERE, SHOWS_UP, UNDER_WAY, UNKNOWN, WAITING, YES,
    },
};

/// Most entries of the list of gone numbers that one snapshot brings.
const MOST_ENTRIES: i64 = 10_000;

/// All lines, one set of keys per concert.
pub struct RedisLines {
    redis: Arc<SharedRedis>,
    prefix: String,
    scripts: Scripts,
}

/// The names of a line's keys, in the order in which the scripts take them.
pub(super) const LINE_KEYS: [&str; 14] =
    ["cfg", "st", "tok", "wait", "back", "call", "act", "last", "kept", "lapsed", "gone", "ahead", "came", "log"];

fn word_of(intent: Intent) -> &'static str {
    match intent {
        Intent::ShowsUp => SHOWS_UP,
        Intent::Looks => LOOKS,
    }
}

fn lossy(bytes: Result<&[u8], StoreError>) -> String {
    bytes.map(|bytes| String::from_utf8_lossy(bytes).chars().take(200).collect()).unwrap_or_default()
}

fn event_of(entry: &Group<'_>) -> Option<Event> {
    let numbers = entry.text("numbers").ok()?.split(',').map(str::parse).collect::<Result<_, _>>().ok()?;
    Some(Event {
        at_ms: entry.number("ms").ok()?,
        counter: entry.number("counter").ok()?,
        kind: LogKind::parse(entry.text("kind").ok()?)?,
        numbers,
    })
}

fn calls_of(reply: &Reply, list: &'static str) -> Result<Vec<Call>, StoreError> {
    let call = |c: Group<'_>| Ok(Call { user_id: UserId(c.id("fan")?), number: c.number("number")? });
    reply.groups(list)?.map(call).collect()
}

fn policy_text(policy: &QueuePolicy) -> Result<String, StoreError> {
    serde_json::to_string(policy).map_err(|error| StoreError::Broken(error.into()))
}

fn snapshot_of(reply: &Reply) -> Result<RawSnapshot, StoreError> {
    let (waiting, returning) = (reply.number("waiting")?, reply.number("returning")?);
    let snapshot = Snapshot {
        life: reply.number("life")?,
        state: reply.state("state")?,
        policy: serde_json::from_str(reply.text("policy")?).map_err(|_| odd("settings that cannot be read"))?,
        message: reply.text("message")?.to_owned(),
        sold_out: reply.flag("sold")?,
        now_ms: reply.number("now")?,
        next_at_ms: reply.number("next_at")?,
        served: reply.number("served")?,
        passed: reply.number("passed")?,
        stats: LineStats {
            waiting: waiting + returning,
            returning,
            active: reply.number("active")?,
            registered: reply.number("registered")?,
            joined_total: reply.number("seq")?,
            promoted_total: reply.number("promoted")?,
            expired_total: reply.number("expired")?,
            lapsed_total: reply.number("lapsed")?,
            returned_total: reply.number("returned")?,
            left_total: reply.number("left")?,
            forfeited_total: reply.number("forfeited")?,
        },
        departures: Arc::default(),
        entries_seen: 0,
        stock: None,
        pace: None,
        taken_ms: 0,
        reachable: true,
    };
    let entry = |entry: Group<'_>| entry.text("entry").map(str::to_owned);
    let entries = reply.groups("entries")?.map(entry).collect::<Result<_, _>>()?;
    Ok(RawSnapshot { snapshot, before: reply.number("before")?, entries })
}

fn ended(status: i64) -> Ended {
    match status {
        DONE => Ended::Place,
        MUST_ASK => Ended::PlaceAndAsks,
        NOWHERE => Ended::Nothing,
        _ => Ended::Lost,
    }
}

impl RedisLines {
    /// Lines whose keys start with `prefix`.
    pub fn new(redis: Arc<SharedRedis>, prefix: &str) -> Self {
        Self { redis, prefix: prefix.to_owned(), scripts: Scripts::new() }
    }

    /// The keys of a concert's line. The braces make Redis Cluster keep them on one node.
    pub fn keys(&self, concert: ConcertId) -> [String; LINE_KEYS.len()] {
        LINE_KEYS.map(|name| format!("{}:line:{{{concert}}}:{name}", self.prefix))
    }

    /// Removes the keys of a line; answers how many there were. Nothing else does, and they have no time to live: a line lasts as
    /// long as its concert, and concerts stay, but for those of load runs.
    pub async fn forget(&self, concert: ConcertId) -> Result<i64, StoreError> {
        let mut command = redis::cmd("UNLINK");
        command.arg(self.keys(concert).as_slice());
        self.redis.run(&command).await
    }

    /// Runs a script for a line; answers its status and what it declares.
    async fn run(&self, concert: ConcertId, arguments: Arguments<'_>) -> Result<(i64, Reply), StoreError> {
        let (script, values) = arguments.checked()?;
        let answer: Value = self.redis.run_script(&script.lua, &self.keys(concert), &values).await?;
        script.read(answer)
    }
}

impl LineStore for RedisLines {
    async fn enter(
        &self,
        concert: ConcertId,
        entrants: &Entrants,
    ) -> Result<Option<Vec<Option<Whereabouts>>>, StoreError> {
        let ((first, last), how) = match entrants.why {
            Entry::Joined(range) => (range.unwrap_or_default(), word_of(Intent::ShowsUp)),
            Entry::Asked(intent) => ((0, 0), word_of(intent)),
            Entry::Filled(first, last) => ((first, last), FILLED),
            Entry::Lost => ((0, 0), LOST),
        };
        let arguments = self.scripts.enter.arguments();
        let mut arguments = arguments.number("first_number", first).number("last_number", last).text("how", how);
        for place in &entrants.places {
            arguments = arguments
                .id("fan", place.user_id.0)
                .number("number", place.number)
                .optional_id("id", place.token_id)
                .flag("moved", place.moved);
        }
        let (status, reply) = self.run(concert, arguments).await?;
        if status != DONE {
            return Ok(None);
        }
        reply.groups("places")?.map(|place| place.whereabouts()).collect::<Result<_, _>>().map(Some)
    }

    async fn place(
        &self,
        concert: ConcertId,
        user: UserId,
        shown: Option<&TokenClaims>,
        intent: Intent,
    ) -> Result<Found, StoreError> {
        let arguments = self
            .scripts
            .place
            .arguments()
            .id("fan", user.0)
            .optional_id("shown", shown.map(|claims| claims.id))
            .text("how", word_of(intent));
        let (status, reply) = self.run(concert, arguments).await?;
        match status {
            DONE => {
                let (number, id) = (reply.number("number")?, reply.id("id")?);
                let claims = TokenClaims { concert_id: concert, user_id: user, number, id };
                let at = reply.whereabouts()?.ok_or_else(|| odd("no place"))?;
                Ok(Found::Here(Held { claims, at }))
            }
            MOVED => Ok(Found::Moved),
            NOWHERE => Ok(Found::Nowhere { entered: reply.number("entered")? }),
            _ => Ok(Found::Lost),
        }
    }

    async fn admit(&self, claims: &TokenClaims, lasts_ms: i64) -> Result<Admission, StoreError> {
        let arguments = self.scripts.admit.arguments().id("fan", claims.user_id.0).id("shown", claims.id);
        let (status, reply) = self.run(claims.concert_id, arguments.number("lasts_ms", lasts_ms)).await?;
        match status {
            DONE => Ok(Admission::Admitted { number: reply.number("number")? }),
            WAITING => Ok(Admission::Waiting),
            MOVED => Ok(Admission::Moved),
            NOWHERE => Ok(Admission::Nowhere { entered: reply.number("entered")? }),
            _ => Ok(Admission::Lost),
        }
    }

    async fn leave(&self, concert: ConcertId, user: UserId, number: i64) -> Result<Ended, StoreError> {
        let arguments = self.scripts.leave.arguments().id("fan", user.0).number("number", number);
        Ok(ended(self.run(concert, arguments).await?.0))
    }

    async fn end_paid(&self, concert: ConcertId, user: UserId, turn: i64) -> Result<Ended, StoreError> {
        let arguments = self.scripts.end_paid.arguments().id("fan", user.0).number("number", turn);
        Ok(ended(self.run(concert, arguments).await?.0))
    }

    async fn sweep(&self, concert: ConcertId) -> Result<Swept, StoreError> {
        let (status, reply) = self.run(concert, self.scripts.sweep.arguments()).await?;
        if status != DONE {
            return Ok(Swept::Lost);
        }
        let asked = |a: Group<'_>| Ok(Asked { user_id: UserId(a.id("fan")?), mark: a.text("mark")?.to_owned() });
        Ok(Swept::Done {
            expired: reply.number("expired")?,
            lapsed: reply.number("lapsed")?,
            more: reply.flag("more")?,
            asked: reply.groups("asked")?.map(asked).collect::<Result<_, StoreError>>()?,
            entered: reply.number("entered")?,
        })
    }

    async fn keep(&self, concert: ConcertId, slots: &[Slot]) -> Result<i64, StoreError> {
        let mut arguments = self.scripts.keep.arguments();
        for slot in slots {
            arguments = match slot {
                Slot::Ask(fan) => arguments.id("fan", fan.0).text("told", ASK).text("mark", ""),
                Slot::Check(fan) => arguments.id("fan", fan.0).text("told", CHECK).text("mark", ""),
                Slot::Answer(asked, left_ms) => {
                    arguments.id("fan", asked.user_id.0).number("told", *left_ms).text("mark", &asked.mark)
                }
            };
        }
        // Where the line does not live, the next life finds out.
        let (status, reply) = self.run(concert, arguments).await?;
        if status == DONE { reply.number("asked") } else { Ok(0) }
    }

    async fn turns(&self, concert: ConcertId, most: i64) -> Result<Vec<Call>, StoreError> {
        let (_, reply) = self.run(concert, self.scripts.turns.arguments().number("most", most)).await?;
        calls_of(&reply, "turns")
    }

    async fn promote(&self, concert: ConcertId, tick: &Tick) -> Result<Promoted, StoreError> {
        let sold = match tick.sold_out {
            Some(true) => YES,
            Some(false) => NO,
            None => UNKNOWN,
        };
        let arguments = self
            .scripts
            .promote
            .arguments()
            .number("version", tick.version)
            .text("state", tick.state.as_str())
            .text("policy_text", &policy_text(&tick.policy)?)
            .text("message", &tick.message)
            .text("sold", sold)
            .number("admit", tick.admit);
        let (status, reply) = self.run(concert, arguments).await?;
        if status != DONE {
            return Ok(Promoted::Lost);
        }
        Ok(Promoted::Done(Promotion {
            life: reply.number("life")?,
            due: reply.flag("due")?,
            more: reply.flag("more")?,
            waiting: reply.number("waiting")?,
            active: reply.number("taken")?,
            limit: reply.number("limit")?,
            now_ms: reply.number("now")?,
            promoted_total: reply.number("promoted")?,
        }))
    }

    async fn news(&self, concert: ConcertId, most: usize, any: bool) -> Result<Option<News>, StoreError> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let arguments = self.scripts.news.arguments().number("most", most).flag("any_life", any);
        let (status, reply) = self.run(concert, arguments).await?;
        if status != DONE {
            return Ok(None);
        }
        let (mut events, mut odd_entries) = (vec![], vec![]);
        for entry in reply.groups("events")? {
            // One entry that cannot be read must not stop the line: it is set aside.
            match event_of(&entry) {
                Some(event) => events.push(event),
                None => odd_entries.push(OddEntry {
                    at_ms: entry.number("ms")?,
                    counter: entry.number("counter")?,
                    text: format!("{} {}", lossy(entry.bytes("kind")), lossy(entry.bytes("numbers"))),
                }),
            }
        }
        Ok(Some(News {
            life: reply.number("life")?,
            now_ms: reply.number("now")?,
            active: reply.number("active")?,
            limit: reply.number("limit")?,
            newest: (reply.number("newest_ms")?, reply.number("newest_counter")?),
            events,
            odd_entries,
            calls: calls_of(&reply, "calls")?,
        }))
    }

    async fn written(
        &self,
        concert: ConcertId,
        life: i64,
        last: Option<(i64, i64)>,
        calls: &[Call],
        over: &[Call],
    ) -> Result<i64, StoreError> {
        let oldest_to_keep = last.map(|(ms, counter)| format!("{ms}-{}", counter + 1)).unwrap_or_default();
        let arguments = self.scripts.written.arguments();
        let mut arguments = arguments.number("life", life).text("oldest_to_keep", &oldest_to_keep);
        let calls = calls.iter().map(|call| (call, false)).chain(over.iter().map(|call| (call, true)));
        for (call, over) in calls {
            arguments = arguments.id("fan", call.user_id.0).number("number", call.number).flag("over", over);
        }
        let (status, reply) = self.run(concert, arguments).await?;
        if status == DONE { reply.number("opened") } else { Ok(0) }
    }

    async fn snapshot(&self, concert: ConcertId, known: i64) -> Result<Option<RawSnapshot>, StoreError> {
        let arguments = self.scripts.snapshot.arguments().number("known", known).number("most", MOST_ENTRIES);
        let (status, reply) = self.run(concert, arguments).await?;
        if status == DONE { snapshot_of(&reply).map(Some) } else { Ok(None) }
    }

    async fn first_use(&self, concert: ConcertId, id: Uuid, secs: i64) -> Result<bool, StoreError> {
        let mut set = redis::cmd("SET");
        set.arg(format!("{}:line:{{{concert}}}:used:{id}", self.prefix)).arg("1").arg("NX").arg("EX").arg(secs);
        // Sent twice over a broken connection, it may refuse what nobody used: the client asks for another.
        Ok(self.redis.run::<Option<String>>(&set).await?.is_some())
    }

    async fn loading(&self, concert: ConcertId) -> Result<Loading, StoreError> {
        Ok(match self.run(concert, self.scripts.loading.arguments()).await?.0 {
            DONE => Loading::Done,
            UNDER_WAY => Loading::UnderWay,
            _ => Loading::Wanted,
        })
    }

    async fn begin_load(&self, concert: &Concert, life: &NewLife) -> Result<bool, StoreError> {
        let arguments = self
            .scripts
            .begin_load
            .arguments()
            .number("life", life.life)
            .text("newest", &format!("{}-{}", life.newest.0, life.newest.1))
            .number("version", concert.version)
            .text("policy_text", &policy_text(&concert.policy)?);
        Ok(self.run(concert.id, arguments).await?.0 == DONE)
    }

    async fn load_places(&self, concert: ConcertId, life: i64, places: &[Place]) -> Result<bool, StoreError> {
        let mut arguments = self.scripts.load_places.arguments().number("life", life);
        for place in places {
            let (at, ms) = match place.at {
                _ if place.over => (AT_GONE, 0),
                Stand::Ballot => (AT_PRE_QUEUE, 0),
                Stand::Waiting if place.token_id == place.place_id => (AT_WAITING, 0),
                Stand::Waiting => (AT_MOVED, 0),
                Stand::Back => (AT_BACK, 0),
                Stand::Active { used: false, last_end_ms } => (AT_UNUSED, last_end_ms),
                Stand::Active { used: true, last_end_ms } => (AT_ACTIVE, last_end_ms),
                Stand::Lapsed { since_ms } => (AT_LAPSED, since_ms),
            };
            arguments = arguments
                .id("fan", place.user_id.0)
                .number("number", place.number)
                .id("id", place.token_id)
                .text("at", at)
                .number("ms", ms)
                .flag("came_back", place.came);
        }
        Ok(self.run(concert, arguments).await?.0 == DONE)
    }

    async fn load_holds(&self, concert: ConcertId, life: i64, holds: &[HoldLeft]) -> Result<bool, StoreError> {
        let mut arguments = self.scripts.load_holds.arguments().number("life", life);
        for hold in holds {
            arguments = arguments.id("fan", hold.user_id.0).number("left_ms", hold.left_ms);
        }
        Ok(self.run(concert, arguments).await?.0 == DONE)
    }

    async fn end_load(&self, concert: ConcertId, life: &NewLife, entered: i64) -> Result<bool, StoreError> {
        let totals = &life.totals;
        let arguments = self
            .scripts
            .end_load
            .arguments()
            .number("life", life.life)
            .number("entered", entered)
            .number("passed", life.passed)
            .number("last_call_ms", life.last_call_ms)
            .number("promoted_total", totals.promoted)
            .number("expired_total", totals.expired)
            .number("lapsed_total", totals.lapsed)
            .number("returned_total", totals.returned)
            .number("left_total", totals.left)
            .number("forfeited_total", totals.forfeited);
        Ok(self.run(concert, arguments).await?.0 == DONE)
    }
}
