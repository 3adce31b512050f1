//! The private PostgreSQL.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use nix::{sys::signal::Signal, unistd::User};
use tokio::io::AsyncWriteExt;

use crate::{
    StackConfig, StackError, binaries, io,
    process::{self, Server},
};

pub(crate) struct Postgres {
    pub(crate) url: String,
    config: StackConfig,
    port: u16,
    folder: PathBuf,
    data: PathBuf,
    log: PathBuf,
    user: Option<User>,
    server: Server,
}

impl Postgres {
    pub(crate) async fn start(config: &StackConfig, port: u16) -> Result<Self, StackError> {
        let folder = binaries::postgres_folder()?;
        let user = process::service_user()?;
        let data = data_folder(&config.data_dir, user.as_ref()).await?;
        let logs = config.data_dir.join("logs");
        std::fs::create_dir_all(&logs).map_err(io("cannot make the folder for logs"))?;
        let log = logs.join("postgres.log");
        initialise(&folder, &data, user.as_ref()).await?;
        end_unnoted(&data).await?;
        let url = format!("postgres://onsale@127.0.0.1:{port}/onsale");
        let server = launch(config, &folder, &data, &log, port, user.as_ref())?;
        let mut postgres = Self { url, config: config.clone(), port, folder, data, log, user, server };
        match postgres.wait_until_ready().await {
            Ok(()) => {}
            // After a crash its shared memory may be in use for a moment longer.
            Err(_) => postgres.restart().await?,
        }
        Ok(postgres)
    }

    /// Ends a PostgreSQL that a killed process left running here.
    pub(crate) async fn end_orphan(config: &StackConfig) -> Result<(), StackError> {
        process::end_noted(&noted(&config.data_dir), Signal::SIGINT).await
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.server.has_ended()
    }

    pub(crate) async fn stop(&mut self) {
        self.server.stop().await;
    }

    pub(crate) async fn kill(&mut self) {
        self.server.kill_all().await;
    }

    pub(crate) async fn restart(&mut self) -> Result<(), StackError> {
        // PostgreSQL refuses to start while a backend of the killed one still holds the shared memory.
        let mut refusal = StackError::Failed("PostgreSQL did not come back".into());
        for _ in 0..50 {
            self.server = launch(&self.config, &self.folder, &self.data, &self.log, self.port, self.user.as_ref())?;
            match self.wait_until_ready().await {
                Ok(()) => return Ok(()),
                Err(error) => refusal = error,
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(refusal)
    }

    async fn wait_until_ready(&mut self) -> Result<(), StackError> {
        let isready = self.folder.join("pg_isready");
        for _ in 0..600 {
            if self.server.has_ended() {
                break;
            }
            let port = self.port.to_string();
            let mut probe = process::command(&isready, None);
            probe.args(["-q", "-h", "127.0.0.1", "-p", &port, "-U", "onsale", "-d", "onsale"]);
            if probe.status().await.is_ok_and(|status| status.success()) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(StackError::Failed(format!("PostgreSQL does not start; the end of its log:\n{}", process::tail(&self.log))))
    }
}

/// The data folder, or one elsewhere when the user that PostgreSQL runs as cannot reach it (below /root, for example).
async fn data_folder(data_dir: &Path, user: Option<&User>) -> Result<PathBuf, StackError> {
    let wanted = data_dir.join("postgres");
    process::give(&wanted, user)?;
    if process::can_reach(&wanted, user).await {
        return Ok(wanted);
    }
    let mut hasher = DefaultHasher::new();
    data_dir.hash(&mut hasher);
    let elsewhere = PathBuf::from(format!("/var/tmp/onsale-{:016x}", hasher.finish()));
    process::give(&elsewhere, user)?;
    let owner = std::fs::metadata(&elsewhere).map_err(io("cannot look at the folder in /var/tmp"))?.uid();
    if user.is_some_and(|user| user.uid.as_raw() != owner) {
        return Err(StackError::Failed(format!("{} belongs to somebody else", elsewhere.display())));
    }
    tracing::info!(folder = %elsewhere.display(), "PostgreSQL's user cannot reach the data folder, its files are elsewhere");
    Ok(elsewhere)
}

/// Where the process of this PostgreSQL is noted.
pub(crate) fn noted(data_dir: &Path) -> PathBuf {
    data_dir.join("postgres.process")
}

/// PostgreSQL refuses to start while `postmaster.pid` names a process, and after a crash that id may be anybody's. Nobody
/// else uses this folder, so only a PostgreSQL that serves this very cluster is ended; else the file is stale.
async fn end_unnoted(data: &Path) -> Result<(), StackError> {
    let cluster = data.join("cluster");
    let file = cluster.join("postmaster.pid");
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    let Some(pid) = text.lines().next().and_then(|line| line.trim().parse::<i32>().ok()) else { return Ok(()) };
    if process::command_line(pid).contains(&*cluster.to_string_lossy()) {
        process::end(pid, Signal::SIGINT).await?;
    }
    drop(std::fs::remove_file(&file));
    Ok(())
}

/// Makes the cluster and its database once; an attempt that was interrupted is made anew.
async fn initialise(folder: &Path, data: &Path, user: Option<&User>) -> Result<(), StackError> {
    let cluster = data.join("cluster");
    let finished = data.join("initialised");
    if finished.exists() {
        return Ok(());
    }
    if cluster.exists() {
        std::fs::remove_dir_all(&cluster).map_err(io("cannot remove an unfinished cluster"))?;
    }
    process::give(&cluster, user)?;
    std::fs::set_permissions(&cluster, std::fs::Permissions::from_mode(0o700))
        .map_err(io("cannot protect the cluster"))?;
    let mut initdb = process::command(&folder.join("initdb"), user);
    initdb.arg("-D").arg(&cluster);
    initdb.args(["-U", "onsale", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-instructions"]);
    let made = initdb.output().await.map_err(io("initdb does not run"))?;
    if !made.status.success() {
        return Err(StackError::Failed(format!("initdb failed: {}", String::from_utf8_lossy(&made.stderr))));
    }
    // Single-user mode makes the database without a server and without a client program.
    let mut single = process::command(&folder.join("postgres"), user);
    single.arg("--single").arg("-D").arg(&cluster).arg("postgres");
    let mut child = single
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(io("postgres does not run"))?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(b"CREATE DATABASE onsale;\n").await.map_err(io("cannot make the database"))?;
    }
    let made = child.wait().await.map_err(io("cannot make the database"))?;
    if !made.success() {
        return Err(StackError::Failed("the database could not be made".into()));
    }
    std::fs::write(&finished, "").map_err(io("cannot note that the cluster is made"))
}

fn launch(
    config: &StackConfig,
    folder: &Path,
    data: &Path,
    log: &Path,
    port: u16,
    user: Option<&User>,
) -> Result<Server, StackError> {
    let mut command = process::command(&folder.join("postgres"), user);
    command.arg("-D").arg(data.join("cluster")).arg("-p").arg(port.to_string());
    let mut set = |setting: &str| {
        command.arg("-c").arg(setting);
    };
    set("listen_addresses=127.0.0.1");
    set("unix_socket_directories=");
    set(&format!("max_connections={}", config.max_connections));
    set("shared_buffers=128MB");
    if !config.durable {
        for setting in ["fsync=off", "synchronous_commit=off", "full_page_writes=off"] {
            set(setting);
        }
    }
    // SIGINT is PostgreSQL's fast shutdown, SIGQUIT its immediate one.
    Server::spawn(command, log, Some(&noted(&config.data_dir)), Signal::SIGINT, Signal::SIGQUIT)
}
