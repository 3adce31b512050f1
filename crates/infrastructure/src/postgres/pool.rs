//! The pool of connections and how a statement is run on one.

use std::{sync::Arc, time::Duration};

use diesel::{ConnectionError, QueryDsl, result::Error};
use diesel_async::{
    AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection,
    methods::{ExecuteDsl, LoadQuery},
    pooled_connection::{
        AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod,
        deadpool::{Object, Pool as DeadPool},
    },
};
use futures_util::FutureExt;
use onsale_application::error::StoreError;
use tokio::sync::Semaphore;

use super::{
    Postgres,
    error::{classify, connection_is_gone},
    schema::__diesel_schema_migrations,
    statement::sql,
};

pub(super) type Pool = DeadPool<AsyncPgConnection>;
pub(super) type Connection = Object<AsyncPgConnection>;

/// Most connections that look up at once what never changes and is kept afterwards.
const LOOKUPS: usize = 4;

/// How to reach the database and how long to wait for it.
#[derive(Debug, Clone)]
pub struct PostgresConfig {
    /// `postgres://user:password@host:port/database`.
    pub url: String,
    /// Most connections of this process, beside a few for lines.
    pub pool_size: usize,
    /// Longest wait for a free connection or for a new one.
    pub acquire_timeout: Duration,
    /// Longest run of one statement.
    pub statement_timeout: Duration,
    /// Longest wait for a lock.
    pub lock_timeout: Duration,
    /// Longest time that a transaction may be open without a statement running.
    pub idle_in_transaction_timeout: Duration,
}

/// Numbers of the pool for the metrics.
#[derive(Debug, Clone, Copy)]
pub struct PoolNumbers {
    /// Connections open.
    pub open: usize,
    /// Connections free.
    pub free: usize,
    /// Callers waiting.
    pub waiting: usize,
}

/// Connections of this process for lines and for joins, beside those of the pool: a join does not wait for whoever buys, nor the
/// other way round.
const LINE_CONNECTIONS: usize = 4;
const JOIN_CONNECTIONS: usize = 2;

/// A table of places grows from nothing to a million rows faster than statistics are gathered: each row is looked up by an index,
/// and a plan holds only once.
const BY_INDEX: &str = "; SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off; \
                        SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off";
const PLANNED_ANEW: &str = "; SET plan_cache_mode = force_custom_plan";
/// Planning a batch of joins costs as much as running it, so its statements are written to have one good plan. And it commits
/// before it is on disk, so that no other process waits for the disk to get at the line's numbers; [`on_disk`] waits for it.
const PLANNED_ONCE: &str = "; SET plan_cache_mode = force_generic_plan; SET synchronous_commit = off";

fn pool(
    config: &PostgresConfig,
    size: usize,
    settings: String,
    runtime: &tokio::runtime::Handle,
) -> Result<Pool, StoreError> {
    let runtime = runtime.clone();
    let mut manager = ManagerConfig::default();
    // No test query per checkout: a connection that died is noticed by its first statement, which is sent again.
    manager.recycling_method = RecyclingMethod::Fast;
    manager.custom_setup = Box::new(move |url| {
        let (url, settings) = (url.to_owned(), settings.clone());
        let opened = runtime.spawn(async move {
            let mut connection = AsyncPgConnection::establish(&url).await?;
            connection.batch_execute(&settings).await.map_err(ConnectionError::CouldntSetupConfiguration)?;
            Ok(connection)
        });
        async move { opened.await.unwrap_or_else(|error| Err(ConnectionError::BadConnection(error.to_string()))) }
            .boxed()
    });
    let manager = AsyncDieselConnectionManager::<AsyncPgConnection>::new_with_config(&config.url, manager);
    DeadPool::builder(manager)
        .max_size(size)
        .wait_timeout(Some(config.acquire_timeout))
        .create_timeout(Some(config.acquire_timeout))
        .runtime(deadpool_redis::Runtime::Tokio1)
        .build()
        .map_err(|error| StoreError::Broken(error.into()))
}

impl Postgres {
    /// A pool that opens connections as they are needed. Connections are driven by `runtime`, which must live as long
    /// as the pool, so that no connection dies with the worker that happened to open it.
    pub fn new(config: &PostgresConfig, runtime: &tokio::runtime::Handle) -> Result<Self, StoreError> {
        let settings = format!(
            "SET statement_timeout = {}; SET lock_timeout = {}; SET idle_in_transaction_session_timeout = {}",
            config.statement_timeout.as_millis(),
            config.lock_timeout.as_millis(),
            config.idle_in_transaction_timeout.as_millis(),
        );
        Ok(Self {
            pool: pool(config, config.pool_size, settings.clone(), runtime)?,
            lines: pool(config, LINE_CONNECTIONS, format!("{settings}{BY_INDEX}{PLANNED_ANEW}"), runtime)?,
            joins: pool(config, JOIN_CONNECTIONS, format!("{settings}{BY_INDEX}{PLANNED_ONCE}"), runtime)?,
            not_all_new: Arc::default(),
            concerts_of_shows: moka::future::Cache::new(100_000),
            lookups: Arc::new(Semaphore::new(LOOKUPS)),
        })
    }

