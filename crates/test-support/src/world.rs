//! A database of its own, instances of the application, people and sales.

use std::{
    panic::{AssertUnwindSafe, resume_unwind},
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::FutureExt;
use onsale_domain::account::Role;
use onsale_http_api::ServerOptions;
use onsale_infrastructure::postgres::migrations;
use onsale_server::{config::Config, mint, schedulers, wiring};
use serde_json::{Value, json};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use crate::{Client, Sql};

/// One test's own database and key space, and how instances on them are configured.
pub struct World {
    /// The database of this test.
    pub database_url: String,
    /// The Redis that all tests share, each under its own prefix.
    pub redis_url: String,
    /// Start of this test's Redis keys.
    pub prefix: String,
    admin_url: String,
    database: String,
    settings: Vec<(String, String)>,
    /// Every instance that was started here, also those that have stopped.
    started: Mutex<Vec<Arc<Running>>>,
}

/// A running instance.
pub struct App {
    /// Where it serves.
    pub base: String,
    /// What it is made of.
    pub instance: wiring::Instance,
    /// How it is configured.
    pub config: Config,
    running: Arc<Running>,
}

/// What an instance runs, to be ended by whoever comes first: the test, or its world.
struct Running {
    /// Ends schedulers.
    stop: CancellationToken,
    /// Ends streams.
    stopping: CancellationToken,
    schedulers: Option<TaskTracker>,
    server: actix_handle::Handle,
}

impl Running {
    /// Stops serving. Doing it twice does no harm.
    async fn end(&self) {
        self.stop.cancel();
        self.stopping.cancel();
        (self.server)().await;
        if let Some(schedulers) = &self.schedulers {
            schedulers.wait().await;
        }
    }
}

mod actix_handle {
    //! The server's handle without naming the framework's type in public.
    pub(super) type Handle = Box<dyn Fn() -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;
}

/// A concert on sale with one show.
#[derive(Debug, Clone)]
pub struct Sale {
    /// Concert.
    pub concert: String,
    /// Show.
    pub show: String,
}

/// A secret that every run has.
fn secret(start: u8) -> String {
    STANDARD.encode(std::array::from_fn::<u8, 32, _>(|index| start.wrapping_add(u8::try_from(index).unwrap_or(0) * 5)))
}

fn required(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        eprintln!("{name} is not set: run the tests with `script/test`, which starts PostgreSQL and Redis");
        std::process::exit(2);
    })
}

impl World {
    /// Runs a test in a world of its own, see [`World::run`].
    pub async fn with(test: impl AsyncFnOnce(&mut Self)) {
        Self::new().await.run(test).await;
    }

    /// Runs a test in this world. Whether it ends well or panics, instances that it left running are stopped and the database
    /// is dropped.
    pub async fn run(mut self, test: impl AsyncFnOnce(&mut Self)) {
        // In a box, because the future of a test is large.
        let ended = AssertUnwindSafe(Box::pin(test(&mut self))).catch_unwind().await;
        let started = std::mem::take(self.started.get_mut().expect("nobody panicked while noting an instance"));
        for running in started {
            running.end().await;
        }
        self.close().await;
        if let Err(panic) = ended {
            resume_unwind(panic);
        }
    }

    /// A fresh, migrated database on the servers of `DATABASE_URL` and `REDIS_URL`. It stays unless the world is run.
    pub async fn new() -> Self {
        Self::on(&required("DATABASE_URL"), &required("REDIS_URL")).await
    }

    /// A fresh, migrated database on these servers. It stays unless the world is run.
    pub async fn on(admin_url: &str, redis_url: &str) -> Self {
        let database = format!("test_{}", Uuid::new_v4().simple());
        let mut admin = Sql::connect(admin_url).await;
        admin.run(&format!("CREATE DATABASE {database}")).await.expect("a database");
        let (server, _) = admin_url.rsplit_once('/').expect("a URL with a database");
        let database_url = format!("{server}/{database}");
        migrations::up(&database_url).await.expect("the schema");
        Self {
            database_url,
            redis_url: redis_url.to_owned(),
            prefix: database.clone(),
            admin_url: admin_url.to_owned(),
            database,
            settings: vec![],
            started: Mutex::default(),
        }
    }

