//! Many tasks, several instances, real stores: exactly one winner, nothing lost.

use std::collections::BTreeMap;

use onsale_application::{
    housekeeping::Sweeper,
    selling::Holds,
    transaction::{Transaction, UnitOfWork},
};
use onsale_test_support::{App, Client, Sale, World};
use serde_json::json;

use crate::{
    at_once,
    holds::{choices_of, hold_of, somebody_waits},
    tally,
};

async fn admitted(app: &App, sale: &Sale, count: usize, balance: i64) -> Vec<Client> {
    let fans = app.fans(count, balance).await;
    let joined = at_once(fans.into_iter().map(|mut fan| {
        let path = format!("concerts/{}/queue/tokens", sale.concert);
        async move {
            let answer = fan.post_empty(&path).await.expect(201);
            assert_eq!(answer.json["state"], "active");
            fan.queue_token = answer.json["token"].as_str().map(str::to_owned);
            fan
        }
    }));
    joined.await
}

fn count(counts: &BTreeMap<String, usize>, code: &str) -> usize {
    counts.get(code).copied().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn never_again_5_21_of_200_fans_on_one_seat_one_wins_and_199_are_told_409() {
    World::with(async |world| {
        let apps = [world.app().await, world.app().await];
        let sale = apps[0].sale(1, 100).await;
        let fans = admitted(&apps[0], &sale, 200, 100).await;
        let seats = apps[0].seats(&fans[0], &sale).await;
        let path = format!("shows/{}/reservations", sale.show);
        let answers = at_once(fans.iter().enumerate().map(|(index, fan)| {
            let (fan, path, body) = (fan.at(&apps[index % 2].base), path.clone(), App::choice(&seats));
            async move { fan.post(&path, body).await }
        }))
        .await;
        let counts = tally(&answers);
        assert_eq!(count(&counts, "201"), 1, "{counts:?}");
        assert_eq!(count(&counts, "seat_taken") + count(&counts, "version_conflict"), 199, "{counts:?}");
        let told: Vec<_> = answers.iter().filter(|answer| answer.status == 409).collect();
        assert!(told.iter().all(|answer| answer.json["seats"].as_array().is_some_and(|seats| seats.len() == 1)));
        assert_eq!(world.sql().await.number("SELECT count(*) AS n FROM reservations").await, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn overlapping_pairs_in_any_order_neither_deadlock_nor_half_reserve() {
    World::with(async |world| {
        let apps = [world.app().await, world.app().await];
        let sale = apps[0].sale(10, 100).await;
        let fans = admitted(&apps[0], &sale, 100, 100).await;
        let seats = apps[0].seats(&fans[0], &sale).await;
        let path = format!("shows/{}/reservations", sale.show);
        let answers = at_once(fans.iter().enumerate().map(|(index, fan)| {
            let mut pair = vec![seats[index % 10].clone(), seats[(index + 1) % 10].clone()];
            if index % 3 == 0 {
                pair.reverse();
            }
            let (fan, path, body) = (fan.at(&apps[index % 2].base), path.clone(), App::choice(&pair));
            async move { fan.post(&path, body).await }
        }))
        .await;
        let counts = tally(&answers);
        let won = count(&counts, "201");
        assert!((1..=5).contains(&won), "{counts:?}");
        assert_eq!(won + count(&counts, "seat_taken") + count(&counts, "version_conflict"), 100, "{counts:?}");
        let held = world.sql().await.number("SELECT count(*) AS n FROM seats WHERE state = 'held'").await;
        assert_eq!(held, 2 * i64::try_from(won).unwrap());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_fan_with_many_hands_gets_one_reservation_and_never_more_seats_than_allowed() {
    World::with(async |world| {
        let apps = [world.app().await, world.app().await];
        let sale = apps[0].sale(40, 100).await;
        let fan = admitted(&apps[0], &sale, 1, 100_000).await.remove(0);
        let seats = apps[0].seats(&fan, &sale).await;
        let path = format!("shows/{}/reservations", sale.show);
        let answers = at_once((0..10).map(|index| {
            let fan = fan.at(&apps[index % 2].base);
            let (path, body) = (path.clone(), App::choice(&seats[index * 4..index * 4 + 4]));
            async move { fan.post(&path, body).await }
        }))
        .await;
        let counts = tally(&answers);
        assert_eq!((count(&counts, "201"), count(&counts, "reservation_exists")), (1, 9), "{counts:?}");
        assert_eq!(world.sql().await.number("SELECT count(*) AS n FROM seats WHERE state = 'held'").await, 4);
    })
    .await;
}

/// Fans who each hold one seat.
async fn holders(app: &App, sale: &Sale, fans: &[Client]) -> Vec<(Client, String)> {
    let seats = app.seats(&fans[0], sale).await;
    let path = format!("shows/{}/reservations", sale.show);
    at_once(fans.iter().zip(seats).map(|(fan, seat)| {
        let (fan, path) = (fan.clone(), path.clone());
        async move {
            let reserved = fan.post(&path, App::choice(&[seat])).await.expect(201);
            (fan, reserved.json["id"].as_str().unwrap().to_owned())
        }
    }))
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_payments_of_one_reservation_charge_once() {
    World::with(async |world| {
        let apps = [world.app().await, world.app().await];
        let sale = apps[0].sale(1, 100).await;
        let fans = admitted(&apps[0], &sale, 1, 1_000).await;
        let (fan, id) = holders(&apps[0], &sale, &fans).await.remove(0);
        let answers = at_once((0..20).map(|index| {
            let (fan, path) = (fan.at(&apps[index % 2].base), format!("reservations/{id}/payment"));
            async move { fan.post_empty(&path).await }
        }))
        .await;
        let counts = tally(&answers);
        assert_eq!(count(&counts, "201"), 1, "{counts:?}");
        // Who comes after the turn has ended is told so; nobody is charged.
        let rest = count(&counts, "already_paid") + count(&counts, "queue_token_expired");
        assert_eq!(rest, 19, "{counts:?}");
        assert_eq!(fan.get("me/wallet").await.expect(200).json["balance_minor"], 900);
        apps[0].assert_books_balance().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn never_again_18_paying_races_expiring_and_exactly_one_happens() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale(60, 100).await;
        let fans = admitted(&app, &sale, 60, 100).await;
        let held = holders(&app, &sale, &fans).await;
        // All end within the next 200 ms, while they are being paid and swept by four sweepers.
        let soon = "UPDATE reservations SET expires_at = clock_timestamp() + random() * interval '200 ms';
            UPDATE seats SET held_until = r.expires_at FROM reservations r WHERE r.id = reservation_id";
        world.sql().await.run(soon).await.unwrap();
        let sweeping = {
            let postgres = std::sync::Arc::clone(&app.instance.postgres);
            tokio::spawn(async move {
                let mut ended = 0;
                for _ in 0..400 {
                    let four = tokio::join!(
                        postgres.sweep_holds(5),
                        postgres.sweep_holds(5),
                        postgres.sweep_holds(5),
                        postgres.sweep_holds(5),
                    );
                    ended += four.0.unwrap() + four.1.unwrap() + four.2.unwrap() + four.3.unwrap();
                }
                ended
            })
        };
        let answers = at_once(held.iter().map(|(fan, id)| {
            let (fan, path) = (fan.clone(), format!("reservations/{id}/payment"));
            async move { fan.post_empty(&path).await }
        }))
        .await;
        sweeping.await.unwrap();
        let counts = tally(&answers);
        let paid = count(&counts, "201");
        assert_eq!(paid + count(&counts, "reservation_expired"), 60, "{counts:?}");
        let mut sql = world.sql().await;
        sql.run("UPDATE reservations SET expires_at = now() WHERE state = 'held'").await.unwrap();
        while app.instance.postgres.sweep_holds(100).await.unwrap() > 0 {}
        let paid = i64::try_from(paid).unwrap();
        assert_eq!(sql.number("SELECT count(*) AS n FROM reservations WHERE state = 'paid'").await, paid);
        assert_eq!(sql.number("SELECT count(*) AS n FROM reservations WHERE state = 'expired'").await, 60 - paid);
        assert_eq!(sql.number("SELECT count(*) AS n FROM seats WHERE state = 'sold'").await, paid);
        assert_eq!(sql.number("SELECT count(*) AS n FROM seats WHERE state = 'available'").await, 60 - paid);
        app.assert_books_balance().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paying_races_releasing_and_exactly_one_happens() {
    World::with(async |world| {
        let apps = [world.app().await, world.app().await];
        let sale = apps[0].sale(40, 100).await;
        let fans = admitted(&apps[0], &sale, 40, 100).await;
        let held = holders(&apps[0], &sale, &fans).await;
        let outcomes = at_once(held.iter().map(|(fan, id)| {
            let (payer, releaser) = (fan.at(&apps[0].base), fan.at(&apps[1].base));
            let (pay, release) = (format!("reservations/{id}/payment"), format!("reservations/{id}"));
            async move { tokio::join!(payer.post_empty(&pay), releaser.delete(&release)) }
        }))
        .await;
        for (paid, released) in &outcomes {
            match (paid.code().as_str(), released.code().as_str()) {
                ("201", "reservation_paid") | ("reservation_expired", "204") => {}
                mixed => panic!("paid and released: {mixed:?}"),
            }
        }
        let won = i64::try_from(outcomes.iter().filter(|(paid, _)| paid.status == 201).count()).unwrap();
        assert_eq!(world.sql().await.number("SELECT count(*) AS n FROM seats WHERE state = 'sold'").await, won);
        apps[0].assert_books_balance().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn never_again_23_an_overdue_seat_is_taken_over_by_exactly_one() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale(2, 100).await;
        let fans = admitted(&app, &sale, 41, 100).await;
        let seats = app.seats(&fans[40], &sale).await;
        let path = format!("shows/{}/reservations", sale.show);
        fans[40].post(&path, App::choice(&seats)).await.expect(201);
        let over = "UPDATE reservations SET expires_at = now(); UPDATE seats SET held_until = now()";
        world.sql().await.run(over).await.unwrap();
        let chosen: Vec<_> = seats.iter().map(|s| json!({ "seat_id": s["seat_id"], "version": 2 })).collect();
        let body = json!({ "seats": chosen });
        let answers = at_once(fans[..40].iter().map(|fan| {
            let (fan, path, body) = (fan.clone(), path.clone(), body.clone());
            async move { fan.post(&path, body).await }
        }))
        .await;
        let counts = tally(&answers);
        assert_eq!(count(&counts, "201"), 1, "{counts:?}");
        assert_eq!(count(&counts, "seat_taken") + count(&counts, "version_conflict"), 39, "{counts:?}");
        app.assert_books_balance().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loser_never_waits_for_a_seat() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale(2, 100).await;
        let fans = admitted(&app, &sale, 2, 100).await;
        let seats = app.seats(&fans[0], &sale).await;
        let choices = choices_of(&seats);
        // Somebody takes both seats in a transaction that goes on.
        let mut winner = app.instance.postgres.begin().await.unwrap();
        let first = hold_of(&fans[0], &sale, &choices);
        assert_eq!(winner.claim_seats(&first).await.unwrap(), None);
        assert!(winner.hold(&first).await.unwrap().is_some());
        let path = format!("shows/{}/reservations", sale.show);
        let lost = tokio::select! {
            lost = fans[1].post(&path, App::choice(&seats)) => lost,
            () = somebody_waits(world) => panic!("the loser waits"),
        };
        lost.expect_problem(409, "seat_taken");
        // Nor does the statement that holds, had nobody claimed the seats before it: it skips rows that are locked.
        let mut loser = app.instance.postgres.begin().await.unwrap();
        let late = hold_of(&fans[1], &sale, &choices);
        let held = tokio::select! {
            held = loser.hold(&late) => held,
            () = somebody_waits(world) => panic!("the statement waits"),
        };
        assert!(held.unwrap().is_none());
        winner.commit().await.unwrap();
        assert_eq!(world.sql().await.number("SELECT count(*) AS n FROM seats WHERE state = 'held'").await, 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loser_keeps_nothing_locked() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale(2, 100).await;
        let fans = admitted(&app, &sale, 3, 100).await;
        let mut seats = app.seats(&fans[0], &sale).await;
        seats.sort_by_key(|seat| seat["seat_id"].as_str().unwrap().to_owned());
        // Somebody is about to take the second seat.
        let second = choices_of(&seats[1..]);
        let mut winner = app.instance.postgres.begin().await.unwrap();
        assert_eq!(winner.claim_seats(&hold_of(&fans[0], &sale, &second)).await.unwrap(), None);
        // The loser claims the first, loses on the second, and is held up when asking why.
        let mut sql = world.sql().await;
        sql.run("BEGIN; LOCK TABLE concerts IN ACCESS EXCLUSIVE MODE").await.unwrap();
        let path = format!("shows/{}/reservations", sale.show);
        let loser = {
            let (fan, path, both) = (fans[1].clone(), path.clone(), App::choice(&seats));
            tokio::spawn(async move { fan.post(&path, both).await })
        };
        let mut watcher = world.sql().await;
        let asks_why = "SELECT count(*) AS n FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%own_overdue%'";
        while watcher.number(asks_why).await == 0 {
            assert!(!loser.is_finished(), "the loser was answered without a reason");
        }
        // Claims are advisory locks: nobody has any but the winner.
        let claimants = "SELECT count(DISTINCT pid) AS n FROM pg_locks
            WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        assert_eq!(watcher.number(claimants).await, 1);
        sql.run("ROLLBACK").await.unwrap();
        loser.await.unwrap().expect_problem(409, "seat_taken");
        fans[2].post(&path, App::choice(&seats[..1])).await.expect(201);
        winner.rollback().await.unwrap();
    })
    .await;
}
