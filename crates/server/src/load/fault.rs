//! Faults during a run: a process is killed, and how long it takes until as many right answers come as before.

use std::{str::FromStr, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use onsale_application::context::Clock;
use onsale_infrastructure::system::System;
use tokio::sync::mpsc::UnboundedSender;

use super::{recorded::Recorded, verdict::Finding};

/// As much of the rate before is back to normal.
const NORMAL: f64 = 0.9;
/// The rate before is that of so many seconds.
const BEFORE_SECS: i64 = 10;
/// The rate afterwards has to hold for so many seconds.
const AFTERWARDS_SECS: i64 = 3;

/// A process to be killed, so many seconds after the fans began to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Its name, as in the report.
    pub process: String,
    /// When, in seconds.
    pub after_secs: u64,
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fault = text.split_once('@').and_then(|(process, secs)| {
            let after_secs = secs.parse().ok().filter(|secs| *secs >= BEFORE_SECS.unsigned_abs())?;
            (!process.is_empty()).then(|| Self { process: process.to_owned(), after_secs })
        });
        fault.ok_or_else(|| format!("has to be NAME@SECONDS, for example redis@60, not before {BEFORE_SECS} s"))
    }
}

/// A process that was killed, and when.
#[derive(Debug, Clone)]
pub struct Struck {
    fault: Fault,
    at_ms: i64,
}

/// Kills what is to be killed, each at its time, and tells of it. Processes are looked up then, because one that was killed has another id.
pub async fn strike(faults: Vec<Fault>, processes: impl Fn() -> Vec<(String, u32)>, tell: UnboundedSender<Struck>) {
    let began = tokio::time::Instant::now();
    for fault in faults {
        tokio::time::sleep_until(began + Duration::from_secs(fault.after_secs)).await;
        let found = processes().into_iter().find(|(name, _)| *name == fault.process);
        let id = found.and_then(|(_, id)| i32::try_from(id).ok());
        match id.map(|id| kill(Pid::from_raw(id), Signal::SIGKILL)) {
            Some(Ok(())) => {
                eprintln!("{} is killed.", fault.process);
                // Nobody listens when the run is over.
                let _ = tell.send(Struck { fault, at_ms: System.now().timestamp_millis() });
            }
            Some(Err(error)) => eprintln!("{} cannot be killed: {error}", fault.process),
            None => eprintln!("{} cannot be killed: it is not known here", fault.process),
        }
    }
}

/// What came of each fault that was asked for.
pub fn findings(faults: &[Fault], struck: &[Struck], recorded: &Recorded) -> Vec<Finding> {
    let rates = right_by_second(recorded);
    let first = recorded.seconds.keys().next().copied().unwrap_or_default();
    faults
        .iter()
        .map(|fault| {
            let name = format!("{} killed after {} s", fault.process, fault.after_secs);
            let Some(struck) = struck.iter().find(|struck| struck.fault == *fault) else {
                return Finding { name, holds: false, detail: "it was not killed".to_owned() };
            };
            let second = struck.at_ms.div_euclid(1_000) - first;
            let before = mean(&rates, second - BEFORE_SECS, BEFORE_SECS);
            match back_after(&rates, second) {
                Some(secs) => {
                    let detail =
                        format!("{NORMAL} of the {before:.0} right answers a second before came again after {secs} s");
                    Finding { name, holds: true, detail }
                }
                None => {
                    let detail =
                        format!("{NORMAL} of the {before:.0} right answers a second before did not come again");
                    Finding { name, holds: false, detail }
                }
            }
        })
        .collect()
}

/// Right answers of each second of the run.
fn right_by_second(recorded: &Recorded) -> Vec<u64> {
    let seconds = recorded.windows(1).into_iter();
    seconds.map(|(_, seen)| seen.steps.values().map(|tally| tally.counts.right).sum()).collect()
}

#[expect(clippy::cast_precision_loss, reason = "answers of some seconds")]
fn mean(rates: &[u64], from: i64, secs: i64) -> f64 {
    let from = usize::try_from(from.max(0)).unwrap_or(usize::MAX);
    let secs = usize::try_from(secs).unwrap_or(1);
    let sum: u64 = rates.iter().skip(from).take(secs).sum();
    sum as f64 / secs as f64
}

/// Seconds from the fault to the first of some seconds with nearly as many right answers as before. The second of the fault
/// itself may still look well.
fn back_after(rates: &[u64], second: i64) -> Option<i64> {
    let wanted = NORMAL * mean(rates, second - BEFORE_SECS, BEFORE_SECS);
    let last = i64::try_from(rates.len()).ok()? - AFTERWARDS_SECS;
    (second + 1..=last).find(|from| mean(rates, *from, AFTERWARDS_SECS) >= wanted).map(|from| from - second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_a_process_and_a_time() {
        assert_eq!("redis@60".parse(), Ok(Fault { process: "redis".to_owned(), after_secs: 60 }));
        for wrong in ["redis", "@60", "redis@", "redis@3", "redis@-60", "redis@soon"] {
            assert!(wrong.parse::<Fault>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_rate_is_back_when_it_holds_for_some_seconds() {
        let mut rates = vec![100; 20];
        rates.extend([0, 0, 95, 10, 80, 100, 95, 95, 100, 100]);
        assert_eq!(back_after(&rates, 19), Some(5));
        assert_eq!(back_after(&[vec![100; 20], vec![50; 20]].concat(), 19), None);
    }
}
