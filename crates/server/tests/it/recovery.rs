//! The line outlives its store: Redis restarted with its file, restarted empty, flushed, failed over with writes missing. It is
//! loaded from the database, and no fan has to do anything for it.

use deadpool_redis::redis;
use onsale_local_stack::{RedisSentinel, Stack, StackConfig};
use onsale_test_support::{App, Client, Sale, World};

use crate::lane::{Lane, policy};

/// Two active, eight waiting (numbers 3 to 10) of whom number 5 has left, and everything that the fans were given.
struct Crowd {
    sale: Sale,
    fans: Vec<Client>,
    me: String,
    seats: String,
}

async fn crowd(app: &App) -> Crowd {
    let sale = app.sale_with(4, 100, policy(3600, 1, 2, true)).await;
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

/// What must hold after any loss, as soon as somebody has noticed it.
async fn check_recovered(app: &App, crowd: &mut Crowd, redis_url: &str) {
    let Crowd { sale, fans, me, seats } = crowd;
    // Active fans go on buying, also the one who had not used the token yet.
    fans[0].get(seats).await.expect(200);
    fans[1].get(seats).await.expect(200);
    // Somebody new stands behind everybody, with the next number.
    let mut late = app.fans(1, 0).await.remove(0);
    assert_eq!(app.join(&mut late, sale).await["number"], 11);
    // Nobody needs a token for it: the line is back before anybody shows one, in the original order.
    let lane = Lane::at(redis_url, app, sale).await;
    let mut tried = 0;
    while app.instance.keeper.tick(&lane.concert).await.is_err() {
        tried += 1;
        assert!(tried < 10_000, "nobody can load the line");
        tokio::task::yield_now().await;
    }
    app.instance.keeper.snapshots.renewed(lane.concert.id).await.unwrap();
    let mut positions = vec![];
    for index in [2, 3, 5, 6, 7, 8, 9] {
        let mut fan = fans[index].clone();
        if index % 2 == 0 {
            fan.queue_token = None;
        }
        let place = fan.get(me).await.expect(200).json;
        assert_eq!((place["number"].as_u64(), place["state"].as_str()), (Some(index as u64 + 1), Some("waiting")));
        assert_eq!(place["recovering"], false, "{place}");
        positions.push(place["position"].as_i64().unwrap());
    }
    assert_eq!(positions, [1, 2, 3, 4, 5, 6, 7], "the original order, and number 5 has left");
    assert_eq!(late.get(me).await.expect(200).json["position"], 8);
    fans[4].get(me).await.expect_problem(404, "not_in_line");
    // A place that was taken over is the newer device's, also after the loss.
    let old = fans[5].clone();
    app.join(&mut fans[5], sale).await;
    old.get(me).await.expect_problem(403, "queue_token_moved");
    // A slot comes free: the first in the original order is next, and the limit holds.
    fans[0].delete(me).await.expect(204);
    assert_eq!(lane.admit(5).await, 1);
    fans[2].get(seats).await.expect(200);
    fans[3].get(seats).await.expect_problem(403, "queue_token_waiting");
    assert_eq!(late.get(me).await.expect(200).json["position"], 7);
    // The log holds together across the loss.
    let report = app.operator().await.get(&format!("admin/concerts/{}/queue/report", sale.concert)).await.expect(200);
    let of = |name: &str| report.json[name].as_i64().unwrap();
    assert_eq!((of("inversions"), of("above_limit")), (0, 0), "{}", report.json);
    assert!(of("lives") >= 2 && of("highest_active") == 2, "{}", report.json);
    let log = app.instance.api.facades.line_records.log(lane.concert.id, 0, 10_000).await.unwrap();
    onsale_domain::queue::check_log(log).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_restarts_with_its_file_gives_every_place_back() {
    let folder = tempfile::tempdir().unwrap();
    let config = StackConfig { data_dir: folder.path().to_owned(), durable: true, max_connections: 60 };
    let mut stack = Stack::start(config).await.unwrap();
    let url = stack.redis_url().to_owned();
    world_on(stack.database_url(), &url)
        .await
        .run(async |world| {
            let app = world.app().await;
            let mut crowd = crowd(&app).await;
            Lane::at(&url, &app, &crowd.sale).await.tick().await;
            stack.kill_redis().await;
            // Meanwhile the line says what it knows, and active fans go on.
            let place = crowd.fans[3].get(&crowd.me).await.expect(200).json;
            assert!(place["position"] == 2 && place["recovering"] == true, "{place}");
            crowd.fans[0].get(&crowd.seats).await.expect(200);
            stack.start_redis(true).await.unwrap();
            check_recovered(&app, &mut crowd, &url).await;
        })
        .await;
    stack.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_restarts_empty_is_loaded_once_whoever_notices() {
    let folder = tempfile::tempdir().unwrap();
    let config = StackConfig { data_dir: folder.path().to_owned(), durable: true, max_connections: 60 };
    let mut stack = Stack::start(config).await.unwrap();
    let url = stack.redis_url().to_owned();
    world_on(stack.database_url(), &url)
        .await
        .run(async |world| {
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
            let mut redis =
                redis::Client::open(url.as_str()).unwrap().get_multiplexed_async_connection().await.unwrap();
            let _: () = redis::cmd("FLUSHALL").query_async(&mut redis).await.unwrap();
            let place = crowd.fans[3].get(&crowd.me).await.expect(200).json;
            assert_eq!((place["number"].as_i64(), place["state"].as_str()), (Some(4), Some("waiting")));
            crowd.fans[2].get(&crowd.seats).await.expect(200);
        })
        .await;
    stack.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_without_the_newest_writes_takes_over_and_no_place_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let config = StackConfig { data_dir: folder.path().to_owned(), durable: false, max_connections: 60 };
    let stack = Stack::start(config).await.unwrap();
    let sentinels = tempfile::tempdir().unwrap();
    let mut set = RedisSentinel::start(sentinels.path()).await.unwrap();
    world_on(stack.database_url(), &set.sentinel_urls())
        .await
        .run(async |world| {
            world.set("ONSALE_REDIS_MODE", "sentinel");
            world.set("ONSALE_REDIS_SENTINEL_MASTER", RedisSentinel::master_name());
            // The line is in a database of its own, behind a password that the sentinels do not have.
            for url in [set.master_url(), set.replica_url()] {
                let mut redis = redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap();
                let user = ["SETUSER", "app", "on", ">of the line", "~*", "&*", "+@all"];
                let _: () = redis::cmd("ACL").arg(&user).query_async(&mut redis).await.unwrap();
            }
            world.set("ONSALE_REDIS_SENTINEL_NODE_URL", "redis://app:of%20the%20line@node/3");
            let line_of = |url: String| format!("{url}/3");
            let app = world.app().await;
            let sale = app.sale_with(4, 100, policy(3600, 1, 2, true)).await;
            let mut fans = app.fans(10, 1_000).await;
            for fan in &mut fans[..5] {
                app.join(fan, &sale).await;
            }
            let (me, seats) =
                (format!("concerts/{}/queue/tokens/me", sale.concert), format!("shows/{}/seats", sale.show));
            let mut redis =
                redis::Client::open(set.master_url()).unwrap().get_multiplexed_async_connection().await.unwrap();
            Lane::at(&line_of(set.master_url()), &app, &sale).await.tick().await;
            let _: i64 = redis::cmd("WAIT").arg(1).arg(5_000).query_async(&mut redis).await.unwrap();
            // From here on the replica hears nothing: five joins, one of those active, and one who leaves, are missing
            // there.
            set.cut_replication().await;
            for fan in &mut fans[5..] {
                app.join(fan, &sale).await;
            }
            fans[0].get(&seats).await.expect(200);
            fans[4].delete(&me).await.expect(204);
            Lane::at(&line_of(set.master_url()), &app, &sale).await.tick().await;
            set.kill_master().await;
            set.wait_for_failover().await.unwrap();
            let url = line_of(set.replica_url());
            let mut crowd = Crowd { sale, fans, me, seats };
            // The connection to the old master is dead; the sentinels name the new one.
            while !matches!(crowd.fans[9].get(&crowd.me).await.json["recovering"].as_bool(), Some(true)) {
                tokio::task::yield_now().await;
            }
            check_recovered(&app, &mut crowd, &url).await;
            let mut replica =
                redis::Client::open(set.replica_url()).unwrap().get_multiplexed_async_connection().await.unwrap();
            let clients: String = redis::cmd("CLIENT").arg("LIST").query_async(&mut replica).await.unwrap();
            assert!(clients.contains(" db=3 ") && clients.contains(" user=app "), "{clients}");
        })
        .await;
    set.stop().await;
    stack.stop().await.unwrap();
}
