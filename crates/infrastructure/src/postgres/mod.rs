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

use moka::future::Cache;
use onsale_domain::ids::{ConcertId, ShowId};
use pool::Pool;

/// The database. Cheap to clone; all clones share one pool.
#[derive(Clone)]
pub struct Postgres {
    pool: Pool,
    /// The concert of a show, which never changes.
    concerts_of_shows: Cache<ShowId, ConcertId>,
}
