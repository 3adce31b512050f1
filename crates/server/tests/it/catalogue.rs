use onsale_test_support::{App, World};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_puts_a_concert_on_sale_and_fans_read_it() {
    let world = World::new().await;
    let app = world.app().await;
    let operator = app.operator().await;
    let created = operator.post("admin/concerts", json!({ "title": "Seoul Night" })).await.expect(201);
    let id = created.json["id"].as_str().unwrap();
    assert_eq!(created.header("location"), format!("/api/v1/admin/concerts/{id}"));
    let nobody = app.nobody();
    nobody.get(&format!("concerts/{id}")).await.expect_problem(404, "not_found");
    let show = json!({ "venue": "Hall", "starts_at": "2100-05-01T10:00:00Z" });
    let show = operator.post(&format!("admin/concerts/{id}/shows"), show).await.expect(201);
    assert_eq!((show.json["hold_secs"].as_i64(), show.json["seats_per_fan"].as_i64()), (Some(300), Some(4)));
    let path = format!("admin/concerts/{id}");
    operator
        .send("PATCH", &path, &[], json!({ "sale_state": "on_sale" }))
        .await
        .expect_problem(428, "if_match_required");
    let block = json!({ "section": "A", "rows": 1, "seats_per_row": 2, "price_minor": 1 });
    let seats = format!("admin/shows/{}/seats", show.json["id"].as_str().unwrap());
    operator.post(&seats, json!({ "blocks": [block] })).await.expect(201);
    let stale = operator.send("PATCH", &path, &[("If-Match", "\"7\"")], json!({ "sale_state": "on_sale" })).await;
    assert_eq!(stale.expect_problem(412, "version_mismatch").json["version"], 1);
    let edited =
        operator.send("PATCH", &path, &[("If-Match", "\"1\"")], json!({ "sale_state": "on_sale" })).await.expect(200);
    assert_eq!((edited.header("etag"), edited.json["sale_state"].as_str()), ("\"2\"", Some("on_sale")));
    let back = operator.send("PATCH", &path, &[("If-Match", "\"2\"")], json!({ "sale_state": "draft" })).await;
    back.expect_problem(409, "invalid_transition");
    let listed = nobody.get("concerts").await.expect(200);
    assert_eq!(listed.json["items"][0]["id"], id);
    assert_eq!(listed.json["items"][0]["next_show_at"], "2100-05-01T10:00:00Z");
    assert_eq!(nobody.get(&format!("concerts/{id}/shows")).await.expect(200).json["items"][0]["id"], show.json["id"]);
    app.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cached_is_evicted_for_every_instance_and_304_saves_the_rest() {
    let world = World::new().await;
    let (one, two) = (world.app().await, world.app().await);
    let sale = one.sale(2, 100).await;
    let path = format!("concerts/{}", sale.concert);
    let first = two.nobody().get(&path).await.expect(200);
    let etag = first.header("etag").to_owned();
    let again = two.nobody().raw("GET", &path, &[("If-None-Match", &etag)], None).await.expect(304);
    assert!(again.bytes.is_empty());
    let operator = one.operator().await;
    let version = first.json["version"].to_string();
    let changes = json!({ "title": "Another title" });
    operator
        .send("PATCH", &format!("admin/{path}"), &[("If-Match", &format!("\"{version}\""))], changes)
        .await
        .expect(200);
    // At once for who edited, within a tenth of a second for the others.
    let list = async |app: &App| app.nobody().get("concerts").await.expect(200).json["items"][0]["title"].clone();
    assert_eq!(list(&one).await, "Another title");
    while two.nobody().raw("GET", &path, &[("If-None-Match", &etag)], None).await.status == 304 {}
    assert_eq!(two.nobody().get(&path).await.expect(200).json["title"], "Another title");
    assert_eq!(list(&two).await, "Another title");
    one.stop().await;
    two.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_paged_by_key_and_leave_out_the_past() {
    let world = World::new().await;
    let app = world.app().await;
    let sale = app.sale(1, 100).await;
    let operator = app.operator().await;
    let shows = format!("admin/concerts/{}/shows", sale.concert);
    for day in 2..=7 {
        let body = json!({ "venue": "Hall", "starts_at": format!("2100-01-0{day}T10:00:00Z") });
        operator.post(&shows, body).await.expect(201);
    }
    let past = "UPDATE shows SET starts_at = '2001-01-01T10:00:00Z' WHERE starts_at = '2100-01-07T10:00:00Z'";
    world.sql().await.run(past).await.unwrap();
    let mut seen = vec![];
    let mut cursor = String::new();
    loop {
        let page = app.nobody().get(&format!("concerts/{}/shows?limit=4{cursor}", sale.concert)).await.expect(200);
        seen.extend(
            page.json["items"].as_array().unwrap().iter().map(|show| show["starts_at"].as_str().unwrap().to_owned()),
        );
        match page.json["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let expected: Vec<String> = (1..=6).map(|day| format!("2100-01-0{day}T10:00:00Z")).collect();
    assert_eq!(seen, expected);
    app.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_arena_of_sixty_thousand_seats_is_one_request() {
    let world = World::new().await;
    let app = world.app().await;
    let sale = app.sale(1, 100).await;
    let operator = app.operator().await;
    let show = json!({ "venue": "Arena", "starts_at": "2100-02-01T10:00:00Z" });
    let show = operator.post(&format!("admin/concerts/{}/shows", sale.concert), show).await.expect(201);
    let path = format!("admin/shows/{}/seats", show.json["id"].as_str().unwrap());
    let block = json!({ "section": "Floor", "rows": 200, "seats_per_row": 300, "price_minor": 99_000 });
    let added = operator.post(&path, json!({ "blocks": [block] })).await.expect(201);
    assert_eq!(added.json["added"], 60_000);
    let taken = operator.post(&path, json!({ "blocks": [block] })).await.expect_problem(409, "place_taken");
    let detail = taken.json["detail"].as_str().unwrap();
    assert!(detail.starts_with("these places exist already: Floor-1-1, Floor-1-2"), "{detail}");
    let availability = format!("shows/{}/availability", show.json["id"].as_str().unwrap());
    // From a count that may be a second old.
    for tries in 0.. {
        let counted = app.nobody().get(&availability).await.expect(200).json["available"].clone();
        if counted == 60_000 {
            break;
        }
        assert!(counted == 0 && tries < 100_000, "{counted}");
    }
    app.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn never_again_17_prices_beyond_32_bits_reach_the_seat_list_exactly() {
    let world = World::new().await;
    let app = world.app().await;
    let sale = app.sale(1, 300_000_000_007).await;
    let mut fan = app.fans(1, 0).await.remove(0);
    app.join(&mut fan, &sale).await;
    assert_eq!(app.seats(&fan, &sale).await[0]["price_minor"], 300_000_000_007_i64);
    app.stop().await;
    world.close().await;
}
