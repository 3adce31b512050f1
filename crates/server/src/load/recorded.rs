//! What the generator saw, by second, step and outcome.

mod json;

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

/// The steps in the order of a fan's journey; tables and charts keep to it.
pub const STEPS: [&str; 10] =
    ["join", "poll", "leave", "seats", "seats_304", "reserve", "pay", "ticket", "follow", "gate"];

/// The outcome of a request that got no answer.
pub const NO_ANSWER: &str = "no_answer";

/// Most texts of wrong answers, and most notes, that are kept: the first ones tell what went wrong.
const TEXTS_KEPT: usize = 50;

/// An answer that took longer counts as this; it keeps the histograms small.
const LONGEST_MICROS: u64 = 3_600_000_000;

/// What an answer was to the fan who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// What the documents promise for this request.
    Right,
    /// The server has too much to do and says so: 429 for a polite client, 503 with `Retry-After`.
    Refused,
    /// Anything else.
    Wrong,
}

impl Verdict {
    /// Reads `right`, `refused` or `wrong`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "right" => Some(Self::Right),
            "refused" => Some(Self::Refused),
            "wrong" => Some(Self::Wrong),
            _ => None,
        }
    }
}

/// Something that a fan was told has been done, to be looked for in the database afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Success {
    /// `join`, `reserve` or `pay`.
    pub what: &'static str,
    /// Index of the fan.
    pub fan: usize,
    /// The number of the place, or the reservation.
    pub id: String,
}

/// How many requests ended how. Each is counted once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Answered as promised.
    pub right: u64,
    /// Refused because of overload.
    pub refused: u64,
    /// Answered otherwise.
    pub wrong: u64,
    /// Not answered.
    pub unanswered: u64,
}

impl Counts {
    /// All of them.
    pub fn all(&self) -> u64 {
        self.right + self.refused + self.wrong + self.unanswered
    }
}

/// Milliseconds of right answers, to about 1 %.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Times {
    /// Half of the answers were not slower.
    pub p50_ms: f64,
    /// 95 of 100 were not slower.
    pub p95_ms: f64,
    /// 99 of 100 were not slower.
    pub p99_ms: f64,
    /// The slowest, exactly.
    pub max_ms: f64,
}

/// The requests of one step over some time.
#[derive(Debug, Clone)]
pub struct Tally {
    /// By verdict.
    pub counts: Counts,
    /// By outcome.
    pub outcomes: BTreeMap<String, u64>,
    /// Microseconds of right answers. Refusals are quick and would make a server that refuses look fast.
    micros: Histogram<u32>,
    slowest_micros: u64,
}

impl Default for Tally {
    #[expect(clippy::expect_used, reason = "two significant figures are among those that are allowed")]
    fn default() -> Self {
        // Two figures take 1 kB and grow to 11 kB with answers of minutes; there is one for each step and second.
        let micros = Histogram::new(2).expect("two figures");
        Self { counts: Counts::default(), outcomes: BTreeMap::new(), micros, slowest_micros: 0 }
    }
}

impl Tally {
    fn add(&mut self, outcome: &str, verdict: Verdict, micros: u64) {
        match verdict {
            // Whoever was not answered was told nothing wrong.
            _ if outcome == NO_ANSWER => self.counts.unanswered += 1,
            Verdict::Right => {
                self.counts.right += 1;
                self.slowest_micros = self.slowest_micros.max(micros);
                // It grows as needed, so nothing that is bounded is refused.
                let _ = self.micros.record(micros.min(LONGEST_MICROS));
            }
            Verdict::Refused => self.counts.refused += 1,
            Verdict::Wrong => self.counts.wrong += 1,
        }
        count(&mut self.outcomes, outcome, 1);
    }

    fn merge(&mut self, other: &Self) {
        self.counts.right += other.counts.right;
        self.counts.refused += other.counts.refused;
        self.counts.wrong += other.counts.wrong;
        self.counts.unanswered += other.counts.unanswered;
        for (outcome, times) in &other.outcomes {
            count(&mut self.outcomes, outcome, *times);
        }
        self.slowest_micros = self.slowest_micros.max(other.slowest_micros);
        let _ = self.micros.add(&other.micros);
    }

