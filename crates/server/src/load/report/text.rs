//! The report as text, for a terminal.

use std::collections::BTreeMap;

use super::Run;
use crate::load::recorded::{StepTotals, real};

/// One table of the report: the names of the columns, and the rows.
pub(super) struct Table {
    pub(super) head: Vec<&'static str>,
    pub(super) rows: Vec<Vec<String>>,
}

impl Table {
    /// In columns; the first stands left, numbers stand right.
    fn text(&self) -> String {
        let widths: Vec<usize> = self
            .head
            .iter()
            .enumerate()
            .map(|(at, name)| {
                let cells = self.rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count());
                cells.max().unwrap_or_default().max(name.len())
            })
            .collect();
        let line = |cells: Vec<&str>| {
            let padded = cells.iter().zip(&widths).enumerate().map(|(at, (cell, &width))| {
                if at == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
            });
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        let rows = self.rows.iter().map(|row| line(row.iter().map(String::as_str).collect()));
        [line(self.head.clone())].into_iter().chain(rows).collect::<Vec<_>>().join("\n")
    }
}

/// Requests by step.
pub(super) fn steps(totals: &[StepTotals]) -> Table {
    let ms = |of: Option<f64>| of.map_or_else(|| "-".to_owned(), millis);
    let rows = totals.iter().map(|step| {
        let (counts, times) = (step.counts, step.times);
        vec![
            step.step.clone(),
            number(step.count),
            format!("{:.1}", step.per_sec),
            number(counts.right),
            number(counts.refused),
            number(counts.wrong),
            number(counts.unanswered),
            ms(times.map(|times| times.p50_ms)),
            ms(times.map(|times| times.p95_ms)),
            ms(times.map(|times| times.p99_ms)),
            ms(times.map(|times| times.max_ms)),
        ]
    });
    let head = vec![
        "step",
        "count",
        "a second",
        "right",
        "refused",
        "wrong",
        "no answer",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "max ms",
    ];
    Table { head, rows: rows.collect() }
}

/// What processes used while the run went on.
pub(super) fn processes(run: &Run) -> Table {
    // By process: the first and the last look, the highest use between two, the most memory and descriptors.
    #[derive(Default)]
    struct Seen {
        first: Option<(i64, f64)>,
        last: Option<(i64, f64)>,
        most_cores: f64,
        memory_bytes: u64,
        descriptors: u64,
    }
    let mut all: BTreeMap<&str, Seen> = BTreeMap::new();
    for sample in run.samples_of_run() {
        for (name, usage) in &sample.processes {
            let seen = all.entry(name).or_default();
            let now = (sample.at_ms, usage.cpu_secs);
            if let Some(last) = seen.last {
                seen.most_cores = seen.most_cores.max(rate(last, now).unwrap_or_default());
            }
            seen.first = seen.first.or(Some(now));
            seen.last = Some(now);
            seen.memory_bytes = seen.memory_bytes.max(usage.memory_bytes);
            seen.descriptors = seen.descriptors.max(usage.descriptors);
        }
    }
    let rows = all.into_iter().map(|(name, seen)| {
        let mean = seen.first.zip(seen.last).and_then(|(first, last)| rate(first, last));
        vec![
            name.to_owned(),
            mean.map_or_else(|| "-".to_owned(), |cores| format!("{cores:.2}")),
            format!("{:.2}", seen.most_cores),
            number(seen.memory_bytes / 1_000_000),
            number(seen.descriptors),
        ]
    });
    Table { head: vec!["process", "cores", "most cores", "most MB", "most descriptors"], rows: rows.collect() }
}

/// How fast a counter grew, a second; `None` when no time passed or it began anew.
pub(super) fn rate((from_ms, before): (i64, f64), (to_ms, after): (i64, f64)) -> Option<f64> {
    let secs = real(u64::try_from(to_ms - from_ms).ok()?) / 1_000.0;
    (secs > 0.0 && after >= before).then(|| (after - before) / secs)
}

/// How the requests of a step ended, the most frequent first.
pub(super) fn outcomes(step: &StepTotals) -> String {
    let mut outcomes: Vec<(&String, &u64)> = step.outcomes.iter().collect();
    outcomes.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    outcomes.into_iter().map(|(outcome, count)| format!("{outcome} {}", number(*count))).collect::<Vec<_>>().join(", ")
}

