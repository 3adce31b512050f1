//! The line: order, limit, expiry, one place per fan.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use deadpool_redis::redis;
use onsale_application::line::{Found, Intent, Joined, LineStore, Whereabouts};
use onsale_domain::{concert::SaleState, ids::UserId};
use onsale_test_support::World;
use serde_json::json;
use uuid::Uuid;

use crate::{
    at_once,
    lane::{Lane, concert_id, key, policy, raw, redis},
};

#[tokio::test(flavor = "multi_thread")]
async fn never_again_10_the_first_in_line_reads_one_and_each_concert_has_its_own_line() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale_with(2, 100, policy(3600, 1, 1, false)).await;
        let other = app.sale_with(2, 100, policy(3600, 1, 1, false)).await;
        let mut fans = app.fans(3, 0).await;
        for (index, fan) in fans.iter_mut().enumerate() {
            let place = app.join(fan, &sale).await;
            assert_eq!(
                (place["position"].as_u64(), place["ahead"].as_u64()),
                (Some(index as u64 + 1), Some(index as u64))
            );
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
        assert_eq!((public.json["waiting"].as_u64(), public.json["sale_state"].as_str()), (Some(2), Some("on_sale")));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn never_again_6_a_fan_cannot_use_leave_or_guess_anothers_place() {
    World::with(async |world| {
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
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn never_again_6_many_joins_of_one_fan_are_one_place() {
    World::with(async |world| {
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
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn never_again_8_each_active_token_expires_by_itself_and_is_not_replayed() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale(2, 100).await;
        let mut fans = app.fans(2, 0).await;
        for fan in &mut fans {
            assert_eq!(app.join(fan, &sale).await["state"], "active");
        }
        let act = key(&app, concert_id(&sale.concert), "act");
        let mut redis = redis(world).await;
        let seats = format!("shows/{}/seats", sale.show);
        fans[0].get(&seats).await.expect(200);
        let _: () =
            redis::cmd("ZADD").arg(act).arg(1).arg(raw(&fans[0].user_id)).query_async(&mut redis).await.unwrap();
        fans[0].get(&seats).await.expect_problem(403, "queue_token_expired");
        fans[1].get(&seats).await.expect(200);
        let me = format!("concerts/{}/queue/tokens/me", sale.concert);
        fans[0].get(&me).await.expect_problem(404, "not_in_line");
        // Never again 24: a dead place is not handed out again; the fan gets a new number at the back.
        let again = app.join(&mut fans[0], &sale).await;
        assert_eq!(again["number"], 3);
        fans[0].get(&seats).await.expect(200);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn using_a_token_renews_it_but_never_beyond_its_absolute_end() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale(2, 100).await;
        let mut fan = app.fans(1, 0).await.remove(0);
        app.join(&mut fan, &sale).await;
        let concert = concert_id(&sale.concert);
        let (act, last) = (key(&app, concert, "act"), key(&app, concert, "last"));
        let mut redis = redis(world).await;
        let (secs, _): (i64, i64) = redis::cmd("TIME").query_async(&mut redis).await.unwrap();
        let set = async |redis: &mut redis::aio::MultiplexedConnection, key: &str, in_secs: i64| {
            let at = (secs + in_secs) * 1000;
            let _: () = redis::cmd("ZADD").arg(key).arg(at).arg(raw(&fan.user_id)).query_async(redis).await.unwrap();
        };
        let ends = async |redis: &mut redis::aio::MultiplexedConnection| -> i64 {
            let score: f64 = redis::cmd("ZSCORE").arg(&act).arg(raw(&fan.user_id)).query_async(redis).await.unwrap();
            score as i64 / 1000 - secs
        };
        let seats = format!("shows/{}/seats", sale.show);
        assert!(ends(&mut redis).await <= 61, "the claim window");
        fan.get(&seats).await.expect(200);
        assert!(ends(&mut redis).await >= 299, "claimed");
        set(&mut redis, &act, 200).await;
        fan.get(&seats).await.expect(200);
        assert_eq!(ends(&mut redis).await, 200, "more than half is left");
        set(&mut redis, &act, 100).await;
        fan.get(&seats).await.expect(200);
        assert!(ends(&mut redis).await >= 299, "renewed");
        set(&mut redis, &act, 60).await;
        set(&mut redis, &last, 90).await;
        fan.get(&seats).await.expect(200);
        assert_eq!(ends(&mut redis).await, 90, "not beyond the absolute end");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_in_an_empty_line_while_there_is_room_and_the_limit_holds() {
    World::with(async |world| {
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
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promotion_takes_the_oldest_by_interval_batch_and_limit() {
    World::with(async |world| {
        let app = world.app().await;
        let mut lane = Lane::new(world, &app, policy(60, 3, 5, false)).await;
        let users: Vec<UserId> = (0..10).map(|_| UserId(Uuid::new_v4())).collect();
        lane.edit(|concert| concert.sale_state = SaleState::Paused);
        lane.tick().await;
        for user in &users {
            lane.join(*user).await;
        }
        lane.due().await;
        assert_eq!(lane.tick().await.promoted, 0, "paused");
        lane.edit(|concert| concert.sale_state = SaleState::OnSale);
        assert_eq!(lane.tick().await.promoted, 3, "a batch");
        assert_eq!(lane.tick().await.promoted, 0, "the interval is not over");
        lane.due().await;
        let second = lane.tick().await;
        assert_eq!((second.promoted, second.last.active, second.last.waiting), (2, 5, 5), "the limit");
        let snapshot = app.instance.keeper.snapshots.renewed(lane.concert.id).await.unwrap().unwrap();
        for (index, user) in users.iter().enumerate() {
            let held = lane.place(*user).await;
            match held.at {
                Whereabouts::Active { .. } => assert!(index < 5, "{index} was promoted out of turn"),
                _ => assert_eq!(snapshot.position(held.claims.number), index as i64 - 4),
            }
        }
        lane.due().await;
        // An older setting does not undo a newer one; a lower limit kicks nobody.
        let older = lane.concert.clone();
        lane.edit(|concert| concert.policy.active_limit = 2);
        let lowered = lane.tick().await;
        assert_eq!((lowered.promoted, lowered.last.active), (0, 5));
        lane.due().await;
        let late = app.instance.keeper.tick(&older).await.unwrap();
        assert_eq!((late.promoted, late.last.limit), (0, 2), "the newer settings stay");
        for user in &users[..4] {
            assert!(lane.leave(*user).await);
        }
        lane.due().await;
        lane.edit(|concert| concert.sale_state = SaleState::Draining);
        assert_eq!(lane.tick().await.promoted, 1, "draining still promotes");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_batch_is_done_in_bounded_steps_and_no_credit_is_banked() {
    World::with(async |world| {
        let app = world.app().await;
        let mut settings = policy(60, 2_500, 50_000, false);
        settings["waiting_limit"] = json!(10_000);
        let mut lane = Lane::new(world, &app, settings).await;
        // Long idle: the line exists and nobody is in it, though promotions are due.
        for _ in 0..3 {
            lane.due().await;
            lane.tick().await;
        }
        at_once((0..4_000).map(|_| {
            let (keeper, concert) = (Arc::clone(&app.instance.keeper), lane.concert.id);
            async move { keeper.join(concert, UserId(Uuid::new_v4())).await.unwrap() }
        }))
        .await;
        assert_eq!(lane.tick().await.promoted, 0, "nothing was banked");
        lane.due().await;
        assert_eq!(lane.tick().await.promoted, 2_500);
        assert_eq!(lane.tick().await.promoted, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn never_again_9_twenty_promoters_and_twenty_joiners_at_once_are_exact() {
    const FANS: usize = 2_000;
    const LIMIT: i64 = 300;
    World::with(async |world| {
        let apps = [world.app().await, world.app().await, world.app().await];
        let mut settings = policy(1, 70, 300, false);
        settings["waiting_limit"] = json!(10_000);
        let lane = Lane::new(world, &apps[0], settings).await;
        lane.tick().await;
        let concert = lane.concert.id;
        let (act, st) = (key(&apps[0], concert, "act"), key(&apps[0], concert, "st"));
        let (done, url) = (Arc::new(AtomicBool::new(false)), world.redis_url.clone());
        let joiners = (0..20).map(|joiner| {
            let keeper = Arc::clone(&apps[joiner % 3].instance.keeper);
            async move {
                let mut numbers = vec![];
                for _ in 0..FANS / 20 {
                    let user = UserId(Uuid::new_v4());
                    let joined = keeper.join(concert, user).await.unwrap();
                    let Joined::Placed(true, held) = joined else { panic!("{joined:?}") };
                    numbers.push((held.claims.number, user));
                }
                numbers
            }
        });
        let promoters: Vec<_> = (0..20)
            .map(|promoter| {
                let (keeper, lines) =
                    (Arc::clone(&apps[promoter % 3].instance.keeper), Arc::clone(&apps[promoter % 3].instance.lines));
                let (concert, done, act, st, url) =
                    (lane.concert.clone(), Arc::clone(&done), act.clone(), st.clone(), url.clone());
                tokio::spawn(async move {
                    let mut redis = redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap();
                    let mut highest = 0;
                    while !done.load(Ordering::Relaxed) {
                        // The beat is made to be due all the time; batch and limit still hold.
                        let _: () =
                            redis::cmd("HSET").arg(&st).arg("next_at").arg(1).query_async(&mut redis).await.unwrap();
                        let ticked = keeper.tick(&concert).await.unwrap();
                        highest = highest.max(ticked.last.active);
                        let active: i64 = redis::cmd("ZCARD").arg(&act).query_async(&mut redis).await.unwrap();
                        highest = highest.max(active);
                        // Some active fans finish, the oldest.
                        let first: Vec<Vec<u8>> =
                            redis::cmd("ZRANGE").arg(&act).arg(0).arg(20).query_async(&mut redis).await.unwrap();
                        for user in first {
                            let user = UserId(Uuid::from_slice(&user).unwrap());
                            let found = lines.place(concert.id, user, None, Intent::Looks).await.unwrap();
                            if let Found::Here(held) = found {
                                lines.end_paid(concert.id, user, held.claims.number).await.unwrap();
                            }
                        }
                    }
                    highest
                })
            })
            .collect();
        let joined: Vec<(i64, UserId)> = at_once(joiners).await.into_iter().flatten().collect();
        let by_number: BTreeMap<i64, UserId> = joined.iter().copied().collect();
        assert!(by_number.keys().copied().eq(1..=FANS as i64), "each number once, without a gap");
        // Until everybody has been promoted.
        while lane.stats().await.promoted_total < FANS as i64 {
            tokio::task::yield_now().await;
        }
        done.store(true, Ordering::Relaxed);
        let mut highest = 0;
        for promoter in promoters {
            highest = highest.max(promoter.await.unwrap());
        }
        assert!(highest <= LIMIT, "highest {highest}");
        lane.tick().await;
        let stats = lane.stats().await;
        assert_eq!(
            (stats.promoted_total, stats.joined_total, stats.waiting),
            (FANS as i64, FANS as i64, 0),
            "nobody lost, nobody twice"
        );
        assert_eq!(stats.left_total + stats.active, FANS as i64);
        // The log says the same: in order, within the limit, everybody once.
        let report = apps[0].instance.api.facades.line.report(concert).await.unwrap();
        assert_eq!((report.fairness.admitted, report.fairness.readmitted), (FANS as i64, 0));
        assert_eq!((report.fairness.inversions, report.fairness.above_limit), (0, 0));
        assert!(report.fairness.highest_active <= LIMIT);
        assert_eq!(report.paid, stats.left_total);
        let log = apps[0].instance.api.facades.line_records.log(concert, 0, 1_000_000).await.unwrap();
        onsale_domain::queue::check_log(log).unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_went_back_calls_nobody_until_it_has_caught_up() {
    World::with(async |world| {
        let app = world.app().await;
        let mut lane = Lane::new(world, &app, policy(60, 2, 5, false)).await;
        let users: Vec<UserId> = (0..4).map(|_| UserId(Uuid::new_v4())).collect();
        for user in &users {
            lane.join(*user).await;
        }
        // An hour ago the clock showed a time that is an hour from now.
        let ahead = chrono::Utc::now().timestamp_millis() + 3_600_000;
        lane.set("st", "clock", ahead).await;
        lane.due().await;
        assert_eq!(lane.tick().await.promoted, 0);
        lane.set("st", "clock", 0).await;
        assert_eq!(lane.tick().await.promoted, 2, "nobody was lost");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn schedulers_of_several_instances_promote_one_batch_per_interval() {
    World::with(async |world| {
        world.set("ONSALE_LINE_TICK_MS", "50");
        let apps =
            [world.app_with_schedulers().await, world.app_with_schedulers().await, world.app_with_schedulers().await];
        let sale = apps[0].sale_with(2, 100, policy(3600, 5, 100, false)).await;
        let fans = apps[0].fans(20, 0).await;
        for fan in &fans {
            apps[0].join(&mut fan.clone(), &sale).await;
        }
        // The beat that began with the sale has been used up on an empty line; the next one is due now.
        let mut lane = Lane::of(world, &apps[0], &sale).await;
        lane.due().await;
        let promoted_by_schedulers = async || lane.stats().await.promoted_total;
        while promoted_by_schedulers().await < 5 {
            tokio::task::yield_now().await;
        }
        // Every scheduler ticks at least twice more.
        let ticks = || {
            apps.iter().map(|app| app.instance.gauges.ticks.with_label_values(&["not_due"]).get()).collect::<Vec<_>>()
        };
        let before = ticks();
        while ticks().iter().zip(&before).any(|(now, before)| *now < before + 2) {
            tokio::task::yield_now().await;
        }
        assert_eq!(promoted_by_schedulers().await, 5);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_line_and_a_changed_policy_are_answered_clearly() {
    World::with(async |world| {
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
    })
    .await;
}
