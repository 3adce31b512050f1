//! What a run found, as text, JSON and one HTML file.

mod machine;
mod page;
mod pictures;
mod text;

use std::{io::Write, path::Path};

use chrono::{DateTime, SecondsFormat};
use serde::Serialize;

pub use machine::Machine;

use super::{Failure, recorded::Recorded, scenario::Scenario, verdict::Finding, watch::Sample};

/// Findings about how fast the server was start with one of these words. When the generator could not send the fans in time, they
/// say nothing about the server; every other finding still counts.
const ABOUT_SPEED: [&str; 3] = ["p95", "unanswered", "dropped"];

/// Everything about one run.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// Name of the scenario.
    pub name: String,
    /// The scenario as it was run, options applied.
    pub scenario: Scenario,
    /// The command that ran it.
    pub command: String,
    /// Version of this program.
    pub version: String,
    /// Addresses of the servers.
    pub base_urls: Vec<String>,
    /// Whether the servers are on the machine of the generator.
    pub same_machine: bool,
    /// The machine of the generator.
    pub machine: Machine,
    /// What the generator saw.
    pub recorded: Recorded,
    /// What was seen meanwhile of processes, stores and the line.
    pub samples: Vec<Sample>,
    /// What the server and the database say afterwards.
    pub findings: Vec<Finding>,
}

/// What a run says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Outcome {
    /// Everything holds.
    Pass,
    /// Something does not.
    Fail,
    /// The fans did not come as they should have, so nothing can be said of the server's speed.
    Void,
}

impl Outcome {
    /// The word for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Fail => "FAIL",
            Self::Void => "VOID",
        }
    }
}

impl Run {
    /// What the run says, and why, if it is no PASS. A promise that was broken is a FAIL however few fans came.
    pub fn outcome(&self) -> (Outcome, Vec<String>) {
        let void = void(&self.recorded, self.scenario.limits.dropped_share);
        judge(&self.findings, void)
    }

    /// Whether it says PASS.
    pub fn passed(&self) -> bool {
        self.outcome().0 == Outcome::Pass
    }

    /// When it began, as RFC 3339.
    fn started(&self) -> String {
        let started =
            DateTime::from_timestamp_millis(self.recorded.started_ms).filter(|_| self.recorded.started_ms > 0);
        started.map_or_else(|| "never".to_owned(), |at| at.to_rfc3339_opts(SecondsFormat::Secs, true))
    }

    /// Where the generator was, in one sentence.
    fn place(&self) -> String {
        let cores = self.machine.cores;
        if self.same_machine {
            format!("Generator and server share this machine's {cores} cores.")
        } else {
            format!("The generator has this machine's {cores} cores; the server is elsewhere.")
        }
    }

    /// The samples from the first fan to a little after the last answer: what came before and after is not the run.
    fn samples_of_run(&self) -> impl Iterator<Item = &Sample> {
        let from_ms = self.recorded.started_ms - 1_000;
        let until_ms = from_ms + (self.recorded.lasted_secs() + 3) * 1_000;
        self.samples.iter().filter(move |sample| (from_ms..=until_ms).contains(&sample.at_ms))
    }
}

/// Why nothing can be said of the server's speed.
fn void(recorded: &Recorded, limit: f64) -> Vec<String> {
    let mut reasons = vec![];
    if let Some(why) = &recorded.unfinished {
        reasons.push(format!("the generator did not come to its end: {why}"));
    }
    if recorded.arrived == 0 {
        reasons.push("no fan came".to_owned());
    } else if recorded.counts().all() == 0 {
        reasons.push("no fan asked for anything".to_owned());
    }
    let share = recorded.dropped_share();
    if share > limit {
        reasons.push(format!(
            "{} of {} fans could not be sent in time ({}, and {} is the limit)",
            text::number(recorded.dropped),
            text::number(recorded.arrived + recorded.dropped),
            text::percent(share),
            text::percent(limit),
        ));
    }
    reasons
}

fn judge(findings: &[Finding], void: Vec<String>) -> (Outcome, Vec<String>) {
    let reason = |finding: &&Finding| format!("{}: {}", finding.name, finding.detail);
    let broken = findings.iter().filter(|finding| !finding.holds);
    let (speed, promises): (Vec<&Finding>, Vec<&Finding>) =
        broken.partition(|finding| ABOUT_SPEED.iter().any(|word| finding.name.starts_with(word)));
    let promises: Vec<String> = promises.iter().map(reason).collect();
    match (promises.is_empty(), void.is_empty()) {
        (false, _) => (Outcome::Fail, promises.into_iter().chain(speed.iter().map(reason)).chain(void).collect()),
        (true, false) => (Outcome::Void, void),
        // A run without findings was not looked at.
        (true, true) if findings.is_empty() => (Outcome::Void, vec!["nothing was checked afterwards".to_owned()]),
        (true, true) if speed.is_empty() => (Outcome::Pass, vec![]),
        (true, true) => (Outcome::Fail, speed.iter().map(reason).collect()),
    }
}

