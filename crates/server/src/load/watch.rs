//! Looks at the machine, the stores and the line once a second while a run goes on.

mod processes;
mod stores;

use std::{collections::BTreeMap, time::Duration};

use onsale_application::context::Clock;
use onsale_infrastructure::{redis::RedisMode, system::System};
use serde::{Deserialize, Serialize};
use tokio::{
    task::JoinHandle,
    time::{MissedTickBehavior, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

pub use processes::Usage;
pub use stores::{PostgresFigures, RedisFigures};

use super::{Failure, target::Target};

/// Time between two samples.
const EVERY: Duration = Duration::from_secs(1);

/// Longest wait for one figure. Who does not answer in time is missing from the sample, and the next one comes when it should.
const ANSWER_WAIT: Duration = Duration::from_millis(900);

/// What the processes of this command are called: the crowd within it, or k6, and what watches them.
pub const GENERATOR: &str = "generator";

/// The line in numbers, as operators see it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineFigures {
    /// Fans waiting.
    pub waiting: i64,
    /// Fans who have a turn.
    pub active: i64,
    /// Highest number given out.
    pub joined_total: i64,
    /// Fans promoted so far.
    pub promoted_total: i64,
    /// Fans in the pre-queue.
    pub registered: i64,
    /// Turns that ran out so far.
    pub expired_total: i64,
    /// Turns that lapsed so far because nobody came.
    pub lapsed_total: i64,
    /// Places that were left or ended by payment so far.
    pub left_total: i64,
}

/// What servers say of themselves, all instances together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct ServerFigures {
    /// Requests under way.
    pub in_flight: f64,
    /// Open connections of the pool for PostgreSQL.
    pub pool_open: f64,
    /// Those of them that nobody uses.
    pub pool_free: f64,
    /// Callers that wait for one.
    pub pool_waiting: f64,
}

/// One look. What could not be learned is missing.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Sample {
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// By the name of a process, for those on this machine.
    pub processes: BTreeMap<String, Usage>,
    /// The Redis of the line.
    pub redis: Option<RedisFigures>,
    /// The database.
    pub postgres: Option<PostgresFigures>,
    /// The line.
    pub line: Option<LineFigures>,
    /// The servers.
    pub servers: Option<ServerFigures>,
}

/// A look each second until it is stopped, or dropped.
pub struct Watch {
    stop: DropGuard,
    samples: JoinHandle<Vec<Sample>>,
}

impl Watch {
    /// Begins. `processes` are names and ids on this machine; [`GENERATOR`] is added.
    pub fn start(target: &Target, processes: Vec<(String, u32)>, concert: Uuid) -> Self {
        let stop = CancellationToken::new();
        let watcher = Watcher::new(target, processes, concert);
        let samples = tokio::spawn(watch(watcher, stop.clone()));
        Self { stop: stop.drop_guard(), samples }
    }

    /// Looks once more, ends, and answers everything that was seen.
    pub async fn stop(self) -> Vec<Sample> {
        drop(self.stop);
        self.samples.await.unwrap_or_default()
    }
}

async fn watch(mut watcher: Watcher, stop: CancellationToken) -> Vec<Sample> {
    let mut samples = vec![];
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        let last = tokio::select! {
            _ = ticks.tick() => false,
            () = stop.cancelled() => true,
        };
        samples.push(watcher.look().await);
        if last {
            return samples;
        }
    }
}

/// Whom to ask, with the connections that were opened for it.
struct Watcher {
    processes: Vec<(String, u32)>,
    http: Option<reqwest::Client>,
    /// Of one instance; all of them answer the same.
    line_url: Option<String>,
    operator_token: String,
    metrics_urls: Vec<String>,
    redis: stores::Redis,
    postgres: stores::Database,
}

