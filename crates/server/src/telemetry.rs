//! Logs and metrics.

use prometheus::{Encoder, GaugeVec, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::LogFormat;

/// Starts logging to standard error. Called once; a second call changes nothing.
pub fn start_logs(format: LogFormat, filter: &str) {
    let mut filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    // The framework reports each request that is no HTTP as an error: what clients do wrong is not ours to act on.
    if let Ok(directive) = "actix_http::h1::dispatcher=off".parse() {
        filter = filter.add_directive(directive);
    }
    let registry = tracing_subscriber::registry().with(filter);
    let started = match format {
        LogFormat::Text => registry.with(fmt::layer().with_writer(std::io::stderr)).try_init(),
        LogFormat::Json => {
            registry.with(fmt::layer().json().flatten_event(true).with_writer(std::io::stderr)).try_init()
        }
    };
    drop(started);
}

/// Metrics of what runs by itself.
#[derive(Clone)]
pub struct Gauges {
    /// Fans waiting, by concert.
    pub waiting: IntGaugeVec,
    /// Fans active, by concert.
    pub active: IntGaugeVec,
    /// Fans promoted since the line exists, by concert.
    pub promoted: IntGaugeVec,
    /// How far estimates were off, by concert and quantile.
    pub eta_error: IntGaugeVec,
    /// Share of estimates that held, by concert.
    pub eta_kept: GaugeVec,
    /// Ticks of the promoter, by outcome.
    pub ticks: IntCounterVec,
    /// Holds that the sweeper ended.
    pub swept: IntCounter,
    /// Connections, by pool and state.
    pub pools: IntGaugeVec,
}

impl Gauges {
    /// Registers the metrics.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let per_concert = |name: &str, help: &str| IntGaugeVec::new(Opts::new(name, help), &["concert_id"]);
        let gauges = Self {
            waiting: per_concert("onsale_queue_waiting", "Fans waiting in line")?,
            active: per_concert("onsale_queue_active", "Fans past the line")?,
            promoted: per_concert("onsale_queue_promoted_total", "Fans promoted since the line exists")?,
            eta_error: IntGaugeVec::new(
                Opts::new("onsale_queue_eta_error_seconds", "How far the newest estimates were off; 0 when they held"),
                &["concert_id", "quantile"],
            )?,
            eta_kept: GaugeVec::new(
                Opts::new("onsale_queue_eta_kept_ratio", "Share of the newest estimates that held"),
                &["concert_id"],
            )?,
            ticks: IntCounterVec::new(Opts::new("onsale_scheduler_ticks_total", "Promoter calls"), &["outcome"])?,
            swept: IntCounter::new("onsale_holds_swept_total", "Holds that ran out and were ended by the sweeper")?,
            pools: IntGaugeVec::new(Opts::new("onsale_pool_connections", "Connections"), &["pool", "state"])?,
        };
        registry.register(Box::new(gauges.waiting.clone()))?;
        registry.register(Box::new(gauges.active.clone()))?;
        registry.register(Box::new(gauges.promoted.clone()))?;
        registry.register(Box::new(gauges.eta_error.clone()))?;
        registry.register(Box::new(gauges.eta_kept.clone()))?;
        registry.register(Box::new(gauges.ticks.clone()))?;
        registry.register(Box::new(gauges.swept.clone()))?;
        registry.register(Box::new(gauges.pools.clone()))?;
        Ok(gauges)
    }
}

/// All metrics as Prometheus text.
pub fn scrape(registry: &Registry) -> String {
    let mut text = Vec::new();
    if let Err(error) = TextEncoder::new().encode(&registry.gather(), &mut text) {
        tracing::error!(%error, "the metrics cannot be written");
    }
    String::from_utf8(text).unwrap_or_default()
}
