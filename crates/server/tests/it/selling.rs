use onsale_test_support::{App, World};
use serde_json::json;

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
