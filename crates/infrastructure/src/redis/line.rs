//! The line in Redis: sorted sets, moved by the scripts beside this file.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use deadpool_redis::redis::FromRedisValue;
use onsale_application::{
    error::StoreError,
    line::{Admission, Joined, LineStats, LineStore, Place, Promotion, QueueTicket, Standing},
};
use onsale_domain::{
    concert::SaleState,
    ids::{ConcertId, UserId},
    queue::QueuePolicy,
};
use uuid::Uuid;

use super::shared::{LuaScript, SharedRedis};

/// All lines, one set of keys per concert.
pub struct RedisLines {
    redis: Arc<SharedRedis>,
    prefix: String,
    join: LuaScript,
    place: LuaScript,
    admit: LuaScript,
    leave: LuaScript,
    promote: LuaScript,
    stats: LuaScript,
}

/// One call of a script.
struct Call<'a> {
    script: &'a LuaScript,
    concert: ConcertId,
    arguments: Vec<String>,
}

impl RedisLines {
    /// Lines whose keys start with `prefix`.
    pub fn new(redis: Arc<SharedRedis>, prefix: &str) -> Self {
        Self {
            redis,
            prefix: prefix.to_owned(),
            join: LuaScript::new(include_str!("scripts/join.lua")),
            place: LuaScript::new(include_str!("scripts/place.lua")),
            admit: LuaScript::new(include_str!("scripts/admit.lua")),
            leave: LuaScript::new(include_str!("scripts/leave.lua")),
            promote: LuaScript::new(include_str!("scripts/promote.lua")),
            stats: LuaScript::new(include_str!("scripts/stats.lua")),
        }
    }

    /// The keys of a concert's line. The braces make Redis Cluster keep them on one node.
    pub fn keys(&self, concert: ConcertId) -> [String; 6] {
        ["cfg", "st", "tok", "wait", "act", "end"].map(|name| format!("{}:line:{{{concert}}}:{name}", self.prefix))
    }

    async fn call<T: FromRedisValue>(&self, call: Call<'_>) -> Result<T, StoreError> {
        self.redis.run_script(call.script, &self.keys(call.concert), &call.arguments).await
    }
}

fn odd(what: &str) -> StoreError {
    StoreError::Broken(format!("a script answered {what}").into())
}

/// Answers of join and place: strings and integers in a fixed order, all read as text.
struct Fields<'a>(&'a [String]);

impl Fields<'_> {
    fn text(&self, index: usize) -> Result<&str, StoreError> {
        self.0.get(index).map(String::as_str).ok_or_else(|| odd("too few fields"))
    }

    fn number(&self, index: usize) -> Result<i64, StoreError> {
        self.text(index)?.parse().map_err(|_| odd("something that is no number"))
    }

    fn small(&self, index: usize) -> Result<i32, StoreError> {
        i32::try_from(self.number(index)?).map_err(|_| odd("too large a number"))
    }

    fn seconds(&self, index: usize) -> Result<i32, StoreError> {
        i32::try_from(self.number(index)? / 1_000).map_err(|_| odd("too long a time"))
    }

    fn standing(&self, concert_id: ConcertId, user_id: UserId) -> Result<Standing, StoreError> {
        let ticket = QueueTicket {
            concert_id,
            user_id,
            number: self.number(1)?,
            epoch: self.number(2)?,
            id: self.text(3)?.parse().map_err(|_| odd("an id that is none"))?,
        };
        let place = match self.text(4)? {
            "a" => Place::Active { expires_at: instant(self.number(5)?)? },
            _ => Place::Waiting { position: self.number(5)?, next_promotion_ms: self.number(6)? },
        };
        let policy = QueuePolicy {
            interval_secs: self.seconds(8)?,
            batch: self.small(9)?,
            active_limit: self.small(10)?,
            idle_admission: self.text(11)? == "1",
            active_sliding_secs: self.seconds(12)?,
            active_absolute_secs: self.seconds(13)?,
            waiting_limit: self.small(14)?,
        };
        Ok(Standing { ticket, place, state: self.state(7)?, policy })
    }

    fn state(&self, index: usize) -> Result<SaleState, StoreError> {
        SaleState::parse(self.text(index)?).ok_or_else(|| odd("an unknown sale state"))
    }
}

