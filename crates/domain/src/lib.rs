//! The rules and states of Onsale.
//!
//! Pure: no I/O, no async, no clock, no randomness, and no serialisation but of settings and plans. What time it is and
//! which ids are new comes in as arguments, so the same input always gives the same output. One word per concept; the
//! words are the ones of the API, the SQL and the metrics.

pub mod account;
pub mod concert;
pub mod fault;
pub mod ids;
pub mod money;
pub mod plan;
pub mod queue;
pub mod reservation;
pub mod seat;
pub mod show;
pub mod text;
pub mod ticket;
pub mod wallet;
