//! `onsale plan` on what the stores have: a draft, and the log of a sale; and dry runs.

use std::process::Command;

use onsale_domain::plan::Costs;
use onsale_server::plan::{Arguments, make, read_concert, read_log};
use onsale_test_support::{Sale, World};
use serde_json::{Value, json};

use crate::lane::{Lane, concert_id, policy};

fn arguments() -> Arguments {
    let machines = Arguments { cores: 2.0, postgres_cores: 4.0, busy_share: 0.6, ..Arguments::default() };
    Arguments { seed: 1, no_advice: true, ..machines }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draft_is_planned_with_its_own_settings_seats_and_holds() {
    World::with(async |world| {
        let app = world.app().await;
        let operator = app.operator().await;
        let body = json!({ "title": "Planned", "queue_policy": policy(5, 20, 200, true) });
        let id = operator.post("admin/concerts", body).await.expect(201).json["id"].as_str().unwrap().to_owned();
        let show =
            json!({ "venue": "Hall", "starts_at": "2100-01-01T10:00:00Z", "hold_secs": 120, "seats_per_fan": 2 });
        let show = operator.post(&format!("admin/concerts/{id}/shows"), show).await.expect(201);
        let block = json!({ "section": "A", "rows": 3, "seats_per_row": 100, "price_minor": 100 });
        let path = format!("admin/shows/{}/seats", show.json["id"].as_str().unwrap());
        operator.post(&path, json!({ "blocks": [block] })).await.expect(201);
        let concert = read_concert(&app.instance.postgres, concert_id(&id)).await.unwrap();
        assert_eq!((concert.seats, concert.seats_per_fan, concert.hold_secs), (300, 2, Some(120)));
        let given = Arguments { fans: Some(5_000), batch: Some(40), ..arguments() };
        let plan = make(&given, Some(&concert), None, Costs::default()).unwrap();
        // What is given goes before what the concert has.
        let settings = (plan.sale.policy.interval_secs, plan.sale.policy.batch, plan.sale.policy.active_limit);
        assert_eq!((settings, plan.sale.seats, plan.sale.hold_secs), ((5, 40, 200), 300, 120));
        assert!(plan.outcome.sold_95_at_secs.is_some() && plan.outcome.sold <= 300, "{:?}", plan.outcome.fates);
        // The same from a terminal.
        let arguments = ["plan", "--concert", &id, "--fans", "5000", "--batch", "40", "--open", "20:00", "--json"];
        let ran =
            Command::new(env!("CARGO_BIN_EXE_onsale")).args(arguments).envs(world.environment()).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        let told: Value = serde_json::from_slice(&ran.stdout).unwrap();
        assert_eq!(told["sale"], serde_json::to_value(&plan.sale).unwrap());
        assert!(told["advice"]["reasons"].is_array() && told["opens_at_secs"] == 72_000, "{told}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_a_sale_tells_its_crowd() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale_with(20, 100, policy(3_600, 1, 50, false)).await;
        let mut fans = app.fans(12, 0).await;
        for fan in &mut fans {
            app.join(fan, &sale).await;
        }
        let lane = Lane::of(world, &app, &sale).await;
        // The first batch may be due too.
        let called = usize::try_from(lane.admit(10).await).unwrap();
        assert!((10..=11).contains(&called), "{called}");
        for fan in &fans[..called] {
            fan.get(&format!("shows/{}/seats", sale.show)).await.expect(200);
        }
        lane.tick().await;
        let log = app.nobody().get(&format!("concerts/{}/queue/log", sale.concert)).await.expect(200);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &log.bytes).unwrap();
        let past = read_log(file.path()).unwrap();
        assert_eq!((past.fans, past.drawn, past.bought), (12, 0, 0));
        assert_eq!(usize::try_from(past.waits.called), Ok(called));
        assert!(past.notice.is_some(), "all of them used their turns");
        let plan = make(&Arguments { seats: Some(20), ..arguments() }, None, Some(past), Costs::default()).unwrap();
        assert_eq!(plan.sale.crowd.fans, 12);
        std::fs::write(file.path(), "{\"kind\":\"invented\",\"number\":1,\"at_ms\":1}\n").unwrap();
        assert!(read_log(file.path()).unwrap_err().to_string().contains("line 1"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_answers_for_drafts_and_pre_queues_and_its_high_end_moves_with_the_batch() {
    World::with(async |world| {
        let app = world.app().await;
        let operator = app.operator().await;
        let body = json!({ "title": "Dry", "queue_policy": policy(60, 100, 2_000, true) });
        let id = operator.post("admin/concerts", body).await.expect(201).json["id"].as_str().unwrap().to_owned();
        let dry = format!("admin/concerts/{id}/queue/forecast");
        let nobody = operator.post(&dry, policy(60, 200, 2_000, true)).await.expect(200).json;
        assert_eq!((&nobody["waiting"], &nobody["positions"]), (&json!(0), &json!([])));
        let many = format!("{dry}?fans=100000");
        let told = operator.post(&many, policy(60, 200, 2_000, true)).await.expect(200).json;
        let last = &told["positions"][3];
        let (now, then) = (last["now"]["high"].as_i64().unwrap(), last["then"]["high"].as_i64().unwrap());
        assert!(now > 60_000 && then * 10 < now * 6, "twice the batch, and room for it: {told}");
        assert!(last["then"]["low"].as_i64() < last["now"]["low"].as_i64(), "{told}");
        // Those who register are the line of a pre-queue.
        let show = json!({ "venue": "Hall", "starts_at": "2100-01-01T10:00:00Z" });
        operator.post(&format!("admin/concerts/{id}/shows"), show).await.expect(201);
        let open = json!({ "sale_state": "pre_queue" });
        let path = format!("admin/concerts/{id}");
        let version = format!("\"{}\"", operator.get(&path).await.expect(200).json["version"]);
        operator.send("PATCH", &path, &[("If-Match", &version)], open).await.expect(200);
        let sale = Sale { concert: id, show: String::new() };
        for fan in &mut app.fans(3, 0).await {
            app.join(fan, &sale).await;
        }
        let told = operator.post(&dry, policy(60, 1, 2_000, true)).await.expect(200).json;
        let last = told["positions"].as_array().unwrap().last().unwrap();
        assert_eq!((&told["waiting"], &last["position"], &last["then"]["low"]), (&json!(3), &json!(3), &json!(120)));
    })
    .await;
}
