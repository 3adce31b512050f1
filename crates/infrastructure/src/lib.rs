//! Technology: PostgreSQL, Redis, signatures, hashes, clock and randomness behind the application's ports.

pub mod catalogue_cache;
pub mod postgres;
pub mod redis;
pub mod seat_map_cache;
pub mod security;
pub mod system;
