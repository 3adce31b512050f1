//! What a fan reads of the own past.

use onsale_application::housekeeping::Sweeper;
use onsale_test_support::{App, World};
use serde_json::json;

use crate::lane::policy;

#[tokio::test(flavor = "multi_thread")]
async fn a_fan_reads_every_place_of_the_own_and_how_it_ended() {
    World::with(async |world| {
        let app = world.app_with_schedulers().await;
        let mut fan = app.fans(1, 1_000).await.remove(0);
        // One bought in, one left, one in which the fan still waits.
        let bought = app.sale(4, 100).await;
        app.join(&mut fan, &bought).await;
        let seats = app.seats(&fan, &bought).await;
        let reserved =
            fan.post(&format!("shows/{}/reservations", bought.show), App::choice(&seats[..1])).await.expect(201);
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
        assert_eq!(
            told,
            expected.each_ref().map(|(concert, number, state, outcome)| (concert, number, state, outcome))
        );
        assert!(
            items[2]["called_at"].is_string() && items[2]["ended_at"].is_string() && items[0]["ended_at"].is_null()
        );
        // Page by page it is the same list.
        let first = fan.get("me/places?limit=2").await.expect(200).json;
        let rest =
            fan.get(&format!("me/places?cursor={}", first["next_cursor"].as_str().unwrap())).await.expect(200).json;
        let paged: Vec<_> =
            [&first, &rest].iter().flat_map(|page| page["items"].as_array().unwrap()).cloned().collect();
        assert_eq!(paged, items);
        // Nobody else reads them.
        let other = app.fan("other").await;
        assert_eq!(other.get("me/places").await.expect(200).json["items"], json!([]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ballot_is_a_place_that_has_no_number_yet() {
    World::with(async |world| {
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
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn places_of_a_sale_that_closed_two_days_ago_move_to_the_past_and_stay_in_the_fans_history() {
    World::with(async |world| {
        let app = world.app().await;
        // In the one sale one fan has a turn, one waits and one has left; the other sale is younger.
        let (old, young) = (app.sale_with(4, 100, policy(3600, 1, 1, true)).await, app.sale(4, 100).await);
        let mut fans = app.fans(3, 0).await;
        for fan in &mut fans {
            app.join(&mut fan.clone(), &young).await;
            app.join(fan, &old).await;
        }
        fans[2].delete(&format!("concerts/{}/queue/tokens/me", old.concert)).await.expect(204);
        let operator = app.operator().await;
        let mut sql = world.sql().await;
        for (sale, hours) in [(&old, 49), (&young, 47)] {
            app.close_sale(&operator, sale).await;
            let age = format!("updated_at = now() - interval '{hours} hours' WHERE id = '{}'", sale.concert);
            sql.run(&format!("UPDATE concerts SET {age}")).await.unwrap();
        }
        let read = async || {
            let mut told = vec![];
            for fan in &fans {
                told.push(fan.get("me/places").await.expect(200).json);
                let receipt = format!("concerts/{}/queue/tokens/me/receipt", old.concert);
                told.push(fan.get(&receipt).await.expect(200).json);
            }
            told
        };
        let before = read().await;
        let sweep = async || app.instance.postgres.sweep_leftovers(2).await.unwrap();
        assert_eq!(sweep().await, 2, "a batch");
        assert_eq!(read().await, before, "half moved");
        assert_eq!((sweep().await, sweep().await), (1, 0));
        assert_eq!(read().await, before);
        for (table, sale) in [("line_places_past", &old), ("line_places", &young)] {
            let all = format!("SELECT count(*) AS n FROM {table}");
            let of_it = format!("{all} WHERE concert_id = '{}'", sale.concert);
            assert_eq!((sql.number(&all).await, sql.number(&of_it).await), (3, 3), "{table}");
        }
    })
    .await;
}
