//! A dry run of other settings, by the same simulation.

use super::{
    chance::{Chance, whole},
    crowd::{Arrivals, Crowd, Curve, Spread},
    simulation::{Run, Sale, Scope},
    turns::{Step, Turn, Who},
};
use crate::queue::{Eta, Pace, QueuePolicy};

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

/// A line at one moment, of which a dry run begins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LineNow {
    /// Fans waiting, or registered for the draw. Nobody joins them or leaves.
    pub waiting: i64,
    /// Fans who have a turn.
    pub active: i64,
    /// Milliseconds to the next promotion.
    pub next_promotion_ms: i64,
    /// How fast the line was seen to move.
    pub pace: Option<Pace>,
}

/// A line with a larger limit is simulated in small, with several fans as one.
const LARGE: u32 = 10_000;
/// A batch is not made smaller than this, and neither it nor the limit is changed by more than a hundredth.
const LEAST_BATCH: u32 = 10;
/// Calls that are simulated: these, or three times the limit if that is more and within the second. What follows goes on at the
/// same pace.
const CALLS: (u32, u32) = (30_000, 120_000);
/// Seconds that are simulated at most.
const SECS: u32 = 100_000;
/// Every dry run has the same chances.
const SEED: u64 = 20_260_527;

/// A dry run: the waits with `now` and with `then`.
///
/// Everybody who is called comes in time: a turn that lapses goes on beyond the batch, so no-shows only make a line faster. The
/// low end is the simulation in which everybody buys, and turns take as long as the faster measurement says; without a
/// measurement, as assumed ([`Crowd::assumed`]). In that of the high end some only look and some are robots, or turns take as long
/// as the slower measurement says; it has a quarter and an interval on top. A measurement tells how long turns take: as many are
/// active as are called while one of them lasts.
///
/// Takes some 10 ms of a processor, and less than 100 whatever the settings (release build).
pub fn forecast(now: &QueuePolicy, then: &QueuePolicy, line: &LineNow) -> Forecast {
    let waiting = line.waiting;
    let mut positions = vec![1, waiting / 2, waiting * 9 / 10, waiting];
    positions.retain(|position| (1..=waiting).contains(position));
    positions.dedup();
    let next_then_ms = line.next_promotion_ms.min(i64::from(then.interval_secs) * 1_000);
    let soon = waits(now, line, &positions);
    let other = waits(then, &LineNow { next_promotion_ms: next_then_ms, ..*line }, &positions);
    let rows = positions.iter().zip(soon).zip(other);
    Forecast {
        rows: rows.map(|((position, now), then)| ForecastRow { position: *position, now, then }).collect(),
        active_above_limit: (line.active - i64::from(then.active_limit)).max(0),
    }
}

/// The waits at these positions.
fn waits(policy: &QueuePolicy, line: &LineNow, positions: &[i64]) -> Vec<Eta> {
    let assumed = Crowd::assumed(1);
    let notice = Spread::fixed(assumed.notice.median_secs.min(f64::from(policy.claim_secs.max(1)) / 2.0));
    let all_come = Crowd { no_show_share: 0.0, notice, ..assumed };
    let all_buy = Crowd { looks_only_share: 0.0, robots_share: 0.0, ..all_come.clone() };
    let (quick, slow) = match line.pace {
        Some(pace) if line.active > 0 && pace.fast > 0.0 => {
            (measured(&all_buy, policy, line.active, pace.fast), measured(&all_buy, policy, line.active, pace.slow))
        }
        _ => (all_buy, all_come),
    };
    let interval_secs = i64::from(policy.interval_secs.max(1));
    let low = Simulated::of(policy, line, quick, positions);
    let high = Simulated::of(policy, line, slow, positions);
    let ends = positions.iter().map(|position| {
        let low_secs = low.wait_secs(*position);
        let slow_secs = high.wait_secs(*position);
        Eta { low_secs, high_secs: (slow_secs + slow_secs / 4 + interval_secs).max(low_secs) }
    });
    // Who stands farther back waits no less.
    let mut last = Eta { low_secs: 0, high_secs: 0 };
    ends.map(|end| {
        last = Eta { low_secs: end.low_secs.max(last.low_secs), high_secs: end.high_secs.max(last.high_secs) };
        last
    })
    .collect()
}

