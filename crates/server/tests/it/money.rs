use onsale_application::housekeeping::Sweeper;
use onsale_test_support::{Answer, App, Client, World};
use serde_json::json;
use uuid::Uuid;

use crate::{at_once, tally};

/// Puts money into the wallet under this key.
async fn charge(fan: &Client, key: &str, amount: i64) -> Answer {
    fan.send("POST", "me/wallet/charges", &[("Idempotency-Key", key)], json!({ "amount_minor": amount })).await
}

#[tokio::test(flavor = "multi_thread")]
async fn never_again_1_a_charge_adds_exactly_its_amount() {
    World::with(async |world| {
        let app = world.app().await;
        let fan = app.fan("mina").await;
        assert_eq!(charge(&fan, "a", 1_000).await.expect(201).json["balance_minor"], 1_000);
        assert_eq!(charge(&fan, "b", 100).await.expect(201).json["balance_minor"], 1_100);
        let first = charge(&fan, "c", 7).await.expect(201);
        let replayed = charge(&fan, "c", 7).await.expect(201);
        assert_eq!(first.bytes, replayed.bytes);
        charge(&fan, "c", 8).await.expect_problem(422, "idempotency_key_reused");
        let wallet = fan.get("me/wallet").await.expect(200);
        assert_eq!(
            (wallet.json["balance_minor"].as_i64(), wallet.json["currency"].as_str()),
            (Some(1_107), Some("KRW"))
        );
        let page = fan.get("me/wallet/entries?limit=2").await.expect(200);
        let amounts: Vec<_> =
            page.json["items"].as_array().unwrap().iter().map(|e| e["amount_minor"].as_i64().unwrap()).collect();
        assert_eq!(amounts, [7, 100]);
        let next = page.json["next_cursor"].as_str().unwrap();
        let rest = fan.get(&format!("me/wallet/entries?limit=2&cursor={next}")).await.expect(200);
        assert_eq!(rest.json["items"][0]["balance_after_minor"], 1_000);
        assert!(rest.json["next_cursor"].is_null());
        app.assert_books_balance().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn amounts_that_make_no_sense_charge_nothing() {
    World::with(async |world| {
        let app = world.app().await;
        let fan = app.fan("mina").await;
        let charge = async |amount: &str| {
            let headers = [("Idempotency-Key", "k"), ("Content-Type", "application/json")];
            let body = format!("{{\"amount_minor\":{amount}}}").into_bytes();
            fan.raw("POST", "me/wallet/charges", &headers, Some(body)).await
        };
        for amount in ["0", "-1", "10000001", "9223372036854775807", "-9223372036854775808"] {
            charge(amount).await.expect_problem(422, "amount_out_of_range");
        }
        for amount in ["1.5", "1e3", "9223372036854775808", "1e400", "NaN", "\"100\"", "null", "true", "[1]"] {
            charge(amount).await.expect_problem(400, "malformed_request");
        }
        let keyless = fan.post("me/wallet/charges", json!({ "amount_minor": 1 })).await;
        keyless.expect_problem(400, "idempotency_key_required");
        assert_eq!(fan.get("me/wallet").await.expect(200).json["balance_minor"], 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_at_once_charges_once_and_different_keys_all() {
    World::with(async |world| {
        let (one, two) = (world.app().await, world.app().await);
        let fan = one.fan("mina").await;
        let same = at_once((0..50).map(|index| {
            let fan = if index % 2 == 0 { fan.clone() } else { fan.at(&two.base) };
            async move {
                fan.send("POST", "me/wallet/charges", &[("Idempotency-Key", "one")], json!({ "amount_minor": 500 }))
                    .await
            }
        }))
        .await;
        let done: Vec<_> = same.iter().filter(|answer| answer.status == 201).collect();
        assert!(!done.is_empty() && done.iter().all(|answer| answer.bytes == done[0].bytes), "{:?}", tally(&same));
        assert!(
            same.iter().all(|answer| answer.status == 201 || answer.code() == "idempotency_in_flight"),
            "{:?}",
            tally(&same)
        );
        assert_eq!(fan.get("me/wallet").await.expect(200).json["balance_minor"], 500);
        let different = at_once((0..30).map(|_| {
            let fan = fan.clone();
            let key = Uuid::new_v4().to_string();
            async move {
                fan.send("POST", "me/wallet/charges", &[("Idempotency-Key", &key)], json!({ "amount_minor": 10 })).await
            }
        }))
        .await;
        assert_eq!(tally(&different), [("201".to_owned(), 30)].into());
        assert_eq!(fan.get("me/wallet").await.expect(200).json["balance_minor"], 800);
        one.assert_books_balance().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_reservation_key_reserves_once_and_replays_the_answer() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale(4, 100).await;
        let mut fan = app.fans(1, 1_000).await.remove(0);
        app.join(&mut fan, &sale).await;
        let seats = app.seats(&fan, &sale).await;
        let path = format!("shows/{}/reservations", sale.show);
        let body = App::choice(&seats[..2]);
        let answers = at_once((0..50).map(|_| {
            let (fan, path, body) = (fan.clone(), path.clone(), body.clone());
            async move { fan.send("POST", &path, &[("Idempotency-Key", "r")], body).await }
        }))
        .await;
        let done: Vec<_> = answers.iter().filter(|answer| answer.status == 201).collect();
        assert!(!done.is_empty() && done.iter().all(|answer| answer.bytes == done[0].bytes), "{:?}", tally(&answers));
        assert!(
            answers.iter().all(|a| a.status == 201 || a.code() == "idempotency_in_flight"),
            "{:?}",
            tally(&answers)
        );
        let other = fan.send("POST", &path, &[("Idempotency-Key", "r")], App::choice(&seats[2..])).await;
        other.expect_problem(422, "idempotency_key_reused");
        // Paid under a key, twice: the same answer, one payment.
        let pay = format!("reservations/{}/payment", done[0].json["id"].as_str().unwrap());
        let first = fan.raw("POST", &pay, &[("Idempotency-Key", "p")], None).await.expect(201);
        let again = fan.raw("POST", &pay, &[("Idempotency-Key", "p")], None).await.expect(201);
        assert_eq!(first.bytes, again.bytes);
        fan.raw("POST", &pay, &[("Idempotency-Key", "q")], None).await.expect_problem(409, "already_paid");
        assert_eq!(fan.get("me/wallet").await.expect(200).json["balance_minor"], 800);
        app.assert_books_balance().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_payment_does_not_end_the_turn_that_began_after_it() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale(4, 100).await;
        let mut fan = app.fans(1, 1_000).await.remove(0);
        app.join(&mut fan, &sale).await;
        let seats = app.seats(&fan, &sale).await;
        let reserved =
            fan.post(&format!("shows/{}/reservations", sale.show), App::choice(&seats[..1])).await.expect(201);
        let pay = format!("reservations/{}/payment", reserved.json["id"].as_str().unwrap());
        fan.raw("POST", &pay, &[("Idempotency-Key", "p")], None).await.expect(201);
        app.join(&mut fan, &sale).await;
        fan.raw("POST", &pay, &[("Idempotency-Key", "p")], None).await.expect(201);
        fan.get(&format!("concerts/{}/queue/tokens/me", sale.concert)).await.expect(200);
        app.seats(&fan, &sale).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_is_charged_up_to_its_limit_and_a_charge_beyond_it_books_nothing() {
    // As API.md says.
    const WALLET_LIMIT: i64 = 1_000_000_000_000_000;
    World::with(async |world| {
        let app = world.app().await;
        let fan = app.fans(1, WALLET_LIMIT - 1_000).await.remove(0);
        let mut sql = world.sql().await;
        let mut booked = async || {
            (
                sql.number("SELECT count(*) AS n FROM ledger_entries").await,
                sql.number("SELECT count(*) AS n FROM outbox_events").await,
                sql.number("SELECT count(*) AS n FROM idempotency_keys").await,
            )
        };
        let before = booked().await;
        let full = charge(&fan, "beyond", 1_001).await.expect_problem(422, "amount_out_of_range");
        assert_eq!(full.json["detail"], format!("the wallet would hold more than {WALLET_LIMIT}"));
        assert_eq!(booked().await, before);
        assert_eq!(fan.get("me/wallet").await.expect(200).json["balance_minor"], WALLET_LIMIT - 1_000);
        app.assert_books_balance().await;
        assert_eq!(charge(&fan, "exactly", 1_000).await.expect(201).json["balance_minor"], WALLET_LIMIT);
        charge(&fan, "one-more", 1).await.expect_problem(422, "amount_out_of_range");
        assert_eq!(fan.get("me/wallet").await.expect(200).json["balance_minor"], WALLET_LIMIT);
        app.assert_books_balance().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_stored_under_idempotency_keys_are_swept_after_a_day_the_oldest_first_in_batches() {
    World::with(async |world| {
        let app = world.app().await;
        let fan = app.fan("mina").await;
        let balance_after = async |key: &str| {
            let charged = charge(&fan, key, 100).await.expect(201);
            charged.json["balance_minor"].as_i64().unwrap()
        };
        let mut sql = world.sql().await;
        for (key, hours) in [("young", 23), ("old", 25), ("older", 26), ("oldest", 27)] {
            balance_after(key).await;
            let age = format!("created_at = now() - interval '{hours} hours' WHERE key = '{key}'");
            sql.run(&format!("UPDATE idempotency_keys SET {age}")).await.unwrap();
        }
        let sweep = async || app.instance.postgres.sweep_leftovers(2).await.unwrap();
        let mut kept = async || sql.texts("SELECT key AS t FROM idempotency_keys ORDER BY created_at DESC").await;
        assert_eq!(sweep().await, 2, "a batch");
        assert_eq!(kept().await, ["young", "old"]);
        assert_eq!((sweep().await, sweep().await), (1, 0));
        assert_eq!(kept().await, ["young"]);
        // What is kept is answered again; what was swept is a new request.
        assert_eq!((balance_after("young").await, balance_after("old").await), (100, 500));
    })
    .await;
}
