//! The line: who is promoted when, and what a waiting fan is told.
//!
//! Numbers, order and limits are kept by the atomic scripts in the infrastructure; here are the settings, their
//! ranges, and the plain arithmetic of estimates.

use crate::fault::Faults;

/// The settings of one concert's line. Changeable while the sale runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
            waiting_limit: 1_000_000,
        }
    }
}

impl QueuePolicy {
    /// Refuses settings that make no sense and names each of them.
    pub fn check(self) -> Result<Self, Faults> {
        let mut faults = Faults::new();
        let ranges = [
            ("interval_secs", self.interval_secs, 1, 3_600),
            ("batch", self.batch, 1, 100_000),
            ("active_limit", self.active_limit, 1, 100_000),
            ("active_sliding_secs", self.active_sliding_secs, 10, 86_400),
            ("active_absolute_secs", self.active_absolute_secs, 10, 86_400),
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

/// How long a waiting fan will probably wait, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Eta {
    /// If every promotion is full.
    pub low_secs: i64,
    /// If every active fan stays as long as a token can live.
    pub high_secs: i64,
}

/// The wait of the fan at `position` (1 is the head) when the next promotion is due in `next_promotion_ms`.
///
/// At best each promotion takes a full batch. At worst slots only come free when active tokens reach their absolute
/// end, so that `active_limit` fans pass per `active_absolute_secs`.
pub fn eta(policy: &QueuePolicy, position: i64, next_promotion_ms: i64) -> Eta {
    let position = position.max(1);
    let interval_secs = i64::from(policy.interval_secs.max(1));
    let first_secs = (next_promotion_ms.max(0) + 999) / 1_000;
    let per_interval = i64::from(policy.batch.min(policy.active_limit).max(1));
    let low_secs = first_secs + (position - 1) / per_interval * interval_secs;
    let generation = i64::from(policy.active_absolute_secs.max(1));
    let full_generations =
        (position + i64::from(policy.active_limit.max(1)) - 1) / i64::from(policy.active_limit.max(1));
    let high_secs = (full_generations * generation + interval_secs).max(low_secs);
    Eta { low_secs, high_secs }
}

/// Milliseconds after which a waiting fan should ask again: sooner near the head, later far behind, spread by
/// `jitter` (0 up to 1) so that fans who joined together do not ask together. Between 1 s and 36 s.
pub fn poll_after_ms(eta: Eta, jitter: f64) -> i64 {
    let base_ms = (eta.low_secs * 1_000 / 10).clamp(1_000, 30_000);
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "bounded by 30,000 above")]
    let spread_ms = (base_ms as f64 * 0.2 * jitter.clamp(0.0, 1.0)) as i64;
    base_ms + spread_ms
}

/// Milliseconds after which an active fan's client may ask again how long the turn lasts.
pub const ACTIVE_POLL_AFTER_MS: i64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

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
            ..QueuePolicy::default()
        };
        let faults = wrong.check().expect_err("wrong");
        let fields: Vec<_> = faults.iter().map(|f| f.field.as_str()).collect();
        assert_eq!(fields, ["interval_secs", "batch", "active_limit", "active_absolute_secs"]);
    }

    #[test]
    fn the_head_waits_for_the_next_promotion_and_the_421st_for_the_one_after() {
        let policy = QueuePolicy::default();
        assert_eq!(eta(&policy, 1, 12_000).low_secs, 12);
        assert_eq!(eta(&policy, 420, 12_000).low_secs, 12);
        assert_eq!(eta(&policy, 421, 12_000).low_secs, 72);
        assert_eq!(eta(&policy, 1, 12_000).high_secs, 960);
    }

    #[test]
    fn estimates_grow_with_the_position_and_never_turn_around() {
        let policy = QueuePolicy::default();
        let mut last = eta(&policy, 1, 0);
        for position in 2..10_000 {
            let now = eta(&policy, position, 0);
            assert!(now.low_secs >= last.low_secs && now.high_secs >= last.high_secs && now.low_secs <= now.high_secs);
            last = now;
        }
    }

    #[test]
    fn who_stands_farther_back_asks_later() {
        let near = poll_after_ms(Eta { low_secs: 5, high_secs: 60 }, 0.5);
        let far = poll_after_ms(Eta { low_secs: 3_000, high_secs: 9_000 }, 0.5);
        assert_eq!(near, 1_100);
        assert_eq!(far, 33_000);
        assert_eq!(poll_after_ms(Eta { low_secs: 0, high_secs: 0 }, 7.0), 1_200);
    }
}
