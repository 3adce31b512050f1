//! Load runs: what they leave behind goes without a trace when it should, and nothing else does; a verdict finds lies.

use std::collections::BTreeMap;

use deadpool_redis::redis;
use onsale_server::load::{
    Job, clean,
    prepare::{self, Asked},
    recorded::{Recorded, Success},
    scenario::Scenario,
    target::Target,
    verdict,
};
use onsale_test_support::{App, Client, Sale, Sql, World};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::lane::concert_id;

/// A small sale: two at a time, everybody has a seat.
fn scenario(fans: usize) -> Scenario {
    serde_json::from_value(json!({
        "title": "A few fans", "about": "A test.", "generator": "crowd", "fans": fans,
        "arrivals": [{ "secs": 1, "rate": fans }], "journey": "buy", "clients": { "polite": 1.0 }, "patience_secs": 1,
        "read_ms": [0, 0], "choose_ms": [0, 0], "pay_ms": [0, 0],
        "sale": {
            "seats": 13, "rows_of": 5, "shows": 2, "price_minor": 100,
            "policy": { "interval_secs": 3600, "batch": 1, "active_limit": 2 },
        },
        "limits": { "wrong": 0, "dropped_share": 0.0, "unanswered_share": 0.0 },
    }))
    .unwrap()
}

/// The concert of a sale.
fn concert_of(sale: &Sale) -> Uuid {
    concert_id(&sale.concert).0
}

/// Everything that a run prepares, for an instance of the test's own.
async fn prepared(app: &App, fans: usize, asked: Option<Asked>) -> (Target, Job, Sale, Vec<Client>) {
    let target = Target::of(app.config.clone(), vec![app.base.clone()], vec![], 3_600).await.unwrap();
    let folder = std::env::temp_dir();
    let job = prepare::prepare(&target, "small", scenario(fans), asked, folder, 3_600).await.unwrap();
    let sale = Sale { concert: job.concert.to_string(), show: job.show.to_string() };
    let client = |fan: &onsale_server::load::Fan| {
        let mut client = app.nobody();
        client.access_token = Some(fan.access_token.clone());
        client.user_id = fan.user_id.to_string();
        client
    };
    let clients = job.fans.iter().map(client).collect();
    (target, job, sale, clients)
}

/// Holds the first seat that is free; answers the reservation.
async fn reserve(app: &App, fan: &mut Client, sale: &Sale) -> String {
    app.join(fan, sale).await;
    let free = |seat: &Value| seat["state"] == "available";
    let seats: Vec<Value> = app.seats(fan, sale).await.into_iter().filter(free).take(1).collect();
    let reserved = fan.post(&format!("shows/{}/reservations", sale.show), App::choice(&seats)).await.expect(201);
    reserved.json["id"].as_str().unwrap().to_owned()
}

async fn buy(app: &App, fan: &mut Client, sale: &Sale) -> String {
    let reservation = reserve(app, fan, sale).await;
    fan.post_empty(&format!("reservations/{reservation}/payment")).await.expect(201);
    reservation
}

/// Every row of every table, as text.
async fn everything(sql: &mut Sql) -> BTreeMap<String, Vec<String>> {
    let mut all = BTreeMap::new();
    for table in sql.texts("SELECT tablename::text AS t FROM pg_tables WHERE schemaname = 'public'").await {
        let rows = sql.texts(&format!("SELECT x::text AS t FROM {table} x ORDER BY 1")).await;
        all.insert(table, rows);
    }
    all
}

