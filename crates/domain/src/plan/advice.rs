//! Settings that fit a sale, and why.

use serde::Serialize;

use super::{
    chance::{Chance, Times, whole},
    crowd::Spread,
    outcome::Outcome,
    simulation::{HORIZON_SECS, Run, Sale, Scope, simulate},
    sizing::Capacity,
    words::{count, time, up_to},
};
use crate::queue::QueuePolicy;

/// A setting to use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// Its name.
    pub setting: &'static str,
    /// Its value.
    pub value: i32,
    /// Why, as sentences.
    pub why: String,
}

/// Settings to use, and what comes of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Advice {
    /// The sale with these settings.
    pub sale: Sale,
    /// Each setting that was chosen, with its reason.
    pub reasons: Vec<Reason>,
    /// What comes of them.
    pub outcome: Outcome,
}

/// Intervals that are tried, in seconds.
const INTERVALS: [i32; 9] = [1, 2, 3, 5, 10, 15, 20, 30, 60];
/// Settings that are worse by no more than this share are as good.
const AS_GOOD: f64 = 0.05;
/// Turns above what is taken on average.
const LIMIT_ROOM: f64 = 1.25;
/// Searches with a smaller capacity, when the end of the sale takes more than its beginning.
const TRIES: u32 = 4;

/// Settings that fit, and what comes of them.
#[derive(Clone)]
struct Candidate {
    policy: QueuePolicy,
    outcome: Outcome,
}

impl Candidate {
    /// The sooner 95 of 100 seats are sold the better; where they are not, the wait counts.
    fn rank(&self) -> f64 {
        match self.outcome.sold_95_at_secs {
            Some(secs) => f64::from(secs),
            None => f64::from(HORIZON_SECS) + f64::from(self.outcome.waits.p99_secs),
        }
    }

    /// Requests in the highest second.
    fn burst(&self) -> f64 {
        let moments = self.outcome.course.iter().map(|moment| moment.load.total());
        moments.fold(self.outcome.before.total(), f64::max)
    }
}

/// Searches the settings with which the sale sells out soonest while reservations and payments stay within what the machines can
/// do. Settings that are not named in the reasons stay as they are.
pub fn advise(sale: &Sale, capacity: &Capacity, seed: u64) -> Advice {
    let mut reasons = vec![];
    let mut chosen = times(sale, seed, &mut reasons);
    let seats_each = chosen.crowd.mean_seats(chosen.seats_per_fan).max(1.0);
    let most_active = whole((f64::from(chosen.seats) / seats_each).ceil()).clamp(1, 100_000);
    let slot_secs = probe(&chosen, &chosen.policy, seed).slot_secs.max(1.0);
    let mut search = Search { sale: &chosen, capacity: *capacity, seed, most_active };
    let (mut found, mut soon) = search.best(slot_secs);
    // What is searched ends with 95 of 100 seats; what comes after it may take more.
    for _ in 0..TRIES {
        let Some(outcome) = found.as_ref().map(|found| &found.outcome).filter(|outcome| !capacity.suffices(outcome))
        else {
            break;
        };
        search.capacity.reserve_per_sec *= (capacity.reserve_per_sec / outcome.sustained.reserve).min(1.0);
        search.capacity.pay_per_sec *= (capacity.pay_per_sec / outcome.sustained.pay).min(1.0);
        let again = search.best(slot_secs);
        if again.0.is_none() {
            break;
        }
        (found, soon) = again;
    }
    search.capacity = *capacity;
    let waiting_limit = up_to(f64::from(chosen.crowd.fans) * 1.2, 10_000).clamp(10_000, 10_000_000);
    let policy = match found {
        Some(found) => {
            explain(&found, &soon, &search, &mut reasons);
            found.policy
        }
        None => {
            let policy = QueuePolicy { interval_secs: 60, batch: 1, active_limit: 1, ..chosen.policy };
            let why = "Not even one fan a minute stays within what the machines are said to do.".to_owned();
            reasons.push(Reason { setting: "batch", value: 1, why });
            policy
        }
    };
    let waiting_limit = i32::try_from(waiting_limit).unwrap_or(i32::MAX);
    reasons.push(Reason {
        setting: "waiting_limit",
        value: waiting_limit,
        why: format!("{} fans are expected, and a fifth more finds room.", count(f64::from(chosen.crowd.fans))),
    });
    chosen.policy = QueuePolicy { waiting_limit, ..policy };
    let outcome = simulate(&chosen, seed);
    Advice { sale: chosen, reasons, outcome }
}

