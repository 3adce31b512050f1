//! Every route is what the table says it is, for everybody.

use onsale_http_api::routes::{Access, Body, Headers, ROUTES};
use onsale_test_support::{Answer, App, Client, Sale, World};
use serde_json::json;

struct Cast {
    sale: Sale,
    reservation: String,
    active: Client,
    waiting: Client,
    stranger: Client,
    elsewhere: Sale,
}

/// One fan active with a reservation, one waiting, one active at another concert.
async fn cast(app: &App) -> Cast {
    let policy = json!({ "interval_secs": 3600, "batch": 1, "active_limit": 1, "idle_admission": true,
        "active_sliding_secs": 300, "active_absolute_secs": 900, "waiting_limit": 10 });
    let sale = app.sale_with(4, 100, policy).await;
    let elsewhere = app.sale(4, 100).await;
    let mut fans = app.fans(3, 1_000).await;
    let (mut stranger, mut waiting, mut active) = (fans.remove(0), fans.remove(0), fans.remove(0));
    assert_eq!(app.join(&mut active, &sale).await["state"], "active");
    assert_eq!(app.join(&mut waiting, &sale).await["state"], "waiting");
    assert_eq!(app.join(&mut stranger, &elsewhere).await["state"], "active");
    let seats = app.seats(&active, &sale).await;
    let reserved =
        active.post(&format!("shows/{}/reservations", sale.show), App::choice(&seats[..1])).await.expect(201);
    let reservation = reserved.json["id"].as_str().unwrap().to_owned();
    Cast { sale, reservation, active, waiting, stranger, elsewhere }
}

fn path_of(pattern: &str, cast: &Cast) -> String {
    let id = if pattern.contains("/concerts/") {
        &cast.sale.concert
    } else if pattern.contains("/shows/") {
        &cast.sale.show
    } else {
        &cast.reservation
    };
    pattern.replace("{id}", id)
}

async fn call(client: &Client, method: &str, path: &str, body: Body, headers: Headers) -> Answer {
    let mut all = vec![];
    match headers {
        Headers::IfMatch => all.push(("If-Match", "\"1\"")),
        Headers::IdempotentRequired => all.push(("Idempotency-Key", "gate-test")),
        _ => {}
    }
    if body == Body::Json {
        client.send(method, path, &all, json!({ "seats": [] })).await
    } else {
        client.raw(method, path, &all, None).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn never_again_7_every_route_is_open_to_those_it_is_for_and_to_nobody_else() {
    World::with(async |world| {
        let app = world.app().await;
        let cast = cast(&app).await;
        let mut gated = 0;
        for route in ROUTES {
            let path = path_of(route.path, &cast);
            let what = format!("{} {}", route.method, route.path);
            let try_as = async |client: &Client| call(client, route.method, &path, route.body, route.headers).await;
            let unknown = try_as(&app.nobody()).await;
            if route.access == Access::Public {
                assert!(unknown.status != 401 && unknown.status != 403, "{what} shuts the public out");
                continue;
            }
            assert_eq!(unknown.code(), "unauthenticated", "{what} lets strangers in");
            let mut garbage = app.nobody();
            garbage.access_token = Some("eyJhbGciOiJub25lIn0.e30.".to_owned());
            assert_eq!(try_as(&garbage).await.code(), "unauthenticated", "{what} believes a forged access token");
            if route.access == Access::Operator {
                assert_eq!(try_as(&cast.active).await.code(), "forbidden", "{what} lets a fan in");
            }
            if route.access == Access::BehindTheLine {
                gated += 1;
                // The owner of the reservation, so that only the queue token is wrong.
                let mut owner = cast.active.clone();
                let mut with = async |token: Option<&str>| {
                    owner.queue_token = token.map(str::to_owned);
                    try_as(&owner).await.code()
                };
                let good = cast.active.queue_token.clone().unwrap();
                assert_eq!(with(None).await, "queue_token_required", "{what}");
                assert_eq!(with(Some("garbage")).await, "queue_token_required", "{what}");
                assert_eq!(with(Some(&good[..good.len() - 2])).await, "queue_token_required", "{what}");
                assert_eq!(with(cast.stranger.queue_token.as_deref()).await, "queue_token_required", "{what}");
                assert_eq!(with(cast.waiting.queue_token.as_deref()).await, "queue_token_required", "{what}");
                if route.path.contains("/shows/") {
                    assert_eq!(try_as(&cast.waiting).await.code(), "queue_token_waiting", "{what}");
                    assert_eq!(try_as(&cast.stranger).await.code(), "queue_token_required", "{what}");
                }
            }
        }
        assert_eq!(gated, 2, "seats and reserve are behind the line; who holds seats pays without it");
        drop(cast.elsewhere);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_a_place_that_was_left_opens_nothing_and_a_new_one_does() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale(2, 100).await;
        let mut fan = app.fans(1, 0).await.remove(0);
        app.join(&mut fan, &sale).await;
        let old = fan.queue_token.clone();
        let seats = format!("shows/{}/seats", sale.show);
        fan.get(&seats).await.expect(200);
        fan.delete(&format!("concerts/{}/queue/tokens/me", sale.concert)).await.expect(204);
        fan.get(&seats).await.expect_problem(403, "queue_token_expired");
        app.join(&mut fan, &sale).await;
        fan.get(&seats).await.expect(200);
        fan.queue_token = old;
        fan.get(&seats).await.expect_problem(403, "queue_token_expired");
    })
    .await;
}