    /// How long right answers took; `None` where there was none.
    pub fn times(&self) -> Option<Times> {
        // A class of the histogram ends a little above the slowest answer in it.
        let at = |quantile| millis(self.micros.value_at_quantile(quantile).min(self.slowest_micros));
        (self.counts.right > 0).then(|| Times {
            p50_ms: at(0.5),
            p95_ms: at(0.95),
            p99_ms: at(0.99),
            max_ms: millis(self.slowest_micros),
        })
    }
}

/// Everything that happened in one second, or in several that were put together.
#[derive(Debug, Clone, Default)]
pub struct Second {
    /// Fans who came.
    pub arrived: u64,
    /// Fans who should have come and could not be sent.
    pub dropped: u64,
    /// Requests that ended, by step.
    pub steps: BTreeMap<String, Tally>,
}

impl Second {
    fn change(&mut self, step: &str, change: impl FnOnce(&mut Tally)) {
        // No new text for a step that is known: this runs for every request.
        if let Some(tally) = self.steps.get_mut(step) {
            change(tally);
        } else {
            change(self.steps.entry(step.to_owned()).or_default());
        }
    }

    fn merge(&mut self, other: &Self) {
        self.arrived += other.arrived;
        self.dropped += other.dropped;
        for (step, tally) in &other.steps {
            self.change(step, |whole| whole.merge(tally));
        }
    }
}

/// One step of the whole run.
#[derive(Debug, Clone, Serialize)]
pub struct StepTotals {
    /// Its name.
    pub step: String,
    /// Requests by verdict.
    #[serde(flatten)]
    pub counts: Counts,
    /// All of them.
    pub count: u64,
    /// Requests a second, over the time from the first request of any step to the last.
    pub per_sec: f64,
    /// Requests by outcome.
    pub outcomes: BTreeMap<String, u64>,
    /// How long right answers took.
    pub times: Option<Times>,
}

/// Everything that the generator saw.
#[derive(Debug, Clone, Default)]
pub struct Recorded {
    /// When the first thing happened, in milliseconds since 1970; 0 when nothing did.
    pub started_ms: i64,
    /// By second since 1970. A second in which nothing happened is missing.
    pub seconds: BTreeMap<i64, Second>,
    /// What fans were told has been done.
    pub successes: Vec<Success>,
    /// The first wrong answers as texts.
    pub wrongs: Vec<String>,
    /// Fans who came.
    pub arrived: u64,
    /// Fans who should have come and could not be sent, because the generator was too slow.
    pub dropped: u64,
    /// Why the generator did not come to its end.
    pub unfinished: Option<String>,
    /// What else the generator said.
    pub notes: Vec<String>,
}

impl Recorded {
    fn second(&mut self, at_ms: i64) -> &mut Second {
        self.started_ms = if self.started_ms == 0 { at_ms } else { self.started_ms.min(at_ms) };
        self.seconds.entry(at_ms.div_euclid(1_000)).or_default()
    }

    /// A request of `step` ended at `at_ms` with `outcome` after `micros`.
    pub fn add(&mut self, at_ms: i64, step: &str, outcome: &str, verdict: Verdict, micros: u64) {
        self.second(at_ms).change(step, |tally| tally.add(outcome, verdict, micros));
    }

    /// A fan came.
    pub fn arrive(&mut self, at_ms: i64) {
        self.arrived += 1;
        self.second(at_ms).arrived += 1;
    }

    /// Fans who should have come could not be sent.
    pub fn drop_arrivals(&mut self, at_ms: i64, fans: u64) {
        self.dropped += fans;
        self.second(at_ms).dropped += fans;
    }

    /// A fan was told that something has been done.
    pub fn succeed(&mut self, success: Success) {
        self.successes.push(success);
    }

    /// Tells of a wrong answer, which [`Recorded::add`] has counted.
    pub fn wrong(&mut self, text: String) {
        keep(&mut self.wrongs, text);
    }

    /// Something else that whoever reads the report should know.
    pub fn note(&mut self, text: String) {
        if !self.notes.contains(&text) {
            keep(&mut self.notes, text);
        }
    }

