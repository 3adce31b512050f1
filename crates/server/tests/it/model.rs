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
    idempotency::Idempotent,
    line::{Gate, GateRefusal, LineError, PlaceState, Purpose},
    seat_maps::SeatMapStore,
    selling::{Payment, Reservation, ReserveError},
};
use onsale_domain::{
    concert::SaleState,
    ids::{ReservationId, ShowId, UserId},
    queue::{QueuePolicy, check_log},
    seat::{SeatBlock, SeatChoice, SeatState, seats_from},
};
use onsale_server::wiring::Instance;
use onsale_test_support::{Sql, World};
use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner},
};

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
    /// Holds a seat.
    Hold(usize),
    /// Pays what the fan holds.
    Pay(usize),
    Release(usize),
    /// The time of a hold is over.
    AgeHold(usize),
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
        3 => fan.clone().prop_map(Step::Hold),
        2 => fan.clone().prop_map(Step::Pay),
        1 => fan.clone().prop_map(Step::Release),
        1 => fan.clone().prop_map(Step::AgeHold),
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

/// A live hold, and the number of the turn in which it was made.
#[derive(Debug, Clone)]
struct Held {
    reservation: ReservationId,
    turn: i64,
}

/// What is left of a turn that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    /// The next sweep asks the database whether a hold keeps it.
    Asked,
    /// A hold keeps it.
    Kept,
}

/// What the line should be.
#[derive(Debug, Clone)]
struct Model {
    places: BTreeMap<usize, Place>,
    holds: BTreeMap<usize, Held>,
    slots: BTreeMap<usize, Slot>,
    highest: i64,
    limit: usize,
    batch: usize,
    idle: bool,
    paused: bool,
    owed: usize,
    /// Whether anybody has ever been called.
    called: bool,
}

impl Model {
    fn active(&self) -> usize {
        let live = |place: &&Place| matches!(place.at, At::Active { aged: false, .. });
        self.places.values().filter(live).count() + self.slots.len()
    }

    /// The turn is over; its slot is not free before the next sweep.
    fn end_turn(&mut self, fan: usize) {
        self.slots.insert(fan, Slot::Asked);
    }

    fn lapse(&mut self, fan: usize) {
        self.owed += 1;
        self.end_turn(fan);
        match self.places.get_mut(&fan) {
            Some(place) if !place.came => place.at = At::Lapsed { aged: false },
            _ => drop(self.places.remove(&fan)),
        }
    }

    /// Where the fan is. Whoever looks finds a turn lapsed whose claim window is over.
    fn look(&mut self, fan: usize) -> Option<Place> {
        if let At::Active { used: false, aged: true } = self.places.get(&fan)?.at {
            self.lapse(fan);
        }
        let place = self.places.get(&fan)?;
        let over = matches!(place.at, At::Active { used: true, aged: true } | At::Lapsed { aged: true });
        (!over).then_some(*place)
    }

    /// The fan shows up. Answers where the fan is then.
    fn arrive(&mut self, fan: usize) -> Option<Place> {
        self.look(fan)?;
        let place = self.places.get_mut(&fan)?;
        if place.at == (At::Lapsed { aged: false }) {
            (place.at, place.came) = (At::Back, true);
        }
        Some(*place)
    }

    /// Who waits, in the order in which they are called.
    fn queue(&self, at: At) -> Vec<usize> {
        let mut fans: Vec<_> = self.places.iter().filter(|(_, place)| place.at == at).collect();
        fans.sort_by_key(|(_, place)| place.number);
        fans.into_iter().map(|(fan, _)| *fan).collect()
    }

    /// Ends what is over, and frees slots that no hold keeps.
    fn sweep(&mut self) {
        for fan in 0..FANS {
            match self.places.get(&fan).map(|place| place.at) {
                Some(At::Active { used: true, aged: true }) => {
                    self.places.remove(&fan);
                    self.end_turn(fan);
                }
                Some(At::Lapsed { aged: true }) => drop(self.places.remove(&fan)),
                Some(At::Active { used: false, aged: true }) => self.lapse(fan),
                _ => {}
            }
        }
        let holds = &self.holds;
        self.slots.retain(|fan, slot| {
            *slot = Slot::Kept;
            holds.contains_key(fan)
        });
    }

