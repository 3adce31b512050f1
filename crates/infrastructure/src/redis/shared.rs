//! A few connections that everybody shares.
//!
//! Many tasks on one multiplexed connection pipeline by themselves. Checking a connection out of the pool for each
//! command would send two more commands and throw that away, at half to a fifth of the throughput; so the pool is
//! only asked for a connection when a shared one has to be (re)opened.

use std::{
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use deadpool_redis::{
    Manager, Pool, Runtime,
    redis::{self, AsyncConnectionConfig, Cmd, FromRedisValue, RedisError, aio::MultiplexedConnection},
};
use onsale_application::error::StoreError;
use tokio::sync::Mutex;

/// How to reach Redis and how long to wait for it.
#[derive(Debug, Clone)]
pub struct RedisConfig {
    /// `redis://host:port/db`.
    pub url: String,
    /// Shared connections.
    pub connections: usize,
    /// Longest wait for an answer or for a connection.
    pub timeout: Duration,
}

/// A Lua script and the hash that Redis knows it by.
pub(super) struct LuaScript {
    text: &'static str,
    hash: String,
}

impl LuaScript {
    pub(super) fn new(text: &'static str) -> Self {
        Self { text, hash: redis::Script::new(text).get_hash().to_owned() }
    }
}

struct Slot {
    open: RwLock<Option<MultiplexedConnection>>,
    opening: Mutex<()>,
}

/// Shared connections to one Redis.
pub struct SharedRedis {
    pool: Pool,
    slots: Vec<Slot>,
    next: AtomicUsize,
    timeout: Duration,
    runtime: tokio::runtime::Handle,
}

impl SharedRedis {
    /// Opens nothing yet. Connections are driven by `runtime`, which must live as long as this value.
    pub fn new(config: &RedisConfig, runtime: tokio::runtime::Handle) -> Result<Self, StoreError> {
        let connection = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(config.timeout))
            .set_response_timeout(Some(config.timeout));
        let manager = Manager::new_with_config(config.url.as_str(), connection)
            .map_err(|error| StoreError::Broken(error.into()))?;
        let pool = Pool::builder(manager)
            .max_size(config.connections)
            .wait_timeout(Some(config.timeout))
            .create_timeout(Some(config.timeout))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| StoreError::Broken(error.into()))?;
        let slots =
            (0..config.connections.max(1)).map(|_| Slot { open: RwLock::new(None), opening: Mutex::new(()) }).collect();
        Ok(Self { pool, slots, next: AtomicUsize::new(0), timeout: config.timeout, runtime })
    }

    /// Runs a command. One whose connection turns out to be broken is sent once more on a new one, so it must be
    /// harmless when it is done twice.
    pub(super) async fn run<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        self.run_raw(command).await.and_then(|result| result.map_err(classify))
    }

    /// Runs a script by its hash, and by its text when Redis does not have it (yet, or after a restart).
    pub(super) async fn run_script<T: FromRedisValue>(
        &self,
        script: &LuaScript,
        keys: &[String],
        arguments: &[Vec<u8>],
    ) -> Result<T, StoreError> {
        let call = |command: &str, script: &str| {
            let mut call = redis::cmd(command);
            call.arg(script).arg(keys.len()).arg(keys).arg(arguments);
            call
        };
        match self.run_raw(&call("EVALSHA", &script.hash)).await? {
            Err(error) if error.code() == Some("NOSCRIPT") => self.run(&call("EVAL", script.text)).await,
            result => result.map_err(classify),
        }
    }

    /// The outer error is an unavailable Redis, the inner one what Redis answered.
    async fn run_raw<T: FromRedisValue>(&self, command: &Cmd) -> Result<Result<T, RedisError>, StoreError> {
        let whole = async {
            let slot = self.slot()?;
            let mut connection = self.connection(slot).await?;
            match command.query_async(&mut connection).await {
                Err(error) if connection_is_broken(&error) => {
                    forget(slot);
                    if error.is_timeout() {
                        return Err(unavailable(error));
                    }
                    let mut connection = self.connection(slot).await?;
                    let again = command.query_async(&mut connection).await;
                    if again.as_ref().is_err_and(connection_is_broken) {
                        forget(slot);
                    }
                    Ok(again)
                }
                result => Ok(result),
            }
        };
        match tokio::time::timeout(self.timeout, whole).await {
            Ok(result) => result,
            Err(elapsed) => Err(StoreError::Unavailable(elapsed.into())),
        }
    }

    /// Whether Redis answers.
    pub async fn ready(&self) -> Result<(), StoreError> {
        self.run(&redis::cmd("PING")).await
    }

    /// How many of the shared connections are open.
    pub fn open_connections(&self) -> usize {
        self.slots.iter().filter(|slot| slot.open.read().unwrap_or_else(PoisonError::into_inner).is_some()).count()
    }

    fn slot(&self) -> Result<&Slot, StoreError> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.slots.len().max(1);
        self.slots.get(turn).ok_or_else(|| StoreError::Broken("no shared connection".into()))
    }

    async fn connection(&self, slot: &Slot) -> Result<MultiplexedConnection, StoreError> {
        let at_hand = || slot.open.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(connection) = at_hand() {
            return Ok(connection);
        }
        // One opens, the others wait for it.
        let _opening = slot.opening.lock().await;
        if let Some(connection) = at_hand() {
            return Ok(connection);
        }
        let pool = self.pool.clone();
        let opened = self
            .runtime
            .spawn(async move { pool.get().await.map(deadpool_redis::Connection::take) })
            .await
            .map_err(|error| StoreError::Unavailable(error.into()))?
            .map_err(|error| StoreError::Unavailable(error.into()))?;
        *slot.open.write().unwrap_or_else(PoisonError::into_inner) = Some(opened.clone());
        Ok(opened)
    }
}

fn forget(slot: &Slot) {
    *slot.open.write().unwrap_or_else(PoisonError::into_inner) = None;
}

fn connection_is_broken(error: &RedisError) -> bool {
    error.is_io_error() || error.is_connection_dropped() || error.is_connection_refusal() || error.is_timeout()
}

fn unavailable(error: RedisError) -> StoreError {
    StoreError::Unavailable(error.into())
}

fn classify(error: RedisError) -> StoreError {
    // LOADING, BUSY, OOM, READONLY, MISCONF, CLUSTERDOWN and the like: Redis is there but does not serve.
    let refuses = error.code().is_some_and(|code| {
        ["LOADING", "BUSY", "OOM", "READONLY", "MISCONF", "CLUSTERDOWN", "TRYAGAIN", "MASTERDOWN"].contains(&code)
    });
    if connection_is_broken(&error) || refuses { unavailable(error) } else { StoreError::Broken(error.into()) }
}
