//! The settings of a line, and what a change of them would do.

use super::{Eta, Pace, eta};
use crate::fault::Faults;

/// The settings of one concert's line. Changeable while the sale runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct QueuePolicy {
    /// Seconds between two promotions: 1 to 3,600.
    pub interval_secs: i32,
    /// Most fans that one promotion makes active: 1 to 100,000.
    pub batch: i32,
    /// Most active fans at any moment: 1 to 100,000.
    pub active_limit: i32,
    /// Whether a fan who joins an empty line while there is room is active at once.
    pub idle_admission: bool,
    /// Seconds that an active token lives without being used: 10 to 86,400. Any valid use renews it once less than half is left.
    pub active_sliding_secs: i32,
    /// Seconds that an active token lives at most, used or not: `active_sliding_secs` to 86,400.
    pub active_absolute_secs: i32,
    /// Seconds in which a promoted fan must use the token for the first time, or the turn goes to the next: 5 to 3,600.
    pub claim_secs: i32,
    /// Seconds after a lapsed turn in which the fan may come back to the head of the line: 0 to 86,400.
    pub return_secs: i32,
    /// Most fans waiting; the next one is refused: 1 to 10,000,000.
    pub waiting_limit: i32,
}

impl Default for QueuePolicy {
    fn default() -> Self {
        Self {
            interval_secs: 60,
            batch: 420,
            active_limit: 2_100,
            idle_admission: true,
            active_sliding_secs: 300,
            active_absolute_secs: 900,
            claim_secs: 60,
            return_secs: 900,
            waiting_limit: 1_000_000,
        }
    }
}

impl QueuePolicy {
    /// Every setting by its name; `idle_admission` as 0 or 1.
    pub fn settings(&self) -> [(&'static str, i32); 9] {
        [
            ("interval_secs", self.interval_secs),
            ("batch", self.batch),
            ("active_limit", self.active_limit),
            ("idle_admission", i32::from(self.idle_admission)),
            ("active_sliding_secs", self.active_sliding_secs),
            ("active_absolute_secs", self.active_absolute_secs),
            ("claim_secs", self.claim_secs),
            ("return_secs", self.return_secs),
            ("waiting_limit", self.waiting_limit),
        ]
    }

    /// Refuses settings that make no sense and names each of them.
    pub fn check(self) -> Result<Self, Faults> {
        let mut faults = Faults::new();
        let ranges = [
            ("interval_secs", self.interval_secs, 1, 3_600),
            ("batch", self.batch, 1, 100_000),
            ("active_limit", self.active_limit, 1, 100_000),
            ("active_sliding_secs", self.active_sliding_secs, 10, 86_400),
            ("active_absolute_secs", self.active_absolute_secs, 10, 86_400),
            ("claim_secs", self.claim_secs, 5, 3_600),
            ("return_secs", self.return_secs, 0, 86_400),
            ("waiting_limit", self.waiting_limit, 1, 10_000_000),
        ];
        for (field, value, low, high) in ranges {
            if !(low..=high).contains(&value) {
                faults.add(field, format!("must be {low} to {high}"));
            }
        }
        if self.active_absolute_secs < self.active_sliding_secs {
            faults.add("active_absolute_secs", "must not be less than active_sliding_secs");
        }
        faults.into_result().map(|()| self)
    }
}

/// Settings that are allowed and probably not meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyWarning {
    /// A hold can outlive the turn in which it is made. It can be paid all the same, and keeps its slot.
    TurnShorterThanHold {
        /// The longest hold of the concert's shows, which is what `active_sliding_secs` should be at least.
        hold_secs: i32,
    },
    /// More fans may be active at once than there are seats left.
    AdmitsMoreThanSeats {
        /// Seats left.
        left: i64,
        /// A limit that fits: one seat for each active fan.
        active_limit: i32,
        /// A batch that fits the limit.
        batch: i32,
    },
}

impl QueuePolicy {
    /// What an operator should look at once more, given the longest hold of the concert's shows and the seats left.
    pub fn warnings(&self, longest_hold_secs: Option<i32>, seats_left: i64) -> Vec<PolicyWarning> {
        let mut warnings = vec![];
        if let Some(hold_secs) = longest_hold_secs.filter(|secs| *secs > self.active_sliding_secs) {
            warnings.push(PolicyWarning::TurnShorterThanHold { hold_secs });
        }
        if seats_left > 0 && i64::from(self.active_limit) > seats_left {
            let active_limit = i32::try_from(seats_left).unwrap_or(self.active_limit);
            let batch = self.batch.min(active_limit);
            warnings.push(PolicyWarning::AdmitsMoreThanSeats { left: seats_left, active_limit, batch });
        }
        warnings
    }
}

