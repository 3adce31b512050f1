//! Puts adapters behind ports and facades behind the edge.

use std::sync::Arc;

use onsale_application::{
    accounts::AccountsFacade,
    catalogue::{Catalogue, CatalogueFacade, READS_AT_ONCE},
    context::Ids,
    error::StoreError,
    line::{Keeper, LineFacade, LineGate, LineRecords, PollGuard},
    reports::Reports,
    seat_maps::SeatMapsFacade,
    selling::SellingFacade,
    steering::SteeringFacade,
    tickets::TicketsFacade,
    wallets::WalletsFacade,
};
use onsale_http_api::{ApiState, Detached, Facades, Probes, metrics::Metrics};
use onsale_infrastructure::{
    catalogue_cache::SharedCatalogue,
    postgres::Postgres,
    redis::{RedisLines, SharedRedis},
    seat_map_cache::SeatMapCache,
    security::{Argon2Hasher, Ed25519TicketSigner, Sealer, SignedQueueTokens, SignedTokens},
    system::{Background, System},
};
use prometheus::Registry;
use tokio::sync::Semaphore;

use crate::{
    config::Config,
    telemetry::{self, Gauges},
};

/// The keeper over the real stores.
pub type LineKeeper = Keeper<Postgres, RedisLines, System>;

/// The gate over the real stores.
pub type ServerGate = LineGate<Postgres, RedisLines, SignedQueueTokens, System>;

/// Everything that a running instance is made of.
pub struct Instance {
    /// The edge.
    pub api: Arc<ApiState>,
    /// The database.
    pub postgres: Arc<Postgres>,
    /// The lines in their store.
    pub lines: Arc<RedisLines>,
    /// Runs the lines.
    pub keeper: Arc<LineKeeper>,
    /// Checks queue tokens.
    pub gate: Arc<ServerGate>,
    /// Metrics of what runs by itself.
    pub gauges: Gauges,
    /// Writes under way.
    pub detached: Detached,
}

