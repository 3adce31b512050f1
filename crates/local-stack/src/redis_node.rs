//! One process of a set of several, and what the sets share.

use std::{
    collections::hash_map::RandomState,
    ffi::OsString,
    fs::File,
    hash::BuildHasher,
    net::TcpListener,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::sys::signal::Signal;
use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, RedisResult};

use crate::{
    StackError, binaries, io,
    process::{self, Server},
};

/// What Sentinels call the master.
pub(crate) const MASTER_NAME: &str = "onsale";

/// Longest wait for a process to answer, and for a set to be complete.
pub(crate) const READY_WAIT: Duration = Duration::from_secs(30);

/// Longest wait for one answer, connecting included.
const ANSWER_WAIT: Duration = Duration::from_secs(2);

/// How long to wait between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Looks again and again until it holds; false when `limit` has passed.
///
/// Not `AsyncFnMut`: its futures could not be spawned.
pub(crate) async fn until<F: Future<Output = bool>>(limit: Duration, mut holds: impl FnMut() -> F) -> bool {
    let looking = async {
        while !holds().await {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    tokio::time::timeout(limit, looking).await.is_ok()
}

/// Sends one command to a server on loopback, over a connection of its own.
pub(crate) async fn ask<T: FromRedisValue>(port: u16, words: &[&str]) -> Result<T, StackError> {
    let answer = tokio::time::timeout(ANSWER_WAIT, exchange(port, words)).await;
    let what = || format!("Redis on port {port}, asked for {}", words.join(" "));
    match answer {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(StackError::Failed(format!("{}: {error}", what()))),
        Err(_) => Err(StackError::Io { what: what(), source: std::io::ErrorKind::TimedOut.into() }),
    }
}

async fn exchange<T: FromRedisValue>(port: u16, words: &[&str]) -> RedisResult<T> {
    // The caller waits so long and no longer; the client's own bounds are shorter.
    let unbounded = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    let client = Client::open(("127.0.0.1", port))?;
    let mut connection = client.get_multiplexed_async_connection_with_config(&unbounded).await?;
    let mut command = Cmd::new();
    command.arg(words);
    command.query_async(&mut connection).await
}

/// Free ports on loopback. They are below those that the system gives to outgoing connections: a process that is down
/// for a while finds its port free again.
pub(crate) fn free_ports<const N: usize>() -> Result<[u16; N], StackError> {
    let none = || StackError::Failed("cannot find free ports".into());
    let random = RandomState::new();
    // All are held until all are known, so that they differ.
    let held: Vec<(TcpListener, u16)> = (0..1000_u64)
        .filter_map(|turn| {
            let port = 10_000 + u16::try_from(random.hash_one(turn) % 22_000).ok()?;
            TcpListener::bind(("127.0.0.1", port)).ok().map(|listener| (listener, port))
        })
        .take(N)
        .collect();
    held.iter().map(|(_, port)| *port).collect::<Vec<_>>().try_into().map_err(|_| none())
}

/// A folder that one set at a time uses, empty at first.
pub(crate) struct Folder {
    data: PathBuf,
    _lock: File,
}

impl Folder {
    /// Takes `name` below `data_dir` and removes what an earlier set left there.
    pub(crate) fn take(data_dir: &Path, name: &str) -> Result<Self, StackError> {
        let folder = data_dir.join(name);
        std::fs::create_dir_all(&folder).map_err(io(format!("cannot make {}", folder.display())))?;
        let folder = folder.canonicalize().map_err(io("cannot resolve the data folder"))?;
        let taken = Self { data: folder.join("data"), _lock: crate::lock(&folder)? };
        if taken.data.exists() {
            std::fs::remove_dir_all(&taken.data).map_err(io(format!("cannot empty {}", taken.data.display())))?;
        }
        Ok(taken)
    }

    /// A folder in it.
    pub(crate) fn make(&self, name: &str) -> Result<PathBuf, StackError> {
        let path = self.data.join(name);
        std::fs::create_dir_all(&path).map_err(io(format!("cannot make {}", path.display())))?;
        Ok(path)
    }
}

/// A Redis or a Sentinel that is up or down. Dropping it kills it.
pub(crate) struct Node {
    pub(crate) port: u16,
    program: PathBuf,
    arguments: Vec<OsString>,
    log: PathBuf,
    server: Option<Server>,
}

impl Node {
    /// Starts a Redis that keeps data.
    pub(crate) async fn redis(folder: &Path, port: u16, settings: &[&str]) -> Result<Self, StackError> {
        let mut arguments: Vec<OsString> =
            vec!["--port".into(), port.to_string().into(), "--dir".into(), folder.into()];
        // The line must never lose a key to make room. A stop does not wait for a replica that was cut off.
        let common = "--bind 127.0.0.1 --daemonize no --maxmemory 512mb --maxmemory-policy noeviction \
                      --appendonly yes --appendfsync everysec --shutdown-timeout 0";
        arguments.extend(["--save".into(), "".into()]);
        arguments.extend(common.split_whitespace().map(OsString::from));
        arguments.extend(settings.iter().map(OsString::from));
        Self::new(folder, port, arguments).await
    }

    /// Starts a Sentinel. It writes down in `file` what it learns.
    pub(crate) async fn sentinel(folder: &Path, port: u16, settings: &str) -> Result<Self, StackError> {
        let file = folder.join("sentinel.conf");
        std::fs::write(&file, settings).map_err(io("cannot write a Sentinel's settings"))?;
        let mut arguments: Vec<OsString> = vec![file.into(), "--sentinel".into()];
        arguments.extend(["--port".into(), port.to_string().into(), "--dir".into(), folder.into()]);
        arguments.extend(["--bind", "127.0.0.1", "--daemonize", "no"].map(OsString::from));
        Self::new(folder, port, arguments).await
    }

    async fn new(folder: &Path, port: u16, arguments: Vec<OsString>) -> Result<Self, StackError> {
        let program = binaries::redis_server()?;
        let mut node = Self { port, program, arguments, log: folder.join("log"), server: None };
        node.start().await?;
        Ok(node)
    }

    /// Starts it on its port with what it had, if it is down, and waits until it answers.
    pub(crate) async fn start(&mut self) -> Result<(), StackError> {
        if self.is_up() {
            return Ok(());
        }
        let mut command = process::command(&self.program, None);
        command.args(&self.arguments);
        let server = self.server.insert(Server::spawn(command, &self.log, None, Signal::SIGTERM, Signal::SIGKILL)?);
        let answering = async {
            while !server.has_ended() {
                if ask::<String>(self.port, &["PING"]).await.is_ok_and(|answer| answer == "PONG") {
                    return true;
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            false
        };
        if tokio::time::timeout(READY_WAIT, answering).await.is_ok_and(|answers| answers) && self.is_up() {
            return Ok(());
        }
        Err(self.failed("does not start"))
    }

    /// Whether its process runs.
    pub(crate) fn is_up(&mut self) -> bool {
        self.server.as_mut().is_some_and(|server| !server.has_ended())
    }

    /// Ends it in order and waits until it is gone.
    pub(crate) async fn stop(&mut self) {
        if let Some(mut server) = self.server.take_if(|server| !server.has_ended()) {
            server.stop().await;
        }
    }

    /// Kills it as a crash would.
    pub(crate) async fn kill(&mut self) {
        if let Some(mut server) = self.server.take_if(|server| !server.has_ended()) {
            server.kill(Signal::SIGKILL).await;
        }
    }

    /// What to say when it does not do what it should.
    pub(crate) fn failed(&self, what: &str) -> StackError {
        StackError::Failed(format!(
            "Redis on port {} {what}; the end of its log:\n{}",
            self.port,
            process::tail(&self.log)
        ))
    }
}

/// Their addresses, separated by commas.
pub(crate) fn urls(nodes: &[Node]) -> String {
    nodes.iter().map(|node| format!("redis://127.0.0.1:{}", node.port)).collect::<Vec<_>>().join(",")
}
