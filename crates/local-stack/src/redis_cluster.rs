//! A private Redis Cluster.

use std::path::Path;

use redis::InfoDict;

use crate::{
    StackError,
    redis_node::{Folder, Node, READY_WAIT, ask, free_ports, until, urls},
};

/// How many masters a cluster has.
const MASTERS: usize = 3;

/// The slots of each master.
const SLOTS: [(&str, &str); MASTERS] = [("0", "5460"), ("5461", "10922"), ("10923", "16383")];

/// Three masters without replicas that share the keys: the first has the slots 0 to 5460, the second those to 10922,
/// the third the rest. While one is down the others refuse all keys, too, as a cluster does by default. Dropping it
/// kills all three.
pub struct RedisCluster {
    nodes: Vec<Node>,
    _folder: Folder,
}

impl RedisCluster {
    /// Starts an empty cluster in the folder `redis-cluster` below `data_dir` and waits until it takes keys. What an
    /// earlier cluster left there is removed.
    pub async fn start(data_dir: &Path) -> Result<Self, StackError> {
        let folder = Folder::take(data_dir, "redis-cluster")?;
        let ports: [u16; MASTERS * 2] = free_ports()?;
        let (own, bus) = ports.split_at(MASTERS);
        let mut nodes = vec![];
        for (index, (port, bus)) in own.iter().zip(bus).enumerate() {
            let bus = bus.to_string();
            let mut settings = vec!["--cluster-enabled", "yes", "--cluster-port", &bus];
            settings.extend(["--cluster-announce-ip", "127.0.0.1", "--cluster-node-timeout", "2000"]);
            nodes.push(Node::redis(&folder.make(&format!("node-{index}"))?, *port, &settings).await?);
        }
        let mut cluster = Self { nodes, _folder: folder };
        cluster.form(bus).await?;
        Ok(cluster)
    }

    /// All three, separated by commas, the first master first.
    pub fn urls(&self) -> String {
        urls(&self.nodes)
    }

    /// Kills one master as a crash would.
    pub async fn kill(&mut self, index: usize) -> Result<(), StackError> {
        self.node(index)?.kill().await;
        Ok(())
    }

    /// Starts a killed master again on its port with what it had on disk. If it was the last that was down, this waits
    /// until the cluster takes keys again.
    pub async fn start_again(&mut self, index: usize) -> Result<(), StackError> {
        self.node(index)?.start().await?;
        if self.nodes.iter_mut().all(Node::is_up) { self.wait_until_ok().await } else { Ok(()) }
    }

    /// Stops all in order and waits until they are gone.
    pub async fn stop(mut self) {
        for node in &mut self.nodes {
            node.stop().await;
        }
    }

    fn node(&mut self, index: usize) -> Result<&mut Node, StackError> {
        self.nodes.get_mut(index).ok_or_else(|| StackError::Failed(format!("the cluster has no node {index}")))
    }

    async fn form(&mut self, bus: &[u16]) -> Result<(), StackError> {
        for ((epoch, node), (first, last)) in (1..).zip(&self.nodes).zip(SLOTS) {
            let epoch: u32 = epoch;
            ask::<()>(node.port, &["CLUSTER", "SET-CONFIG-EPOCH", &epoch.to_string()]).await?;
            ask::<()>(node.port, &["CLUSTER", "ADDSLOTSRANGE", first, last]).await?;
        }
        let mut others = self.nodes.iter().zip(bus);
        if let Some((first, _)) = others.next() {
            for (other, bus) in others {
                let (port, bus) = (other.port.to_string(), bus.to_string());
                ask::<()>(first.port, &["CLUSTER", "MEET", "127.0.0.1", &port, &bus]).await?;
            }
        }
        self.wait_until_ok().await
    }

    /// Waits until every master knows all and has all slots in reach.
    async fn wait_until_ok(&self) -> Result<(), StackError> {
        for node in &self.nodes {
            let ok = until(READY_WAIT, || async {
                ask::<InfoDict>(node.port, &["CLUSTER", "INFO"]).await.is_ok_and(|info| {
                    [("cluster_state", "ok"), ("cluster_slots_ok", "16384"), ("cluster_known_nodes", "3")]
                        .iter()
                        .all(|(name, value)| info.get::<String>(name).is_some_and(|has| has == *value))
                })
            });
            if !ok.await {
                return Err(node.failed("does not find its cluster"));
            }
        }
        Ok(())
    }
}
