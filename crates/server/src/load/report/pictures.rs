//! The charts of a run.

use std::collections::{BTreeMap, BTreeSet};

use super::{Run, text::rate};
use crate::{
    charts::{Chart, Series},
    load::{
        recorded::{STEPS, Second, Tally, real},
        watch::Sample,
    },
};

/// About as many points as a chart is wide enough to show.
const POINTS: i64 = 300;

/// Most outcomes of a step that are drawn; the rest is in the JSON.
const OUTCOMES: usize = 8;

/// All charts that have something to show.
pub(super) fn all(run: &Run) -> Vec<Chart> {
    let width_secs = run.recorded.lasted_secs().div_euclid(POINTS) + 1;
    let windows: Vec<(f64, Second)> =
        run.recorded.windows(width_secs).into_iter().map(|(from, seen)| (real_i64(from), seen)).collect();
    let mut charts = vec![arrivals(&windows, width_secs)];
    charts.extend(line(run));
    for step in steps(&windows) {
        charts.push(times(&windows, &step));
        charts.push(outcomes(&windows, &step, width_secs));
    }
    charts.extend(machine(run));
    charts.extend(stores(run));
    charts.retain(|chart| chart.series.iter().any(|series| !series.points.is_empty()));
    charts
}

fn chart(title: &str, y: &str, series: Vec<Series>) -> Chart {
    Chart { title: title.to_owned(), x: "seconds".to_owned(), y: y.to_owned(), series }
}

fn series(name: &str, points: Vec<(f64, f64)>) -> Series {
    Series { name: name.to_owned(), points }
}

/// A count as a number, also one that the wrong clock made negative.
fn real_i64(number: i64) -> f64 {
    let size = real(number.unsigned_abs());
    if number < 0 { -size } else { size }
}

/// The steps that were taken, in the order of the journey.
fn steps(windows: &[(f64, Second)]) -> Vec<String> {
    let taken: BTreeSet<&String> = windows.iter().flat_map(|(_, seen)| seen.steps.keys()).collect();
    let known = STEPS.iter().filter(|step| taken.iter().any(|taken| taken == *step)).map(|step| (*step).to_owned());
    let others = taken.iter().filter(|step| !STEPS.contains(&step.as_str())).map(|step| (*step).clone());
    known.chain(others).collect()
}

fn arrivals(windows: &[(f64, Second)], width_secs: i64) -> Chart {
    let per_sec = |of: fn(&Second) -> u64| -> Vec<(f64, f64)> {
        windows.iter().map(|(at, seen)| (*at, real(of(seen)) / real_i64(width_secs))).collect()
    };
    let came = series("came", per_sec(|seen| seen.arrived));
    let dropped = series("could not be sent in time", per_sec(|seen| seen.dropped));
    chart("Fans who came", "fans a second", vec![came, dropped])
}

fn tallies<'a>(windows: &'a [(f64, Second)], step: &'a str) -> impl Iterator<Item = (f64, &'a Tally)> {
    windows.iter().filter_map(move |(at, seen)| Some((*at, seen.steps.get(step)?)))
}

fn times(windows: &[(f64, Second)], step: &str) -> Chart {
    let (mut p50, mut p95, mut p99) = (vec![], vec![], vec![]);
    for (at, tally) in tallies(windows, step) {
        let Some(times) = tally.times() else { continue };
        p50.push((at, times.p50_ms));
        p95.push((at, times.p95_ms));
        p99.push((at, times.p99_ms));
    }
    let lines = vec![series("p50", p50), series("p95", p95), series("p99", p99)];
    chart(&format!("{step}: time of right answers"), "ms", lines)
}

fn outcomes(windows: &[(f64, Second)], step: &str, width_secs: i64) -> Chart {
    let mut totals: BTreeMap<&str, u64> = BTreeMap::new();
    for (_, tally) in tallies(windows, step) {
        for (outcome, count) in &tally.outcomes {
            *totals.entry(outcome).or_default() += count;
        }
    }
    let mut most: Vec<(&str, u64)> = totals.into_iter().collect();
    most.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let lines = most.into_iter().take(OUTCOMES).map(|(outcome, _)| {
        let in_window = |seen: &Second| seen.steps.get(step).and_then(|tally| tally.outcomes.get(outcome).copied());
        let points =
            windows.iter().map(|(at, seen)| (*at, real(in_window(seen).unwrap_or_default()) / real_i64(width_secs)));
        series(outcome, points.collect())
    });
    chart(&format!("{step}: answers by outcome"), "a second", lines.collect())
}

/// One value of each sample that has it, over the seconds since the first fan.
fn values(run: &Run, of: impl Fn(&Sample) -> Option<f64>) -> Vec<(f64, f64)> {
    let started_ms = run.recorded.started_ms;
    run.samples_of_run()
        .filter_map(|sample| Some((real_i64(sample.at_ms - started_ms) / 1_000.0, of(sample)?)))
        .collect()
}

/// How fast a counter grew between samples, a second.
fn growth(run: &Run, of: impl Fn(&Sample) -> Option<f64>) -> Vec<(f64, f64)> {
    let started_ms = run.recorded.started_ms;
    let counted: Vec<(i64, f64)> =
        run.samples_of_run().filter_map(|sample| Some((sample.at_ms, of(sample)?))).collect();
    counted
        .iter()
        .zip(counted.iter().skip(1))
        .filter_map(|(before, now)| Some((real_i64(now.0 - started_ms) / 1_000.0, rate(*before, *now)?)))
        .collect()
}