/// Why an instance could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum WiringError {
    /// A store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The metrics.
    #[error("the metrics cannot be registered")]
    Metrics(#[from] prometheus::Error),
    /// The password hashes.
    #[error("passwords cannot be hashed")]
    Hash(#[from] onsale_application::accounts::HashError),
    /// The ticket key.
    #[error("the ticket key must have 32 bytes")]
    TicketKey,
}

/// What the outside asks of the process itself.
fn probes(
    postgres: &Arc<Postgres>,
    redis: Arc<SharedRedis>,
    cache_redis: Arc<SharedRedis>,
    gauges: &Gauges,
    registry: Registry,
) -> Probes {
    let readiness = {
        let (postgres, redis) = (Arc::clone(postgres), Arc::clone(&redis));
        Arc::new(move || {
            let (postgres, redis) = (Arc::clone(&postgres), Arc::clone(&redis));
            let check = async move {
                match postgres.ready().await {
                    Ok(true) => {}
                    Ok(false) => return Err("migrations are pending".to_owned()),
                    Err(_) => return Err("PostgreSQL does not answer".to_owned()),
                }
                redis.ready().await.map_err(|_| "Redis does not answer".to_owned())
            };
            Box::pin(check) as std::pin::Pin<Box<dyn Future<Output = Result<(), String>> + Send>>
        })
    };
    let scrape = {
        let (postgres, gauges) = (Arc::clone(postgres), gauges.clone());
        let pools = [("redis", redis), ("redis_cache", cache_redis)];
        Arc::new(move || {
            let numbers = postgres.pool_numbers();
            let set = |pool: &str, state: &str, count: usize| {
                let count = i64::try_from(count).unwrap_or(i64::MAX);
                gauges.pools.with_label_values(&[pool, state]).set(count);
            };
            set("postgres", "open", numbers.open);
            set("postgres", "free", numbers.free);
            set("postgres", "waiting", numbers.waiting);
            for (name, pool) in &pools {
                set(name, "open", pool.open_connections());
            }
            telemetry::scrape(&registry)
        })
    };
    Probes { readiness, scrape, document: onsale_http_api::openapi::text() }
}

/// Connects nothing yet: connections are opened as they are needed, so an instance starts while a store is away.
pub fn instance(config: &Config, runtime: &tokio::runtime::Handle) -> Result<Instance, WiringError> {
    let postgres = Arc::new(Postgres::new(&config.database, runtime)?);
    let redis = Arc::new(SharedRedis::new(&config.redis, runtime.clone())?);
    let cache_redis = Arc::new(SharedRedis::new(&config.cache, runtime.clone())?);
    let lines = Arc::new(RedisLines::new(Arc::clone(&redis), &config.redis_prefix));
    let seed: [u8; 32] = config.ticket_key.0.as_slice().try_into().map_err(|_| WiringError::TicketKey)?;
    let maps = Arc::new(SeatMapCache::new(Postgres::clone(&postgres)));
    let background = Arc::new(Background(runtime.clone()));
    let keeper =
        Arc::new(Keeper::new(Arc::clone(&postgres), Arc::clone(&lines), System, background, config.snapshot_ms));
    let line = Arc::new(LineFacade {
        keeper: Arc::clone(&keeper),
        tokens: Arc::new(SignedQueueTokens::new(&config.secret.0, &seed)?),
        guard: PollGuard::new(config.early_poll_guard),
    });
    let gate = Arc::new(LineGate(Arc::clone(&line)));
    let currency = config.currency.code().to_owned();
    let refresh_ttl = chrono::Duration::days(config.refresh_ttl_days);

    let catalogue = Arc::new(CatalogueFacade {
        store: Arc::clone(&postgres),
        cache: SharedCatalogue::new(Arc::clone(&cache_redis), &config.redis_prefix, config.cache_ttl, System),
        reads: Semaphore::new(READS_AT_ONCE),
        context: System,
        currency: currency.clone(),
    });
    let steering = Arc::new(SteeringFacade { catalogue: Arc::clone(&catalogue), line: Arc::clone(&line) });
    let facades = Facades {
        accounts: Arc::new(AccountsFacade {
            store: Postgres::clone(&postgres),
            hasher: Argon2Hasher::new(config.hashes_at_once, config.hashes_waiting)?,
            tokens: SignedTokens::new(&config.secret.0, config.access_ttl_secs, refresh_ttl),
            context: System,
            currency,
        }),
        catalogue: Arc::clone(&catalogue) as Arc<dyn Catalogue>,
        steering,
        line,
        line_records: Arc::clone(&postgres) as Arc<dyn LineRecords>,
        seat_maps: Arc::new(SeatMapsFacade {
            maps: Arc::clone(&maps),
            gate: Arc::clone(&gate),
            shows: Arc::clone(&postgres),
            catalogue,
            stock: Arc::clone(&keeper.stock),
        }),
        selling: Arc::new(SellingFacade {
            unit: Arc::clone(&postgres),
            queries: Arc::clone(&postgres),
            gate: Arc::clone(&gate),
            maps,
            context: System,
        }),
        wallets: Arc::new(WalletsFacade {
            unit: Arc::clone(&postgres),
            queries: Arc::clone(&postgres),
            context: System,
            charge_max_minor: config.charge_max_minor,
            free_top_up: config.free_top_up,
        }),
        tickets: Arc::new(TicketsFacade {
            queries: Arc::clone(&postgres),
            signer: Arc::new(Ed25519TicketSigner::new(&seed)?),
        }),
        reports: Arc::clone(&postgres) as Arc<dyn Reports>,
    };

    let registry = Registry::new();
    let metrics = Metrics::new(&registry)?;
    let gauges = Gauges::new(&registry)?;
    let detached = Detached::new(runtime.clone());
    let ids: Arc<dyn Ids> = Arc::new(System);
    let probes = probes(&postgres, redis, cache_redis, &gauges, registry);
    let cursors = Sealer::new(&config.secret.0, "cursor")?;
    let seal = Arc::new(move |text: &str| cursors.seal(text));
    let api = Arc::new(ApiState::new(facades, ids, config.limits, seal, detached.clone(), metrics, probes));
    Ok(Instance { api, postgres, lines, keeper, gate, gauges, detached })
}
