//! Three stories, each at the default proportions of a line: who pays late, who loses a race, who follows a place.
//! Time is moved by the state of the stores.

use deadpool_redis::redis;
use onsale_domain::queue::QueuePolicy;
use onsale_test_support::{App, Client, Sale, World};
use serde_json::{Value, json};

use crate::{
    at_once,
    events::Events,
    lane::{Lane, key},
    tally,
};

/// The default settings, with another limit of active fans.
fn defaults(active_limit: i32) -> Value {
    json!(QueuePolicy { active_limit, ..QueuePolicy::default() })
}

/// One fan who is active and holds the first seat, and one who waits for the only slot.
async fn holder_and_waiter(app: &App) -> (Sale, Client, String, Client) {
    let sale = app.sale_with(4, 100, defaults(1)).await;
    let mut fans = app.fans(2, 0).await;
    let (mut waiter, mut holder) = (fans.remove(1), fans.remove(0));
    assert_eq!(app.join(&mut holder, &sale).await["state"], "active");
    assert_eq!(app.join(&mut waiter, &sale).await["state"], "waiting");
    let seats = app.seats(&holder, &sale).await;
    let held = holder.post(&format!("shows/{}/reservations", sale.show), App::choice(&seats[..1])).await.expect(201);
    let id = held.json["id"].as_str().unwrap().to_owned();
    (sale, holder, id, waiter)
}

