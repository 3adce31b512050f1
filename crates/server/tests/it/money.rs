use onsale_test_support::{App, World};
use serde_json::json;
use uuid::Uuid;

use crate::{at_once, tally};

#[tokio::test(flavor = "multi_thread")]
async fn never_again_1_a_charge_adds_exactly_its_amount() {
    let world = World::new().await;
    let app = world.app().await;
    let fan = app.fan("mina").await;
    let charge = async |key: &str, amount: i64| {
        fan.send("POST", "me/wallet/charges", &[("Idempotency-Key", key)], json!({ "amount_minor": amount })).await
    };
    assert_eq!(charge("a", 1_000).await.expect(201).json["balance_minor"], 1_000);
    assert_eq!(charge("b", 100).await.expect(201).json["balance_minor"], 1_100);
    let first = charge("c", 7).await.expect(201);
    let replayed = charge("c", 7).await.expect(201);
    assert_eq!(first.bytes, replayed.bytes);
    charge("c", 8).await.expect_problem(422, "idempotency_key_reused");
    let wallet = fan.get("me/wallet").await.expect(200);
    assert_eq!((wallet.json["balance_minor"].as_i64(), wallet.json["currency"].as_str()), (Some(1_107), Some("KRW")));
    let page = fan.get("me/wallet/entries?limit=2").await.expect(200);
    let amounts: Vec<_> =
        page.json["items"].as_array().unwrap().iter().map(|e| e["amount_minor"].as_i64().unwrap()).collect();
    assert_eq!(amounts, [7, 100]);
    let next = page.json["next_cursor"].as_str().unwrap();
    let rest = fan.get(&format!("me/wallet/entries?limit=2&cursor={next}")).await.expect(200);
    assert_eq!(rest.json["items"][0]["balance_after_minor"], 1_000);
    assert!(rest.json["next_cursor"].is_null());
    app.assert_books_balance().await;
    app.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn amounts_that_make_no_sense_charge_nothing() {
    let world = World::new().await;
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
    app.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_at_once_charges_once_and_different_keys_all() {
    let world = World::new().await;
    let (one, two) = (world.app().await, world.app().await);
    let fan = one.fan("mina").await;
    let same = at_once((0..50).map(|index| {
        let fan = if index % 2 == 0 { fan.clone() } else { fan.at(&two.base) };
        async move {
            fan.send("POST", "me/wallet/charges", &[("Idempotency-Key", "one")], json!({ "amount_minor": 500 })).await
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
    one.stop().await;
    two.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_reservation_key_reserves_once_and_replays_the_answer() {
    let world = World::new().await;
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
    assert!(answers.iter().all(|a| a.status == 201 || a.code() == "idempotency_in_flight"), "{:?}", tally(&answers));
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
    app.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_payment_does_not_end_the_turn_that_began_after_it() {
    let world = World::new().await;
    let app = world.app().await;
    let sale = app.sale(4, 100).await;
    let mut fan = app.fans(1, 1_000).await.remove(0);
    app.join(&mut fan, &sale).await;
    let seats = app.seats(&fan, &sale).await;
    let reserved = fan.post(&format!("shows/{}/reservations", sale.show), App::choice(&seats[..1])).await.expect(201);
    let pay = format!("reservations/{}/payment", reserved.json["id"].as_str().unwrap());
    fan.raw("POST", &pay, &[("Idempotency-Key", "p")], None).await.expect(201);
    app.join(&mut fan, &sale).await;
    fan.raw("POST", &pay, &[("Idempotency-Key", "p")], None).await.expect(201);
    fan.get(&format!("concerts/{}/queue/tokens/me", sale.concert)).await.expect(200);
    app.seats(&fan, &sale).await;
    app.stop().await;
    world.close().await;
}
