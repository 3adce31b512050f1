//! A sale with a virtual clock, second by second, by the rules of the line: see `promote.lua`, `sweep.lua` and `admit.lua`.

use std::collections::{BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::{
    chance::{Times, whole},
    crowd::Crowd,
    outcome::{Course, Fates, Group, Groups, Load, Moment, Outcome, Sustained, Waits},
    polls::{calm_polls_per_sec, polls_per_sec},
    turns::{Step, Turns, Who},
};
use crate::{
    fault::Faults,
    queue::{PaceMeter, QueuePolicy},
};

/// What is simulated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sale {
    /// Who comes.
    pub crowd: Crowd,
    /// The settings of the line.
    pub policy: QueuePolicy,
    /// Seats of all shows.
    pub seats: u32,
    /// Seconds that a reservation is held before it must be paid.
    pub hold_secs: u32,
    /// Most seats of one fan.
    pub seats_per_fan: u32,
}

impl Sale {
    /// Names every fault.
    pub fn check(&self) -> Result<(), Faults> {
        let mut faults = Faults::new();
        faults.take(self.crowd.check());
        faults.take(self.policy.check());
        if !(1..=10_000_000).contains(&self.seats) {
            faults.add("seats", "must be 1 to 10000000");
        }
        if !(10..=3_600).contains(&self.hold_secs) {
            faults.add("hold_secs", "must be 10 to 3600");
        }
        if !(1..=20).contains(&self.seats_per_fan) {
            faults.add("seats_per_fan", "must be 1 to 20");
        }
        faults.into_result()
    }
}

/// How far a simulation goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope {
    /// Whether moments and polls are wanted; without, it is several times as fast.
    pub(super) course: bool,
    /// Later fans do not come.
    pub(super) most_fans: u32,
    /// Seconds that are looked at.
    pub(super) horizon_secs: u32,
    /// Calls after which it ends.
    pub(super) most_calls: u32,
    /// Whether it ends when 95 of 100 seats are sold.
    pub(super) until_95: bool,
}

/// The longest sale that is looked at: a day.
pub const HORIZON_SECS: u32 = 86_400;

impl Scope {
    pub(super) const WHOLE: Self =
        Self { course: true, most_fans: u32::MAX, horizon_secs: HORIZON_SECS, most_calls: u32::MAX, until_95: false };
}

/// Simulates a sale. The same sale and seed have the same outcome.
pub fn simulate(sale: &Sale, seed: u64) -> Outcome {
    let mut run = Run::new(sale, seed, Scope::WHOLE);
    run.finish();
    run.outcome()
}

/// Settings as seconds and counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    interval_secs: u32,
    batch: u32,
    pub(super) limit: u32,
    pub(super) sliding_secs: u32,
    pub(super) absolute_secs: u32,
    pub(super) claim_secs: u32,
    pub(super) return_secs: u32,
    pub(super) waiting_limit: u32,
    pub(super) hold_secs: u32,
}

impl Rules {
    fn of(sale: &Sale) -> Self {
        let policy = &sale.policy;
        let count = |setting: i32| u32::try_from(setting.max(0)).unwrap_or(0);
        Self {
            interval_secs: count(policy.interval_secs).max(1),
            batch: count(policy.batch),
            limit: count(policy.active_limit),
            sliding_secs: count(policy.active_sliding_secs).max(1),
            absolute_secs: count(policy.active_absolute_secs).max(1),
            claim_secs: count(policy.claim_secs).max(1),
            return_secs: count(policy.return_secs),
            waiting_limit: count(policy.waiting_limit),
            hold_secs: sale.hold_secs.max(1),
        }
    }

    /// No step of a fan lies farther ahead.
    fn longest_secs(&self) -> u32 {
        let turn = self.absolute_secs + self.sliding_secs;
        turn.max(self.claim_secs + self.return_secs).max(self.hold_secs) + 60
    }
}

/// Times as they are drawn.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) notice: Times,
    pub(super) read: Times,
    pub(super) decide: Times,
    pub(super) pay: Times,
    pub(super) search: Times,
    pub(super) patience: Option<Times>,
    /// The share that wants at most one seat, two, three and so on.
    pub(super) seats_within: Vec<f64>,
}

impl Tables {
    fn of(crowd: &Crowd) -> Self {
        let weights: f64 = crowd.seats_wanted.iter().sum();
        let mut within = 0.0;
        let seats_within = crowd.seats_wanted.iter().map(|weight| {
            within += weight / weights.max(f64::MIN_POSITIVE);
            within
        });
        Self {
            seats_within: seats_within.collect(),
            notice: Times::of(crowd.notice),
            read: Times::of(crowd.read),
            decide: Times::of(crowd.decide),
            pay: Times::of(crowd.pay),
            search: Times::of(crowd.search),
            patience: crowd.patience.map(Times::of),
        }
    }
}

/// Fans who joined in one second, by their places in the order of joining.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cohort {
    pub(super) joined_at: u32,
    pub(super) next: u32,
    pub(super) end: u32,
}

