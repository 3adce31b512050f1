//! What a line publishes can be checked by anyone, and any change of it is seen.

use std::process::Command;

use onsale_test_support::World;
use serde_json::Value;

use crate::lane::{Lane, policy};

fn onsale(world: &World, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_onsale")).args(arguments).envs(world.environment()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_log_is_the_same_whole_and_in_pages() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale(1, 100).await;
        world
            .sql()
            .await
            .run(&format!(
                "INSERT INTO line_log (concert_id, index, kind, number, at_ms, hash)
                 SELECT '{}', n, 'departed', n, n, sha256('') FROM generate_series(1, 10001) AS n",
                sale.concert
            ))
            .await
            .unwrap();
        let indices = async |query: &str| -> Vec<i64> {
            let answer = app.nobody().get(&format!("concerts/{}/queue/log{query}", sale.concert)).await.expect(200);
            let text = String::from_utf8_lossy(&answer.bytes).into_owned();
            text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["index"].as_i64().unwrap()).collect()
        };
        while indices("").await.len() != 10_001 {}
        for (after, limit) in [(0, 100_000), (4_990, 20), (4_999, 1), (5_000, 5_001), (9_999, 7), (10_001, 7)] {
            let expected: Vec<i64> = (after + 1..=(after + limit).min(10_001)).collect();
            assert_eq!(indices(&format!("?after={after}&limit={limit}")).await, expected, "{after} {limit}");
        }
        // A stranger's index may be any number.
        for after in [i64::MAX, i64::MAX - 1] {
            assert_eq!(indices(&format!("?after={after}&limit=1")).await, [0; 0]);
        }
        for after in [-1, i64::MIN] {
            let path = format!("concerts/{}/queue/log?after={after}", sale.concert);
            app.nobody().get(&path).await.expect_problem(422, "validation_failed");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_the_log_and_the_report_agree_and_a_changed_log_does_not_hold() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale_with(4, 100, policy(3600, 4, 4, false)).await;
        let mut fans = app.fans(6, 1_000).await;
        let mut receipts = vec![];
        for fan in &mut fans {
            app.join(fan, &sale).await;
            let receipt = fan.get(&format!("concerts/{}/queue/tokens/me/receipt", sale.concert)).await.expect(200).json;
            receipts.push(receipt["receipt"].as_str().unwrap().to_owned());
        }
        let mut lane = Lane::of(world, &app, &sale).await;
        lane.due().await;
        assert_eq!(lane.tick().await.promoted, 4);
        let seats = app.seats(&fans[0], &sale).await;
        let held = fans[0]
            .post(&format!("shows/{}/reservations", sale.show), onsale_test_support::App::choice(&seats[..1]))
            .await
            .expect(201);
        fans[0].post_empty(&format!("reservations/{}/payment", held.json["id"].as_str().unwrap())).await.expect(201);
        fans[5].delete(&format!("concerts/{}/queue/tokens/me", sale.concert)).await.expect(204);
        lane.due().await;
        lane.tick().await;

        let log = app.nobody().get(&format!("concerts/{}/queue/log", sale.concert)).await.expect(200);
        let text = String::from_utf8_lossy(&log.bytes).into_owned();
        let kinds: Vec<String> = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["kind"].as_str().unwrap().to_owned())
            .collect();
        let turns = ["admitted", "admitted", "admitted", "admitted", "arrived", "paid", "departed", "admitted"];
        assert_eq!(kinds, [["joined"; 6].as_slice(), turns.as_slice()].concat());
        let rest = app.nobody().get(&format!("concerts/{}/queue/log?after=12", sale.concert)).await.expect(200);
        assert_eq!(String::from_utf8_lossy(&rest.bytes).lines().count(), 2);
        assert!(!text.contains(&fans[0].user_id), "nobody is named");

        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let write = |name: &str, bytes: &[u8]| std::fs::write(path(name), bytes).unwrap();
        write("log", &log.bytes);
        write("keys", &app.nobody().get("/.well-known/jwks.json").await.expect(200).bytes);
        write("receipt", receipts[2].as_bytes());
        let verify = |log: &str, receipt: &str| {
            onsale(
                world,
                &["line", "verify", "--log", &path(log), "--receipt", &path(receipt), "--keys", &path("keys")],
            )
        };
        let (holds, said) = verify("log", "receipt");
        assert!(holds && said.contains("admitted as number 3; higher numbers admitted before it: 0"), "{said}");
        // A receipt that nobody signed; a log in which somebody changed a number, or took an entry out.
        write("forged", receipts[2].replacen('.', ".x", 1).as_bytes());
        assert!(!verify("log", "forged").0);
        write("changed", text.replacen("\"number\":2", "\"number\":5", 1).as_bytes());
        let (holds, said) = verify("changed", "receipt");
        assert!(!holds && said.contains("does not hold together at entry 2"), "{said}");
        let without: Vec<&str> = text.lines().enumerate().filter(|(at, _)| *at != 3).map(|(_, line)| line).collect();
        write("shortened", without.join("\n").as_bytes());
        let (holds, said) = verify("shortened", "receipt");
        assert!(!holds && said.contains("entry 4"), "{said}");

        let (fine, report) = onsale(world, &["line", "report", "--concert", &sale.concert]);
        assert!(fine, "{report}");
        let value = |what: &str| {
            let line = report.lines().find(|line| line.starts_with(what)).unwrap_or_else(|| panic!("{what}: {report}"));
            line.split_whitespace().last().unwrap().to_owned()
        };
        assert_eq!(value("inversions"), "0");
        assert_eq!(value("admissions above the limit"), "0");
        assert_eq!((value("paid"), value("left while waiting")), ("1".to_owned(), "1".to_owned()));
        assert!(report.contains("estimates checked / kept                  5 / "), "{report}");
    })
    .await;
}