    fn tick(&mut self, due: bool, admit: usize) {
        self.sweep();
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
        self.called = true;
        if let Some(place) = self.places.get_mut(&fan) {
            place.at = At::Active { used: false, aged: false };
            self.slots.remove(&fan);
        }
    }

    fn join(&mut self, fan: usize, number: i64) {
        let turns = self.places.values().filter(|place| matches!(place.at, At::Active { .. })).count();
        let slots = turns + self.slots.len();
        let empty = self.queue(At::Waiting).is_empty() && self.queue(At::Back).is_empty();
        let at = if self.idle && !self.paused && empty && slots < self.limit {
            At::Active { used: false, aged: false }
        } else {
            At::Waiting
        };
        self.highest = number;
        if at != At::Waiting {
            self.called = true;
            self.slots.remove(&fan);
        }
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
    show: ShowId,
    fans: Vec<UserId>,
    tokens: Vec<Option<String>>,
    model: Model,
    /// The keys of the line as they were some time ago.
    copy: Vec<(String, Vec<u8>)>,
    operator: UserId,
    sql: Sql,
}

type Step_ = Result<(), TestCaseError>;

fn fail(what: impl Into<String>) -> TestCaseError {
    TestCaseError::fail(what.into())
}

impl<'a> History<'a> {
    async fn new(
        instance: &'a Instance,
        redis_url: &str,
        sql: Sql,
        operator: UserId,
        fans: Vec<UserId>,
        idle: bool,
    ) -> History<'a> {
        let policy = QueuePolicy {
            interval_secs: 3600,
            batch: 2,
            active_limit: 3,
            idle_admission: idle,
            ..QueuePolicy::default()
        };
        let catalogue = &instance.api.facades.catalogue;
        let concert = catalogue.create_concert(operator, "Model", "", policy).await.unwrap();
        let starts_at = "2100-01-01T10:00:00Z".parse().unwrap();
        let show = catalogue.create_show(concert.id, "Hall", starts_at, 3600, 20).await.unwrap().id;
        let block = SeatBlock { section: "A".to_owned(), rows: 1, seats_per_row: 40, price_minor: 0 };
        catalogue.add_seats(show, seats_from(&[block], vec![]).unwrap()).await.unwrap();
        let on_sale = ConcertChanges { sale_state: Some(SaleState::OnSale), ..ConcertChanges::default() };
        let concert = catalogue.edit_concert(operator, concert.id, None, on_sale).await.unwrap();
        let redis = redis::Client::open(redis_url).unwrap().get_multiplexed_async_connection().await.unwrap();
        let model = Model {
            places: BTreeMap::new(),
            holds: BTreeMap::new(),
            slots: BTreeMap::new(),
            highest: 0,
            limit: 3,
            batch: 2,
            idle,
            paused: false,
            owed: 0,
            called: false,
        };
        let mut history =
            Self { instance, redis, concert, show, fans, tokens: vec![None; FANS], model, copy: vec![], operator, sql };
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
        self.instance.keeper.tick_and_admit(&self.concert, admit).await.unwrap();
    }

    /// The fan's time in one of the sorted sets is over.
    async fn age(&mut self, name: &str, fan: usize) {
        let (key, fan) = (self.key(name), self.fans[fan].0.as_bytes().to_vec());
        let (secs, micros): (i64, i64) = redis::cmd("TIME").query_async(&mut self.redis).await.unwrap();
        let now = secs * 1_000 + micros / 1_000;
        let _: () = redis::cmd("ZADD").arg(key).arg("XX").arg(now).arg(fan).query_async(&mut self.redis).await.unwrap();
    }