fn instant(millis: i64) -> Result<DateTime<Utc>, StoreError> {
    DateTime::from_timestamp_millis(millis).ok_or_else(|| odd("an impossible time"))
}

impl LineStore for RedisLines {
    async fn join(&self, concert: ConcertId, user: UserId, id: Uuid) -> Result<Joined, StoreError> {
        let arguments = vec![user.to_string(), id.to_string()];
        let answer: Vec<String> = self.call(Call { script: &self.join, concert, arguments }).await?;
        let fields = Fields(&answer);
        match fields.number(0)? {
            known @ (1 | 2) => Ok(Joined::Placed(known == 2, fields.standing(concert, user)?)),
            -1 => Ok(Joined::NotOpen(fields.state(1)?)),
            -2 => Ok(Joined::Full),
            -3 => Ok(Joined::Unconfigured),
            _ => Err(odd("an unknown outcome of joining")),
        }
    }

    async fn place(&self, concert: ConcertId, user: UserId) -> Result<Option<Standing>, StoreError> {
        let arguments = vec![user.to_string()];
        let answer: Vec<String> = self.call(Call { script: &self.place, concert, arguments }).await?;
        let fields = Fields(&answer);
        if fields.number(0)? == 1 { fields.standing(concert, user).map(Some) } else { Ok(None) }
    }

    async fn admit(&self, ticket: &QueueTicket) -> Result<Admission, StoreError> {
        let arguments = vec![
            ticket.user_id.to_string(),
            ticket.number.to_string(),
            ticket.id.to_string(),
            ticket.epoch.to_string(),
        ];
        let concert = ticket.concert_id;
        let answer: Vec<i64> = self.call(Call { script: &self.admit, concert, arguments }).await?;
        match answer.as_slice() {
            [1, ends] => Ok(Admission::Admitted(instant(*ends)?)),
            [2] => Ok(Admission::Waiting),
            _ => Ok(Admission::Over),
        }
    }

    async fn leave(&self, concert: ConcertId, user: UserId) -> Result<bool, StoreError> {
        let arguments = vec![user.to_string()];
        let answer: i64 = self.call(Call { script: &self.leave, concert, arguments }).await?;
        Ok(answer == 1)
    }

    async fn promote(
        &self,
        concert: ConcertId,
        state: SaleState,
        policy: &QueuePolicy,
        version: i32,
    ) -> Result<Promotion, StoreError> {
        let millis = |secs: i32| (i64::from(secs) * 1_000).to_string();
        let arguments = vec![
            version.to_string(),
            state.as_str().to_owned(),
            millis(policy.interval_secs),
            policy.batch.to_string(),
            policy.active_limit.to_string(),
            u8::from(policy.idle_admission).to_string(),
            millis(policy.active_sliding_secs),
            millis(policy.active_absolute_secs),
            policy.waiting_limit.to_string(),
        ];
        let answer: Vec<i64> = self.call(Call { script: &self.promote, concert, arguments }).await?;
        let [due, promoted, expired, more, waiting, active, promoted_total, joined_total, expired_total, left_total] =
            answer.as_slice()
        else {
            return Err(odd("too few numbers"));
        };
        Ok(Promotion {
            due: *due == 1,
            promoted: *promoted,
            expired: *expired,
            more: *more == 1,
            stats: LineStats {
                waiting: *waiting,
                active: *active,
                promoted_total: *promoted_total,
                joined_total: *joined_total,
                expired_total: *expired_total,
                left_total: *left_total,
            },
        })
    }

    async fn stats(&self, concert: ConcertId) -> Result<LineStats, StoreError> {
        let answer: Vec<i64> = self.call(Call { script: &self.stats, concert, arguments: vec![] }).await?;
        let [waiting, active, promoted_total, joined_total, expired_total, left_total] = answer.as_slice() else {
            return Err(odd("too few numbers"));
        };
        Ok(LineStats {
            waiting: *waiting,
            active: *active,
            promoted_total: *promoted_total,
            joined_total: *joined_total,
            expired_total: *expired_total,
            left_total: *left_total,
        })
    }
}
