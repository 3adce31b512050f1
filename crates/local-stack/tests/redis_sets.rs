//! A Redis Cluster and a Redis with Sentinels, started for real.
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use onsale_local_stack::{RedisCluster, RedisSentinel, StackError};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()))
}

/// Sends one command; numbers, texts and refusals come back as text, nothing as `nil`.
async fn ask(address: &str, command: &str) -> std::io::Result<String> {
    ask_all(address, &[command]).await.map(|answers| answers.concat())
}

/// Sends commands over one connection: `WAIT` waits for the writes of its own connection only.
async fn ask_all(address: &str, commands: &[&str]) -> std::io::Result<Vec<String>> {
    let exchange = async {
        let mut stream = BufReader::new(TcpStream::connect(address.trim_start_matches("redis://")).await?);
        let mut answers = vec![];
        for command in commands {
            stream.write_all(format!("{command}\r\n").as_bytes()).await?;
            answers.push(answer(&mut stream).await?);
        }
        Ok(answers)
    };
    tokio::time::timeout(Duration::from_secs(10), exchange).await.expect("an answer in time")
}

async fn answer(stream: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    let line = line.trim_end();
    match line.strip_prefix('$') {
        Some("-1") => Ok("nil".to_owned()),
        Some(length) => {
            let mut bytes = vec![0_u8; length.parse::<usize>().expect("a length") + 2];
            stream.read_exact(&mut bytes).await?;
            Ok(String::from_utf8(bytes).expect("text").trim_end().to_owned())
        }
        None => Ok(line[1..].to_owned()),
    }
}

/// Sends a command about a key to whichever node has it.
async fn ask_owner(address: &str, command: &str) -> String {
    let answer = ask(address, command).await.expect("an answer");
    match answer.strip_prefix("MOVED ").and_then(|moved| moved.split_whitespace().nth(1)) {
        Some(owner) => ask(owner, command).await.expect("an answer"),
        None => answer,
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
        let info = ask(url, "CLUSTER INFO").await.expect("an answer");
        assert!(info.contains("cluster_state:ok") && info.contains("cluster_size:3"), "{info}");
    }
    for number in 0..60 {
        assert_eq!(ask_owner(urls[number % 3], &format!("SET key-{number} {number}")).await, "OK");
    }
    let mut sum = 0;
    for url in &urls {
        let size: u32 = ask(url, "DBSIZE").await.expect("an answer").parse().expect("a number");
        assert!(size > 0, "{url} has no key");
        sum += size;
    }
    assert_eq!(sum, 60);

    cluster.kill(1).await.expect("a node");
    assert!(ask(urls[1], "PING").await.is_err(), "a killed master answers");
    let noticed = async {
        while !ask(urls[0], "CLUSTER INFO").await.expect("an answer").contains("cluster_state:fail") {
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
        assert!(ask(url, "PING").await.is_err(), "{url} answers after the stop");
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
    let older = ask_all(&old_master, &["SET older 1", "WAIT 1 5000"]).await.expect("answers");
    assert_eq!(older, ["OK", "1"]);
    set.cut_replication().await;
    let newest = ask_all(&old_master, &["SET newest 1", "WAIT 1 200"]).await.expect("answers");
    assert_eq!(newest, ["OK", "0"]);
    let info = ask(&old_master, "INFO replication").await.expect("an answer");
    assert!(info.contains("connected_slaves:1"), "the master believes in its replica: {info}");

    // A Sentinel tells the replica to copy from the master itself, not over the wire. The replica refuses, otherwise the
    // cut would not last. ACL LOG tells of it.
    let replica = set.replica_url();
    let refused = async {
        while ask(&replica, "ACL LOG").await.expect("an answer") == "0" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), refused).await.expect("a Sentinel tries to repair the replica");
    assert_eq!(ask(&replica, "EXISTS newest").await.expect("an answer"), "0");

    set.kill_master().await;
    set.wait_for_failover().await.expect("a failover");

    let new_master = set.master_url();
    assert_ne!(new_master, old_master);
    assert_eq!(ask(&new_master, "GET older").await.expect("an answer"), "1");
    assert_eq!(ask(&new_master, "GET newest").await.expect("an answer"), "nil");
    assert_eq!(ask(&new_master, "SET later 1").await.expect("an answer"), "OK", "it takes writes");

    let urls = set.sentinel_urls();
    set.stop().await;
    for url in urls.split(',').chain([new_master.as_str()]) {
        assert!(ask(url, "PING").await.is_err(), "{url} answers after the stop");
    }
    std::fs::remove_dir_all(folder).expect("removed");
}

#[tokio::test]
async fn a_failover_without_a_cut_keeps_what_was_confirmed() {
    let folder = folder("sentinel-whole");
    // Spawned: the sets can be started and disturbed by a task of its own.
    let disturbed = tokio::spawn(async move {
        let mut set = RedisSentinel::start(&folder).await.expect("a set");
        let written = ask_all(&set.master_url(), &["SET key 1", "WAIT 1 5000"]).await.expect("answers");
        assert_eq!(written, ["OK", "1"]);
        set.kill_master().await;
        set.wait_for_failover().await.expect("a failover");
        assert_eq!(set.master_url(), set.replica_url());
        assert_eq!(ask(&set.master_url(), "GET key").await.expect("an answer"), "1");
        let urls = [set.sentinel_urls(), set.master_url()].join(",");
        drop(set);
        for url in urls.split(',') {
            is_gone(url).await;
        }
        std::fs::remove_dir_all(folder).expect("removed");
    });
    disturbed.await.expect("no panic");
}