/// The wait at one position, with the settings of now and with those asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForecastRow {
    /// Position in line.
    pub position: i64,
    /// The wait as things are.
    pub now: Eta,
    /// The wait with the other settings.
    pub then: Eta,
}

/// What other settings would do to those who wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forecast {
    /// The head, the middle, the ninth tenth and the end of the line; fewer when fewer wait.
    pub rows: Vec<ForecastRow>,
    /// How many active fans are above the new limit; they finish their turns, and nobody is promoted until they have.
    pub active_above_limit: i64,
}

/// A dry run: the waits with `now` and with `then`. The measured pace speaks for today's settings only; for the others it
/// is scaled by the ratio of the planned rates.
pub fn forecast(
    now: &QueuePolicy,
    then: &QueuePolicy,
    waiting: i64,
    active: i64,
    next_promotion_ms: i64,
    pace: Option<Pace>,
) -> Forecast {
    let planned = |policy: &QueuePolicy| {
        f64::from(policy.batch.min(policy.active_limit)) / f64::from(policy.interval_secs.max(1))
    };
    let ratio = planned(then) / planned(now).max(f64::MIN_POSITIVE);
    let scaled = pace.map(|pace| Pace { fast: pace.fast * ratio, slow: pace.slow * ratio });
    let next_then_ms = next_promotion_ms.min(i64::from(then.interval_secs) * 1_000);
    let mut positions = vec![1, waiting / 2, waiting * 9 / 10, waiting];
    positions.retain(|position| (1..=waiting).contains(position));
    positions.dedup();
    let rows = positions
        .into_iter()
        .map(|position| ForecastRow {
            position,
            now: eta(now, position, next_promotion_ms, pace),
            then: eta(then, position, next_then_ms, scaled),
        })
        .collect();
    Forecast { rows, active_above_limit: (active - i64::from(then.active_limit)).max(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_shorter_than_holds_and_limits_above_the_seats_are_warned_of() {
        let policy = QueuePolicy::default();
        assert_eq!(policy.warnings(Some(300), 60_000), []);
        assert_eq!(policy.warnings(None, 0), [], "nothing is known yet");
        let warnings = policy.warnings(Some(301), 50);
        let proposal = PolicyWarning::AdmitsMoreThanSeats { left: 50, active_limit: 50, batch: 50 };
        assert_eq!(warnings, [PolicyWarning::TurnShorterThanHold { hold_secs: 301 }, proposal]);
    }

    #[test]
    fn the_defaults_are_right() {
        assert!(QueuePolicy::default().check().is_ok());
    }

    #[test]
    fn policies_that_make_no_sense_name_every_fault() {
        let wrong = QueuePolicy {
            interval_secs: 0,
            batch: 0,
            active_limit: -1,
            active_absolute_secs: 20,
            active_sliding_secs: 30,
            claim_secs: 4,
            ..QueuePolicy::default()
        };
        let faults = wrong.check().expect_err("wrong");
        let fields: Vec<_> = faults.iter().map(|f| f.field.as_str()).collect();
        assert_eq!(fields, ["interval_secs", "batch", "active_limit", "claim_secs", "active_absolute_secs"]);
    }

    #[test]
    fn a_dry_run_tells_what_a_change_does() {
        let now = QueuePolicy::default();
        let twice = QueuePolicy { batch: 840, active_limit: 1_000, ..now };
        let told = forecast(&now, &twice, 42_000, 1_500, 60_000, None);
        assert_eq!(told.rows.iter().map(|row| row.position).collect::<Vec<_>>(), [1, 21_000, 37_800, 42_000]);
        let last = told.rows.last().expect("rows");
        assert_eq!((last.now.low_secs, last.then.low_secs), (6_000, 3_000));
        assert_eq!(told.active_above_limit, 500);
        assert!(forecast(&now, &twice, 0, 0, 0, None).rows.is_empty());
        assert_eq!(forecast(&now, &twice, 1, 0, 0, None).rows.len(), 1);
    }
}