    /// The same database on the connections that are kept for lines.
    pub(super) fn for_lines(&self) -> Self {
        Self { pool: self.lines.clone(), ..self.clone() }
    }

    /// The same database on the connections that are kept for joins.
    pub(super) fn for_joins(&self) -> Self {
        Self { pool: self.joins.clone(), ..self.clone() }
    }

    /// Numbers for the metrics.
    pub fn pool_numbers(&self) -> PoolNumbers {
        let status = self.pool.status();
        PoolNumbers { open: status.size, free: status.available, waiting: status.waiting }
    }

    /// Whether the database answers and has every migration of this program.
    pub async fn ready(&self) -> Result<bool, StoreError> {
        let applied: Vec<String> =
            self.read_all(|| __diesel_schema_migrations::table.select(__diesel_schema_migrations::version)).await?;
        Ok(super::migrations::versions().iter().all(|version| applied.contains(version)))
    }

    pub(super) async fn connection(&self) -> Result<Connection, StoreError> {
        self.pool.get().await.map_err(|error| StoreError::Unavailable(error.into()))
    }

    /// Runs a read. When its connection turns out to be dead, it is sent once more on a new one.
    pub(super) async fn read_all<Q, U>(&self, make: impl Fn() -> Q + Send) -> Result<Vec<U>, StoreError>
    where
        U: Send,
        Q: LoadQuery<'static, AsyncPgConnection, U> + Send + 'static,
    {
        let mut connection = self.connection().await?;
        match make().load::<U>(&mut *connection).await {
            Err(error) if connection_is_gone(&error) => {
                drop(Object::take(connection));
                let mut fresh = self.fresh_connection().await?;
                make().load::<U>(&mut *fresh).await.map_err(classify)
            }
            result => result.map_err(classify),
        }
    }

    /// Like [`Postgres::read_all`], for at most one row.
    pub(super) async fn read_one<Q, U>(&self, make: impl Fn() -> Q + Send) -> Result<Option<U>, StoreError>
    where
        U: Send,
        Q: LoadQuery<'static, AsyncPgConnection, U> + Send + 'static,
    {
        Ok(self.read_all(make).await?.into_iter().next())
    }

    /// Runs a write that is whole by itself and returns its rows. It is sent once: it may have been done although its connection
    /// is dead.
    pub(super) async fn write_all<Q, U>(&self, query: Q) -> Result<Vec<U>, StoreError>
    where
        U: Send,
        Q: LoadQuery<'static, AsyncPgConnection, U> + Send + 'static,
    {
        let mut connection = self.connection().await?;
        query.load::<U>(&mut *connection).await.map_err(classify)
    }

    /// Like [`Postgres::write_all`], for at most one row.
    pub(super) async fn write_one<Q, U>(&self, query: Q) -> Result<Option<U>, StoreError>
    where
        U: Send,
        Q: LoadQuery<'static, AsyncPgConnection, U> + Send + 'static,
    {
        Ok(self.write_all(query).await?.into_iter().next())
    }

    /// Runs a write without rows and returns how many it touched. Like [`Postgres::write_all`], it is sent once.
    pub(super) async fn execute<Q>(&self, query: Q) -> Result<usize, StoreError>
    where
        Q: ExecuteDsl<AsyncPgConnection> + Send + 'static,
    {
        let mut connection = self.connection().await?;
        query.execute(&mut *connection).await.map_err(classify)
    }

    /// A connection that was not idle in the pool: the idle ones probably died together.
    pub(super) async fn fresh_connection(&self) -> Result<Connection, StoreError> {
        self.pool.retain(|_, metrics| metrics.age() < Duration::from_millis(1));
        self.connection().await
    }
}

/// Waits until everything that was committed before is on disk.
pub(super) async fn on_disk(connection: &mut AsyncPgConnection) -> Result<(), StoreError> {
    sql(include_str!("sql/on_disk.sql")).execute(connection).await.map_err(classify).map(|_| ())
}

/// An error for a row that the schema should have made impossible.
pub(super) fn impossible(what: &str) -> StoreError {
    StoreError::Broken(Box::new(Error::DeserializationError(what.to_owned().into())))
}
