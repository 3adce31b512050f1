//! The list of seats: its order, and what changed since it was read.

use std::collections::BTreeMap;

use onsale_test_support::{App, Client, Sale, World};
use serde_json::{Value, json};

async fn read(fan: &Client, sale: &Sale, since: Option<&str>) -> (String, Value) {
    let since = since.map(|since| format!("?since={since}")).unwrap_or_default();
    let answer = fan.get(&format!("shows/{}/seats{since}", sale.show)).await.expect(200);
    (answer.header("seats-version").to_owned(), answer.json)
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_and_sections_come_as_people_count() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale(1, 100).await;
        let operator = app.operator().await;
        let blocks = json!({ "blocks": [
            { "section": "B10", "rows": 12, "seats_per_row": 11, "price_minor": 100 },
            { "section": "B9", "rows": 1, "seats_per_row": 1, "price_minor": 100 },
        ]});
        operator.post(&format!("admin/shows/{}/seats", sale.show), blocks).await.expect(201);
        let mut fan = app.fan("mina").await;
        app.join(&mut fan, &sale).await;
        let seats = app.seats(&fan, &sale).await;
        let place = |seat: &Value| {
            let row: i64 = seat["row"].as_str().unwrap().parse().unwrap();
            (seat["section"].as_str().unwrap().to_owned(), row, seat["number"].as_i64().unwrap())
        };
        let got: Vec<_> = seats.iter().map(place).collect();
        let mut wanted = vec![("A".to_owned(), 1, 1), ("B9".to_owned(), 1, 1)];
        wanted.extend((1..=12).flat_map(|row| (1..=11).map(move |number| ("B10".to_owned(), row, number))));
        assert_eq!(got, wanted);
    })
    .await;
}

/// A reader who only ever asks for changes has the same seats as one who reads them all, at whichever of two instances each
/// asks and buys.
#[tokio::test(flavor = "multi_thread")]
async fn changes_add_up_to_the_whole_list() {
    World::with(async |world| {
        let (one, two) = (world.app().await, world.app().await);
        let sale = one.sale(60, 100).await;
        let mut fans = one.fans(13, 10_000).await;
        for fan in &mut fans {
            one.join(fan, &sale).await;
        }
        let reader = fans.pop().unwrap();
        let by_id = |list: &Value| -> BTreeMap<String, Value> {
            let items = list["items"].as_array().unwrap().iter();
            items.map(|seat| (seat["seat_id"].as_str().unwrap().to_owned(), seat.clone())).collect()
        };
        let (mut version, first) = read(&reader, &sale, None).await;
        assert_eq!(first["complete"], true);
        let mut mine = by_id(&first);
        let all = one.seats(&reader, &sale).await;
        for (index, fan) in fans.iter().enumerate() {
            let app = if index % 2 == 0 { &one } else { &two };
            let buyer = fan.at(&app.base);
            let choice = App::choice(&all[index * 2..index * 2 + 2]);
            let reserved = buyer.post(&format!("shows/{}/reservations", sale.show), choice).await.expect(201);
            let id = reserved.json["id"].as_str().unwrap();
            if index % 3 == 0 {
                buyer.delete(&format!("reservations/{id}")).await.expect(204);
            } else if index % 3 == 1 {
                buyer.post_empty(&format!("reservations/{id}/payment")).await.expect(201);
            }
            let (next, changes) = read(&reader.at(&two.base), &sale, Some(&version)).await;
            mine.extend(by_id(&changes));
            version = next;
            let (next, changes) = read(&reader, &sale, Some(&version)).await;
            mine.extend(by_id(&changes));
            version = next;
        }
        // Once every copy of before is out of date, nothing is missing.
        let truth = loop {
            let (next, changes) = read(&reader, &sale, Some(&version)).await;
            mine.extend(by_id(&changes));
            version = next;
            let truth = by_id(&read(&reader, &sale, None).await.1);
            if truth.values().filter(|seat| seat["state"] != "available").count() == 16 {
                break truth;
            }
            tokio::task::yield_now().await;
        };
        // Nothing more happens, so at last nothing more comes.
        loop {
            let (next, changes) = read(&reader, &sale, Some(&version)).await;
            mine.extend(by_id(&changes));
            version = next;
            if changes["complete"] == false && changes["items"] == json!([]) {
                break;
            }
            tokio::task::yield_now().await;
        }
        assert_eq!(mine, truth);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_read_the_list_once_gets_only_what_changed() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale(8, 100).await;
        let mut fans = app.fans(2, 0).await;
        for fan in &mut fans {
            app.join(fan, &sale).await;
        }
        let (version, first) = read(&fans[0], &sale, None).await;
        let (version, quiet) = read(&fans[0], &sale, Some(&version)).await;
        assert_eq!((&quiet["complete"], &quiet["items"]), (&json!(false), &json!([])));
        let choice = App::choice(&first["items"].as_array().unwrap()[2..3]);
        fans[1].post(&format!("shows/{}/reservations", sale.show), choice).await.expect(201);
        // The same instance shows its own changes at once.
        let (_, changes) = read(&fans[0], &sale, Some(&version)).await;
        assert_eq!((&changes["complete"], changes["items"].as_array().map(Vec::len)), (&json!(false), Some(1)));
        assert_eq!(changes["items"][0]["seat_id"], first["items"][2]["seat_id"]);
        assert_eq!(changes["items"][0]["state"], "held");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_not_known_gets_the_whole_list() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale(3, 100).await;
        let mut fan = app.fan("mina").await;
        app.join(&mut fan, &sale).await;
        read(&fan, &sale, None).await;
        for unknown in ["0", "1", "9223372036854775807"] {
            let (_, list) = read(&fan, &sale, Some(unknown)).await;
            assert_eq!(
                (&list["complete"], list["items"].as_array().map(Vec::len)),
                (&json!(true), Some(3)),
                "{unknown}"
            );
        }
        let path = format!("shows/{}/seats", sale.show);
        fan.get(&format!("{path}?since=-1")).await.expect_problem(422, "validation_failed");
        fan.get(&format!("{path}?since=x")).await.expect_problem(400, "malformed_request");
    })
    .await;
}
