//! What the generator saw, as a report has it in JSON.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::{Counts, Recorded, StepTotals, Times};

#[derive(Serialize)]
struct SecondOfStep {
    #[serde(flatten)]
    counts: Counts,
    outcomes: BTreeMap<String, u64>,
    times: Option<Times>,
}

#[derive(Serialize)]
struct SecondOfRun {
    at_secs: i64,
    arrived: u64,
    dropped: u64,
    steps: BTreeMap<String, SecondOfStep>,
}

#[derive(Serialize)]
struct Whole<'a> {
    started_ms: i64,
    lasted_secs: i64,
    arrived: u64,
    dropped: u64,
    unfinished: Option<&'a str>,
    notes: &'a [String],
    wrongs: &'a [String],
    steps: Vec<StepTotals>,
    seconds: Vec<SecondOfRun>,
}

impl Serialize for Recorded {
    /// Figures, not the successes: those are as many as fans and say nothing to a reader.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let seconds = self.seconds.iter().map(|(at_secs, second)| SecondOfRun {
            at_secs: *at_secs,
            arrived: second.arrived,
            dropped: second.dropped,
            steps: second
                .steps
                .iter()
                .map(|(step, tally)| {
                    let outcomes = tally.outcomes.clone();
                    (step.clone(), SecondOfStep { counts: tally.counts, outcomes, times: tally.times() })
                })
                .collect(),
        });
        Whole {
            started_ms: self.started_ms,
            lasted_secs: self.lasted_secs(),
            arrived: self.arrived,
            dropped: self.dropped,
            unfinished: self.unfinished.as_deref(),
            notes: &self.notes,
            wrongs: &self.wrongs,
            steps: self.steps(),
            seconds: seconds.collect(),
        }
        .serialize(serializer)
    }
}
