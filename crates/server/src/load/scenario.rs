//! What is to happen in a run: read from a file, changed by options, checked.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::ValueEnum;
use onsale_domain::queue::QueuePolicy;
use serde::{Deserialize, Serialize};

use super::{Failure, recorded::STEPS};

/// Where scenarios are that have a name.
const SCENARIOS: &str = "loadtest/scenarios";

/// Longest time from a fan's turn to the last answer to this fan.
const TURN_SECS: u64 = 300;

/// Who sends the fans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Generator {
    /// The program k6 with `loadtest/fan.js`.
    K6,
    /// This program.
    Crowd,
}

/// What fans do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Journey {
    /// They join and ask for their place, until they have a turn or no more patience.
    Wait,
    /// They buy a ticket and read it.
    Buy,
    /// The same, and all want the first seat.
    HotSeat,
    /// They read the seats twice in their turn.
    Look,
    /// They join and follow the event stream. The crowd only.
    Follow,
}

/// What fans are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Asks when told to.
    Polite,
    /// Asks all the time.
    Rude,
    /// Tries to get past the line.
    Robot,
    /// Leaves while waiting, and joins again.
    Leaver,
    /// Joins again as from another device.
    Mover,
    /// Gets a turn and never uses it.
    NoShow,
}

/// Fans come at an even rate for a while.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// For so many seconds.
    pub secs: f64,
    /// New fans a second.
    pub rate: f64,
}

/// What is sold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sale {
    /// Seats of each show.
    pub seats: usize,
    /// Seats in a row.
    pub rows_of: usize,
    /// Shows; fans buy at the first.
    pub shows: usize,
    /// Price of each seat in minor units.
    pub price_minor: i64,
    /// Settings of the line; those that are not given have their defaults.
    pub policy: QueuePolicy,
}

/// What a run must keep to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Most wrong answers.
    pub wrong: u64,
    /// A larger share of fans that could not be sent in time makes a run void.
    pub dropped_share: f64,
    /// Largest share of requests without an answer.
    pub unanswered_share: f64,
    /// Milliseconds that 95 of 100 right answers of a step do not exceed.
    #[serde(default)]
    pub p95_ms: BTreeMap<String, f64>,
}

/// Everything about a run that a file says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it is, in a few words.
    pub title: String,
    /// What question it answers, and where its size comes from.
    pub about: String,
    /// Who sends the fans.
    pub generator: Generator,
    /// How many fans.
    pub fans: usize,
    /// How they come, one stage after the other.
    pub arrivals: Vec<Stage>,
    /// What they do.
    pub journey: Journey,
    /// What they are like, as shares of one.
    pub clients: BTreeMap<Kind, f64>,
    /// Seconds for which a fan waits.
    pub patience_secs: u64,
    /// Least and most milliseconds that a fan reads before anything else.
    pub read_ms: [u64; 2],
    /// The same for choosing seats.
    pub choose_ms: [u64; 2],
    /// The same for paying.
    pub pay_ms: [u64; 2],
    /// What is sold.
    pub sale: Sale,
    /// What the run must keep to.
    pub limits: Limits,
}

/// What options change.
#[derive(Debug, Clone, Copy, Default)]
pub struct Changes {
    /// How many fans; they come at the same rates for longer or shorter.
    pub fans: Option<usize>,
    /// The highest rate; the others and the times keep their proportions.
    pub rate: Option<f64>,
    /// Seats of each show.
    pub seats: Option<usize>,
    /// Who sends the fans.
    pub generator: Option<Generator>,
}

