//! What machines a sale takes, from what each kind of request costs.

use serde::{Deserialize, Serialize};

use super::{
    chance::whole,
    outcome::{Load, Outcome},
    words::{bytes, count, time},
};
use crate::queue::QueuePolicy;

/// What one request costs, in microseconds of one core.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// Of a server process.
    pub server_us: f64,
    /// Of Redis.
    pub redis_us: f64,
    /// Of PostgreSQL, with its writing to disk.
    pub postgres_us: f64,
}

impl Cost {
    const fn new(server_us: f64, redis_us: f64, postgres_us: f64) -> Self {
        Self { server_us, redis_us, postgres_us }
    }
}

/// What everything costs on a machine. What a file leaves out is as in [`Costs::default`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Costs {
    /// Where the figures come from.
    pub source: String,
    /// Joining.
    pub join: Cost,
    /// Asking for one's place in line: answered from a snapshot.
    pub poll: Cost,
    /// Asking for one's ballot before the opening: one call of Redis.
    pub ballot: Cost,
    /// Reading seats.
    pub seats: Cost,
    /// Reserving, and getting the seats.
    pub reserve: Cost,
    /// Reserving seats that are gone.
    pub lost: Cost,
    /// Paying.
    pub pay: Cost,
    /// Calling one fan, with the log.
    pub call: Cost,
    /// Redis per fan in line, in bytes.
    pub redis_bytes_per_fan: f64,
    /// PostgreSQL per fan in line, in bytes, with indexes.
    pub postgres_bytes_per_fan: f64,
    /// Write-ahead log per join, in bytes.
    pub wal_bytes_per_join: f64,
    /// Write-ahead log per reservation that is paid, in bytes.
    pub wal_bytes_per_sale: f64,
    /// Most joins per second of one line, however many instances: each batch locks the line's row.
    pub most_joins_per_sec: f64,
}

impl Default for Costs {
    /// From docs/reports, two cores that server, stores and load generator shared, so each figure is what all four took together:
    /// too much rather than too little. How it is split between server and stores is an assumption, and so is what no report
    /// measured; docs/PLANNING.md says which. `--costs` takes measured ones.
    fn default() -> Self {
        Self {
            source: "docs/reports on 2 cores, and assumptions where they are silent".to_owned(),
            // line-on-disk.md: 23,629 a second on 2 cores are 85 microseconds each.
            join: Cost::new(45.0, 10.0, 30.0),
            // line.md: 55,216 a second are 36.
            poll: Cost::new(36.0, 0.0, 0.0),
            // Assumed: one call of Redis too, and no body, so less than a lost reservation.
            ballot: Cost::new(70.0, 30.0, 0.0),
            // Assumed: one call of the gate and a list from memory, as a lost reservation.
            seats: Cost::new(100.0, 35.0, 0.0),
            // line-on-disk.md: 1,121 a second are 1,784; limits.md: pgbench does the same statements in 977.
            reserve: Cost::new(757.0, 50.0, 977.0),
            // limits.md: 14,802 a second are 135.
            lost: Cost::new(100.0, 35.0, 0.0),
            // Not measured: assumed to cost as much as a won reservation.
            pay: Cost::new(757.0, 50.0, 977.0),
            // line.md: 65 ms for 1,000 fans, 27 of them in Redis.
            call: Cost::new(8.0, 27.0, 30.0),
            // line.md.
            redis_bytes_per_fan: 230.0,
            // Reckoned from the columns: a row of 140 bytes, 50 and 80 of its two indexes, 30 of the log.
            postgres_bytes_per_fan: 300.0,
            // line-on-disk.md.
            wal_bytes_per_join: 396.0,
            // Assumed: some twenty rows in ten tables, with their indexes.
            wal_bytes_per_sale: 6_000.0,
            // line-on-disk.md: two processes.
            most_joins_per_sec: 13_716.0,
        }
    }
}

/// The machines that are at hand.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Machines {
    /// Cores of one server instance.
    pub cores_per_instance: f64,
    /// Cores of PostgreSQL.
    pub postgres_cores: f64,
    /// How busy a core may be, up to 1. The rest is for peaks within a second and for what nobody thought of.
    pub busy_share: f64,
}

impl Default for Machines {
    fn default() -> Self {
        Self { cores_per_instance: 2.0, postgres_cores: 4.0, busy_share: 0.6 }
    }
}

/// How many reservations and payments a second fit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Capacity {
    /// Reservations that get their seats.
    pub reserve_per_sec: f64,
    /// Payments.
    pub pay_per_sec: f64,
}

impl Capacity {
    /// As many of each as PostgreSQL has cores for when both come as often.
    pub fn of(costs: &Costs, machines: &Machines) -> Self {
        let both_us = (costs.reserve.postgres_us + costs.pay.postgres_us).max(1.0);
        let per_sec = machines.postgres_cores * machines.busy_share * 1e6 / both_us;
        Self { reserve_per_sec: per_sec, pay_per_sec: per_sec }
    }