/// A crowd whose turns take so long that `active` fans have one while `pace` fans a second are called.
fn measured(crowd: &Crowd, policy: &QueuePolicy, active: i64, pace: f64) -> Crowd {
    let longest = f64::from(policy.active_absolute_secs.max(1)) + f64::from(policy.claim_secs.max(1));
    let active = f64::from(u32::try_from(active).unwrap_or(u32::MAX));
    let secs = if pace > 0.0 { (active / pace).clamp(4.0, longest) } else { longest };
    let parts = [crowd.read, crowd.decide, crowd.pay].map(Spread::mean_secs);
    let factor = (secs - crowd.notice.mean_secs()).max(3.0) / parts.iter().sum::<f64>();
    let times = |spread: Spread| spread.times(factor);
    Crowd { read: times(crowd.read), decide: times(crowd.decide), pay: times(crowd.pay), ..crowd.clone() }
}

/// When who is called: as simulated, and at the same pace from there on.
struct Simulated {
    first_secs: i64,
    /// Fans whom one of the simulation stands for.
    each: u32,
    /// Until which second how many had been called.
    called: Vec<(u32, u32)>,
    /// Calls per second in the second half.
    pace: f64,
}

impl Simulated {
    fn of(policy: &QueuePolicy, line: &LineNow, crowd: Crowd, positions: &[i64]) -> Self {
        let count = |setting: i32| u32::try_from(setting).unwrap_or(1).max(1);
        let (batch, limit) = (count(policy.batch), count(policy.active_limit));
        let most = limit.div_ceil(LARGE).min(batch / LEAST_BATCH).max(1);
        let right = |number: u32, each: u32| (((number + each / 2) / each) * each).abs_diff(number) * 100 <= number;
        let each = (1..=most).rev().find(|each| right(batch, *each) && right(limit, *each)).unwrap_or(1);
        let small = |setting: i32| i32::try_from((count(setting) + each / 2) / each).unwrap_or(i32::MAX).max(1);
        let whole_number = |number: i64| u32::try_from(number.max(0)).unwrap_or(u32::MAX);
        let last = whole_number(positions.last().copied().unwrap_or(0)).div_ceil(each);
        let policy = QueuePolicy {
            batch: small(policy.batch),
            active_limit: small(policy.active_limit),
            waiting_limit: i32::MAX,
            ..*policy
        };
        let arrivals = Arrivals { before_share: 1.0, before_secs: 0, after: Curve::HalfLifeSecs(1.0) };
        let crowd = Crowd { fans: last, arrivals, patience: None, ..crowd };
        // Seats do not end here, and holds only when turns do.
        let sale = Sale { crowd, policy, seats: u32::MAX / 2, hold_secs: 86_400, seats_per_fan: 1 };
        let most_calls = (3 * policy.active_limit.unsigned_abs()).clamp(CALLS.0, CALLS.1);
        let scope = Scope { course: false, horizon_secs: SECS, most_calls, ..Scope::WHOLE };
        let mut run = Run::new(&sale, SEED, scope);
        run.turns_under_way(whole_number(line.active) / each);
        let first_secs = (line.next_promotion_ms.max(0) + 999) / 1_000;
        run.next_at = whole_number(first_secs);
        run.finish();
        let called = std::mem::take(&mut run.trace);
        let pace = pace_of(&called, run.now);
        Self { first_secs, each, called, pace }
    }

    fn wait_secs(&self, position: i64) -> i64 {
        let number = u32::try_from(position).unwrap_or(u32::MAX).div_ceil(self.each);
        let found = self.called.get(self.called.partition_point(|(_, called)| *called < number));
        if let Some((at_secs, _)) = found {
            return i64::from(*at_secs);
        }
        let (at_secs, called) = self.called.last().copied().unwrap_or_default();
        let more = f64::from(number - called.min(number)) / self.pace.max(1e-9);
        #[expect(clippy::cast_possible_truncation, reason = "10^7 fans and a pace of 10^-9 are below 2^63")]
        let more_secs = more.ceil() as i64;
        (i64::from(at_secs) + more_secs).max(self.first_secs)
    }
}

/// Calls per second in the second half of what was simulated.
fn pace_of(called: &[(u32, u32)], until: u32) -> f64 {
    let Some((_, all)) = called.last() else { return 0.0 };
    let middle = called.get(called.partition_point(|(_, many)| *many < all / 2));
    let Some((from, before)) = middle.filter(|(from, _)| *from < until) else { return f64::from(*all) };
    let last = called.last().map_or(until, |(at, _)| (*at).max(from + 1));
    f64::from(all - before) / f64::from(last - from)
}

