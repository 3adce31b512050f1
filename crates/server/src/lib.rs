//! The server: configuration, telemetry, wiring, schedulers, shutdown. The only crate that sees all the others.

pub mod charts;
pub mod config;
pub mod demo;
pub mod dev;
pub mod html;
pub mod line_checks;
pub mod load;
pub mod mint;
pub mod plan;
pub mod reporting;
pub mod schedulers;
pub mod serve;
pub mod telemetry;
pub mod wiring;
