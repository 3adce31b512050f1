//! PostgreSQL or Redis away: 503 with Retry-After, nothing half done, recovery without a restart.

use onsale_application::{
    error::StoreError,
    housekeeping::Sweeper,
    transaction::{Transaction, UnitOfWork},
};
use onsale_infrastructure::postgres::Postgres;
use onsale_local_stack::{Stack, StackConfig};
use onsale_test_support::{App, Client, Sql, World};
use serde_json::json;

use crate::lane::policy;

async fn own_stack(folder: &tempfile::TempDir) -> Stack {
    let data_dir = folder.path().to_owned();
    Stack::start(StackConfig { data_dir, durable: true, max_connections: 60 }).await.unwrap()
}

async fn world_on(stack: &Stack) -> World {
    let mut world = World::on(stack.database_url(), stack.redis_url()).await;
    for (name, value) in [
        ("ONSALE_DATABASE_ACQUIRE_TIMEOUT_MS", "500"),
        ("ONSALE_REDIS_TIMEOUT_MS", "500"),
        ("ONSALE_REDIS_CACHE_TIMEOUT_MS", "200"),
    ] {
        world.set(name, value);
    }
    world
}

fn unavailable(answer: onsale_test_support::Answer) {
    let answer = answer.expect_problem(503, "unavailable");
    assert!(answer.header("retry-after").parse::<u32>().is_ok_and(|secs| secs >= 1));
}

async fn admitted(app: &App, balance: i64) -> (Client, onsale_test_support::Sale) {
    let sale = app.sale(4, 100).await;
    let mut fan = app.fans(1, balance).await.remove(0);
    app.join(&mut fan, &sale).await;
    (fan, sale)
}

