//! What every test stands on: a world of its own that ends with it.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use onsale_test_support::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_test_that_panics_leaves_neither_an_instance_nor_a_database_behind() {
    let mut left = None;
    let test = World::with(async |world| {
        let app = world.app_with_schedulers().await;
        left = Some((app.fan("mina").await, world.prefix.clone()));
        panic!("as a test does that fails");
    });
    assert!(AssertUnwindSafe(test).catch_unwind().await.is_err(), "the panic was swallowed");
    let (fan, database) = left.unwrap();
    // Nobody answers there any more, or by chance an instance of another test, to which the fan is unknown.
    let answer = fan.try_raw("GET", "me", &[], None).await;
    assert!(answer.as_ref().map_or(401, |answer| answer.status) == 401, "{answer:?}");
    World::with(async |world| {
        // Databases are named as the prefix of their keys.
        let named = |name: &str| format!("SELECT count(*) AS n FROM pg_database WHERE datname = '{name}'");
        let mut sql = world.sql().await;
        assert_eq!(sql.number(&named(&world.prefix)).await, 1);
        assert_eq!(sql.number(&named(&database)).await, 0);
    })
    .await;
}