/// What was run where and when, as names and values.
pub(super) fn circumstances(run: &Run) -> Vec<(&'static str, String)> {
    let machine = &run.machine;
    vec![
        ("command", run.command.clone()),
        ("began", run.started()),
        ("server", run.base_urls.join(", ")),
        ("version", run.version.clone()),
        (
            "machine",
            format!(
                "{} cores, {}, {} MB, {}",
                machine.cores,
                machine.processor,
                number(machine.memory_bytes / 1_000_000),
                machine.system
            ),
        ),
    ]
}

/// How many came and how long it took, in one sentence.
pub(super) fn summary(run: &Run) -> String {
    let recorded = &run.recorded;
    format!(
        "{} of {} fans came, {} could not be sent in time; {} s from the first to the last answer.",
        number(recorded.arrived),
        number(u64::try_from(run.scenario.fans).unwrap_or_default()),
        number(recorded.dropped),
        recorded.lasted_secs(),
    )
}

/// What the columns of the table of steps mean.
pub(super) const ABOUT_TIMES: &str =
    "Times are of right answers, to 1 %; the longest is exact. Refused: the server said that it has too much to do.";

pub(super) fn report(run: &Run) -> String {
    let (outcome, reasons) = run.outcome();
    let totals = run.recorded.steps();
    let mut out = String::new();
    let mut line = |text: &str| {
        out.push_str(text);
        out.push('\n');
    };
    line(&format!("{}: {}", outcome.as_str(), run.scenario.title));
    line(&run.scenario.about);
    for reason in &reasons {
        line(&format!("  {reason}"));
    }
    line("");
    for finding in &run.findings {
        let holds = if finding.holds { "holds " } else { "BROKEN" };
        line(&format!("{holds}  {}: {}", finding.name, finding.detail));
    }
    line("");
    line(&summary(run));
    line("");
    line(&steps(&totals).text());
    line(ABOUT_TIMES);
    line("");
    for step in &totals {
        line(&format!("{}: {}", step.step, outcomes(step)));
    }
    let processes = processes(run);
    if !processes.rows.is_empty() {
        line("");
        line(&processes.text());
    }
    for (what, texts) in [("Wrong answers", &run.recorded.wrongs), ("The generator says", &run.recorded.notes)] {
        if !texts.is_empty() {
            line("");
            line(&format!("{what}:"));
        }
        for text in texts {
            line(&format!("  {text}"));
        }
    }
    line("");
    line(&run.place());
    for (name, value) in circumstances(run) {
        line(&format!("{name:<8} {value}"));
    }
    out
}