    /// The environment that an instance reads.
    pub fn environment(&self) -> Vec<(String, String)> {
        let mut all = vec![
            ("DATABASE_URL".to_owned(), self.database_url.clone()),
            ("REDIS_URL".to_owned(), self.redis_url.clone()),
            ("ONSALE_REDIS_KEY_PREFIX".to_owned(), self.prefix.clone()),
            ("ONSALE_AUTH_SECRET".to_owned(), secret(7)),
            ("ONSALE_AUTH_TICKET_KEY".to_owned(), secret(9)),
            ("ONSALE_MONEY_FREE_TOP_UP".to_owned(), "true".to_owned()),
            ("ONSALE_AUTH_ALLOW_TOKEN_MINT".to_owned(), "true".to_owned()),
            ("ONSALE_HTTP_BIND".to_owned(), "127.0.0.1:0".to_owned()),
            ("ONSALE_HTTP_WORKERS".to_owned(), "1".to_owned()),
            ("ONSALE_HTTP_USER_REQUESTS_PER_SEC".to_owned(), "10000".to_owned()),
            ("ONSALE_HTTP_LOGINS_PER_MIN".to_owned(), "1000".to_owned()),
            ("ONSALE_DATABASE_POOL_SIZE".to_owned(), "12".to_owned()),
            ("ONSALE_DATABASE_ACQUIRE_TIMEOUT_MS".to_owned(), "20000".to_owned()),
            ("ONSALE_DATABASE_LOCK_TIMEOUT_MS".to_owned(), "10000".to_owned()),
            ("ONSALE_DATABASE_STATEMENT_TIMEOUT_MS".to_owned(), "20000".to_owned()),
            // A test sees what it has just done.
            ("ONSALE_LINE_SNAPSHOT_MS".to_owned(), "0".to_owned()),
            ("ONSALE_LINE_EARLY_POLL_GUARD".to_owned(), "false".to_owned()),
            ("ONSALE_REDIS_TIMEOUT_MS".to_owned(), "10000".to_owned()),
            ("ONSALE_REDIS_CACHE_TIMEOUT_MS".to_owned(), "10000".to_owned()),
        ];
        all.extend(self.settings.iter().cloned());
        all
    }

    /// Sets one more variable for instances that start later.
    pub fn set(&mut self, name: &str, value: &str) {
        self.settings.push((name.to_owned(), value.to_owned()));
    }

    /// The configuration of an instance.
    pub fn config(&self) -> Config {
        let environment = self.environment();
        let find =
            |name: &str| environment.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        Config::parse("", &find).expect("a right configuration")
    }

    /// Direct SQL.
    pub async fn sql(&self) -> Sql {
        Sql::connect(&self.database_url).await
    }

    /// Starts an instance without schedulers: the test says when fans are promoted and holds are swept.
    pub async fn app(&self) -> App {
        self.start(false).await
    }

    /// Starts an instance with its schedulers.
    pub async fn app_with_schedulers(&self) -> App {
        self.start(true).await
    }

    async fn start(&self, with_schedulers: bool) -> App {
        let config = self.config();
        let runtime = tokio::runtime::Handle::current();
        let instance = wiring::instance(&config, &runtime).expect("an instance");
        let ids = [Uuid::new_v4(), Uuid::new_v4()];
        instance.postgres.ensure_system_accounts(ids, config.currency.code()).await.expect("system accounts");
        let stop = CancellationToken::new();
        // Seats are counted in any case: that changes nothing.
        tokio::spawn(schedulers::counter(Arc::clone(&instance.keeper), stop.clone()));
        let schedulers = with_schedulers.then(|| schedulers::start(&instance, &config, &stop));
        let listener = std::net::TcpListener::bind(config.bind).expect("a port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        let options = ServerOptions {
            workers: 1,
            client_timeout: config.client_timeout,
            shutdown_timeout: Duration::from_secs(5),
            connections_per_worker: 5_000,
            cors_origins: config.cors_origins.clone(),
        };
        let server = onsale_http_api::start(Arc::clone(&instance.api), listener, &options).expect("a server");
        let handle = server.handle();
        tokio::spawn(server);
        let server: actix_handle::Handle = Box::new(move || {
            let handle = handle.clone();
            Box::pin(async move { handle.stop(true).await })
        });
        let stopping = instance.api.stopping.clone();
        let running = Arc::new(Running { stop, stopping, schedulers, server });
        self.started.lock().expect("nobody panicked while noting an instance").push(Arc::clone(&running));
        App { base, instance, config, running }
    }

    /// Drops the database.
    async fn close(self) {
        let mut admin = Sql::connect(&self.admin_url).await;
        drop(admin.run(&format!("DROP DATABASE {} WITH (FORCE)", self.database)).await);
    }
}

impl App {
    /// Stops serving, for those who need that in the middle of a test. [`World::run`] does it for instances that are left.
    pub async fn stop(self) {
        self.running.end().await;
    }

    /// Somebody unknown.
    pub fn nobody(&self) -> Client {
        Client::new(&self.base)
    }

    /// A fan who signed up through the API.
    pub async fn fan(&self, name: &str) -> Client {
        let mut client = self.nobody();
        let body = json!({
            "email": format!("{name}-{}@example.org", Uuid::new_v4().simple()),
            "password": "correct horse battery",
            "display_name": name,
        });
        let answer = client.post("auth/signup", body).await.expect(201);
        client.access_token = answer.json["access_token"].as_str().map(str::to_owned);
        client.user_id = answer.json["user"]["id"].as_str().expect("an id").to_owned();
        client
    }

