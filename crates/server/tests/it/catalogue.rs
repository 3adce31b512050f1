use onsale_application::{
    selling::Holds,
    transaction::{Transaction, UnitOfWork},
};
use onsale_test_support::{Answer, App, Client, Sale, World};
use serde_json::{Value, json};

use crate::{
    holds::{choices_of, hold_of, somebody_waits},
    lane::Lane,
};

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_puts_a_concert_on_sale_and_fans_read_it() {
    World::with(async |world| {
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
        let edited = operator
            .send("PATCH", &path, &[("If-Match", "\"1\"")], json!({ "sale_state": "on_sale" }))
            .await
            .expect(200);
        assert_eq!((edited.header("etag"), edited.json["sale_state"].as_str()), ("\"2\"", Some("on_sale")));
        let back = operator.send("PATCH", &path, &[("If-Match", "\"2\"")], json!({ "sale_state": "draft" })).await;
        back.expect_problem(409, "invalid_transition");
        let listed = nobody.get("concerts").await.expect(200);
        assert_eq!(listed.json["items"][0]["id"], id);
        assert_eq!(listed.json["items"][0]["next_show_at"], "2100-05-01T10:00:00Z");
        assert_eq!(
            nobody.get(&format!("concerts/{id}/shows")).await.expect(200).json["items"][0]["id"],
            show.json["id"]
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cached_is_evicted_for_every_instance_and_304_saves_the_rest() {
    World::with(async |world| {
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
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_paged_by_key_and_leave_out_the_past() {
    World::with(async |world| {
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
                page.json["items"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|show| show["starts_at"].as_str().unwrap().to_owned()),
            );
            match page.json["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        let expected: Vec<String> = (1..=6).map(|day| format!("2100-01-0{day}T10:00:00Z")).collect();
        assert_eq!(seen, expected);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_arena_of_sixty_thousand_seats_is_one_request() {
    World::with(async |world| {
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
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn never_again_17_prices_beyond_32_bits_reach_the_seat_list_exactly() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale(1, 300_000_000_007).await;
        let mut fan = app.fans(1, 0).await.remove(0);
        app.join(&mut fan, &sale).await;
        assert_eq!(app.seats(&fan, &sale).await[0]["price_minor"], 300_000_000_007_i64);
    })
    .await;
}

/// A fan who holds one seat of the sale, and the path of the reservation.
async fn holder(app: &App, sale: &Sale) -> (Client, String) {
    let mut fan = app.fans(1, 1_000).await.remove(0);
    app.join(&mut fan, sale).await;
    let seats = app.seats(&fan, sale).await;
    let held = fan.post(&format!("shows/{}/reservations", sale.show), App::choice(&seats[..1])).await.expect(201);
    (fan, format!("reservations/{}", held.json["id"].as_str().unwrap()))
}

/// Edits the show as an operator who has read it just now.
async fn edit_show(operator: &Client, sale: &Sale, changes: Value) -> Answer {
    let path = format!("admin/shows/{}", sale.show);
    let read = operator.get(&path).await.expect(200);
    operator.send("PATCH", &path, &[("If-Match", read.header("etag"))], changes).await
}

/// Every member of a show that operators edit, as it is in no sale of a test.
fn every_change() -> Value {
    json!({ "venue": "Olympic Hall", "starts_at": "2100-02-02T12:30:00Z", "hold_secs": 3600, "seats_per_fan": 1 })
}

/// Stops the test unless moving the show is refused with `has_sales` and leaves all of it as it is, its version too.
async fn assert_does_not_move(operator: &Client, sale: &Sale) {
    let path = format!("admin/shows/{}", sale.show);
    let before = operator.get(&path).await.expect(200);
    let changes =
        json!({ "starts_at": "2100-03-03T12:30:00Z", "venue": "Elsewhere", "hold_secs": 10, "seats_per_fan": 2 });
    edit_show(operator, sale, changes).await.expect_problem(409, "has_sales");
    let after = operator.get(&path).await.expect(200);
    assert_eq!((after.header("etag"), &after.json), (before.header("etag"), &before.json));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_show_does_not_move_while_a_seat_is_held_and_says_has_sales() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale(2, 100).await;
        holder(&app, &sale).await;
        assert_does_not_move(&app.operator().await, &sale).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_show_does_not_move_once_a_seat_is_sold_and_says_has_sales() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale(2, 100).await;
        let (fan, reservation) = holder(&app, &sale).await;
        fan.post_empty(&format!("{reservation}/payment")).await.expect(201);
        assert_does_not_move(&app.operator().await, &sale).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_show_does_not_move_while_a_seat_is_being_held() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale(1, 100).await;
        let operator = app.operator().await;
        let mut fan = app.fans(1, 0).await.remove(0);
        app.join(&mut fan, &sale).await;
        let choices = choices_of(&app.seats(&fan, &sale).await);
        let hold = hold_of(&fan, &sale, &choices);
        // The seat is claimed and not held yet. A move waits for what becomes of it.
        let mut tx = app.instance.postgres.begin().await.unwrap();
        assert_eq!(tx.claim_seats(&hold).await.unwrap(), None);
        let mut moving = std::pin::pin!(edit_show(&operator, &sale, every_change()));
        tokio::select! {
            moved = &mut moving => panic!("the move did not wait: {}", moved.code()),
            () = somebody_waits(world) => {}
        }
        assert!(tx.hold(&hold).await.unwrap().is_some());
        tx.commit().await.unwrap();
        moving.await.expect_problem(409, "has_sales");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_show_moves_again_once_what_was_held_is_released() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale(2, 100).await;
        let operator = app.operator().await;
        let (fan, reservation) = holder(&app, &sale).await;
        assert_does_not_move(&operator, &sale).await;
        fan.delete(&reservation).await.expect(204);
        let moved = edit_show(&operator, &sale, every_change()).await.expect(200);
        assert_eq!((&moved.json["starts_at"], &moved.json["version"]), (&json!("2100-02-02T12:30:00Z"), &json!(2)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_show_moves_again_once_the_last_hold_ran_out_without_a_sweeper() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale(2, 100).await;
        let operator = app.operator().await;
        holder(&app, &sale).await;
        assert_does_not_move(&operator, &sale).await;
        Lane::of(world, &app, &sale).await.pass_secs(world, 301).await;
        let moved = edit_show(&operator, &sale, every_change()).await.expect(200);
        assert_eq!(moved.json["starts_at"], "2100-02-02T12:30:00Z");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_show_that_has_sales_changes_in_everything_but_its_start() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale(2, 100).await;
        let operator = app.operator().await;
        let (fan, reservation) = holder(&app, &sale).await;
        let mut changes = every_change();
        // The start of before is no move.
        changes["starts_at"] = json!("2100-01-01T10:00:00Z");
        let edited = edit_show(&operator, &sale, changes.clone()).await.expect(200);
        for (member, value) in changes.as_object().unwrap() {
            assert_eq!(&edited.json[member], value, "{member}");
        }
        assert_eq!(edited.json["version"], 2);
        // What is held stays held, at the venue of now.
        let held = fan.get(&reservation).await.expect(200);
        assert_eq!((&held.json["state"], &held.json["venue"]), (&json!("held"), &json!("Olympic Hall")));
        assert_does_not_move(&operator, &sale).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_show_is_read_with_every_change_and_the_next_version() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale(4, 100).await;
        let operator = app.operator().await;
        let path = format!("admin/shows/{}", sale.show);
        let mut expected = operator.get(&path).await.expect(200).json;
        let changes = every_change();
        for (member, value) in changes.as_object().unwrap() {
            assert_ne!(&expected[member], value, "{member} would not change");
            expected[member] = value.clone();
        }
        expected["version"] = json!(2);
        let edited = operator.send("PATCH", &path, &[("If-Match", "\"1\"")], changes).await.expect(200);
        let read = operator.get(&path).await.expect(200);
        for answer in [edited, read] {
            assert_eq!((answer.header("etag"), &answer.json), ("\"2\"", &expected));
        }
        // And so does everybody.
        let nobody = app.nobody();
        let shows = nobody.get(&format!("concerts/{}/shows", sale.concert)).await.expect(200);
        assert_eq!(shows.json["items"], json!([expected]));
        let concerts = nobody.get("concerts").await.expect(200);
        assert_eq!(concerts.json["items"][0]["next_show_at"], expected["starts_at"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reservations_follow_an_edit_of_their_show() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale(4, 100).await;
        let operator = app.operator().await;
        let changes = every_change();
        edit_show(&operator, &sale, changes.clone()).await.expect(200);
        let mut fan = app.fans(1, 1_000).await.remove(0);
        app.join(&mut fan, &sale).await;
        let (seats, path) = (app.seats(&fan, &sale).await, format!("shows/{}/reservations", sale.show));
        fan.post(&path, App::choice(&seats[..2])).await.expect_problem(422, "too_many_seats");
        let held = fan.post(&path, App::choice(&seats[..1])).await.expect(201);
        for member in ["venue", "starts_at"] {
            assert_eq!(held.json[member], changes[member], "{member}");
        }
        let an_hour = "SELECT count(*) AS n FROM reservations WHERE expires_at >= created_at + interval '3600 s'";
        assert_eq!(world.sql().await.number(an_hour).await, 1);
        // Also one that was there before the edit.
        edit_show(&operator, &sale, json!({ "venue": "Arena" })).await.expect(200);
        let read = fan.get(&format!("reservations/{}", held.json["id"].as_str().unwrap())).await.expect(200);
        assert_eq!((&read.json["venue"], &read.json["starts_at"]), (&json!("Arena"), &changes["starts_at"]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_of_a_show_with_a_stale_if_match_changes_nothing_and_is_told_the_version_of_now() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale(1, 100).await;
        let operator = app.operator().await;
        let now = edit_show(&operator, &sale, json!({ "venue": "Olympic Hall" })).await.expect(200);
        let path = format!("admin/shows/{}", sale.show);
        // Of before, and of one that is still to come.
        for version in ["\"1\"", "\"3\""] {
            let stale = operator.send("PATCH", &path, &[("If-Match", version)], every_change()).await;
            assert_eq!(stale.expect_problem(412, "version_mismatch").json["version"], 2, "{version}");
        }
        assert_eq!(operator.get(&path).await.expect(200).json, now.json);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_concert_is_made_or_edited_without_its_audit_entry() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale(1, 100).await;
        let operator = app.operator().await;
        let path = format!("admin/concerts/{}", sale.concert);
        let before = operator.get(&path).await.expect(200);
        let if_match = [("If-Match", before.header("etag"))];
        let edit = async || operator.send("PATCH", &path, &if_match, json!({ "title": "Another title" })).await;
        // No entry can be written, so nothing can be done.
        let mut sql = world.sql().await;
        sql.run("ALTER TABLE audit_log ADD CONSTRAINT no_more CHECK (false) NOT VALID").await.unwrap();
        for refused in [
            edit().await,
            operator.post_empty(&format!("{path}/queue/pause")).await,
            operator.send("PUT", &format!("{path}/queue/message"), &[], json!({ "message": "At noon." })).await,
            operator.post("admin/concerts", json!({ "title": "New" })).await,
        ] {
            refused.expect_problem(500, "internal");
        }
        assert_eq!(operator.get(&path).await.expect(200).json, before.json);
        assert_eq!(sql.number("SELECT count(*) AS n FROM concerts").await, 1);
        sql.run("ALTER TABLE audit_log DROP CONSTRAINT no_more").await.unwrap();
        edit().await.expect(200);
        let audit = operator.get(&format!("{path}/audit?limit=1")).await.expect(200).json;
        let newest = &audit["items"][0];
        assert_eq!((&newest["action"], &newest["changes"][0]["to"]), (&json!("edit"), &json!("Another title")));
    })
    .await;
}
