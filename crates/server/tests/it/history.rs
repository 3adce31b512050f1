//! What a fan reads of the own past.

use onsale_test_support::{App, World};
use serde_json::json;

use crate::lane::policy;

#[tokio::test(flavor = "multi_thread")]
async fn a_fan_reads_every_place_of_the_own_and_how_it_ended() {
    let world = World::new().await;
    let app = world.app_with_schedulers().await;
    let mut fan = app.fans(1, 1_000).await.remove(0);
    // One bought in, one left, one in which the fan still waits.
    let bought = app.sale(4, 100).await;
    app.join(&mut fan, &bought).await;
    let seats = app.seats(&fan, &bought).await;
    let reserved = fan.post(&format!("shows/{}/reservations", bought.show), App::choice(&seats[..1])).await.expect(201);
    let payment = format!("reservations/{}/payment", reserved.json["id"].as_str().unwrap());
    fan.post_empty(&payment).await.expect(201);
    let left = app.sale_with(4, 100, policy(3600, 1, 1, false)).await;
    app.join(&mut fan, &left).await;
    fan.delete(&format!("concerts/{}/queue/tokens/me", left.concert)).await.expect(204);
    let waits = app.sale_with(4, 100, policy(3600, 1, 1, false)).await;
    app.join(&mut fan, &waits).await;

    // What is decided in line is on disk within a tick.
    let items = loop {
        let page = fan.get("me/places").await.expect(200).json;
        assert!(page["next_cursor"].is_null());
        let items = page["items"].as_array().unwrap().clone();
        if items.iter().filter(|place| !place["outcome"].is_null()).count() == 2 {
            break items;
        }
        tokio::task::yield_now().await;
    };
    let told: Vec<_> = items
        .iter()
        .map(|place| (&place["concert_id"], &place["number"], &place["state"], &place["outcome"]))
        .collect();
    let expected = [
        (json!(waits.concert), json!(1), json!("waiting"), json!(null)),
        (json!(left.concert), json!(1), json!("waiting"), json!("departed")),
        (json!(bought.concert), json!(1), json!("active"), json!("paid")),
    ];
    assert_eq!(told, expected.each_ref().map(|(concert, number, state, outcome)| (concert, number, state, outcome)));
    assert!(items[2]["called_at"].is_string() && items[2]["ended_at"].is_string() && items[0]["ended_at"].is_null());
    // Page by page it is the same list.
    let first = fan.get("me/places?limit=2").await.expect(200).json;
    let rest = fan.get(&format!("me/places?cursor={}", first["next_cursor"].as_str().unwrap())).await.expect(200).json;
    let paged: Vec<_> = [&first, &rest].iter().flat_map(|page| page["items"].as_array().unwrap()).cloned().collect();
    assert_eq!(paged, items);
    // Nobody else reads them.
    let other = app.fan("other").await;
    assert_eq!(other.get("me/places").await.expect(200).json["items"], json!([]));
    app.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ballot_is_a_place_that_has_no_number_yet() {
    let world = World::new().await;
    let app = world.app().await;
    let operator = app.operator().await;
    let concert = operator.post("admin/concerts", json!({ "title": "Drawn" })).await.expect(201);
    let path = format!("admin/concerts/{}", concert.json["id"].as_str().unwrap());
    operator.send("PATCH", &path, &[("If-Match", "\"1\"")], json!({ "sale_state": "pre_queue" })).await.expect(200);
    let fan = app.fan("mina").await;
    fan.post_empty(&format!("concerts/{}/queue/tokens", concert.json["id"].as_str().unwrap())).await.expect(201);
    let places = fan.get("me/places").await.expect(200).json;
    let place = &places["items"][0];
    assert_eq!(
        (&place["state"], &place["number"], &place["concert_title"]),
        (&json!("pre_queue"), &json!(0), &json!("Drawn"))
    );
    app.stop().await;
    world.close().await;
}
