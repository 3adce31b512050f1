//! What the published log of a past sale says about a crowd.

use std::collections::HashMap;

use serde::Serialize;

use super::{
    chance::whole,
    crowd::{ArrivalPart, Arrivals, Crowd, Curve, Spread},
    outcome::Waits,
};
use crate::{fault::Faults, queue::LogKind};

/// What the log says of one number, in milliseconds.
#[derive(Debug, Clone, Copy, Default)]
struct Story {
    admitted_ms: Option<i64>,
    /// The last admission, of a number that came back.
    called_ms: i64,
    notice_ms: Option<i64>,
    arrived_ms: Option<i64>,
    paid_ms: Option<i64>,
    lapsed: bool,
}

/// A past sale, as its log tells it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PastSale {
    /// Numbers that were given out.
    pub fans: u32,
    /// How many of them were drawn: numbers before the first batch of joins.
    pub drawn: u32,
    /// Milliseconds since 1970 of the first join or admission.
    pub opened_ms: i64,
    /// Seconds from there to the last payment; to the last entry when nobody paid.
    pub sold_for_secs: u32,
    /// When fans came.
    pub arrivals: Arrivals,
    /// From joining to the first admission.
    pub waits: Waits,
    /// Turns that were paid.
    pub bought: u32,
    /// Fans who left while waiting.
    pub departed: u32,
    /// Share of those admitted who never came.
    pub no_show_share: f64,
    /// Share of those admitted who came early, when there were seats, and did not pay.
    pub unpaid_share: f64,
    /// From the admission to the first use.
    pub notice: Option<Spread>,
    /// From the first use to the payment.
    pub turn: Option<Spread>,
}

/// Ends of the parts in which arrivals are told, in seconds.
const PARTS: [u32; 24] = [
    1, 2, 3, 5, 8, 12, 20, 30, 45, 60, 90, 120, 180, 240, 300, 450, 600, 900, 1_200, 1_800, 3_600, 7_200, 14_400,
    86_400,
];
/// Most fans that one entry `joined` stands for.
const JOINED_AT_ONCE: i64 = 256;

impl PastSale {
    /// Reads entries in the order of the log: what happened to which number, and when in milliseconds since 1970.
    pub fn of(entries: impl IntoIterator<Item = (LogKind, i64, i64)>) -> Result<Self, Faults> {
        let nothing = || Faults::one("log", "must have at least one join and one admission");
        let (mut joins, mut stories) = (Vec::<(i64, i64)>::new(), HashMap::<i64, Story>::new());
        let (mut departed, mut last_ms) = (0_u32, i64::MIN);
        for (kind, number, at_ms) in entries {
            last_ms = last_ms.max(at_ms);
            if kind == LogKind::Joined {
                joins.push((number, at_ms));
                continue;
            }
            let story = stories.entry(number).or_default();
            match kind {
                LogKind::Admitted => {
                    story.admitted_ms.get_or_insert(at_ms);
                    story.called_ms = at_ms;
                }
                LogKind::Arrived => {
                    story.notice_ms = Some(at_ms - story.called_ms);
                    story.arrived_ms = Some(at_ms);
                }
                LogKind::Paid => story.paid_ms = Some(at_ms),
                LogKind::Lapsed => story.lapsed = true,
                LogKind::Departed => departed += 1,
                LogKind::Joined | LogKind::Returned | LogKind::Forfeited | LogKind::Expired | LogKind::Left => {}
            }
        }
        let first_admitted = stories.values().filter_map(|story| story.admitted_ms).min().ok_or_else(nothing)?;
        let &(first_number, first_joined) = joins.first().ok_or_else(nothing)?;
        let &(fans, _) = joins.last().ok_or_else(nothing)?;
        // The log does not say how many the first batch had: a draw shows when it cannot have been all of them.
        let drawn = if first_number > JOINED_AT_ONCE { first_number - JOINED_AT_ONCE } else { 0 };
        let opened_ms = if drawn > 0 { first_joined.min(first_admitted) } else { first_joined };
        let sold_until = stories.values().filter_map(|story| story.paid_ms).max().unwrap_or(last_ms);
        let admitted = stories.values().filter(|story| story.admitted_ms.is_some()).count();
        let share = |many: usize| real(many) / real(admitted.max(1));
        let never_came = stories.values().filter(|story| story.lapsed && story.arrived_ms.is_none()).count();
        Ok(Self {
            fans: u32::try_from(fans.max(1)).map_err(|_| nothing())?,
            drawn: u32::try_from(drawn).unwrap_or(0),
            opened_ms,
            sold_for_secs: secs(sold_until - opened_ms),
            arrivals: arrivals(&joins, fans, drawn, opened_ms),
            waits: waits(&joins, drawn, opened_ms, &stories),
            bought: u32::try_from(stories.values().filter(|story| story.paid_ms.is_some()).count()).unwrap_or(u32::MAX),
            departed,
            no_show_share: share(never_came),
            unpaid_share: unpaid_share(&stories) * (1.0 - share(never_came)),
            notice: spread(stories.values().filter_map(|story| story.notice_ms)),
            turn: spread(stories.values().filter_map(|story| Some(story.paid_ms? - story.arrived_ms?))),
        })
    }

