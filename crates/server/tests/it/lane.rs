//! A line below the HTTP edge, for tests that move its time.

use deadpool_redis::redis;
use onsale_application::{
    catalogue::Concert,
    line::{Found, Held, Intent, Joined, LineError, LineStats, LineStore, Ticked},
};
use onsale_domain::ids::{ConcertId, UserId};
use onsale_test_support::{App, Sale, World};
use serde_json::{Value, json};
use uuid::Uuid;

pub(crate) fn policy(interval_secs: i32, batch: i32, limit: i32, idle: bool) -> Value {
    json!({ "interval_secs": interval_secs, "batch": batch, "active_limit": limit, "idle_admission": idle,
        "active_sliding_secs": 300, "active_absolute_secs": 900, "waiting_limit": 1000 })
}

pub(crate) async fn redis(world: &World) -> redis::aio::MultiplexedConnection {
    redis::Client::open(world.redis_url.as_str()).unwrap().get_multiplexed_async_connection().await.unwrap()
}

pub(crate) fn concert_id(text: &str) -> ConcertId {
    ConcertId(Uuid::parse_str(text).unwrap())
}

pub(crate) fn raw(fan: &str) -> Vec<u8> {
    Uuid::parse_str(fan).unwrap().as_bytes().to_vec()
}

/// Keys of a line by their name.
pub(crate) fn key(app: &App, concert: ConcertId, name: &str) -> String {
    app.instance.lines.keys(concert).into_iter().find(|key| key.ends_with(&format!(":{name}"))).unwrap()
}

/// A line below the HTTP edge.
pub(crate) struct Lane<'a> {
    pub(crate) app: &'a App,
    pub(crate) concert: Concert,
    pub(crate) redis: redis::aio::MultiplexedConnection,
}

impl<'a> Lane<'a> {
    /// The line of a concert of its own.
    pub(crate) async fn new(world: &World, app: &'a App, policy: Value) -> Self {
        let sale = app.sale_with(1, 100, policy).await;
        Self::of(world, app, &sale).await
    }

    /// The line of a sale.
    pub(crate) async fn of(world: &World, app: &'a App, sale: &Sale) -> Self {
        Self::at(&world.redis_url, app, sale).await
    }

    /// The line of a sale, on this Redis.
    pub(crate) async fn at(redis_url: &str, app: &'a App, sale: &Sale) -> Self {
        let concert = app.instance.api.facades.catalogue.concert_uncached(concert_id(&sale.concert)).await.unwrap();
        let redis = redis::Client::open(redis_url).unwrap().get_multiplexed_async_connection().await.unwrap();
        Self { app, concert, redis }
    }

    /// Changes a field of one of the line's hashes.
    pub(crate) async fn set(&mut self, name: &str, field: &str, value: i64) {
        let key = key(self.app, self.concert.id, name);
        let _: () = redis::cmd("HSET").arg(key).arg(field).arg(value).query_async(&mut self.redis).await.unwrap();
    }

    /// So many seconds pass for turns, calls, lapses and holds: the test moves what the stores have, not the clock.
    pub(crate) async fn pass_secs(&mut self, world: &World, secs: i64) {
        for name in ["act", "last", "lapsed", "kept"] {
            let key = key(self.app, self.concert.id, name);
            let fans: Vec<Vec<u8>> =
                redis::cmd("ZRANGEBYSCORE").arg(&key).arg("0").arg("+inf").query_async(&mut self.redis).await.unwrap();
            for fan in fans {
                let command = redis::cmd("ZINCRBY").arg(&key).arg(-secs * 1_000).arg(fan).to_owned();
                let _: String = command.query_async(&mut self.redis).await.unwrap();
            }
        }
        let past = format!(
            "UPDATE reservations SET expires_at = expires_at - interval '{secs} s' WHERE state = 'held';
             UPDATE seats SET held_until = held_until - interval '{secs} s' WHERE state = 'held'"
        );
        world.sql().await.run(&past).await.unwrap();
    }

    /// Calls fans beyond the batch, within the limit; answers how many became active.
    pub(crate) async fn admit(&self, count: i64) -> i64 {
        self.app.instance.keeper.tick_and_admit(&self.concert, count).await.unwrap().promoted
    }

    pub(crate) async fn join(&self, user: UserId) -> (bool, Held) {
        let joined = self.app.instance.keeper.join(self.concert.id, user).await.unwrap();
        let Joined::Placed(new, held) = joined else { panic!("{joined:?}") };
        (new, held)
    }

    pub(crate) async fn place(&self, user: UserId) -> Held {
        let found = self.app.instance.lines.place(self.concert.id, user, None, Intent::ShowsUp).await.unwrap();
        let Found::Here(held) = found else { panic!("{found:?}") };
        held
    }

    pub(crate) async fn leave(&self, user: UserId) -> bool {
        match self.app.instance.api.facades.line.leave(self.concert.id, user, None).await {
            Ok(()) => true,
            Err(LineError::NotInLine) => false,
            Err(error) => panic!("{error:?}"),
        }
    }

    /// Time passes: the next promotion is due.
    pub(crate) async fn due(&mut self) {
        self.set("st", "next_at", 1).await;
    }

    pub(crate) async fn tick(&self) -> Ticked {
        self.app.instance.keeper.tick(&self.concert).await.unwrap()
    }

    /// The settings as an operator would have changed them.
    pub(crate) fn edit(&mut self, change: impl FnOnce(&mut Concert)) {
        change(&mut self.concert);
        self.concert.version += 1;
    }

    pub(crate) async fn stats(&self) -> LineStats {
        self.app.instance.keeper.snapshots.renewed(self.concert.id).await.unwrap().unwrap().stats
    }
}
