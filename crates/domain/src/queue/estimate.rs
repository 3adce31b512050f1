//! What a waiting fan is told: how long it will take, and when to ask again.

use super::QueuePolicy;

/// How long a waiting fan will probably wait, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Eta {
    /// If promotions go on as well as they have, or at best as planned.
    pub low_secs: i64,
    /// If they go on as slowly as they have, with a margin.
    pub high_secs: i64,
}

/// How fast a line was seen to move, in fans per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// The faster of the last minute or so and the last ten minutes.
    pub fast: f64,
    /// The slower of the two.
    pub slow: f64,
}

/// Promotions over time, from which the pace is measured.
#[derive(Debug, Clone, Default)]
pub struct PaceMeter {
    /// Milliseconds and fans promoted until then, oldest first, at least [`PaceMeter::STEP_MS`] apart.
    samples: std::collections::VecDeque<(i64, i64)>,
}

impl PaceMeter {
    const STEP_MS: i64 = 5_000;
    const LONG_MS: i64 = 600_000;

    /// Notes that `promoted` fans in all had been promoted at `now_ms`, both by the line's own clock and count. A clock
    /// or a count that went back starts the measurement anew.
    pub fn note(&mut self, now_ms: i64, promoted: i64) {
        if let Some(&(at, count)) = self.samples.back() {
            if now_ms < at || promoted < count {
                self.samples.clear();
            } else if now_ms - at < Self::STEP_MS {
                return;
            }
        }
        self.samples.push_back((now_ms, promoted));
        while self.samples.front().is_some_and(|&(at, _)| now_ms - at > Self::LONG_MS) {
            self.samples.pop_front();
        }
    }

    /// The pace over the last two promotion intervals (at least a minute) and over ten minutes. `None` until two
    /// intervals have been seen.
    pub fn pace(&self, interval_secs: i32) -> Option<Pace> {
        let &(now, count) = self.samples.back()?;
        let short_ms = (i64::from(interval_secs) * 2_000).clamp(60_000, Self::LONG_MS);
        let rate = |&(at, before): &(i64, i64)| {
            #[expect(clippy::cast_precision_loss, reason = "counts and times far below 2^52")]
            let per_sec = (count - before) as f64 * 1_000.0 / (now - at) as f64;
            per_sec
        };
        let long = self.samples.front().filter(|(at, _)| now - at >= short_ms).map(rate)?;
        let short = self.samples.iter().rev().find(|(at, _)| now - at >= short_ms).map(rate)?;
        Some(Pace { fast: short.max(long), slow: short.min(long) })
    }
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "seconds far below 2^52")]
fn secs_for(fans: i64, per_sec: f64) -> Option<i64> {
    (per_sec > 0.0).then(|| (fans as f64 / per_sec).ceil().min(1e12) as i64)
}

/// The wait of the fan at `position` (1 is the head) when the next promotion is due in `next_promotion_ms`.
///
/// As planned, each promotion takes a full batch; nobody is promised less. When the line has been measured, the low end
/// is not below what the faster measurement says, and the high end is a quarter above what the slower one says.
/// Without a measurement, or when the line stood still, the high end assumes that every active fan stays as long as a
/// token can live, so that `active_limit` fans pass per `active_absolute_secs`.
pub fn eta(policy: &QueuePolicy, position: i64, next_promotion_ms: i64, pace: Option<Pace>) -> Eta {
    let position = position.max(1);
    let interval_secs = i64::from(policy.interval_secs.max(1));
    let first_secs = (next_promotion_ms.max(0) + 999) / 1_000;
    let per_interval = i64::from(policy.batch.min(policy.active_limit).max(1));
    let planned_secs = first_secs + (position - 1) / per_interval * interval_secs;
    let limit = i64::from(policy.active_limit.max(1));
    let worst_secs = (position + limit - 1) / limit * i64::from(policy.active_absolute_secs.max(1)) + interval_secs;
    let low_secs =
        pace.and_then(|pace| secs_for(position - 1, pace.fast)).map_or(planned_secs, |secs| secs.max(planned_secs));
    let high_secs = match pace.and_then(|pace| secs_for(position, pace.slow)) {
        Some(secs) => (secs + secs / 4 + interval_secs).min(worst_secs.max(low_secs)),
        None => worst_secs,
    };
    Eta { low_secs, high_secs: high_secs.max(low_secs) }
}

/// How far an estimate was off, in seconds: 0 within the range, negative when the fan was earlier than the low end.
pub fn eta_error_secs(eta: Eta, waited_secs: i64) -> i64 {
    if waited_secs < eta.low_secs { waited_secs - eta.low_secs } else { (waited_secs - eta.high_secs).max(0) }
}

/// The longest that a fan is told to wait before asking again: half of the time within which a turn must be used, so that
/// whoever is called earlier than anybody reckoned with still hears of it in time.
fn longest_ms(policy: &QueuePolicy) -> i64 {
    i64::from(policy.claim_secs) * 1_000 / 2
}

