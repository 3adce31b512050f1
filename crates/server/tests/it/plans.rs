//! What is asked about one fan reads the rows of that fan, also where the planner has no statistics, or those of another sale:
//! a line grows from nothing to a million places faster than they are gathered.

use std::sync::Arc;

use onsale_domain::ids::UserId;
use onsale_test_support::{App, World};
use serde_json::json;
use uuid::Uuid;

use crate::lane::Lane;

/// More than all that is asked of the line here needs to read: no statement looks through it even once.
const FANS: usize = 15_000;

async fn join(app: &App, lane: &Lane<'_>, users: &[UserId]) {
    let joins = users.iter().map(|user| {
        let (keeper, concert, user) = (Arc::clone(&app.instance.keeper), lane.concert.id, *user);
        tokio::spawn(async move { keeper.join(concert, user).await })
    });
    for join in joins.collect::<Vec<_>>() {
        join.await.unwrap().unwrap();
    }
}

/// A line whose fans join, join again, are called, lapse, come back and leave.
async fn live_through(world: &World, app: &App) {
    let policy = json!({ "interval_secs": 3600, "batch": 1, "active_limit": 1000, "idle_admission": false,
        "active_sliding_secs": 300, "active_absolute_secs": 900, "waiting_limit": 100_000 });
    let mut lane = Lane::new(world, app, policy).await;
    let line = Arc::clone(&app.instance.api.facades.line);
    let users: Vec<UserId> = (0..FANS).map(|_| UserId(Uuid::new_v4())).collect();
    join(app, &lane, &users).await;
    join(app, &lane, &users[1_000..1_200]).await;
    lane.due().await;
    assert_eq!(lane.admit(500).await, 501);
    for user in users.iter().take(50).chain(&users[2_000..2_050]) {
        assert!(lane.leave(*user).await);
        line.receipt(lane.concert.id, *user).await.unwrap();
    }
    lane.pass_secs(world, 301).await;
    assert_eq!(lane.tick().await.lapsed, 451);
    join(app, &lane, &users[100..150]).await;
    lane.tick().await;
    join(app, &lane, &users[1_500..1_600]).await;
    assert!(line.place(lane.concert.id, users[1_500], None).await.is_ok());
}

/// Rows of places read since the database was made. Other connections count what they read when they end.
async fn rows_read(world: &World) -> i64 {
    let mut sql = world.sql().await;
    sql.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
        .await
        .unwrap();
    let others =
        "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    while sql.number(others).await > 0 {
        tokio::task::yield_now().await;
    }
    sql.number(
        "SELECT (sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)) + (
            SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname = 'line_places'))::bigint AS n
         FROM pg_stat_user_tables WHERE relname = 'line_places'",
    )
    .await
}

#[tokio::test]
async fn no_statement_looks_through_a_line_for_one_fan() {
    World::with(async |world| {
        let mut sql = world.sql().await;
        sql.run("ALTER TABLE line_places SET (autovacuum_enabled = false)").await.unwrap();
        let app = world.app().await;
        for statistics in ["none", "of the sale before"] {
            let before = rows_read(world).await;
            live_through(world, &app).await;
            let read = rows_read(world).await - before;
            assert!(read < i64::try_from(FANS).unwrap(), "{read} rows read with statistics: {statistics}");
            let mut sql = world.sql().await;
            sql.run("DELETE FROM line_places WHERE number > 1").await.unwrap();
            sql.run("VACUUM ANALYZE line_places").await.unwrap();
        }
    })
    .await;
}
