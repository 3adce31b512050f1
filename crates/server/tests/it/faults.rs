//! Three server processes, one Redis, one PostgreSQL, many fans, and faults at random; afterwards the histories of the
//! fans and the published log must show that nobody was lost, overtaken or doubled and that the limit held.
//!
//! `ONSALE_FAULT_ROUNDS` is how many faults are injected (12 when not set), `ONSALE_FAULT_SEED` chooses them.

use std::{
    collections::{BTreeMap, HashMap},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use deadpool_redis::redis;
use onsale_domain::queue::check_log;
use onsale_local_stack::{Stack, StackConfig};
use onsale_test_support::{App, Client, Sale, World};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tokio::sync::RwLock;

use crate::crash::Server;

const LIMIT: usize = 6;
const FANS: usize = 60;

/// What one fan saw, as the fan can know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Saw {
    /// A place with this number, waiting.
    Waiting(i64),
    /// The gate let the fan through.
    Passed,
    /// The fan has used the turn and ends it.
    Finished,
    /// The line said that there is no place, though the fan had not ended it.
    Lost,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    fan: usize,
    at: Duration,
    saw: Saw,
}

/// Everything that is wrong with what the fans saw.
fn faults_of(history: &[Entry], limit: usize) -> Vec<String> {
    let mut faults = vec![];
    let (mut owner, mut number) = (HashMap::new(), HashMap::new());
    let mut spans: BTreeMap<usize, (Duration, Duration)> = BTreeMap::new();
    for entry in history {
        match entry.saw {
            Saw::Waiting(n) => {
                if *owner.entry(n).or_insert(entry.fan) != entry.fan {
                    faults.push(format!("number {n} was given to two fans"));
                }
                let before = *number.entry(entry.fan).or_insert(n);
                if before != n {
                    faults.push(format!("fan {} had number {before} and got {n}", entry.fan));
                }
            }
            Saw::Passed => {
                let span = spans.entry(entry.fan).or_insert((entry.at, entry.at));
                span.1 = span.1.max(entry.at);
            }
            Saw::Lost => faults.push(format!("fan {} lost the place at {:?}", entry.fan, entry.at)),
            Saw::Finished => {}
        }
    }
    // Between two passes a fan was active all the time.
    for (start, _) in spans.values() {
        let together = spans.values().filter(|(from, to)| from <= start && start <= to).count();
        if together > limit {
            faults.push(format!("{together} fans were active at {start:?}, {limit} may be"));
        }
    }
    faults.sort();
    faults.dedup();
    faults
}

struct Crowd {
    bases: RwLock<Vec<String>>,
    history: Mutex<Vec<Entry>>,
    started: Instant,
    stop: AtomicBool,
}

impl Crowd {
    fn note(&self, fan: usize, saw: Saw) {
        self.history.lock().unwrap().push(Entry { fan, at: self.started.elapsed(), saw });
    }

    /// One request to whichever server is there; `None` when there was no answer or a 503.
    async fn ask(&self, client: &Client, turn: usize, method: &str, path: &str) -> Option<(u16, Value)> {
        let bases = self.bases.read().await.clone();
        let client = client.at(&bases[turn % bases.len()]);
        let asked = tokio::time::timeout(Duration::from_secs(3), client.try_raw(method, path, &[], None)).await;
        let answer = asked.ok()?.ok()?;
        (answer.status != 503 && answer.status != 500).then_some((answer.status, answer.json))
    }

