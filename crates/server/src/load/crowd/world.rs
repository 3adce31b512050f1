//! What the fans of one worker share, and how the generator keeps its own account.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use onsale_application::context::Clock;
use onsale_infrastructure::system::System;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::{
    http::{CONNECTIONS, Http, host_of},
    schedule,
    seats::Seats,
};
use crate::load::{
    Failure,
    prepare::Job,
    recorded::{Recorded, Success, Verdict},
    scenario::{Kind, Scenario},
};

/// The grain of the timer and of the machine's attention: who goes later than this is measured from when it was time.
const GRAIN: Duration = Duration::from_millis(2);

/// Time for the workers to be there before the first fan comes.
const LEAD: Duration = Duration::from_millis(200);

/// Where things are on a server.
pub(super) struct Paths {
    /// To join.
    pub(super) line: String,
    /// To ask and to leave.
    pub(super) place: String,
    /// To follow.
    pub(super) events: String,
    pub(super) seats: String,
    pub(super) reservations: String,
}

impl Paths {
    pub(super) fn new(concert: Uuid, show: Uuid) -> Self {
        let line = format!("/api/v1/concerts/{concert}/queue/tokens");
        Self {
            place: format!("{line}/me"),
            events: format!("{line}/me/events"),
            seats: format!("/api/v1/shows/{show}/seats"),
            reservations: format!("/api/v1/shows/{show}/reservations"),
            line,
        }
    }
}

/// What is to happen, the same for all workers.
pub(super) struct Plan {
    pub(super) scenario: Scenario,
    pub(super) kinds: Vec<Kind>,
    /// Access tokens by fan.
    pub(super) access: Vec<String>,
    pub(super) servers: Vec<(String, SocketAddr)>,
    pub(super) paths: Paths,
    pub(super) workers: usize,
    /// When the first fan comes.
    start: Instant,
    /// The same by the wall clock.
    start_ms: i64,
}

impl Plan {
    pub(super) async fn of(job: &Job, workers: usize) -> Result<Self, Failure> {
        let access = job.fans.iter().map(|fan| fan.access_token.clone()).collect();
        Self::new(job.scenario.clone(), access, &job.base_urls, Paths::new(job.concert, job.show), workers).await
    }

    pub(super) async fn new(
        scenario: Scenario,
        mut access: Vec<String>,
        base_urls: &[String],
        paths: Paths,
        workers: usize,
    ) -> Result<Self, Failure> {
        let mut servers = Vec::with_capacity(base_urls.len());
        for base_url in base_urls {
            let host = host_of(base_url)?;
            let address =
                tokio::net::lookup_host(&host).await?.next().ok_or_else(|| format!("{host} has no address"))?;
            servers.push((host, address));
        }
        if servers.is_empty() {
            return Err("there is no server to go to".into());
        }
        access.truncate(scenario.fans);
        Ok(Self {
            kinds: schedule::kinds(&scenario.clients, access.len()),
            access,
            servers,
            paths,
            workers,
            start: Instant::now() + LEAD,
            start_ms: System.now().timestamp_millis() + i64::try_from(LEAD.as_millis()).unwrap_or_default(),
            scenario,
        })
    }

    /// The server that a fan goes to.
    pub(super) fn server_of(&self, fan: usize) -> usize {
        fan % self.servers.len().max(1)
    }

    /// The worker that has a fan. Each worker has fans of each server.
    pub(super) fn worker_of(&self, fan: usize) -> usize {
        fan / self.servers.len().max(1) % self.workers.max(1)
    }

    /// When a fan comes.
    pub(super) fn due(&self, fan: usize) -> Instant {
        self.start + schedule::due(&self.scenario.arrivals, fan)
    }

    /// Milliseconds since 1970. The wall clock may jump, this does not.
    pub(super) fn ms(&self, at: Instant) -> i64 {
        let since = |longer: Duration| i64::try_from(longer.as_millis()).unwrap_or(i64::MAX);
        match at.checked_duration_since(self.start) {
            Some(after) => self.start_ms.saturating_add(since(after)),
            None => self.start_ms.saturating_sub(since(self.start.duration_since(at))),
        }
    }