/// Within how many seconds this share of the fans has done all of these, one after the other.
fn within(spreads: &[Spread], share: f64, seed: u64) -> f64 {
    const FANS: u32 = 4_000;
    let tables: Vec<Times> = spreads.iter().map(|spread| Times::of(*spread)).collect();
    let mut sums: Vec<u32> = (0..FANS)
        .map(|fan| {
            let mut chance = Chance::of(seed, fan);
            tables.iter().map(|times| times.draw(&mut chance)).sum()
        })
        .collect();
    sums.sort_unstable();
    let rank = usize::try_from(whole(f64::from(FANS) * share)).unwrap_or(0);
    f64::from(sums.get(rank.min(sums.len() - 1)).copied().unwrap_or(0))
}

/// The times of holds, claims and turns, from how long fans take.
fn times(sale: &Sale, seed: u64, reasons: &mut Vec<Reason>) -> Sale {
    let crowd = &sale.crowd;
    let mut chosen = sale.clone();
    let mut choose = |setting: &'static str, secs: u32, why: String| {
        let value = i32::try_from(secs).unwrap_or(i32::MAX);
        reasons.push(Reason { setting, value, why });
        value
    };
    let pays = within(&[crowd.decide, crowd.pay], 0.98, seed);
    let hold_secs = up_to(pays, 30).clamp(60, 1_800);
    let why = format!(
        "98 of 100 fans pay within {pays:.0} s of reserving. A longer hold would only keep seats from the next when somebody \
         does not pay."
    );
    choose("hold_secs", hold_secs, why);
    chosen.hold_secs = hold_secs;
    let comes = within(&[crowd.notice], 0.98, seed);
    let claim_secs = up_to(comes, 5).clamp(20, 300);
    let why = format!(
        "98 of 100 fans who come use their turn within {comes:.0} s of the call. Whoever does not come blocks a slot that long."
    );
    chosen.policy.claim_secs = choose("claim_secs", claim_secs, why);
    let reads = within(&[crowd.read], 0.95, seed);
    let sliding_secs = up_to(reads, 30).max(hold_secs).clamp(60, 3_600);
    let why = format!(
        "95 of 100 fans choose within {reads:.0} s, and a turn should not be shorter than a hold ({hold_secs} s)."
    );
    chosen.policy.active_sliding_secs = choose("active_sliding_secs", sliding_secs, why);
    let once = within(&[crowd.read, crowd.decide, crowd.pay], 0.99, seed);
    let absolute_secs = up_to(once + 60.0, 30).max(sliding_secs + 60).clamp(120, 7_200);
    let why = format!(
        "99 of 100 fans are done within {once:.0} s of seeing the seats, and a minute more is for those who lose a race. \
         Programs that keep a turn alive lose it then."
    );
    chosen.policy.active_absolute_secs = choose("active_absolute_secs", absolute_secs, why);
    chosen
}

/// The sale up to when 95 of 100 seats are sold, with these settings; without what only charts need.
fn probe(sale: &Sale, policy: &QueuePolicy, seed: u64) -> Outcome {
    let mean = sale.crowd.mean_seats(sale.seats_per_fan).max(1.0) * sale.crowd.buyers_share().max(0.05);
    // Of those who are called late many have given up, so several times as many as there are seats for.
    let most_fans = whole(f64::from(sale.seats) / mean * 8.0).saturating_add(10_000);
    let sale = Sale { policy: *policy, ..sale.clone() };
    let mut run = Run::new(&sale, seed, Scope { course: false, most_fans, until_95: true, ..Scope::WHOLE });
    run.finish();
    run.outcome()
}

struct Search<'a> {
    sale: &'a Sale,
    capacity: Capacity,
    seed: u64,
    most_active: u32,
}

