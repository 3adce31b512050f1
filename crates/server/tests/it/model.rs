//! The line against a simple model of it: random histories of everything that fans, operators, time and a lost Redis can
//! do, on the real stores. After every step every fan must be where the model says.
//!
//! `ONSALE_MODEL_HISTORIES` is how many histories are run (400 when not set).

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use deadpool_redis::redis;
use onsale_application::{
    catalogue::{Concert, ConcertChanges},
    line::{Gate, GateRefusal, LineError, PlaceState},
};
use onsale_domain::{
    concert::SaleState,
    ids::UserId,
    queue::{QueuePolicy, check_log},
};
use onsale_server::wiring::Instance;
use onsale_test_support::World;
use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner},
};
use uuid::Uuid;

const FANS: usize = 9;

#[derive(Debug, Clone, Copy)]
enum Step {
    /// Joins, showing the last token or (another device) not.
    Join(usize, bool),
    /// Asks for the place with the last token.
    Look(usize),
    /// Passes the gate.
    Use(usize),
    Leave(usize),
    Pay(usize),
    /// A tick; the interval is over or not.
    Tick(bool),
    Admit(i64),
    /// The time of an active token, or the time to come back, is over for this fan.
    Age(usize),
    Limit(i32),
    Pause(bool),
    Lose(Loss),
}

#[derive(Debug, Clone, Copy)]
enum Loss {
    /// Restarted with everything that was written.
    Restarted,
    /// Restarted empty.
    Empty,
    /// A replica took over that has nothing of what happened since the last copy.
    Old,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let fan = 0..FANS;
    let step = prop_oneof![
        6 => (fan.clone(), prop::bool::weighted(0.8)).prop_map(|(fan, shows)| Step::Join(fan, shows)),
        4 => fan.clone().prop_map(Step::Look),
        4 => fan.clone().prop_map(Step::Use),
        1 => fan.clone().prop_map(Step::Leave),
        1 => fan.clone().prop_map(Step::Pay),
        4 => any::<bool>().prop_map(Step::Tick),
        1 => (1_i64..4).prop_map(Step::Admit),
        3 => fan.prop_map(Step::Age),
        1 => (1_i32..5).prop_map(Step::Limit),
        1 => any::<bool>().prop_map(Step::Pause),
        1 => prop_oneof![Just(Loss::Restarted), Just(Loss::Empty), Just(Loss::Old)].prop_map(Step::Lose),
    ];
    prop::collection::vec(step, 5..60)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Waiting,
    Back,
    Active { used: bool, aged: bool },
    Lapsed { aged: bool },
}

#[derive(Debug, Clone, Copy)]
struct Place {
    number: i64,
    at: At,
    /// Came back after a lapsed turn, which is done once.
    came: bool,
}

/// What the line should be.
#[derive(Debug, Clone)]
struct Model {
    places: BTreeMap<usize, Place>,
    highest: i64,
    limit: usize,
    batch: usize,
    idle: bool,
    paused: bool,
    owed: usize,
}

impl Model {
    fn active(&self) -> usize {
        let live = |place: &&Place| matches!(place.at, At::Active { aged: false, .. });
        self.places.values().filter(live).count()
    }

    fn lapse(&mut self, fan: usize) {
        self.owed += 1;
        match self.places.get_mut(&fan) {
            Some(place) if !place.came => place.at = At::Lapsed { aged: false },
            _ => drop(self.places.remove(&fan)),
        }
    }

    /// The fan shows up. Answers where the fan is then.
    fn arrive(&mut self, fan: usize) -> Option<Place> {
        if let At::Active { used: false, aged: true } = self.places.get(&fan)?.at {
            self.lapse(fan);
        }
        let place = self.places.get_mut(&fan)?;
        match place.at {
            At::Active { used: true, aged: true } | At::Lapsed { aged: true } => return None,
            At::Lapsed { aged: false } => (place.at, place.came) = (At::Back, true),
            _ => {}
        }
        Some(*place)
    }

