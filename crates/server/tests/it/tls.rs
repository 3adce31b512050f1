//! TLS to Redis.

use std::path::Path;

use deadpool_redis::redis;
use onsale_local_stack::{Certificate, RedisTls, Stack, StackConfig};
use onsale_test_support::{App, World};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::{
    crash::Server,
    lane::{concert_id, key, policy},
};

/// An authority and a certificate for 127.0.0.1 that it signed.
fn certify(folder: &Path) {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    std::fs::write(folder.join("authority.pem"), authority.self_signed(&authority_key).unwrap().pem()).unwrap();
    let own_key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let signed = own.signed_by(&own_key, &Issuer::new(authority, authority_key)).unwrap();
    std::fs::write(folder.join("own.pem"), signed.pem()).unwrap();
    std::fs::write(folder.join("own.key"), own_key.serialize_pem()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_lives_in_a_redis_behind_tls_reached_directly_or_by_a_sentinel() {
    let folder = tempfile::tempdir().unwrap();
    certify(folder.path());
    let file = |name: &str| folder.path().join(name);
    let (authority, own, own_key) = (file("authority.pem"), file("own.pem"), file("own.key"));
    let certificate = Certificate { authority: &authority, certificate: &own, key: &own_key };
    let tls = RedisTls::start(folder.path(), certificate).await.unwrap();
    let data_dir = folder.path().join("stack");
    let stack = Stack::start(StackConfig { data_dir, durable: false, max_connections: 60 }).await.unwrap();
    World::on(stack.database_url(), &tls.plain_url())
        .await
        .run(async |world| {
            world.set("ONSALE_REDIS_TIMEOUT_MS", "2000");
            let app = world.app().await;
            let mut redis =
                redis::Client::open(tls.plain_url()).unwrap().get_multiplexed_async_connection().await.unwrap();
            let in_redis = async |app: &App, concert: &str, redis: &mut redis::aio::MultiplexedConnection| -> i64 {
                let places = key(app, concert_id(concert), "tok");
                redis::cmd("HLEN").arg(places).query_async(redis).await.unwrap()
            };
            let ways = [
                ("rediss", tls.tls_url(), "single", ""),
                ("sentinel", tls.sentinel_url(), "sentinel", "rediss://node"),
            ];
            for (trusted, places) in [(false, 0), (true, 2)] {
                for (way, url, mode, node) in &ways {
                    let sale = app.sale_with(1, 100, policy(3600, 1, 1, false)).await;
                    world.set("REDIS_URL", url);
                    world.set("ONSALE_REDIS_CACHE_URL", &tls.plain_url());
                    world.set("ONSALE_REDIS_MODE", mode);
                    world.set("ONSALE_REDIS_SENTINEL_MASTER", RedisTls::master_name());
                    world.set("ONSALE_REDIS_SENTINEL_NODE_URL", if node.is_empty() { "redis://node" } else { node });
                    let trust = if trusted { authority.clone() } else { file("nobody") };
                    world.set("SSL_CERT_FILE", &trust.display().to_string());
                    let server = Server::start(world);
                    for fan in app.fans(2, 0).await {
                        fan.at(&server.base)
                            .post_empty(&format!("concerts/{}/queue/tokens", sale.concert))
                            .await
                            .expect(201);
                    }
                    let found = in_redis(&app, &sale.concert, &mut redis).await;
                    assert_eq!(found, places, "{way}, certificate trusted: {trusted}");
                }
            }
        })
        .await;
    tls.stop().await;
    stack.stop().await.unwrap();
}