/// With a comma after each three digits.
pub(super) fn number(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A share, in hundredths.
pub(super) fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

/// Milliseconds, the more exact the fewer.
fn millis(ms: f64) -> String {
    if ms < 10.0 {
        format!("{ms:.2}")
    } else if ms < 100.0 {
        format!("{ms:.1}")
    } else {
        format!("{ms:.0}")
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::load::{
        recorded::{NO_ANSWER, Recorded, Verdict},
        report::Machine,
        verdict::Finding,
        watch::{LineFigures, PostgresFigures, RedisFigures, Sample, ServerFigures, Usage},
    };

    pub(in crate::load::report) fn finding(name: &str, holds: bool) -> Finding {
        Finding { name: name.to_owned(), holds, detail: format!("of {name}") }
    }

    /// A run of ten seconds in which everything holds.
    pub(in crate::load::report) fn run() -> Run {
        const START_MS: i64 = 1_795_312_112_400;
        let mut recorded = Recorded::default();
        for n in 0..1_200_i64 {
            let at_ms = START_MS + n * 8;
            recorded.arrive(at_ms);
            recorded.add(at_ms, "join", "201", Verdict::Right, 1_500 + u64::try_from(n).unwrap());
            recorded.add(at_ms + 500, "poll", "200", Verdict::Right, 700);
        }
        recorded.add(START_MS, "poll", "too_many_requests", Verdict::Refused, 300);
        recorded.add(START_MS, "poll", NO_ANSWER, Verdict::Wrong, 300);
        recorded.note("k6: <b>Insufficient</b> VUs".to_owned());
        let samples = (0..10_u32).map(|second| {
            let usage = Usage { cpu_secs: f64::from(second) * 1.5, memory_bytes: 120_000_000, descriptors: 40 };
            let total = i64::from(second) * 100;
            Sample {
                at_ms: START_MS + i64::from(second) * 1_000,
                processes: [("server".to_owned(), usage)].into(),
                redis: Some(RedisFigures { commands_total: u64::from(second) * 5_000, ..RedisFigures::default() }),
                postgres: Some(PostgresFigures { commits_total: total, ..PostgresFigures::default() }),
                line: Some(LineFigures { waiting: total, ..LineFigures::default() }),
                servers: Some(ServerFigures { in_flight: f64::from(second), ..ServerFigures::default() }),
            }
        });
        Run {
            name: "smoke".to_owned(),
            scenario: serde_json::from_value(serde_json::json!({
                "title": "1,200 fans & more", "about": "What joining costs.", "generator": "k6", "fans": 1_200,
                "arrivals": [{ "secs": 10, "rate": 120 }], "journey": "wait", "clients": { "polite": 1.0 },
                "patience_secs": 60, "read_ms": [500, 3_000], "choose_ms": [1_000, 5_000], "pay_ms": [1_000, 4_000],
                "sale": {
                    "seats": 1_000, "rows_of": 50, "shows": 1, "price_minor": 10_000,
                    "policy": { "interval_secs": 5, "batch": 100, "active_limit": 500 },
                },
                "limits": { "wrong": 0, "dropped_share": 0.005, "unanswered_share": 0.01, "p95_ms": { "join": 1_000 } },
            }))
            .unwrap(),
            command: "onsale load run smoke".to_owned(),
            version: "0.1.0".to_owned(),
            base_urls: vec!["http://127.0.0.1:8080".to_owned()],
            same_machine: true,
            machine: Machine {
                cores: 2,
                processor: "Some CPU".to_owned(),
                memory_bytes: 16_000_000_000,
                system: "linux 6.1".to_owned(),
            },
            recorded,
            samples: samples.collect(),
            findings: vec![finding("order and limit", true), finding("p95 of join", true)],
        }
    }

    #[test]
    fn the_text_says_what_holds_and_how_fast_it_was() {
        let text = report(&run());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "PASS: 1,200 fans & more");
        for line in [
            "holds   order and limit: of order and limit",
            "1,200 of 1,200 fans came, 0 could not be sent in time; 11 s from the first to the last answer.",
            "poll: 200 1,200, no_answer 1, too_many_requests 1",
            "Generator and server share this machine's 2 cores.",
            "command  onsale load run smoke",
            "began    2026-11-22T01:48:32Z",
        ] {
            assert!(lines.contains(&line), "{line} is not in\n{text}");
        }
        let words = |name: &str| -> Vec<&str> {
            let line = lines.iter().find(|line| line.starts_with(&format!("{name}  "))).unwrap();
            line.split_whitespace().collect()
        };
        assert_eq!(words("poll")[1..7], ["1,202", "109.3", "1,200", "1", "0", "1"]);
        assert_eq!(words("poll")[7..], ["0.70", "0.70", "0.70", "0.70"]);
        assert_eq!(words("server")[1..], ["1.50", "1.50", "120", "40"]);
    }

    #[test]
    fn reasons_stand_first() {
        let mut run = run();
        run.findings.push(finding("nobody lost", false));
        let text = report(&run);
        assert!(
            text.starts_with("FAIL: 1,200 fans & more\nWhat joining costs.\n  nobody lost: of nobody lost\n"),
            "{text}"
        );
        assert!(text.contains("BROKEN  nobody lost"));
        run.findings.clear();
        assert!(report(&run).starts_with("VOID"));
    }

    #[test]
    fn a_run_without_a_fan_is_reported_too() {
        let mut run = run();
        run.recorded = Recorded::default();
        run.samples.clear();
        let text = report(&run);
        assert!(text.starts_with("VOID") && text.contains("no fan came") && text.contains("began    never"), "{text}");
    }

    #[test]
    fn numbers_are_written_for_people() {
        let of = |count| number(count);
        assert_eq!((of(0), of(999), of(1_000)), ("0".to_owned(), "999".to_owned(), "1,000".to_owned()));
        assert_eq!(number(1_234_567), "1,234,567");
        assert_eq!((millis(1.234), millis(12.34), millis(1_234.5)), ("1.23".into(), "12.3".into(), "1234".into()));
        assert_eq!(rate((0, 1.0), (2_000, 4.0)), Some(1.5));
        assert_eq!((rate((0, 1.0), (0, 4.0)), rate((0, 5.0), (1_000, 0.0))), (None, None), "a counter began anew");
    }
}
