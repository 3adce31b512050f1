//! The line in Redis: sorted sets, moved by the scripts beside this file.

use std::sync::Arc;

use deadpool_redis::redis::{self, Value};
use onsale_application::{
    error::StoreError,
    line::{
        Admission, Asked, Call, Drawing, Ended, Event, Found, HoldLeft, Intent, Joined, LineStats, LineStore,
        LiveAdmission, NewLife, News, OddEntry, Promotion, QueueTicket, RawSnapshot, Restored, Slot, Snapshot, Swept,
        Tick, Ticked, Verdict,
    },
};
use onsale_domain::{
    ids::{ConcertId, UserId},
    queue::{BallotKey, LogKind, QueuePolicy},
};
use uuid::Uuid;

use super::{
    script::{Arguments, Fields, odd},
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
    join place admit leave sweep keep promote news open snapshot restore merge merge_drawn merge_held prune begin raise forget draw_next draw_place
}

/// The names of a line's keys, in the order in which the scripts take them.
const LINE_KEYS: [&str; 15] =
    ["cfg", "st", "tok", "wait", "back", "call", "act", "last", "kept", "lapsed", "gone", "left", "came", "pre", "log"];

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
        recovery_hold_secs: c.seconds(9)?,
        waiting_limit: c.small(10)?,
    })
}

fn snapshot_of(f: &Fields<'_>) -> Result<RawSnapshot, StoreError> {
    let c = f.list(19)?;
    let waiting = f.number(7)?;
    let returning = f.number(8)?;
    let snapshot = Snapshot {
        life: f.number(1)?,
        state: c.state(0)?,
        policy: policy_of(&c)?,
        message: c.text(12)?.to_owned(),
        sold_out: c.text(11).is_ok_and(|sold| sold == "1"),
        now_ms: f.number(2)?,
        next_at_ms: f.number(3)?,
        hold_until_ms: f.number(4)?,
        served: f.number(6)?,
        passed: f.number(16)?,
        stats: LineStats {
            waiting: waiting + returning,
            returning,
            active: f.number(9)?,
            registered: f.number(10)?,
            joined_total: f.number(5)?,
            promoted_total: f.number(11)?,
            expired_total: f.number(12)?,
            lapsed_total: f.number(13)?,
            returned_total: f.number(14)?,
            left_total: f.number(15)?,
            forfeited_total: f.number(18)?,
        },
        departures: Arc::default(),
        entries_seen: 0,
        stock: None,
        pace: None,
        taken_ms: 0,
        reachable: true,
    };
    let list = f.list(20)?;
    let entries = (0..list.0.len()).map(|index| list.text(index).map(str::to_owned)).collect::<Result<_, _>>()?;
    Ok(RawSnapshot { snapshot, before: f.number(17)?, entries })
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

    async fn count(&self, script: &LuaScript, concert: ConcertId, arguments: Arguments) -> Result<i64, StoreError> {
        match self.call(script, concert, arguments).await? {
            Value::Int(count) => Ok(count),
            _ => Err(odd("no number")),
        }
    }
}

impl LineStore for RedisLines {
    async fn join(
        &self,
        concert: ConcertId,
        user: UserId,
        new: Uuid,
        key: Option<BallotKey>,
    ) -> Result<Joined, StoreError> {
        let arguments = Arguments::default().id(user.0).id(new).key(key);
        let answer = self.call(&self.scripts.join, concert, arguments).await?;
        let fields = Fields::of(&answer)?;
        match fields.number(0)? {
            known @ (1 | 2) => Ok(Joined::Placed(known == 2, fields.held(concert, user)?)),
            -1 => Ok(Joined::NotOpen(fields.state(1)?)),
            -2 => Ok(Joined::Full),
            -3 | -4 => Ok(Joined::Lost),
            -5 => Ok(Joined::NumbersUsedUp),
            -6 => Ok(Joined::SoldOut),
            -7 => Ok(Joined::NeedsBallotKey),
            _ => Err(odd("an unknown outcome of joining")),
        }
    }

    async fn place(
        &self,
        concert: ConcertId,
        user: UserId,
        shown: Option<&QueueTicket>,
        intent: Intent,
    ) -> Result<Found, StoreError> {
        let arguments = Arguments::default()
            .id(user.0)
            .optional_id(shown.map(|ticket| ticket.id))
            .number(shown.map_or(0, |ticket| ticket.number))
            .text(word_of(intent));
        let answer = self.call(&self.scripts.place, concert, arguments).await?;
        let fields = Fields::of(&answer)?;
        match fields.number(0)? {
            1 => Ok(Found::Here(fields.held(concert, user)?)),
            3 => Ok(Found::Moved { life: fields.number(1)? }),
            0 => Ok(Found::Nowhere { life: fields.number(1)? }),
            _ => Ok(Found::Lost),
        }
    }