impl Search<'_> {
    /// The best candidate, and with it those that are as good but for the requests that they make.
    fn best(&self, slot_secs: f64) -> (Option<Candidate>, Vec<Candidate>) {
        let largest: Vec<Candidate> =
            INTERVALS.into_iter().filter_map(|interval| self.largest(interval, slot_secs)).collect();
        let best = largest.iter().map(Candidate::rank).fold(f64::INFINITY, f64::min);
        let base = if best < f64::from(HORIZON_SECS) { 0.0 } else { f64::from(HORIZON_SECS) };
        let as_good = best + ((best - base) * AS_GOOD).max(2.0);
        // Of all that sell about as soon as possible, the gentlest; a longer interval is less work.
        let soon: Vec<Candidate> = largest.iter().filter_map(|candidate| self.gentlest(candidate, as_good)).collect();
        let calm = soon.iter().map(Candidate::burst).fold(f64::INFINITY, f64::min);
        let found = soon.iter().rev().find(|candidate| candidate.burst() <= calm * (1.0 + AS_GOOD)).cloned();
        (found, soon)
    }

    fn fits(&self, interval_secs: i32, batch: u32, limit: u32) -> Option<Candidate> {
        let whole = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        let (batch, active_limit) = (whole(batch.min(limit)), whole(limit));
        let policy = QueuePolicy { interval_secs, batch, active_limit, ..self.sale.policy };
        let outcome = probe(self.sale, &policy, self.seed);
        self.capacity.suffices(&outcome).then_some(Candidate { policy, outcome })
    }

    /// As many as stay on average while batches of this size come, and some more.
    fn room(&self, interval_secs: i32, batch: u32, slot_secs: f64) -> u32 {
        let stay = f64::from(batch) / f64::from(interval_secs) * slot_secs * LIMIT_ROOM;
        whole(stay.ceil()).max(batch).min(self.most_active)
    }

    /// The largest batch of this interval that fits.
    fn largest(&self, interval_secs: i32, slot_secs: f64) -> Option<Candidate> {
        let fits = |batch| self.fits(interval_secs, batch, self.room(interval_secs, batch, slot_secs));
        if let Some(candidate) = fits(self.most_active) {
            return Some(candidate);
        }
        let (mut good, mut fitting, mut bad) = (fits(1)?, 1, self.most_active);
        while bad - fitting > (fitting / 20).max(1) {
            let middle = between(fitting, bad);
            match fits(middle) {
                Some(candidate) => (good, fitting) = (candidate, middle),
                None => bad = middle,
            }
        }
        Some(good)
    }

    /// The smallest limit and batch of this interval that are about as good as the best; none when even the largest are worse.
    fn gentlest(&self, largest: &Candidate, as_good: f64) -> Option<Candidate> {
        if largest.rank() > as_good {
            return None;
        }
        let QueuePolicy { interval_secs, batch, active_limit, .. } = largest.policy;
        let count = |setting: i32| u32::try_from(setting).unwrap_or(1).max(1);
        let serves = |candidate: &Candidate| candidate.rank() <= as_good;
        let mut good = largest.clone();
        let (mut bad, mut limit) = (0, count(active_limit));
        while limit - bad > (limit / 20).max(1) {
            let middle = between(bad, limit);
            match self.fits(interval_secs, count(batch), middle).filter(serves) {
                Some(candidate) => (good, limit) = (candidate, middle),
                None => bad = middle,
            }
        }
        let (mut bad, mut batch) = (0, count(good.policy.batch));
        while batch - bad > (batch / 20).max(1) {
            let middle = between(bad, batch);
            match self.fits(interval_secs, middle, limit).filter(serves) {
                Some(candidate) => (good, batch) = (candidate, middle),
                None => bad = middle,
            }
        }
        // With everybody who comes, also those who only wait and ask.
        let outcome = simulate(&Sale { policy: good.policy, ..self.sale.clone() }, self.seed);
        Some(Candidate { outcome, ..good })
    }
}

/// In the middle of two that are more than one apart, by their ratio: what is searched spreads over orders of magnitude.
fn between(low: u32, high: u32) -> u32 {
    whole((f64::from(low.max(1)) * f64::from(high)).sqrt()).clamp(low + 1, high - 1)
}

