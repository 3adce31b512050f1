//! Counters of the HTTP edge.

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};

/// Counters of the HTTP edge.
#[derive(Clone)]
pub struct Metrics {
    /// Seconds per request by method, route pattern and status.
    pub requests: HistogramVec,
    /// Requests under way.
    pub in_flight: IntGauge,
    /// Reservations by outcome: `created` or the problem's code.
    pub reservations: IntCounterVec,
    /// Payments by outcome: `captured` or the problem's code.
    pub payments: IntCounterVec,
}

impl Metrics {
    /// Registers the counters.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let buckets = vec![0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];
        let requests = HistogramVec::new(
            HistogramOpts::new("onsale_http_request_duration_seconds", "Seconds per request").buckets(buckets),
            &["method", "route", "status"],
        )?;
        let in_flight = IntGauge::new("onsale_http_requests_in_flight", "Requests under way")?;
        let reservations =
            IntCounterVec::new(Opts::new("onsale_reservations_total", "Reservations by outcome"), &["outcome"])?;
        let payments = IntCounterVec::new(Opts::new("onsale_payments_total", "Payments by outcome"), &["outcome"])?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(in_flight.clone()))?;
        registry.register(Box::new(reservations.clone()))?;
        registry.register(Box::new(payments.clone()))?;
        Ok(Self { requests, in_flight, reservations, payments })
    }
}

/// What one read of a concert and one reservation leave, for the document; a server tells much else besides.
pub(crate) fn example() -> String {
    let registry = Registry::new();
    let Ok(metrics) = Metrics::new(&registry) else { return String::new() };
    metrics.requests.with_label_values(&["GET", "/api/v1/concerts/{id}", "200"]).observe(0.000_7);
    metrics.reservations.with_label_values(&["created"]).inc();
    TextEncoder::new().encode_to_string(&registry.gather()).unwrap_or_default()
}