    /// Many fans at once, whose wallets hold `balance_minor`.
    pub async fn fans(&self, count: usize, balance_minor: i64) -> Vec<Client> {
        let (config, postgres) = (&self.config, &self.instance.postgres);
        let minted = mint::mint(config, postgres, count, balance_minor, "t", config.access_ttl_secs).await;
        let minted = minted.expect("tokens");
        minted
            .into_iter()
            .map(|token| {
                let mut client = self.nobody();
                client.access_token = Some(token.access_token);
                client.user_id = token.user_id.to_string();
                client
            })
            .collect()
    }

    /// An operator, made as the command line makes one, who logs in through the API.
    pub async fn operator(&self) -> Client {
        let email = format!("op-{}@example.org", Uuid::new_v4().simple());
        let accounts = &self.instance.api.facades.accounts;
        accounts.create(&email, "operator password", "Operator", Role::Operator).await.expect("an operator");
        let mut client = self.nobody();
        let body = json!({ "email": email, "password": "operator password" });
        let answer = client.post("auth/login", body).await.expect(200);
        client.access_token = answer.json["access_token"].as_str().map(str::to_owned);
        client
    }

    /// A concert on sale with one show of `seats` seats in one row, prices as given.
    pub async fn sale(&self, seats: i32, price_minor: i64) -> Sale {
        self.sale_with(seats, price_minor, Value::Null).await
    }

    /// The same with settings of the line.
    pub async fn sale_with(&self, seats: i32, price_minor: i64, policy: Value) -> Sale {
        let operator = self.operator().await;
        let mut body = json!({ "title": "Test concert" });
        if !policy.is_null() {
            body["queue_policy"] = policy;
        }
        let concert = operator.post("admin/concerts", body).await.expect(201);
        let id = concert.json["id"].as_str().expect("an id").to_owned();
        let body = json!({ "venue": "Test hall", "starts_at": "2100-01-01T10:00:00Z" });
        let show = operator.post(&format!("admin/concerts/{id}/shows"), body).await.expect(201);
        let show = show.json["id"].as_str().expect("an id").to_owned();
        let block = json!({ "section": "A", "rows": 1, "seats_per_row": seats, "price_minor": price_minor });
        operator.post(&format!("admin/shows/{show}/seats"), json!({ "blocks": [block] })).await.expect(201);
        let on_sale = json!({ "sale_state": "on_sale" });
        operator.send("PATCH", &format!("admin/concerts/{id}"), &[("If-Match", "\"1\"")], on_sale).await.expect(200);
        Sale { concert: id, show }
    }

    /// Joins the line and takes the token, active or not.
    pub async fn join(&self, client: &mut Client, sale: &Sale) -> Value {
        client.queue_token = None;
        let answer = client.post_empty(&format!("concerts/{}/queue/tokens", sale.concert)).await;
        assert!(answer.status == 201 || answer.status == 200, "{}", answer.code());
        client.queue_token = answer.json["token"].as_str().map(str::to_owned);
        answer.json
    }

    /// Seats of a show as `client` sees them.
    pub async fn seats(&self, client: &Client, sale: &Sale) -> Vec<Value> {
        let answer = client.get(&format!("shows/{}/seats", sale.show)).await.expect(200);
        answer.json["items"].as_array().expect("seats").clone()
    }

    /// What a reservation of these seats sends.
    pub fn choice(seats: &[Value]) -> Value {
        let chosen: Vec<Value> =
            seats.iter().map(|seat| json!({ "seat_id": seat["seat_id"], "version": seat["version"] })).collect();
        json!({ "seats": chosen })
    }

    /// Puts money into the wallet.
    pub async fn charge(&self, client: &Client, amount: i64) {
        let key = Uuid::new_v4().to_string();
        let body = json!({ "amount_minor": amount });
        client.send("POST", "me/wallet/charges", &[("Idempotency-Key", &key)], body).await.expect(201);
    }

    /// Ends the sale as an operator does who means it.
    pub async fn close_sale(&self, operator: &Client, sale: &Sale) {
        let path = format!("admin/concerts/{}", sale.concert);
        let version = operator.get(&path).await.expect(200).json["version"].to_string();
        let body = json!({ "confirm": sale.concert });
        let if_match = format!("\"{version}\"");
        operator.send("POST", &format!("{path}/queue/close"), &[("If-Match", &if_match)], body).await.expect(200);
    }

    /// Stops the test unless every book balances and no reservation is half paid.
    pub async fn assert_books_balance(&self) {
        let report = self.instance.api.facades.reports.reconciliation().await.expect("a reconciliation");
        let differences = (
            report.entries_sum_minor,
            report.unbalanced_transactions,
            report.wallets_differing,
            report.payments_less_revenue_minor,
            report.half_paid_reservations,
        );
        assert_eq!(differences, (0, 0, 0, 0, 0), "{report:?}");
    }
}