#[tokio::test(flavor = "multi_thread")]
async fn while_redis_is_away_nobody_slips_through_and_afterwards_all_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut stack = own_stack(&folder).await;
    world_on(&stack)
        .await
        .run(async |world| {
            let app = world.app().await;
            let sale = app.sale_with(4, 100, policy(3600, 1, 1, true)).await;
            let mut fans = app.fans(2, 1_000).await;
            for fan in &mut fans {
                app.join(fan, &sale).await;
            }
            let (waiting, fan) = (fans.remove(1), fans.remove(0));
            let seats = app.seats(&fan, &sale).await;
            let reserve = format!("shows/{}/reservations", sale.show);
            let held = fan.post(&reserve, App::choice(&seats[..1])).await.expect(201);
            let pay = format!("reservations/{}/payment", held.json["id"].as_str().unwrap());

            stack.kill_redis().await;
            let joins = format!("concerts/{}/queue/tokens", sale.concert);
            // Joins go on: the place is on disk, and joining again finds it.
            let mut new = app.fans(1, 0).await.remove(0);
            let place = app.join(&mut new, &sale).await;
            assert_eq!((place["number"].as_i64(), place["state"].as_str()), (Some(3), Some("waiting")));
            assert_eq!((place["position"].as_i64(), place["recovering"].as_bool()), (Some(2), Some(true)));
            let again = new.post_empty(&joins).await.expect(200).json;
            assert_eq!(again["number"], 3);
            // Polls are answered from what is known.
            let me = format!("concerts/{}/queue/tokens/me", sale.concert);
            assert_eq!(waiting.get(&me).await.expect(200).json["position"], 1);
            assert_eq!(new.get(&me).await.expect(200).json["position"], 2);
            unavailable(waiting.get(&format!("shows/{}/seats", sale.show)).await);
            // Whose turn is on disk goes on buying.
            fan.get(&format!("shows/{}/seats", sale.show)).await.expect(200);
            // Who holds seats fills the wallet, pays and releases, whatever became of the line's store.
            app.charge(&fan, 100).await;
            fan.post_empty(&pay).await.expect(201);
            let again = fan.post(&reserve, App::choice(&seats[1..2])).await.expect(201);
            fan.delete(&format!("reservations/{}", again.json["id"].as_str().unwrap())).await.expect(204);
            app.nobody().get("/readyz").await.expect_problem(503, "not_ready");
            app.nobody().get("/livez").await.expect(200);
            // The catalogue is read from PostgreSQL meanwhile, and what is owned stays readable.
            app.nobody().get(&format!("concerts/{}", sale.concert)).await.expect(200);
            assert_eq!(fan.get("me/wallet").await.expect(200).json["balance_minor"], 1_000);

            stack.start_redis(true).await.unwrap();
            app.nobody().get("/readyz").await.expect(200);
            assert_eq!(fan.get("me/wallet").await.expect(200).json["balance_minor"], 1_000);
            app.assert_books_balance().await;
        })
        .await;
    stack.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn while_postgresql_is_away_nothing_is_half_done_and_afterwards_all_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut stack = own_stack(&folder).await;
    world_on(&stack)
        .await
        .run(async |world| {
            let app = world.app().await;
            let (fan, sale) = admitted(&app, 1_000).await;
            let seats = app.seats(&fan, &sale).await;
            let reserve = format!("shows/{}/reservations", sale.show);
            let held = fan.post(&reserve, App::choice(&seats[..2])).await.expect(201);
            let pay = format!("reservations/{}/payment", held.json["id"].as_str().unwrap());

            stack.kill_postgres().await;
            unavailable(fan.post_empty(&pay).await);
            unavailable(fan.get("me/wallet").await);
            let charge = json!({ "amount_minor": 5 });
            unavailable(fan.send("POST", "me/wallet/charges", &[("Idempotency-Key", "k")], charge.clone()).await);
            let sign_up = json!({ "email": "a@example.org", "password": "correct horse", "display_name": "A" });
            unavailable(app.nobody().post("auth/signup", sign_up.clone()).await);
            app.nobody().get("/readyz").await.expect_problem(503, "not_ready");

            stack.start_postgres().await.unwrap();
            app.nobody().get("/readyz").await.expect(200);
            fan.post_empty(&pay).await.expect(201);
            fan.send("POST", "me/wallet/charges", &[("Idempotency-Key", "k")], charge).await.expect(201);
            assert_eq!(fan.get("me/wallet").await.expect(200).json["balance_minor"], 805);
            app.nobody().post("auth/signup", sign_up).await.expect(201);
            app.assert_books_balance().await;
        })
        .await;
    stack.stop().await.unwrap();
}

/// Ends every connection to the database, on a thread of its own. The caller's thread does nothing else meanwhile, so whoever
/// has one of them there does not know that it is dead.
fn end_connections(database_url: &str) {
    let url = database_url.to_owned();
    let end = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut sql = Sql::connect(&url).await;
            let others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
            let ended = sql.number(&format!("SELECT count(pg_terminate_backend(pid)) AS n {others}")).await;
            assert!(ended > 0, "there was none");
            while sql.number(&format!("SELECT count(*) AS n {others}")).await > 0 {}
        });
    };
    std::thread::spawn(end).join().unwrap();
}

#[tokio::test]
async fn a_read_and_a_begin_are_sent_again_when_their_connection_was_dead_and_a_write_is_not() {
    World::with(async |world| {
        let runtime = tokio::runtime::Handle::current();
        let postgres = Postgres::new(&world.config().database, &runtime).unwrap();
        assert!(postgres.ready().await.unwrap());
        end_connections(&world.database_url);
        assert!(postgres.ready().await.unwrap(), "a read");
        end_connections(&world.database_url);
        postgres.begin().await.unwrap().rollback().await.unwrap();
        end_connections(&world.database_url);
        // It may have been done already.
        let swept = postgres.sweep_holds(1).await;
        assert!(matches!(swept, Err(StoreError::Unavailable(_))), "{swept:?}");
        // Until the pool has no dead connection left.
        let swept = loop {
            match postgres.sweep_holds(1).await {
                Err(StoreError::Unavailable(_)) => {}
                swept => break swept.unwrap(),
            }
        };
        assert_eq!(swept, 0);
    })
    .await;
}