/// A sale under way.
#[derive(Debug)]
pub(super) struct Run<'a> {
    pub(super) sale: &'a Sale,
    pub(super) rules: Rules,
    pub(super) tables: Tables,
    pub(super) scope: Scope,
    pub(super) seed: u64,
    pub(super) now: u32,
    pub(super) next_at: u32,
    pub(super) arrived: u32,
    pub(super) line: VecDeque<Cohort>,
    /// In line, those included who have closed the page.
    pub(super) waiting: u32,
    pub(super) closed_page: u32,
    /// How many of those in line leave, or close the page, in which second.
    pub(super) leaves_at: Vec<u32>,
    pub(super) closes_at: Vec<u32>,
    /// Back after a lapse, by number; with their turns.
    pub(super) back: BTreeSet<(u32, u32)>,
    pub(super) turns: Turns,
    /// Slots taken.
    pub(super) taken: u32,
    pub(super) owed: u32,
    pub(super) available: u32,
    pub(super) held: u32,
    pub(super) sold: u32,
    /// Seats taken in each of the last seconds, as many as a shown seat is old.
    pub(super) lately: VecDeque<u32>,
    /// How likely a shown seat is gone.
    pub(super) gone_share: f64,
    pub(super) reading: u32,
    pub(super) load: Load,
    pub(super) fates: Fates,
    pub(super) groups: [Group; 4],
    pub(super) waited: Vec<u32>,
    /// Numbers called or passed over, and first calls.
    pub(super) served: u32,
    pub(super) called: u32,
    pub(super) lapsed: u32,
    pub(super) returned: u32,
    pub(super) lost_races: u32,
    pub(super) holds_ended: u32,
    pub(super) slot_secs: f64,
    pub(super) slots_ended: u32,
    pub(super) last_paid_at: Option<u32>,
    sold_95_at: Option<u32>,
    pub(super) sold_out_at: Option<u32>,
    peak_waiting: u32,
    peak_active: u32,
    peak: Load,
    sustained: Sustained,
    meter: PaceMeter,
    pace: Option<f64>,
    course: Course,
    /// When how many had been served, for forecasts.
    pub(super) trace: Vec<(u32, u32)>,
}

impl<'a> Run<'a> {
    pub(super) fn new(sale: &'a Sale, seed: u64, scope: Scope) -> Self {
        let rules = Rules::of(sale);
        let seconds = if sale.crowd.patience.is_some() { usize::try_from(scope.horizon_secs).unwrap_or(0) } else { 0 };
        let shown_secs = usize::try_from(sale.crowd.look_every_secs.min(60)).unwrap_or(1).max(1);
        Self {
            sale,
            rules,
            tables: Tables::of(&sale.crowd),
            scope,
            seed,
            now: 0,
            next_at: 0,
            arrived: 0,
            line: VecDeque::new(),
            waiting: 0,
            closed_page: 0,
            leaves_at: vec![0; seconds],
            closes_at: vec![0; seconds],
            back: BTreeSet::new(),
            turns: Turns::new(rules.longest_secs()),
            taken: 0,
            owed: 0,
            available: sale.seats,
            held: 0,
            sold: 0,
            lately: vec![0; shown_secs].into(),
            gone_share: 0.0,
            reading: 0,
            load: Load::default(),
            fates: Fates::default(),
            groups: [Group::default(); 4],
            waited: vec![],
            served: 0,
            called: 0,
            lapsed: 0,
            returned: 0,
            lost_races: 0,
            holds_ended: 0,
            slot_secs: 0.0,
            slots_ended: 0,
            last_paid_at: None,
            sold_95_at: None,
            sold_out_at: None,
            peak_waiting: 0,
            peak_active: 0,
            peak: Load::default(),
            sustained: Sustained::default(),
            meter: PaceMeter::default(),
            pace: None,
            course: Course::default(),
            trace: vec![],
        }
    }

    /// Second by second, until nothing can happen any more or the scope ends.
    pub(super) fn finish(&mut self) {
        while self.now < self.scope.horizon_secs && self.sold_out_at.is_none() && self.called < self.scope.most_calls {
            self.second();
            if self.scope.until_95 && self.sold_95_at.is_some() {
                break;
            }
            let all_came = self.arrived >= self.sale.crowd.fans.min(self.scope.most_fans);
            if all_came && self.waiting == 0 && self.turns.count() == 0 {
                break;
            }
            self.now += 1;
        }
    }

    fn second(&mut self) {
        self.load = Load::default();
        self.lose_patience();
        self.join();
        let mut next = self.turns.due(self.now);
        while let Some(id) = next {
            let Some(turn) = self.turns.get(id) else { break };
            next = Turns::after(&turn);
            self.step(id, turn);
        }
        self.look_at_the_seats();
        if self.sold_out_at.is_none() {
            self.promote();
        }
        self.peak_waiting = self.peak_waiting.max(self.waiting);
        self.peak_active = self.peak_active.max(self.taken);
        self.load.seats += f64::from(self.reading) / f64::from(self.sale.crowd.look_every_secs.max(1));
        self.sustained.note(self.load);
        if self.scope.course {
            self.ask_for_places();
            let moment = self.moment();
            self.course.note(moment);
        }
        self.peak = self.peak.max(&self.load);
    }