impl Run<'_> {
    /// So many have a turn already, each somewhere between its beginning and its end.
    fn turns_under_way(&mut self, many: u32) {
        for index in 0..many {
            let mut chance = Chance::of(SEED + 1, index);
            let parts = [&self.tables.notice, &self.tables.read, &self.tables.decide, &self.tables.pay];
            let all: u32 = parts.map(|part| part.draw(&mut chance)).iter().sum();
            let left = whole(f64::from(all.min(self.rules.absolute_secs)) * chance.share());
            let turn = Turn::new(0, Who::Stranger, chance, 0);
            let id = self.turns.open(turn);
            self.turns.plan(id, turn, Step::RunsOut, 0, left.max(1));
            self.taken += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(waiting: i64) -> LineNow {
        LineNow { waiting, active: 0, next_promotion_ms: 0, pace: None }
    }

    fn last(policy: &QueuePolicy, line: &LineNow) -> Eta {
        forecast(policy, policy, line).rows.last().expect("rows").now
    }

    #[test]
    fn a_dry_run_tells_what_a_change_does() {
        let now = QueuePolicy::default();
        let twice = QueuePolicy { batch: 840, active_limit: 4_200, ..now };
        let told = forecast(&now, &twice, &LineNow { active: 5_000, next_promotion_ms: 60_000, ..line(42_000) });
        assert_eq!(told.rows.iter().map(|row| row.position).collect::<Vec<_>>(), [1, 21_000, 37_800, 42_000]);
        let last = told.rows.last().expect("rows");
        assert!((6_000..=6_300).contains(&last.now.low_secs), "{last:?}");
        assert!((3_000..=3_300).contains(&last.then.low_secs), "{last:?}");
        // The high end moves with the batch too.
        assert!(last.then.high_secs * 10 < last.now.high_secs * 6, "{last:?}");
        assert_eq!(told.active_above_limit, 800);
        assert!(forecast(&now, &twice, &line(0)).rows.is_empty());
        assert_eq!(forecast(&now, &twice, &line(1)).rows.len(), 1);
        assert_eq!(forecast(&now, &now, &line(1)).rows[0].now.low_secs, 0);
    }

    #[test]
    fn lines_too_long_to_be_simulated_go_on_at_the_same_pace() {
        let policy = QueuePolicy::default();
        let whole = last(&policy, &line(25_000));
        let long = last(&policy, &line(1_000_000));
        assert!((whole.low_secs * 40 - long.low_secs).abs() * 50 < long.low_secs, "{whole:?} {long:?}");
        // A batch of one a minute, and settings at the ends of their ranges.
        let slow = QueuePolicy { batch: 1, active_limit: 1, interval_secs: 3_600, ..policy };
        assert_eq!(last(&slow, &line(1_000_000)).low_secs, 999_999 * 3_600);
        let most = QueuePolicy { batch: 100_000, active_limit: 100_000, interval_secs: 1, ..policy };
        let most = last(&most, &line(10_000_000));
        assert!((8_000..=25_000).contains(&most.low_secs) && most.high_secs > most.low_secs, "{most:?}");
    }

    #[test]
    fn a_line_in_small_is_as_fast_as_the_whole() {
        let large = QueuePolicy { batch: 4_000, active_limit: 20_000, interval_secs: 10, ..QueuePolicy::default() };
        let small = QueuePolicy { batch: 2_000, active_limit: 10_000, ..large };
        let (large, small) = (last(&large, &line(200_000)), last(&small, &line(100_000)));
        assert!((large.low_secs - small.low_secs).abs() * 20 < small.low_secs, "{large:?} {small:?}");
    }

    #[test]
    fn a_measured_line_is_told_as_it_was_measured() {
        let policy = QueuePolicy::default();
        // 2,100 are active and 3.5 a second are called: a turn takes 600 s, so the limit binds and a larger batch helps nobody.
        let pace = Some(Pace { fast: 3.5, slow: 3.0 });
        let now = LineNow { active: 2_100, pace, ..line(42_000) };
        let told = forecast(&policy, &QueuePolicy { batch: 840, ..policy }, &now);
        let last = told.rows.last().expect("rows");
        assert!((10_500..=13_500).contains(&last.now.low_secs), "{last:?}");
        assert!((last.then.low_secs - last.now.low_secs).abs() * 20 < last.now.low_secs, "{last:?}");
        let wider = QueuePolicy { active_limit: 4_200, ..policy };
        let wider = forecast(&policy, &wider, &now).rows.pop().expect("rows");
        assert!(wider.then.low_secs * 10 < wider.now.low_secs * 6, "{wider:?}");
    }
}
