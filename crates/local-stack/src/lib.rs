//! A private PostgreSQL and Redis in a folder of one's own, on loopback, for development and for tests. For tests there
//! are a Redis Cluster, a Redis with Sentinels and one behind TLS as well.

mod binaries;
mod postgres;
mod process;
mod redis_cluster;
mod redis_node;
mod redis_sentinel;
mod redis_single;
mod redis_tls;
mod tcp_proxy;

use std::{
    fs::File,
    io::Write,
    net::TcpListener,
    path::{Path, PathBuf},
};

use postgres::Postgres;
pub use redis_cluster::RedisCluster;
pub use redis_sentinel::RedisSentinel;
use redis_single::Redis;
pub use redis_tls::{Certificate, RedisTls};

/// Why a stack does not start or stop.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// A program is not installed.
    #[error("{program} is missing: install the package `{package}` (for example: sudo apt-get install {package})")]
    Missing {
        /// What is missing.
        program: &'static str,
        /// What brings it.
        package: &'static str,
    },
    /// Another stack uses the folder.
    #[error("process {pid} is using {folder}; stop it first")]
    InUse {
        /// Its process id.
        pid: i32,
        /// The folder.
        folder: String,
    },
    /// A file or a process.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What went wrong.
        source: std::io::Error,
    },
    /// A program did not do what it should.
    #[error("{0}")]
    Failed(String),
}

pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> StackError {
    let what = what.into();
    move |source| StackError::Io { what, source }
}

/// What kind of stack.
#[derive(Debug, Clone)]
pub struct StackConfig {
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// Whether what was written survives a crash of the machine. Tests do without, which is faster.
    pub durable: bool,
    /// Most connections to PostgreSQL.
    pub max_connections: u16,
}

/// A running PostgreSQL and Redis. Dropping it kills both.
pub struct Stack {
    postgres: Postgres,
    redis: Redis,
    _lock: File,
}

impl Stack {
    /// Starts both, on the ports of the last time if they are still free. Servers that a killed process left running in this
    /// folder are ended first, in order.
    pub async fn start(config: StackConfig) -> Result<Self, StackError> {
        std::fs::create_dir_all(&config.data_dir).map_err(io(format!("cannot make {}", config.data_dir.display())))?;
        let data_dir = config.data_dir.canonicalize().map_err(io("cannot resolve the data folder"))?;
        let config = StackConfig { data_dir, ..config };
        let lock = lock(&config.data_dir)?;
        // Before the ports are looked at, which they have.
        Postgres::end_orphan(&config).await?;
        Redis::end_orphan(&config).await?;
        let (postgres_port, redis_port) = ports(&config.data_dir)?;
        let postgres = Postgres::start(&config, postgres_port).await?;
        let redis = Redis::start(&config, redis_port).await?;
        Ok(Self { postgres, redis, _lock: lock })
    }

    /// Starts again what has ended by itself, with the data that it had. To be called every now and then.
    pub async fn tend(&mut self) -> Result<(), StackError> {
        if self.postgres.has_ended() {
            tracing::error!("PostgreSQL has ended by itself; it starts again with everything that was committed");
            self.postgres.restart().await?;
            tracing::info!("PostgreSQL is back");
        }
        if self.redis.has_ended() {
            tracing::error!(
                "Redis has ended by itself; it starts again with its file, which may lack the last second: lines recover"
            );
            self.redis.restart(true).await?;
            tracing::info!("Redis is back");
        }
        Ok(())
    }

    /// For `DATABASE_URL`.
    pub fn database_url(&self) -> &str {
        &self.postgres.url
    }

    /// For `REDIS_URL`.
    pub fn redis_url(&self) -> &str {
        &self.redis.url
    }

    /// Stops both in order and waits until they are gone.
    pub async fn stop(mut self) -> Result<(), StackError> {
        self.redis.stop().await;
        self.postgres.stop().await;
        Ok(())
    }

    /// Kills Redis as a crash would.
    pub async fn kill_redis(&mut self) {
        self.redis.kill().await;
    }

    /// Starts Redis again on its port, with what it had on disk or with nothing.
    pub async fn start_redis(&mut self, keep_data: bool) -> Result<(), StackError> {
        self.redis.restart(keep_data).await
    }

    /// Kills PostgreSQL as a crash would.
    pub async fn kill_postgres(&mut self) {
        self.postgres.kill().await;
    }

    /// Starts PostgreSQL again on its port.
    pub async fn start_postgres(&mut self) -> Result<(), StackError> {
        self.postgres.restart().await
    }
}

/// The processes of the PostgreSQL and the Redis that run in a folder, with their names: those that run, where the system tells.
pub fn processes(data_dir: &Path) -> Vec<(&'static str, u32)> {
    let noted = [("postgres", postgres::noted(data_dir)), ("redis", redis_single::noted(data_dir))];
    let running = |(name, file): (&'static str, PathBuf)| Some((name, u32::try_from(process::noted(&file)?).ok()?));
    noted.into_iter().filter_map(running).collect()
}

/// Refuses a second stack in the same folder. The lock ends with the process that has it, however that ends.
fn lock(data_dir: &Path) -> Result<File, StackError> {
    let path = data_dir.join("lock");
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(io("cannot open the lock"))?;
    if file.try_lock().is_err() {
        let pid = std::fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        return Err(StackError::InUse { pid, folder: data_dir.display().to_string() });
    }
    let noted = file.set_len(0).and_then(|()| file.write_all(std::process::id().to_string().as_bytes()));
    noted.map_err(io("cannot write the lock"))?;
    Ok(file)
}

/// The ports of the last time, or new ones where those are taken.
fn ports(data_dir: &Path) -> Result<(u16, u16), StackError> {
    let path = data_dir.join("ports");
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let mut kept = kept.split_whitespace().map(|text| text.parse::<u16>().ok());
    let mut choose = || -> Result<(TcpListener, u16), StackError> {
        let wanted = kept.next().flatten().unwrap_or(0);
        let listener = TcpListener::bind(("127.0.0.1", wanted))
            .or_else(|_| TcpListener::bind(("127.0.0.1", 0)))
            .map_err(io("cannot find a free port"))?;
        let port = listener.local_addr().map_err(io("cannot find a free port"))?.port();
        Ok((listener, port))
    };
    // Both listeners are open until both ports are known, so that they differ.
    let ((_one, postgres), (_two, redis)) = (choose()?, choose()?);
    std::fs::write(&path, format!("{postgres} {redis}\n")).map_err(io("cannot keep the ports"))?;
    Ok((postgres, redis))
}