    fn moment(&self) -> Moment {
        let Self { now, taken, held, sold, load, .. } = *self;
        Moment { at_secs: now, waiting: self.in_line(), active: taken, held, sold, load }
    }

    fn in_line(&self) -> u32 {
        self.waiting + u32::try_from(self.back.len()).unwrap_or(0)
    }

    /// Calls whoever is due: a batch when the interval is over, and beyond it those who came back and as many as lapsed.
    fn promote(&mut self) {
        let mut quota = 0;
        if self.now >= self.next_at {
            self.next_at += self.rules.interval_secs;
            if self.next_at <= self.now {
                self.next_at = self.now + self.rules.interval_secs;
            }
            quota = self.rules.batch;
        }
        let returning = u32::try_from(self.back.len()).unwrap_or(u32::MAX);
        quota = quota.saturating_add(std::mem::take(&mut self.owed)).saturating_add(returning);
        let mut many = quota.min(self.rules.limit.saturating_sub(self.taken));
        if many == 0 {
            return;
        }
        while many > 0
            && let Some((_, id)) = self.back.pop_first()
        {
            self.call(id);
            many -= 1;
        }
        while many > 0 && self.call_next() {
            many -= 1;
        }
        if !self.scope.course {
            self.trace.push((self.now, self.served));
        }
    }

    fn look_at_the_seats(&mut self) {
        let taken: u32 = self.lately.iter().sum();
        let shown = f64::from(self.available) + f64::from(taken);
        let crowding = self.sale.crowd.crowding;
        self.gone_share = if shown > 0.0 { (crowding * f64::from(taken) / shown).min(0.95) } else { 0.95 };
        self.lately.pop_front();
        self.lately.push_back(0);
        if self.sold_95_at.is_none() && u64::from(self.sold) * 100 >= u64::from(self.sale.seats) * 95 {
            self.sold_95_at = Some(self.now);
        }
        if self.available == 0 && self.held == 0 && self.sold > 0 {
            self.sold_out_at = Some(self.now);
        }
    }

    fn ask_for_places(&mut self) {
        self.meter.note(i64::from(self.now) * 1_000, i64::from(self.called));
        if self.now.is_multiple_of(5) {
            self.pace = self.meter.pace(self.sale.policy.interval_secs).map(|pace| pace.fast);
        }
        let asking = self.in_line().saturating_sub(self.closed_page);
        let first_secs = self.next_at.saturating_sub(self.now);
        self.load.poll = polls_per_sec(&self.sale.policy, asking, first_secs, self.pace);
    }

    pub(super) fn outcome(mut self) -> Outcome {
        let sold_out = self.sold_out_at.is_some();
        for turn in self.turns.standing() {
            *match (turn.step, turn.who) {
                (_, Who::Stranger) => continue,
                (_, Who::Gone) => &mut self.fates.gave_up,
                (_, Who::Absent) | (Step::Returns, _) => &mut self.fates.no_shows,
                (Step::Back, _) => &mut self.fates.left_waiting,
                _ if !sold_out => &mut self.fates.unfinished,
                (_, Who::Robot) => &mut self.fates.robots,
                (_, Who::Looker) => &mut self.fates.looked_only,
                (_, Who::Buyer) => &mut self.fates.without_seats,
            } += 1;
        }
        self.fates.gave_up += self.closed_page;
        self.fates.left_waiting += self.waiting - self.closed_page;
        self.fates.too_late = self.sale.crowd.fans.saturating_sub(self.arrived);
        let before = f64::from(self.sale.crowd.fans) * self.sale.crowd.arrivals.before_share;
        let per_sec = before / f64::from(self.sale.crowd.arrivals.before_secs.max(1));
        let poll = calm_polls_per_sec(&self.sale.policy, whole(before));
        let [before, first_minute, ten_minutes, later] = self.groups;
        let last = self.moment();
        Outcome {
            waits: Waits::of(&self.waited),
            fates: self.fates,
            groups: Groups { before, first_minute, ten_minutes, later },
            sold: self.sold,
            sold_95_at_secs: self.sold_95_at,
            sold_out_at_secs: self.sold_out_at,
            last_paid_at_secs: self.last_paid_at,
            ended_at_secs: self.now,
            lapsed: self.lapsed,
            returned: self.returned,
            lost_races: self.lost_races,
            holds_ended: self.holds_ended,
            peak_waiting: self.peak_waiting,
            peak_active: self.peak_active,
            slot_secs: self.slot_secs / f64::from(self.slots_ended.max(1)),
            peak: self.peak,
            sustained: self.sustained.highest(),
            before: Load { join: per_sec, poll, ..Load::default() },
            course: self.course.finish(last),
        }
    }
}
