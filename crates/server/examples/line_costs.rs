//! What a line costs: polls and joins with 10,000 and with 1,000,000 waiting, promotions, bytes of Redis per fan, the
//! opening draw, loading, open event streams. Prints figures of one run; times nothing as a test.
//!
//!   target/release/onsale stack exec -- target/release/examples/line_costs [crowd [streams | costs | load | draw]]
//!
//! Needs the release binaries `onsale` and `bare_route` beside it, and wrk.
#![allow(missing_docs, clippy::pedantic, clippy::restriction, clippy::disallowed_methods, reason = "a measurement")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::print_stdout, clippy::panic)]

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use deadpool_redis::redis;
use futures_util::{StreamExt, stream};
use onsale_application::{
    catalogue::{Concert, ConcertChanges},
    line::{Joined, QueueTokens, TokenClaims},
};
use onsale_domain::{
    concert::SaleState,
    ids::{ConcertId, UserId},
    seat::{SeatBlock, seats_from},
};
use onsale_infrastructure::security::SignedQueueTokens;
use onsale_server::mint;
use onsale_test_support::{App, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use uuid::Uuid;

const SMALL: usize = 10_000;
const TOKENS_LIVE_SECS: i64 = 86_400;

fn binaries() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().to_owned()
}

struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Program {
    /// Megabytes of resident memory.
    fn resident(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
    }
}

fn serve(world: &World, port: u16) -> Program {
    let mut command = Command::new(binaries().join("onsale"));
    command.arg("serve").envs(world.environment()).env("ONSALE_HTTP_BIND", format!("127.0.0.1:{port}"));
    command.env("ONSALE_HTTP_WORKERS", "2").env("ONSALE_LINE_SNAPSHOT_MS", "250").stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("serving") {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "the server ended");
    }
    std::thread::spawn(move || drop(std::io::copy(&mut log, &mut std::io::sink())));
    Program(child)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn percentile(values: &mut [f64], percent: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() as f64 * percent / 100.0) as usize).min(values.len() - 1)]
}

struct Bench {
    world: World,
    app: App,
    tokens: SignedQueueTokens,
    operator: UserId,
    redis: redis::aio::MultiplexedConnection,
    folder: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        let world = World::new().await;
        let app = world.app().await;
        let seed: [u8; 32] = app.config.ticket_key.0.as_slice().try_into().unwrap();
        let tokens = SignedQueueTokens::new(&app.config.secret.0, &seed).unwrap();
        let role = onsale_domain::account::Role::Operator;
        let operator =
            app.instance.api.facades.accounts.create("bench@example.org", "bench bench bench", "Bench", role).await;
        let client = redis::Client::open(world.redis_url.as_str()).unwrap();
        let redis = client.get_multiplexed_async_connection().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        Self { world, app, tokens, operator: operator.unwrap().id, redis, folder }
    }

    async fn concert(&self, state: SaleState) -> Concert {
        let policy = onsale_domain::queue::QueuePolicy {
            interval_secs: 3600,
            batch: 1,
            active_limit: 100_000,
            idle_admission: false,
            waiting_limit: 10_000_000,
            ..onsale_domain::queue::QueuePolicy::default()
        };
        let catalogue = &self.app.instance.api.facades.catalogue;
        let concert = catalogue.create_concert(self.operator, "Bench", "", policy).await.unwrap();
        let starts_at = "2100-01-01T10:00:00Z".parse().unwrap();
        let show = catalogue.create_show(concert.id, "Hall", starts_at, 300, 4).await.unwrap();
        let block = SeatBlock { section: "A".to_owned(), rows: 1, seats_per_row: 1, price_minor: 1 };
        catalogue.add_seats(show.id, seats_from(&[block], vec![]).unwrap()).await.unwrap();
        let changes = ConcertChanges { sale_state: Some(state), ..ConcertChanges::default() };
        let concert = catalogue.edit_concert(self.operator, concert.id, None, changes).await.unwrap();
        self.app.instance.api.facades.line.apply(&concert).await.unwrap();
        concert
    }

    /// Many joins at once, below the HTTP edge; answers the tickets and seconds.
    async fn join(&self, concert: &Concert, users: Vec<UserId>) -> (Vec<TokenClaims>, f64) {
        let started = Instant::now();
        let tickets = stream::iter(users)
            .map(|user| {
                let (keeper, concert) = (Arc::clone(&self.app.instance.keeper), concert.id);
                async move {
                    match keeper.join(concert, user).await.unwrap() {
                        Joined::Placed(_, held) => held.claims,
                        other => panic!("{other:?}"),
                    }
                }
            })
            .buffer_unordered(256)
            .collect()
            .await;
        (tickets, started.elapsed().as_secs_f64())
    }

    fn file(&self, name: &str, lines: impl Iterator<Item = String>) -> PathBuf {
        let path = self.folder.path().join(name);
        let mut file = std::io::BufWriter::new(std::fs::File::create(&path).unwrap());
        for line in lines {
            writeln!(file, "{line}").unwrap();
        }
        path
    }

    async fn slowest_script_ms(&mut self) -> f64 {
        let entries: Vec<Vec<redis::Value>> =
            redis::cmd("SLOWLOG").arg("GET").arg(1_000).query_async(&mut self.redis).await.unwrap();
        let micros = entries.iter().map(|entry| match entry.get(2) {
            Some(redis::Value::Int(micros)) => *micros as f64,
            _ => 0.0,
        });
        micros.fold(0.0, f64::max) / 1_000.0
    }

    async fn watch_scripts(&mut self) {
        let set = ["CONFIG", "SET", "slowlog-log-slower-than", "500"];
        let _: () = redis::cmd(set[0]).arg(&set[1..]).query_async(&mut self.redis).await.unwrap();
        let _: () =
            redis::cmd("CONFIG").arg(&["SET", "slowlog-max-len", "1000"]).query_async(&mut self.redis).await.unwrap();
        let _: () = redis::cmd("SLOWLOG").arg("RESET").query_async(&mut self.redis).await.unwrap();
    }

    async fn memory(&mut self) -> f64 {
        let info: String = redis::cmd("INFO").arg("memory").query_async(&mut self.redis).await.unwrap();
        info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap().trim().parse().unwrap()
    }
}

