//! The line: who is promoted when, what a waiting fan is told, and how anyone can check that it was fair.
//!
//! Numbers, order and limits are kept by the atomic scripts in the infrastructure; here are the settings and their
//! ranges, and the rules that need no store.

mod draw;
mod estimate;
mod fairness;
mod log;
mod odds;
mod policy;

pub use draw::{BallotKey, DrawBlock, DrawFault, DrawSeed, check_draw};
pub use estimate::{Eta, Pace, PaceMeter, calm_poll_after_ms, eta, eta_error_secs, poll_after_ms};
pub use fairness::{AdmissionFact, FairnessReport, WaitingTimes};
pub use log::{LogEntry, LogFault, LogHash, LogKind, batch_hash, check_log, place_hash};
pub use odds::{Stock, odds};
pub use policy::{PolicyWarning, QueuePolicy, Setting};

/// The position of the fan with `number`: 1 for the first who is not active yet.
///
/// `passed` is the highest number made active so far and `departed` counts the numbers between the two whose fans left.
/// All three only ever move in the fan's favour, so a position never grows.
pub fn position(number: i64, passed: i64, departed: i64) -> i64 {
    (number - passed - departed).max(1)
}

/// Whether a poll comes much too early: before a quarter of the time that the fan was told to wait.
pub fn is_much_too_early(told_ms: i64, passed_ms: i64) -> bool {
    passed_ms < told_ms / 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_to_be_called_reads_one() {
        assert_eq!(position(421, 420, 0), 1);
        assert_eq!(position(430, 420, 3), 7);
        assert_eq!(position(1, 5, 0), 1);
    }

    #[test]
    fn a_quarter_of_the_time_is_early_enough() {
        assert!(is_much_too_early(1_000, 249));
        assert!(!is_much_too_early(1_000, 250));
    }
}
