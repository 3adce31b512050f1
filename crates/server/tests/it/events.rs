//! Places as server-sent events.

use std::time::Duration;

use onsale_application::line::{QueueTokens, StreamPass};
use onsale_test_support::{App, Client, World};
use serde_json::{Value, json};

use crate::lane::{Lane, policy};

/// Reads a stream event by event.
pub(crate) struct Events {
    pub(crate) response: reqwest::Response,
    buffer: String,
}

#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) data: Value,
}

impl Events {
    pub(crate) async fn open(app: &App, fan: &Client, concert: &str, last: Option<&str>) -> Self {
        let url = format!("{}/api/v1/concerts/{concert}/queue/tokens/me/events", app.base);
        let mut request = reqwest::Client::new()
            .get(url)
            .bearer_auth(fan.access_token.as_ref().unwrap())
            .header("Queue-Token", fan.queue_token.as_ref().unwrap());
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), 200);
        Self { response, buffer: String::new() }
    }

    /// The next block that is not only a comment, or `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some((block, rest)) = self.buffer.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.buffer = rest;
                let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
                if let Some(data) = field("data: ") {
                    return Some(Event {
                        id: field("id: ").unwrap_or_default(),
                        name: field("event: ").unwrap(),
                        data: serde_json::from_str(&data).unwrap(),
                    });
                }
            }
            let chunk = tokio::time::timeout(Duration::from_secs(30), self.response.chunk()).await.unwrap().unwrap()?;
            self.buffer += &String::from_utf8_lossy(&chunk);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_hears_of_every_change_and_of_the_promotion() {
    World::with(async |world| {
        let app = world.app_with_schedulers().await;
        let sale = app.sale_with(4, 100, policy(3600, 1, 4, false)).await;
        let mut fans = app.fans(4, 0).await;
        for fan in &mut fans {
            app.join(fan, &sale).await;
        }
        let mut third = Events::open(&app, &fans[2], &sale.concert, None).await;
        for (name, value) in
            [("content-type", "text/event-stream"), ("x-accel-buffering", "no"), ("cache-control", "no-store")]
        {
            assert_eq!(third.response.headers()[name], value);
        }
        let first = third.next().await.unwrap();
        assert_eq!((first.name.as_str(), first.data["position"].as_i64()), ("place", Some(3)));
        // Somebody before leaves; the operators speak; the turn comes.
        fans[0].delete(&format!("concerts/{}/queue/tokens/me", sale.concert)).await.expect(204);
        let second = third.next().await.unwrap();
        assert_eq!(second.data["position"], 2);
        let operator = app.operator().await;
        let message = format!("admin/concerts/{}/queue/message", sale.concert);
        operator.send("PUT", &message, &[], serde_json::json!({ "message": "soon" })).await.expect(204);
        assert_eq!(third.next().await.unwrap().data["message"], "soon");
        let lane = Lane::of(world, &app, &sale).await;
        assert_eq!(lane.admit(2).await, 2);
        let promoted = loop {
            let event = third.next().await.unwrap();
            if event.data["state"] == "active" {
                break event;
            }
        };
        assert!(promoted.data["expires_at"].is_string());
        // Who comes back with the last id is not told the same again, but what is new.
        let mut fourth = Events::open(&app, &fans[3], &sale.concert, None).await;
        let known = fourth.next().await.unwrap();
        drop(fourth);
        let mut fourth = Events::open(&app, &fans[3], &sale.concert, Some(&known.id)).await;
        operator.send("PUT", &message, &[], serde_json::json!({ "message": "now" })).await.expect(204);
        assert_eq!(fourth.next().await.unwrap().data["message"], "now");
        // A place that moves to another device ends the stream of the old one, and says why.
        let mut other = fans[3].clone();
        app.join(&mut other, &sale).await;
        let end = fourth.next().await.unwrap();
        assert_eq!((end.name.as_str(), end.data["code"].as_str()), ("end", Some("queue_token_moved")));
        assert!(fourth.next().await.is_none());
        // A server that stops ends its streams at once.
        let mut open = Events::open(&app, &other, &sale.concert, None).await;
        open.next().await.unwrap();
        app.stop().await;
        assert!(open.next().await.is_none());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_beyond_the_limit_are_refused_and_a_closed_one_makes_room() {
    World::with(async |world| {
        world.set("ONSALE_LINE_STREAMS", "2");
        let app = world.app_with_schedulers().await;
        let sale = app.sale_with(1, 100, policy(3600, 1, 1, false)).await;
        let mut fans = app.fans(3, 0).await;
        for fan in &mut fans {
            app.join(fan, &sale).await;
        }
        let path = format!("concerts/{}/queue/tokens/me/events", sale.concert);
        let mut without = fans[0].clone();
        without.queue_token = None;
        without.get(&path).await.expect_problem(403, "queue_token_required");
        let first = Events::open(&app, &fans[0], &sale.concert, None).await;
        let mut second = Events::open(&app, &fans[1], &sale.concert, None).await;
        let refused = fans[2].get(&path).await.expect_problem(503, "too_many_streams");
        assert_eq!(refused.header("retry-after"), "30");
        fans[2].get(&format!("concerts/{}/queue/tokens/me", sale.concert)).await.expect(200);
        drop(first);
        let operator = app.operator().await;
        let message = format!("admin/concerts/{}/queue/message", sale.concert);
        let mut round = 0;
        loop {
            let url = format!("{}/api/v1/{path}", app.base);
            let request = reqwest::Client::new().get(url).bearer_auth(fans[2].access_token.as_ref().unwrap());
            let answer = request.header("Queue-Token", fans[2].queue_token.as_ref().unwrap()).send().await.unwrap();
            if answer.status().as_u16() == 200 {
                break;
            }
            // The server notices when it writes that the first one is gone.
            round += 1;
            let words = serde_json::json!({ "message": format!("round {round}") });
            operator.send("PUT", &message, &[], words).await.expect(204);
            loop {
                let event = second.next().await.unwrap();
                if event.data["message"] == format!("round {round}") {
                    break;
                }
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_in_the_pre_queue_hears_what_operators_say() {
    World::with(async |world| {
        let app = world.app_with_schedulers().await;
        let operator = app.operator().await;
        let concert = operator.post("admin/concerts", json!({ "title": "Drawn" })).await.expect(201);
        let id = concert.json["id"].as_str().unwrap().to_owned();
        let path = format!("admin/concerts/{id}");
        operator.send("PATCH", &path, &[("If-Match", "\"1\"")], json!({ "sale_state": "pre_queue" })).await.expect(200);
        let mut fan = app.fan("mina").await;
        let joined = fan.post_empty(&format!("concerts/{id}/queue/tokens")).await.expect(201);
        fan.queue_token = joined.json["token"].as_str().map(str::to_owned);
        let mut stream = Events::open(&app, &fan, &id, None).await;
        assert_eq!(stream.next().await.unwrap().data["state"], "pre_queue");
        operator.send("PUT", &format!("{path}/queue/message"), &[], json!({ "message": "at noon" })).await.expect(204);
        let told = stream.next().await.unwrap();
        assert_eq!((&told.data["state"], &told.data["message"]), (&json!("pre_queue"), &json!("at noon")));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_operators_said_while_nobody_listened_is_told_on_coming_back() {
    World::with(async |world| {
        let app = world.app_with_schedulers().await;
        let sale = app.sale_with(4, 100, policy(3600, 1, 4, false)).await;
        let mut fan = app.fan("mina").await;
        app.join(&mut fan, &sale).await;
        let known = Events::open(&app, &fan, &sale.concert, None).await.next().await.unwrap();
        let operator = app.operator().await;
        let message = format!("admin/concerts/{}/queue/message", sale.concert);
        operator.send("PUT", &message, &[], json!({ "message": "now" })).await.expect(204);
        let me = format!("concerts/{}/queue/tokens/me", sale.concert);
        let mut looker = fan.clone();
        // Without a token nobody is told to come later.
        looker.queue_token = None;
        while looker.get(&me).await.expect(200).json["message"] != "now" {
            tokio::task::yield_now().await;
        }
        let back = Events::open(&app, &fan, &sale.concert, Some(&known.id)).await.next().await.unwrap();
        assert_eq!((&back.data["message"], &back.data["position"]), (&json!("now"), &json!(1)));
    })
    .await;
}

/// What `EventSource` of a browser does: it opens an address and sends no headers.
async fn open_address(app: &App, address: &str) -> reqwest::Response {
    reqwest::Client::new().get(format!("{}{address}", app.base)).send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_opens_one_stream_of_one_fan_in_one_line() {
    World::with(async |world| {
        let (app, other) = (world.app().await, world.app().await);
        let sale = app.sale_with(4, 100, policy(3600, 1, 1, false)).await;
        let elsewhere = app.sale(4, 100).await;
        let mut fan = app.fan("mina").await;
        let place = app.join(&mut fan, &sale).await;
        let passes = format!("concerts/{}/queue/tokens/me/stream-passes", sale.concert);
        let pass = fan.post_empty(&passes).await.expect(201).json;
        let url = pass["url"].as_str().unwrap();
        assert!(url.ends_with(&format!("?pass={}", pass["pass"].as_str().unwrap())), "{url}");
        let wrong_line = url.replace(&sale.concert, &elsewhere.concert);
        assert_eq!(open_address(&app, &wrong_line).await.status().as_u16(), 401);
        // At whichever instance the browser ends up.
        let response = open_address(&other, url).await;
        assert_eq!(response.status().as_u16(), 200);
        let mut stream = Events { response, buffer: String::new() };
        assert_eq!(stream.next().await.unwrap().data["number"], place["number"]);
        // Used at one, used at all.
        for instance in [&app, &other] {
            let again = open_address(instance, url).await;
            assert_eq!(again.status().as_u16(), 401);
            assert!(again.text().await.unwrap().contains("stream_pass_invalid"));
        }
        let forged = format!("{url}A");
        assert_eq!(open_address(&app, &forged).await.status().as_u16(), 401);
        // Whoever has no place's token gets no pass, and headers still do.
        let stranger = app.fan("other").await;
        stranger.post_empty(&passes).await.expect_problem(403, "queue_token_required");
        let mut thief = stranger.clone();
        thief.queue_token.clone_from(&fan.queue_token);
        thief.post_empty(&passes).await.expect_problem(401, "token_invalid");
        Events::open(&app, &fan, &sale.concert, None).await.next().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_show_one_pass_at_once_one_gets_the_stream() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale_with(4, 100, policy(3600, 1, 1, false)).await;
        let mut fan = app.fan("mina").await;
        app.join(&mut fan, &sale).await;
        let passes = format!("concerts/{}/queue/tokens/me/stream-passes", sale.concert);
        let pass = fan.post_empty(&passes).await.expect(201).json;
        let url = pass["url"].as_str().unwrap();
        let opened = futures_util::future::join_all((0..16).map(|_| open_address(&app, url))).await;
        let mut statuses: Vec<u16> = opened.iter().map(|response| response.status().as_u16()).collect();
        statuses.sort_unstable();
        assert_eq!(statuses.first(), Some(&200));
        assert!(statuses[1..].iter().all(|status| *status == 401), "{statuses:?}");
    })
    .await;
}

/// Time passes: the test signs the same pass with an earlier end, as if it had been given out then.
#[tokio::test(flavor = "multi_thread")]
async fn a_pass_for_a_stream_is_out_after_30_seconds() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale_with(4, 100, policy(3600, 1, 1, false)).await;
        let mut fan = app.fan("mina").await;
        app.join(&mut fan, &sale).await;
        let passes = format!("concerts/{}/queue/tokens/me/stream-passes", sale.concert);
        let given = fan.post_empty(&passes).await.expect(201).json;
        let (url, text) = (given["url"].as_str().unwrap(), given["pass"].as_str().unwrap());
        let tokens = &app.instance.gate.0.tokens;
        let pass = tokens.verify_pass(text).unwrap();
        let older = tokens.sign_pass(&StreamPass { until_ms: pass.until_ms - 30_000, ..pass });
        let refused = open_address(&app, &url.replace(text, &older)).await;
        assert_eq!(refused.status().as_u16(), 401);
        assert!(refused.text().await.unwrap().contains("stream_pass_invalid"));
        // Which was for its age alone: with the end that it was given, it opens the stream.
        assert_eq!(open_address(&app, url).await.status().as_u16(), 200);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_never_read_their_stream_hold_up_nobody_else() {
    World::with(async |world| {
        let app = world.app_with_schedulers().await;
        let sale = app.sale_with(1, 100, policy(3600, 1, 1, false)).await;
        let mut fans = app.fans(21, 0).await;
        for fan in &mut fans {
            app.join(fan, &sale).await;
        }
        let address = app.base.strip_prefix("http://").unwrap().to_owned();
        let mut silent = vec![];
        for fan in &fans[..20] {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            // The smallest window that the system allows.
            socket.set_recv_buffer_size(1).unwrap();
            let mut stream = socket.connect(address.parse().unwrap()).await.unwrap();
            let request = format!(
                "GET /api/v1/concerts/{}/queue/tokens/me/events HTTP/1.1\r\nHost: x\r\n\
                 Authorization: Bearer {}\r\nQueue-Token: {}\r\n\r\n",
                sale.concert,
                fan.access_token.as_ref().unwrap(),
                fan.queue_token.as_ref().unwrap()
            );
            tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
            silent.push(stream);
        }
        let mut reader = Events::open(&app, &fans[20], &sale.concert, None).await;
        reader.next().await.unwrap();
        let operator = app.operator().await;
        let message = format!("admin/concerts/{}/queue/message", sale.concert);
        for round in 0..20 {
            let words = format!("{round:0>500}");
            operator.send("PUT", &message, &[], serde_json::json!({ "message": words })).await.expect(204);
            while reader.next().await.unwrap().data["message"] != words {}
        }
        drop(silent);
    })
    .await;
}