    async fn hold(&mut self, fan: usize) -> Step_ {
        let Some(token) = self.tokens[fan].clone() else { return Ok(()) };
        let map = self.instance.postgres.load_seat_map(self.show).await.unwrap().unwrap();
        let Some(free) = map.seats.iter().find(|seat| seat.state == SeatState::Available) else { return Ok(()) };
        let choices = vec![SeatChoice { seat_id: free.id, version: free.version }];
        let made = Arc::new(std::sync::Mutex::new(None));
        let render = {
            let made = Arc::clone(&made);
            Box::new(move |reservation: &Reservation| {
                *made.lock().unwrap() = Some(reservation.id);
                String::new()
            })
        };
        let expected = self.model.arrive(fan);
        let selling = &self.instance.api.facades.selling;
        let idempotent = Idempotent { key: None, render };
        let reserved = selling.reserve(self.show, self.fans[fan], Some(token), choices, idempotent).await;
        let holds = self.model.holds.contains_key(&fan);
        match (reserved, expected) {
            (Ok(_), Some(Place { number, at: At::Active { .. }, .. })) if !holds => {
                let reservation = made.lock().unwrap().unwrap();
                self.model.holds.insert(fan, Held { reservation, turn: number });
            }
            (Err(ReserveError::ReservationExists(_)), Some(Place { at: At::Active { .. }, .. })) if holds => {}
            (Err(ReserveError::Gate(GateRefusal::Waiting)), Some(Place { at: At::Waiting | At::Back, .. }))
            | (Err(ReserveError::Gate(GateRefusal::Expired)), None) => return Ok(()),
            (found, expected) => return Err(fail(format!("{expected:?}, holds: {holds}, reserves: {found:?}"))),
        }
        // Reserving is using the turn.
        self.model.places.entry(fan).and_modify(|place| place.at = At::Active { used: true, aged: false });
        Ok(())
    }

    async fn edit(&mut self, changes: ConcertChanges) {
        let catalogue = &self.instance.api.facades.catalogue;
        self.concert = catalogue.edit_concert(self.operator, self.concert.id, None, changes).await.unwrap();
    }

