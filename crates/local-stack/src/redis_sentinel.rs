//! A private Redis with a replica, watched by Sentinels.

use std::{collections::HashMap, path::Path, time::Duration};

use redis::{InfoDict, Role};

use crate::{
    StackError,
    redis_node::{Folder, MASTER_NAME, Node, READY_WAIT, ask, free_ports, until, urls},
    tcp_proxy::TcpProxy,
};

/// Longest wait for a failover. One takes about three seconds; where the Sentinels disagree they try again after ten.
const FAILOVER_WAIT: Duration = Duration::from_mins(1);

/// A master, a replica, and three Sentinels that make the replica the master when the master is gone. Dropping it kills
/// all five.
///
/// The replica copies the master over a wire that can be cut. Sentinels and clients reach both directly.
pub struct RedisSentinel {
    master: Node,
    replica: Node,
    sentinels: Vec<Node>,
    wire: TcpProxy,
    failed_over: bool,
    _folder: Folder,
}

impl RedisSentinel {
    /// Starts an empty set in the folder `redis-sentinel` below `data_dir` and waits until it could fail over. What an
    /// earlier set left there is removed.
    pub async fn start(data_dir: &Path) -> Result<Self, StackError> {
        let folder = Folder::take(data_dir, "redis-sentinel")?;
        let [master, replica, watchers @ ..]: [u16; 5] = free_ports()?;
        // A replica is sent its copy at once, and a silent wire is not given up.
        let common = ["--repl-diskless-sync-delay", "0", "--repl-timeout", "86400"];
        let master = Node::redis(&folder.make("master")?, master, &common).await?;
        let wire = TcpProxy::start(master.port).await?;

        let (wire_port, own_port) = (wire.port.to_string(), replica.to_string());
        let mut settings = common.to_vec();
        settings.extend(["--replicaof", "127.0.0.1", &wire_port]);
        settings.extend(["--replica-announce-ip", "127.0.0.1", "--replica-announce-port", &own_port]);
        // A Sentinel that sees a replica copy from an address that is not the master's tells it to use the master's,
        // past the wire. This replica obeys only `SLAVEOF NO ONE`, which makes it the master.
        settings.extend(["--user", "default", "on", "nopass", "~*", "&*", "+@all"]);
        settings.extend(["-replicaof", "-slaveof", "+slaveof|no"]);
        let replica = Node::redis(&folder.make("replica")?, replica, &settings).await?;
        wait_for_copy(&replica).await?;

        let settings = format!(
            "sentinel monitor {MASTER_NAME} 127.0.0.1 {} 2\n\
             sentinel down-after-milliseconds {MASTER_NAME} 1000\n\
             sentinel failover-timeout {MASTER_NAME} 5000\n",
            master.port
        );
        let mut sentinels = vec![];
        for (index, port) in watchers.into_iter().enumerate() {
            sentinels.push(Node::sentinel(&folder.make(&format!("sentinel-{index}"))?, port, &settings).await?);
        }
        wait_for_acquaintance(&sentinels).await?;
        Ok(Self { master, replica, sentinels, wire, failed_over: false, _folder: folder })
    }

    /// The Sentinels, separated by commas.
    pub fn sentinel_urls(&self) -> String {
        urls(&self.sentinels)
    }

    /// What the Sentinels call the master.
    pub fn master_name() -> &'static str {
        MASTER_NAME
    }

    /// The master: the first one until [`Self::wait_for_failover`] has seen the other.
    pub fn master_url(&self) -> String {
        let node = if self.failed_over { &self.replica } else { &self.master };
        format!("redis://127.0.0.1:{}", node.port)
    }

    /// The replica, which becomes the master.
    pub fn replica_url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.replica.port)
    }

    /// From here on no write reaches the replica. Both live on, and each believes itself connected. Writes shortly
    /// before may be lost, too; `WAIT 1` on the connection that wrote makes sure that the replica has them.
    #[expect(clippy::unused_async, reason = "like the other disturbances")]
    pub async fn cut_replication(&mut self) {
        self.wire.cut();
    }

    /// Kills the first master as a crash would.
    pub async fn kill_master(&mut self) {
        self.master.kill().await;
    }

    /// Waits until all Sentinels say that the replica is the master, and it says so itself.
    pub async fn wait_for_failover(&mut self) -> Result<(), StackError> {
        let port = self.replica.port;
        for sentinel in &self.sentinels {
            let moved = until(FAILOVER_WAIT, || async {
                ask::<(String, u16)>(sentinel.port, &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER_NAME])
                    .await
                    .is_ok_and(|(_, of_master)| of_master == port)
            });
            if !moved.await {
                return Err(sentinel.failed("knows no new master"));
            }
        }
        let is_master = until(READY_WAIT, || async {
            ask::<Role>(port, &["ROLE"]).await.is_ok_and(|role| matches!(role, Role::Primary { .. }))
        });
        if !is_master.await {
            return Err(self.replica.failed("does not become the master"));
        }
        self.failed_over = true;
        Ok(())
    }

    /// Stops all in order and waits until they are gone.
    pub async fn stop(mut self) {
        for node in self.sentinels.iter_mut().chain([&mut self.replica, &mut self.master]) {
            node.stop().await;
        }
    }
}

/// Waits until the replica has the master's keys.
async fn wait_for_copy(replica: &Node) -> Result<(), StackError> {
    let linked = until(READY_WAIT, || async {
        ask::<InfoDict>(replica.port, &["INFO", "replication"])
            .await
            .is_ok_and(|info| info.get::<String>("master_link_status").is_some_and(|status| status == "up"))
    });
    if linked.await { Ok(()) } else { Err(replica.failed("does not copy its master")) }
}

/// Waits until every Sentinel knows the other two and has the replica in its sight.
async fn wait_for_acquaintance(sentinels: &[Node]) -> Result<(), StackError> {
    for sentinel in sentinels {
        let acquainted = until(READY_WAIT, || async {
            let quorum = ask::<String>(sentinel.port, &["SENTINEL", "CKQUORUM", MASTER_NAME]).await;
            let replicas: Result<Vec<HashMap<String, String>>, StackError> =
                ask(sentinel.port, &["SENTINEL", "REPLICAS", MASTER_NAME]).await;
            let has = |replica: &HashMap<String, String>, name: &str, value: &str| {
                replica.get(name).is_some_and(|has| has == value)
            };
            quorum.is_ok_and(|answer| answer.starts_with("OK 3 usable"))
                && replicas.is_ok_and(|replicas| match replicas.as_slice() {
                    [replica] => has(replica, "flags", "slave") && has(replica, "master-link-status", "ok"),
                    _ => false,
                })
        });
        if !acquainted.await {
            return Err(sentinel.failed("does not find the others"));
        }
    }
    Ok(())
}