/// Milliseconds after which a waiting fan should ask again: sooner near the head, later far behind, spread by
/// `jitter` (0 up to 1) so that fans who joined together do not ask together. Between 1 s and 36 s, and never longer than half
/// of the time within which a turn must be used.
pub fn poll_after_ms(policy: &QueuePolicy, eta: Eta, jitter: f64) -> i64 {
    let most_ms = (longest_ms(policy) * 5 / 6).clamp(1_000, 30_000);
    let base_ms = (eta.low_secs * 1_000 / 10).clamp(1_000, most_ms);
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "bounded by 30,000 above")]
    let spread_ms = (base_ms as f64 * 0.2 * jitter.clamp(0.0, 1.0)) as i64;
    base_ms + spread_ms
}

/// Milliseconds after which a fan who does not wait in line may ask again: in the pre-queue, with a turn, after a lapse.
pub fn calm_poll_after_ms(policy: &QueuePolicy) -> i64 {
    longest_ms(policy).clamp(1_000, 10_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_waits_for_the_next_promotion_and_the_421st_for_the_one_after() {
        let policy = QueuePolicy::default();
        assert_eq!(eta(&policy, 1, 12_000, None).low_secs, 12);
        assert_eq!(eta(&policy, 420, 12_000, None).low_secs, 12);
        assert_eq!(eta(&policy, 421, 12_000, None).low_secs, 72);
        assert_eq!(eta(&policy, 1, 12_000, None).high_secs, 960);
    }

    #[test]
    fn estimates_grow_with_the_position_and_never_turn_around() {
        let policy = QueuePolicy::default();
        for pace in [None, Some(Pace { fast: 7.0, slow: 0.5 }), Some(Pace { fast: 0.0, slow: 0.0 })] {
            let mut last = eta(&policy, 1, 0, pace);
            for position in 2..10_000 {
                let now = eta(&policy, position, 0, pace);
                assert!(now.low_secs >= last.low_secs && now.high_secs >= last.high_secs);
                assert!(now.low_secs <= now.high_secs);
                last = now;
            }
        }
    }

    #[test]
    fn a_line_that_moves_at_half_the_planned_pace_says_so() {
        let policy = QueuePolicy::default();
        let planned = eta(&policy, 42_000, 0, None);
        let measured = eta(&policy, 42_000, 0, Some(Pace { fast: 3.5, slow: 3.0 }));
        assert_eq!(planned.low_secs, 5_940);
        assert_eq!(measured.low_secs, 12_000);
        assert_eq!(measured.high_secs, 17_560);
    }

    #[test]
    fn the_pace_is_measured_over_a_minute_and_ten() {
        let mut meter = PaceMeter::default();
        assert_eq!(meter.pace(60), None);
        for tick in 0..300_i64 {
            // 7 fans a second for ten minutes, then 2.
            let promoted = if tick <= 240 { tick * 35 } else { 240 * 35 + (tick - 240) * 10 };
            meter.note(tick * 5_000, promoted);
        }
        let pace = meter.pace(60).expect("measured");
        assert!((pace.slow - 2.0).abs() < 0.01 && pace.fast > 4.0 && pace.fast < 5.0, "{pace:?}");
        meter.note(1, 5);
        assert_eq!(meter.pace(60), None, "a clock that went back starts anew");
    }

    #[test]
    fn errors_count_only_outside_the_range() {
        let eta = Eta { low_secs: 60, high_secs: 120 };
        assert_eq!([30, 60, 90, 120, 150].map(|waited| eta_error_secs(eta, waited)), [-30, 0, 0, 0, 30]);
    }

    #[test]
    fn who_stands_farther_back_asks_later_and_nobody_too_late_for_a_turn() {
        let policy = QueuePolicy { claim_secs: 120, ..QueuePolicy::default() };
        let near = poll_after_ms(&policy, Eta { low_secs: 5, high_secs: 60 }, 0.5);
        let far = poll_after_ms(&policy, Eta { low_secs: 3_000, high_secs: 9_000 }, 0.5);
        assert_eq!(near, 1_100);
        assert_eq!(far, 33_000);
        assert_eq!(poll_after_ms(&policy, Eta { low_secs: 0, high_secs: 0 }, 7.0), 1_200);
        for claim_secs in [5, 6, 20, 60, 3_600] {
            let policy = QueuePolicy { claim_secs, ..QueuePolicy::default() };
            let longest = poll_after_ms(&policy, Eta { low_secs: 90_000, high_secs: 90_000 }, 1.0);
            assert!(
                longest <= i64::from(claim_secs) * 500 && calm_poll_after_ms(&policy) <= i64::from(claim_secs) * 500
            );
            assert!(longest >= 1_000);
        }
    }
}
