//! A few connections that everybody shares.
//!
//! Many tasks on one multiplexed connection pipeline by themselves. Checking a connection out of the pool for each
//! command would send two more commands and throw that away, at half to a fifth of the throughput; so the pool is
//! only asked for a connection when a shared one has to be (re)opened.
//!
//! Why not redis's `ConnectionManager` (1.8): it knows the one address of its client, and has no form for sentinels or a
//! cluster; it keeps a link that answers READONLY (the master is another one now) or that timed out (the wire is
//! silent); it does not send again what a broken link swallowed. Like `Slot`, it replaces only the link that broke.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use deadpool_redis::{
    Manager, Pool, Runtime,
    cluster::{self, ClusterConnection},
    redis::{
        self, AsyncConnectionConfig, Cmd, FromRedisValue, IntoConnectionInfo, RedisError,
        aio::{ConnectionLike, MultiplexedConnection},
    },
    sentinel::{self, SentinelNodeConnectionInfo, SentinelServerType, TlsMode},
};
use onsale_application::error::StoreError;
use parking_lot::RwLock;
use tokio::sync::Mutex;

/// How to reach Redis and how long to wait for it.
#[derive(Debug, Clone)]
pub struct RedisConfig {
    /// `redis://host:port/db`: the server, some masters of the cluster, or the sentinels.
    pub urls: Vec<String>,
    /// What stands behind them.
    pub mode: RedisMode,
    /// Shared connections.
    pub connections: usize,
    /// Longest wait for an answer or for a connection.
    pub timeout: Duration,
}

/// How Redis is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedisMode {
    /// One server.
    Single,
    /// A Redis Cluster. Each line lives on one of its masters.
    Cluster,
    /// A master and its replicas, watched by sentinels.
    Sentinel {
        /// What the sentinels call the master.
        master: String,
        /// How the master is spoken to: user, password, database number and TLS (`rediss://`) of this URL; its
        /// address is the sentinels' to tell.
        node: Option<String>,
    },
}

/// A Lua script and the hash that Redis knows it by.
pub(super) struct LuaScript {
    text: String,
    hash: String,
}

impl LuaScript {
    pub(super) fn new(text: String) -> Self {
        let hash = redis::Script::new(&text).get_hash().to_owned();
        Self { text, hash }
    }
}

/// Where connections come from.
enum Source {
    Single(Pool),
    Cluster(cluster::Pool),
    Sentinel(sentinel::Pool),
}

impl Source {
    fn new(config: &RedisConfig) -> Result<Self, StoreError> {
        // The three kinds of pools are different types with the same builder.
        macro_rules! pool {
            ($pool:path, $manager:expr) => {
                <$pool>::builder($manager.map_err(|error| StoreError::Broken(error.into()))?)
                    .max_size(config.connections)
                    .wait_timeout(Some(config.timeout))
                    .create_timeout(Some(config.timeout))
                    .runtime(Runtime::Tokio1)
                    .build()
                    .map_err(|error| StoreError::Broken(error.into()))?
            };
        }
        let urls: Vec<&str> = config.urls.iter().map(String::as_str).collect();
        Ok(match &config.mode {
            RedisMode::Single => {
                let connection = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(config.timeout))
                    .set_response_timeout(Some(config.timeout));
                let url = urls.first().copied().unwrap_or_default();
                Self::Single(pool!(Pool, Manager::new_with_config(url, connection)))
            }
            RedisMode::Cluster => Self::Cluster(pool!(cluster::Pool, cluster::Manager::new(urls, false))),
            RedisMode::Sentinel { master, node } => {
                let node = node.as_deref().map(node_info).transpose()?;
                let manager = sentinel::Manager::new(urls, master.clone(), node, SentinelServerType::Master);
                Self::Sentinel(pool!(sentinel::Pool, manager))
            }
        })
    }
}

/// What a URL says of how the nodes behind sentinels are spoken to.
fn node_info(url: &str) -> Result<SentinelNodeConnectionInfo, StoreError> {
    let info = url.into_connection_info().map_err(|error| StoreError::Broken(error.into()))?;
    let tls_mode = url.starts_with("rediss://").then_some(TlsMode::Secure);
    Ok(SentinelNodeConnectionInfo { tls_mode, redis_connection_info: Some(info.redis_settings().clone().into()) })
}

/// An open connection, shared by cloning.
#[derive(Clone)]
enum Link {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl ConnectionLike for Link {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> redis::RedisFuture<'a, redis::Value> {
        match self {
            Self::One(link) => link.req_packed_command(command),
            Self::Cluster(link) => link.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a redis::Pipeline,
        offset: usize,
        count: usize,
    ) -> redis::RedisFuture<'a, Vec<redis::Value>> {
        match self {
            Self::One(link) => link.req_packed_commands(pipeline, offset, count),
            Self::Cluster(link) => link.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::One(link) => link.get_db(),
            Self::Cluster(link) => link.get_db(),
        }
    }
}

struct Slot<L> {
    /// The link, and which one of this slot it is.
    open: RwLock<(u64, Option<L>)>,
    opening: Mutex<()>,
}

impl<L: Clone> Slot<L> {
    fn link(&self) -> (u64, Option<L>) {
        self.open.read().clone()
    }