    /// Whether this sale never takes more for long.
    pub fn suffices(&self, outcome: &Outcome) -> bool {
        outcome.sustained.reserve <= self.reserve_per_sec && outcome.sustained.pay <= self.pay_per_sec
    }
}

/// One step of the arithmetic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sum {
    /// What is reckoned.
    pub what: &'static str,
    /// How.
    pub how: String,
}

/// What a sale takes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sizing {
    /// Cores of all servers together at the highest moment, fully busy.
    pub server_cores: f64,
    /// Cores of Redis.
    pub redis_cores: f64,
    /// Cores of PostgreSQL.
    pub postgres_cores: f64,
    /// Server instances; two at least, so that one may fail.
    pub instances: u32,
    /// Memory for Redis in bytes, with room to write its file.
    pub redis_bytes: f64,
    /// What PostgreSQL grows by, in bytes.
    pub postgres_bytes: f64,
    /// Commits of PostgreSQL per second at the highest moment, at least.
    pub commits_per_sec: f64,
    /// Write-ahead log per second at the highest moment, in bytes.
    pub wal_bytes_per_sec: f64,
    /// The arithmetic.
    pub sums: Vec<Sum>,
    /// What does not fit.
    pub warnings: Vec<String>,
}

/// Most joins of one commit; see docs/LINE.md.
const JOINS_PER_COMMIT: f64 = 256.0;
/// A Redis that writes its file may need its memory twice.
const REDIS_ROOM: f64 = 2.0;

/// What a simulated sale takes.
pub fn size(outcome: &Outcome, policy: &QueuePolicy, fans: u32, costs: &Costs, machines: &Machines) -> Sizing {
    let calls = f64::from(policy.batch.min(policy.active_limit)) / f64::from(policy.interval_secs.max(1));
    let mut sums = vec![];
    let mut cores = |what: &'static str, of: fn(&Cost) -> f64| {
        let (busy, how) = busiest(outcome, calls, costs, of);
        sums.push(Sum { what, how });
        busy
    };
    let server_cores = cores("server cores", |cost| cost.server_us);
    let redis_cores = cores("Redis cores", |cost| cost.redis_us);
    let postgres_cores = cores("PostgreSQL cores", |cost| cost.postgres_us);
    let per_instance = (machines.cores_per_instance * machines.busy_share).max(0.01);
    let instances = whole((server_cores / per_instance).ceil()).max(2);
    let mut sum = |what: &'static str, how: String| sums.push(Sum { what, how });
    sum(
        "instances",
        format!(
            "{server_cores:.2} cores / ({:.1} cores each x {:.0} % busy), and two at least = {instances}",
            machines.cores_per_instance,
            machines.busy_share * 100.0
        ),
    );
    let (waiting, sales) = (f64::from(outcome.peak_waiting), f64::from(outcome.fates.bought));
    let redis_bytes = waiting * costs.redis_bytes_per_fan * REDIS_ROOM;
    let each = bytes(costs.redis_bytes_per_fan);
    let how = format!("{} waiting x {each} x {REDIS_ROOM:.0} while it writes its file", count(waiting));
    sum("Redis memory", format!("{how} = {}", bytes(redis_bytes)));
    let postgres_bytes = f64::from(fans) * costs.postgres_bytes_per_fan + sales * costs.wal_bytes_per_sale;
    let (each, sale) = (bytes(costs.postgres_bytes_per_fan), bytes(costs.wal_bytes_per_sale));
    let how = format!("{} fans x {each} + {} sales x {sale}", count(f64::from(fans)), count(sales));
    sum("PostgreSQL disk", format!("{how} = {}", bytes(postgres_bytes)));
    let highest = |of: &dyn Fn(&Load) -> f64| {
        let loads = outcome.course.iter().map(|moment| &moment.load).chain([&outcome.before]);
        loads.map(of).fold(0.0, f64::max)
    };
    let commits_per_sec = highest(&|load| load.join / JOINS_PER_COMMIT + load.reserve + load.pay);
    let how = format!("joins / {JOINS_PER_COMMIT:.0} + reservations + payments");
    sum("PostgreSQL commits", format!("{how} = {} a second", count(commits_per_sec)));
    let wal_bytes_per_sec = highest(&|load| load.join * costs.wal_bytes_per_join + load.pay * costs.wal_bytes_per_sale);
    let how = format!("joins x {} + payments x {sale}", bytes(costs.wal_bytes_per_join));
    sum("PostgreSQL log", format!("{how} = {} a second", bytes(wal_bytes_per_sec)));
    let mut sizing = Sizing {
        server_cores,
        redis_cores,
        postgres_cores,
        instances,
        redis_bytes,
        postgres_bytes,
        commits_per_sec,
        wal_bytes_per_sec,
        sums,
        warnings: vec![],
    };
    sizing.warnings = warnings(&sizing, outcome, policy, fans, costs, machines);
    sizing
}