    /// The crowd that this sale had, as far as its log tells; the rest as in `assumed`. Whoever gave up without leaving is among
    /// the no-shows, and robots are among those who did not pay.
    pub fn crowd(&self, assumed: &Crowd) -> Crowd {
        let parts = [assumed.read, assumed.decide, assumed.pay];
        let median: f64 = parts.iter().map(|part| part.median_secs).sum();
        let p90: f64 = parts.iter().map(|part| part.p90_secs).sum();
        // The log does not say how a turn is divided: each part changes as the whole does.
        let scaled = |part: Spread| match self.turn {
            Some(turn) if median > 0.0 && p90 > 0.0 => {
                let median_secs = part.median_secs * turn.median_secs / median;
                Spread::new(median_secs, (part.p90_secs * turn.p90_secs / p90).max(median_secs))
            }
            _ => part,
        };
        Crowd {
            fans: self.fans,
            arrivals: Arrivals { before_secs: assumed.arrivals.before_secs, ..self.arrivals.clone() },
            patience: None,
            no_show_share: self.no_show_share,
            robots_share: 0.0,
            looks_only_share: self.unpaid_share.min(1.0 - self.no_show_share),
            notice: self.notice.unwrap_or(assumed.notice),
            read: scaled(assumed.read),
            decide: scaled(assumed.decide),
            pay: scaled(assumed.pay),
            ..assumed.clone()
        }
    }
}

fn secs(ms: i64) -> u32 {
    u32::try_from(ms.max(0) / 1_000).unwrap_or(u32::MAX)
}

fn real(many: usize) -> f64 {
    f64::from(u32::try_from(many).unwrap_or(u32::MAX))
}

/// When numbers behind the draw were given out.
fn arrivals(joins: &[(i64, i64)], fans: i64, drawn: i64, opened_ms: i64) -> Arrivals {
    let mut weights = [0_u32; PARTS.len()];
    let mut before = drawn;
    for (number, at_ms) in joins {
        let at_secs = secs(at_ms - opened_ms);
        let part = PARTS.partition_point(|until| *until <= at_secs).min(PARTS.len() - 1);
        if let Some(weight) = weights.get_mut(part) {
            *weight += u32::try_from(number - before).unwrap_or(0);
        }
        before = *number;
    }
    let last = weights.iter().rposition(|weight| *weight > 0).unwrap_or(0);
    let parts = PARTS.into_iter().zip(weights).take(last + 1);
    let parts = parts.map(|(until_secs, weight)| ArrivalPart { until_secs, weight: f64::from(weight) }).collect();
    let share = |many: i64| f64::from(u32::try_from(many).unwrap_or(0));
    Arrivals { before_share: share(drawn) / share(fans.max(1)), before_secs: 0, after: Curve::Parts(parts) }
}

/// How long those waited who were admitted. Drawn fans wait from the opening.
fn waits(joins: &[(i64, i64)], drawn: i64, opened_ms: i64, stories: &HashMap<i64, Story>) -> Waits {
    let mut by_second = vec![];
    for (number, story) in stories {
        let Some(admitted_ms) = story.admitted_ms else { continue };
        let joined_ms = if *number <= drawn {
            opened_ms
        } else {
            // The batch of a number is the first whose last number is not below it.
            joins.get(joins.partition_point(|(last, _)| last < number)).map_or(opened_ms, |(_, at_ms)| *at_ms)
        };
        let waited = usize::try_from(secs(admitted_ms - joined_ms)).unwrap_or(0);
        if by_second.len() <= waited {
            by_second.resize(waited + 1, 0);
        }
        if let Some(many) = by_second.get_mut(waited) {
            *many += 1;
        }
    }
    Waits::of(&by_second)
}

