//! `onsale dev` starts again on its data, whatever ended it.

use std::{
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// `onsale dev` as a program of its own.
struct Dev {
    child: Child,
    base: String,
}

impl Dev {
    async fn start(folder: &Path, port: u16) -> Self {
        let log = std::fs::File::options().create(true).append(true).open(folder.join("dev.log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_onsale"));
        command.arg("dev").arg("--data-dir").arg(folder.join("data")).arg("--bind").arg(format!("127.0.0.1:{port}"));
        command.env_remove("DATABASE_URL").env_remove("REDIS_URL");
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut dev = Self { child: command.spawn().unwrap(), base: format!("http://127.0.0.1:{port}") };
        dev.until_ready(folder).await;
        dev
    }

    async fn until_ready(&mut self, folder: &Path) {
        let ready = async {
            while !reqwest::get(format!("{}/readyz", self.base)).await.is_ok_and(|answer| answer.status() == 200) {
                let ended = self.child.try_wait().unwrap();
                let log = || std::fs::read_to_string(folder.join("dev.log")).unwrap_or_default();
                assert!(ended.is_none(), "onsale dev has ended: {}", log());
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(2), ready).await.expect("onsale dev is ready");
    }

    async fn concerts(&self) -> usize {
        let answer = reqwest::get(format!("{}/api/v1/concerts?limit=100", self.base)).await.unwrap();
        answer.json::<serde_json::Value>().await.unwrap()["items"].as_array().unwrap().len()
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Children of this process that have ended and that it has not asked about.
    fn zombies(&self) -> usize {
        let parent = self.child.id().to_string();
        let is_zombie = |stat: &str| {
            let mut fields = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace()).unwrap();
            (fields.next(), fields.next()) == (Some("Z"), Some(parent.as_str()))
        };
        let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        let stats = processes.filter_map(|process| std::fs::read_to_string(process.path().join("stat")).ok());
        stats.filter(|stat| is_zombie(stat)).count()
    }
}

fn noted(folder: &Path, name: &str) -> Pid {
    let text = std::fs::read_to_string(folder.join("data").join(format!("{name}.process"))).unwrap();
    Pid::from_raw(text.split_whitespace().next().unwrap().parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn never_again_42_any_crash_is_followed_by_a_clean_start_with_the_same_command() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut dev = Dev::start(folder, port).await;
    assert_eq!(dev.concerts().await, 11);
    let first = [noted(folder, "postgres"), noted(folder, "redis")];
    let running = folder.join("data/running.toml");
    assert_eq!(std::fs::metadata(&running).unwrap().permissions().mode() & 0o777, 0o600, "it may have passwords");
    let stores = onsale_local_stack::processes(&folder.join("data"));
    assert_eq!(stores.into_iter().map(|(name, _)| name).collect::<Vec<_>>(), ["postgres", "redis"]);

    // Killed: its stores live on, and are ended by the next start, which finds all its data.
    dev.kill();
    assert!(first.iter().all(|pid| kill(*pid, None).is_ok()), "the stores outlived it");
    let mut dev = Dev::start(folder, port).await;
    assert_eq!(dev.concerts().await, 11);
    let second = [noted(folder, "postgres"), noted(folder, "redis")];
    assert!(first.iter().all(|pid| !second.contains(pid)));

    // A store dies while it runs: it is started again, and the log says so.
    for (name, pid) in [("redis", second[1]), ("postgres", second[0])] {
        kill(pid, Signal::SIGKILL).unwrap();
        let again = async {
            while noted(folder, name) == pid {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), again).await.expect("it is started again");
        dev.until_ready(folder).await;
    }
    let log = std::fs::read_to_string(folder.join("dev.log")).unwrap();
    for words in ["Redis has ended by itself", "PostgreSQL has ended by itself"] {
        assert!(log.contains(words), "{log}");
    }
    assert_eq!((dev.concerts().await, dev.zombies()), (11, 0));

    // Everything is killed at once, and the id in PostgreSQL's file has become somebody else's.
    let stores = [noted(folder, "postgres"), noted(folder, "redis")];
    dev.kill();
    for pid in stores {
        kill(pid, Signal::SIGKILL).unwrap();
    }
    let cluster = ["postgres/cluster"].map(|path| folder.join("data").join(path));
    for cluster in cluster.iter().filter(|cluster| cluster.exists()) {
        std::fs::write(cluster.join("postmaster.pid"), format!("{}\n", std::process::id())).unwrap();
    }
    let mut dev = Dev::start(folder, port).await;
    assert_eq!(dev.concerts().await, 11);

    // A second one on the same folder is refused, and harms nothing.
    let mut second = Command::new(env!("CARGO_BIN_EXE_onsale"));
    second.arg("dev").arg("--data-dir").arg(folder.join("data")).arg("--bind").arg("127.0.0.1:0");
    let refused = second.env_remove("DATABASE_URL").env_remove("REDIS_URL").output().unwrap();
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("is using"));
    assert_eq!(dev.concerts().await, 11);
    kill(Pid::from_raw(i32::try_from(dev.child.id()).unwrap()), Signal::SIGTERM).unwrap();
    assert!(dev.child.wait().unwrap().success());
    assert!(!running.exists() && onsale_local_stack::processes(&folder.join("data")).is_empty());
}
