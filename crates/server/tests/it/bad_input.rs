//! Bad input: an exact 4xx as problem+json, no change, and a right call works afterwards.

use onsale_test_support::{Answer, App, World};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use uuid::Uuid;

/// What a raw request is answered, up to the end of the connection or the first kilobytes.
async fn raw_bytes(app: &App, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(app.base.trim_start_matches("http://")).await.unwrap();
    // The server may answer and close before all is written.
    drop(stream.write_all(request).await);
    drop(stream.shutdown().await);
    let mut answer = vec![];
    drop(stream.read_to_end(&mut answer).await);
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_bodies_and_media_are_told_apart() {
    World::with(async |world| {
        let app = world.app().await;
        let nobody = app.nobody();
        let sign_up = async |media: Option<&str>, body: &[u8]| {
            let headers: Vec<(&str, &str)> = media.map(|media| ("Content-Type", media)).into_iter().collect();
            nobody.raw("POST", "auth/signup", &headers, Some(body.to_vec())).await
        };
        let right = br#"{"email":"a@example.org","password":"correct horse","display_name":"A"}"#;
        for media in [None, Some("text/plain"), Some("application/xml"), Some("application/x-www-form-urlencoded")] {
            sign_up(media, right).await.expect_problem(415, "unsupported_media_type");
        }
        let deep = [b"[".repeat(10_000), b"]".repeat(10_000)].concat();
        let malformed: &[&[u8]] = &[
            b"",
            b"{",
            b"null",
            b"[]",
            b"\xff\xfe",
            b"\xef\xbb\xbf{}",
            b"{\"email\":NaN}",
            b"{} trailing",
            b"{\"email\":1}",
            br#"{"email":"a@example.org","email":"b@example.org","password":"correct horse","display_name":"A"}"#,
            br#"{"email":"a@example.org","password":"correct horse","display_name":"A","is_admin":true}"#,
            br#"{"email":"a@example.org","password":"correct horse"}"#,
            &deep,
        ];
        for body in malformed {
            sign_up(Some("application/json"), body).await.expect_problem(400, "malformed_request");
        }
        let large = vec![b' '; 70_000];
        sign_up(Some("application/json"), &large).await.expect_problem(413, "body_too_large");
        let wrong = br#"{"email":"a","password":"short","display_name":"A\u0000B"}"#;
        let faults = sign_up(Some("application/json"), wrong).await.expect_problem(422, "validation_failed");
        let pointers = |told: &Answer| -> Vec<String> {
            let errors = told.json["errors"].as_array().unwrap().iter();
            errors.map(|error| error["pointer"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(pointers(&faults), ["/email", "/password", "/display_name"]);
        // What cannot be read is told all at once, too, in words.
        let wrong = br#"{"email":7,"password":"correct horse","admin":true}"#;
        let faults = sign_up(Some("application/json"), wrong).await.expect_problem(400, "malformed_request");
        assert_eq!(pointers(&faults), ["/display_name", "/admin", "/email"]);
        assert_eq!(faults.json["errors"][2]["message"], "must be a text");
        let twice = br#"{"email":"a@example.org","email":"b@example.org","password":"x","display_name":"A"}"#;
        let faults = sign_up(Some("application/json"), twice).await.expect_problem(400, "malformed_request");
        assert_eq!(
            (pointers(&faults), &faults.json["errors"][0]["message"]),
            (vec![String::new()], &json!("duplicate field `email`"))
        );
        let cut = sign_up(Some("application/json"), b"{\"email\":").await.expect_problem(400, "malformed_request");
        assert_eq!(cut.json["detail"], "the body is not one JSON value: line 1, column 9");
        assert_eq!(world.sql().await.number("SELECT count(*) AS n FROM users").await, 0);
        sign_up(Some("application/json; charset=utf-8"), right).await.expect(201);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_paths_methods_and_ids_are_problems_too() {
    World::with(async |world| {
        let app = world.app().await;
        let fan = app.fans(1, 0).await.remove(0);
        for path in ["/", "/api", "/api/v1", "/api/v1/nothing", "/api/v2/me", "/api/v1/me/", "/..%2f..%2fetc/passwd"] {
            fan.get(path).await.expect_problem(404, "not_found");
        }
        for (method, path, allow) in [
            ("PUT", "me", "GET, HEAD"),
            ("DELETE", "auth/login", "POST"),
            ("PATCH", "reservations/x", "GET, DELETE, HEAD"),
        ] {
            let answer = fan.raw(method, path, &[], None).await.expect_problem(405, "method_not_allowed");
            assert_eq!(answer.header("allow"), allow);
        }
        let nobody_knows = Uuid::new_v4();
        for id in [
            nobody_knows.to_string(),
            nobody_knows.to_string().to_uppercase(),
            "1".into(),
            "-1".into(),
            "9".repeat(40),
            "%00".into(),
            "'; DROP TABLE users --".replace(' ', "%20"),
        ] {
            for path in [
                format!("concerts/{id}"),
                format!("reservations/{id}"),
                format!("tickets/{id}"),
                format!("shows/{id}/seats"),
                format!("concerts/{id}/queue/tokens/me"),
            ] {
                let answer = fan.get(&path).await;
                assert_eq!(answer.status, 404, "{path} {}", answer.code());
            }
            assert_eq!(fan.post_empty(&format!("concerts/{id}/queue/tokens")).await.status, 404);
            assert_eq!(fan.post_empty(&format!("reservations/{id}/payment")).await.status, 404);
        }
        fan.get("me").await.expect(200);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn query_strings_out_of_range_are_refused() {
    World::with(async |world| {
        let app = world.app().await;
        let fan = app.fans(1, 0).await.remove(0);
        for limit in ["0", "-1", "101", "1000000000"] {
            fan.get(&format!("concerts?limit={limit}")).await.expect_problem(422, "validation_failed");
        }
        for query in [
            "limit=x",
            "limit=1.5",
            "limit=99999999999999999999",
            "cursor=x",
            "cursor=1_2",
            "page=1",
            "limit=1&limit=2",
            "cursor=9223372036854775807_00000000-0000-0000-0000-000000000000",
        ] {
            fan.get(&format!("concerts?{query}")).await.expect_problem(400, "malformed_request");
        }
        let many: String = (0..10_000).map(|n| format!("a{n}=1&")).collect();
        let answer = fan.try_raw("GET", &format!("concerts?{many}"), &[], None).await;
        assert!(answer.is_err() || answer.is_ok_and(|answer| (400..500).contains(&answer.status)));
        for list in ["reservations", "me/tickets", "me/wallet/entries"] {
            fan.get(&format!("{list}?cursor=%00")).await.expect_problem(400, "malformed_request");
            fan.get(list).await.expect(200);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_transport_is_answered_and_forgotten() {
    World::with(async |world| {
        let app = world.app().await;
        let head = "POST /api/v1/auth/signup HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
        let both = format!("{head}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
        let answer = raw_bytes(&app, both.as_bytes()).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
        let short = format!("{head}Content-Length: 100\r\n\r\n{{\"email\"");
        let answer = raw_bytes(&app, short.as_bytes()).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
        let huge = format!("GET /livez HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(200_000));
        let answer = raw_bytes(&app, huge.as_bytes()).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
        let mut endless = format!("{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
        for _ in 0..40 {
            endless.extend_from_slice(format!("1000\r\n{}\r\n", " ".repeat(4096)).as_bytes());
        }
        let answer = raw_bytes(&app, &endless).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 413"), "{answer}");
        let answer = raw_bytes(&app, b"GARBAGE\r\n\r\n").await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
        app.nobody().get("/livez").await.expect(200);
        assert_eq!(world.sql().await.number("SELECT count(*) AS n FROM users").await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_that_are_not_theirs_to_set_change_nothing() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale(2, 100).await;
        let mut fan = app.fans(1, 1_000).await.remove(0);
        app.join(&mut fan, &sale).await;
        let seats = app.seats(&fan, &sale).await;
        let path = format!("shows/{}/reservations", sale.show);
        let mut body = App::choice(&seats[..1]);
        for (field, value) in [
            ("price", json!(0)),
            ("status", json!("paid")),
            ("user_id", json!(Uuid::new_v4())),
            ("total_minor", json!(0)),
        ] {
            body[field] = value;
            fan.post(&path, body.clone()).await.expect_problem(400, "malformed_request");
            body.as_object_mut().unwrap().remove(field);
        }
        let mut priced = body.clone();
        priced["seats"][0]["price_minor"] = json!(0);
        fan.post(&path, priced).await.expect_problem(400, "malformed_request");
        for version in [json!("1"), json!(1.5), json!(null), json!(2_147_483_648_i64)] {
            let mut typed = body.clone();
            typed["seats"][0]["version"] = version;
            fan.post(&path, typed).await.expect_problem(400, "malformed_request");
        }
        for version in [0, -1, i32::MIN] {
            let mut wrong = body.clone();
            wrong["seats"][0]["version"] = json!(version);
            fan.post(&path, wrong).await.expect_problem(422, "validation_failed");
        }
        fan.post(&path, body).await.expect(201);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idempotency_keys_have_a_form_and_an_owner() {
    World::with(async |world| {
        let app = world.app().await;
        let fans = app.fans(2, 0).await;
        let charge = async |fan: &onsale_test_support::Client, key: &str| {
            fan.send("POST", "me/wallet/charges", &[("Idempotency-Key", key)], json!({ "amount_minor": 5 })).await
        };
        for key in ["", &"x".repeat(129), "with space", "caf\u{e9}"] {
            charge(&fans[0], key).await.expect_problem(400, "idempotency_key_invalid");
        }
        let first = charge(&fans[0], &"x".repeat(128)).await.expect(201);
        let other = charge(&fans[1], &"x".repeat(128)).await.expect(201);
        assert_ne!(first.json["id"], other.json["id"], "a key belongs to one user");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_looks_like_code_is_text() {
    World::with(async |world| {
        let app = world.app().await;
        let operator = app.operator().await;
        for title in [
            "'; DROP TABLE seats; --",
            "$1 {concert}:* ]] redis.call('FLUSHALL')",
            "a\r\nb: c",
            "<script>alert(1)</script>",
        ] {
            let answer = operator.post("admin/concerts", json!({ "title": title })).await;
            if title.contains('\r') {
                answer.expect_problem(422, "validation_failed");
            } else {
                assert_eq!(answer.expect(201).json["title"], title);
            }
        }
        let sale = app.sale(2, 100).await;
        let mut fan = app.fans(1, 0).await.remove(0);
        app.join(&mut fan, &sale).await;
        let section = "A'%20OR%20'1'='1";
        assert_eq!(
            fan.get(&format!("shows/{}/seats?section={section}", sale.show)).await.expect(200).json["items"],
            json!([])
        );
        assert_eq!(app.seats(&fan, &sale).await.len(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_hear_every_fault_of_what_they_create() {
    World::with(async |world| {
        let app = world.app().await;
        let operator = app.operator().await;
        let sale = app.sale(1, 100).await;
        let shows = format!("admin/concerts/{}/shows", sale.concert);
        let wrong = json!({ "venue": "", "starts_at": "9999-01-01T00:00:00Z", "hold_secs": 0, "seats_per_fan": 0 });
        let answer = operator.post(&shows, wrong).await.expect_problem(422, "validation_failed");
        assert_eq!(answer.json["errors"].as_array().unwrap().len(), 4);
        operator
            .post(&shows, json!({ "venue": "Hall", "starts_at": "yesterday" }))
            .await
            .expect_problem(400, "malformed_request");
        let unknown = format!("admin/concerts/{}/shows", Uuid::new_v4());
        let right = json!({ "venue": "Hall", "starts_at": "2100-01-01T00:00:00Z" });
        operator.post(&unknown, right).await.expect_problem(404, "not_found");
        let seats = format!("admin/shows/{}/seats", sale.show);
        let wrong = json!({ "seats": [{ "section": "", "row": "1", "number": 0, "price_minor": -1 }] });
        let answer = operator.post(&seats, wrong).await.expect_problem(422, "validation_failed");
        assert_eq!(answer.json["errors"].as_array().unwrap().len(), 3);
        let huge = json!({ "blocks": [{ "section": "A", "rows": 10_000, "seats_per_row": 10_000, "price_minor": 1 }] });
        operator.post(&seats, huge).await.expect_problem(422, "validation_failed");
        operator.post(&seats, json!({})).await.expect_problem(422, "validation_failed");
        assert_eq!(world.sql().await.number("SELECT count(*) AS n FROM seats").await, 1);
        let patch = format!("admin/concerts/{}", sale.concert);
        operator
            .send("PATCH", &patch, &[("If-Match", "\"2\"")], json!({ "sale_state": "open" }))
            .await
            .expect_problem(422, "validation_failed");
        operator.send("PATCH", &patch, &[("If-Match", "x")], json!({})).await.expect_problem(412, "version_mismatch");
    })
    .await;
}
