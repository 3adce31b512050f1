//! What came of a simulated sale.

use std::collections::VecDeque;

use serde::Serialize;

/// Requests per second, by kind.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Load {
    /// Joining the line.
    pub join: f64,
    /// Asking for one's place.
    pub poll: f64,
    /// Reading seats.
    pub seats: f64,
    /// Reserving, and getting the seats.
    pub reserve: f64,
    /// Reserving seats that somebody else was quicker to take.
    pub lost: f64,
    /// Paying.
    pub pay: f64,
}

impl Load {
    /// Each kind by its name.
    pub fn kinds(&self) -> [(&'static str, f64); 6] {
        [
            ("join", self.join),
            ("poll", self.poll),
            ("seats", self.seats),
            ("reserve", self.reserve),
            ("lost", self.lost),
            ("pay", self.pay),
        ]
    }

    /// The higher of both, kind by kind.
    #[must_use]
    pub fn max(&self, other: &Self) -> Self {
        Self {
            join: self.join.max(other.join),
            poll: self.poll.max(other.poll),
            seats: self.seats.max(other.seats),
            reserve: self.reserve.max(other.reserve),
            lost: self.lost.max(other.lost),
            pay: self.pay.max(other.pay),
        }
    }

    /// Kind by kind, so many times the other one more.
    #[must_use]
    pub fn plus(&self, other: &Self, times: f64) -> Self {
        Self {
            join: self.join + other.join * times,
            poll: self.poll + other.poll * times,
            seats: self.seats + other.seats * times,
            reserve: self.reserve + other.reserve * times,
            lost: self.lost + other.lost * times,
            pay: self.pay + other.pay * times,
        }
    }

    /// All kinds together.
    pub fn total(&self) -> f64 {
        self.kinds().iter().map(|(_, per_sec)| per_sec).sum()
    }
}

/// The sale at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Moment {
    /// Seconds after the opening.
    pub at_secs: u32,
    /// Fans in line.
    pub waiting: u32,
    /// Slots taken.
    pub active: u32,
    /// Seats in reservations that are not paid.
    pub held: u32,
    /// Seats sold.
    pub sold: u32,
    /// Requests per second: the most of any second up to the next moment.
    pub load: Load,
}

/// What became of the fans; each is counted once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Fates {
    /// They paid for seats.
    pub bought: u32,
    /// They came in time and found none: gone, taken before, or their time ran out.
    pub without_seats: u32,
    /// They looked at the seats and went.
    pub looked_only: u32,
    /// They were called and did not come.
    pub no_shows: u32,
    /// Robots that were called.
    pub robots: u32,
    /// They gave up while they waited.
    pub gave_up: u32,
    /// They still waited when the sale ended.
    pub left_waiting: u32,
    /// They had a turn when the time that was looked at ended.
    pub unfinished: u32,
    /// The line was full.
    pub refused: u32,
    /// They had not come yet.
    pub too_late: u32,
}

impl Fates {
    /// All of them.
    pub fn total(&self) -> u32 {
        let Self {
            bought,
            without_seats,
            looked_only,
            no_shows,
            robots,
            gave_up,
            left_waiting,
            unfinished,
            refused,
            too_late,
        } = *self;
        let called = bought + without_seats + looked_only + no_shows + robots;
        called + gave_up + left_waiting + unfinished + refused + too_late
    }
}

/// Fans who came at about the same time, and how many of them got seats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Group {
    /// How many joined.
    pub joined: u32,
    /// How many were called.
    pub called: u32,
    /// How many bought.
    pub bought: u32,
}

/// Who got tickets, by when they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Groups {
    /// Before the opening.
    pub before: Group,
    /// In the first minute.
    pub first_minute: Group,
    /// In the first ten minutes, after the first.
    pub ten_minutes: Group,
    /// Later.
    pub later: Group,
}

/// Waiting times in seconds, from joining (or the opening, for those drawn) to the first call, of the fans who were still there
/// to hear it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Waits {
    /// How many these were.
    pub called: u32,
    /// Half waited no longer.
    pub p50_secs: u32,
    /// Nine in ten waited no longer.
    pub p90_secs: u32,
    /// Ninety-nine in a hundred waited no longer.
    pub p99_secs: u32,
}

impl Waits {
    /// From how many waited so many seconds: the index is the second.
    pub(super) fn of(by_second: &[u32]) -> Self {
        let called: u32 = by_second.iter().sum();
        let within = |percent: u64| {
            let rank = (u64::from(called) * percent).div_ceil(100).max(1);
            let mut seen = 0_u64;
            let second = by_second.iter().position(|many| {
                seen += u64::from(*many);
                seen >= rank
            });
            second.and_then(|second| u32::try_from(second).ok()).unwrap_or(0)
        };
        Self { called, p50_secs: within(50), p90_secs: within(90), p99_secs: within(99) }
    }
}

