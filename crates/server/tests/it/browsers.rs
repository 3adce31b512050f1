//! What browsers and their pages need: other origins, compressed answers, HEAD.

use std::io::Read;

use onsale_test_support::{Answer, World};
use serde_json::json;

/// The body as it was before it was compressed.
fn unpacked(answer: &Answer) -> Vec<u8> {
    let mut unpacked = vec![];
    match answer.header("content-encoding") {
        // Reads the first member of a file and no other.
        "gzip" => drop(flate2::read::GzDecoder::new(&*answer.bytes).read_to_end(&mut unpacked).unwrap()),
        "br" => drop(brotli::Decompressor::new(&*answer.bytes, 4096).read_to_end(&mut unpacked).unwrap()),
        "zstd" => unpacked = zstd::decode_all(&*answer.bytes).unwrap(),
        _ => unpacked.clone_from(&answer.bytes),
    }
    unpacked
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_the_origins_that_are_named_may_call_and_read_and_others_may_not() {
    World::with(async |world| {
        world.set("ONSALE_HTTP_CORS_ORIGINS", "https://tickets.example, http://localhost:3000");
        let app = world.app().await;
        let nobody = app.nobody();
        for (origin, allowed) in
            [("https://tickets.example", true), ("http://localhost:3000", true), ("https://evil.example", false)]
        {
            let ask = [
                ("Origin", origin),
                ("Access-Control-Request-Method", "POST"),
                ("Access-Control-Request-Headers", "authorization,content-type,queue-token,idempotency-key"),
            ];
            let preflight = nobody.raw("OPTIONS", "concerts/x/queue/tokens", &ask, None).await;
            assert_eq!(preflight.status == 200, allowed, "{origin}");
            // A page reads refusals, too.
            for path in ["concerts", "me"] {
                let answer = nobody.raw("GET", path, &[("Origin", origin)], None).await;
                assert_eq!(answer.header("access-control-allow-origin"), if allowed { origin } else { "" }, "{path}");
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_setting_no_page_of_another_origin_may_call() {
    World::with(async |world| {
        let app = world.app().await;
        let answer =
            app.nobody().raw("GET", "concerts", &[("Origin", "https://tickets.example")], None).await.expect(200);
        assert_eq!(answer.header("access-control-allow-origin"), "");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_is_sent_compressed_to_those_who_take_it() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale(200, 100).await;
        let (operator, edited) = (app.operator().await, format!("admin/concerts/{}", sale.concert));
        let version = operator.get(&edited).await.expect(200).json["version"].to_string();
        let (if_match, words) = (format!("\"{version}\""), "One night, all songs. ".repeat(100));
        let body = json!({ "description": words });
        operator.send("PATCH", &edited, &[("If-Match", &if_match)], body).await.expect(200);
        let mut fan = app.fan("mina").await;
        app.join(&mut fan, &sale).await;
        let (seats, concert) = (format!("shows/{}/seats", sale.show), format!("concerts/{}", sale.concert));
        for path in [seats.as_str(), "concerts", &concert, "/openapi.json"] {
            let plain = fan.get(path).await.expect(200);
            assert_eq!(plain.header("content-encoding"), "");
            for (accepted, encoding) in [
                ("gzip", "gzip"),
                ("br", "br"),
                ("zstd", "zstd"),
                ("gzip, deflate, br, zstd", "zstd"),
                ("zstd;q=0, gzip", "gzip"),
                ("identity", ""),
                ("deflate", ""),
            ] {
                let answer = fan.raw("GET", path, &[("Accept-Encoding", accepted)], None).await.expect(200);
                assert_eq!(answer.header("content-encoding"), encoding, "{path}: {accepted}");
                assert_eq!(answer.header("vary"), "accept-encoding");
                assert!(unpacked(&answer) == plain.bytes, "{path}: {accepted}");
                assert!(encoding.is_empty() || answer.bytes.len() < plain.bytes.len() / 4, "{path}: {accepted}");
                let known = [("If-None-Match", plain.header("etag")), ("Accept-Encoding", accepted)];
                fan.raw("GET", path, &known, None).await.expect(304);
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_published_list_is_one_gzip_file_to_those_who_take_it() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale(1, 100).await;
        let entries = format!(
            "INSERT INTO line_log (concert_id, index, kind, number, at_ms, hash)
             SELECT '{}', n, 'departed', n, n, sha256('') FROM generate_series(1, 10001) AS n",
            sale.concert
        );
        world.sql().await.run(&entries).await.unwrap();
        let (nobody, log) = (app.nobody(), format!("concerts/{}/queue/log", sale.concert));
        while String::from_utf8_lossy(&nobody.get(&log).await.expect(200).bytes).lines().count() != 10_001 {}
        for (query, accepted, encoding) in [
            ("", "gzip, deflate, br, zstd", "gzip"),
            ("?after=4990", "gzip", "gzip"),
            ("?after=4990&limit=5000", "gzip", "gzip"),
            ("?after=10001", "gzip", "gzip"),
            ("?limit=4999", "gzip", ""),
            ("", "br, zstd", ""),
            ("", "gzip;q=0", ""),
        ] {
            let path = format!("{log}{query}");
            let plain = nobody.get(&path).await.expect(200);
            let answer = nobody.raw("GET", &path, &[("Accept-Encoding", accepted)], None).await.expect(200);
            assert_eq!(answer.header("content-encoding"), encoding, "{query}: {accepted}");
            assert_eq!((plain.header("vary"), answer.header("vary")), ("accept-encoding", "accept-encoding"));
            assert!(unpacked(&answer) == plain.bytes, "{query}: {accepted}");
            let is_whole = query.is_empty() && encoding == "gzip";
            assert!(!is_whole || answer.bytes.len() < plain.bytes.len() / 3, "{}", answer.bytes.len());
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn head_answers_what_get_does_without_the_body() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale(3, 100).await;
        let mut fan = app.fan("mina").await;
        app.join(&mut fan, &sale).await;
        let (line, log) = (format!("concerts/{}", sale.concert), format!("concerts/{}/queue/log", sale.concert));
        for path in ["concerts", "me", &line, &log, "/livez", "/openapi.json", "/problems/not_found"] {
            let (get, head) = (fan.get(path).await.expect(200), fan.raw("HEAD", path, &[], None).await.expect(200));
            assert!(head.bytes.is_empty() && !get.bytes.is_empty(), "{path}");
            for name in ["content-type", "content-length", "transfer-encoding", "etag", "cache-control"] {
                assert_eq!(head.header(name), get.header(name), "{path}: {name}");
            }
        }
        fan.raw("HEAD", "me/nothing", &[], None).await.expect(404);
        let refused = fan.raw("HEAD", "auth/login", &[], None).await.expect(405);
        assert_eq!(refused.header("allow"), "POST");
        let events = format!("concerts/{}/queue/tokens/me/events", sale.concert);
        let refused = fan.raw("HEAD", &events, &[], None).await.expect(405);
        assert_eq!(refused.header("allow"), "GET");
    })
    .await;
}
