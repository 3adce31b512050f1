//! For tests only: the real application on a real PostgreSQL and Redis, in a database of its own.
#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::assigning_clones,
    reason = "a test that cannot be set up should stop loudly"
)]

mod client;
mod sql;
mod world;

pub use client::{Answer, Client};
pub use sql::Sql;
pub use world::{App, Sale, World};
