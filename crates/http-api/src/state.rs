//! What every request can reach.

use std::{
    future::Future,
    hash::{BuildHasher, RandomState},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use moka::future::Cache;
use onsale_application::{
    accounts::Accounts,
    catalogue::Catalogue,
    context::Ids,
    line::{Line, LineRecords},
    reports::Reports,
    seat_maps::{SeatMap, SeatMaps},
    selling::Selling,
    steering::Steering,
    tickets::Tickets,
    wallets::Wallets,
};
use onsale_domain::{account::Email, ids::UserId};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use crate::{
    conditional::{Rendered, Shared},
    explain,
    metrics::Metrics,
    problem::{ApiError, Code},
    published::Published,
    streams::Streams,
};

/// The application, one object per capability: a facade, or a port that is read as it is.
#[derive(Clone)]
pub struct Facades {
    /// Accounts.
    pub accounts: Arc<dyn Accounts>,
    /// Catalogue.
    pub catalogue: Arc<dyn Catalogue>,
    /// What operators change of a sale while it runs.
    pub steering: Arc<dyn Steering>,
    /// The line.
    pub line: Arc<dyn Line>,
    /// What lines leave behind.
    pub line_records: Arc<dyn LineRecords>,
    /// Seats.
    pub seat_maps: Arc<dyn SeatMaps>,
    /// Reservations and payments.
    pub selling: Arc<dyn Selling>,
    /// Wallets.
    pub wallets: Arc<dyn Wallets>,
    /// Tickets.
    pub tickets: Arc<dyn Tickets>,
    /// Reports.
    pub reports: Arc<dyn Reports>,
}

/// Named limits of the edge.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Largest body in bytes.
    pub body_bytes: usize,
    /// Largest body of a bulk request (seats of an arena) in bytes.
    pub bulk_body_bytes: usize,
    /// Requests per second of one signed-in user, and as many at once as a burst of three seconds.
    pub user_requests_per_sec: u32,
    /// Logins per minute for one e-mail address.
    pub logins_per_min: u32,
    /// Longest time for a body to come, beyond what it takes at the least rate.
    pub body_timeout: Duration,
    /// Least rate at which a body must come, bytes per second.
    pub body_least_bytes_per_sec: usize,
    /// How long one answer about a line serves everybody.
    pub overview_ttl: Duration,
    /// Most open event streams of this process.
    pub streams: usize,
}

/// Runs writes to their end, also when the client is gone: a request that is cut off must not cut a transaction off.
#[derive(Clone)]
pub struct Detached {
    runtime: tokio::runtime::Handle,
    tasks: TaskTracker,
}

impl Detached {
    /// Writes run on `runtime`.
    pub fn new(runtime: tokio::runtime::Handle) -> Self {
        Self { runtime, tasks: TaskTracker::new() }
    }

    /// Runs `write` to its end and returns what came of it, if the caller is still there to hear it.
    pub async fn run<T: Send + 'static>(&self, write: impl Future<Output = T> + Send + 'static) -> Result<T, ApiError> {
        self.tasks
            .spawn_on(write, &self.runtime)
            .await
            .map_err(|error| ApiError { cause: Some(error.into()), ..ApiError::new(Code::Internal) })
    }

    /// Waits until all writes have ended.
    pub async fn finish(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Whether the process can serve, asked by `/readyz`.
pub type Readiness = Arc<dyn Fn() -> std::pin::Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync>;

/// The seal of a text, which nobody else can make.
pub type Seal = Arc<dyn Fn(&str) -> String + Send + Sync>;

/// Gathers every metric as Prometheus text, asked by `/metrics`.
pub type Scrape = Arc<dyn Fn() -> String + Send + Sync>;

/// What the outside asks of the process itself.
pub struct Probes {
    /// For `/readyz`.
    pub readiness: Readiness,
    /// For `/metrics`.
    pub scrape: Scrape,
    /// For `/openapi.json`, as it is sent.
    pub document: String,
}

/// Which list was rendered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SeatListKey {
    pub(crate) show: Uuid,
    pub(crate) section: Option<String>,
}

