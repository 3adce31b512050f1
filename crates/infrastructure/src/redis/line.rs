//! The line in Redis: sorted sets, moved by the scripts beside this file.

use std::sync::Arc;

use deadpool_redis::redis::{self, Value};
use onsale_application::{
    error::StoreError,
    line::{
        Admission, Asked, Call, Ended, Entrants, Entry, Event, Found, HoldLeft, Intent, LineStats, LineStore, Loading,
        NewLife, News, OddEntry, Place, Promotion, QueueTicket, RawSnapshot, Slot, Snapshot, Stand, Swept, Tick,
        Ticked, Whereabouts,
    },
};
use onsale_domain::{
    ids::{ConcertId, UserId},
    queue::{LogKind, QueuePolicy},
};
use uuid::Uuid;

use super::{
    script::{Arguments, Fields, odd, whereabouts},
    shared::{LuaScript, SharedRedis},
};

/// All lines, one set of keys per concert.
pub struct RedisLines {
    redis: Arc<SharedRedis>,
    prefix: String,
    scripts: Scripts,
}

macro_rules! scripts {
    ($($name:ident)*) => {
        /// Every script, each with the prelude before it.
        struct Scripts {
            $($name: LuaScript),*
        }

        impl Scripts {
            fn new() -> Self {
                Self {
                    $($name: LuaScript::new(concat!(
                        include_str!("scripts/prelude.lua"),
                        include_str!(concat!("scripts/", stringify!($name), ".lua")),
                    ))),*
                }
            }
        }
    };
}

scripts! {
    enter place admit leave sweep keep turns promote news written snapshot load
}

/// The names of a line's keys, in the order in which the scripts take them.
const LINE_KEYS: [&str; 14] =
    ["cfg", "st", "tok", "wait", "back", "call", "act", "last", "kept", "lapsed", "gone", "ahead", "came", "log"];

fn word_of(intent: Intent) -> &'static str {
    match intent {
        Intent::ShowsUp => "1",
        Intent::Looks => "",
    }
}

fn lossy(bytes: Result<&[u8], StoreError>) -> String {
    bytes.map(|bytes| String::from_utf8_lossy(bytes).chars().take(200).collect()).unwrap_or_default()
}

fn event_of(entry: &Fields<'_>) -> Option<Event> {
    let numbers = entry.text(3).ok()?.split(',').map(str::parse).collect::<Result<_, _>>().ok()?;
    Some(Event {
        at_ms: entry.number(0).ok()?,
        counter: entry.number(1).ok()?,
        kind: LogKind::parse(entry.text(2).ok()?)?,
        numbers,
    })
}

fn millis(secs: i32) -> i64 {
    i64::from(secs) * 1_000
}

fn policy_of(c: &Fields<'_>) -> Result<QueuePolicy, StoreError> {
    Ok(QueuePolicy {
        interval_secs: c.seconds(1)?,
        batch: c.small(2)?,
        active_limit: c.small(3)?,
        idle_admission: c.text(4)? == "1",
        active_sliding_secs: c.seconds(5)?,
        active_absolute_secs: c.seconds(6)?,
        claim_secs: c.seconds(7)?,
        return_secs: c.seconds(8)?,
        waiting_limit: c.small(9)?,
    })
}