/// Why this interval, batch and limit.
fn explain(found: &Candidate, soon: &[Candidate], search: &Search<'_>, reasons: &mut Vec<Reason>) {
    let Candidate { policy, outcome } = found;
    let sold = match outcome.sold_95_at_secs {
        Some(secs) => format!("95 of 100 seats are sold after {}", time(secs)),
        None => format!("99 of 100 fans are called within {}", time(outcome.waits.p99_secs)),
    };
    let others = soon.iter().filter(|other| other.policy.interval_secs != policy.interval_secs);
    let others: Vec<String> =
        others.map(|other| format!("{} with {} s", count(other.burst()), other.policy.interval_secs)).collect();
    let others = if others.is_empty() {
        "No other interval sells as fast.".to_owned()
    } else {
        format!("Others that sell as fast make more, or are more work: {}.", others.join(", "))
    };
    let why = format!(
        "{sold}, which no settings that fit beat by more than {:.0} %. All fans together make {} requests in the highest \
         second. {others}",
        AS_GOOD * 100.0,
        count(found.burst())
    );
    reasons.push(Reason { setting: "interval_secs", value: policy.interval_secs, why });
    let why = format!(
        "The smallest batch that sells as fast. At most {} reservations and {} payments a second come over ten seconds, of {} \
         and {} that fit.",
        count(outcome.sustained.reserve),
        count(outcome.sustained.pay),
        count(search.capacity.reserve_per_sec),
        count(search.capacity.pay_per_sec)
    );
    reasons.push(Reason { setting: "batch", value: policy.batch, why });
    let why = format!(
        "The smallest limit that sells as fast. {} seats are enough for {} fans who buy as many as they want; the more of them \
         have a turn at once, the more look for seats that are not there.",
        count(f64::from(search.sale.seats)),
        count(f64::from(search.most_active))
    );
    reasons.push(Reason { setting: "active_limit", value: policy.active_limit, why });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Costs, Crowd, Machines};

    fn sale() -> Sale {
        let policy = QueuePolicy { idle_admission: false, ..QueuePolicy::default() };
        Sale { crowd: Crowd::assumed(20_000), policy, seats: 2_000, hold_secs: 300, seats_per_fan: 4 }
    }

    #[test]
    fn advice_stays_within_what_the_machines_can_do_and_sells_sooner_with_more() {
        let sold_at = |per_sec: f64| {
            let capacity = Capacity { reserve_per_sec: per_sec, pay_per_sec: per_sec };
            let advice = advise(&sale(), &capacity, 1);
            assert!(advice.sale.check().is_ok(), "{:?}", advice.sale);
            assert!(capacity.suffices(&advice.outcome), "{:?}", advice.outcome.sustained);
            assert!(advice.sale.policy.warnings(i32::try_from(advice.sale.hold_secs).ok(), 2_000).is_empty());
            let named: Vec<_> = advice.reasons.iter().map(|reason| reason.setting).collect();
            assert_eq!(
                named,
                [
                    "hold_secs",
                    "claim_secs",
                    "active_sliding_secs",
                    "active_absolute_secs",
                    "interval_secs",
                    "batch",
                    "active_limit",
                    "waiting_limit"
                ]
            );
            f64::from(advice.outcome.sold_95_at_secs.expect("sold"))
        };
        let (few, many) = (sold_at(3.0), sold_at(1_000.0));
        // 1,900 seats are some 830 reservations, which take 275 s at 3 a second.
        assert!(few > 275.0 && many < few, "{few} {many}");
    }

    #[test]
    fn advice_is_no_worse_than_the_settings_that_were_asked_about() {
        let asked = simulate(&sale(), 1).sold_95_at_secs.expect("sold");
        let capacity = Capacity::of(&Costs::default(), &Machines::default());
        let advised = advise(&sale(), &capacity, 1).outcome.sold_95_at_secs.expect("sold");
        assert!(advised <= asked, "{advised} {asked}");
    }

    #[test]
    fn machines_that_can_do_nothing_are_told_so() {
        let advice = advise(&sale(), &Capacity { reserve_per_sec: 0.0, pay_per_sec: 0.0 }, 1);
        assert!(advice.reasons.iter().any(|reason| reason.why.contains("Not even one")));
    }
}
