//! The line outlives its store: Redis restarted with its file, restarted empty, failed over with writes missing.

use std::collections::BTreeSet;

use deadpool_redis::redis;
use onsale_local_stack::{RedisSentinel, Stack, StackConfig};
use onsale_test_support::{App, Client, Sale, World};
use serde_json::{Value, json};

use crate::lane::{Lane, policy};

/// Two active, eight waiting (numbers 3 to 10) of whom number 5 has left, and everything that the fans were given.
struct Crowd {
    sale: Sale,
    fans: Vec<Client>,
    me: String,
    seats: String,
}

fn holding(limit: i32) -> Value {
    let mut policy = policy(3600, 1, limit, true);
    policy["recovery_hold_secs"] = json!(3600);
    policy
}

async fn crowd(app: &App) -> Crowd {
    let sale = app.sale_with(4, 100, holding(2)).await;
    let mut fans = app.fans(10, 1_000).await;
    for fan in &mut fans {
        app.join(fan, &sale).await;
    }
    let (me, seats) = (format!("concerts/{}/queue/tokens/me", sale.concert), format!("shows/{}/seats", sale.show));
    fans[0].get(&seats).await.expect(200);
    fans[4].delete(&me).await.expect(204);
    Crowd { sale, fans, me, seats }
}

async fn world_on(database_url: &str, redis_url: &str) -> World {
    let mut world = World::on(database_url, redis_url).await;
    world.set("ONSALE_REDIS_TIMEOUT_MS", "1000");
    world.set("ONSALE_REDIS_CACHE_TIMEOUT_MS", "200");
    world
}