/// What does not fit.
fn warnings(
    sizing: &Sizing,
    outcome: &Outcome,
    policy: &QueuePolicy,
    fans: u32,
    costs: &Costs,
    machines: &Machines,
) -> Vec<String> {
    let mut warnings = vec![];
    if sizing.redis_cores > machines.busy_share {
        warnings.push(format!(
            "The line needs {:.2} cores of Redis at the highest moment. One line lives on one master, which has one.",
            sizing.redis_cores
        ));
    }
    if sizing.postgres_cores > machines.postgres_cores * machines.busy_share {
        warnings.push(format!(
            "PostgreSQL needs {:.2} cores at the highest moment and has {:.1}, to be {:.0} % busy.",
            sizing.postgres_cores,
            machines.postgres_cores,
            machines.busy_share * 100.0
        ));
    }
    if outcome.peak.join > costs.most_joins_per_sec {
        warnings.push(format!(
            "{} fans join in one second, and one line takes {} a second: the others wait, hear 503 and join again.",
            count(outcome.peak.join),
            count(costs.most_joins_per_sec)
        ));
    }
    if f64::from(fans) > f64::from(policy.waiting_limit) {
        warnings.push(format!(
            "{} fans come and waiting_limit is {}: the line may be full.",
            count(f64::from(fans)),
            count(f64::from(policy.waiting_limit))
        ));
    }
    warnings
}

/// Cores at the moment that takes most of them, and how that adds up.
fn busiest(outcome: &Outcome, calls: f64, costs: &Costs, of: fn(&Cost) -> f64) -> (f64, String) {
    // Before the opening nobody is called, and polls ask for ballots.
    let parts = |load: &Load, calls: Option<f64>| {
        let poll = if calls.is_some() { &costs.poll } else { &costs.ballot };
        let each = [&costs.join, poll, &costs.seats, &costs.reserve, &costs.lost, &costs.pay];
        let kinds = load.kinds().into_iter().zip(each).map(|((name, per_sec), cost)| (name, per_sec, of(cost)));
        kinds.chain(calls.map(|calls| ("call", calls, of(&costs.call)))).collect::<Vec<_>>()
    };
    let cores = |load: &Load, calls| parts(load, calls).iter().map(|(_, rate, us)| rate * us / 1e6).sum::<f64>();
    let mut highest = ("before the opening".to_owned(), outcome.before, None);
    for moment in &outcome.course {
        if cores(&moment.load, Some(calls)) > cores(&highest.1, highest.2) {
            highest = (format!("about {} after the opening", time(moment.at_secs)), moment.load, Some(calls));
        }
    }
    let (when, load, calls) = highest;
    let busy = cores(&load, calls);
    let shown = parts(&load, calls).into_iter().filter(|(_, rate, us)| rate * us >= 500.0);
    let terms: Vec<String> = shown.map(|(name, rate, us)| format!("{} {name} x {us:.0} us", count(rate))).collect();
    let terms = if terms.is_empty() { "next to nothing".to_owned() } else { terms.join(" + ") };
    (busy, format!("{when}: {terms} = {busy:.2}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Crowd, Sale, simulate};

    fn sale() -> Sale {
        let policy = QueuePolicy::default();
        Sale { crowd: Crowd::assumed(100_000), policy, seats: 5_000, hold_secs: 300, seats_per_fan: 4 }
    }

    #[test]
    fn sizes_follow_from_rates_and_costs() {
        let mut outcome = simulate(&sale(), 1);
        outcome.course.clear();
        outcome.peak_waiting = 90_000;
        outcome.before = Load { join: 1_000.0, poll: 10_000.0, reserve: 100.0, pay: 50.0, ..Load::default() };
        let (costs, machines) = (Costs::default(), Machines::default());
        let size = size(&outcome, &sale().policy, 100_000, &costs, &machines);
        // 1,000 x 45 + 10,000 x 70 + 150 x 757 microseconds, and 1,000 x 10 + 10,000 x 30 + 150 x 50.
        assert!((size.server_cores - 0.858_55).abs() < 1e-6, "{}", size.server_cores);
        assert!((size.redis_cores - 0.317_5).abs() < 1e-6, "{}", size.redis_cores);
        assert!((size.postgres_cores - 0.176_55).abs() < 1e-6, "{}", size.postgres_cores);
        assert!((size.redis_bytes - 90_000.0 * 230.0 * 2.0).abs() < 1e-3);
        assert!((size.commits_per_sec - (1_000.0 / 256.0 + 150.0)).abs() < 1e-6);
        assert_eq!((size.instances, size.warnings.len()), (2, 0));
        let how = &size.sums[0].how;
        assert!(how.starts_with("before the opening: 1,000 join x 45 us + 10,000 poll x 70 us"), "{how}");
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let outcome = simulate(&sale(), 1);
        let slow = Cost { server_us: 1e6, redis_us: 1e6, postgres_us: 1e6 };
        let costs = Costs { join: slow, most_joins_per_sec: 1.0, ..Costs::default() };
        let policy = QueuePolicy { waiting_limit: 10, ..sale().policy };
        let size = size(&outcome, &policy, 100_000, &costs, &Machines::default());
        assert_eq!(size.warnings.len(), 4, "{:?}", size.warnings);
        assert!(size.instances > 100);
    }
}
