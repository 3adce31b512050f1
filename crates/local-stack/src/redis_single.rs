//! The private Redis.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use nix::sys::signal::Signal;

use crate::{
    StackConfig, StackError, binaries, io,
    process::{self, Server},
    redis_node::ask,
};

pub(crate) struct Redis {
    pub(crate) url: String,
    program: PathBuf,
    port: u16,
    data: PathBuf,
    log: PathBuf,
    note: PathBuf,
    durable: bool,
    server: Server,
}

impl Redis {
    pub(crate) async fn start(config: &StackConfig, port: u16) -> Result<Self, StackError> {
        let program = binaries::redis_server()?;
        let data = config.data_dir.join("redis");
        std::fs::create_dir_all(&data).map_err(io("cannot make the folder for Redis"))?;
        let log = config.data_dir.join("logs").join("redis.log");
        let url = format!("redis://127.0.0.1:{port}/0");
        let note = noted(&config.data_dir);
        let server = launch(&program, port, &data, &log, &note, config.durable)?;
        let mut redis = Self { url, program, port, data, log, note, durable: config.durable, server };
        redis.wait_until_ready().await?;
        Ok(redis)
    }

    /// Ends a Redis that a killed process left running here.
    pub(crate) async fn end_orphan(config: &StackConfig) -> Result<(), StackError> {
        process::end_noted(&noted(&config.data_dir), Signal::SIGTERM).await
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.server.has_ended()
    }

    pub(crate) async fn stop(&mut self) {
        self.server.stop().await;
    }

    pub(crate) async fn kill(&mut self) {
        self.server.kill(Signal::SIGKILL).await;
    }

    pub(crate) async fn restart(&mut self, keep_data: bool) -> Result<(), StackError> {
        if !keep_data {
            std::fs::remove_dir_all(&self.data).map_err(io("cannot empty Redis"))?;
            std::fs::create_dir_all(&self.data).map_err(io("cannot empty Redis"))?;
        }
        self.server = launch(&self.program, self.port, &self.data, &self.log, &self.note, self.durable)?;
        self.wait_until_ready().await
    }

    async fn wait_until_ready(&mut self) -> Result<(), StackError> {
        for _ in 0..600 {
            if self.server.has_ended() {
                break;
            }
            if ask::<String>(self.port, &["PING"]).await.is_ok_and(|answer| answer == "PONG") {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(StackError::Failed(format!("Redis does not start; the end of its log:\n{}", process::tail(&self.log))))
    }
}

/// Where the process of this Redis is noted.
pub(crate) fn noted(data_dir: &Path) -> PathBuf {
    data_dir.join("redis.process")
}

fn launch(
    program: &Path,
    port: u16,
    data: &Path,
    log: &Path,
    note: &Path,
    durable: bool,
) -> Result<Server, StackError> {
    let mut command = process::command(program, None);
    command.arg("--port").arg(port.to_string()).args(["--bind", "127.0.0.1", "--save", "", "--daemonize", "no"]);
    command.arg("--dir").arg(data);
    // The line must never lose a key to make room.
    command.args(["--maxmemory-policy", "noeviction", "--appendfsync", "everysec"]);
    command.args(["--appendonly", if durable { "yes" } else { "no" }]);
    Server::spawn(command, log, Some(note), Signal::SIGTERM, Signal::SIGKILL)
}
