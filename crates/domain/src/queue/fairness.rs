//! What a finished (or running) sale says about its line.

use super::{Eta, eta_error_secs};

/// An admission as it stands in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdmissionFact {
    /// Whose turn it was.
    pub number: i64,
    /// Whether the number had been called before: who comes back goes first, so this is no inversion.
    pub again: bool,
    /// Milliseconds from joining to the admission, when known.
    pub waited_ms: Option<i64>,
    /// Active fans after the batch of this admission.
    pub active: i64,
    /// The limit at that moment.
    pub limit: i64,
    /// What the fan had been told, and how many seconds before the admission.
    pub told: Option<(Eta, i64)>,
}

/// Waiting times in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WaitingTimes {
    /// Half waited no longer.
    pub p50_ms: i64,
    /// Nine in ten waited no longer.
    pub p90_ms: i64,
    /// Ninety-nine in a hundred waited no longer.
    pub p99_ms: i64,
}

/// Whether a line was fair, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FairnessReport {
    /// Fans admitted for the first time.
    pub admitted: i64,
    /// Fans admitted again after their turn had lapsed.
    pub readmitted: i64,
    /// Fans admitted although a higher number had been admitted before. 0 in a fair line.
    pub inversions: i64,
    /// Most active fans after any admission.
    pub highest_active: i64,
    /// Admissions after which more were active than the limit of that moment. 0 when the limit held.
    pub above_limit: i64,
    /// Waiting times.
    pub waiting: WaitingTimes,
    /// Estimates that were checked against what happened.
    pub estimates: i64,
    /// How many of them held.
    pub estimates_kept: i64,
    /// Median distance of an estimate from what happened, in seconds; 0 when it held.
    pub eta_error_p50_secs: i64,
    /// 90th percentile of the same.
    pub eta_error_p90_secs: i64,
}

fn percentile(sorted: &[i64], percent: usize) -> i64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0)
}

impl FairnessReport {
    /// Reads admissions in the order of the log. Any number that was called first after a higher one counts as an inversion.
    pub fn of(admissions: impl IntoIterator<Item = AdmissionFact>) -> Self {
        let mut report = Self::default();
        let (mut highest, mut waits, mut errors) = (0, Vec::new(), Vec::new());
        for fact in admissions {
            if fact.again {
                report.readmitted += 1;
            } else {
                report.admitted += 1;
                if fact.number < highest {
                    report.inversions += 1;
                }
                highest = highest.max(fact.number);
                waits.extend(fact.waited_ms);
                if let Some((eta, waited_secs)) = fact.told {
                    errors.push(eta_error_secs(eta, waited_secs).abs());
                }
            }
            report.highest_active = report.highest_active.max(fact.active);
            if fact.active > fact.limit {
                report.above_limit += 1;
            }
        }
        waits.sort_unstable();
        errors.sort_unstable();
        report.waiting = WaitingTimes {
            p50_ms: percentile(&waits, 50),
            p90_ms: percentile(&waits, 90),
            p99_ms: percentile(&waits, 99),
        };
        report.estimates = i64::try_from(errors.len()).unwrap_or(i64::MAX);
        report.estimates_kept = i64::try_from(errors.iter().filter(|error| **error == 0).count()).unwrap_or(0);
        report.eta_error_p50_secs = percentile(&errors, 50);
        report.eta_error_p90_secs = percentile(&errors, 90);
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fact(number: i64) -> AdmissionFact {
        AdmissionFact { number, again: false, waited_ms: Some(number * 1_000), active: number, limit: 90, told: None }
    }

    #[test]
    fn a_fair_line_has_no_inversions_and_an_unfair_one_does() {
        let mut facts: Vec<_> = (1..=100).map(fact).collect();
        let report = FairnessReport::of(facts.clone());
        assert_eq!((report.admitted, report.inversions, report.highest_active, report.above_limit), (100, 0, 100, 10));
        assert_eq!(report.waiting, WaitingTimes { p50_ms: 50_000, p90_ms: 90_000, p99_ms: 99_000 });
        facts.push(AdmissionFact { again: true, ..fact(3) });
        assert_eq!(FairnessReport::of(facts.clone()).inversions, 0, "who comes back goes first");
        facts.swap(4, 5);
        assert_eq!(FairnessReport::of(facts).inversions, 1);
        assert_eq!(FairnessReport::of([]), FairnessReport::default());
    }

    #[test]
    fn estimates_are_held_against_what_happened() {
        let eta = Eta { low_secs: 10, high_secs: 20 };
        let facts = [15, 20, 30, 5].map(|waited| AdmissionFact { told: Some((eta, waited)), ..fact(waited) });
        let report = FairnessReport::of(facts);
        assert_eq!((report.estimates, report.estimates_kept, report.eta_error_p90_secs), (4, 2, 10));
    }
}
