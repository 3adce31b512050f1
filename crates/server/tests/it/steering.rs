//! Operators steer a line while it runs, and every action is on record.

use onsale_test_support::World;
use serde_json::json;

use crate::lane::{Lane, policy};

#[tokio::test(flavor = "multi_thread")]
async fn operators_admit_forecast_and_speak_and_the_audit_log_has_it_all() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale_with(4, 100, policy(3600, 1, 3, false)).await;
        let mut fans = app.fans(8, 0).await;
        for fan in &mut fans {
            app.join(fan, &sale).await;
        }
        let operator = app.operator().await;
        let admin = format!("admin/concerts/{}", sale.concert);
        let me = format!("concerts/{}/queue/tokens/me", sale.concert);
        // A dry run changes nothing and says what would be.
        let before = operator.get(&format!("{admin}/queue/policy")).await.expect(200);
        let mut faster = before.json.clone();
        faster["interval_secs"] = json!(60);
        faster["active_limit"] = json!(1);
        let told = operator.post(&format!("{admin}/queue/forecast"), faster.clone()).await.expect(200).json;
        let last = told["positions"].as_array().unwrap().last().unwrap().clone();
        assert_eq!((told["waiting"].as_i64(), last["position"].as_i64()), (Some(8), Some(8)));
        assert!(last["then"]["low"].as_i64() < last["now"]["low"].as_i64(), "{told}");
        assert_eq!(told["active"], 0, "{told}");
        // Of as many as one asks about.
        let many = operator.post(&format!("{admin}/queue/forecast?fans=70000"), faster.clone()).await.expect(200).json;
        assert_eq!((&many["waiting"], &many["positions"][3]["position"]), (&json!(70_000), &json!(70_000)), "{many}");
        for query in ["fans=0", "fans=10000001"] {
            let path = format!("{admin}/queue/forecast?{query}");
            operator.post(&path, faster.clone()).await.expect_problem(422, "validation_failed");
        }
        let path = format!("{admin}/queue/forecast?fan=1");
        operator.post(&path, faster.clone()).await.expect_problem(400, "malformed_request");
        assert_eq!(operator.get(&format!("{admin}/queue/policy")).await.expect(200).json, before.json);
        let mut wrong = faster.clone();
        wrong["batch"] = json!(0);
        operator.post(&format!("{admin}/queue/forecast"), wrong).await.expect_problem(422, "validation_failed");
        // Admit, never beyond the limit; also while paused.
        operator.post_empty(&format!("{admin}/queue/pause")).await.expect(200);
        let path = format!("{admin}/queue/admissions");
        let two = operator.post(&path, json!({ "count": 2 })).await.expect(200).json;
        assert_eq!(two, json!({ "admitted": 2, "why_fewer": null }));
        let limited = operator.post(&path, json!({ "count": 5 })).await.expect(200).json;
        assert_eq!(limited, json!({ "admitted": 1, "why_fewer": "limit_reached" }), "the limit is 3");
        for count in [0, -1, 100_001] {
            operator.post(&path, json!({ "count": count })).await.expect_problem(422, "validation_failed");
        }
        operator.post(&path, json!({ "count": "two" })).await.expect_problem(400, "malformed_request");
        // A lower limit drains and kicks nobody.
        let etag = operator.get(&format!("{admin}/queue/policy")).await.expect(200).header("etag").to_owned();
        operator.send("PUT", &format!("{admin}/queue/policy"), &[("If-Match", &etag)], faster).await.expect(200);
        operator.post_empty(&format!("{admin}/queue/resume")).await.expect(200);
        for fan in &fans[..3] {
            fan.get(&format!("shows/{}/seats", sale.show)).await.expect(200);
        }
        let mut lane = Lane::of(world, &app, &sale).await;
        lane.due().await;
        assert_eq!(lane.tick().await.promoted, 0);
        // Everyone in line hears the message.
        let words = "The second show \"goes\" on sale at noon.";
        operator.send("PUT", &format!("{admin}/queue/message"), &[], json!({ "message": words })).await.expect(204);
        assert_eq!(fans[5].get(&me).await.expect(200).json["message"], words);
        let long = json!({ "message": "x".repeat(501) });
        operator
            .send("PUT", &format!("{admin}/queue/message"), &[], long)
            .await
            .expect_problem(422, "validation_failed");
        // All of it is on record, the newest first, with who did it; and the record cannot be changed.
        let audit = operator.get(&format!("{admin}/audit?limit=100")).await.expect(200).json;
        let items = audit["items"].as_array().unwrap();
        let actions: Vec<&str> = items.iter().map(|item| item["action"].as_str().unwrap()).collect();
        assert_eq!(actions, ["edit", "on_sale", "policy", "admit", "admit", "paused", "on_sale", "create"]);
        let changes: Vec<&str> =
            items[2]["changes"].as_array().unwrap().iter().map(|change| change["what"].as_str().unwrap()).collect();
        assert_eq!(changes, ["interval_secs", "active_limit"]);
        assert_eq!(items[0]["changes"][0]["to"], words);
        assert!(items.iter().all(|item| item["actor_id"].is_string() && item["created_at"].is_string()));
        let page = operator.get(&format!("{admin}/audit?limit=3")).await.expect(200).json;
        let next = page["next_cursor"].as_str().unwrap();
        let rest = operator.get(&format!("{admin}/audit?limit=100&cursor={next}")).await.expect(200).json;
        assert_eq!(rest["items"].as_array().unwrap().len(), 5);
        let mut sql = world.sql().await;
        for statement in
            ["UPDATE audit_log SET action = 'x'", "DELETE FROM audit_log", "TRUNCATE audit_log", "DELETE FROM line_log"]
        {
            assert!(sql.run(statement).await.is_err(), "{statement}");
        }
    })
    .await;
}