    /// Who waits, in the order in which they are called.
    fn queue(&self, at: At) -> Vec<usize> {
        let mut fans: Vec<_> = self.places.iter().filter(|(_, place)| place.at == at).collect();
        fans.sort_by_key(|(_, place)| place.number);
        fans.into_iter().map(|(fan, _)| *fan).collect()
    }

    fn tick(&mut self, due: bool, admit: usize) {
        for fan in 0..FANS {
            match self.places.get(&fan).map(|place| place.at) {
                Some(At::Active { used: true, aged: true } | At::Lapsed { aged: true }) => {
                    self.places.remove(&fan);
                }
                Some(At::Active { used: false, aged: true }) => self.lapse(fan),
                _ => {}
            }
        }
        let line = [self.queue(At::Back), self.queue(At::Waiting)].concat();
        let mut quota = admit;
        if !self.paused {
            quota += self.owed + self.queue(At::Back).len();
            if due {
                quota += self.batch;
            }
        }
        let room = self.limit.saturating_sub(self.active());
        for fan in line.into_iter().take(quota.min(room)) {
            self.activate(fan);
        }
        self.owed = 0;
    }

    fn activate(&mut self, fan: usize) {
        if let Some(place) = self.places.get_mut(&fan) {
            place.at = At::Active { used: false, aged: false };
        }
    }

    fn join(&mut self, fan: usize, number: i64) {
        let slots = self.places.values().filter(|place| matches!(place.at, At::Active { .. })).count();
        let empty = self.queue(At::Waiting).is_empty() && self.queue(At::Back).is_empty();
        let at = if self.idle && !self.paused && empty && slots < self.limit {
            At::Active { used: false, aged: false }
        } else {
            At::Waiting
        };
        self.highest = number;
        self.places.insert(fan, Place { number, at, came: false });
    }

    fn position(&self, fan: usize) -> Option<i64> {
        let place = self.places.get(&fan)?;
        let line = self.queue(place.at);
        line.iter().position(|other| *other == fan).map(|index| index as i64 + 1)
    }
}

/// One history: the model, and the real line.
struct History<'a> {
    instance: &'a Instance,
    redis: redis::aio::MultiplexedConnection,
    concert: Concert,
    fans: Vec<UserId>,
    tokens: Vec<Option<String>>,
    model: Model,
    /// The keys of the line as they were some time ago.
    copy: Vec<(String, Vec<u8>)>,
    operator: UserId,
}

type Step_ = Result<(), TestCaseError>;

fn fail(what: impl Into<String>) -> TestCaseError {
    TestCaseError::fail(what.into())
}