    /// Takes what another worker saw.
    pub fn merge(&mut self, other: Self) {
        if other.started_ms != 0 {
            self.started_ms =
                if self.started_ms == 0 { other.started_ms } else { self.started_ms.min(other.started_ms) };
        }
        for (second, seen) in &other.seconds {
            self.seconds.entry(*second).or_default().merge(seen);
        }
        self.successes.extend(other.successes);
        self.arrived += other.arrived;
        self.dropped += other.dropped;
        for text in other.wrongs {
            self.wrong(text);
        }
        for text in other.notes {
            self.note(text);
        }
        self.unfinished = self.unfinished.take().or(other.unfinished);
    }

    /// Seconds from the first that something happened in to the last, both included.
    pub fn lasted_secs(&self) -> i64 {
        let ends = self.seconds.keys().next().zip(self.seconds.keys().next_back());
        ends.map_or(0, |(first, last)| last - first + 1)
    }

    /// What happened in each `width_secs` seconds since the beginning, also where it is nothing, with the second it begins at.
    pub fn windows(&self, width_secs: i64) -> Vec<(i64, Second)> {
        let width_secs = width_secs.max(1);
        let first = self.seconds.keys().next().copied().unwrap_or_default();
        let mut windows: BTreeMap<i64, Second> =
            (0..self.lasted_secs()).step_by(step_of(width_secs)).map(|from| (from, Second::default())).collect();
        for (second, seen) in &self.seconds {
            let from = (second - first).div_euclid(width_secs) * width_secs;
            windows.entry(from).or_default().merge(seen);
        }
        windows.into_iter().collect()
    }

    /// The whole run by step, in the order of the journey.
    pub fn steps(&self) -> Vec<StepTotals> {
        let mut whole = Second::default();
        for seen in self.seconds.values() {
            whole.merge(seen);
        }
        let secs = real(u64::try_from(self.lasted_secs()).unwrap_or_default()).max(1.0);
        let mut totals: Vec<StepTotals> = whole
            .steps
            .into_iter()
            .map(|(step, tally)| StepTotals {
                counts: tally.counts,
                count: tally.counts.all(),
                per_sec: real(tally.counts.all()) / secs,
                times: tally.times(),
                outcomes: tally.outcomes,
                step,
            })
            .collect();
        // Stable, so that steps that are not in the list stay in alphabetical order behind it.
        totals.sort_by_key(|totals| STEPS.iter().position(|step| *step == totals.step).unwrap_or(STEPS.len()));
        totals
    }

    /// All requests together.
    pub fn counts(&self) -> Counts {
        let mut all = Counts::default();
        for tally in self.seconds.values().flat_map(|second| second.steps.values()) {
            all.right += tally.counts.right;
            all.refused += tally.counts.refused;
            all.wrong += tally.counts.wrong;
            all.unanswered += tally.counts.unanswered;
        }
        all
    }

    /// Share of all fans who should have come and could not be sent.
    pub fn dropped_share(&self) -> f64 {
        real(self.dropped) / real(self.arrived + self.dropped).max(1.0)
    }
}

fn count(outcomes: &mut BTreeMap<String, u64>, outcome: &str, times: u64) {
    match outcomes.get_mut(outcome) {
        Some(count) => *count += times,
        None => {
            outcomes.insert(outcome.to_owned(), times);
        }
    }
}

fn keep(texts: &mut Vec<String>, text: String) {
    if texts.len() < TEXTS_KEPT {
        texts.push(text);
    }
}

fn step_of(width_secs: i64) -> usize {
    usize::try_from(width_secs).unwrap_or(usize::MAX)
}

fn millis(micros: u64) -> f64 {
    real(micros) / 1_000.0
}