    /// Joins, keeps asking with the token, passes the gate for a while when active, and ends the turn.
    async fn fan(self: Arc<Self>, index: usize, mut client: Client, sale: Sale, chance: u64) {
        let mut chance = StdRng::seed_from_u64(chance);
        let (joins, me) =
            (format!("concerts/{}/queue/tokens", sale.concert), format!("concerts/{}/queue/tokens/me", sale.concert));
        let seats = format!("shows/{}/seats", sale.show);
        let mut turn = index;
        let mut passes = 0;
        while !self.stop.load(Ordering::Relaxed) {
            turn += 1;
            tokio::time::sleep(Duration::from_millis(chance.random_range(50..250))).await;
            if client.queue_token.is_none() {
                let Some((status, place)) = self.ask(&client, turn, "POST", &joins).await else { continue };
                if status == 200 || status == 201 {
                    client.queue_token = place["token"].as_str().map(str::to_owned);
                    if place["state"] == "waiting" {
                        self.note(index, Saw::Waiting(place["number"].as_i64().unwrap()));
                    }
                }
                continue;
            }
            let Some((status, place)) = self.ask(&client, turn, "GET", &me).await else { continue };
            match (status, place["state"].as_str()) {
                (200, Some("waiting")) => {
                    client.queue_token = place["token"].as_str().map(str::to_owned);
                    self.note(index, Saw::Waiting(place["number"].as_i64().unwrap()));
                }
                (200, Some("active")) => {
                    client.queue_token = place["token"].as_str().map(str::to_owned);
                    let Some((200, _)) = self.ask(&client, turn, "GET", &seats).await else { continue };
                    self.note(index, Saw::Passed);
                    passes += 1;
                    if passes < 4 {
                        continue;
                    }
                    self.note(index, Saw::Finished);
                    loop {
                        turn += 1;
                        match self.ask(&client, turn, "DELETE", &me).await {
                            Some((204 | 404, _)) => return,
                            _ => tokio::time::sleep(Duration::from_millis(100)).await,
                        }
                    }
                }
                // Turns of fans who use them do not end by themselves within a test.
                (404, _) => {
                    self.note(index, Saw::Lost);
                    return;
                }
                (other, _) => panic!("fan {index} was told {other}: {place}"),
            }
        }
    }
}

/// What is done to the system, one at a time.
#[derive(Debug, Clone, Copy)]
enum Fault {
    KillRedis,
    EmptyRedis,
    FlushAll,
    ScriptFlush,
    PauseRedis,
    KillServer,
    StopServer,
    TerminatePostgres,
    KillPostgres,
}

const ALL: [Fault; 9] = [
    Fault::KillRedis,
    Fault::EmptyRedis,
    Fault::FlushAll,
    Fault::ScriptFlush,
    Fault::PauseRedis,
    Fault::KillServer,
    Fault::StopServer,
    Fault::TerminatePostgres,
    Fault::KillPostgres,
];

struct Arena {
    _folder: tempfile::TempDir,
    stack: Stack,
    world: World,
    app: App,
    sale: Sale,
    servers: Vec<Server>,
    crowd: Arc<Crowd>,
}