    /// A key that no other run and no other request of this fan has.
    pub(super) fn key(&self, fan: usize, what: &str) -> String {
        format!("load-{}-{fan}-{what}", self.start_ms)
    }
}

/// How late the generator itself sent what was due.
#[derive(Default)]
struct Lateness {
    sent: u64,
    late: u64,
    most: Duration,
}

/// What the fans of one worker share. They are tasks of one thread.
pub(super) struct World {
    pub(super) plan: Arc<Plan>,
    pub(super) http: Http,
    pub(super) seats: Seats,
    /// Everybody who is on the way.
    pub(super) visits: TaskTracker,
    recorded: RefCell<Recorded>,
    lateness: RefCell<Lateness>,
    streams: Cell<u32>,
    /// Events that streams brought, by their names.
    events: RefCell<BTreeMap<&'static str, u64>>,
}

impl World {
    pub(super) fn new(plan: Arc<Plan>) -> Self {
        let connections = (CONNECTIONS / plan.workers.max(1)).max(1);
        Self {
            http: Http::new(&plan.servers, connections),
            plan,
            seats: Seats::default(),
            visits: TaskTracker::new(),
            recorded: RefCell::default(),
            lateness: RefCell::default(),
            streams: Cell::new(0),
            events: RefCell::default(),
        }
    }

    /// A request goes now that was due then. Answers from when it is measured: from now, but if it goes late from when it
    /// should have gone, for the fan has waited since. Without that a generator that cannot keep up would hide just those
    /// answers that were slow (coordinated omission). Waiting for one of the bounded connections counts in either case.
    pub(super) fn measured_from(&self, due: Instant, now: Instant) -> Instant {
        let late = now.saturating_duration_since(due);
        let mut lateness = self.lateness.borrow_mut();
        lateness.sent += 1;
        if late <= GRAIN {
            return now;
        }
        lateness.late += 1;
        lateness.most = lateness.most.max(late);
        due
    }

    pub(super) fn arrive(&self, due: Instant) {
        self.recorded.borrow_mut().arrive(self.plan.ms(due));
    }

    pub(super) fn drop_arrival(&self, due: Instant) {
        self.recorded.borrow_mut().drop_arrivals(self.plan.ms(due), 1);
    }

    /// A request ended then.
    pub(super) fn add(&self, step: &str, outcome: &str, verdict: Verdict, from: Instant, ended: Instant) {
        let micros = u64::try_from(ended.saturating_duration_since(from).as_micros()).unwrap_or(u64::MAX);
        self.recorded.borrow_mut().add(self.plan.ms(ended), step, outcome, verdict, micros);
    }

    /// Tells of a wrong answer that was added.
    pub(super) fn wrong(&self, step: &str, outcome: &str, who: &str, text: &str) {
        self.recorded.borrow_mut().wrong(format!("{step} {outcome} {who}: {text}"));
    }

    /// What the generator has to say.
    pub(super) fn note(&self, text: String) {
        self.recorded.borrow_mut().note(text);
    }

    /// How many fans came.
    pub(super) fn arrived(&self) -> u64 {
        self.recorded.borrow().arrived
    }

    pub(super) fn succeed(&self, what: &'static str, fan: usize, id: String) {
        self.recorded.borrow_mut().succeed(Success { what, fan, id });
    }

    /// Counts something that a stream brought.
    pub(super) fn event(&self, name: &'static str) {
        *self.events.borrow_mut().entry(name).or_default() += 1;
    }

    /// A number for one more stream.
    pub(super) fn next_stream(&self) -> u32 {
        self.streams.replace(self.streams.get().wrapping_add(1))
    }