/// A count as a number that can be divided.
#[expect(clippy::cast_precision_loss, reason = "counts and bytes of a run are far below 2^52")]
pub(super) fn real(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const START_MS: i64 = 1_795_312_112_400;

    fn right(recorded: &mut Recorded, at_ms: i64, step: &str, micros: u64) {
        recorded.add(at_ms, step, "200", Verdict::Right, micros);
    }

    #[test]
    fn percentiles_are_those_of_right_answers() {
        let mut recorded = Recorded::default();
        for millis in 1..=100 {
            right(&mut recorded, START_MS + millis, "poll", u64::try_from(millis).unwrap() * 1_000);
        }
        recorded.add(START_MS, "poll", "too_many_requests", Verdict::Refused, 1);
        recorded.add(START_MS, "poll", "500", Verdict::Wrong, 9_000_000);
        recorded.add(START_MS, "poll", NO_ANSWER, Verdict::Wrong, 60_000_000);
        let steps = recorded.steps();
        assert_eq!(steps.len(), 1);
        assert_eq!(steps[0].counts, Counts { right: 100, refused: 1, wrong: 1, unanswered: 1 });
        assert_eq!((steps[0].count, steps[0].outcomes["200"], steps[0].outcomes["500"]), (103, 100, 1));
        let times = steps[0].times.unwrap();
        for (is, should) in [(times.p50_ms, 50.0), (times.p95_ms, 95.0), (times.p99_ms, 99.0)] {
            assert!((is - should).abs() <= should * 0.011, "{is} for {should}");
        }
        assert!((times.max_ms - 100.0).abs() < f64::EPSILON && times.p99_ms <= times.max_ms);
    }

    #[test]
    fn one_answer_is_every_percentile_and_none_is_no_time() {
        let mut recorded = Recorded::default();
        right(&mut recorded, START_MS, "join", 12_345);
        recorded.add(START_MS, "poll", NO_ANSWER, Verdict::Wrong, 5);
        let steps = recorded.steps();
        let times = steps[0].times.unwrap();
        assert!([times.p50_ms, times.p95_ms, times.p99_ms].iter().all(|is| (is - 12.345).abs() < 1e-9), "{times:?}");
        assert_eq!(steps[1].times, None);
    }

    #[test]
    fn workers_together_saw_what_one_would_have_seen() {
        let (mut one, mut workers) = (Recorded::default(), [Recorded::default(), Recorded::default()]);
        for n in 0..2_000_i64 {
            let (at_ms, micros) = (START_MS + n * 3, u64::try_from((n * 7_919) % 100_000).unwrap());
            for recorded in [&mut one, &mut workers[usize::try_from(n % 2).unwrap()]] {
                recorded.arrive(at_ms);
                right(recorded, at_ms, if n % 3 == 0 { "join" } else { "poll" }, micros);
                recorded.wrong(format!("wrong {n}"));
            }
        }
        one.drop_arrivals(START_MS - 5_000, 7);
        workers[1].drop_arrivals(START_MS - 5_000, 7);
        let mut together = Recorded::default();
        for worker in workers {
            together.merge(worker);
        }
        assert_eq!((together.started_ms, together.arrived, together.dropped), (START_MS - 5_000, 2_000, 7));
        assert_eq!((together.wrongs.len(), one.wrongs.len()), (50, 50));
        together.wrongs.clone_from(&one.wrongs);
        assert_eq!(serde_json::to_value(&together).unwrap(), serde_json::to_value(&one).unwrap());
    }

    #[test]
    fn steps_stand_in_the_order_of_the_journey() {
        let mut recorded = Recorded::default();
        for step in ["zebra", "gate", "pay", "join", "apple", "poll"] {
            right(&mut recorded, START_MS, step, 1);
        }
        let names: Vec<String> = recorded.steps().into_iter().map(|totals| totals.step).collect();
        assert_eq!(names, ["join", "poll", "pay", "gate", "apple", "zebra"]);
    }

    #[test]
    fn windows_have_everything_once_and_no_gaps() {
        let mut recorded = Recorded::default();
        for second in [0, 1, 2, 7, 8] {
            recorded.arrive(START_MS + second * 1_000);
            right(&mut recorded, START_MS + second * 1_000, "join", 1_000);
        }
        let arrived = |width| -> Vec<(i64, u64)> {
            recorded.windows(width).iter().map(|(from, seen)| (*from, seen.arrived)).collect()
        };
        assert_eq!(recorded.lasted_secs(), 9);
        assert_eq!(arrived(3), [(0, 3), (3, 0), (6, 2)]);
        assert_eq!(arrived(1).len(), 9);
        assert_eq!(arrived(0).len(), 9);
        assert!(Recorded::default().windows(1).is_empty());
    }

    #[test]
    fn the_share_of_dropped_fans_is_of_all_who_should_have_come() {
        let mut recorded = Recorded::default();
        assert!(recorded.dropped_share().abs() < f64::EPSILON);
        for _ in 0..99 {
            recorded.arrive(START_MS);
        }
        recorded.drop_arrivals(START_MS, 1);
        assert!((recorded.dropped_share() - 0.01).abs() < 1e-12);
    }
}
