//! PostgreSQL through diesel-async.

mod accounts;
mod audit;
mod catalogue;
mod draws;
mod error;
mod functions;
mod idempotency;
mod keyset;
mod line;
mod line_records;
pub mod load_runs;
pub mod migrations;
mod places;
mod pool;
mod reports;
mod reservations;
mod schema;
pub mod seeding;
mod selling;
mod statement;
mod stock;
mod sweeping;
mod tickets;
mod transaction;
mod wallets;
mod words;

pub use pool::{PoolNumbers, PostgresConfig};
pub use transaction::PostgresTx;

use std::sync::{Arc, atomic::AtomicUsize};

use moka::future::Cache;
use onsale_domain::ids::{ConcertId, ShowId};
use pool::Pool;
use tokio::sync::Semaphore;

/// The database. Cheap to clone; all clones share its connections.
#[derive(Clone)]
pub struct Postgres {
    pool: Pool,
    /// Connections for lines.
    lines: Pool,
    /// Connections for joins.
    joins: Pool,
    /// How many of the next batches of joins are not taken for new fans only.
    not_all_new: Arc<AtomicUsize>,
    /// The concert of a show, which never changes.
    concerts_of_shows: Cache<ShowId, ConcertId>,
    /// How many may look that up at once: shows that nobody made must not take the connections of those who buy.
    lookups: Arc<Semaphore>,
}
