//! The line: order, limit, expiry, one place per fan.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use deadpool_redis::redis;
use onsale_application::line::{LineStore, Place};
use onsale_domain::{
    concert::SaleState,
    ids::{ConcertId, UserId},
    queue::QueuePolicy,
};
use onsale_test_support::World;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::at_once;

fn policy(interval_secs: i32, batch: i32, limit: i32, idle: bool) -> Value {
    json!({ "interval_secs": interval_secs, "batch": batch, "active_limit": limit, "idle_admission": idle,
        "active_sliding_secs": 300, "active_absolute_secs": 900, "waiting_limit": 1000 })
}

async fn redis(world: &World) -> redis::aio::MultiplexedConnection {
    redis::Client::open(world.redis_url.as_str()).unwrap().get_multiplexed_async_connection().await.unwrap()
}

fn concert_id(text: &str) -> ConcertId {
    ConcertId(Uuid::parse_str(text).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn never_again_10_the_first_in_line_reads_one_and_each_concert_has_its_own_line() {
    let world = World::new().await;
    let app = world.app().await;
    let sale = app.sale_with(2, 100, policy(3600, 1, 1, false)).await;
    let other = app.sale_with(2, 100, policy(3600, 1, 1, false)).await;
    let mut fans = app.fans(3, 0).await;
    for (index, fan) in fans.iter_mut().enumerate() {
        let place = app.join(fan, &sale).await;
        assert_eq!((place["position"].as_u64(), place["ahead"].as_u64()), (Some(index as u64 + 1), Some(index as u64)));
        assert!(
            place["eta"]["low"].as_i64() <= place["eta"]["high"].as_i64()
                && place["poll_after_ms"].as_i64() >= Some(1_000)
        );
    }
    let again = fans[2].post_empty(&format!("concerts/{}/queue/tokens", sale.concert)).await.expect(200);
    assert_eq!((again.json["position"].as_u64(), again.json["number"].as_u64()), (Some(3), Some(3)));
    assert_eq!(app.join(&mut fans[2].clone(), &other).await["position"], 1);
    fans[0].delete(&format!("concerts/{}/queue/tokens/me", sale.concert)).await.expect(204);
    let place = fans[2].get(&format!("concerts/{}/queue/tokens/me", sale.concert)).await.expect(200);
    assert_eq!(place.json["position"], 2);
    fans[0].get(&format!("concerts/{}/queue/tokens/me", sale.concert)).await.expect_problem(404, "not_in_line");
    fans[0].delete(&format!("concerts/{}/queue/tokens/me", sale.concert)).await.expect_problem(404, "not_in_line");
    let public = app.nobody().get(&format!("concerts/{}/queue", sale.concert)).await.expect(200);
    assert_eq!((public.json["waiting"].as_u64(), public.json["state"].as_str()), (Some(2), Some("on_sale")));
    app.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn never_again_6_a_fan_cannot_use_leave_or_guess_anothers_place() {
    let world = World::new().await;
    let app = world.app().await;
    let sale = app.sale(2, 100).await;
    let mut fans = app.fans(2, 0).await;
    app.join(&mut fans[0], &sale).await;
    let stolen = fans[0].queue_token.clone();
    let (me, seats) = (format!("concerts/{}/queue/tokens/me", sale.concert), format!("shows/{}/seats", sale.show));
    fans[1].queue_token = stolen;
    fans[1].get(&me).await.expect_problem(401, "token_invalid");
    fans[1].delete(&me).await.expect_problem(401, "token_invalid");
    fans[1].get(&seats).await.expect_problem(403, "queue_token_required");
    fans[1].queue_token = None;
    fans[1].delete(&me).await.expect_problem(404, "not_in_line");
    fans[0].get(&seats).await.expect(200);
    app.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn never_again_6_many_joins_of_one_fan_are_one_place() {
    let world = World::new().await;
    let apps = [world.app().await, world.app().await];
    let sale = apps[0].sale_with(2, 100, policy(3600, 1, 1, false)).await;
    let fan = apps[0].fans(1, 0).await.remove(0);
    let answers = at_once((0..40).map(|index| {
        let (fan, path) = (fan.at(&apps[index % 2].base), format!("concerts/{}/queue/tokens", sale.concert));
        async move { fan.post_empty(&path).await }
    }))
    .await;
    let numbers: BTreeSet<_> = answers.iter().map(|answer| answer.json["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers.len(), 1);
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    for app in apps {
        app.stop().await;
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn never_again_8_each_active_token_expires_by_itself_and_is_not_replayed() {
    let world = World::new().await;
    let app = world.app().await;
    let sale = app.sale(2, 100).await;
    let mut fans = app.fans(2, 0).await;
    for fan in &mut fans {
        assert_eq!(app.join(fan, &sale).await["state"], "active");
    }
    let keys = app.instance.lines.keys(concert_id(&sale.concert));
    let mut redis = redis(&world).await;
    let _: () = redis::cmd("ZADD").arg(&keys[4]).arg(1).arg(&fans[0].user_id).query_async(&mut redis).await.unwrap();
    let seats = format!("shows/{}/seats", sale.show);
    fans[0].get(&seats).await.expect_problem(403, "queue_token_expired");
    fans[1].get(&seats).await.expect(200);
    let me = format!("concerts/{}/queue/tokens/me", sale.concert);
    fans[0].get(&me).await.expect_problem(404, "not_in_line");
    // Never again 24: a dead place is not handed out again; the fan gets a new number at the back.
    let again = app.join(&mut fans[0], &sale).await;
    assert_eq!(again["number"], 3);
    fans[0].get(&seats).await.expect(200);
    app.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn using_a_token_renews_it_but_never_beyond_its_absolute_end() {
    let world = World::new().await;
    let app = world.app().await;
    let sale = app.sale(2, 100).await;
    let mut fan = app.fans(1, 0).await.remove(0);
    app.join(&mut fan, &sale).await;
    let keys = app.instance.lines.keys(concert_id(&sale.concert));
    let mut redis = redis(&world).await;
    let (secs, _): (i64, i64) = redis::cmd("TIME").query_async(&mut redis).await.unwrap();
    let set = async |redis: &mut redis::aio::MultiplexedConnection, key: &str, in_secs: i64| {
        let at = (secs + in_secs) * 1000;
        let _: () = redis::cmd("ZADD").arg(key).arg(at).arg(&fan.user_id).query_async(redis).await.unwrap();
    };
    let ends = async |redis: &mut redis::aio::MultiplexedConnection| -> i64 {
        let score: f64 = redis::cmd("ZSCORE").arg(&keys[4]).arg(&fan.user_id).query_async(redis).await.unwrap();
        score as i64 / 1000 - secs
    };
    let seats = format!("shows/{}/seats", sale.show);
    set(&mut redis, &keys[4], 200).await;
    fan.get(&seats).await.expect(200);
    assert_eq!(ends(&mut redis).await, 200, "more than half is left");
    set(&mut redis, &keys[4], 100).await;
    fan.get(&seats).await.expect(200);
    assert!(ends(&mut redis).await >= 299, "renewed");
    set(&mut redis, &keys[4], 60).await;
    set(&mut redis, &keys[5], 90).await;
    fan.get(&seats).await.expect(200);
    assert_eq!(ends(&mut redis).await, 90, "not beyond the absolute end");
    app.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_in_an_empty_line_while_there_is_room_and_the_limit_holds() {
    let world = World::new().await;
    let app = world.app().await;
    let sale = app.sale_with(2, 100, policy(3600, 1, 3, true)).await;
    let mut fans = app.fans(5, 0).await;
    let mut states = vec![];
    for fan in &mut fans {
        states.push(app.join(fan, &sale).await["state"].as_str().unwrap().to_owned());
    }
    assert_eq!(states, ["active", "active", "active", "waiting", "waiting"]);
    // A slot comes free; the line is not empty, so the next one stands behind and does not overtake.
    fans[0].delete(&format!("concerts/{}/queue/tokens/me", sale.concert)).await.expect(204);
    assert_eq!(app.join(&mut fans[0], &sale).await["position"], 3);
    app.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promotion_takes_the_oldest_by_interval_batch_and_limit() {
    let world = World::new().await;
    let app = world.app().await;
    let lines = &app.instance.lines;
    let concert = ConcertId(Uuid::new_v4());
    let users: Vec<UserId> = (0..10).map(|_| UserId(Uuid::new_v4())).collect();
    let settings =
        QueuePolicy { interval_secs: 60, batch: 3, active_limit: 5, idle_admission: false, ..QueuePolicy::default() };
    let promote =
        async |state, settings: &QueuePolicy, version| lines.promote(concert, state, settings, version).await.unwrap();
    promote(SaleState::Paused, &settings, 1).await;
    for user in &users {
        lines.join(concert, *user, Uuid::new_v4()).await.unwrap();
    }
    assert_eq!(promote(SaleState::Paused, &settings, 1).await.promoted, 0, "paused");
    assert_eq!(promote(SaleState::OnSale, &settings, 2).await.promoted, 3, "a batch");
    assert_eq!(promote(SaleState::OnSale, &settings, 2).await.promoted, 0, "the interval is not over");
    // Time passes: the test moves the beat.
    let keys = lines.keys(concert);
    let mut redis = redis(&world).await;
    let mut due = async || -> () {
        redis::cmd("HSET").arg(&keys[1]).arg("next_at").arg(1).query_async(&mut redis).await.unwrap()
    };
    due().await;
    let second = promote(SaleState::OnSale, &settings, 2).await;
    assert_eq!((second.promoted, second.stats.active, second.stats.waiting), (2, 5, 5), "the limit");
    for (index, user) in users.iter().enumerate() {
        let standing = lines.place(concert, *user).await.unwrap().unwrap();
        match standing.place {
            Place::Active { .. } => assert!(index < 5, "{index} was promoted out of turn"),
            Place::Waiting { position, .. } => assert_eq!(position, index as i64 - 4),
        }
    }
    due().await;
    // An older setting does not undo a newer one; a lower limit kicks nobody.
    let lower = QueuePolicy { active_limit: 2, ..settings };
    let lowered = promote(SaleState::OnSale, &lower, 3).await;
    assert_eq!((lowered.promoted, lowered.stats.active), (0, 5));
    due().await;
    assert_eq!(promote(SaleState::OnSale, &settings, 2).await.promoted, 0, "settings of version 3 stay");
    for user in &users[..4] {
        lines.leave(concert, *user).await.unwrap();
    }
    due().await;
    assert_eq!(promote(SaleState::Draining, &lower, 4).await.promoted, 1, "draining still promotes");
    app.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_batch_is_done_in_bounded_steps_and_no_credit_is_banked() {
    let world = World::new().await;
    let app = world.app().await;
    let lines = &app.instance.lines;
    let concert = ConcertId(Uuid::new_v4());
    let settings = QueuePolicy {
        interval_secs: 60,
        batch: 2_500,
        active_limit: 50_000,
        idle_admission: false,
        ..QueuePolicy::default()
    };
    // Long idle: the line exists and nobody is in it.
    for _ in 0..3 {
        lines.promote(concert, SaleState::OnSale, &settings, 1).await.unwrap();
    }
    at_once((0..4_000).map(|_| {
        let lines = Arc::clone(lines);
        async move { lines.join(concert, UserId(Uuid::new_v4()), Uuid::new_v4()).await.unwrap() }
    }))
    .await;
    let keys = lines.keys(concert);
    let mut redis = redis(&world).await;
    let _: () = redis::cmd("HSET").arg(&keys[1]).arg("next_at").arg(1).query_async(&mut redis).await.unwrap();
    let mut steps = vec![];
    loop {
        let step = lines.promote(concert, SaleState::OnSale, &settings, 1).await.unwrap();
        steps.push(step.promoted);
        if !step.more {
            break;
        }
    }
    assert_eq!(steps, [1_000, 1_000, 500]);
    assert_eq!(lines.promote(concert, SaleState::OnSale, &settings, 1).await.unwrap().promoted, 0);
    app.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn never_again_9_twenty_promoters_and_twenty_joiners_at_once_are_exact() {
    const FANS: usize = 2_000;
    const LIMIT: i64 = 300;
    let world = World::new().await;
    let apps = [world.app().await, world.app().await, world.app().await];
    let concert = ConcertId(Uuid::new_v4());
    let settings =
        QueuePolicy { interval_secs: 1, batch: 70, active_limit: 300, idle_admission: false, ..QueuePolicy::default() };
    apps[0].instance.lines.promote(concert, SaleState::OnSale, &settings, 1).await.unwrap();
    let keys = apps[0].instance.lines.keys(concert);
    let (done, url) = (Arc::new(AtomicBool::new(false)), world.redis_url.clone());
    let joiners = (0..20).map(|joiner| {
        let lines = Arc::clone(&apps[joiner % 3].instance.lines);
        async move {
            let mut numbers = vec![];
            for _ in 0..FANS / 20 {
                let user = UserId(Uuid::new_v4());
                let joined = lines.join(concert, user, Uuid::new_v4()).await.unwrap();
                let onsale_application::line::Joined::Placed(true, standing) = joined else { panic!("{joined:?}") };
                numbers.push((standing.ticket.number, user));
            }
            numbers
        }
    });
    let promoters: Vec<_> = (0..20)
        .map(|promoter| {
            let (lines, done, keys, url) =
                (Arc::clone(&apps[promoter % 3].instance.lines), Arc::clone(&done), keys.clone(), url.clone());
            tokio::spawn(async move {
                let mut redis = redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap();
                let mut highest = 0;
                while !done.load(Ordering::Relaxed) {
                    // The beat is made to be due all the time; batch and limit still hold.
                    let _: () =
                        redis::cmd("HSET").arg(&keys[1]).arg("next_at").arg(1).query_async(&mut redis).await.unwrap();
                    let promotion = lines.promote(concert, SaleState::OnSale, &settings, 1).await.unwrap();
                    assert!(promotion.promoted <= 70);
                    highest = highest.max(promotion.stats.active);
                    let active: i64 = redis::cmd("ZCARD").arg(&keys[4]).query_async(&mut redis).await.unwrap();
                    highest = highest.max(active);
                    // One active fan finishes, the oldest.
                    let first: Vec<String> =
                        redis::cmd("ZRANGE").arg(&keys[4]).arg(0).arg(0).query_async(&mut redis).await.unwrap();
                    if let Some(user) = first.first() {
                        lines.leave(concert, UserId(Uuid::parse_str(user).unwrap())).await.unwrap();
                    }
                }
                highest
            })
        })
        .collect();
    let joined: Vec<(i64, UserId)> = at_once(joiners).await.into_iter().flatten().collect();
    let by_number: BTreeMap<i64, UserId> = joined.iter().copied().collect();
    assert_eq!(by_number.len(), FANS, "no two share a number");
    // Until everybody has been promoted.
    let lines = Arc::clone(&apps[0].instance.lines);
    while lines.stats(concert).await.unwrap().waiting > 0 {
        // No inversion at any moment: whoever waits has a higher number than everybody who was promoted.
        let mut redis = redis(&world).await;
        let head: Vec<(String, f64)> =
            redis::cmd("ZRANGE").arg(&keys[3]).arg(0).arg(0).arg("WITHSCORES").query_async(&mut redis).await.unwrap();
        if let Some((_, number)) = head.first() {
            let below: i64 = redis::cmd("ZCOUNT")
                .arg(&keys[3])
                .arg("-inf")
                .arg(format!("({number}"))
                .query_async(&mut redis)
                .await
                .unwrap();
            assert_eq!(below, 0);
        }
        tokio::task::yield_now().await;
    }
    done.store(true, Ordering::Relaxed);
    let mut highest = 0;
    for promoter in promoters {
        highest = highest.max(promoter.await.unwrap());
    }
    assert!(highest <= LIMIT, "highest {highest}");
    let stats = lines.stats(concert).await.unwrap();
    assert_eq!(
        (stats.promoted_total, stats.joined_total, stats.waiting),
        (FANS as i64, FANS as i64, 0),
        "nobody lost, nobody twice"
    );
    assert_eq!(stats.left_total + stats.active, FANS as i64);
    for app in apps {
        app.stop().await;
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn schedulers_of_several_instances_promote_one_batch_per_interval() {
    let mut world = World::new().await;
    world.set("ONSALE_LINE_TICK_MS", "50");
    let apps =
        [world.app_with_schedulers().await, world.app_with_schedulers().await, world.app_with_schedulers().await];
    let sale = apps[0].sale_with(2, 100, policy(3600, 5, 100, false)).await;
    let fans = apps[0].fans(20, 0).await;
    for fan in &fans {
        apps[0].join(&mut fan.clone(), &sale).await;
    }
    // The beat that began with the sale has been used up on an empty line; the next one is due now.
    let concert = concert_id(&sale.concert);
    let keys = apps[0].instance.lines.keys(concert);
    let mut redis = redis(&world).await;
    let _: () = redis::cmd("HSET").arg(&keys[1]).arg("next_at").arg(1).query_async(&mut redis).await.unwrap();
    let promoted_by_schedulers = async || apps[0].instance.lines.stats(concert).await.unwrap().promoted_total;
    while promoted_by_schedulers().await < 5 {
        tokio::task::yield_now().await;
    }
    // Every scheduler ticks at least twice more.
    let ticks =
        || apps.iter().map(|app| app.instance.gauges.ticks.with_label_values(&["not_due"]).get()).collect::<Vec<_>>();
    let before = ticks();
    while ticks().iter().zip(&before).any(|(now, before)| *now < before + 2) {
        tokio::task::yield_now().await;
    }
    assert_eq!(promoted_by_schedulers().await, 5);
    for app in apps {
        app.stop().await;
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_line_and_a_changed_policy_are_answered_clearly() {
    let world = World::new().await;
    let app = world.app().await;
    let mut small = policy(3600, 1, 1, false);
    small["waiting_limit"] = json!(2);
    let sale = app.sale_with(2, 100, small).await;
    let fans = app.fans(3, 0).await;
    let joins = format!("concerts/{}/queue/tokens", sale.concert);
    fans[0].post_empty(&joins).await.expect(201);
    fans[1].post_empty(&joins).await.expect(201);
    let full = fans[2].post_empty(&joins).await.expect_problem(503, "queue_full");
    assert_eq!(full.header("retry-after"), "30");
    let operator = app.operator().await;
    let path = format!("admin/concerts/{}/queue/policy", sale.concert);
    let read = operator.get(&path).await.expect(200);
    let etag = read.header("etag").to_owned();
    let mut wrong = read.json.clone();
    wrong["batch"] = json!(0);
    wrong["interval_secs"] = json!(0);
    wrong["active_sliding_secs"] = json!(900);
    wrong["active_absolute_secs"] = json!(300);
    let refused =
        operator.send("PUT", &path, &[("If-Match", &etag)], wrong).await.expect_problem(422, "validation_failed");
    assert_eq!(refused.json["errors"].as_array().unwrap().len(), 3);
    let mut wider = read.json.clone();
    wider["waiting_limit"] = json!(3);
    operator.send("PUT", &path, &[("If-Match", &etag)], wider.clone()).await.expect(200);
    operator.send("PUT", &path, &[("If-Match", &etag)], wider).await.expect_problem(412, "version_mismatch");
    fans[2].post_empty(&joins).await.expect(201);
    let stats = operator.get(&format!("admin/concerts/{}/queue/stats", sale.concert)).await.expect(200);
    assert_eq!((stats.json["waiting"].as_i64(), stats.json["joined_total"].as_i64()), (Some(3), Some(3)));
    app.stop().await;
    world.close().await;
}