/// A count as a number that can be divided.
fn real(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

impl Scenario {
    /// Reads the scenario with this name, or from this file if it ends in `.json`. Answers its name too.
    pub fn read(name: &str) -> Result<(String, Self), Failure> {
        let given = Path::new(name);
        let path = if given.extension().is_some_and(|extension| extension == "json") {
            given.to_owned()
        } else {
            Path::new(SCENARIOS).join(format!("{name}.json"))
        };
        let text = std::fs::read_to_string(&path).map_err(|error| {
            format!("{} cannot be read: {error}; known scenarios: {}", path.display(), known().join(", "))
        })?;
        let scenario = Self::parse(&text).map_err(|fault| format!("{}: {fault}", path.display()))?;
        let name = path.file_stem().map_or_else(|| name.to_owned(), |stem| stem.to_string_lossy().into_owned());
        Ok((name, scenario))
    }

    fn parse(text: &str) -> Result<Self, Failure> {
        let file: serde_json::Value = serde_json::from_str(text)?;
        // The settings of a line pass over what they do not know, as what is stored may be of a newer program. A file is of now.
        let settings = file.pointer("/sale/policy").and_then(serde_json::Value::as_object);
        let is_known = |name: &str| QueuePolicy::SETTINGS.iter().any(|setting| setting.name == name);
        if let Some(unknown) = settings.and_then(|settings| settings.keys().find(|name| !is_known(name))) {
            return Err(format!("{unknown} is no setting of a line").into());
        }
        let scenario: Self = serde_json::from_value(file)?;
        scenario.checked()
    }

    /// The scenario as options want it.
    pub fn with(mut self, changes: Changes) -> Result<Self, Failure> {
        let fans = changes.fans.unwrap_or(self.fans);
        let highest = self.arrivals.iter().map(|stage| stage.rate).fold(f64::MIN_POSITIVE, f64::max);
        let faster = changes.rate.map_or(1.0, |rate| rate / highest);
        let longer = real(fans) / real(self.fans) / faster;
        for stage in &mut self.arrivals {
            stage.rate *= faster;
            stage.secs *= longer;
        }
        self.fans = fans;
        self.sale.seats = changes.seats.unwrap_or(self.sale.seats);
        self.generator = changes.generator.unwrap_or(self.generator);
        // Rounding must not lose the last fan.
        let missing = real(fans) - self.arriving();
        if let Some(last) = self.arrivals.last_mut().filter(|_| missing > 0.0) {
            last.secs += (missing + 0.001) / last.rate;
        }
        self.checked()
    }

    /// How many fans come while all stages last.
    fn arriving(&self) -> f64 {
        self.arrivals.iter().map(|stage| stage.secs * stage.rate).sum()
    }

    /// Seconds after which everything is over.
    pub fn longest_secs(&self) -> i64 {
        let arrivals = Duration::try_from_secs_f64(self.arrivals.iter().map(|stage| stage.secs).sum());
        let secs = arrivals.map_or(u64::MAX, |arrivals| arrivals.as_secs().saturating_add(1));
        i64::try_from(secs.saturating_add(self.patience_secs).saturating_add(TURN_SECS)).unwrap_or(i64::MAX)
    }

    /// Names everything that is wrong.
    fn checked(self) -> Result<Self, Failure> {
        let mut faults = vec![];
        let mut must = |holds: bool, what: &str| {
            if !holds {
                faults.push(what.to_owned());
            }
        };
        must((1..=1_000_000).contains(&self.fans), "fans must be 1 to 1000000");
        let is_positive = |value: f64| value.is_finite() && value > 0.0;
        must(!self.arrivals.is_empty(), "arrivals must have a stage");
        must(
            self.arrivals.iter().all(|stage| is_positive(stage.secs) && is_positive(stage.rate)),
            "secs and rate of arrivals must be more than 0",
        );
        must(self.arriving() + 1e-6 >= real(self.fans), "arrivals must bring all fans: the sum of secs * rate is less");
        let shares: f64 = self.clients.values().sum();
        must((shares - 1.0).abs() < 1e-6, "the shares of clients must sum up to 1");
        must(self.clients.values().all(|share| *share >= 0.0), "no share of clients may be negative");
        let ranges = [self.read_ms, self.choose_ms, self.pay_ms];
        must(ranges.iter().all(|[least, most]| least <= most), "of two milliseconds the first must not be more");
        must(self.patience_secs <= 86_400, "patience_secs must be 86400 at most");
        let sale = &self.sale;
        must((1..=1_000_000).contains(&sale.seats), "seats must be 1 to 1000000");
        must((1..=10_000).contains(&sale.rows_of), "rows_of must be 1 to 10000");
        must((1..=100).contains(&sale.shows), "shows must be 1 to 100");
        must((0..=1_000_000_000_000).contains(&sale.price_minor), "price_minor must be 0 to 1000000000000");
        if let Err(wrong) = sale.policy.check() {
            for fault in wrong.iter() {
                must(false, &format!("policy: {} {}", fault.field, fault.message));
            }
        }
        let limits = &self.limits;
        let is_share = |share: f64| (0.0..=1.0).contains(&share);
        must(is_share(limits.dropped_share) && is_share(limits.unanswered_share), "shares must be 0 to 1");
        for step in limits.p95_ms.keys().filter(|step| !STEPS.contains(&step.as_str())) {
            must(false, &format!("p95_ms: {step} is no step of a journey"));
        }
        must(
            self.journey != Journey::Follow || self.generator == Generator::Crowd,
            "only the generator crowd can follow event streams",
        );
        if faults.is_empty() { Ok(self) } else { Err(faults.join("; ").into()) }
    }
}

/// Scenarios that have a name.
fn known() -> Vec<String> {
    let files = std::fs::read_dir(SCENARIOS).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut names: Vec<String> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .filter_map(|path: PathBuf| Some(path.file_stem()?.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn file() -> Value {
        json!({
            "title": "10,000 fans at 1,000 a second", "about": "How fast joining is.", "generator": "k6", "fans": 10_000,
            "arrivals": [{ "secs": 5, "rate": 500 }, { "secs": 7.5, "rate": 1_000 }], "journey": "hot_seat",
            "clients": { "polite": 0.9, "no_show": 0.1 }, "patience_secs": 60,
            "read_ms": [500, 3_000], "choose_ms": [1_000, 5_000], "pay_ms": [1_000, 4_000],
            "sale": {
                "seats": 1_000, "rows_of": 50, "shows": 1, "price_minor": 10_000,
                "policy": { "interval_secs": 5, "batch": 100, "active_limit": 500 },
            },
            "limits": { "wrong": 0, "dropped_share": 0.005, "unanswered_share": 0.0, "p95_ms": { "join": 1_000 } },
        })
    }

    fn parsed(file: &Value) -> Result<Scenario, String> {
        Scenario::parse(&file.to_string()).map_err(|fault| fault.to_string())
    }

    #[test]
    fn what_a_file_says_is_read_and_written_again() {
        let scenario = parsed(&file()).expect("right");
        assert_eq!((scenario.journey, scenario.clients[&Kind::NoShow]), (Journey::HotSeat, 0.1));
        assert_eq!((scenario.sale.policy.batch, scenario.sale.policy.claim_secs), (100, 60), "the rest has defaults");
        assert_eq!(scenario.longest_secs(), 13 + 60 + 300);
        let again: Scenario = serde_json::from_str(&serde_json::to_string(&scenario).expect("JSON")).expect("right");
        assert_eq!(again, scenario);
    }

    #[test]
    fn options_keep_the_shape_and_lose_no_fan() {
        let scenario = parsed(&file()).expect("right");
        let stages = |changes| {
            let changed = scenario.clone().with(changes).expect("right");
            assert!(changed.arriving() >= real(changed.fans));
            changed.arrivals.iter().map(|stage| (stage.secs.round(), stage.rate.round())).collect::<Vec<_>>()
        };
        assert_eq!(stages(Changes::default()), [(5.0, 500.0), (8.0, 1_000.0)]);
        assert_eq!(stages(Changes { fans: Some(20_000), ..Changes::default() }), [(10.0, 500.0), (15.0, 1_000.0)]);
        assert_eq!(stages(Changes { rate: Some(100.0), ..Changes::default() }), [(50.0, 50.0), (75.0, 100.0)]);
        let both = Changes { fans: Some(1_000), rate: Some(100.0), ..Changes::default() };
        assert_eq!(stages(both), [(5.0, 50.0), (8.0, 100.0)]);
        for fans in [1, 3, 7, 333, 9_999] {
            stages(Changes { fans: Some(fans), rate: Some(17.0), ..Changes::default() });
        }
        let changed =
            scenario.with(Changes { seats: Some(7), generator: Some(Generator::Crowd), ..Changes::default() });
        let changed = changed.expect("right");
        assert_eq!((changed.sale.seats, changed.generator), (7, Generator::Crowd));
    }

    #[test]
    fn every_fault_is_named() {
        let mut wrong = file();
        wrong["fans"] = json!(10_001);
        wrong["clients"] = json!({ "polite": 0.5 });
        wrong["read_ms"] = json!([2, 1]);
        wrong["sale"]["policy"]["batch"] = json!(0);
        wrong["limits"]["p95_ms"] = json!({ "jion": 1 });
        let faults = parsed(&wrong).expect_err("wrong");
        for word in ["sum of secs * rate", "sum up to 1", "the first must not", "policy: batch", "jion"] {
            assert!(faults.contains(word), "{word} is not in {faults}");
        }
        for (pointer, name) in [("/sale/policy", "active_limt"), ("/limits", "p95"), ("/clients", "polit")] {
            let mut wrong = file();
            wrong.pointer_mut(pointer).and_then(Value::as_object_mut).expect("there").insert(name.to_owned(), json!(0));
            assert!(parsed(&wrong).expect_err("wrong").contains(name), "{name} is accepted");
        }
        let mut follow = file();
        follow["journey"] = json!("follow");
        assert!(parsed(&follow).expect_err("wrong").contains("crowd"));
    }
}
