//! PostgreSQL through diesel-async.

mod accounts;
mod audit;
mod catalogue;
mod error;
mod idempotency;
mod line;
mod line_records;
pub mod migrations;
mod pool;
mod reports;
mod reservations;
pub mod seeding;
mod selling;
mod statement;
mod stock;
mod sweeping;
mod tickets;
mod transaction;
mod wallets;

pub use pool::{PoolNumbers, PostgresConfig};
pub use transaction::PostgresTx;

use std::sync::Arc;

use moka::future::Cache;
use onsale_domain::ids::{ConcertId, ShowId};
use pool::Pool;
use tokio::sync::Semaphore;

/// The database. Cheap to clone; all clones share one pool.
#[derive(Clone)]
pub struct Postgres {
    pool: Pool,
    /// The concert of a show, which never changes.
    concerts_of_shows: Cache<ShowId, ConcertId>,
    /// How many may look that up at once: shows that nobody made must not take the connections of those who buy.
    lookups: Arc<Semaphore>,
}