impl Watcher {
    fn new(target: &Target, mut processes: Vec<(String, u32)>, concert: Uuid) -> Self {
        let own = std::process::id();
        if processes.iter().all(|(_, id)| *id != own) {
            processes.push((GENERATOR.to_owned(), own));
        }
        // Sentinels are no stores, and where their master is may change while we look.
        let redis_urls = match target.config.redis.mode {
            RedisMode::Single | RedisMode::Cluster => target.config.redis.urls.as_slice(),
            RedisMode::Sentinel { .. } => &[],
        };
        Self {
            processes,
            http: reqwest::Client::builder().no_proxy().timeout(ANSWER_WAIT).build().ok(),
            line_url: target
                .base_urls
                .first()
                .map(|base_url| format!("{base_url}/api/v1/admin/concerts/{concert}/queue/stats")),
            operator_token: target.operator_token.clone(),
            metrics_urls: target.base_urls.iter().map(|base_url| format!("{base_url}/metrics")).collect(),
            redis: stores::Redis::new(redis_urls, ANSWER_WAIT),
            postgres: stores::Database::new(target.config.database.url.clone()),
        }
    }

    async fn look(&mut self) -> Sample {
        let at_ms = System.now().timestamp_millis();
        let processes = self
            .processes
            .iter()
            .filter_map(|(name, id)| processes::usage(*id).map(|usage| (name.clone(), usage)))
            .collect();
        let http = self.http.as_ref();
        let (redis, postgres, line, servers) = tokio::join!(
            timeout(ANSWER_WAIT, self.redis.ask()),
            self.postgres.ask(ANSWER_WAIT),
            line(http, self.line_url.as_deref(), &self.operator_token),
            servers(http, &self.metrics_urls),
        );
        Sample { at_ms, processes, redis: redis.ok().flatten(), postgres, line: line.ok(), servers }
    }
}

async fn line(http: Option<&reqwest::Client>, url: Option<&str>, token: &str) -> Result<LineFigures, Failure> {
    let (http, url) = http.zip(url).ok_or("nobody to ask")?;
    let answer = http.get(url).bearer_auth(token).send().await?.error_for_status()?;
    Ok(answer.json().await?)
}

/// The sum over all instances, or nothing when one does not answer: a sum of some would look like a drop.
async fn servers(http: Option<&reqwest::Client>, urls: &[String]) -> Option<ServerFigures> {
    let http = http?;
    let mut all = ServerFigures::default();
    for url in urls {
        let answer = http.get(url).send().await.and_then(reqwest::Response::error_for_status).ok()?;
        let one = figures(&answer.text().await.ok()?);
        all.in_flight += one.in_flight;
        all.pool_open += one.pool_open;
        all.pool_free += one.pool_free;
        all.pool_waiting += one.pool_waiting;
    }
    (!urls.is_empty()).then_some(all)
}

/// Reads Prometheus text.
fn figures(metrics: &str) -> ServerFigures {
    let gauge = |name: &str| {
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|value| value.trim().parse::<f64>().ok()).unwrap_or_default()
    };
    let pool = |state: &str| gauge(&format!("onsale_pool_connections{{pool=\"postgres\",state=\"{state}\"}}"));
    ServerFigures {
        in_flight: gauge("onsale_http_requests_in_flight"),
        pool_open: pool("open"),
        pool_free: pool("free"),
        pool_waiting: pool("waiting"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_of_itself_is_read() {
        let text = "# HELP onsale_http_requests_in_flight Requests under way\n\
                    # TYPE onsale_http_requests_in_flight gauge\n\
                    onsale_http_requests_in_flight 17\n\
                    onsale_pool_connections{pool=\"postgres\",state=\"free\"} 3\n\
                    onsale_pool_connections{pool=\"postgres\",state=\"open\"} 16\n\
                    onsale_pool_connections{pool=\"redis\",state=\"open\"} 4\n";
        let read = ServerFigures { in_flight: 17.0, pool_open: 16.0, pool_free: 3.0, pool_waiting: 0.0 };
        assert_eq!(figures(text), read);
        assert_eq!(figures(""), ServerFigures::default());
    }

    #[test]
    fn the_numbers_of_a_line_are_read_among_others() {
        let answer = serde_json::json!({
            "sale_state": "on_sale", "waiting": 5, "active": 2, "joined_total": 9, "promoted_total": 4, "returning": 1,
            "registered": 0, "expired_total": 1, "lapsed_total": 0, "returned_total": 0, "left_total": 2,
        });
        let line: LineFigures = serde_json::from_value(answer).unwrap();
        assert_eq!((line.waiting, line.promoted_total, line.left_total), (5, 4, 2));
    }
}