/// Share of those who came in the first half of the sale, while there were seats, and did not pay.
fn unpaid_share(stories: &HashMap<i64, Story>) -> f64 {
    let mut paid: Vec<i64> = stories.values().filter_map(|story| story.paid_ms.and(story.arrived_ms)).collect();
    paid.sort_unstable();
    let Some(until_ms) = paid.get(paid.len() / 2) else { return 0.0 };
    let early = stories.values().filter(|story| story.arrived_ms.is_some_and(|at_ms| at_ms <= *until_ms));
    let (mut all, mut unpaid) = (0, 0);
    for story in early {
        all += 1;
        unpaid += usize::from(story.paid_ms.is_none());
    }
    real(unpaid) / real(all.max(1))
}

/// Median and 90th percentile of times in milliseconds; none when there are fewer than ten.
fn spread(times_ms: impl Iterator<Item = i64>) -> Option<Spread> {
    let mut times: Vec<i64> = times_ms.map(|ms| ms.max(0)).collect();
    if times.len() < 10 {
        return None;
    }
    times.sort_unstable();
    let at = |share: f64| {
        let rank = usize::try_from(whole(real(times.len()) * share)).unwrap_or(0);
        let ms = times.get(rank.min(times.len() - 1)).copied().unwrap_or(0);
        f64::from(u32::try_from(ms).unwrap_or(u32::MAX)) / 1_000.0
    };
    Some(Spread::new(at(0.5), at(0.9).max(at(0.5))))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thousand were drawn, 500 join in ten seconds; ten are called each second; each tenth does not come, each fifth of the
    /// others does not pay.
    fn log() -> Vec<(LogKind, i64, i64)> {
        let start = 1_790_000_000_000;
        let mut log = vec![];
        for second in 0..10 {
            // The first batch behind the draw has as many as one can.
            log.push((LogKind::Joined, 1_256 + second * 27, start + second * 1_000));
        }
        for number in 1..=1_499 {
            let called = start + (number - 1) / 10 * 1_000;
            log.push((LogKind::Admitted, number, called));
            if number % 10 == 0 {
                log.push((LogKind::Lapsed, number, called + 60_000));
                log.push((LogKind::Forfeited, number, called + 960_000));
                continue;
            }
            log.push((LogKind::Arrived, number, called + 4_000));
            if number % 5 == 1 {
                log.push((LogKind::Expired, number, called + 304_000));
            } else {
                log.push((LogKind::Paid, number, called + 64_000 + number % 7 * 5_000));
            }
        }
        log
    }

    #[test]
    fn a_log_tells_who_came_when_and_how_long_turns_took() {
        let past = PastSale::of(log()).expect("a sale");
        assert_eq!((past.fans, past.drawn, past.waits.called), (1_499, 1_000, 1_499));
        assert!((past.no_show_share - 149.0 / 1_499.0).abs() < 1e-9);
        assert!((past.unpaid_share - 0.2).abs() < 0.005, "{}", past.unpaid_share);
        assert_eq!(past.notice, Some(Spread::new(4.0, 4.0)));
        assert_eq!(past.turn, Some(Spread::new(75.0, 90.0)));
        let crowd = past.crowd(&Crowd::assumed(1));
        assert!(crowd.check().is_ok(), "{crowd:?}");
        assert!((crowd.arrivals.before_share - 1_000.0 / 1_499.0).abs() < 1e-9);
        assert!((crowd.arrivals.after.come_by(12.0) - 1.0).abs() < 1e-9);
        let medians = crowd.read.median_secs + crowd.decide.median_secs + crowd.pay.median_secs;
        assert!((medians - 75.0).abs() < 1e-9, "{medians}");
    }

    #[test]
    fn a_log_without_joins_or_admissions_is_refused() {
        assert!(PastSale::of([]).is_err());
        assert!(PastSale::of([(LogKind::Joined, 5, 1)]).is_err());
        let least = PastSale::of([(LogKind::Joined, 5, 1_000), (LogKind::Admitted, 1, 3_500)]).expect("a sale");
        assert_eq!((least.fans, least.drawn, least.waits.p50_secs, least.turn), (5, 0, 2, None));
    }
}