fn users(count: usize) -> Vec<UserId> {
    (0..count).map(|_| UserId(Uuid::new_v4())).collect()
}

/// Right answers per second.
fn wrk(base: &str, concert: ConcertId, tokens: &Path) -> f64 {
    let output = Command::new("wrk")
        .args(["-t2", "-c64", "-d3s", "-s", "loadtest/wrk/line.lua", base])
        .env("CONCERT", concert.to_string())
        .env("TOKENS", tokens)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let result: Vec<&str> =
        text.lines().find(|line| line.starts_with("RESULT")).unwrap_or_else(|| panic!("{text}")).split(' ').collect();
    assert_eq!(result[3], "0", "wrong answers");
    result[1].parse().unwrap()
}

fn bare() -> f64 {
    let output = Command::new("wrk").args(["-t2", "-c64", "-d3s", "http://127.0.0.1:18481/"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find(|line| line.starts_with("Requests/sec")).unwrap_or_else(|| panic!("{text}"));
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

async fn polls_joins_promotions(bench: &mut Bench, crowd: usize) {
    let (small, large) = (bench.concert(SaleState::OnSale).await, bench.concert(SaleState::OnSale).await);
    let before = bench.memory().await;
    let (_, filled) = bench.join(&large, users(crowd - SMALL)).await;
    let bytes = (bench.memory().await - before) / (crowd - SMALL) as f64;
    println!("Redis: {bytes:.0} bytes per waiting fan; {:.0} joins/s while filling", (crowd - SMALL) as f64 / filled);
    let minted =
        mint::mint(&bench.app.config, &bench.app.instance.postgres, SMALL, 0, "b", TOKENS_LIVE_SECS).await.unwrap();
    let ids: Vec<UserId> = minted.iter().map(|fan| UserId(fan.user_id)).collect();
    let mut files = vec![];
    for concert in [&small, &large] {
        let (tickets, _) = bench.join(concert, ids.clone()).await;
        let by_user: std::collections::HashMap<_, _> =
            tickets.iter().map(|claims| (claims.user_id, bench.tokens.sign_queue(claims))).collect();
        let lines = minted.iter().map(|fan| format!("{} {}", fan.access_token, by_user[&UserId(fan.user_id)]));
        files.push(bench.file(&concert.id.to_string(), lines));
    }
    let server = serve(&bench.world, 18_480);
    let bare_server = Program(Command::new(binaries().join("examples/bare_route")).arg("18481").spawn().unwrap());
    std::thread::sleep(Duration::from_millis(500));
    let base = "http://127.0.0.1:18480";
    println!("server: {:.0} MB resident, idle", server.resident());
    let (mut a, mut b, mut limit) = (vec![], vec![], vec![]);
    for _ in 0..3 {
        limit.push(bare());
        a.push(wrk(base, small.id, &files[0]));
        b.push(wrk(base, large.id, &files[1]));
    }
    let (a, b, limit) = (median(a), median(b), median(limit));
    println!("poll, {SMALL} waiting: {a:.0}/s; {crowd} waiting: {b:.0}/s; ratio {:.2}", b / a);
    println!("bare actix JSON route: {limit:.0}/s; a poll is {:.2} of it", b / limit);
    drop(server);
    drop(bare_server);
    let (mut a, mut b) = (vec![], vec![]);
    for _ in 0..5 {
        a.push(4_000.0 / bench.join(&small, users(4_000)).await.1);
        b.push(4_000.0 / bench.join(&large, users(4_000)).await.1);
    }
    let (a, b) = (median(a), median(b));
    println!(
        "join, store level: {SMALL} to {} waiting {a:.0}/s; {crowd} waiting {b:.0}/s; ratio {:.2}",
        SMALL + 20_000,
        b / a
    );
    for (name, concert) in [("small", &small), ("large", &large)] {
        bench.watch_scripts().await;
        let mut times = vec![];
        for _ in 0..5 {
            let started = Instant::now();
            let ticked = bench.app.instance.keeper.tick_and_admit(concert, 1_000).await.unwrap();
            assert_eq!(ticked.promoted, 1_000);
            times.push(started.elapsed().as_secs_f64() * 1_000.0);
        }
        let slowest = bench.slowest_script_ms().await;
        println!(
            "promotion of 1,000, {name} line: {:.0} ms with the log, longest script {slowest:.1} ms",
            median(times)
        );
    }
}

/// How long the line takes to be back when its store is empty, by size.
async fn load(bench: &mut Bench, crowd: usize) {
    let wal = async |bench: &Bench| {
        bench.world.sql().await.number("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint AS n").await
    };
    let concert = bench.concert(SaleState::OnSale).await;
    let mut waiting = 0;
    for size in [crowd / 100, crowd / 10, crowd] {
        let (users, before) = (users(size - waiting), wal(bench).await);
        let many = users.len();
        let (_, secs) = bench.join(&concert, users).await;
        let bytes = (wal(bench).await - before) / many as i64;
        waiting = size;
        let _: () = redis::cmd("FLUSHALL").arg("ASYNC").query_async(&mut bench.redis).await.unwrap();
        bench.watch_scripts().await;
        let started = Instant::now();
        bench.app.instance.keeper.tick(&concert).await.unwrap();
        let took = started.elapsed().as_secs_f64();
        let stats = bench.app.instance.keeper.snapshots.renewed(concert.id).await.unwrap().unwrap().stats;
        assert_eq!(stats.waiting + stats.active, size as i64);
        println!(
            "{many} joins at {:.0}/s, {bytes} bytes of WAL each; loading {size} places into an empty store: {took:.2} s, longest script {:.1} ms",
            many as f64 / secs,
            bench.slowest_script_ms().await
        );
    }
}

async fn draw(bench: &mut Bench, crowd: usize) {
    let concert = bench.concert(SaleState::PreQueue).await;
    let (_, secs) = bench.join(&concert, users(crowd)).await;
    println!("registered {crowd} fans in {secs:.0} s");
    bench.app.instance.keeper.tick(&concert).await.unwrap();
    let catalogue = &bench.app.instance.api.facades.catalogue;
    let changes = ConcertChanges { sale_state: Some(SaleState::OnSale), ..ConcertChanges::default() };
    let concert = catalogue.edit_concert(bench.operator, concert.id, None, changes).await.unwrap();
    bench.watch_scripts().await;
    let started = Instant::now();
    bench.app.instance.keeper.tick(&concert).await.unwrap();
    let secs = started.elapsed().as_secs_f64();
    bench.app.instance.keeper.tick(&concert).await.unwrap();
    let stats = bench.app.instance.keeper.snapshots.renewed(concert.id).await.unwrap().unwrap().stats;
    assert_eq!(stats.waiting + stats.active, crowd as i64);
    println!(
        "opening draw: {crowd} fans numbered in {secs:.1} s, longest script {:.1} ms",
        bench.slowest_script_ms().await
    );
}

async fn streams(bench: &mut Bench, count: usize) {
    let concert = bench.concert(SaleState::OnSale).await;
    let minted =
        mint::mint(&bench.app.config, &bench.app.instance.postgres, count, 0, "s", TOKENS_LIVE_SECS).await.unwrap();
    let ids: Vec<UserId> = minted.iter().map(|fan| UserId(fan.user_id)).collect();
    let (tickets, _) = bench.join(&concert, ids).await;
    let by_user: std::collections::HashMap<_, _> =
        tickets.iter().map(|claims| (claims.user_id, (claims.number, bench.tokens.sign_queue(claims)))).collect();
    let server = serve(&bench.world, 18_480);
    std::thread::sleep(Duration::from_secs(1));
    let before = server.resident();
    let opened = Arc::new(AtomicU64::new(0));
    let (heard_sender, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let started = Instant::now();
    for fan in &minted {
        let (number, token) = by_user[&UserId(fan.user_id)].clone();
        let request = format!(
            "GET /api/v1/concerts/{}/queue/tokens/me/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nQueue-Token: {token}\r\n\r\n",
            concert.id, fan.access_token
        );
        let (opened, heard) = (Arc::clone(&opened), heard_sender.clone());
        tokio::spawn(async move {
            let mut socket = tokio::net::TcpStream::connect("127.0.0.1:18480").await.unwrap();
            socket.write_all(request.as_bytes()).await.unwrap();
            let (mut buffer, mut text) = ([0_u8; 4_096], String::new());
            let mut first = true;
            loop {
                let read = socket.read(&mut buffer).await.unwrap();
                if read == 0 {
                    return;
                }
                text.push_str(&String::from_utf8_lossy(&buffer[..read]));
                if first && text.contains("event: place") {
                    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
                    opened.fetch_add(1, Ordering::Relaxed);
                    first = false;
                }
                if text.contains("\"state\":\"active\"") {
                    heard.send((number, Instant::now())).unwrap();
                    text.clear();
                } else if let Some(at) = text.rfind("\n\n") {
                    text.drain(..at);
                }
            }
        });
        tokio::task::yield_now().await;
    }
    while opened.load(Ordering::Relaxed) < count as u64 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let secs = started.elapsed().as_secs_f64();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = server.resident();
    println!(
        "{count} streams opened in {secs:.1} s: {:.0} MB more, {:.1} KB per stream",
        after - before,
        (after - before) * 1024.0 / count as f64
    );
    let promoted = Instant::now();
    let ticked = bench.app.instance.keeper.tick_and_admit(&concert, 1_000).await.unwrap();
    let called = promoted.elapsed();
    let mut delays = vec![];
    while delays.len() < usize::try_from(ticked.promoted).unwrap() {
        let (_, at) = heard.recv().await.unwrap();
        delays.push(at.duration_since(promoted).as_secs_f64() * 1_000.0);
    }
    let (p50, p99, max) =
        (percentile(&mut delays, 50.0), percentile(&mut delays, 99.0), percentile(&mut delays, 100.0));
    println!(
        "{} promoted fans (promotion took {:.0} ms) heard it after p50 {p50:.0} ms, p99 {p99:.0} ms, at most {max:.0} ms",
        delays.len(),
        called.as_secs_f64() * 1_000.0
    );
    drop(server);
}

#[tokio::main]
async fn main() {
    let crowd = std::env::args().nth(1).map_or(1_000_000, |text| text.parse().expect("a number of fans"));
    let only = std::env::args().nth(2);
    let wanted = |part: &str| only.as_deref().is_none_or(|only| only == part);
    let mut bench = Bench::new().await;
    if wanted("streams") {
        streams(&mut bench, SMALL).await;
    }
    if wanted("costs") {
        polls_joins_promotions(&mut bench, crowd).await;
    }
    if wanted("load") {
        let _: () = redis::cmd("FLUSHALL").arg("ASYNC").query_async(&mut bench.redis).await.unwrap();
        load(&mut bench, crowd).await;
    }
    if wanted("draw") {
        let _: () = redis::cmd("FLUSHALL").arg("ASYNC").query_async(&mut bench.redis).await.unwrap();
        draw(&mut bench, crowd).await;
    }
}