fn line(run: &Run) -> Vec<Chart> {
    let of = |figure: fn(&crate::load::watch::LineFigures) -> i64| {
        values(run, move |sample| sample.line.as_ref().map(|line| real_i64(figure(line))))
    };
    vec![chart(
        "The line",
        "fans",
        vec![
            series("waiting", of(|line| line.waiting)),
            series("active", of(|line| line.active)),
            series("promoted so far", of(|line| line.promoted_total)),
        ],
    )]
}

fn machine(run: &Run) -> Vec<Chart> {
    let names: BTreeSet<&String> = run.samples_of_run().flat_map(|sample| sample.processes.keys()).collect();
    let by_process = |points: &dyn Fn(&str) -> Vec<(f64, f64)>| -> Vec<Series> {
        names.iter().map(|name| series(name, points(name))).collect()
    };
    let cores = |name: &str| growth(run, |sample| sample.processes.get(name).map(|usage| usage.cpu_secs));
    let memory =
        |name: &str| values(run, |sample| sample.processes.get(name).map(|usage| real(usage.memory_bytes) / 1e6));
    let open = |name: &str| values(run, |sample| sample.processes.get(name).map(|usage| real(usage.descriptors)));
    let server =
        |of: fn(&crate::load::watch::ServerFigures) -> f64| values(run, move |sample| sample.servers.as_ref().map(of));
    vec![
        chart("Processors in use", "cores", by_process(&cores)),
        chart("Resident memory", "MB", by_process(&memory)),
        chart("Open connections and files", "descriptors", by_process(&open)),
        chart(
            "Requests under way in the server, and its PostgreSQL pool",
            "at that moment",
            vec![
                series("requests under way", server(|servers| servers.in_flight)),
                series("connections in use", server(|servers| servers.pool_open - servers.pool_free)),
                series("callers waiting for one", server(|servers| servers.pool_waiting)),
            ],
        ),
    ]
}

fn stores(run: &Run) -> Vec<Chart> {
    let redis = |of: fn(&crate::load::watch::RedisFigures) -> f64| move |sample: &Sample| sample.redis.as_ref().map(of);
    let postgres = |of: fn(&crate::load::watch::PostgresFigures) -> i64| {
        move |sample: &Sample| sample.postgres.as_ref().map(|figures| real_i64(of(figures)))
    };
    let megabytes = |points: Vec<(f64, f64)>| points.into_iter().map(|(at, bytes)| (at, bytes / 1e6)).collect();
    vec![
        chart(
            "Redis: commands",
            "a second",
            vec![series("commands", growth(run, redis(|figures| real(figures.commands_total))))],
        ),
        chart(
            "Redis: memory",
            "MB",
            vec![series("in use", megabytes(values(run, redis(|figures| real(figures.memory_bytes)))))],
        ),
        chart(
            "PostgreSQL: transactions",
            "a second",
            vec![
                series("committed", growth(run, postgres(|figures| figures.commits_total))),
                series("rolled back", growth(run, postgres(|figures| figures.rollbacks_total))),
                series("deadlocks", growth(run, postgres(|figures| figures.deadlocks_total))),
            ],
        ),
        chart(
            "PostgreSQL: connections",
            "at that moment",
            vec![
                series("open", values(run, postgres(|figures| figures.connections))),
                series("running a statement", values(run, postgres(|figures| figures.active))),
                series("waiting for a lock", values(run, postgres(|figures| figures.waiting))),
            ],
        ),
        chart(
            "PostgreSQL: write-ahead log",
            "MB a second",
            vec![series("written", megabytes(growth(run, postgres(|figures| figures.wal_bytes_total))))],
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::{super::text::tests::run, *};

    fn named<'a>(charts: &'a [Chart], title: &str) -> &'a Chart {
        charts.iter().find(|chart| chart.title == title).unwrap()
    }

    #[test]
    fn every_step_has_its_charts_and_points_are_rates() {
        let run = run();
        let charts = all(&run);
        for title in
            ["join: time of right answers", "poll: answers by outcome", "The line", "PostgreSQL: write-ahead log"]
        {
            named(&charts, title);
        }
        let arrivals = named(&charts, "Fans who came");
        assert_eq!(arrivals.series[0].points.len(), 11);
        let came: f64 = arrivals.series[0].points.iter().map(|(_, per_sec)| per_sec).sum();
        assert!((came - 1_200.0).abs() < 1e-6, "a window is a second wide");
        let commands = &named(&charts, "Redis: commands").series[0];
        assert!(commands.points.iter().all(|(_, per_sec)| (per_sec - 5_000.0).abs() < 1e-6), "{:?}", commands.points);
        let cores = &named(&charts, "Processors in use").series[0];
        assert_eq!((cores.name.as_str(), cores.points.len()), ("server", 9));
        let outcomes = &named(&charts, "poll: answers by outcome").series;
        assert_eq!(outcomes[0].name, "200", "the most frequent first");
    }

    #[test]
    fn what_was_not_seen_is_not_drawn() {
        let mut run = run();
        run.samples.clear();
        let charts = all(&run);
        assert!(charts.iter().all(|chart| chart.title != "The line" && !chart.title.starts_with("Redis")));
        run.recorded = crate::load::recorded::Recorded::default();
        assert!(all(&run).is_empty());
    }
}
