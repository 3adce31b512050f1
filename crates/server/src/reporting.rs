//! The fairness report as text.

use onsale_application::line::LineReport;

fn secs(ms: i64) -> String {
    format!("{}.{:03} s", ms / 1_000, ms % 1_000)
}

/// One fact per line.
pub fn lines(report: &LineReport) -> Vec<String> {
    let LineReport { fairness, no_shows, returned, paid, expired, departed, lives } = report;
    let waiting = &fairness.waiting;
    let rows: [(&str, String); 17] = [
        ("admitted", fairness.admitted.to_string()),
        ("admitted again after a lapse", fairness.readmitted.to_string()),
        ("inversions (0 is fair)", fairness.inversions.to_string()),
        ("highest active", fairness.highest_active.to_string()),
        ("admissions above the limit (0 is right)", fairness.above_limit.to_string()),
        ("no-shows", no_shows.to_string()),
        ("came back", returned.to_string()),
        ("paid", paid.to_string()),
        ("ran out", expired.to_string()),
        ("left while waiting", departed.to_string()),
        ("waited, p50", secs(waiting.p50_ms)),
        ("waited, p90", secs(waiting.p90_ms)),
        ("waited, p99", secs(waiting.p99_ms)),
        ("estimates checked / kept", format!("{} / {}", fairness.estimates, fairness.estimates_kept)),
        ("estimate off by, p50", format!("{} s", fairness.eta_error_p50_secs)),
        ("estimate off by, p90", format!("{} s", fairness.eta_error_p90_secs)),
        ("losses of the line's store", (lives - 1).max(0).to_string()),
    ];
    rows.iter().map(|(what, value)| format!("{what:<42}{value}")).collect()
}