/// The JSON of a run: what it says, then everything.
#[derive(Serialize)]
struct Document<'a> {
    outcome: Outcome,
    reasons: Vec<String>,
    #[serde(flatten)]
    run: &'a Run,
}

/// Writes `report.txt`, `report.json` and `report.html` into `folder` and prints the text.
pub fn write(folder: &Path, run: &Run) -> Result<(), Failure> {
    let text = save(folder, run)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}\nCharts: {}", folder.join("report.html").display())?;
    Ok(())
}

/// Writes the three files and answers the text.
fn save(folder: &Path, run: &Run) -> Result<String, Failure> {
    let (outcome, reasons) = run.outcome();
    let text = text::report(run);
    let json = serde_json::to_vec_pretty(&Document { outcome, reasons, run })?;
    for (name, content) in [("txt", text.as_bytes()), ("json", &json), ("html", page::report(run).as_bytes())] {
        std::fs::write(folder.join(format!("report.{name}")), content)?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::{
        text::tests::{finding, run},
        *,
    };
    use crate::load::recorded::Verdict;

    fn of(findings: &[Finding], void: &[&str]) -> Outcome {
        judge(findings, void.iter().map(|&why| why.to_owned()).collect()).0
    }

    #[test]
    fn a_broken_promise_fails_whatever_else_is() {
        let (good, slow, lost) =
            (finding("ledger", true), finding("p95 of join", false), finding("nobody lost", false));
        assert_eq!(of(std::slice::from_ref(&good), &[]), Outcome::Pass);
        assert_eq!(of(&[good.clone(), slow.clone()], &[]), Outcome::Fail);
        assert_eq!(
            of(&[good.clone(), slow.clone()], &["no fan came"]),
            Outcome::Void,
            "a slow generator looks like a slow server"
        );
        assert_eq!(of(&[good.clone(), lost.clone()], &["no fan came"]), Outcome::Fail);
        assert_eq!(of(std::slice::from_ref(&good), &["no fan came"]), Outcome::Void);
        assert_eq!(of(&[], &[]), Outcome::Void, "nothing was looked at");
        let (_, reasons) = judge(&[slow, good, lost], vec!["no fan came".to_owned()]);
        assert_eq!(reasons, ["nobody lost: of nobody lost", "p95 of join: of p95 of join", "no fan came"]);
    }

    #[test]
    fn a_generator_that_was_too_slow_or_stopped_makes_a_run_void() {
        let mut recorded = Recorded::default();
        assert_eq!(void(&recorded, 0.005), ["no fan came"]);
        for _ in 0..995 {
            recorded.arrive(1_795_312_112_000);
        }
        assert_eq!(void(&recorded, 0.005), ["no fan asked for anything"]);
        recorded.add(1_795_312_112_000, "join", "201", Verdict::Right, 1);
        recorded.drop_arrivals(1_795_312_112_000, 5);
        assert_eq!(void(&recorded, 0.005), Vec::<String>::new(), "just within the limit");
        recorded.drop_arrivals(1_795_312_112_000, 1);
        assert_eq!(
            void(&recorded, 0.005),
            ["6 of 1,001 fans could not be sent in time (0.60 %, and 0.50 % is the limit)"]
        );
        recorded.unfinished = Some("it was interrupted".to_owned());
        assert_eq!(void(&recorded, 1.0), ["the generator did not come to its end: it was interrupted"]);
    }

    #[test]
    fn a_run_is_written_in_three_forms() {
        let folder = tempfile::tempdir().unwrap();
        let run = run();
        save(folder.path(), &run).unwrap();
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert!(read("report.txt").contains("PASS"));
        let json: serde_json::Value = serde_json::from_str(&read("report.json")).unwrap();
        assert_eq!((&json["outcome"], &json["reasons"]), (&"PASS".into(), &serde_json::json!([])));
        assert_eq!(json["recorded"]["steps"][0]["step"], "join");
        assert!(json["recorded"]["successes"].is_null() && json["samples"].is_array() && json["findings"].is_array());
        assert!(read("report.html").contains("PASS"));
    }

    #[test]
    fn samples_from_before_and_after_are_left_out() {
        let mut run = run();
        let sample = |at_ms| Sample { at_ms, ..Sample::default() };
        let started_ms = run.recorded.started_ms;
        run.samples = [-60_000, -500, 0, 3_000, 600_000].map(|offset| sample(started_ms + offset)).to_vec();
        assert_eq!(run.samples_of_run().count(), 3);
    }
}
