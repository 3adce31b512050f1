//! Cut-off requests and killed servers.

use std::{
    io::{BufRead, BufReader},
    net::TcpStream,
    process::{Child, Command, Stdio},
};

use onsale_test_support::{App, Client, Sale, World};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::json;
use tokio::io::AsyncWriteExt;

/// The real program, on a port of its own.
pub(crate) struct Server {
    child: Child,
    pub(crate) base: String,
}

impl Server {
    pub(crate) fn start(world: &World) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(env!("CARGO_BIN_EXE_onsale"));
        command.arg("serve").envs(world.environment()).env("ONSALE_HTTP_BIND", format!("127.0.0.1:{port}"));
        command.env("ONSALE_LINE_TICK_MS", "50").env("ONSALE_SWEEPER_INTERVAL_MS", "50");
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("serving") {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "the server ended before it served");
        }
        // Keeps the pipe from filling up.
        std::thread::spawn(move || drop(std::io::copy(&mut log, &mut std::io::sink())));
        Self { child, base: format!("http://127.0.0.1:{port}") }
    }

    /// Its process id, to be stopped and continued.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// kill -9.
    pub(crate) fn kill(self) {
        drop(self);
    }
}

impl Drop for Server {
    /// Also when a test fails: no server outlives it.
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Join, see, reserve, charge, pay: whatever comes of it. Nobody but the database knows how far it went.
async fn whole_flow(fan: Client, sale: Sale, seat: usize) {
    let go = async {
        let mut fan = fan;
        let joined = fan.try_raw("POST", &format!("concerts/{}/queue/tokens", sale.concert), &[], None).await.ok()?;
        fan.queue_token = joined.json["token"].as_str().map(str::to_owned);
        let seats = fan.try_raw("GET", &format!("shows/{}/seats", sale.show), &[], None).await.ok()?;
        let choice = App::choice(&[seats.json["items"].get(seat)?.clone()]).to_string().into_bytes();
        let json = [("Content-Type", "application/json")];
        let path = format!("shows/{}/reservations", sale.show);
        let reserved = fan.try_raw("POST", &path, &json, Some(choice)).await.ok()?;
        let keyed = [("Content-Type", "application/json"), ("Idempotency-Key", "charge")];
        let amount = json!({ "amount_minor": 100 }).to_string().into_bytes();
        fan.try_raw("POST", "me/wallet/charges", &keyed, Some(amount)).await.ok()?;
        let pay = format!("reservations/{}/payment", reserved.json["id"].as_str()?);
        fan.try_raw("POST", &pay, &[], None).await.ok()
    };
    drop(go.await);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_moments_every_reservation_is_wholly_paid_or_wholly_unpaid() {
    const ROUNDS: usize = 8;
    const FANS: usize = 12;
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale(i32::try_from(ROUNDS * FANS).unwrap(), 100).await;
        let mut chance = StdRng::seed_from_u64(20_261_121);
        for round in 0..ROUNDS {
            let server = Server::start(world);
            let fans = app.fans(FANS, 0).await;
            let flows: Vec<_> = fans
                .iter()
                .enumerate()
                .map(|(index, fan)| tokio::spawn(whole_flow(fan.at(&server.base), sale.clone(), round * FANS + index)))
                .collect();
            // Killed after a random number of committed events, so that the moment does not depend on the speed of the
            // machine.
            let events = "SELECT count(*) AS n FROM outbox_events";
            let mut sql = world.sql().await;
            let until = sql.number(events).await + chance.random_range(1..FANS as i64 * 2);
            while sql.number(events).await < until && !flows.iter().all(tokio::task::JoinHandle::is_finished) {}
            server.kill();
            for flow in flows {
                flow.await.unwrap();
            }
            app.assert_books_balance().await;
            let open = "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database()
                AND state LIKE 'idle in transaction%'";
            while sql.number(open).await > 0 {}
            let mixed = "SELECT count(*) AS n FROM seats s WHERE (s.state = 'sold') <> EXISTS (
                SELECT 1 FROM tickets t WHERE t.seat_id = s.id AND t.state = 'valid')";
            assert_eq!(sql.number(mixed).await, 0);
        }
        // A started server serves on: one more whole flow, to the ticket.
        let server = Server::start(world);
        let fan = app.fans(1, 0).await.remove(0).at(&server.base);
        let before = world.sql().await.number("SELECT count(*) AS n FROM tickets").await;
        let mut sql = world.sql().await;
        let free = sql.number(
            "SELECT count(*) AS n FROM seats WHERE (section, row_label, number) < (
                SELECT section, row_label, number FROM seats WHERE state = 'available' ORDER BY 1, 2, 3 LIMIT 1)",
        );
        let free = free.await;
        whole_flow(fan, sale, usize::try_from(free).unwrap()).await;
        assert_eq!(world.sql().await.number("SELECT count(*) AS n FROM tickets").await, before + 1);
        server.kill();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn never_again_trap_1_a_request_cut_off_leaves_no_transaction_and_no_lock() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale(3, 100).await;
        let mut fan = app.fans(1, 1_000).await.remove(0);
        app.join(&mut fan, &sale).await;
        let seats = app.seats(&fan, &sale).await;
        let mut sql = world.sql().await;
        // The write is in the middle of its transaction, waiting for a lock, when the client resets the connection.
        sql.run("BEGIN; LOCK TABLE reservations IN ACCESS EXCLUSIVE MODE").await.unwrap();
        let body = App::choice(&seats[..1]).to_string();
        let request = format!(
            "POST /api/v1/shows/{}/reservations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nQueue-Token: {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            sale.show,
            fan.access_token.as_deref().unwrap(),
            fan.queue_token.as_deref().unwrap(),
            body.len(),
        );
        let stream = TcpStream::connect(app.base.trim_start_matches("http://")).unwrap();
        stream.set_nonblocking(true).unwrap();
        let mut stream = tokio::net::TcpStream::from_std(stream).unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut watcher = world.sql().await;
        let waiting = "SELECT count(*) AS n FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock'";
        while watcher.number(waiting).await == 0 {}
        stream.set_zero_linger().unwrap();
        drop(stream);
        sql.run("ROLLBACK").await.unwrap();
        // Whole or not at all, and nothing is left open: every transaction but the watcher's own comes to its end.
        let open = "SELECT count(*) AS n FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL";
        while watcher.number(open).await > 0 {}
        let held = watcher.number("SELECT count(*) AS n FROM seats WHERE state = 'held'").await;
        let reservations = watcher.number("SELECT count(*) AS n FROM reservations").await;
        assert_eq!(held, reservations);
        let other = fan
            .send(
                "POST",
                &format!("shows/{}/reservations", sale.show),
                &[("Idempotency-Key", "x")],
                App::choice(&seats[1..2]),
            )
            .await;
        assert_eq!(other.code(), if reservations == 1 { "reservation_exists" } else { "201" });
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_is_dropped_in_the_middle_gives_its_locks_back() {
    use onsale_application::{
        selling::{Hold, Holds},
        transaction::UnitOfWork,
    };
    use onsale_domain::ids::{ReservationId, ShowId, UserId};
    World::with(async |world| {
        let app = world.app().await;
        let id = uuid::Uuid::new_v4();
        let hold =
            Hold { id: ReservationId(id), user: UserId(id), show: ShowId(id), choices: &[], turn: 1, event_id: id };
        let mut first = app.instance.postgres.begin().await.unwrap();
        first.claim_seats(&hold).await.unwrap();
        drop(first);
        let mut second = app.instance.postgres.begin().await.unwrap();
        second.claim_seats(&hold).await.unwrap();
        // Dropped while a statement runs: a third waits for the lock and is cancelled.
        let mut third = app.instance.postgres.begin().await.unwrap();
        let waiting = tokio::time::timeout(std::time::Duration::from_millis(100), third.claim_seats(&hold)).await;
        assert!(waiting.is_err());
        drop(third);
        drop(second);
        let mut sql = world.sql().await;
        let open = "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database()
            AND state LIKE 'idle in transaction%'";
        while sql.number(open).await > 0 {}
        let mut fourth = app.instance.postgres.begin().await.unwrap();
        fourth.claim_seats(&hold).await.unwrap();
        drop(fourth);
    })
    .await;
}