/// What came of a simulated sale.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// Waiting times.
    pub waits: Waits,
    /// What became of everybody.
    pub fates: Fates,
    /// Who got tickets, by when they came.
    pub groups: Groups,
    /// Seats sold.
    pub sold: u32,
    /// When 95 of 100 seats were sold, in seconds after the opening.
    pub sold_95_at_secs: Option<u32>,
    /// When nothing was left and nothing could come back.
    pub sold_out_at_secs: Option<u32>,
    /// When the last payment was made.
    pub last_paid_at_secs: Option<u32>,
    /// When nothing happened any more, or when the sale was no longer looked at.
    pub ended_at_secs: u32,
    /// Turns that were not used in time, the second ones of a fan included.
    pub lapsed: u32,
    /// Fans who came back after a lapse.
    pub returned: u32,
    /// Reservations that lost a race for a seat, or found none left.
    pub lost_races: u32,
    /// Holds that ended unpaid.
    pub holds_ended: u32,
    /// Most fans in line at once.
    pub peak_waiting: u32,
    /// Most slots taken at once.
    pub peak_active: u32,
    /// How long a slot was taken on average, in seconds.
    pub slot_secs: f64,
    /// The highest rate of each kind in any second after the opening.
    pub peak: Load,
    /// The highest average of each kind, polls aside, over [`SUSTAINED_SECS`] seconds: what machines must keep up with.
    pub sustained: Load,
    /// The rates just before the opening, from the pre-queue.
    pub before: Load,
    /// At most 600 moments, evenly spaced.
    pub course: Vec<Moment>,
}

/// Requests of a second may wait for a few others; they cannot wait for long.
pub const SUSTAINED_SECS: u32 = 10;

/// The last seconds, and the highest average of as many so far.
#[derive(Debug, Default)]
pub(super) struct Sustained {
    last: VecDeque<Load>,
    sum: Load,
    highest: Load,
}

impl Sustained {
    /// Notes the next second. The counts of a second are whole, or small parts of whole ones, so sums stay right.
    pub(super) fn note(&mut self, load: Load) {
        self.sum = self.sum.plus(&load, 1.0);
        self.last.push_back(load);
        if self.last.len() > usize::try_from(SUSTAINED_SECS).unwrap_or(1)
            && let Some(old) = self.last.pop_front()
        {
            self.sum = self.sum.plus(&old, -1.0);
        }
        self.highest = self.highest.max(&self.sum);
    }

    /// Per second.
    pub(super) fn highest(&self) -> Load {
        Load::default().plus(&self.highest, 1.0 / f64::from(SUSTAINED_SECS))
    }
}

/// Most moments of a course.
const MOMENTS: u32 = 600;

/// Gathers moments, second by second, and keeps so few that a chart can show them.
#[derive(Debug, Default)]
pub(super) struct Course {
    step_secs: u32,
    moments: Vec<Moment>,
}

impl Course {
    /// Notes the next second.
    pub(super) fn note(&mut self, moment: Moment) {
        self.step_secs = self.step_secs.max(1);
        match self.moments.last_mut() {
            Some(last) if moment.at_secs < last.at_secs + self.step_secs => {
                last.load = last.load.max(&moment.load);
            }
            _ => self.moments.push(moment),
        }
        if self.moments.len() > usize::try_from(MOMENTS).unwrap_or(usize::MAX) {
            self.halve();
        }
    }

    /// Every second moment, each with the highest load of both.
    fn halve(&mut self) {
        self.step_secs *= 2;
        let pairs = self.moments.chunks(2).filter_map(|pair| {
            let (first, second) = (pair.first()?, pair.last()?);
            Some(Moment { load: first.load.max(&second.load), ..*first })
        });
        self.moments = pairs.collect();
    }

    /// What was gathered, with the last moment as it was.
    pub(super) fn finish(mut self, last: Moment) -> Vec<Moment> {
        if let Some(known) = self.moments.last()
            && known.at_secs < last.at_secs
        {
            self.moments.push(last);
            if self.moments.len() > usize::try_from(MOMENTS).unwrap_or(usize::MAX) {
                self.halve();
            }
        }
        self.moments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_exact() {
        let mut by_second = vec![0; 101];
        by_second[1..].fill(1);
        assert_eq!(Waits::of(&by_second), Waits { called: 100, p50_secs: 50, p90_secs: 90, p99_secs: 99 });
        assert_eq!(Waits::of(&[]), Waits::default());
        assert_eq!(Waits::of(&[3]), Waits { called: 3, ..Waits::default() });
    }

    #[test]
    fn a_burst_counts_for_as_long_as_it_lasts() {
        let mut sustained = Sustained::default();
        for second in 0..100 {
            sustained.note(Load { reserve: if (50..55).contains(&second) { 30.0 } else { 2.0 }, ..Load::default() });
        }
        assert!((sustained.highest().reserve - 16.0).abs() < 1e-9, "{:?}", sustained.highest());
    }

    #[test]
    fn a_course_stays_small_and_loses_no_peak() {
        let mut course = Course::default();
        for at_secs in 0..10_000 {
            let load = Load { join: if at_secs == 7_777 { 50.0 } else { 1.0 }, ..Load::default() };
            course.note(Moment { at_secs, waiting: at_secs, load, ..Moment::default() });
        }
        let moments = course.finish(Moment { at_secs: 10_000, ..Moment::default() });
        assert!(moments.len() <= 600 && moments.len() > 250, "{}", moments.len());
        let peak = moments.iter().fold(0.0, |peak: f64, moment| peak.max(moment.load.join));
        assert!((peak - 50.0).abs() < 1e-9);
        assert!(moments.is_sorted_by(|one, next| one.at_secs < next.at_secs));
        assert!(moments.iter().all(|moment| moment.waiting == moment.at_secs || moment.at_secs == 10_000));
    }
}