    fn put(&self, link: L) -> u64 {
        let mut open = self.open.write();
        *open = (open.0 + 1, Some(link));
        open.0
    }

    /// Drops the link that was seen to break, and not one that somebody has opened since.
    fn forget(&self, broken: u64) {
        let mut open = self.open.write();
        if open.0 == broken {
            open.1 = None;
        }
    }
}

/// Shared connections to one Redis, however it is run.
pub struct SharedRedis {
    source: Arc<Source>,
    slots: Vec<Slot<Link>>,
    next: AtomicUsize,
    timeout: Duration,
    runtime: tokio::runtime::Handle,
}

impl SharedRedis {
    /// Opens nothing yet. Connections are driven by `runtime`, which must live as long as this value.
    pub fn new(config: &RedisConfig, runtime: tokio::runtime::Handle) -> Result<Self, StoreError> {
        let source = Arc::new(Source::new(config)?);
        let slots = (0..config.connections.max(1))
            .map(|_| Slot { open: RwLock::new((0, None)), opening: Mutex::new(()) })
            .collect();
        Ok(Self { source, slots, next: AtomicUsize::new(0), timeout: config.timeout, runtime })
    }

    /// Runs a command. One whose connection turns out to be broken is sent once more on a new one, so it must be
    /// harmless when it is done twice.
    pub(crate) async fn run<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
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
            Err(error) if error.code() == Some("NOSCRIPT") => self.run(&call("EVAL", &script.text)).await,
            result => result.map_err(classify),
        }
    }

    /// The outer error is an unavailable Redis, the inner one what Redis answered.
    async fn run_raw<T: FromRedisValue>(&self, command: &Cmd) -> Result<Result<T, RedisError>, StoreError> {
        let slot = self.slot()?;
        // Which link is in use, so that what breaks is dropped and nothing else.
        let used = AtomicU64::new(0);
        let whole = async {
            let mut connection = self.connection(slot, &used).await?;
            let seen_broken = || slot.forget(used.load(Ordering::Relaxed));
            match command.query_async(&mut connection).await {
                Err(error) if connection_is_broken(&error) => {
                    seen_broken();
                    if error.is_timeout() {
                        return Err(unavailable(error));
                    }
                    let mut connection = self.connection(slot, &used).await?;
                    let again = command.query_async(&mut connection).await;
                    if again.as_ref().is_err_and(connection_is_broken) {
                        seen_broken();
                    }
                    Ok(again)
                }
                Err(error) if is_no_master(&error) => {
                    // The master that this connection leads to is a replica now; the next one leads to the new master.
                    seen_broken();
                    Err(unavailable(error))
                }
                result => Ok(result),
            }
        };
        match tokio::time::timeout(self.timeout, whole).await {
            Ok(result) => result,
            Err(elapsed) => {
                slot.forget(used.load(Ordering::Relaxed));
                Err(StoreError::Unavailable(elapsed.into()))
            }
        }
    }

    /// Whether Redis answers.
    pub async fn ready(&self) -> Result<(), StoreError> {
        self.run(&redis::cmd("PING")).await
    }

    /// How many of the shared connections are open.
    pub fn open_connections(&self) -> usize {
        self.slots.iter().filter(|slot| slot.link().1.is_some()).count()
    }

    fn slot(&self) -> Result<&Slot<Link>, StoreError> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.slots.len().max(1);
        self.slots.get(turn).ok_or_else(|| StoreError::Broken("no shared connection".into()))
    }

    async fn connection(&self, slot: &Slot<Link>, used: &AtomicU64) -> Result<Link, StoreError> {
        let at_hand = || {
            let (which, link) = slot.link();
            used.store(which, Ordering::Relaxed);
            link
        };
        if let Some(connection) = at_hand() {
            return Ok(connection);
        }
        // One opens, the others wait for it.
        let _opening = slot.opening.lock().await;
        if let Some(connection) = at_hand() {
            return Ok(connection);
        }
        let source = Arc::clone(&self.source);
        let open = async move {
            Ok(match &*source {
                Source::Single(pool) => Link::One(deadpool_redis::Connection::take(pool.get().await?)),
                Source::Cluster(pool) => Link::Cluster(cluster::Connection::take(pool.get().await?)),
                Source::Sentinel(pool) => Link::One(sentinel::Connection::take(pool.get().await?)),
            })
        };
        let opened = self
            .runtime
            .spawn(open)
            .await
            .map_err(|error| StoreError::Unavailable(error.into()))?
            .map_err(|error: deadpool_redis::PoolError| StoreError::Unavailable(error.into()))?;
        used.store(slot.put(opened.clone()), Ordering::Relaxed);
        Ok(opened)
    }
}

fn is_no_master(error: &RedisError) -> bool {
    error.code() == Some("READONLY")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_dropped_only_by_who_saw_it_break() {
        let slot = Slot { open: RwLock::new((0, None)), opening: Mutex::new(()) };
        let first = slot.put("first");
        slot.forget(first);
        assert_eq!(slot.link().1, None);
        let second = slot.put("second");
        // Many commands were under way on the first link; they hear of its end one after the other.
        slot.forget(first);
        assert_eq!(slot.link(), (second, Some("second")));
    }
}