impl Arena {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = StackConfig { data_dir: folder.path().to_owned(), durable: true, max_connections: 120 };
        let stack = Stack::start(config).await.unwrap();
        let mut world = World::on(stack.database_url(), stack.redis_url()).await;
        for (name, value) in [
            ("ONSALE_REDIS_TIMEOUT_MS", "1000"),
            ("ONSALE_REDIS_CACHE_TIMEOUT_MS", "200"),
            ("ONSALE_LINE_SNAPSHOT_MS", "250"),
            ("ONSALE_LOG_FILTER", "warn,onsale_server=info"),
        ] {
            world.set(name, value);
        }
        let app = world.app().await;
        let policy = json!({ "interval_secs": 1, "batch": 3, "active_limit": LIMIT, "idle_admission": true,
            "active_sliding_secs": 300, "active_absolute_secs": 900, "claim_secs": 60, "waiting_limit": 1000 });
        let sale = app.sale_with(4, 100, policy).await;
        let servers: Vec<Server> = (0..3).map(|_| Server::start(&world)).collect();
        let crowd = Arc::new(Crowd {
            bases: RwLock::new(servers.iter().map(|server| server.base.clone()).collect()),
            history: Mutex::new(vec![]),
            started: Instant::now(),
            stop: AtomicBool::new(false),
        });
        Self { _folder: folder, stack, world, app, sale, servers, crowd }
    }

    /// A command for Redis, again and again while it is paused.
    async fn redis(&self, words: &[&str]) {
        let client = redis::Client::open(self.stack.redis_url()).unwrap();
        loop {
            if let Ok(mut redis) = client.get_multiplexed_async_connection().await
                && redis::cmd(words[0]).arg(&words[1..]).query_async::<()>(&mut redis).await.is_ok()
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn inject(&mut self, fault: Fault, chance: &mut StdRng) {
        match fault {
            Fault::KillRedis => {
                self.stack.kill_redis().await;
                self.stack.start_redis(true).await.unwrap();
            }
            Fault::EmptyRedis => {
                self.stack.kill_redis().await;
                self.stack.start_redis(false).await.unwrap();
            }
            Fault::FlushAll => self.redis(&["FLUSHALL"]).await,
            Fault::ScriptFlush => self.redis(&["SCRIPT", "FLUSH"]).await,
            Fault::PauseRedis => self.redis(&["CLIENT", "PAUSE", "1500"]).await,
            Fault::KillServer => {
                let index = chance.random_range(0..self.servers.len());
                self.servers.remove(index).kill();
                self.servers.push(Server::start(&self.world));
                *self.crowd.bases.write().await = self.servers.iter().map(|server| server.base.clone()).collect();
            }
            Fault::StopServer => {
                let id = self.servers[chance.random_range(0..self.servers.len())].id().to_string();
                let signal = |name: &str| Command::new("kill").args([name, &id]).status().unwrap();
                signal("-STOP");
                tokio::time::sleep(Duration::from_millis(2_500)).await;
                signal("-CONT");
            }
            Fault::KillPostgres => {
                self.stack.kill_postgres().await;
                self.stack.start_postgres().await.unwrap();
            }
            Fault::TerminatePostgres => {
                let mut sql = self.world.sql().await;
                sql.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'")
                    .await
                    .unwrap();
            }
        }
    }

    fn start_fans(&self, clients: Vec<Client>, from: usize) -> tokio::task::JoinSet<()> {
        let mut fans = tokio::task::JoinSet::new();
        for (index, client) in clients.into_iter().enumerate() {
            let fan = Arc::clone(&self.crowd).fan(from + index, client, self.sale.clone(), (from + index) as u64);
            fans.spawn(fan);
        }
        fans
    }

    async fn stop(self) {
        for server in self.servers {
            server.kill();
        }
        self.app.stop().await;
        self.stack.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_at_random_lose_nobody_double_nobody_and_never_exceed_the_limit() {
    let number =
        |name: &str, default: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (rounds, seed) = (number("ONSALE_FAULT_ROUNDS", 12), number("ONSALE_FAULT_SEED", 20_261_121));
    let mut chance = StdRng::seed_from_u64(seed);
    let mut arena = Arena::new().await;
    let clients = arena.app.fans(FANS, 0).await;
    let mut fans = arena.start_fans(clients, 0);
    let mut injected = BTreeMap::new();
    for round in 0..rounds {
        let pause = chance.random_range(300..1_500);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        // Each kind at least once, then as it comes.
        let fault = ALL[if round < 9 { round as usize } else { chance.random_range(0..ALL.len()) }];
        arena.inject(fault, &mut chance).await;
        *injected.entry(format!("{fault:?}")).or_insert(0) += 1;
    }
    // After the last fault everybody gets through, and new fans can join at once (I9).
    let healed = Instant::now();
    let mut late = arena.app.fans(1, 0).await.remove(0);
    loop {
        let path = format!("concerts/{}/queue/tokens", arena.sale.concert);
        if arena.crowd.ask(&late, 0, "POST", &path).await.is_some_and(|(status, _)| status == 201 || status == 200) {
            break;
        }
        assert!(healed.elapsed() < Duration::from_secs(20), "nobody can join after the faults");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let back = healed.elapsed();
    late.queue_token = None;
    late.delete(&format!("concerts/{}/queue/tokens/me", arena.sale.concert)).await;
    let all = async { while fans.join_next().await.transpose().unwrap().is_some() {} };
    let done = tokio::time::timeout(Duration::from_mins(2), all).await;
    arena.crowd.stop.store(true, Ordering::Relaxed);
    let history = arena.crowd.history.lock().unwrap().clone();
    let finished = history.iter().filter(|entry| entry.saw == Saw::Finished).count();
    assert_eq!(faults_of(&history, LIMIT), Vec::<String>::new(), "seed {seed}");
    assert!(done.is_ok() && finished == FANS, "{finished} of {FANS} fans got through, seed {seed}");
    // What the line itself has written down agrees.
    let lane = crate::lane::Lane::at(arena.stack.redis_url(), &arena.app, &arena.sale).await;
    lane.tick().await;
    let facades = &arena.app.instance.api.facades;
    check_log(facades.line_records.log(lane.concert.id, 0, 1_000_000).await.unwrap()).unwrap();
    let report = facades.line.report(lane.concert.id).await.unwrap();
    assert_eq!((report.fairness.inversions, report.fairness.above_limit), (0, 0), "{report:?}, seed {seed}");
    assert!(report.fairness.highest_active <= LIMIT as i64);
    eprintln!(
        "{} answers to {FANS} fans checked, {rounds} faults {injected:?}, {} lives, join works {back:?} after the last, seed {seed}",
        history.len(),
        report.lives
    );
    arena.stop().await;
}

/// The checks see what they are for: the same arena, with the database made to forget.
#[tokio::test(flavor = "multi_thread")]
async fn negative_controls_a_forgetful_database_is_found_out() {
    let mut arena = Arena::new().await;
    let mut fans = arena.start_fans(arena.app.fans(20, 0).await, 0);
    let waiting = || {
        let history = arena.crowd.history.lock().unwrap();
        history.iter().filter(|entry| matches!(entry.saw, Saw::Waiting(_))).count()
    };
    while waiting() < 30 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Places forgotten, and Redis empty, while no server is there to record them again.
    fans.abort_all();
    arena.servers.clear();
    let mut sql = arena.world.sql().await;
    sql.run("UPDATE lines SET seq = 0, passed = 0").await.unwrap();
    sql.run("DELETE FROM line_places").await.unwrap();
    arena.redis(&["FLUSHALL"]).await;
    arena.servers = (0..3).map(|_| Server::start(&arena.world)).collect();
    *arena.crowd.bases.write().await = arena.servers.iter().map(|server| server.base.clone()).collect();
    let fresh = arena.app.fans(20, 0).await;
    let more = arena.start_fans(fresh, 20);
    let seen = || faults_of(&arena.crowd.history.lock().unwrap(), LIMIT);
    let found = tokio::time::timeout(Duration::from_mins(1), async {
        while !seen().iter().any(|fault| fault.contains("given to two fans")) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    assert!(found.await.is_ok(), "the checks are blind: {:?}", seen());
    drop(more);
    arena.stop().await;
}

#[test]
fn negative_controls_each_check_fails_on_a_history_that_is_wrong() {
    let at = |fan, secs, saw| Entry { fan, at: Duration::from_secs(secs), saw };
    let fine = [at(0, 1, Saw::Waiting(1)), at(1, 1, Saw::Waiting(2)), at(0, 2, Saw::Passed), at(0, 3, Saw::Passed)];
    assert!(faults_of(&fine, 1).is_empty());
    let wrong = |entry: Entry, limit: usize| faults_of(&[fine.as_slice(), &[entry]].concat(), limit).len();
    assert_eq!(wrong(at(2, 3, Saw::Waiting(2)), 1), 1, "a number twice");
    assert_eq!(wrong(at(1, 3, Saw::Waiting(9)), 1), 1, "a number that changes");
    assert_eq!(wrong(at(1, 3, Saw::Lost), 1), 1, "a place that is gone");
    assert_eq!(wrong(at(1, 2, Saw::Passed), 1), 1, "two where one may be");
    assert_eq!(wrong(at(1, 2, Saw::Passed), 2), 0);
}