    async fn look(&mut self, fan: usize) -> Result<PlaceState, LineError> {
        let token = self.tokens[fan].clone();
        let line = &self.instance.api.facades.line;
        let view = line.place(self.concert.id, self.fans[fan], token.as_deref()).await?;
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
                if known.is_none()
                    && self.model.places.remove(&fan).is_some_and(|place| matches!(place.at, At::Active { .. }))
                {
                    self.model.end_turn(fan);
                }
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
                    self.model.join(fan, view.number);
                }
                self.tokens[fan] = view.token;
            }
            Step::Look(fan) => {
                if self.tokens[fan].is_none() {
                    return Ok(());
                }
                let expected = self.model.look(fan);
                match (self.look(fan).await, expected) {
                    (Err(LineError::NotInLine), None) | (Ok(_), Some(_)) => {}
                    (found, expected) => return Err(fail(format!("{expected:?} is {found:?}"))),
                }
            }
            Step::Use(fan) => {
                let Some(token) = self.tokens[fan].clone() else { return Ok(()) };
                let expected = self.model.arrive(fan).map(|place| place.at);
                let passed = self.instance.gate.pass(id, self.fans[fan], Some(&token), Purpose::See).await;
                match (passed, expected) {
                    (Ok(_), Some(At::Active { .. })) => {
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
                let before = self.model.places.get(&fan).map(|place| place.at);
                let live = self.model.look(fan);
                match (line.leave(id, self.fans[fan], None).await, live) {
                    (Ok(()), Some(_)) | (Err(LineError::NotInLine), None) => {}
                    (found, live) => return Err(fail(format!("left: {live:?}, {found:?}"))),
                }
                self.model.places.remove(&fan);
                match (before, live) {
                    (_, Some(Place { at: At::Active { .. }, .. })) => {
                        self.model.end_turn(fan);
                        self.model.sweep();
                    }
                    (Some(At::Active { .. }), None) => self.model.end_turn(fan),
                    _ => {}
                }
            }
            Step::Hold(fan) => self.hold(fan).await?,
            Step::Pay(fan) => {
                // Whoever has a live hold can pay, whatever became of the turn, the line and the sale.
                let Some(held) = self.model.holds.remove(&fan) else { return Ok(()) };
                let render = Box::new(|_: &Payment| String::new());
                let selling = &self.instance.api.facades.selling;
                let paid = selling.pay(held.reservation, self.fans[fan], Idempotent { key: None, render }).await;
                paid.map_err(|error| fail(format!("a live hold is not paid: {error}")))?;
                let place = self.model.places.get(&fan);
                if place.is_some_and(|place| place.number == held.turn && matches!(place.at, At::Active { .. })) {
                    let over = self.model.look(fan).is_none();
                    self.model.places.remove(&fan);
                    self.model.end_turn(fan);
                    if !over {
                        self.model.sweep();
                    }
                } else if self.model.slots.contains_key(&fan) {
                    self.model.sweep();
                }
            }
            Step::Release(fan) => {
                let Some(held) = self.model.holds.remove(&fan) else { return Ok(()) };
                let released = self.instance.api.facades.selling.release(held.reservation, self.fans[fan]).await;
                released.map_err(|error| fail(format!("a live hold is not released: {error}")))?;
                if !matches!(self.model.places.get(&fan), Some(Place { at: At::Active { .. }, .. })) {
                    self.model.sweep();
                }
            }
            Step::AgeHold(fan) => {
                let Some(held) = self.model.holds.remove(&fan) else { return Ok(()) };
                let over = format!(
                    "UPDATE reservations SET expires_at = clock_timestamp() WHERE id = '{0}';
                     UPDATE seats SET held_until = clock_timestamp() WHERE reservation_id = '{0}'",
                    held.reservation
                );
                self.sql.run(&over).await.unwrap();
                if self.model.slots.get(&fan) == Some(&Slot::Kept) {
                    self.model.slots.remove(&fan);
                    self.age("kept", fan).await;
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
                self.age(key, fan).await;
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

    /// The line's store is lost. Everybody must be where they were.
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
        // Nobody shows a token, or does anything.
        self.instance.keeper.load(&self.concert).await.unwrap();
        // What was owed for lapsed turns is forgotten with the store; the beat goes on from the last call.
        self.model.owed = 0;
        self.model.tick(!self.model.called, 0);
        self.instance.keeper.write_news(&self.concert).await.unwrap();
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
                At::Lapsed { aged: false } => match self.look(fan).await {
                    // Looking does not bring the fan back.
                    Ok(PlaceState::Lapsed { .. }) => continue,
                    found => return Err(fail(format!("the turn of fan {fan} lapsed, and is {found:?}"))),
                },
                At::Lapsed { aged: true } | At::Active { aged: true, .. } => continue,
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
        let facades = &self.instance.api.facades;
        let log = facades.line_records.log(self.concert.id, 0, 100_000).await.unwrap();
        check_log(log).map_err(|error| fail(error.to_string()))?;
        let report = facades.line.report(self.concert.id).await.unwrap();
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

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_random_histories_end_where_the_model_says() {
    const THREADS: usize = 4;
    let histories: u32 =
        std::env::var("ONSALE_MODEL_HISTORIES").ok().and_then(|count| count.parse().ok()).unwrap_or(400);
    World::with(async |world| {
        let app = world.app().await;
        let accounts = &app.instance.api.facades.accounts;
        let role = onsale_domain::account::Role::Operator;
        let operator = accounts.create("model@example.org", "operator password", "Model", role).await.unwrap().id;
        let (run, stepped, lost) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        // Waiting for threads blocks this one, which is a test's own and none of the runtime's workers.
        let (world, runtime) = (&*world, tokio::runtime::Handle::current());
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (app, runtime, run, stepped, lost) = (&app, &runtime, &run, &stepped, &lost);
                scope.spawn(move || {
                    let fans = runtime.block_on(app.fans(FANS, 0));
                    let fans: Vec<UserId> = fans.iter().map(|fan| UserId(fan.user_id.parse().unwrap())).collect();
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
                            let sql = world.sql().await;
                            let fans = fans.clone();
                            let mut history =
                                History::new(&app.instance, &world.redis_url, sql, operator, fans, idle).await;
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
    })
    .await;
}
