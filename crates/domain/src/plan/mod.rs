//! A sale before it happens: a simulation by the rules of the line, settings that fit, and what machines that takes. See
//! docs/PLANNING.md.
//!
//! Pure like the rest of the domain: chance comes from a seed, so the same sale and seed have the same outcome.

mod advice;
mod arrivals;
mod chance;
mod crowd;
mod forecast;
mod outcome;
mod past;
mod polls;
mod selling;
mod simulation;
mod sizing;
mod turns;
pub mod words;

pub use advice::{Advice, Reason, advise};
pub use crowd::{ArrivalPart, Arrivals, Crowd, Curve, Spread};
pub use forecast::{Forecast, ForecastRow, LineNow, forecast};
pub use outcome::{Fates, Group, Groups, Load, Moment, Outcome, SUSTAINED_SECS, Waits};
pub use past::PastSale;
pub use simulation::{HORIZON_SECS, Sale, simulate};
pub use sizing::{Capacity, Cost, Costs, Machines, Sizing, Sum, size};

#[cfg(test)]
mod tests;