fn snapshot_of(f: &Fields<'_>) -> Result<RawSnapshot, StoreError> {
    let c = f.list(18)?;
    let (waiting, returning) = (f.number(6)?, f.number(7)?);
    let snapshot = Snapshot {
        life: f.number(1)?,
        state: c.state(0)?,
        policy: policy_of(&c)?,
        message: c.text(11)?.to_owned(),
        sold_out: c.text(10).is_ok_and(|sold| sold == "1"),
        now_ms: f.number(2)?,
        next_at_ms: f.number(3)?,
        served: f.number(5)?,
        passed: f.number(15)?,
        stats: LineStats {
            waiting: waiting + returning,
            returning,
            active: f.number(8)?,
            registered: f.number(9)?,
            joined_total: f.number(4)?,
            promoted_total: f.number(10)?,
            expired_total: f.number(11)?,
            lapsed_total: f.number(12)?,
            returned_total: f.number(13)?,
            left_total: f.number(14)?,
            forfeited_total: f.number(17)?,
        },
        departures: Arc::default(),
        entries_seen: 0,
        stock: None,
        pace: None,
        taken_ms: 0,
        reachable: true,
    };
    let list = f.list(19)?;
    let entries = (0..list.0.len()).map(|index| list.text(index).map(str::to_owned)).collect::<Result<_, _>>()?;
    Ok(RawSnapshot { snapshot, before: f.number(16)?, entries })
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

    async fn call(&self, script: &LuaScript, concert: ConcertId, arguments: Arguments) -> Result<Value, StoreError> {
        self.redis.run_script(script, &self.keys(concert), &arguments.0).await
    }

    async fn end(&self, concert: ConcertId, arguments: Arguments) -> Result<Ended, StoreError> {
        Ok(match self.count(&self.scripts.leave, concert, arguments).await? {
            0 => Ended::Nothing,
            1 => Ended::Place,
            2 => Ended::PlaceAndAsks,
            _ => Ended::Lost,
        })
    }

    fn step(step: &str, life: i64) -> Arguments {
        Arguments::default().text(step).number(life)
    }

    async fn count(&self, script: &LuaScript, concert: ConcertId, arguments: Arguments) -> Result<i64, StoreError> {
        match self.call(script, concert, arguments).await? {
            Value::Int(count) => Ok(count),
            _ => Err(odd("no number")),
        }
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
            Entry::Filled(first, last) => ((first, last), "fill"),
            Entry::Lost => ((0, 0), "lost"),
        };
        let mut arguments = Arguments::default().number(first).number(last).text(how);
        for place in &entrants.places {
            arguments = arguments.id(place.user_id.0).number(place.number).optional_id(place.token_id);
            arguments = arguments.text(if place.moved { "1" } else { "" });
        }
        let answer = self.call(&self.scripts.enter, concert, arguments).await?;
        let fields = Fields::of(&answer)?;
        if fields.number(0)? != 1 {
            return Ok(None);
        }
        let at = |pair: Fields<'_>| if pair.text(0)?.is_empty() { Ok(None) } else { whereabouts(&pair, 0).map(Some) };
        fields.groups(2, 2).map(at).collect::<Result<_, _>>().map(Some)
    }

    async fn place(
        &self,
        concert: ConcertId,
        user: UserId,
        shown: Option<&QueueTicket>,
        intent: Intent,
    ) -> Result<Found, StoreError> {
        let arguments =
            Arguments::default().id(user.0).optional_id(shown.map(|ticket| ticket.id)).text(word_of(intent));
        let answer = self.call(&self.scripts.place, concert, arguments).await?;
        let fields = Fields::of(&answer)?;
        match fields.number(0)? {
            1 => Ok(Found::Here(fields.held(concert, user)?)),
            2 => Ok(Found::Moved),
            0 => Ok(Found::Nowhere { entered: fields.number(1)? }),
            _ => Ok(Found::Lost),
        }
    }

    async fn admit(&self, ticket: &QueueTicket, lasts_ms: i64) -> Result<Admission, StoreError> {
        let arguments = Arguments::default().id(ticket.user_id.0).id(ticket.id).number(lasts_ms);
        let answer = self.call(&self.scripts.admit, ticket.concert_id, arguments).await?;
        let fields = Fields::of(&answer)?;
        match fields.number(0)? {
            1 => Ok(Admission::Admitted { number: fields.number(1)? }),
            2 => Ok(Admission::Waiting),
            3 => Ok(Admission::Moved),
            0 => Ok(Admission::Nowhere { entered: fields.number(1)? }),
            _ => Ok(Admission::Lost),
        }
    }

    async fn leave(&self, concert: ConcertId, user: UserId, number: i64) -> Result<Ended, StoreError> {
        self.end(concert, Arguments::default().id(user.0).number(number).text("left")).await
    }

    async fn end_paid(&self, concert: ConcertId, user: UserId, turn: i64) -> Result<Ended, StoreError> {
        self.end(concert, Arguments::default().id(user.0).number(turn).text("paid")).await
    }

    async fn sweep(&self, concert: ConcertId) -> Result<Swept, StoreError> {
        let answer = self.call(&self.scripts.sweep, concert, Arguments::default()).await?;
        let f = Fields::of(&answer)?;
        if f.number(0)? != 1 {
            return Ok(Swept::Lost);
        }
        let asked = |pair: Fields<'_>| Ok(Asked { user_id: UserId(pair.id(0)?), mark: pair.text(1)?.to_owned() });
        Ok(Swept::Done {
            expired: f.number(1)?,
            lapsed: f.number(2)?,
            more: f.number(3)? == 1,
            asked: f.list(4)?.groups(0, 2).map(asked).collect::<Result<_, StoreError>>()?,
            entered: f.number(5)?,
        })
    }

    async fn keep(&self, concert: ConcertId, slots: &[Slot]) -> Result<i64, StoreError> {
        let mut arguments = Arguments::default();
        for slot in slots {
            arguments = match slot {
                Slot::Ask(fan) => arguments.id(fan.0).text("ask").text(""),
                Slot::Check(fan) => arguments.id(fan.0).text("check").text(""),
                Slot::Answer(asked, left_ms) => arguments.id(asked.user_id.0).number(*left_ms).text(&asked.mark),
            };
        }
        self.count(&self.scripts.keep, concert, arguments).await
    }

    async fn turns(&self, concert: ConcertId, most: i64) -> Result<Vec<Call>, StoreError> {
        let answer = self.call(&self.scripts.turns, concert, Arguments::default().number(most)).await?;
        let call = |c: Fields<'_>| Ok(Call { user_id: UserId(c.id(0)?), number: c.number(1)? });
        Fields::of(&answer)?.groups(0, 2).map(call).collect()
    }

    async fn promote(&self, concert: ConcertId, tick: &Tick) -> Result<Ticked, StoreError> {
        let policy = &tick.policy;
        let sold = match tick.sold_out {
            Some(true) => "1",
            Some(false) => "0",
            None => "",
        };
        let arguments = Arguments::default()
            .number(tick.version)
            .text(tick.state.as_str())
            .number(millis(policy.interval_secs))
            .number(policy.batch)
            .number(policy.active_limit)
            .number(i32::from(policy.idle_admission))
            .number(millis(policy.active_sliding_secs))
            .number(millis(policy.active_absolute_secs))
            .number(millis(policy.claim_secs))
            .number(millis(policy.return_secs))
            .number(policy.waiting_limit)
            .text(&tick.message)
            .text(sold)
            .number(tick.admit);
        let answer = self.call(&self.scripts.promote, concert, arguments).await?;
        let f = Fields::of(&answer)?;
        match f.number(0)? {
            1 => Ok(Ticked::Done(Promotion {
                life: f.number(1)?,
                due: f.number(2)? == 1,
                more: f.number(3)? == 1,
                waiting: f.number(4)?,
                active: f.number(5)?,
                limit: f.number(6)?,
                now_ms: f.number(7)?,
                promoted_total: f.number(8)?,
            })),
            _ => Ok(Ticked::Lost),
        }
    }

    async fn news(&self, concert: ConcertId, most: usize, any: bool) -> Result<Option<News>, StoreError> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let arguments = Arguments::default().number(most).text(if any { "any" } else { "" });
        let answer = self.call(&self.scripts.news, concert, arguments).await?;
        let f = Fields::of(&answer)?;
        if f.number(0)? != 1 {
            return Ok(None);
        }
        let (mut events, mut odd_entries) = (vec![], vec![]);
        for entry in f.list(7)?.groups(0, 4) {
            // One entry that cannot be read must not stop the line: it is set aside.
            match event_of(&entry) {
                Some(event) => events.push(event),
                None => odd_entries.push(OddEntry {
                    at_ms: entry.number(0)?,
                    counter: entry.number(1)?,
                    text: format!("{} {}", lossy(entry.bytes(2)), lossy(entry.bytes(3))),
                }),
            }
        }
        let call = |c: Fields<'_>| Ok(Call { user_id: UserId(c.id(0)?), number: c.number(1)? });
        Ok(Some(News {
            life: f.number(1)?,
            now_ms: f.number(2)?,
            active: f.number(3)?,
            limit: f.number(4)?,
            newest: (f.number(5)?, f.number(6)?),
            events,
            odd_entries,
            calls: f.list(8)?.groups(0, 2).map(call).collect::<Result<_, StoreError>>()?,
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
        let many = i64::try_from(calls.len()).unwrap_or(0);
        let mut arguments = Arguments::default().number(life).text(&oldest_to_keep).number(many);
        for call in calls.iter().chain(over) {
            arguments = arguments.id(call.user_id.0).number(call.number);
        }
        self.count(&self.scripts.written, concert, arguments).await
    }

    async fn snapshot(&self, concert: ConcertId, known: i64) -> Result<Option<RawSnapshot>, StoreError> {
        let arguments = Arguments::default().number(known).number(10_000);
        let answer = self.call(&self.scripts.snapshot, concert, arguments).await?;
        let fields = Fields::of(&answer)?;
        if fields.number(0)? == 1 { snapshot_of(&fields).map(Some) } else { Ok(None) }
    }

    async fn first_use(&self, concert: ConcertId, id: Uuid, secs: i64) -> Result<bool, StoreError> {
        let mut set = redis::cmd("SET");
        set.arg(format!("{}:line:{{{concert}}}:used:{id}", self.prefix)).arg("1").arg("NX").arg("EX").arg(secs);
        // Sent twice over a broken connection, it may refuse what nobody used: the client asks for another.
        Ok(self.redis.run::<Option<String>>(&set).await?.is_some())
    }

    async fn loading(&self, concert: ConcertId) -> Result<Loading, StoreError> {
        Ok(match self.count(&self.scripts.load, concert, Arguments::default().text("ask")).await? {
            1 => Loading::Done,
            2 => Loading::UnderWay,
            _ => Loading::Wanted,
        })
    }

    async fn begin_load(&self, concert: ConcertId, life: &NewLife, policy: &QueuePolicy) -> Result<bool, StoreError> {
        let arguments = Self::step("begin", life.life)
            .text(&format!("{}-{}", life.newest.0, life.newest.1))
            .number(millis(policy.interval_secs))
            .number(millis(policy.active_sliding_secs))
            .number(millis(policy.claim_secs))
            .number(millis(policy.return_secs));
        Ok(self.count(&self.scripts.load, concert, arguments).await? == 1)
    }

    async fn load_places(&self, concert: ConcertId, life: i64, places: &[Place]) -> Result<bool, StoreError> {
        let mut arguments = Self::step("places", life);
        for place in places {
            let (what, ms) = match place.at {
                _ if place.over => ("g", 0),
                Stand::Ballot => ("p", 0),
                Stand::Waiting if place.token_id == place.place_id => ("w", 0),
                Stand::Waiting => ("m", 0),
                Stand::Back => ("b", 0),
                Stand::Active { used: false, last_end_ms } => ("u", last_end_ms),
                Stand::Active { used: true, last_end_ms } => ("a", last_end_ms),
                Stand::Lapsed { since_ms } => ("l", since_ms),
            };
            arguments = arguments
                .id(place.user_id.0)
                .number(place.number)
                .id(place.token_id)
                .text(what)
                .number(ms)
                .text(if place.came { "1" } else { "" });
        }
        Ok(self.count(&self.scripts.load, concert, arguments).await? == 1)
    }

    async fn load_holds(&self, concert: ConcertId, life: i64, holds: &[HoldLeft]) -> Result<bool, StoreError> {
        let mut arguments = Self::step("holds", life);
        for hold in holds {
            arguments = arguments.id(hold.user_id.0).number(hold.left_ms);
        }
        Ok(self.count(&self.scripts.load, concert, arguments).await? == 1)
    }

    async fn end_load(&self, concert: ConcertId, life: &NewLife, entered: i64) -> Result<bool, StoreError> {
        let totals = &life.totals;
        let arguments = Self::step("end", life.life)
            .number(entered)
            .number(life.passed)
            .number(life.last_call_ms)
            .number(totals.promoted)
            .number(totals.expired)
            .number(totals.lapsed)
            .number(totals.returned)
            .number(totals.left)
            .number(totals.forfeited);
        Ok(self.count(&self.scripts.load, concert, arguments).await? == 1)
    }
}
