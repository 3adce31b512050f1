//! What Onsale does, decided over ports.
//!
//! One facade per capability. A facade checks the input against the domain, opens and commits transactions, and calls
//! ports; the ports are implemented by infrastructure. The HTTP edge sees each facade as one object-safe trait. Reads of which
//! nothing is decided have no facade: their port is such a trait itself ([`reports::Reports`], [`line::LineRecords`]).

pub mod accounts;
pub mod audit;
pub mod catalogue;
pub mod context;
pub mod error;
pub mod housekeeping;
pub mod idempotency;
pub mod line;
pub mod page;
pub mod reports;
pub mod seat_maps;
pub mod selling;
pub mod steering;
pub mod tickets;
pub mod transaction;
pub mod wallets;