    /// Everything that was seen, with the generator's account of itself.
    pub(super) fn finish(&self, worker: usize) -> Recorded {
        let mut recorded = self.recorded.take();
        let Lateness { sent, late, most } = self.lateness.take();
        let share = late.saturating_mul(10_000).checked_div(sent).unwrap_or_default();
        recorded.note(format!(
            "worker {worker} of the crowd sent {late} of {sent} requests ({}.{:02} %) more than {} ms late, at most {} ms; \
             these are measured from when they were due",
            share / 100,
            share % 100,
            GRAIN.as_millis(),
            most.as_millis()
        ));
        let streams = self.streams.get();
        if streams > 0 {
            let events = self.events.take();
            let events: Vec<String> = events.into_iter().map(|(name, count)| format!("{count} {name}")).collect();
            recorded
                .note(format!("worker {worker} of the crowd opened {streams} streams and heard {}", events.join(", ")));
        }
        recorded
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// A plan for so many fans who come at once and have no patience.
    pub(in super::super) async fn plan(fans: usize, base_urls: &[&str], workers: usize) -> Plan {
        let scenario = json!({
            "title": "t", "about": "a", "generator": "crowd", "fans": fans,
            "arrivals": [{ "secs": 0.001, "rate": 1_000_000 }], "journey": "wait", "clients": { "polite": 0.9, "robot": 0.1 },
            "patience_secs": 0, "read_ms": [0, 0], "choose_ms": [0, 0], "pay_ms": [0, 0],
            "sale": {
                "seats": 1, "rows_of": 1, "shows": 1, "price_minor": 1,
                "policy": { "interval_secs": 5, "batch": 100, "active_limit": 500 },
            },
            "limits": { "wrong": 0, "dropped_share": 0.0, "unanswered_share": 0.0 },
        });
        let base_urls: Vec<String> = base_urls.iter().map(|url| (*url).to_owned()).collect();
        // One more than there are fans, as a file may have it.
        let access = vec!["token".to_owned(); fans + 1];
        let scenario = serde_json::from_value(scenario).expect("a scenario");
        Plan::new(scenario, access, &base_urls, Paths::new(Uuid::nil(), Uuid::nil()), workers).await.expect("a plan")
    }

    impl Plan {
        /// As if it had begun so long ago.
        pub(in super::super) fn begun(mut self, ago: Duration) -> Self {
            self.start = self.start.checked_sub(ago).expect("a machine that runs for longer");
            self
        }
    }

    #[tokio::test]
    async fn every_fan_has_one_worker_and_each_worker_fans_of_each_server() {
        let plan = plan(1_000, &["http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3/"], 4).await;
        assert_eq!((plan.access.len(), plan.kinds.len()), (1_000, 1_000));
        let mut by_both = BTreeMap::<_, usize>::new();
        (0..1_000).for_each(|fan| *by_both.entry((plan.worker_of(fan), plan.server_of(fan))).or_default() += 1);
        assert_eq!(by_both.len(), 12);
        assert!(by_both.values().all(|fans| (81..=84).contains(fans)), "{by_both:?}");
    }

    #[tokio::test]
    async fn who_goes_late_is_measured_from_when_it_was_time() {
        let world = World::new(Arc::new(plan(1, &["http://127.0.0.1:1"], 1).await));
        let due = Instant::now();
        let [soon, late] = [1, 40].map(|ms| due + Duration::from_millis(ms));
        assert_eq!(world.measured_from(due, soon), soon, "as late as timers are");
        assert_eq!(world.measured_from(due, late), due, "late by our own fault");
        assert_eq!(world.measured_from(late, due), due, "nobody goes early, but clocks have grains");
        let recorded = world.finish(3);
        let note = recorded.notes.first().expect("a note");
        assert!(
            note.contains("worker 3") && note.contains("1 of 3 requests (33.33 %)") && note.contains("40 ms"),
            "{note}"
        );
    }

    #[tokio::test]
    async fn times_are_told_by_the_wall_clock_of_the_start() {
        let plan = plan(1, &["http://127.0.0.1:1"], 1).await;
        let (before, after) = (plan.start - Duration::from_millis(150), plan.start + Duration::from_millis(2_500));
        assert_eq!((plan.ms(before) - plan.start_ms, plan.ms(after) - plan.start_ms), (-150, 2_500));
    }
}
