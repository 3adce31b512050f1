//! What becomes of a place: claimed, lapsed, returned, moved to another device, sold out.

use std::collections::BTreeSet;

use deadpool_redis::redis;
use onsale_test_support::World;
use serde_json::json;

use crate::lane::{Lane, concert_id, key, policy, raw, redis};

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_nobody_uses_goes_to_the_next_and_its_fan_comes_back_to_the_head() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale_with(4, 100, policy(3600, 1, 2, false)).await;
        let mut fans = app.fans(5, 0).await;
        for fan in &mut fans {
            app.join(fan, &sale).await;
        }
        let lane = Lane::of(world, &app, &sale).await;
        let (act, lapsed) = (key(&app, lane.concert.id, "act"), key(&app, lane.concert.id, "lapsed"));
        let mut redis = redis(world).await;
        let me = format!("concerts/{}/queue/tokens/me", sale.concert);
        let seats = format!("shows/{}/seats", sale.show);
        assert_eq!(lane.admit(1).await, 1);
        assert_eq!(fans[0].get(&me).await.expect(200).json["state"], "active");
        // The claim window passes: reading one's place is not using the turn.
        let _: () =
            redis::cmd("ZADD").arg(&act).arg(1).arg(raw(&fans[0].user_id)).query_async(&mut redis).await.unwrap();
        let ticked = lane.tick().await;
        assert_eq!((ticked.lapsed, ticked.promoted), (1, 1), "made up for at once, without waiting for the interval");
        assert_eq!(fans[1].get(&me).await.expect(200).json["state"], "active");
        // Asking is looking: it tells what happened and until when to come back, as often as one likes.
        for _ in 0..2 {
            let told = fans[0].get(&me).await.expect(200);
            assert_eq!((told.json["state"].as_str(), told.json["position"].as_i64()), (Some("lapsed"), None));
            assert!(told.json["expires_at"].is_string());
        }
        // Joining within the time is coming back: at the head, with the number of before.
        let back = fans[0].post_empty(&format!("concerts/{}/queue/tokens", sale.concert)).await.expect(200);
        assert_eq!((back.json["state"].as_str(), back.json["position"].as_i64()), (Some("waiting"), Some(1)));
        assert_eq!(back.json["number"], 1);
        assert_eq!(fans[2].get(&me).await.expect(200).json["returning"], 1);
        fans[0].get(&seats).await.expect_problem(403, "queue_token_waiting");
        // There is room, and who came back goes first, beyond the batch: the turn had been made up for.
        assert_eq!(lane.tick().await.promoted, 1);
        fans[0].get(&seats).await.expect(200);
        assert_eq!(lane.tick().await.promoted, 0, "the limit");
        // A turn that was used does not lapse, it expires.
        let _: () =
            redis::cmd("ZADD").arg(&act).arg(1).arg(raw(&fans[0].user_id)).query_async(&mut redis).await.unwrap();
        assert_eq!(lane.tick().await.expired, 1);
        fans[0].get(&me).await.expect_problem(404, "not_in_line");
        // Too late to come back: the place is gone.
        let _: () =
            redis::cmd("ZADD").arg(&act).arg(1).arg(raw(&fans[1].user_id)).query_async(&mut redis).await.unwrap();
        assert_eq!(lane.tick().await.lapsed, 1);
        let _: () =
            redis::cmd("ZADD").arg(&lapsed).arg(1).arg(raw(&fans[1].user_id)).query_async(&mut redis).await.unwrap();
        lane.tick().await;
        fans[1].get(&me).await.expect_problem(404, "not_in_line");
        let report =
            app.operator().await.get(&format!("admin/concerts/{}/queue/report", sale.concert)).await.expect(200);
        let of = |name: &str| report.json[name].as_i64().unwrap();
        assert_eq!((of("no_shows"), of("returned"), of("expired"), of("readmitted")), (2, 1, 1, 1), "{}", report.json);
        assert_eq!((of("inversions"), of("above_limit")), (0, 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_lapse_forfeits_the_place() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale_with(2, 100, policy(3600, 1, 1, true)).await;
        let mut fan = app.fans(1, 0).await.remove(0);
        assert_eq!(app.join(&mut fan, &sale).await["state"], "active");
        let mut lane = Lane::of(world, &app, &sale).await;
        let (joins, me) =
            (format!("concerts/{}/queue/tokens", sale.concert), format!("concerts/{}/queue/tokens/me", sale.concert));
        // The claim window of 60 s passes, and the fan comes back with the number of before.
        lane.pass_secs(world, 61).await;
        assert_eq!(lane.tick().await.lapsed, 1);
        assert_eq!(fan.get(&me).await.expect(200).json["state"], "lapsed");
        let back = fan.post_empty(&joins).await.expect(200).json;
        assert_eq!((&back["state"], &back["number"]), (&json!("waiting"), &json!(1)));
        assert_eq!(lane.tick().await.promoted, 1);
        assert_eq!(fan.get(&me).await.expect(200).json["state"], "active");
        // Not used again: the slot is free for good, and so is the place.
        lane.pass_secs(world, 61).await;
        assert_eq!(lane.tick().await.lapsed, 1);
        fan.get(&me).await.expect_problem(404, "not_in_line");
        assert_eq!(lane.stats().await.active, 0);
        let outcome = "SELECT outcome AS t FROM line_places WHERE number = 1";
        assert_eq!(world.sql().await.texts(outcome).await, ["forfeited"]);
        assert_eq!(app.join(&mut fan, &sale).await["number"], 2, "a new place at the end");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_device_takes_the_place_over_and_the_old_token_says_so() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale_with(4, 100, policy(3600, 1, 1, true)).await;
        let mut fans = app.fans(3, 0).await;
        for fan in &mut fans {
            app.join(fan, &sale).await;
        }
        let (me, seats) = (format!("concerts/{}/queue/tokens/me", sale.concert), format!("shows/{}/seats", sale.show));
        let joins = format!("concerts/{}/queue/tokens", sale.concert);
        // Joining with the token changes nothing.
        let same = fans[2].post_empty(&joins).await.expect(200);
        assert_eq!(same.json["token"].as_str(), fans[2].queue_token.as_deref());
        // Asking without it reads the place and gives no token.
        let mut other = fans[2].clone();
        other.queue_token = None;
        let read = other.get(&me).await.expect(200);
        assert!(read.json["token"].is_null() && read.json["position"] == 2, "{}", read.json);
        app.join(&mut other, &sale).await;
        let moved = other.get(&me).await.expect(200);
        assert_eq!(
            (moved.json["number"].as_i64(), moved.json["position"].as_i64()),
            (Some(3), Some(2)),
            "the same place"
        );
        fans[2].get(&me).await.expect_problem(403, "queue_token_moved");
        fans[2].delete(&me).await.expect_problem(403, "queue_token_moved");
        other.get(&me).await.expect(200);
        // Also when active.
        let mut second = fans[0].clone();
        app.join(&mut second, &sale).await;
        second.get(&seats).await.expect(200);
        fans[0].get(&seats).await.expect_problem(403, "queue_token_moved");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_has_nothing_left_says_so_at_once_and_opens_again() {
    World::with(async |world| {
        world.set("ONSALE_LINE_TICK_MS", "50");
        let app = world.app_with_schedulers().await;
        let sale = app.sale_with(2, 100, policy(3600, 1, 2, true)).await;
        let mut fans = app.fans(4, 1_000).await;
        for fan in &mut fans[..3] {
            app.join(fan, &sale).await;
        }
        let (me, overview) =
            (format!("concerts/{}/queue/tokens/me", sale.concert), format!("concerts/{}/queue", sale.concert));
        // Until they have been counted for the first time.
        while app.nobody().get(&overview).await.expect(200).json["stock"].is_null() {}
        let place = fans[2].get(&me).await.expect(200);
        assert_eq!(
            (place.json["stock"]["available"].as_i64(), place.json["sold_out"].as_bool()),
            (Some(2), Some(false))
        );
        assert!(
            place.json["odds"].as_str().unwrap().starts_with("2 seats left, 0 in open reservations; you are number 1")
        );
        let public = app.nobody().get(&overview).await.expect(200);
        let section = &public.json["sections"][0];
        assert_eq!((section["section"].as_str(), section["price_min_minor"].as_i64()), (Some("A"), Some(100)));
        let seats = app.seats(&fans[0], &sale).await;
        let held = fans[0]
            .post(&format!("shows/{}/reservations", sale.show), onsale_test_support::App::choice(&seats))
            .await
            .expect(201);
        // All held: not sold out, for they may come back.
        let until = async |sold_out: bool, left: i64, held: i64| loop {
            let json = app.nobody().get(&overview).await.expect(200).json;
            if json["sold_out"] == sold_out && json["stock"]["available"] == left && json["stock"]["held"] == held {
                break;
            }
            tokio::task::yield_now().await;
        };
        until(false, 0, 2).await;
        let reservation = held.json["id"].as_str().unwrap().to_owned();
        fans[0].post_empty(&format!("reservations/{reservation}/payment")).await.expect(201);
        until(true, 0, 0).await;
        let place = fans[2].get(&me).await.expect(200);
        assert_eq!((place.json["sold_out"].as_bool(), place.json["odds"].as_str()), (Some(true), Some("Sold out.")));
        assert!(place.json["eta"].is_null());
        let joins = format!("concerts/{}/queue/tokens", sale.concert);
        fans[3].post_empty(&joins).await.expect_problem(409, "sold_out");
        // A seat comes back, as a refund would bring it.
        let mut sql = world.sql().await;
        sql.run("UPDATE reservation_seats SET live = false").await.unwrap();
        sql.run(
            "UPDATE seats SET state = 'available', reservation_id = NULL, held_until = NULL, version = version + 1
             WHERE number = 1",
        )
        .await
        .unwrap();
        until(false, 1, 0).await;
        fans[3].post_empty(&joins).await.expect(201);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn polls_that_come_much_too_early_are_refused_without_asking_a_store() {
    World::with(async |world| {
        world.set("ONSALE_LINE_EARLY_POLL_GUARD", "true");
        let app = world.app().await;
        let sale = app.sale_with(1, 100, policy(3600, 1, 1, false)).await;
        let mut fan = app.fans(1, 0).await.remove(0);
        app.join(&mut fan, &sale).await;
        let me = format!("concerts/{}/queue/tokens/me", sale.concert);
        let early = fan.get(&me).await.expect_problem(429, "too_many_requests");
        assert!(early.header("retry-after").parse::<u32>().unwrap() >= 1);
        // Another fan of the same instance is not concerned; and joining again is always allowed.
        let mut other = app.fans(1, 0).await.remove(0);
        app.join(&mut other, &sale).await;
        fan.post_empty(&format!("concerts/{}/queue/tokens", sale.concert)).await.expect(200);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn polls_touch_no_store_and_positions_are_exact_never_too_small_and_never_grow() {
    const FANS: usize = 400;
    World::with(async |world| {
        world.set("ONSALE_LINE_SNAPSHOT_MS", "100");
        let app = world.app().await;
        let sale = app.sale_with(1, 100, policy(3600, 10, 1_000, false)).await;
        let mut fans = app.fans(FANS, 0).await;
        for fan in &mut fans {
            app.join(fan, &sale).await;
        }
        let lane = Lane::of(world, &app, &sale).await;
        let me = format!("concerts/{}/queue/tokens/me", sale.concert);
        let mut least: Vec<i64> = vec![i64::MAX; FANS];
        let mut gone: Vec<usize> = vec![];
        for round in 0..12_usize {
            for leaver in [FANS - 1 - round * 7, 150 + round * 11] {
                fans[leaver].delete(&me).await.expect(204);
                gone.push(leaver);
            }
            lane.admit(10).await;
            let served = (round as i64 + 1) * 10;
            for index in (usize::try_from(served).unwrap()..FANS).step_by(37) {
                if gone.contains(&index) {
                    continue;
                }
                let position = fans[index].get(&me).await.expect(200).json["position"].as_i64().unwrap();
                let before = gone.iter().filter(|left| **left < index && **left as i64 >= served).count() as i64;
                let exact = index as i64 + 1 - served - before;
                assert!(position >= exact, "fan {index} reads {position}, too small: {exact}");
                assert!(position <= least[index], "fan {index} reads {position} after {}", least[index]);
                least[index] = position;
            }
            // What is a snapshot old is exact.
            app.instance.keeper.snapshots.renewed(lane.concert.id).await.unwrap();
            for index in (usize::try_from(served).unwrap()..FANS).step_by(53).filter(|index| !gone.contains(index)) {
                let position = fans[index].get(&me).await.expect(200).json["position"].as_i64().unwrap();
                let before = gone.iter().filter(|left| **left < index && **left as i64 >= served).count() as i64;
                assert_eq!(position, index as i64 + 1 - served - before);
            }
        }
        // However many ask within a snapshot's life, Redis is asked once. (A snapshot is made and answers for 1 s.)
        app.stop().await;
        world.set("ONSALE_LINE_SNAPSHOT_MS", "1000");
        let app = world.app().await;
        let poll = fans[FANS - 3].at(&app.base);
        poll.get(&me).await.expect(200);
        let before = app.instance.keeper.snapshots.fresh(concert_id(&sale.concert)).await.unwrap().unwrap();
        for _ in 0..50 {
            poll.get(&me).await.expect(200);
        }
        let after = app.instance.keeper.snapshots.fresh(concert_id(&sale.concert)).await.unwrap().unwrap();
        assert!(after.taken_ms - before.taken_ms <= 1_500, "50 polls needed at most one more snapshot");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_has_not_begun_is_answered_clearly_whatever_is_asked() {
    World::with(async |world| {
        let app = world.app().await;
        let operator = app.operator().await;
        let fan = app.fans(1, 0).await.remove(0);
        let concert = operator.post("admin/concerts", serde_json::json!({ "title": "Later" })).await.expect(201);
        let id = concert.json["id"].as_str().unwrap();
        let (line, joins, me) = (
            format!("concerts/{id}/queue"),
            format!("concerts/{id}/queue/tokens"),
            format!("concerts/{id}/queue/tokens/me"),
        );
        fan.get(&line).await.expect_problem(404, "not_found");
        fan.post_empty(&joins).await.expect_problem(404, "not_found");
        fan.get(&me).await.expect_problem(404, "not_found");
        fan.delete(&me).await.expect_problem(404, "not_found");
        let body = serde_json::json!({ "sale_state": "scheduled" });
        operator.send("PATCH", &format!("admin/concerts/{id}"), &[("If-Match", "\"1\"")], body).await.expect(200);
        assert_eq!(fan.get(&line).await.expect(200).json["sale_state"], "scheduled");
        fan.post_empty(&joins).await.expect_problem(409, "sale_not_open");
        fan.get(&me).await.expect_problem(409, "sale_not_open");
        fan.delete(&me).await.expect_problem(409, "sale_not_open");
        let admissions = format!("admin/concerts/{id}/queue/admissions");
        operator.post(&admissions, serde_json::json!({ "count": 1 })).await.expect_problem(409, "sale_not_open");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_forged_cut_foreign_or_replayed_change_nothing() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale_with(1, 100, policy(3600, 1, 1, false)).await;
        let other = app.sale_with(1, 100, policy(3600, 1, 1, false)).await;
        let mut fans = app.fans(3, 0).await;
        let me = format!("concerts/{}/queue/tokens/me", sale.concert);
        let joins = format!("concerts/{}/queue/tokens", sale.concert);
        app.join(&mut fans[0], &sale).await;
        app.join(&mut fans[1], &sale).await;
        app.join(&mut fans[2], &other).await;
        let good = fans[0].queue_token.clone().unwrap();
        let foreign = fans[2].queue_token.clone().unwrap();
        let stranger = fans[1].queue_token.clone().unwrap();
        for bad in ["", "x", &good[..40], &format!("{good}AAAA"), &foreign, &stranger, &"A".repeat(4_000)] {
            let mut fan = fans[0].clone();
            fan.queue_token = Some(bad.to_owned());
            fan.get(&me).await.expect_problem(401, "token_invalid");
            fan.delete(&me).await.expect_problem(401, "token_invalid");
            fan.post_empty(&joins).await.expect_problem(401, "token_invalid");
            fan.get(&format!("{me}/events")).await.expect_problem(401, "token_invalid");
        }
        // A thousand tokens of one fan are one place; only the newest works.
        let mut tokens = vec![];
        for _ in 0..50 {
            app.join(&mut fans[0], &sale).await;
            tokens.push(fans[0].queue_token.clone().unwrap());
        }
        let newest = tokens.pop().unwrap();
        for old in tokens {
            fans[0].queue_token = Some(old);
            fans[0].get(&me).await.expect_problem(403, "queue_token_moved");
        }
        fans[0].queue_token = Some(newest);
        assert_eq!(fans[0].get(&me).await.expect(200).json["position"], 1);
        let overview = app.nobody().get(&format!("concerts/{}/queue", sale.concert)).await.expect(200);
        assert_eq!(overview.json["waiting"], 2);
        // Left, and the token of the place that was left shown again.
        fans[0].delete(&me).await.expect(204);
        fans[0].get(&me).await.expect_problem(404, "not_in_line");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn poll_after_ms_is_never_longer_than_half_of_claim_secs() {
    World::with(async |world| {
        let app = world.app().await;
        let mut settings = policy(3600, 1, 1, true);
        settings["claim_secs"] = json!(5);
        let sale = app.sale_with(2, 100, settings).await;
        let mut fans = app.fans(3, 0).await;
        let mut told = vec![];
        for fan in &mut fans {
            told.push(app.join(fan, &sale).await);
        }
        let me = format!("concerts/{}/queue/tokens/me", sale.concert);
        // Up to a fifth more at random, so more than once.
        for _ in 0..20 {
            told.push(fans[2].get(&me).await.expect(200).json);
        }
        let mut lane = Lane::of(world, &app, &sale).await;
        lane.pass_secs(world, 6).await;
        assert_eq!(lane.tick().await.lapsed, 1);
        told.push(fans[0].get(&me).await.expect(200).json);
        let states: BTreeSet<&str> = told.iter().map(|place| place["state"].as_str().unwrap()).collect();
        assert_eq!(states, BTreeSet::from(["active", "lapsed", "waiting"]));
        for place in &told {
            let poll_after_ms = place["poll_after_ms"].as_i64().unwrap();
            assert!((1_000..=2_500).contains(&poll_after_ms), "{place}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_early_poll_guard_lets_a_fan_with_a_short_claim_ask_again_within_a_second() {
    World::with(async |world| {
        world.set("ONSALE_LINE_EARLY_POLL_GUARD", "true");
        let app = world.app().await;
        let mut settings = policy(3600, 1, 1, false);
        settings["claim_secs"] = json!(5);
        let sale = app.sale_with(1, 100, settings).await;
        let mut fan = app.fans(1, 0).await.remove(0);
        app.join(&mut fan, &sale).await;
        let me = format!("concerts/{}/queue/tokens/me", sale.concert);
        // A machine that stalls for a quarter of what was told lets a poll through, which is told anew.
        let mut answer = fan.get(&me).await;
        while answer.status == 200 {
            assert!(answer.json["poll_after_ms"].as_i64().unwrap() <= 2_500, "{}", answer.json);
            tokio::task::yield_now().await;
            answer = fan.get(&me).await;
        }
        // A quarter of 2,500 ms at most, told in whole seconds; and no refusal begins it anew.
        while answer.status != 200 {
            assert_eq!(answer.expect_problem(429, "too_many_requests").header("retry-after"), "1");
            tokio::task::yield_now().await;
            answer = fan.get(&me).await;
        }
    })
    .await;
}
