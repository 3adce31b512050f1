//! The server: configuration, telemetry, wiring, schedulers, shutdown. The only crate that sees all the others.

pub mod config;
pub mod demo;
pub mod dev;
pub mod line_checks;
pub mod mint;
pub mod reporting;
pub mod schedulers;
pub mod serve;
pub mod telemetry;
pub mod wiring;