/// What must hold after any loss.
async fn check_recovered(app: &App, crowd: &mut Crowd, redis_url: &str) {
    let Crowd { sale, fans, me, seats } = crowd;
    // Active fans go on buying, also the one who had not used the token yet.
    fans[0].get(seats).await.expect(200);
    fans[1].get(seats).await.expect(200);
    // Somebody new stands behind everybody, before anybody else has shown up.
    let mut late = app.fans(1, 0).await.remove(0);
    let late_number = app.join(&mut late, sale).await["number"].as_i64().unwrap();
    assert!(late_number > 10, "{late_number}");
    // Everybody gets the place back by showing the token, in whatever order they come.
    let mut positions = vec![];
    for index in [9, 2, 7, 3, 8, 5, 6] {
        let place = fans[index].get(me).await.expect(200).json;
        assert_eq!((place["number"].as_i64(), place["state"].as_str()), (Some(index as i64 + 1), Some("waiting")));
        assert!(
            place["recovering_secs"].as_i64().is_some_and(|secs| secs > 0),
            "the line says that it recovers: {place}"
        );
        fans[index].queue_token = place["token"].as_str().map(str::to_owned);
    }
    for index in [2, 3, 5, 6, 7, 8, 9] {
        positions.push(fans[index].get(me).await.expect(200).json["position"].as_i64().unwrap());
    }
    assert_eq!(positions, [1, 2, 3, 4, 5, 6, 7], "the original order, and number 5 has left");
    assert!(late.get(me).await.expect(200).json["position"].as_i64().unwrap() >= 8);
    fans[4].get(me).await.expect_problem(404, "not_in_line");
    // Nobody is promoted while the line holds, whatever room there is.
    let lane = Lane::at(redis_url, app, sale).await;
    fans[0].delete(me).await.expect(204);
    assert_eq!(lane.admit(5).await, 0);
    // The hold ends; the first in the original order is next, and the limit holds.
    let mut lane = lane;
    lane.set("st", "hold_until", 0).await;
    assert_eq!(lane.admit(5).await, 1);
    fans[2].get(seats).await.expect(200);
    fans[3].get(seats).await.expect_problem(403, "queue_token_waiting");
    assert_eq!(late.get(me).await.expect(200).json["position"], 7, "numbers that were never given out do not count");
    // The log holds together across the loss.
    let report = app.operator().await.get(&format!("admin/concerts/{}/queue/report", sale.concert)).await.expect(200);
    let of = |name: &str| report.json[name].as_i64().unwrap();
    assert_eq!((of("inversions"), of("above_limit")), (0, 0), "{}", report.json);
    assert!(of("lives") >= 2 && of("highest_active") == 2, "{}", report.json);
    let log = app.instance.api.facades.line_records.log(lane.concert.id, 0, 10_000).await.unwrap();
    onsale_domain::queue::check_log(log).unwrap();
    let mut numbers: BTreeSet<i64> = (1..=10).collect();
    assert!(numbers.insert(late_number));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_restarts_with_its_file_gives_every_place_back() {
    let folder = tempfile::tempdir().unwrap();
    let config = StackConfig { data_dir: folder.path().to_owned(), durable: true, max_connections: 60 };
    let mut stack = Stack::start(config).await.unwrap();
    let url = stack.redis_url().to_owned();
    let world = world_on(stack.database_url(), &url).await;
    let app = world.app().await;
    let mut crowd = crowd(&app).await;
    Lane::at(&url, &app, &crowd.sale).await.tick().await;
    stack.kill_redis().await;
    // Meanwhile the line says what it knows, and active fans go on.
    let place = crowd.fans[3].get(&crowd.me).await.expect(200).json;
    assert!(place["position"] == 2 && place["recovering_secs"].as_i64().is_some(), "{place}");
    crowd.fans[0].get(&crowd.seats).await.expect(200);
    stack.start_redis(true).await.unwrap();
    check_recovered(&app, &mut crowd, &url).await;
    app.stop().await;
    stack.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_restarts_empty_gets_every_place_back_from_the_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let config = StackConfig { data_dir: folder.path().to_owned(), durable: true, max_connections: 60 };
    let mut stack = Stack::start(config).await.unwrap();
    let url = stack.redis_url().to_owned();
    let world = world_on(stack.database_url(), &url).await;
    let apps = [world.app().await, world.app().await];
    let mut crowd = crowd(&apps[0]).await;
    Lane::at(&url, &apps[0], &crowd.sale).await.tick().await;
    stack.kill_redis().await;
    stack.start_redis(false).await.unwrap();
    // The other instance notices first; and both at once may.
    let lane = Lane::at(&url, &apps[1], &crowd.sale).await;
    let (one, two) =
        tokio::join!(apps[0].instance.keeper.tick(&lane.concert), apps[1].instance.keeper.tick(&lane.concert));
    // One of them may have been told that the other is at it.
    assert!(one.is_ok() || two.is_ok(), "{one:?} {two:?}");
    check_recovered(&apps[0], &mut crowd, &url).await;
    // FLUSHALL is a loss without a restart.
    let mut redis = redis::Client::open(url.as_str()).unwrap().get_multiplexed_async_connection().await.unwrap();
    let _: () = redis::cmd("FLUSHALL").query_async(&mut redis).await.unwrap();
    let place = crowd.fans[3].get(&crowd.me).await.expect(200).json;
    assert_eq!((place["number"].as_i64(), place["state"].as_str()), (Some(4), Some("waiting")));
    crowd.fans[2].get(&crowd.seats).await.expect(200);
    for app in apps {
        app.stop().await;
    }
    stack.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_without_the_newest_writes_takes_over_and_no_place_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let config = StackConfig { data_dir: folder.path().to_owned(), durable: false, max_connections: 60 };
    let stack = Stack::start(config).await.unwrap();
    let sentinels = tempfile::tempdir().unwrap();
    let mut set = RedisSentinel::start(sentinels.path()).await.unwrap();
    let mut world = world_on(stack.database_url(), &set.sentinel_urls()).await;
    world.set("ONSALE_REDIS_MODE", "sentinel");
    world.set("ONSALE_REDIS_SENTINEL_MASTER", RedisSentinel::master_name());
    let app = world.app().await;
    let sale = app.sale_with(4, 100, holding(2)).await;
    let mut fans = app.fans(10, 1_000).await;
    for fan in &mut fans[..5] {
        app.join(fan, &sale).await;
    }
    let (me, seats) = (format!("concerts/{}/queue/tokens/me", sale.concert), format!("shows/{}/seats", sale.show));
    let mut redis = redis::Client::open(set.master_url()).unwrap().get_multiplexed_async_connection().await.unwrap();
    Lane::at(&set.master_url(), &app, &sale).await.tick().await;
    let _: i64 = redis::cmd("WAIT").arg(1).arg(5_000).query_async(&mut redis).await.unwrap();
    // From here on the replica hears nothing: five joins, one of those active, and one who leaves, are missing there.
    set.cut_replication().await;
    for fan in &mut fans[5..] {
        app.join(fan, &sale).await;
    }
    fans[0].get(&seats).await.expect(200);
    fans[4].delete(&me).await.expect(204);
    Lane::at(&set.master_url(), &app, &sale).await.tick().await;
    set.kill_master().await;
    set.wait_for_failover().await.unwrap();
    let url = set.replica_url();
    let mut crowd = Crowd { sale, fans, me, seats };
    // The connection to the old master is dead; the sentinels name the new one.
    while crowd.fans[9].get(&crowd.me).await.json["recovering_secs"].is_null() {
        tokio::task::yield_now().await;
    }
    check_recovered(&app, &mut crowd, &url).await;
    app.stop().await;
    set.stop().await;
    stack.stop().await.unwrap();
}
