//! What strangers and slips of operators must not be able to do.

use std::time::Duration;

use onsale_server::serve;
use onsale_test_support::World;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_util::sync::CancellationToken;

use crate::{at_once, lane::policy, tally};

async fn connect(base: &str) -> TcpStream {
    TcpStream::connect(base.strip_prefix("http://").unwrap()).await.unwrap()
}

/// Everything until the server closes the connection; a server that keeps it open fails the test.
async fn until_closed(stream: &mut TcpStream) -> String {
    let mut all = vec![];
    let read = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut all)).await;
    drop(read.expect("the server closes the connection"));
    String::from_utf8_lossy(&all).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn never_again_28_a_body_that_does_not_come_or_drips_is_given_up() {
    World::with(async |world| {
        world.set("ONSALE_HTTP_BODY_TIMEOUT_MS", "300");
        world.set("ONSALE_HTTP_BODY_LEAST_BYTES_PER_SEC", "1000");
        let app = world.app().await;
        let head = "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
        // Announced and never sent; sent byte by byte, far below the least rate; chunked without an end.
        let mut never = connect(&app.base).await;
        never.write_all(format!("{head}Content-Length: 100\r\n\r\n{{").as_bytes()).await.unwrap();
        let mut drips = connect(&app.base).await;
        drips.write_all(format!("{head}Content-Length: 60000\r\n\r\n").as_bytes()).await.unwrap();
        let (mut drip_read, mut drip_write) = drips.into_split();
        let dripping = tokio::spawn(async move {
            while drip_write.write_all(b" ").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let mut endless = connect(&app.base).await;
        endless.write_all(format!("{head}Transfer-Encoding: chunked\r\n\r\n1\r\n{{\r\n").as_bytes()).await.unwrap();
        assert!(until_closed(&mut never).await.contains("body_too_slow"));
        assert!(until_closed(&mut endless).await.contains("body_too_slow"));
        let mut answer = vec![];
        drop(tokio::time::timeout(Duration::from_secs(30), drip_read.read_to_end(&mut answer)).await.expect("closed"));
        assert!(String::from_utf8_lossy(&answer).contains("body_too_slow"));
        dripping.abort();
        // A route that reads no body keeps no connection for one that never ends.
        let mut unread = connect(&app.base).await;
        let request =
            "POST /api/v1/concerts/x/queue/tokens HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab";
        unread.write_all(request.as_bytes()).await.unwrap();
        assert!(until_closed(&mut unread).await.starts_with("HTTP/1.1 401"));
        // What comes at its own pace still comes.
        let slow = json!({ "email": "nobody@example.org", "password": " ".repeat(100) });
        app.nobody().post("auth/login", slow).await.expect_problem(401, "bad_credentials");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn never_again_28_stopping_is_held_up_by_no_stalled_client() {
    World::with(async |world| {
        world.set("ONSALE_HTTP_SHUTDOWN_MS", "120000");
        world.set("ONSALE_HTTP_BODY_TIMEOUT_MS", "120000");
        let config = world.config();
        let listener = serve::listen(&config).unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let serving = {
            let (config, stop) = (config.clone(), stop.clone());
            tokio::spawn(async move { serve::serve(&config, listener, stop).await })
        };
        let ready =
            async || reqwest::get(format!("http://{address}/livez")).await.is_ok_and(|answer| answer.status() == 200);
        while !ready().await {}
        let mut body = TcpStream::connect(address).await.unwrap();
        let head = "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\n\
            Content-Type: application/json\r\nContent-Length: 9\r\n\r\n";
        body.write_all(head.as_bytes()).await.unwrap();
        // Asks for much more than fits into the buffers between, and reads none of it.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(1).unwrap();
        let mut silent = socket.connect(address).await.unwrap();
        for _ in 0..20 {
            silent.write_all(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        }
        while !ready().await {}
        stop.cancel();
        let stopped = tokio::time::timeout(Duration::from_mins(1), serving).await;
        stopped.expect("far less than the two minutes that are allowed").unwrap().unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn never_again_30_a_fourth_stream_of_a_fan_ends_the_oldest_with_a_reason() {
    World::with(async |world| {
        let app = world.app_with_schedulers().await;
        let sale = app.sale_with(1, 100, policy(3600, 1, 1, false)).await;
        let mut fan = app.fans(1, 0).await.remove(0);
        app.join(&mut fan, &sale).await;
        let moved = fan.clone();
        app.join(&mut fan, &sale).await;
        let mut streams = vec![];
        for _ in 0..4 {
            let mut stream = crate::events::Events::open(&app, &fan, &sale.concert, None).await;
            stream.next().await.unwrap();
            streams.push(stream);
        }
        let end = streams[0].next().await.unwrap();
        assert_eq!((end.name.as_str(), end.data["code"].as_str()), ("end", Some("stream_replaced")));
        assert!(streams[0].next().await.is_none());
        // A token that was taken over ends none of them.
        for _ in 0..3 {
            moved
                .get(&format!("concerts/{}/queue/tokens/me/events", sale.concert))
                .await
                .expect_problem(403, "queue_token_moved");
        }
        let operator = app.operator().await;
        let message = format!("admin/concerts/{}/queue/message", sale.concert);
        operator.send("PUT", &message, &[], json!({ "message": "hello" })).await.expect(204);
        for stream in &mut streams[1..] {
            while stream.next().await.unwrap().data["message"] != "hello" {}
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn never_again_32_addresses_of_any_length_are_no_keys_and_right_ones_are_counted() {
    World::with(async |world| {
        world.set("ONSALE_HTTP_LOGINS_PER_MIN", "3");
        let app = world.app().await;
        let long = format!("{}@example.org", "a".repeat(60_000));
        for _ in 0..10 {
            let body = json!({ "email": long, "password": "correct horse" });
            app.nobody().post("auth/login", body).await.expect_problem(401, "bad_credentials");
        }
        let tried =
            at_once((0..10).map(|_| {
                let nobody = app.nobody();
                async move {
                    nobody.post("auth/login", json!({ "email": "A@Example.org ", "password": "correct horse" })).await
                }
            }))
            .await;
        assert_eq!(tally(&tried).get("too_many_requests"), Some(&7), "{:?}", tally(&tried));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wallets_are_filled_for_nothing_only_on_purpose() {
    World::with(async |world| {
        world.set("ONSALE_MONEY_FREE_TOP_UP", "false");
        let app = world.app().await;
        let fan = app.fans(1, 70).await.remove(0);
        let charge =
            fan.send("POST", "me/wallet/charges", &[("Idempotency-Key", "k")], json!({ "amount_minor": 5 })).await;
        charge.expect_problem(403, "no_free_top_up");
        assert_eq!(fan.get("me/wallet").await.expect(200).json["balance_minor"], 70);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn never_again_37_a_sale_that_makes_no_sense_is_refused_with_the_reason() {
    World::with(async |world| {
        let app = world.app().await;
        let operator = app.operator().await;
        let concert = operator.post("admin/concerts", json!({ "title": "Empty" })).await.expect(201);
        let path = format!("admin/concerts/{}", concert.json["id"].as_str().unwrap());
        let on_sale = json!({ "sale_state": "on_sale" });
        let open = async || operator.send("PATCH", &path, &[("If-Match", "\"1\"")], on_sale.clone()).await;
        open().await.expect_problem(409, "nothing_to_sell");
        let past = json!({ "venue": "Hall", "starts_at": "2020-01-01T00:00:00Z" });
        let refused = operator.post(&format!("{path}/shows"), past).await.expect_problem(422, "validation_failed");
        assert_eq!(refused.json["errors"][0]["pointer"], "/starts_at");
        let show = json!({ "venue": "Hall", "starts_at": "2100-01-01T00:00:00Z", "hold_secs": 600 });
        let show =
            operator.post(&format!("{path}/shows"), show).await.expect(201).json["id"].as_str().unwrap().to_owned();
        open().await.expect_problem(409, "nothing_to_sell");
        let show = format!("admin/shows/{show}");
        let moved = json!({ "starts_at": "2020-01-01T00:00:00Z" });
        operator.send("PATCH", &show, &[("If-Match", "\"1\"")], moved).await.expect_problem(422, "validation_failed");
        let block = json!({ "section": "A", "rows": 5, "seats_per_row": 10, "price_minor": 1 });
        operator.post(&format!("{show}/seats"), json!({ "blocks": [block] })).await.expect(201);
        // Allowed, and probably not meant: turns of 300 s and holds of 600 s, 2,100 fans for 50 seats.
        let policy = operator.get(&format!("{path}/queue/policy")).await.expect(200);
        let codes: Vec<_> =
            policy.json["warnings"].as_array().unwrap().iter().map(|warning| &warning["code"]).collect();
        assert_eq!(codes, ["turn_shorter_than_hold", "admits_more_than_seats"]);
        assert_eq!(policy.json["warnings"][1]["proposal"], json!({ "active_limit": 50, "batch": 50 }));
        let mut better = policy.json.clone();
        for warning in policy.json["warnings"].as_array().unwrap() {
            for (name, value) in warning["proposal"].as_object().unwrap() {
                better[name] = value.clone();
            }
        }
        let put =
            operator.send("PUT", &format!("{path}/queue/policy"), &[("If-Match", "\"1\"")], better).await.expect(200);
        assert_eq!(put.json["warnings"], json!([]), "{}", put.json);
        operator.send("PATCH", &path, &[("If-Match", "\"2\"")], on_sale.clone()).await.expect(200);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn never_again_37_closing_is_confirmed_and_says_what_it_does() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale_with(1, 100, policy(3600, 1, 1, true)).await;
        let mut fans = app.fans(3, 0).await;
        for fan in &mut fans {
            app.join(fan, &sale).await;
        }
        let operator = app.operator().await;
        let (path, newest) = (format!("admin/concerts/{}", sale.concert), [("If-Match", "\"2\"")]);
        let close = format!("{path}/queue/close");
        operator
            .send("POST", &close, &[], json!({ "confirm": sale.concert }))
            .await
            .expect_problem(428, "if_match_required");
        for unconfirmed in [json!({}), json!({ "confirm": "yes" }), json!({ "confirm": sale.show })] {
            let refused = operator.send("POST", &close, &newest, unconfirmed).await;
            let refused = refused.expect_problem(422, "confirmation_required");
            let detail = refused.json["detail"].as_str().unwrap();
            assert!(
                detail.contains("2 who wait") && detail.contains("1 who are active") && detail.contains(&sale.concert),
                "{detail}"
            );
        }
        let stale = operator.send("POST", &close, &[("If-Match", "\"1\"")], json!({ "confirm": sale.concert })).await;
        stale.expect_problem(412, "version_mismatch");
        let closed = json!({ "sale_state": "closed" });
        operator.send("PATCH", &path, &newest, closed).await.expect_problem(422, "validation_failed");
        assert_eq!(operator.get(&path).await.expect(200).json["sale_state"], "on_sale");
        app.close_sale(&operator, &sale).await;
        assert_eq!(operator.get(&path).await.expect(200).json["sale_state"], "closed");
        // Who waited keeps the place, and is promised nothing.
        let me = format!("concerts/{}/queue/tokens/me", sale.concert);
        let place = loop {
            let place = fans[1].get(&me).await.expect(200).json;
            if place["sale_state"] == "closed" {
                break place;
            }
        };
        assert_eq!(place["state"], "waiting");
        assert!(place["odds"].is_null() && place["eta"].is_null(), "{place}");
    })
    .await;
}

/// Every example of a body in the document, sent as it stands, with the example of its `If-Match` if there is one.
#[tokio::test(flavor = "multi_thread")]
async fn never_again_33_an_edit_sent_as_its_example_stands_does_no_harm() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale(1, 100).await;
        let operator = app.operator().await;
        let document = onsale_http_api::openapi::document();
        let before = operator.get(&format!("admin/concerts/{}", sale.concert)).await.expect(200).json;
        let mut edits = 0;
        for route in onsale_http_api::routes::ROUTES {
            if route.headers != onsale_http_api::routes::Headers::IfMatch {
                continue;
            }
            let operation = &document["paths"][route.path][route.method.to_lowercase()];
            let parameters = operation["parameters"].as_array().unwrap();
            let if_match = parameters.iter().find(|parameter| parameter["name"] == "If-Match").unwrap();
            // The page asks for one when there is no example.
            let example = if_match["schema"]["example"].as_str().map(str::to_owned);
            let headers: Vec<_> = example.iter().map(|version| ("If-Match", version.as_str())).collect();
            let schema = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str().unwrap();
            let schema = &document["components"]["schemas"][schema.rsplit('/').next().unwrap()];
            let of_members = || {
                let members = schema["properties"].as_object().unwrap().iter();
                members.filter_map(|(name, property)| Some((name.clone(), property.get("example")?.clone()))).collect()
            };
            let whole = schema.get("example").or(schema["examples"].get(0)).cloned();
            let body = whole.unwrap_or_else(|| Value::Object(of_members()));
            let id = if route.path.contains("/shows/") { &sale.show } else { &sale.concert };
            let path = route.path.replace("{id}", id);
            let answer = operator.send(route.method, &path, &headers, body).await;
            assert!((400..500).contains(&answer.status), "{} {}: {}", route.method, route.path, answer.code());
            edits += 1;
        }
        assert!(edits >= 4);
        assert_eq!(operator.get(&format!("admin/concerts/{}", sale.concert)).await.expect(200).json, before);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn never_again_27_cursors_that_nobody_gave_out_are_refused_and_reads_of_strangers_grow_no_shared_store() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale(1, 100).await;
        let second = json!({ "venue": "Hall", "starts_at": "2100-01-02T10:00:00Z" });
        app.operator().await.post(&format!("admin/concerts/{}/shows", sale.concert), second).await.expect(201);
        let nobody = app.nobody();
        let shows = format!("concerts/{}/shows", sale.concert);
        let page = nobody.get(&format!("{shows}?limit=1")).await.expect(200);
        let good = page.json["next_cursor"].as_str().unwrap().to_owned();
        nobody.get(&format!("{shows}?limit=1&cursor={good}")).await.expect(200);
        let made_up = format!("4102480800000000_{}", uuid::Uuid::new_v4());
        let moved = good.replacen('4', "3", 1);
        for cursor in [made_up.clone(), format!("{made_up}_{}", "0".repeat(32)), moved] {
            for path in [&shows, "concerts"] {
                let refused = nobody.get(&format!("{path}?cursor={cursor}")).await;
                refused.expect_problem(400, "malformed_request");
            }
        }
        // Another list's is none of this one.
        nobody.get(&format!("concerts?cursor={good}")).await.expect_problem(400, "malformed_request");
        let mut redis = crate::lane::redis(world).await;
        let keys = async |redis: &mut _| -> Vec<String> {
            let pattern = format!("{}:{{catalogue}}*", world.prefix);
            deadpool_redis::redis::cmd("KEYS").arg(pattern).query_async(redis).await.unwrap()
        };
        for limit in 1..=100 {
            nobody.get(&format!("concerts?limit={limit}")).await.expect(200);
        }
        assert_eq!(keys(&mut redis).await, [format!("{}:{{catalogue}}:generation", world.prefix)]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_everybody_reads_is_answered_from_memory_while_the_database_is_locked() {
    World::with(async |world| {
        world.set("ONSALE_LINE_SNAPSHOT_MS", "50");
        let app = world.app().await;
        let sale = app.sale_with(5, 100, policy(3600, 1, 1, true)).await;
        let mut fans = app.fans(2, 0).await;
        for fan in &mut fans {
            app.join(fan, &sale).await;
        }
        let reads = [
            "concerts".to_owned(),
            format!("concerts/{}", sale.concert),
            format!("concerts/{}/shows", sale.concert),
            format!("concerts/{}/queue", sale.concert),
            format!("shows/{}/availability", sale.show),
        ];
        let nobody = app.nobody();
        for path in &reads {
            nobody.get(path).await.expect(200);
        }
        let mut sql = world.sql().await;
        let lock = "BEGIN; LOCK TABLE concerts, shows, seats, lines IN ACCESS EXCLUSIVE MODE";
        sql.run(lock).await.unwrap();
        let started = std::time::Instant::now();
        let mut rounds = 0;
        // Longer than any copy of the line lives.
        while started.elapsed() < Duration::from_millis(300) || rounds < 20 {
            for path in &reads {
                nobody.get(path).await.expect(200);
            }
            rounds += 1;
        }
        sql.run("ROLLBACK").await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_of_seats_that_hangs_holds_up_neither_polls_nor_promotions_nor_joins() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale_with(5, 100, policy(3600, 1, 2, false)).await;
        let mut fans = app.fans(3, 0).await;
        for fan in &mut fans {
            app.join(fan, &sale).await;
        }
        let mut lane = crate::lane::Lane::of(world, &app, &sale).await;
        let mut sql = world.sql().await;
        sql.run("BEGIN; LOCK TABLE seats IN ACCESS EXCLUSIVE MODE").await.unwrap();
        let me = format!("concerts/{}/queue/tokens/me", sale.concert);
        let (answered, mut late) = (Duration::from_secs(5), app.fans(1, 0).await.remove(0));
        // Counts are under way and hang for the lock's timeout of 10 s; nobody waits for them.
        let going_on = async {
            for round in 0..3 {
                assert_eq!(fans[2].get(&me).await.expect(200).json["state"], "waiting", "round {round}");
            }
            lane.due().await;
            assert_eq!(lane.tick().await.promoted, 1);
            assert_eq!(fans[0].get(&me).await.expect(200).json["state"], "active");
            assert_eq!(app.join(&mut late, &sale).await["position"], 3);
            lane.due().await;
            assert_eq!(lane.tick().await.promoted, 1);
            app.nobody().get(&format!("concerts/{}/queue", sale.concert)).await.expect(200);
        };
        tokio::time::timeout(answered, going_on).await.expect("nobody waits for the count");
        sql.run("ROLLBACK").await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn never_again_35_nothing_is_kept_for_tokens_and_concerts_that_are_none() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale(1, 100).await;
        let mut fan = app.fans(1, 0).await.remove(0);
        app.join(&mut fan, &sale).await;
        let lines = app.instance.keeper.snapshots.lines();
        for token in [fan.queue_token.clone(), Some("forged".to_owned()), None] {
            fan.queue_token = token;
            for _ in 0..20 {
                let id = uuid::Uuid::new_v4();
                for path in ["", "/tokens/me", "/tokens/me/events", "/log", "/draw"] {
                    let answer = fan.get(&format!("concerts/{id}/queue{path}")).await;
                    assert!((400..500).contains(&answer.status), "{path}: {}", answer.code());
                }
                let joined = fan.post_empty(&format!("concerts/{id}/queue/tokens")).await;
                assert!((400..500).contains(&joined.status), "{}", joined.code());
            }
        }
        assert_eq!(app.instance.keeper.snapshots.lines(), lines);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_published_log_is_read_by_ranges() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale_with(1, 100, policy(3600, 20, 20, true)).await;
        let mut fans = app.fans(12, 0).await;
        for fan in &mut fans {
            app.join(fan, &sale).await;
            fan.delete(&format!("concerts/{}/queue/tokens/me", sale.concert)).await.expect(204);
        }
        let log = format!("concerts/{}/queue/log", sale.concert);
        let indexes = async |range: &str| -> Vec<i64> {
            let answer = app.nobody().get(&format!("{log}{range}")).await.expect(200);
            let text = String::from_utf8(answer.bytes).unwrap();
            text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["index"].as_i64().unwrap()).collect()
        };
        assert_eq!(indexes("").await, (1..=36).collect::<Vec<_>>());
        assert_eq!(indexes("?after=5&limit=3").await, [6, 7, 8]);
        assert_eq!(indexes("?after=35").await, [36]);
        assert_eq!(indexes("?after=36").await, [0; 0]);
        assert_eq!(indexes("?after=9000000000000000000").await, [0; 0]);
        for wrong in ["?limit=0", "?limit=100001", "?limit=-1"] {
            app.nobody().get(&format!("{log}{wrong}")).await.expect_problem(422, "validation_failed");
        }
    })
    .await;
}
