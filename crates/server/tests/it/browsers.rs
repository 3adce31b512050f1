//! What browsers and their pages need: other origins, HEAD.

use onsale_test_support::World;

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
        use std::io::Read;
        let app = world.app().await;
        let sale = app.sale(200, 100).await;
        let mut fan = app.fan("mina").await;
        app.join(&mut fan, &sale).await;
        let seats = format!("shows/{}/seats", sale.show);
        for path in [seats.as_str(), "/openapi.json"] {
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
                let mut unpacked = vec![];
                match encoding {
                    "gzip" => drop(flate2::read::GzDecoder::new(&*answer.bytes).read_to_end(&mut unpacked).unwrap()),
                    "br" => drop(brotli::Decompressor::new(&*answer.bytes, 4096).read_to_end(&mut unpacked).unwrap()),
                    "zstd" => unpacked = zstd::decode_all(&*answer.bytes).unwrap(),
                    _ => unpacked.clone_from(&answer.bytes),
                }
                assert!(unpacked == plain.bytes && (encoding.is_empty() || answer.bytes.len() < plain.bytes.len() / 4));
                let known = [("If-None-Match", plain.header("etag")), ("Accept-Encoding", accepted)];
                fan.raw("GET", path, &known, None).await.expect(304);
            }
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
