//! How often those who wait ask for their place.

use crate::queue::{Eta, QueuePolicy, calm_poll_after_ms, poll_after_ms};

/// Seconds of waiting within which fans of one group ask equally often.
const FINE_SECS: f64 = 5.0;

fn millis(policy: &QueuePolicy, low_secs: f64) -> f64 {
    let low_secs = i64::from(super::chance::whole(low_secs));
    let after_ms = poll_after_ms(policy, Eta { low_secs, high_secs: low_secs }, 0.5);
    i32::try_from(after_ms).map_or(36_000.0, f64::from)
}

/// Polls per second of so many who wait, when the next promotion is due in `first_secs` and the line was seen to move by
/// `pace` fans a second. Everybody asks when told to ([`poll_after_ms`]).
pub(super) fn polls_per_sec(policy: &QueuePolicy, waiting: u32, first_secs: u32, pace: Option<f64>) -> f64 {
    let per_interval = u32::try_from(policy.batch.min(policy.active_limit).max(1)).unwrap_or(1);
    let interval_secs = f64::from(policy.interval_secs.max(1));
    let longest_ms = millis(policy, 1e6);
    let pace = pace.filter(|pace| *pace > 0.0);
    let fine = pace.map_or(per_interval, |pace| super::chance::whole(pace * FINE_SECS).clamp(1, per_interval));
    let (mut sum, mut asked) = (0.0, 0_u32);
    while asked < waiting {
        let group = asked / per_interval;
        let until = (asked + fine).min((group + 1) * per_interval).min(waiting);
        let planned_secs = f64::from(first_secs) + f64::from(group) * interval_secs;
        let middle = f64::midpoint(f64::from(asked), f64::from(until));
        let after_ms = millis(policy, pace.map_or(planned_secs, |pace| planned_secs.max(middle / pace)));
        // Whoever stands farther back is told to wait as long as anybody.
        let until = if after_ms >= longest_ms { waiting } else { until };
        sum += f64::from(until - asked) * 1_000.0 / after_ms;
        asked = until;
    }
    sum
}

/// Polls per second of so many who registered for the draw.
pub(super) fn calm_polls_per_sec(policy: &QueuePolicy, registered: u32) -> f64 {
    let after_ms = i32::try_from(calm_poll_after_ms(policy)).unwrap_or(10_000).max(1);
    f64::from(registered) * 1_000.0 / f64::from(after_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::{Pace, eta};

    #[test]
    fn polls_are_those_that_every_single_fan_is_told_to_make() {
        for (batch, interval_secs) in [(420, 60), (50, 1), (3, 10)] {
            let policy = QueuePolicy { interval_secs, batch, ..QueuePolicy::default() };
            for pace in [None, Some(2.0), Some(100.0)] {
                let measured = pace.map(|pace| Pace { fast: pace, slow: pace });
                let told = |position| poll_after_ms(&policy, eta(&policy, position, 12_000, measured), 0.5);
                let one_by_one: f64 =
                    (1..=20_000).map(|position| 1_000.0 / f64::from(i32::try_from(told(position)).unwrap())).sum();
                let together = polls_per_sec(&policy, 20_000, 12, pace);
                let off = (together - one_by_one).abs() / one_by_one;
                assert!(off < 0.02, "{together} and {one_by_one} with {batch} each {interval_secs} s, {pace:?}");
            }
        }
        assert!((calm_polls_per_sec(&QueuePolicy::default(), 1_000) - 100.0).abs() < 1e-9);
    }
}