async fn state_of(fan: &Client, sale: &Sale) -> String {
    let place = fan.get(&format!("concerts/{}/queue/tokens/me", sale.concert)).await;
    place.json["state"].as_str().map_or_else(|| place.code(), str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn never_again_25_held_seats_are_paid_after_the_turn_and_the_slot_waits_for_the_hold() {
    World::with(async |world| {
        let app = world.app().await;
        // Both at the defaults: a turn of 300 s that is renewed in its second half, a hold of 300 s.
        let sale = app.sale_with(4, 100, defaults(1)).await;
        let mut lane = Lane::of(world, &app, &sale).await;
        let mut fans = app.fans(2, 0).await;
        let (mut waiter, mut fan) = (fans.remove(1), fans.remove(0));
        assert_eq!(app.join(&mut fan, &sale).await["state"], "active");
        assert_eq!(app.join(&mut waiter, &sale).await["state"], "waiting");
        let (seats_path, reserve) = (format!("shows/{}/seats", sale.show), format!("shows/{}/reservations", sale.show));
        let seats = app.seats(&fan, &sale).await;
        // In the first half of the turn, which is therefore not renewed.
        lane.pass_secs(world, 140).await;
        let held = fan.post(&reserve, App::choice(&seats[..1])).await.expect(201);
        let id = held.json["id"].as_str().unwrap();
        // 340 s: the turn is over, the hold has 100 s to go. Nothing new can be reserved.
        lane.pass_secs(world, 200).await;
        assert_eq!(lane.tick().await.expired, 1);
        fan.get(&seats_path).await.expect_problem(403, "queue_token_expired");
        fan.post(&reserve, App::choice(&seats[1..2])).await.expect_problem(403, "queue_token_expired");
        assert_eq!(state_of(&fan, &sale).await, "not_in_line");
        assert_eq!(fan.get(&format!("reservations/{id}")).await.expect(200).json["state"], "held");
        // The slot is the hold's: nobody else is called, however often the line is ticked.
        for _ in 0..3 {
            lane.due().await;
            assert_eq!(lane.tick().await.promoted, 0);
        }
        let overview = app.nobody().get(&format!("concerts/{}/queue", sale.concert)).await.expect(200);
        assert_eq!((overview.json["active"].as_i64(), overview.json["waiting"].as_i64()), (Some(1), Some(1)));
        // The wallet is filled and the seat is paid, without any queue token.
        fan.queue_token = None;
        app.charge(&fan, 100).await;
        fan.post_empty(&format!("reservations/{id}/payment")).await.expect(201);
        // Now the slot is free.
        lane.due().await;
        assert_eq!(lane.tick().await.promoted, 1);
        assert_eq!(state_of(&waiter, &sale).await, "active");
        app.assert_books_balance().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn never_again_25_whatever_became_of_the_turn_or_the_sale_the_holder_pays_or_releases() {
    World::with(async |world| {
        let app = world.app().await;
        let operator = app.operator().await;
        for what in ["absolute end", "left", "paused", "drained", "closed", "line emptied", "line of another server"] {
            for pays in [true, false] {
                let (sale, holder, id, waiter) = holder_and_waiter(&app).await;
                let mut lane = Lane::of(world, &app, &sale).await;
                let queue = format!("admin/concerts/{}/queue", sale.concert);
                match what {
                    "absolute end" => {
                        // Used until the end beyond which nothing renews; the hold was made in the last minute.
                        let last = key(&app, lane.concert.id, "last");
                        let fan = crate::lane::raw(&holder.user_id);
                        let act = key(&app, lane.concert.id, "act");
                        for key in [last, act] {
                            let command = redis::cmd("ZADD").arg(key).arg("XX").arg(1).arg(fan.clone()).to_owned();
                            let _: i64 = command.query_async(&mut lane.redis).await.unwrap();
                        }
                    }
                    "left" => {
                        holder.delete(&format!("concerts/{}/queue/tokens/me", sale.concert)).await.expect(204);
                    }
                    "paused" => drop(operator.post_empty(&format!("{queue}/pause")).await.expect(200)),
                    "drained" => drop(operator.post_empty(&format!("{queue}/drain")).await.expect(200)),
                    "closed" => app.close_sale(&operator, &sale).await,
                    "line emptied" => {
                        let keys = app.instance.lines.keys(lane.concert.id);
                        let _: i64 = redis::cmd("DEL").arg(&keys).query_async(&mut lane.redis).await.unwrap();
                    }
                    _ => lane.set("st", "run", 7).await,
                }
                lane = Lane::of(world, &app, &sale).await;
                lane.due().await;
                let ticked = lane.tick().await;
                assert_eq!(ticked.promoted, 0, "{what}: the hold keeps the only slot");
                app.charge(&holder, 100).await;
                if pays {
                    holder.post_empty(&format!("reservations/{id}/payment")).await.expect(201);
                } else {
                    holder.delete(&format!("reservations/{id}")).await.expect(204);
                }
                // The end of the hold frees the slot of a turn that is over; one that goes on keeps it.
                lane.due().await;
                let promoted = lane.tick().await.promoted;
                let over = pays || matches!(what, "absolute end" | "left");
                let moves = !matches!(what, "paused" | "closed");
                if what != "line emptied" && what != "line of another server" {
                    assert_eq!(promoted, i64::from(over && moves), "{what}, pays: {pays}");
                }
                drop(waiter);
            }
        }
        app.assert_books_balance().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_runs_out_frees_the_slot_that_it_kept() {
    World::with(async |world| {
        let app = world.app().await;
        let (sale, holder, id, waiter) = holder_and_waiter(&app).await;
        let mut lane = Lane::of(world, &app, &sale).await;
        holder.delete(&format!("concerts/{}/queue/tokens/me", sale.concert)).await.expect(204);
        lane.due().await;
        assert_eq!(lane.tick().await.promoted, 0);
        // Joining anew meanwhile gives a place behind the others; the hold still keeps the only slot.
        let mut again = holder.clone();
        assert_eq!(app.join(&mut again, &sale).await["position"], 2);
        lane.pass_secs(world, 301).await;
        lane.due().await;
        assert_eq!(lane.tick().await.promoted, 1);
        assert_eq!(state_of(&waiter, &sale).await, "active");
        holder.post_empty(&format!("reservations/{id}/payment")).await.expect_problem(410, "reservation_expired");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_of_which_the_line_never_heard_gets_its_slot() {
    World::with(async |world| {
        let app = world.app().await;
        let (sale, holder, id, _waiter) = holder_and_waiter(&app).await;
        // As if the process that held the seats had died before it could tell, and the turn were gone by then.
        let other = world.app().await;
        let mut lane = Lane::of(world, &other, &sale).await;
        for (command, name) in [("ZREM", "act"), ("ZREM", "last"), ("HDEL", "tok")] {
            let (key, fan) = (key(&app, lane.concert.id, name), crate::lane::raw(&holder.user_id));
            let _: i64 = redis::cmd(command).arg(key).arg(fan).query_async(&mut lane.redis).await.unwrap();
        }
        lane.due().await;
        assert_eq!(lane.tick().await.promoted, 0, "the hold has the only slot");
        app.charge(&holder, 100).await;
        holder.post_empty(&format!("reservations/{id}/payment")).await.expect(201);
        lane.due().await;
        assert_eq!(lane.tick().await.promoted, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_ends_the_turn_that_held_and_never_a_newer_one() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale_with(4, 100, defaults(2)).await;
        let mut fan = app.fans(1, 1_000).await.remove(0);
        app.join(&mut fan, &sale).await;
        let seats = app.seats(&fan, &sale).await;
        let held = fan.post(&format!("shows/{}/reservations", sale.show), App::choice(&seats[..1])).await.expect(201);
        let pay = format!("reservations/{}/payment", held.json["id"].as_str().unwrap());
        // The fan leaves and comes again: a newer turn, with the hold of the older one.
        fan.delete(&format!("concerts/{}/queue/tokens/me", sale.concert)).await.expect(204);
        assert_eq!(app.join(&mut fan, &sale).await["state"], "active");
        let answers = at_once((0..10).map(|_| {
            let (fan, pay) = (fan.clone(), pay.clone());
            async move { fan.send("POST", &pay, &[("Idempotency-Key", "once")], Value::Null).await }
        }))
        .await;
        let counts = tally(&answers);
        assert_eq!(
            counts.get("201").copied().unwrap_or(0) + counts.get("idempotency_in_flight").copied().unwrap_or(0),
            10
        );
        // Whatever is replayed later, too.
        fan.send("POST", &pay, &[("Idempotency-Key", "once")], Value::Null).await.expect(201);
        assert_eq!(state_of(&fan, &sale).await, "active");
        assert_eq!(fan.get("me/wallet").await.expect(200).json["balance_minor"], 900);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn never_again_40_a_loser_is_told_the_truth() {
    World::with(async |world| {
        let apps = [world.app().await, world.app().await];
        let app = &apps[0];
        let sale = app.sale_with(4, 100, defaults(2_100)).await;
        let other = app.sale_with(2, 100, defaults(2_100)).await;
        let mut fans = app.fans(3, 1_000).await;
        for fan in &mut fans {
            app.join(fan, &sale).await;
        }
        let reserve = format!("shows/{}/reservations", sale.show);
        let seats = app.seats(&fans[0], &sale).await;
        let won = fans[0].post(&reserve, App::choice(&seats[..1])).await.expect(201);
        // The loser hears who has the seat now, and so does the next one, from memory.
        for fan in &fans[1..] {
            let lost = fan.post(&reserve, App::choice(&seats[..1])).await.expect_problem(409, "seat_taken");
            assert_eq!(
                (lost.json["seats"][0]["state"].as_str(), lost.json["seats"][0]["version"].as_i64()),
                (Some("held"), Some(2))
            );
        }
        // A seat of another show is unknown here, though it was refused there a moment ago.
        let mut stranger = fans[1].clone();
        app.join(&mut stranger, &other).await;
        stranger
            .post(&format!("shows/{}/reservations", other.show), App::choice(&seats[..1]))
            .await
            .expect_problem(422, "seat_unknown");
        // A release is true at once: a choice of before is out of date, not taken, and the new version wins.
        fans[0].delete(&format!("reservations/{}", won.json["id"].as_str().unwrap())).await.expect(204);
        let lost = fans[1].post(&reserve, App::choice(&seats[..1])).await.expect_problem(409, "version_conflict");
        assert_eq!(
            (lost.json["seats"][0]["state"].as_str(), lost.json["seats"][0]["version"].as_i64()),
            (Some("available"), Some(3))
        );
        fans[1].post(&reserve, App::choice(lost.json["seats"].as_array().unwrap())).await.expect(201);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_200_fans_on_one_pair_of_seats_exactly_one_wins_each_round_and_no_loser_is_told_it_is_free() {
    let rounds: usize = std::env::var("ONSALE_RACE_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(200);
    World::with(async |world| {
        let apps = [world.app().await, world.app().await];
        let sale = apps[0].sale_with(2, 100, defaults(2_100)).await;
        let fans = apps[0].fans(200, 0).await;
        let fans = at_once(fans.into_iter().map(|mut fan| {
            let path = format!("concerts/{}/queue/tokens", sale.concert);
            async move {
                fan.queue_token = fan.post_empty(&path).await.expect(201).json["token"].as_str().map(str::to_owned);
                fan
            }
        }))
        .await;
        let reserve = format!("shows/{}/reservations", sale.show);
        for round in 0..rounds {
            let seats = apps[0].seats(&fans[0], &sale).await;
            let sent = seats[0]["version"].as_i64().unwrap();
            let answers = at_once(fans.iter().enumerate().map(|(index, fan)| {
                let (fan, reserve, body) = (fan.at(&apps[index % 2].base), reserve.clone(), App::choice(&seats));
                async move { (fan.post(&reserve, body).await, fan) }
            }))
            .await;
            let won: Vec<_> = answers.iter().filter(|(answer, _)| answer.status == 201).collect();
            let counts = tally(&answers.iter().map(|(answer, _)| answer.clone()).collect::<Vec<_>>());
            assert_eq!(won.len(), 1, "round {round}: {counts:?}");
            for (lost, _) in answers.iter().filter(|(answer, _)| answer.status != 201) {
                match lost.code().as_str() {
                    "seat_taken" => {
                        let states: Vec<_> =
                            lost.json["seats"].as_array().unwrap().iter().map(|seat| &seat["state"]).collect();
                        assert!(states.iter().any(|state| *state != "available"), "round {round}: {}", lost.json);
                    }
                    "version_conflict" => {
                        let newer = lost.json["seats"]
                            .as_array()
                            .unwrap()
                            .iter()
                            .any(|seat| seat["version"].as_i64() > Some(sent));
                        assert!(newer, "round {round}: {}", lost.json);
                    }
                    code => panic!("round {round}: {code}"),
                }
            }
            let (answer, winner) = won[0];
            winner.delete(&format!("reservations/{}", answer.json["id"].as_str().unwrap())).await.expect(204);
            // The other instance shows what its copy had for a moment longer.
            while apps[0].seats(&fans[0], &sale).await.iter().any(|seat| seat["version"].as_i64() != Some(sent + 2)) {}
        }
        apps[0].assert_books_balance().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn never_again_41_what_is_finished_is_replayed_to_everybody_at_once() {
    World::with(async |world| {
        let apps = [world.app().await, world.app().await];
        let fan = apps[0].fans(1, 0).await.remove(0);
        let body = json!({ "amount_minor": 500 });
        let key = [("Idempotency-Key", "top-up")];
        let first = fan.send("POST", "me/wallet/charges", &key, body.clone()).await.expect(201);
        for _ in 0..20 {
            let answers = at_once((0..10).map(|index| {
                let (fan, body) = (fan.at(&apps[index % 2].base), body.clone());
                async move { fan.send("POST", "me/wallet/charges", &[("Idempotency-Key", "top-up")], body).await }
            }))
            .await;
            assert!(
                answers.iter().all(|answer| answer.status == 201 && answer.bytes == first.bytes),
                "{:?}",
                tally(&answers)
            );
        }
        assert_eq!(fan.get("me/wallet").await.expect(200).json["balance_minor"], 500);
        // A reservation too, also when the turn in which it was made is over.
        let sale = apps[0].sale(2, 100).await;
        let mut buyer = apps[0].fans(1, 0).await.remove(0);
        apps[0].join(&mut buyer, &sale).await;
        let seats = apps[0].seats(&buyer, &sale).await;
        let reserve = format!("shows/{}/reservations", sale.show);
        let (key, one, other) = ([("Idempotency-Key", "seats")], App::choice(&seats[..1]), App::choice(&seats[1..]));
        let held = buyer.send("POST", &reserve, &key, one.clone()).await.expect(201);
        buyer.delete(&format!("concerts/{}/queue/tokens/me", sale.concert)).await.expect(204);
        let again = buyer.send("POST", &reserve, &key, one.clone()).await.expect(201);
        assert_eq!(again.bytes, held.bytes);
        buyer.send("POST", &reserve, &key, other).await.expect_problem(422, "idempotency_key_reused");
        buyer
            .send("POST", &reserve, &[("Idempotency-Key", "new")], one)
            .await
            .expect_problem(403, "queue_token_expired");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn never_again_39_a_follower_hears_of_the_second_turn_and_of_the_end() {
    World::with(async |world| {
        let app = world.app_with_schedulers().await;
        let sale = app.sale_with(4, 100, defaults(1)).await;
        let mut fan = app.fans(1, 0).await.remove(0);
        assert_eq!(app.join(&mut fan, &sale).await["state"], "active");
        let mut lane = Lane::of(world, &app, &sale).await;
        let mut stream = Events::open(&app, &fan, &sale.concert, None).await;
        let mut states = vec![stream.next().await.unwrap().data["state"].as_str().unwrap().to_owned()];
        // The claim window of 60 s passes. The stream tells of it and does not act for the fan.
        lane.pass_secs(world, 61).await;
        let lapsed = stream.next().await.unwrap();
        states.push(lapsed.data["state"].as_str().unwrap().to_owned());
        assert_eq!(state_of(&fan, &sale).await, "lapsed", "neither following nor asking brings the fan back");
        // The fan comes back by joining, and is called again as there is room: the second turn is told.
        let back = fan.post_empty(&format!("concerts/{}/queue/tokens", sale.concert)).await.expect(200);
        assert_eq!(back.json["number"], 1);
        loop {
            let event = stream.next().await.unwrap();
            let state = event.data["state"].as_str().unwrap().to_owned();
            states.push(state.clone());
            if state == "active" {
                break;
            }
        }
        states.dedup();
        assert!(
            states == ["active", "lapsed", "waiting", "active"] || states == ["active", "lapsed", "active"],
            "{states:?}"
        );
        // A second lapse forfeits the place: the stream says so and ends.
        lane.pass_secs(world, 61).await;
        let end = stream.next().await.unwrap();
        assert_eq!((end.name.as_str(), end.data["code"].as_str()), ("end", Some("not_in_line")));
        assert!(stream.next().await.is_none());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn never_again_39_a_stream_that_its_client_closed_acts_for_nobody() {
    World::with(async |world| {
        let app = world.app_with_schedulers().await;
        let sale = app.sale_with(4, 100, defaults(1)).await;
        let mut fan = app.fans(1, 0).await.remove(0);
        app.join(&mut fan, &sale).await;
        let mut lane = Lane::of(world, &app, &sale).await;
        let mut stream = Events::open(&app, &fan, &sale.concert, None).await;
        stream.next().await.unwrap();
        drop(stream);
        lane.pass_secs(world, 61).await;
        while state_of(&fan, &sale).await != "lapsed" {}
        let back = app.operator().await.get(&format!("admin/concerts/{}/queue/stats", sale.concert)).await.expect(200);
        assert_eq!((back.json["lapsed_total"].as_i64(), back.json["returned_total"].as_i64()), (Some(1), Some(0)));
        // The only return is still the fan's own.
        let back = fan.post_empty(&format!("concerts/{}/queue/tokens", sale.concert)).await.expect(200);
        assert_eq!(back.json["number"], 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn never_again_36_an_entry_that_cannot_be_read_is_set_aside_and_the_line_goes_on() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale_with(4, 100, defaults(1)).await;
        let mut lane = Lane::of(world, &app, &sale).await;
        let mut fan = app.fans(1, 0).await.remove(0);
        let log = key(&app, lane.concert.id, "log");
        for (kind, numbers) in [("expired", ""), ("nonsense", "1"), ("left", "x,2")] {
            let command = redis::cmd("XADD").arg(&log).arg("*").arg(kind).arg(numbers).to_owned();
            let _: String = command.query_async(&mut lane.redis).await.unwrap();
        }
        assert_eq!(app.join(&mut fan, &sale).await["state"], "active");
        lane.tick().await;
        fan.delete(&format!("concerts/{}/queue/tokens/me", sale.concert)).await.expect(204);
        lane.tick().await;
        let mut sql = world.sql().await;
        assert_eq!(sql.number("SELECT count(*) AS n FROM line_odd_entries").await, 3);
        assert_eq!(sql.number("SELECT count(*) AS n FROM line_log WHERE kind = 'left'").await, 1);
        let left: i64 = redis::cmd("XLEN").arg(&log).query_async(&mut lane.redis).await.unwrap();
        assert_eq!(left, 0, "what is in the database, or set aside, is not read again");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_paid_or_left_does_not_come_back_as_a_ghost_after_an_empty_restart() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale_with(4, 100, defaults(2)).await;
        let mut fans = app.fans(3, 1_000).await;
        for fan in &mut fans {
            app.join(fan, &sale).await;
        }
        let mut lane = Lane::of(world, &app, &sale).await;
        let seats = app.seats(&fans[0], &sale).await;
        app.seats(&fans[1], &sale).await;
        let held =
            fans[0].post(&format!("shows/{}/reservations", sale.show), App::choice(&seats[..1])).await.expect(201);
        fans[0].post_empty(&format!("reservations/{}/payment", held.json["id"].as_str().unwrap())).await.expect(201);
        fans[1].delete(&format!("concerts/{}/queue/tokens/me", sale.concert)).await.expect(204);
        // Before any tick, the line's store is emptied.
        let keys = app.instance.lines.keys(lane.concert.id);
        let _: i64 = redis::cmd("DEL").arg(&keys).query_async(&mut lane.redis).await.unwrap();
        lane.tick().await;
        assert_eq!(lane.stats().await.active, 0, "both slots are free");
        fans[2].post_empty(&format!("concerts/{}/queue/tokens", sale.concert)).await.expect(200);
        lane.due().await;
        assert_eq!(lane.tick().await.promoted, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_of_a_show_and_its_first_hold_exclude_each_other() {
    World::with(async |world| {
        let apps = [world.app().await, world.app().await];
        let operator = apps[0].operator().await;
        for round in 0..20 {
            let sale = apps[0].sale_with(1, 100, defaults(2_100)).await;
            let mut fan = apps[0].fans(1, 0).await.remove(0);
            apps[0].join(&mut fan, &sale).await;
            let seats = apps[0].seats(&fan, &sale).await;
            let body = json!({ "starts_at": "2100-02-02T10:00:00Z" });
            let (show, reserve) = (format!("admin/shows/{}", sale.show), format!("shows/{}/reservations", sale.show));
            let fan = fan.at(&apps[1].base);
            let (moved, held) = tokio::join!(
                operator.send("PATCH", &show, &[("If-Match", "\"1\"")], body),
                fan.post(&reserve, App::choice(&seats))
            );
            // Held before the move: the move is refused. Moved first: the fan reserved at the new date.
            held.expect(201);
            if moved.status == 200 {
                let order =
                    "SELECT (s.updated_at < r.expires_at - make_interval(secs => s.hold_secs))::int::bigint AS n
                    FROM reservations r JOIN shows s ON s.id = r.show_id";
                let order = format!("{order} WHERE s.id = '{}'", sale.show);
                assert_eq!(world.sql().await.number(&order).await, 1, "round {round}");
            } else {
                moved.expect_problem(409, "has_sales");
            }
        }
    })
    .await;
}
