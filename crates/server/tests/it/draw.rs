//! The opening draw: fair, committed to, recomputable, and survivable.

use std::{io::Read, path::Path, process::Command, sync::Arc};

use onsale_application::line::{LineDraws, LinePlaces, LineRecords};
use onsale_domain::ids::UserId;
use onsale_local_stack::{Stack, StackConfig};
use onsale_test_support::{App, Client, World};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    at_once,
    lane::{Lane, concert_id},
};

fn policy(idle: bool) -> Value {
    json!({ "interval_secs": 3600, "batch": 1, "active_limit": 1, "idle_admission": idle, "active_sliding_secs": 300,
        "active_absolute_secs": 900, "waiting_limit": 1000 })
}

async fn put(operator: &Client, concert: &str, state: &str) {
    let path = format!("admin/concerts/{concert}");
    let version = operator.get(&path).await.expect(200).json["version"].to_string();
    operator.send("PATCH", &path, &[("If-Match", &version)], json!({ "sale_state": state })).await.expect(200);
}

/// A concert whose pre-queue is open, and its operator.
async fn pre_queue(app: &App, idle: bool) -> (Client, String) {
    let operator = app.operator().await;
    let body = json!({ "title": "Drawn", "queue_policy": policy(idle) });
    let concert = operator.post("admin/concerts", body).await.expect(201).json["id"].as_str().unwrap().to_owned();
    let show = json!({ "venue": "Hall", "starts_at": "2100-01-01T10:00:00Z" });
    let show = operator.post(&format!("admin/concerts/{concert}/shows"), show).await.expect(201).json["id"].clone();
    let block = json!({ "section": "A", "rows": 1, "seats_per_row": 2, "price_minor": 1 });
    let seats = format!("admin/shows/{}/seats", show.as_str().unwrap());
    operator.post(&seats, json!({ "blocks": [block] })).await.expect(201);
    put(&operator, &concert, "pre_queue").await;
    (operator, concert)
}