impl<'a> History<'a> {
    async fn new(instance: &'a Instance, redis_url: &str, operator: UserId, idle: bool) -> History<'a> {
        let policy = QueuePolicy {
            interval_secs: 3600,
            batch: 2,
            active_limit: 3,
            idle_admission: idle,
            recovery_hold_secs: 3600,
            ..QueuePolicy::default()
        };
        let catalogue = &instance.api.facades.catalogue;
        let concert = catalogue.create_concert(operator, "Model", "", policy).await.unwrap();
        let on_sale = ConcertChanges { sale_state: Some(SaleState::OnSale), ..ConcertChanges::default() };
        let concert = catalogue.edit_concert(operator, concert.id, None, on_sale).await.unwrap();
        let redis = redis::Client::open(redis_url).unwrap().get_multiplexed_async_connection().await.unwrap();
        let model = Model { places: BTreeMap::new(), highest: 0, limit: 3, batch: 2, idle, paused: false, owed: 0 };
        let fans = (0..FANS).map(|_| UserId(Uuid::new_v4())).collect();
        let mut history =
            Self { instance, redis, concert, fans, tokens: vec![None; FANS], model, copy: vec![], operator };
        history.tick(false, 0).await;
        history.take_copy().await;
        history
    }

    fn key(&self, name: &str) -> String {
        let keys = self.instance.lines.keys(self.concert.id);
        keys.into_iter().find(|key| key.ends_with(&format!(":{name}"))).unwrap()
    }

    async fn take_copy(&mut self) {
        self.copy.clear();
        for key in self.instance.lines.keys(self.concert.id) {
            let dump: Option<Vec<u8>> = redis::cmd("DUMP").arg(&key).query_async(&mut self.redis).await.unwrap();
            self.copy.extend(dump.map(|dump| (key, dump)));
        }
    }

    async fn hset(&mut self, name: &str, field: &str, value: &str) {
        let key = self.key(name);
        let _: () = redis::cmd("HSET").arg(key).arg(field).arg(value).query_async(&mut self.redis).await.unwrap();
    }

    async fn tick(&mut self, due: bool, admit: i64) {
        self.hset("st", "next_at", if due { "1" } else { "99999999999999" }).await;
        self.instance.keeper.tend(&self.concert, admit).await.unwrap();
    }

    async fn edit(&mut self, changes: ConcertChanges) {
        let catalogue = &self.instance.api.facades.catalogue;
        self.concert = catalogue.edit_concert(self.operator, self.concert.id, None, changes).await.unwrap();
    }

    async fn look(&mut self, fan: usize) -> Result<PlaceState, LineError> {
        let token = self.tokens[fan].clone();
        let line = &self.instance.api.facades.line;
        let view = line.status(self.concert.id, self.fans[fan], token.as_deref()).await?;
        if view.token.is_some() {
            self.tokens[fan] = view.token;
        }
        Ok(view.place)
    }

    async fn step(&mut self, step: Step) -> Step_ {
        let (id, line) = (self.concert.id, Arc::clone(&self.instance.api.facades.line));
        match step {
            Step::Join(fan, shows) => {
                let known = self.model.arrive(fan);
                let shown = self.tokens[fan].clone().filter(|_| shows);
                let (new, view) =
                    line.join(id, self.fans[fan], shown.as_deref()).await.map_err(|error| fail(error.to_string()))?;
                if new == known.is_some() {
                    return Err(fail(format!("new: {new}, known: {known:?}")));
                }
                if new {
                    if view.number <= self.model.highest {
                        return Err(fail(format!("number {} after {}", view.number, self.model.highest)));
                    }
                    self.model.places.remove(&fan);
                    self.model.join(fan, view.number);
                }
                self.tokens[fan] = view.token;
            }
            Step::Look(fan) => {
                if self.tokens[fan].is_none() {
                    return Ok(());
                }
                let expected = self.model.arrive(fan);
                match (self.look(fan).await, expected) {
                    (Err(LineError::NotInLine), None) | (Ok(_), Some(_)) => {}
                    (found, expected) => return Err(fail(format!("{expected:?} is {found:?}"))),
                }
            }
            Step::Use(fan) => {
                let Some(token) = self.tokens[fan].clone() else { return Ok(()) };
                let expected = self.model.arrive(fan).map(|place| place.at);
                let passed = self.instance.gate.pass(id, self.fans[fan], Some(&token)).await;
                match (passed, expected) {
                    (Ok(()), Some(At::Active { .. })) => {
                        self.model.places.entry(fan).and_modify(|place| {
                            place.at = At::Active { used: true, aged: false };
                        });
                    }
                    (Err(GateRefusal::Waiting), Some(At::Waiting | At::Back)) | (Err(GateRefusal::Expired), None) => {}
                    (found, expected) => return Err(fail(format!("{expected:?} at the gate: {found:?}"))),
                }
            }
            Step::Leave(fan) => {
                // Who leaves does not show up, so a lapsed turn stays lapsed until it is over.
                let live = self.model.places.get(&fan).is_some_and(|place| match place.at {
                    At::Active { used: true, aged: true } | At::Lapsed { aged: true } => false,
                    At::Active { used: false, aged: true } => !place.came,
                    _ => true,
                });
                if matches!(self.model.places.get(&fan), Some(Place { at: At::Active { used: false, aged: true }, .. }))
                {
                    self.model.owed += 1;
                }
                match (line.leave(id, self.fans[fan], None).await, live) {
                    (Ok(()), true) | (Err(LineError::NotInLine), false) => {}
                    (found, live) => return Err(fail(format!("left: {live}, {found:?}"))),
                }
                self.model.places.remove(&fan);
            }
            Step::Pay(fan) => {
                if let Some(Place { at: At::Active { aged: false, .. }, .. }) = self.model.places.get(&fan) {
                    self.instance.gate.finish(id, self.fans[fan]).await.unwrap();
                    self.model.places.remove(&fan);
                }
            }
            Step::Tick(due) => {
                self.model.tick(due, 0);
                self.tick(due, 0).await;
            }
            Step::Admit(count) => {
                self.model.tick(false, usize::try_from(count).unwrap());
                self.tick(false, count).await;
            }
            Step::Age(fan) => {
                let Some(place) = self.model.places.get_mut(&fan) else { return Ok(()) };
                let key = match &mut place.at {
                    At::Active { aged, .. } => {
                        *aged = true;
                        "act"
                    }
                    At::Lapsed { aged } => {
                        *aged = true;
                        "lapsed"
                    }
                    _ => return Ok(()),
                };
                let (key, fan) = (self.key(key), self.fans[fan].0.as_bytes().to_vec());
                let (secs, micros): (i64, i64) = redis::cmd("TIME").query_async(&mut self.redis).await.unwrap();
                let now = secs * 1_000 + micros / 1_000;
                let _: () =
                    redis::cmd("ZADD").arg(key).arg("XX").arg(now).arg(fan).query_async(&mut self.redis).await.unwrap();
            }
            Step::Limit(limit) => {
                let policy = QueuePolicy { active_limit: limit, ..self.concert.policy };
                self.edit(ConcertChanges { policy: Some(policy), ..ConcertChanges::default() }).await;
                self.model.limit = usize::try_from(limit).unwrap();
                self.model.tick(false, 0);
                self.tick(false, 0).await;
            }
            Step::Pause(paused) => {
                let next = if paused { SaleState::Paused } else { SaleState::OnSale };
                self.edit(ConcertChanges { sale_state: Some(next), ..ConcertChanges::default() }).await;
                self.model.paused = paused;
                self.model.tick(false, 0);
                self.tick(false, 0).await;
            }
            Step::Lose(loss) => self.lose(loss).await?,
        }
        Ok(())
    }

    /// The line's store is lost, and every fan who has a place shows the token. Everybody must be where they were.
    async fn lose(&mut self, loss: Loss) -> Step_ {
        // What the model says must be in the database by now; half a second passes.
        self.model.tick(false, 0);
        self.tick(false, 0).await;
        match loss {
            Loss::Restarted => self.hset("st", "run", "somebody else").await,
            Loss::Empty | Loss::Old => {
                let keys = self.instance.lines.keys(self.concert.id);
                let _: () = redis::cmd("DEL").arg(&keys).query_async(&mut self.redis).await.unwrap();
                if matches!(loss, Loss::Old) {
                    for (key, dump) in self.copy.clone() {
                        let _: () =
                            redis::cmd("RESTORE").arg(key).arg(0).arg(dump).query_async(&mut self.redis).await.unwrap();
                    }
                    self.hset("st", "run", "somebody else").await;
                }
            }
        }
        // The order in which they show up does not matter; here the last comes first.
        for fan in (0..FANS).rev() {
            let expected = self.model.arrive(fan);
            if self.tokens[fan].is_none() {
                continue;
            }
            match (self.look(fan).await, expected) {
                (Err(LineError::NotInLine), None) | (Ok(_), Some(_)) => {}
                (found, expected) => return Err(fail(format!("after {loss:?} fan {fan}, {expected:?}, is {found:?}"))),
            }
        }
        self.instance.keeper.revive(&self.concert).await.unwrap();
        self.hset("st", "hold_until", "0").await;
        // What was owed for lapsed turns is forgotten with the store.
        self.model.owed = 0;
        self.model.tick(false, 0);
        self.tick(false, 0).await;
        self.take_copy().await;
        Ok(())
    }

    /// Everybody is where the model says.
    async fn compare(&mut self) -> Step_ {
        let snapshot = self.instance.keeper.snapshots.renewed(self.concert.id).await.unwrap().unwrap();
        let (active, limit) = (snapshot.stats.active, self.model.active() as i64);
        if active != limit {
            return Err(fail(format!("{active} active, {limit} expected")));
        }
        for fan in 0..FANS {
            let Some(place) = self.model.places.get(&fan).copied() else { continue };
            let expected = match place.at {
                At::Waiting | At::Back => PlaceState::Waiting { position: self.model.position(fan).unwrap() },
                // Looking would bring the fan back, which is a step of its own.
                At::Lapsed { .. } | At::Active { aged: true, .. } => continue,
                At::Active { .. } => match self.look(fan).await {
                    Ok(PlaceState::Active { .. }) => continue,
                    found => return Err(fail(format!("fan {fan} is active, and is {found:?}"))),
                },
            };
            match self.look(fan).await {
                Ok(found) if found == expected => {}
                found => return Err(fail(format!("fan {fan}, {place:?}, {expected:?}, is {found:?}"))),
            }
        }
        Ok(())
    }

    /// The log of the whole history holds together, and says that the line was fair.
    async fn finish(&mut self) -> Step_ {
        self.tick(false, 0).await;
        let records = &self.instance.api.facades.line_records;
        let log = records.log(self.concert.id, 0, 100_000).await.unwrap();
        check_log(log).map_err(|error| fail(error.to_string()))?;
        let report = records.report(self.concert.id).await.unwrap();
        if report.fairness.inversions != 0 || report.fairness.above_limit != 0 {
            return Err(fail(format!("{report:?}")));
        }
        let _: () = redis::cmd("DEL")
            .arg(&self.instance.lines.keys(self.concert.id))
            .query_async(&mut self.redis)
            .await
            .unwrap();
        Ok(())
    }
}

#[test]
fn thousands_of_random_histories_end_where_the_model_says() {
    const THREADS: usize = 4;
    let histories: u32 =
        std::env::var("ONSALE_MODEL_HISTORIES").ok().and_then(|count| count.parse().ok()).unwrap_or(400);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let world = runtime.block_on(World::new());
    let app = runtime.block_on(world.app());
    let operator = runtime.block_on(async {
        let accounts = &app.instance.api.facades.accounts;
        let role = onsale_domain::account::Role::Operator;
        accounts.create("model@example.org", "operator password", "Model", role).await.unwrap().id
    });
    let (run, stepped, lost) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (world, app, runtime, run, stepped, lost) = (&world, &app, &runtime, &run, &stepped, &lost);
            scope.spawn(move || {
                let config = Config {
                    cases: histories / THREADS as u32,
                    failure_persistence: None,
                    max_shrink_iters: 200,
                    ..Config::default()
                };
                let mut seed = [7_u8; 32];
                seed[0] = u8::try_from(thread).unwrap();
                let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
                let mut runner = TestRunner::new_with_rng(config, rng);
                let outcome = runner.run(&(steps(), any::<bool>()), |(steps, idle)| {
                    runtime.block_on(async {
                        let mut history = History::new(&app.instance, &world.redis_url, operator, idle).await;
                        for (index, step) in steps.iter().enumerate() {
                            let mut result = history.step(*step).await;
                            if result.is_ok() {
                                result = history.compare().await;
                            }
                            result.map_err(|error| fail(format!("step {index}, {step:?}: {error}")))?;
                            stepped.fetch_add(1, Ordering::Relaxed);
                            lost.fetch_add(usize::from(matches!(step, Step::Lose(_))), Ordering::Relaxed);
                        }
                        run.fetch_add(1, Ordering::Relaxed);
                        history.finish().await
                    })
                });
                if let Err(error) = outcome {
                    panic!("{error}");
                }
            });
        }
    });
    eprintln!("{run:?} histories, {stepped:?} steps, {lost:?} losses of the line's store");
    runtime.block_on(async {
        app.stop().await;
        world.close().await;
    });
}