/// A list as it was last sent, and the seats that it was made from.
#[derive(Clone)]
pub struct RenderedSeats {
    pub(crate) from: Arc<SeatMap>,
    pub(crate) rendered: Rendered,
}

/// What every request can reach.
pub struct ApiState {
    /// The application.
    pub facades: Facades,
    /// Request ids.
    pub ids: Arc<dyn Ids>,
    /// Limits.
    pub limits: Limits,
    /// Seals cursors of public lists, so that only pages that exist are asked for.
    pub seal: Seal,
    /// Lines as everybody was last told of them; none when nothing is shared.
    pub overviews: Option<Cache<Uuid, Rendered>>,
    /// Published lists, part by part.
    pub published: Arc<Published>,
    /// Writes.
    pub detached: Detached,
    /// Counters of the edge.
    pub metrics: Metrics,
    /// For `/readyz` and `/metrics`.
    pub probes: Probes,
    /// Seat lists as they were last sent.
    pub rendered_seats: Cache<SeatListKey, RenderedSeats>,
    /// Public pages that many ask for, compressed once.
    pub shared: Shared,
    /// The OpenAPI document.
    pub openapi: Rendered,
    /// Cancelled when the server begins to stop, so that event streams end.
    pub stopping: CancellationToken,
    /// Open event streams.
    pub streams: Streams,
    per_user: DefaultKeyedRateLimiter<UserId>,
    /// By a hash of the address: a key has the same size whatever is sent.
    per_login: DefaultKeyedRateLimiter<u64>,
    hashes: RandomState,
}

fn positive(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)
}

impl ApiState {
    /// Puts the edge together.
    pub fn new(
        facades: Facades,
        ids: Arc<dyn Ids>,
        limits: Limits,
        seal: Seal,
        detached: Detached,
        metrics: Metrics,
        probes: Probes,
    ) -> Self {
        explain::learn(&probes.document);
        let per_sec = positive(limits.user_requests_per_sec);
        let burst = positive(limits.user_requests_per_sec.saturating_mul(3));
        Self {
            facades,
            ids,
            limits,
            seal,
            overviews: (!limits.overview_ttl.is_zero())
                .then(|| Cache::builder().max_capacity(10_000).time_to_live(limits.overview_ttl).build()),
            published: Arc::default(),
            detached,
            metrics,
            rendered_seats: Cache::builder().max_capacity(256).time_to_live(Duration::from_secs(5)).build(),
            shared: Shared::default(),
            openapi: Rendered::new(probes.document.clone()),
            probes,
            stopping: CancellationToken::new(),
            streams: Streams::new(limits.streams),
            per_user: RateLimiter::keyed(Quota::per_second(per_sec).allow_burst(burst)),
            per_login: RateLimiter::keyed(Quota::per_minute(positive(limits.logins_per_min))),
            hashes: RandomState::new(),
        }
    }

    /// Refuses a user who asks too often.
    pub fn check_user_rate(&self, user: UserId) -> Result<(), ApiError> {
        self.per_user.check_key(&user).map_err(|_| too_many(1))
    }

    /// Refuses a login for an address that is tried too often, whoever tries.
    pub fn check_login_rate(&self, email: &Email) -> Result<(), ApiError> {
        self.per_login
            .check_key(&self.hashes.hash_one(email.as_str()))
            .map_err(|_| too_many(60 / self.limits.logins_per_min.max(1)))
    }

    /// Forgets users and addresses that have not been seen for a while, so that the tables stay small.
    pub fn shrink_rate_tables(&self) {
        self.per_user.retain_recent();
        self.per_login.retain_recent();
    }
}

fn too_many(retry_after_secs: u32) -> ApiError {
    ApiError { retry_after_secs: Some(retry_after_secs.max(1)), ..ApiError::new(Code::TooManyRequests) }
}
