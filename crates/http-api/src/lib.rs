//! The REST API: requests in, facades called, answers out.
//!
//! [`routes::ROUTES`] is the one table of everything that is served: who may call it and which problems it can answer.
//! The OpenAPI document, the 405 answers and the test that walks all routes are made from it.

pub mod code;
pub mod conditional;
mod connections;
pub mod endpoints;
mod examples;
mod explain;
pub mod extract;
mod gzip;
pub mod metrics;
mod middleware;
pub mod openapi;
pub mod problem;
mod published;
pub mod routes;
pub mod seat;
mod server;
pub mod state;
pub mod streams;
mod swagger;

pub use server::{ServerOptions, start};
pub use state::{ApiState, Detached, Facades, Limits, Probes};