    async fn admit(&self, ticket: &QueueTicket, lasts_ms: i64) -> Result<Admission, StoreError> {
        let arguments = Arguments::default().id(ticket.user_id.0).id(ticket.id).number(ticket.number).number(lasts_ms);
        let answer = self.call(&self.scripts.admit, ticket.concert_id, arguments).await?;
        let fields = Fields::of(&answer)?;
        match fields.number(0)? {
            1 => Ok(Admission::Admitted { number: fields.number(1)? }),
            2 => Ok(Admission::Waiting),
            3 => Ok(Admission::Moved { life: fields.number(1)? }),
            0 => Ok(Admission::Nowhere { life: fields.number(1)? }),
            _ => Ok(Admission::Lost),
        }
    }

    async fn leave(&self, concert: ConcertId, user: UserId) -> Result<Ended, StoreError> {
        self.end(concert, Arguments::default().id(user.0).text("left").text("")).await
    }

    async fn end_paid(&self, concert: ConcertId, user: UserId, turn: i64) -> Result<Ended, StoreError> {
        self.end(concert, Arguments::default().id(user.0).text("paid").number(turn)).await
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
            .number(millis(policy.recovery_hold_secs))
            .number(policy.waiting_limit)
            .text(&tick.message)
            .text(sold)
            .number(tick.admit)
            .number(tick.registered)
            .text(&tick.draw.map(|(before, _)| before.to_string()).unwrap_or_default())
            .text(&tick.draw.map(|(_, last)| last.to_string()).unwrap_or_default());
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
                given_out: f.number(8)?,
                ceiling: f.number(9)?,
                registered: f.number(10)?,
                promoted_total: f.number(11)?,
                holding: f.number(12)? == 1,
            })),
            -5 => Ok(Ticked::NeedsNumbers(f.number(1)?)),
            -6 => Ok(Ticked::OpensDraw { life: f.number(1)?, block: (f.number(2)?, f.number(3)?) }),
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
        let call = |c: Fields<'_>| Ok(Call { user_id: UserId(c.id(0)?), number: c.number(1)?, id: c.id(2)? });
        Ok(Some(News {
            life: f.number(1)?,
            now_ms: f.number(2)?,
            active: f.number(3)?,
            limit: f.number(4)?,
            newest: (f.number(5)?, f.number(6)?),
            events,
            odd_entries,
            calls: f.list(8)?.groups(0, 3).map(call).collect::<Result<_, StoreError>>()?,
        }))
    }

    async fn open(&self, concert: ConcertId, life: i64, calls: &[Call]) -> Result<i64, StoreError> {
        let mut arguments = Arguments::default().number(life);
        for call in calls {
            arguments = arguments.id(call.user_id.0).number(call.number);
        }
        self.count(&self.scripts.open, concert, arguments).await
    }

    async fn snapshot(&self, concert: ConcertId, known: i64) -> Result<Option<RawSnapshot>, StoreError> {
        let arguments = Arguments::default().number(known).number(10_000);
        let answer = self.call(&self.scripts.snapshot, concert, arguments).await?;
        let fields = Fields::of(&answer)?;
        if fields.number(0)? == 1 { snapshot_of(&fields).map(Some) } else { Ok(None) }
    }

    async fn restore(
        &self,
        ticket: &QueueTicket,
        verdict: Option<Verdict>,
        key: Option<BallotKey>,
        intent: Intent,
    ) -> Result<Restored, StoreError> {
        let arguments = Arguments::default()
            .id(ticket.user_id.0)
            .number(ticket.number)
            .id(ticket.id)
            .text(match verdict {
                Some(Verdict::Missed) => "missed",
                Some(Verdict::Returned | Verdict::Lapsed { .. }) => "returned",
                Some(Verdict::Over) | None => "",
            })
            .key(key)
            .text(word_of(intent));
        let answer = self.call(&self.scripts.restore, ticket.concert_id, arguments).await?;
        let fields = Fields::of(&answer)?;
        match fields.number(0)? {
            1 | 2 => Ok(Restored::Here(fields.held(ticket.concert_id, ticket.user_id)?)),
            3 => Ok(Restored::Moved),
            5 => Ok(Restored::AskLog),
            0 => Ok(Restored::Left),
            _ => Ok(Restored::Lost),
        }
    }

    async fn forget(&self, concert: ConcertId, life: i64, last: (i64, i64)) -> Result<(), StoreError> {
        let oldest_to_keep = format!("{}-{}", last.0, last.1 + 1);
        let arguments = Arguments::default().number(life).text(&oldest_to_keep);
        self.count(&self.scripts.forget, concert, arguments).await.map(|_| ())
    }

    async fn raise(&self, concert: ConcertId, life: i64, ceiling: i64) -> Result<bool, StoreError> {
        let arguments = Arguments::default().number(life).number(ceiling);
        Ok(self.count(&self.scripts.raise, concert, arguments).await? == 1)
    }

    async fn merge(
        &self,
        concert: ConcertId,
        life: i64,
        policy_ms: (i64, i64),
        admissions: &[LiveAdmission],
        departed: &[i64],
    ) -> Result<(), StoreError> {
        let mut arguments = Arguments::default()
            .number(life)
            .number(policy_ms.0)
            .number(policy_ms.1)
            .number(i64::try_from(admissions.len()).unwrap_or(0));
        for admission in admissions {
            arguments = arguments
                .id(admission.user_id.0)
                .number(admission.number)
                .id(admission.id)
                .number(admission.last_end_ms)
                .number(i32::from(admission.arrived))
                .number(i32::from(admission.again));
        }
        for number in departed {
            arguments = arguments.number(*number);
        }
        self.count(&self.scripts.merge, concert, arguments).await.map(|_| ())
    }

    async fn merge_drawn(
        &self,
        concert: ConcertId,
        life: &NewLife,
        drawn: &[(i64, UserId, Uuid)],
    ) -> Result<(), StoreError> {
        let mut arguments = Arguments::default().number(life.life).number(life.served);
        for (number, fan, ballot) in drawn {
            arguments = arguments.id(fan.0).number(*number).id(*ballot);
        }
        self.count(&self.scripts.merge_drawn, concert, arguments).await.map(|_| ())
    }

    async fn merge_held(
        &self,
        concert: ConcertId,
        life: i64,
        first: bool,
        held: &[HoldLeft],
    ) -> Result<(), StoreError> {
        let mut arguments = Arguments::default().number(life).number(i32::from(first));
        for hold in held {
            arguments = arguments.id(hold.user_id.0).number(hold.left_ms);
        }
        self.count(&self.scripts.merge_held, concert, arguments).await.map(|_| ())
    }

    async fn registered(&self, concert: ConcertId) -> Result<i64, StoreError> {
        let [.., pre, _] = self.keys(concert);
        let mut command = redis::cmd("ZCARD");
        command.arg(pre);
        self.redis.run(&command).await
    }

    async fn active_fans(&self, concert: ConcertId) -> Result<Vec<UserId>, StoreError> {
        let [_, _, _, _, _, _, act, ..] = self.keys(concert);
        let mut command = redis::cmd("ZRANGE");
        command.arg(act).arg(0).arg(-1);
        let fans: Vec<Vec<u8>> = self.redis.run(&command).await?;
        fans.iter().map(|fan| Uuid::from_slice(fan).map(UserId).map_err(|_| odd("a fan that is none"))).collect()
    }

    async fn prune(&self, concert: ConcertId, life: i64, fans: &[UserId]) -> Result<(), StoreError> {
        self.count(&self.scripts.prune, concert, Arguments::default().number(life).fans(fans)).await.map(|_| ())
    }

    async fn begin(&self, concert: ConcertId, life: &NewLife, hold_secs: i32) -> Result<bool, StoreError> {
        let (drawn, draw_to) = life.draw.map(|(drawn, to)| (drawn.to_string(), to.to_string())).unwrap_or_default();
        let jumps = life.jumps.iter().fold(String::new(), |text, (from, to)| text + &format!("{from}-{to},"));
        let arguments = Arguments::default()
            .number(life.life)
            .number(life.given_out)
            .text(&jumps)
            .number(life.ceiling)
            .number(life.served)
            .number(millis(hold_secs))
            .text(&drawn)
            .text(&draw_to)
            .text(&format!("{}-{}", life.newest.0, life.newest.1))
            .number(life.draw_turn)
            .key(life.draw_key);
        Ok(self.count(&self.scripts.begin, concert, arguments).await? == 1)
    }

    async fn draw_next(&self, concert: ConcertId, most: usize, owner: Uuid) -> Result<Drawing, StoreError> {
        let arguments = Arguments::default().number(i64::try_from(most).unwrap_or(i64::MAX)).id(owner);
        let answer = self.call(&self.scripts.draw_next, concert, arguments).await?;
        let f = Fields::of(&answer)?;
        match f.number(0)? {
            1 => Ok(Drawing::Next {
                life: f.number(1)?,
                after: f.number(2)?,
                turn: f.number(3)?,
                ballots: f
                    .groups(4, 2)
                    .map(|pair| Ok((UserId(pair.id(0)?), pair.id(1)?)))
                    .collect::<Result<_, StoreError>>()?,
            }),
            0 => Ok(Drawing::Nothing),
            -5 => Ok(Drawing::NeedsNumbers(f.number(1)?)),
            _ => Ok(Drawing::Lost),
        }
    }

    async fn draw_place(
        &self,
        concert: ConcertId,
        life: i64,
        after: i64,
        turn: i64,
        ballots: &[(UserId, Uuid)],
        last: BallotKey,
    ) -> Result<i64, StoreError> {
        let mut arguments = Arguments::default().number(life).number(after).number(turn).key(Some(last));
        for (fan, ballot) in ballots {
            arguments = arguments.id(fan.0).id(*ballot);
        }
        self.count(&self.scripts.draw_place, concert, arguments).await
    }
}
