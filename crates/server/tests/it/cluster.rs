//! Several concerts on a real Redis Cluster of three masters.

use onsale_application::line::LinePlaces;
use onsale_local_stack::{RedisCluster, Stack, StackConfig};
use onsale_test_support::{App, World};
use serde_json::json;

use crate::lane::concert_id;

#[tokio::test(flavor = "multi_thread")]
async fn concerts_spread_over_the_masters_of_a_cluster_and_one_that_restarts_gives_its_lines_back() {
    // So many that all masters have some, but for one time in 60,000.
    const CONCERTS: usize = 30;
    let folder = tempfile::tempdir().unwrap();
    let config = StackConfig { data_dir: folder.path().join("stack"), durable: false, max_connections: 60 };
    let stack = Stack::start(config).await.unwrap();
    let mut cluster = RedisCluster::start(&folder.path().join("cluster")).await.unwrap();
    World::on(stack.database_url(), &cluster.urls())
        .await
        .run(async |world| {
            world.set("ONSALE_REDIS_MODE", "cluster");
            world.set("ONSALE_REDIS_TIMEOUT_MS", "3000");
            let app = world.app().await;
            let policy = json!({ "interval_secs": 3600, "batch": 1, "active_limit": 1, "idle_admission": true,
                "active_sliding_secs": 300, "active_absolute_secs": 900, "waiting_limit": 10 });
            let mut lines = vec![];
            for _ in 0..CONCERTS {
                let sale = app.sale_with(2, 100, policy.clone()).await;
                let mut fans = app.fans(3, 1_000).await;
                for fan in &mut fans {
                    app.join(fan, &sale).await;
                }
                lines.push((sale, fans));
            }
            // The whole flow, on every master.
            for (sale, fans) in &lines {
                let seats = app.seats(&fans[0], sale).await;
                let reserve = format!("shows/{}/reservations", sale.show);
                let held = fans[0].post(&reserve, App::choice(&seats[..1])).await.expect(201);
                fans[0]
                    .post_empty(&format!("reservations/{}/payment", held.json["id"].as_str().unwrap()))
                    .await
                    .expect(201);
            }
            let mut with_keys = 0;
            for url in cluster.urls().split(',') {
                let mut redis =
                    deadpool_redis::redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap();
                let keys: i64 = deadpool_redis::redis::cmd("DBSIZE").query_async(&mut redis).await.unwrap();
                with_keys += usize::from(keys > 0);
            }
            assert_eq!(with_keys, 3, "{CONCERTS} concerts are on all three masters");
            // One master dies and comes back empty-handed or not: its lines are loaded, the others were not touched.
            cluster.kill(1).await.unwrap();
            cluster.start_again(1).await.unwrap();
            let mut loaded = 0;
            for (sale, fans) in &lines {
                let me = format!("concerts/{}/queue/tokens/me", sale.concert);
                let concert =
                    app.instance.api.facades.catalogue.concert_uncached(concert_id(&sale.concert)).await.unwrap();
                while app.instance.keeper.tick(&concert).await.is_err() {
                    tokio::task::yield_now().await;
                }
                for (index, fan) in fans.iter().enumerate().skip(1) {
                    let place = fan.get(&me).await.expect(200).json;
                    assert_eq!(
                        (place["number"].as_u64(), place["state"].as_str()),
                        (Some(index as u64 + 1), Some("waiting"))
                    );
                }
                loaded += usize::from(app.instance.postgres.head(concert.id).await.unwrap().life > 1);
            }
            assert!((1..CONCERTS).contains(&loaded), "{loaded} of {CONCERTS} lines were on that master");
        })
        .await;
    cluster.stop().await;
    stack.stop().await.unwrap();
}
