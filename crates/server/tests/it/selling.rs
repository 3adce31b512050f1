use onsale_application::{
    housekeeping::Sweeper,
    selling::Holds,
    transaction::{Transaction, UnitOfWork},
};
use onsale_test_support::{App, Client, World};
use serde_json::{Value, json};

use crate::holds::{choices_of, hold_of};

#[tokio::test(flavor = "multi_thread")]
async fn never_again_2_4_from_the_line_to_a_paid_seat_with_a_ticket() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale(50, 150_000).await;
        let mut fan = app.fan("mina").await;
        assert_eq!(app.join(&mut fan, &sale).await["state"], "active");
        let seats = app.seats(&fan, &sale).await;
        assert_eq!(seats.len(), 50);
        let reserved =
            fan.post(&format!("shows/{}/reservations", sale.show), App::choice(&seats[..2])).await.expect(201);
        let id = reserved.json["id"].as_str().unwrap();
        assert_eq!(reserved.header("location"), format!("/api/v1/reservations/{id}"));
        assert_eq!(
            (reserved.json["state"].as_str(), reserved.json["total_minor"].as_i64()),
            (Some("held"), Some(300_000))
        );
        // Never again 11: reserving does not end the turn.
        fan.get(&format!("shows/{}/seats", sale.show)).await.expect(200);
        let poor =
            fan.post_empty(&format!("reservations/{id}/payment")).await.expect_problem(402, "insufficient_balance");
        assert_eq!((&poor.json["missing_minor"], &poor.json["currency"]), (&json!(300_000), &json!("KRW")));
        assert_eq!(fan.get(&format!("reservations/{id}")).await.expect(200).json["state"], "held");
        app.charge(&fan, 1_000_000).await;
        let paid = fan.post_empty(&format!("reservations/{id}/payment")).await.expect(201);
        assert_eq!(paid.json["balance_minor"], 700_000);
        assert_eq!(paid.json["tickets"].as_array().unwrap().len(), 2);
        assert_eq!(fan.get(&format!("reservations/{id}")).await.expect(200).json["state"], "paid");
        // Paying ends the turn.
        fan.get(&format!("shows/{}/seats", sale.show)).await.expect_problem(403, "queue_token_expired");
        fan.post_empty(&format!("reservations/{id}/payment")).await.expect_problem(409, "already_paid");
        fan.delete(&format!("reservations/{id}")).await.expect_problem(409, "reservation_paid");
        let mut sql = world.sql().await;
        assert_eq!(sql.number("SELECT count(*) AS n FROM seats WHERE state = 'sold'").await, 2);
        assert_eq!(sql.number("SELECT count(*) AS n FROM tickets").await, 2);
        assert_eq!(sql.number("SELECT count(*) AS n FROM payments WHERE state = 'captured'").await, 1);
        assert_eq!(
            sql.number("SELECT count(*) AS n FROM outbox_events WHERE event_type = 'reservation.paid'").await,
            1
        );
        let report = app.operator().await.get(&format!("admin/shows/{}/report", sale.show)).await.expect(200);
        assert_eq!((report.json["sold"].as_i64(), report.json["revenue_minor"].as_i64()), (Some(2), Some(300_000)));
        app.assert_books_balance().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn never_again_3_an_overdue_hold_is_free_at_once_without_a_sweeper() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale(2, 100).await;
        let mut fans = app.fans(2, 1_000).await;
        for fan in &mut fans {
            app.join(fan, &sale).await;
        }
        let path = format!("shows/{}/reservations", sale.show);
        let seats = app.seats(&fans[0], &sale).await;
        let first = fans[0].post(&path, App::choice(&seats)).await.expect(201);
        let id = first.json["id"].as_str().unwrap();
        fans[1].post(&path, App::choice(&seats)).await.expect_problem(409, "seat_taken");
        // Time passes: the test moves the deadline, not the clock.
        let mut sql = world.sql().await;
        let over = "UPDATE reservations SET expires_at = now() - interval '1 ms';
            UPDATE seats SET held_until = now() - interval '1 ms'";
        sql.run(over).await.unwrap();
        assert_eq!(fans[0].get(&format!("reservations/{id}")).await.expect(200).json["state"], "expired");
        fans[0].post_empty(&format!("reservations/{id}/payment")).await.expect_problem(410, "reservation_expired");
        let chosen: Vec<_> = seats.iter().map(|s| json!({ "seat_id": s["seat_id"], "version": 2 })).collect();
        let held = json!({ "seats": chosen });
        let key = [("Idempotency-Key", "past-the-copy")];
        let second = fans[1].send("POST", &path, &key, held).await.expect(201);
        assert_eq!(second.json["seats"].as_array().unwrap().len(), 2);
        assert_eq!(sql.number("SELECT count(*) AS n FROM reservations WHERE state = 'expired'").await, 1);
        assert_eq!(sql.number("SELECT count(*) AS n FROM reservation_seats WHERE live").await, 2);
        app.assert_books_balance().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sweeper_ends_what_ran_out_and_nothing_else() {
    use onsale_application::housekeeping::Sweeper;
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale(6, 100).await;
        let mut fans = app.fans(3, 1_000).await;
        for (index, fan) in fans.iter_mut().enumerate() {
            app.join(fan, &sale).await;
            let seats = app.seats(fan, &sale).await;
            let chosen = App::choice(&seats[index * 2..index * 2 + 2]);
            fan.post(&format!("shows/{}/reservations", sale.show), chosen).await.expect(201);
        }
        let mut sql = world.sql().await;
        let late = format!(
            "UPDATE reservations SET expires_at = now() WHERE user_id <> '{}';
            UPDATE seats SET held_until = now() FROM reservations r
                WHERE r.id = reservation_id AND r.expires_at <= now()",
            fans[0].user_id
        );
        sql.run(&late).await.unwrap();
        assert_eq!(app.instance.postgres.sweep_holds(1).await.unwrap(), 1, "bounded");
        assert_eq!(app.instance.postgres.sweep_holds(10).await.unwrap(), 1);
        assert_eq!(app.instance.postgres.sweep_holds(10).await.unwrap(), 0);
        assert_eq!(sql.number("SELECT count(*) AS n FROM seats WHERE state = 'available'").await, 4);
        assert_eq!(sql.number("SELECT count(*) AS n FROM seats WHERE state = 'held'").await, 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn releasing_frees_the_seats_and_only_the_owner_can() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale(2, 100).await;
        let mut fans = app.fans(2, 1_000).await;
        for fan in &mut fans {
            app.join(fan, &sale).await;
        }
        let path = format!("shows/{}/reservations", sale.show);
        let seats = app.seats(&fans[0], &sale).await;
        let id = fans[0].post(&path, App::choice(&seats)).await.expect(201).json["id"].as_str().unwrap().to_owned();
        let own = format!("reservations/{id}");
        for answer in
            [fans[1].get(&own).await, fans[1].delete(&own).await, fans[1].post_empty(&format!("{own}/payment")).await]
        {
            answer.expect_problem(404, "not_found");
        }
        fans[0].delete(&own).await.expect(204);
        fans[0].delete(&own).await.expect(204);
        assert_eq!(fans[0].get(&own).await.expect(200).json["state"], "cancelled");
        fans[0].post_empty(&format!("{own}/payment")).await.expect_problem(410, "reservation_expired");
        let seats = app.seats(&fans[1], &sale).await;
        assert!(seats.iter().all(|seat| seat["state"] == "available" && seat["version"] == 3), "{seats:?}");
        fans[1].post(&path, App::choice(&seats)).await.expect(201);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_and_wrong_choices_hold_nothing() {
    World::with(async |world| {
        let app = world.app().await;
        let (sale, other) = (app.sale(10, 100).await, app.sale(2, 100).await);
        let mut fan = app.fans(1, 10_000).await.remove(0);
        app.join(&mut fan, &other).await;
        let foreign = app.seats(&fan, &other).await;
        app.join(&mut fan, &sale).await;
        let path = format!("shows/{}/reservations", sale.show);
        let seats = app.seats(&fan, &sale).await;
        fan.post(&path, App::choice(&seats[..5])).await.expect_problem(422, "too_many_seats");
        fan.post(&path, json!({ "seats": [] })).await.expect_problem(422, "validation_failed");
        let twice = [seats[0].clone(), seats[0].clone()];
        fan.post(&path, App::choice(&twice)).await.expect_problem(422, "validation_failed");
        let mixed = [seats[0].clone(), foreign[0].clone()];
        fan.post(&path, App::choice(&mixed)).await.expect_problem(422, "seat_unknown");
        let never = json!({ "seats": [{ "seat_id": seats[0]["seat_id"], "version": 99 }] });
        fan.post(&path, never).await.expect_problem(409, "version_conflict");
        let mut many = vec![];
        many.resize(10_000, seats[0].clone());
        let answer = fan.post(&path, App::choice(&many)).await;
        assert!(answer.code() == "body_too_large" || answer.code() == "too_many_seats", "{}", answer.code());
        assert_eq!(world.sql().await.number("SELECT count(*) AS n FROM reservations").await, 0);

        // One held reservation at a time; what was bought counts.
        let first = fan.post(&path, App::choice(&seats[..3])).await.expect(201);
        let again = fan.send("POST", &path, &[("Idempotency-Key", "a")], App::choice(&seats[3..4])).await;
        again.expect_problem(409, "reservation_exists");
        let pay = format!("reservations/{}/payment", first.json["id"].as_str().unwrap());
        fan.post_empty(&pay).await.expect(201);
        app.join(&mut fan, &sale).await;
        let seats = app.seats(&fan, &sale).await;
        let two: Vec<_> = seats.iter().filter(|seat| seat["state"] == "available").take(2).cloned().collect();
        fan.post(&path, App::choice(&two)).await.expect_problem(422, "too_many_seats");
        fan.post(&path, App::choice(&two[..1])).await.expect(201);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_sale_sells_on_and_a_closed_one_only_lets_pay() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale(4, 100).await;
        let mut fans = app.fans(3, 1_000).await;
        let mut late = fans.remove(2);
        for fan in &mut fans {
            app.join(fan, &sale).await;
        }
        let operator = app.operator().await;
        let path = format!("shows/{}/reservations", sale.show);
        let queue = format!("admin/concerts/{}/queue", sale.concert);
        operator.post_empty(&format!("{queue}/pause")).await.expect(200);
        assert_eq!(app.join(&mut late, &sale).await["state"], "waiting");
        let seats = app.seats(&fans[0], &sale).await;
        let held = fans[0].post(&path, App::choice(&seats[..1])).await.expect(201);
        app.close_sale(&operator, &sale).await;
        fans[1].post(&path, App::choice(&seats[1..2])).await.expect_problem(409, "sale_closed");
        let joins = format!("concerts/{}/queue/tokens", sale.concert);
        app.fans(1, 0).await.remove(0).post_empty(&joins).await.expect_problem(409, "queue_closed");
        let pay = format!("reservations/{}/payment", held.json["id"].as_str().unwrap());
        fans[0].post_empty(&pay).await.expect(201);
        operator.post_empty(&format!("{queue}/resume")).await.expect_problem(409, "invalid_transition");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_version_never_wins_and_of_several_seats_all_are_held_or_none() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale(3, 100).await;
        let mut fans = app.fans(2, 1_000).await;
        for fan in &mut fans {
            app.join(fan, &sale).await;
        }
        let path = format!("shows/{}/reservations", sale.show);
        let before = app.seats(&fans[0], &sale).await;
        // The first seat is taken and given back: its version is 3 now, that of the others 1.
        let held = fans[1].post(&path, App::choice(&before[..1])).await.expect(201);
        fans[1].delete(&format!("reservations/{}", held.json["id"].as_str().unwrap())).await.expect(204);
        let mut sql = world.sql().await;
        let mut taken = async || sql.number("SELECT count(*) AS n FROM seats WHERE state <> 'available'").await;
        // The statement that holds decides by itself, whatever those before it let through.
        for version in [1, 2, 4] {
            let mut seats = before.clone();
            seats[0]["version"] = json!(version);
            let choices = choices_of(&seats);
            let mut tx = app.instance.postgres.begin().await.unwrap();
            assert!(tx.hold(&hold_of(&fans[0], &sale, &choices)).await.unwrap().is_none(), "version {version}");
            tx.commit().await.unwrap();
            assert_eq!(taken().await, 0, "version {version}");
            let key = format!("version-{version}");
            let lost = fans[0].send("POST", &path, &[("Idempotency-Key", &key)], App::choice(&seats)).await;
            lost.expect_problem(409, "version_conflict");
            assert_eq!(taken().await, 0, "version {version}");
        }
        let now = app.seats(&fans[0], &sale).await;
        fans[0].post(&path, App::choice(&now)).await.expect(201);
        assert_eq!(taken().await, 3);
    })
    .await;
}

/// Every hold runs out: the test moves the deadlines, not the clock.
const RUN_OUT: &str = "UPDATE reservations SET expires_at = now() WHERE state = 'held';
    UPDATE seats SET held_until = now() WHERE state = 'held'";

#[tokio::test(flavor = "multi_thread")]
async fn every_change_writes_its_event_and_what_changes_nothing_writes_none() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale(6, 100).await;
        let mut fans = app.fans(2, 0).await;
        for fan in &mut fans {
            app.join(fan, &sale).await;
        }
        let (fan, other) = (&fans[0], &fans[1]);
        let seats = app.seats(fan, &sale).await;
        let path = format!("shows/{}/reservations", sale.show);
        let reserve = async |fan: &Client, seats: &[Value]| -> String {
            let held = fan.post(&path, App::choice(seats)).await.expect(201);
            held.json["id"].as_str().unwrap().to_owned()
        };
        let charge = async |key: &str, amount: i64| {
            fan.send("POST", "me/wallet/charges", &[("Idempotency-Key", key)], json!({ "amount_minor": amount })).await
        };
        let (mut outbox, mut known) = (world.sql().await, 0);
        let mut news = async || {
            let events = "SELECT event_type || ' ' || aggregate_id::text AS t FROM outbox_events ORDER BY id";
            let all = outbox.texts(events).await;
            let new = all[known..].to_vec();
            known = all.len();
            new
        };
        charge("once", 150).await.expect(201);
        let charged = news().await;
        assert!(charged.len() == 1 && charged[0].starts_with("wallet.charged "), "{charged:?}");
        charge("once", 150).await.expect(201);
        charge("nothing", 0).await.expect_problem(422, "amount_out_of_range");
        assert_eq!(news().await, [""; 0]);

        let released = reserve(fan, &seats[..2]).await;
        assert_eq!(news().await, [format!("reservation.held {released}")]);
        let own = format!("reservations/{released}");
        other.post(&path, App::choice(&seats[..1])).await.expect_problem(409, "seat_taken");
        fan.post_empty(&format!("{own}/payment")).await.expect_problem(402, "insufficient_balance");
        assert_eq!(news().await, [""; 0]);
        fan.delete(&own).await.expect(204);
        assert_eq!(news().await, [format!("reservation.cancelled {released}")]);
        fan.delete(&own).await.expect(204);
        fan.post_empty(&format!("{own}/payment")).await.expect_problem(410, "reservation_expired");
        assert_eq!(news().await, [""; 0]);

        // Ended by the sweeper, and by the next hold that finds it in its way.
        let mut sql = world.sql().await;
        let swept = reserve(other, &seats[2..3]).await;
        sql.run(RUN_OUT).await.unwrap();
        assert_eq!(app.instance.postgres.sweep_holds(10).await.unwrap(), 1);
        assert_eq!(app.instance.postgres.sweep_holds(10).await.unwrap(), 0);
        assert_eq!(news().await, [format!("reservation.held {swept}"), format!("reservation.expired {swept}")]);
        let overdue = reserve(other, &seats[3..4]).await;
        assert_eq!(news().await, [format!("reservation.held {overdue}")]);
        sql.run(RUN_OUT).await.unwrap();
        let next = reserve(other, &seats[4..5]).await;
        assert_eq!(news().await, [format!("reservation.expired {overdue}"), format!("reservation.held {next}")]);

        let paid = reserve(fan, &seats[5..]).await;
        assert_eq!(news().await, [format!("reservation.held {paid}")]);
        let pay = format!("reservations/{paid}/payment");
        fan.post_empty(&pay).await.expect(201);
        assert_eq!(news().await, [format!("reservation.paid {paid}")]);
        fan.post_empty(&pay).await.expect_problem(409, "already_paid");
        assert_eq!(news().await, [""; 0]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_change_is_made_without_its_event() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale(4, 100).await;
        let mut fans = app.fans(4, 100).await;
        for fan in &mut fans {
            app.join(fan, &sale).await;
        }
        let seats = app.seats(&fans[0], &sale).await;
        let path = format!("shows/{}/reservations", sale.show);
        // To be paid, to be released, and to be swept.
        let mut held = vec![];
        for (fan, seat) in fans.iter().zip(&seats[..3]) {
            let reserved = fan.post(&path, App::choice(std::slice::from_ref(seat))).await.expect(201);
            held.push(format!("reservations/{}", reserved.json["id"].as_str().unwrap()));
        }
        let mut sql = world.sql().await;
        let late = format!(
            "UPDATE reservations SET expires_at = now() WHERE user_id = '{}';
            UPDATE seats SET held_until = now() FROM reservations r WHERE r.id = reservation_id AND r.expires_at <= now()",
            fans[2].user_id
        );
        sql.run(&late).await.unwrap();
        let everything = "SELECT 'reservation ' || id::text || ' ' || state AS t FROM reservations
            UNION ALL SELECT 'seat ' || id::text || ' ' || state || ' ' || version::text FROM seats
            UNION ALL SELECT 'wallet ' || id::text || ' ' || balance_minor::text FROM ledger_accounts WHERE kind = 'wallet'
            UNION ALL SELECT 'entry ' || id::text FROM ledger_entries
            UNION ALL SELECT 'payment ' || id::text FROM payments
            UNION ALL SELECT 'ticket ' || id::text FROM tickets
            ORDER BY 1";
        let before = sql.texts(everything).await;
        let attempts = async || {
            let key = [("Idempotency-Key", "k")];
            [
                fans[0].post_empty(&format!("{}/payment", held[0])).await,
                fans[1].delete(&held[1]).await,
                fans[3].post(&path, App::choice(&seats[3..])).await,
                fans[3].send("POST", "me/wallet/charges", &key, json!({ "amount_minor": 5 })).await,
            ]
        };
        // No event can be written, so nothing can be done.
        sql.run("ALTER TABLE outbox_events ADD CONSTRAINT no_more CHECK (false) NOT VALID").await.unwrap();
        for refused in attempts().await {
            refused.expect_problem(500, "internal");
        }
        assert!(app.instance.postgres.sweep_holds(10).await.is_err());
        assert_eq!(sql.texts(everything).await, before);
        sql.run("ALTER TABLE outbox_events DROP CONSTRAINT no_more").await.unwrap();
        assert_eq!(attempts().await.map(|answer| answer.status), [201, 204, 201, 201]);
        assert_eq!(app.instance.postgres.sweep_holds(10).await.unwrap(), 1);
        app.assert_books_balance().await;
    })
    .await;
}