fn verify(arguments: &[(&str, &Path)]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onsale"));
    command.args(["line", "verify"]);
    for (name, path) in arguments {
        command.arg(name).arg(path);
    }
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_there_at_the_opening_is_drawn_and_everybody_can_check_it() {
    const FANS: usize = 60;
    World::with(async |world| {
        let app = world.app().await;
        let (operator, concert) = pre_queue(&app, true).await;
        let (joins, me) = (format!("concerts/{concert}/queue/tokens"), format!("concerts/{concert}/queue/tokens/me"));
        let mut fans = app.fans(FANS + 2, 0).await;
        let mut receipts = vec![];
        for fan in &mut fans[..FANS] {
            let place = fan.post_empty(&joins).await.expect(201).json;
            assert_eq!((place["state"].as_str(), place["number"].as_i64()), (Some("pre_queue"), Some(0)));
            assert!(place["position"].is_null() && place["eta"].is_null());
            fan.queue_token = place["token"].as_str().map(str::to_owned);
            let receipt = fan.get(&format!("{me}/receipt")).await.expect(200).json;
            receipts.push(receipt["receipt"].as_str().unwrap().to_owned());
        }
        // Joining again neither draws again nor makes a second ballot; one fan leaves before the opening.
        let again = fans[3].post_empty(&joins).await.expect(200).json;
        assert_eq!(again["token"].as_str(), fans[3].queue_token.as_deref());
        fans[4].delete(&me).await.expect(204);
        let before = app.nobody().get(&format!("concerts/{concert}/queue")).await.expect(200).json;
        assert_eq!(before["registered"], FANS as u64 - 1);
        let commitment = before["draw_commitment"].as_str().unwrap().to_owned();
        let published = format!("concerts/{concert}/queue/draw");
        assert!(
            app.nobody().get(&published).await.expect(200).json["seed"].is_null(),
            "the seed is a secret until then"
        );
        put(&operator, &concert, "on_sale").await;
        // Whoever joins at the opening stands behind, whatever idle admission says.
        for (index, fan) in fans[FANS..].iter_mut().enumerate() {
            let place = fan.post_empty(&joins).await.expect(201).json;
            assert_eq!(place["number"].as_u64(), Some((FANS + index) as u64));
        }
        operator.post_empty(&format!("admin/concerts/{concert}/queue/resume")).await.expect(200);
        let mut numbers = vec![];
        for (index, fan) in fans[..FANS].iter().enumerate() {
            if index == 4 {
                fan.get(&me).await.expect_problem(404, "not_in_line");
                continue;
            }
            let place = fan.get(&me).await.expect(200).json;
            // The first was promoted when the line began to move.
            let expected = if place["number"] == 1 { None } else { place["number"].as_i64().map(|number| number - 1) };
            assert_eq!(place["position"].as_i64(), expected, "{place}");
            numbers.push(place["number"].as_i64().unwrap());
        }
        let in_order: Vec<i64> = (1..FANS as i64).collect();
        assert_ne!(numbers, in_order, "not in the order of joining");
        let mut sorted = numbers.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, in_order);
        // Anyone can recompute it from what is published.
        let folder = tempfile::tempdir().unwrap();
        let (draw, keys, receipt) =
            (folder.path().join("draw"), folder.path().join("keys"), folder.path().join("receipt"));
        // What is published may be a second old.
        let answer = loop {
            let answer = app.nobody().get(&published).await.expect(200);
            let text = String::from_utf8_lossy(&answer.bytes).into_owned();
            let head: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
            if !head["seed"].is_null() {
                break answer;
            }
        };
        assert!(String::from_utf8_lossy(&answer.bytes).contains(&commitment), "what was committed to");
        std::fs::write(&draw, &answer.bytes).unwrap();
        std::fs::write(&keys, app.nobody().get("/.well-known/jwks.json").await.expect(200).bytes).unwrap();
        std::fs::write(&receipt, &receipts[0]).unwrap();
        let (holds, text) = verify(&[("--draw", &draw), ("--receipt", &receipt), ("--keys", &keys)]);
        assert!(holds && text.contains(&format!("{} ballots", FANS - 1)), "{text}");
        assert!(text.contains(&format!("the ballot of the receipt has number {}", numbers[0])), "{text}");
        // Any change is seen.
        let lines: Vec<String> = String::from_utf8_lossy(&answer.bytes).lines().map(str::to_owned).collect();
        let mut swapped = lines.clone();
        let ballot = |line: &str| serde_json::from_str::<Value>(line).unwrap()["ballot"].as_str().unwrap().to_owned();
        let (a, b) = (ballot(&lines[10]), ballot(&lines[30]));
        swapped[10] = lines[10].replace(&a, &b);
        swapped[30] = lines[30].replace(&b, &a);
        std::fs::write(&draw, swapped.join("\n")).unwrap();
        let (holds, text) = verify(&[("--draw", &draw)]);
        assert!(!holds && text.contains("should stand farther back"), "{text}");
        std::fs::write(&draw, lines.join("\n").replace(&commitment, &"ab".repeat(32))).unwrap();
        let (holds, text) = verify(&[("--draw", &draw)]);
        assert!(!holds && text.contains("the seed does not match"), "{text}");
        // Many more, and some far behind: the list has them all, whole and in pages.
        world
            .sql()
            .await
            .run(&format!(
                "INSERT INTO line_places (concert_id, number, user_id, place_id, token_id, joined_ms)
                 SELECT '{concert}', n, gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 1
                 FROM (SELECT generate_series(1001, 7001) UNION SELECT generate_series(50001, 50003)) AS many (n);
                 UPDATE lines SET draw_last = 50003 WHERE concert_id = '{concert}'"
            ))
            .await
            .unwrap();
        let numbers = async |query: &str| -> Vec<i64> {
            let answer = app.nobody().get(&format!("{published}{query}")).await.expect(200);
            let text = String::from_utf8_lossy(&answer.bytes).into_owned();
            text.lines()
                .skip(1)
                .map(|line| serde_json::from_str::<Value>(line).unwrap()["number"].as_i64().unwrap())
                .collect()
        };
        let expected: Vec<i64> = (1..FANS as i64 + 2).chain(1001..=7001).chain(50001..=50003).collect();
        while numbers("").await != expected {}
        let plain = app.nobody().get(&published).await.expect(200);
        let packed = app.nobody().raw("GET", &published, &[("Accept-Encoding", "gzip")], None).await.expect(200);
        let mut unpacked = vec![];
        flate2::read::GzDecoder::new(&*packed.bytes).read_to_end(&mut unpacked).unwrap();
        let ballots =
            |text: &[u8]| -> Vec<String> { String::from_utf8_lossy(text).lines().skip(1).map(str::to_owned).collect() };
        assert_eq!(packed.header("content-encoding"), "gzip");
        assert!(ballots(&unpacked) == ballots(&plain.bytes));
        let (mut paged, mut after) = (vec![], 0);
        loop {
            let page = numbers(&format!("?after={after}&limit=900")).await;
            let Some(last) = page.last() else { break };
            after = *last;
            paged.extend(page);
        }
        assert_eq!(paged, expected);
        assert_eq!(numbers(&format!("?after={}", i64::MAX)).await, [0; 0]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pre_queue_survives_the_loss_of_redis_before_and_after_the_opening() {
    const FANS: usize = 30;
    let folder = tempfile::tempdir().unwrap();
    let config = StackConfig { data_dir: folder.path().to_owned(), durable: true, max_connections: 60 };
    let mut stack = Stack::start(config).await.unwrap();
    World::on(stack.database_url(), stack.redis_url())
        .await
        .run(async |world| {
            let app = world.app().await;
            let (operator, concert) = pre_queue(&app, false).await;
            let (joins, me) =
                (format!("concerts/{concert}/queue/tokens"), format!("concerts/{concert}/queue/tokens/me"));
            let mut fans = app.fans(FANS + 1, 0).await;
            for fan in &mut fans[..FANS] {
                let place = fan.post_empty(&joins).await.expect(201).json;
                fan.queue_token = place["token"].as_str().map(str::to_owned);
            }
            let sale = onsale_test_support::Sale { concert: concert.clone(), show: String::new() };
            Lane::of(world, &app, &sale).await.tick().await;
            stack.kill_redis().await;
            stack.start_redis(false).await.unwrap();
            // Half of them ask before the opening, half after it; somebody new joins in between.
            for fan in &fans[..FANS / 2] {
                assert_eq!(fan.get(&me).await.expect(200).json["state"], "pre_queue");
            }
            put(&operator, &concert, "on_sale").await;
            let late = fans[FANS].post_empty(&joins).await.expect(201).json["number"].as_i64().unwrap();
            for fan in &fans[FANS / 2..FANS] {
                assert_ne!(fan.get(&me).await.expect(200).json["state"], "pre_queue");
            }
            let lane = Lane::of(world, &app, &sale).await;
            lane.tick().await;
            let mut numbers = std::collections::BTreeSet::new();
            for fan in &fans[..FANS] {
                numbers.insert(fan.get(&me).await.expect(200).json["number"].as_i64().unwrap());
            }
            assert_eq!(numbers.len(), FANS, "everybody has a number of one's own");
            assert!(numbers.iter().all(|number| *number < late), "{numbers:?} all stand before {late}");
            let draw = app.nobody().get(&format!("concerts/{concert}/queue/draw")).await.expect(200);
            // Lost again, after the draw.
            let before: Vec<i64> = {
                let mut all = vec![];
                for fan in &fans[..FANS] {
                    all.push(fan.get(&me).await.expect(200).json["number"].as_i64().unwrap());
                }
                all
            };
            stack.kill_redis().await;
            stack.start_redis(false).await.unwrap();
            for (fan, number) in fans[..FANS].iter().zip(before) {
                let place = fan.get(&me).await.expect(200).json;
                assert_eq!(place["number"].as_i64(), Some(number));
                // Nobody had ever been called, so the first promotion was due at once.
                assert_eq!(place["state"], if number == 1 { "active" } else { "waiting" });
            }
            let path = folder.path().join("draw");
            std::fs::write(&path, &draw.bytes).unwrap();
            let (holds, text) = verify(&[("--draw", &path)]);
            assert!(holds, "{text}");
        })
        .await;
    stack.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_draw_at_once_give_no_number_twice_and_leave_nobody_out() {
    const FANS: usize = 300;
    World::with(async |world| {
        let apps = [world.app().await, world.app().await];
        let (_, concert) = pre_queue(&apps[0], false).await;
        let concert = concert_id(&concert);
        at_once((0..FANS).map(|index| {
            let keeper = Arc::clone(&apps[index % 2].instance.keeper);
            async move { keeper.join(concert, UserId(Uuid::new_v4())).await.unwrap() }
        }))
        .await;
        let postgres = &apps[0].instance.postgres;
        let ballots = postgres.ballots(concert, None, 1_000).await.unwrap();
        assert_eq!(ballots.len(), FANS);
        postgres.open_draw(concert).await.unwrap();
        let made = at_once((0..8_usize).map(|index| {
            let postgres = Arc::clone(&apps[index % 2].instance.postgres);
            async move {
                let mut made = 0;
                loop {
                    match postgres.draw_part(concert, 5).await.unwrap() {
                        Some((0, _)) => return made,
                        Some((count, _)) => made += count,
                        // Another one draws just now.
                        None => tokio::task::yield_now().await,
                    }
                }
            }
        }))
        .await;
        assert_eq!(made.iter().sum::<i64>(), FANS as i64, "{made:?}");
        let in_order: Vec<(i64, Uuid)> = (1..).zip(ballots.iter().map(|ballot| ballot.place_id)).collect();
        assert_eq!(postgres.drawn(concert, 0, 1_000).await.unwrap(), in_order);
    })
    .await;
}