/// How many keys of a line there are.
async fn keys(world: &World, app: &App, sale: &Sale) -> i64 {
    let keys = app.instance.lines.keys(concert_id(&sale.concert));
    let mut redis = crate::lane::redis(world).await;
    redis::cmd("EXISTS").arg(keys.as_slice()).query_async(&mut redis).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_load_runs_made_goes_and_everything_else_is_as_before() {
    World::with(async |world| {
        let app = world.app().await;
        // A sale of every day, in which somebody minted for another test stands too, and a concert with a misleading title.
        let sale = app.sale(4, 100).await;
        let mut mina = app.fan("mina").await;
        app.charge(&mina, 1_000).await;
        buy(&app, &mut mina, &sale).await;
        let mut stray = app.fans(1, 1_000).await.remove(0);
        reserve(&app, &mut stray, &sale).await;
        let operator = app.operator().await;
        operator.post("admin/concerts", json!({ "title": "Load test of nerves" })).await.expect(201);
        let mut sql = world.sql().await;
        let before = everything(&mut sql).await;

        // One buys, one holds, one joins, one only has money.
        let (target, _job, load, mut fans) = prepared(&app, 4, None).await;
        app.charge(&fans[3], 50).await;
        buy(&app, &mut fans[0], &load).await;
        reserve(&app, &mut fans[1], &load).await;
        app.join(&mut fans[2], &load).await;
        prepare::close_sale(&target, concert_of(&load)).await.unwrap();
        let during = everything(&mut sql).await;
        for table in
            ["users", "ledger_entries", "payments", "tickets", "seats", "line_log", "audit_log", "outbox_events"]
        {
            assert!(during[table].len() > before[table].len(), "{table}: the sale was none");
        }
        assert!(keys(world, &app, &load).await > 0);
        app.assert_books_balance().await;

        let cleaned = clean::clean(&app.config, &app.instance.postgres).await.unwrap();
        let removed = |what: &str| cleaned.removed.get(what).copied().unwrap_or_default();
        let counts = ["fans", "operators", "concerts", "shows", "seats", "places in line"].map(removed);
        assert_eq!(counts, [4, 1, 1, 2, 26, 3], "{cleaned:?}");
        let counts = ["reservations", "payments", "tickets", "postings", "entries of the ledger"].map(removed);
        assert_eq!(counts, [2, 1, 1, 6, 12], "{cleaned:?}");
        assert!(removed("keys in Redis") > 0 && removed("events") > 0 && removed("entries of line logs") > 0);
        assert_eq!(cleaned.kept.len(), 1, "{cleaned:?}");
        assert!(cleaned.kept[0].contains("who stay: 1"), "{cleaned:?}");

        let after = everything(&mut sql).await;
        for (table, rows) in &before {
            assert_eq!(&after[table], rows, "{table}");
        }
        assert_eq!(keys(world, &app, &load).await, 0);
        app.assert_books_balance().await;
        // Nothing is left switched off, and nothing in the way of sales.
        let off = "SELECT count(*) AS n FROM pg_trigger WHERE tgenabled <> 'O'";
        let helpers = "SELECT count(*) AS n FROM pg_indexes WHERE indexname LIKE 'load%'";
        assert_eq!((sql.number(off).await, sql.number(helpers).await), (0, 0));
        for table in ["ledger_entries", "ledger_transactions", "audit_log", "line_log"] {
            let refused = sql.run(&format!("DELETE FROM {table}")).await.unwrap_err();
            assert!(refused.contains("append-only"), "{refused}");
        }
        // Who is not of a load run notices nothing.
        assert_eq!(mina.get("me/tickets").await.expect(200).json["items"].as_array().unwrap().len(), 1);
        stray.get(&format!("concerts/{}/queue/tokens/me", sale.concert)).await.expect(200);

        let again = clean::clean(&app.config, &app.instance.postgres).await.unwrap();
        assert_eq!((again.removed.len(), again.kept), (0, cleaned.kept));
        assert_eq!(everything(&mut sql).await, after);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_concert_of_a_load_run_in_which_others_have_a_part_stays_with_their_part() {
    World::with(async |world| {
        let app = world.app().await;
        let (_target, _job, load, mut fans) = prepared(&app, 2, None).await;
        buy(&app, &mut fans[0], &load).await;
        let mut mina = app.fan("mina").await;
        app.charge(&mina, 1_000).await;
        buy(&app, &mut mina, &load).await;

        let cleaned = clean::clean(&app.config, &app.instance.postgres).await.unwrap();
        let removed = |what: &str| cleaned.removed.get(what).copied().unwrap_or_default();
        assert_eq!(["fans", "concerts", "operators", "payments"].map(removed), [2, 0, 0, 1], "{cleaned:?}");
        assert!(cleaned.kept[0].contains("1 who are not of a load run"), "{cleaned:?}");
        app.assert_books_balance().await;
        // The seat that the run had bought is for sale again, the other one is not.
        let report = app.operator().await.get(&format!("admin/shows/{}/report", load.show)).await.expect(200).json;
        assert_eq!(
            (&report["sold"], &report["available"], &report["revenue_minor"]),
            (&json!(1), &json!(12), &json!(100))
        );
        assert_eq!(mina.get("me/tickets").await.expect(200).json["items"].as_array().unwrap().len(), 1);
        let again = clean::clean(&app.config, &app.instance.postgres).await.unwrap();
        assert!(again.removed.is_empty() && again.kept == cleaned.kept, "{again:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verdict_believes_what_was_done_and_nothing_else() {
    World::with(async |world| {
        let app = world.app().await;
        let folder = tempfile::tempdir().unwrap();
        let (target, mut job, load, mut fans) = prepared(&app, 3, None).await;
        job.folder = folder.path().to_owned();
        let bought = buy(&app, &mut fans[0], &load).await;
        let held = reserve(&app, &mut fans[1], &load).await;
        let broken = async |told: &[(&'static str, usize, &str)]| -> Vec<String> {
            let mut recorded = Recorded::default();
            for &(what, fan, id) in told {
                recorded.succeed(Success { what, fan, id: id.to_owned() });
            }
            let findings = verdict::verdict(&target, &job, &recorded).await.unwrap();
            assert_eq!(findings.len(), 8, "{findings:?}");
            findings.into_iter().filter(|finding| !finding.holds).map(|finding| finding.name).collect()
        };
        let (bought, held) = (bought.as_str(), held.as_str());
        let true_ones =
            [("join", 0, "1"), ("join", 1, "2"), ("reserve", 0, bought), ("reserve", 1, held), ("pay", 0, bought)];
        assert_eq!(broken(&true_ones).await, Vec::<String>::new());
        for (lie, found) in [
            (("join", 0, "2"), "nobody lost"),
            (("join", 2, "3"), "nobody lost"),
            (("join", 7, "1"), "nobody lost"),
            (("pay", 1, held), "reservations and payments"),
            (("pay", 1, bought), "reservations and payments"),
            (("reserve", 0, "00000000-0000-7000-8000-000000000000"), "reservations and payments"),
            (("reserve", 0, "nonsense"), "reservations and payments"),
        ] {
            assert_eq!(broken(&[lie]).await, [found], "{lie:?}");
        }
        // What the database itself would refuse is found out when it does not.
        let mut sql = world.sql().await;
        sql.run(
            "ALTER TABLE seats DISABLE TRIGGER seat_guard;
             UPDATE seats SET state = 'available', reservation_id = NULL, held_until = NULL WHERE state = 'sold';
             ALTER TABLE seats ENABLE TRIGGER seat_guard",
        )
        .await
        .unwrap();
        assert_eq!(broken(&true_ones).await, ["no seat twice", "ledger"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_may_use_a_sale_that_there_is() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale(3, 70).await;
        let asked = Asked { concert: concert_of(&sale), show: None };
        let (_target, job, used, mut fans) = prepared(&app, 1, Some(asked)).await;
        assert_eq!((used.concert.as_str(), used.show.as_str(), job.fans.len()), (&*sale.concert, &*sale.show, 1));
        // Twenty of its dearest seats.
        assert_eq!(fans[0].get("me/wallet").await.expect(200).json["balance_minor"], 1_400);
        buy(&app, &mut fans[0], &sale).await;
        // It is not of a load run, so nothing of this goes.
        let cleaned = clean::clean(&app.config, &app.instance.postgres).await.unwrap();
        assert_eq!(cleaned.removed, BTreeMap::from([("operators".to_owned(), 1)]));
        assert_eq!(cleaned.kept.len(), 1, "{:?}", cleaned.kept);
    })
    .await;
}
