//! A Redis Cluster and a Redis with Sentinels, started for real.
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use onsale_local_stack::{RedisCluster, RedisSentinel, StackError};
use redis::{
    AsyncConnectionConfig, Client, Cmd, FromRedisValue, RedisError, RedisResult, Value, aio::MultiplexedConnection,
};
use tokio::net::TcpStream;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()))
}

/// A connection that waits as long as `WAIT` may.
async fn connect(url: &str) -> RedisResult<MultiplexedConnection> {
    let patient = AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(10)));
    Client::open(url)?.get_multiplexed_async_connection_with_config(&patient).await
}

/// `WAIT` waits for the writes of its own connection only.
async fn ask_over<T: FromRedisValue>(connection: &mut MultiplexedConnection, command: &str) -> RedisResult<T> {
    let mut words = Cmd::new();
    words.arg(command.split(' ').collect::<Vec<_>>());
    words.query_async(connection).await
}

/// Sends one command over a connection of its own.
async fn ask<T: FromRedisValue>(url: &str, command: &str) -> RedisResult<T> {
    let mut connection = connect(url).await?;
    ask_over(&mut connection, command).await
}

/// Sends a command about a key to whichever node has it.
async fn ask_owner(url: &str, command: &str) -> String {
    let answer: RedisResult<String> = ask(url, command).await;
    let moved = answer.as_ref().err().and_then(RedisError::redirect_node);
    match moved.map(|(owner, _)| format!("redis://{owner}")) {
        Some(owner) => ask(&owner, command).await.expect("an answer"),
        None => answer.expect("an answer"),
    }
}

async fn is_gone(address: &str) {
    let refused = async {
        while TcpStream::connect(address.trim_start_matches("redis://")).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), refused).await.expect("nobody listens any more");
}

#[tokio::test]
async fn a_cluster_spreads_keys_over_three_masters_and_survives_the_crash_of_one() {
    let folder = folder("cluster");
    let mut cluster = RedisCluster::start(&folder).await.expect("a cluster");
    assert!(
        matches!(RedisCluster::start(&folder).await, Err(StackError::InUse { .. })),
        "a second one in the same folder"
    );
    let urls = cluster.urls();
    let urls: Vec<&str> = urls.split(',').collect();
    assert_eq!(urls.len(), 3);

    for url in &urls {
        let info: String = ask(url, "CLUSTER INFO").await.expect("an answer");
        assert!(info.contains("cluster_state:ok") && info.contains("cluster_size:3"), "{info}");
    }
    for number in 0..60 {
        assert_eq!(ask_owner(urls[number % 3], &format!("SET key-{number} {number}")).await, "OK");
    }
    let mut sum = 0;
    for url in &urls {
        let size: u32 = ask(url, "DBSIZE").await.expect("an answer");
        assert!(size > 0, "{url} has no key");
        sum += size;
    }
    assert_eq!(sum, 60);

    cluster.kill(1).await.expect("a node");
    assert!(ask::<String>(urls[1], "PING").await.is_err(), "a killed master answers");
    let noticed = async {
        while !ask::<String>(urls[0], "CLUSTER INFO").await.expect("an answer").contains("cluster_state:fail") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), noticed).await.expect("the others notice it");
    cluster.start_again(1).await.expect("the node comes back");
    for number in 0..60 {
        assert_eq!(ask_owner(urls[0], &format!("GET key-{number}")).await, number.to_string());
    }
    assert!(cluster.kill(3).await.is_err(), "there is no fourth node");

    cluster.stop().await;
    for url in urls {
        assert!(ask::<String>(url, "PING").await.is_err(), "{url} answers after the stop");
    }

    // The same folder again: empty, and gone when dropped.
    let again = folder.clone();
    let cluster = tokio::spawn(async move { RedisCluster::start(&again).await });
    let cluster = cluster.await.expect("no panic").expect("a cluster");
    let urls = cluster.urls();
    drop(cluster);
    for url in urls.split(',') {
        is_gone(url).await;
    }
    std::fs::remove_dir_all(folder).expect("removed");
}

#[tokio::test]
async fn a_failover_loses_what_the_replica_had_not_copied() {
    let folder = folder("sentinel");
    let mut set = RedisSentinel::start(&folder).await.expect("a set");
    assert_eq!(set.sentinel_urls().split(',').count(), 3);
    let old_master = set.master_url();

    // The count is how many replicas confirm.
    let mut writer = connect(&old_master).await.expect("a connection");
    ask_over::<()>(&mut writer, "SET older 1").await.expect("an answer");
    assert_eq!(ask_over::<u32>(&mut writer, "WAIT 1 5000").await.expect("an answer"), 1);
    set.cut_replication().await;
    ask_over::<()>(&mut writer, "SET newest 1").await.expect("an answer");
    assert_eq!(ask_over::<u32>(&mut writer, "WAIT 1 200").await.expect("an answer"), 0);
    let info: String = ask(&old_master, "INFO replication").await.expect("an answer");
    assert!(info.contains("connected_slaves:1"), "the master believes in its replica: {info}");

    // A Sentinel tells the replica to copy from the master itself, not over the wire. The replica refuses, otherwise the
    // cut would not last. ACL LOG tells of it.
    let replica = set.replica_url();
    let refused = async {
        while ask::<Vec<Value>>(&replica, "ACL LOG").await.expect("an answer").is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), refused).await.expect("a Sentinel tries to repair the replica");
    assert_eq!(ask::<u32>(&replica, "EXISTS newest").await.expect("an answer"), 0);

    set.kill_master().await;
    set.wait_for_failover().await.expect("a failover");

    let new_master = set.master_url();
    assert_ne!(new_master, old_master);
    assert_eq!(ask::<Option<u32>>(&new_master, "GET older").await.expect("an answer"), Some(1));
    assert_eq!(ask::<Option<u32>>(&new_master, "GET newest").await.expect("an answer"), None);
    ask::<()>(&new_master, "SET later 1").await.expect("it takes writes");

    let urls = set.sentinel_urls();
    set.stop().await;
    for url in urls.split(',').chain([new_master.as_str()]) {
        assert!(ask::<String>(url, "PING").await.is_err(), "{url} answers after the stop");
    }
    std::fs::remove_dir_all(folder).expect("removed");
}

#[tokio::test]
async fn a_failover_without_a_cut_keeps_what_was_confirmed() {
    let folder = folder("sentinel-whole");
    // Spawned: the sets can be started and disturbed by a task of its own.
    let disturbed = tokio::spawn(async move {
        let mut set = RedisSentinel::start(&folder).await.expect("a set");
        let mut writer = connect(&set.master_url()).await.expect("a connection");
        ask_over::<()>(&mut writer, "SET key 1").await.expect("an answer");
        assert_eq!(ask_over::<u32>(&mut writer, "WAIT 1 5000").await.expect("an answer"), 1);
        set.kill_master().await;
        set.wait_for_failover().await.expect("a failover");
        assert_eq!(set.master_url(), set.replica_url());
        assert_eq!(ask::<u32>(&set.master_url(), "GET key").await.expect("an answer"), 1);
        let urls = [set.sentinel_urls(), set.master_url()].join(",");
        drop(set);
        for url in urls.split(',') {
            is_gone(url).await;
        }
        std::fs::remove_dir_all(folder).expect("removed");
    });
    disturbed.await.expect("no panic");
}
