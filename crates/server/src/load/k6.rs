//! Lets k6 send the fans, and reads what it saw.

mod output;

use std::{
    fs::OpenOptions,
    io::{ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use onsale_application::context::Clock;
use onsale_infrastructure::system::System;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead},
    process::{Child, Command},
};

use super::{
    Failure,
    prepare::{Fan, Job},
    recorded::Recorded,
};
use crate::serve;

/// Longest wait for k6 to write down what it has after it was asked to stop.
const STOP_WAIT: Duration = Duration::from_secs(30);

/// Least time between two lines of progress.
const PROGRESS_EVERY_MS: i64 = 10_000;

/// Where `script/bootstrap --tests` puts k6.
const OWN_K6: &str = ".onsale/tools/venv/bin/k6";

/// The journeys of fans.
const SCRIPT: &str = "loadtest/fan.js";

/// The files that k6 writes, in the folder of the run. k6 takes options behind a comma in these names, so they are relative.
const CSV: &str = "k6.csv";
const LOG: &str = "k6.log";

/// Sends the fans of `job` and waits for the last one. A run that is interrupted has what was seen until then, and says so.
pub async fn drive(job: &Job) -> Result<Recorded, Failure> {
    const NOT_FOR_K6: [&str; 7] = [
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "DATABASE_URL",
        "REDIS_URL",
        "ONSALE_AUTH_SECRET",
        "ONSALE_AUTH_TICKET_KEY",
    ];
    let folder = job.folder.canonicalize()?;
    let scenario = folder.join("scenario.json");
    // k6 writes its log behind what is there: fans of an earlier run in this folder would count as ours.
    for name in [CSV, LOG] {
        match std::fs::remove_file(folder.join(name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    let script = std::env::current_dir()?.join(SCRIPT);
    if !script.is_file() {
        return Err(format!("{} is not there: loadtest/run starts in the right folder", script.display()).into());
    }
    let tokens = TokenFile::write(folder.join("fans.txt"), &job.fans)?;
    let program = program();
    let mut command = Command::new(&program);
    // Nothing of this machine stands between the fans and the server, and k6 needs no secrets of it.
    for name in NOT_FOR_K6 {
        command.env_remove(name).env_remove(name.to_lowercase());
    }
    let mut child = command
        .arg("run")
        // It tells nobody of this run, and leaves the port of its own API alone: two runs at once would want the same.
        .args(["--no-usage-report", "--address", ""])
        .args(["--no-summary", "--no-color", "--out", &format!("csv={CSV}")])
        .args(["--log-format", "raw", "--log-output", &format!("file={LOG}")])
        .arg(&script)
        .env("K6_CSV_TIME_FORMAT", "unix_milli")
        .env("SCENARIO", &scenario)
        .env("BASE_URLS", job.base_urls.join(","))
        .env("FANS", &tokens.0)
        .env("CONCERT", job.concert.to_string())
        .env("SHOW", job.show.to_string())
        .current_dir(&folder)
        // Ctrl-C reaches only us: k6 takes a second signal as an order to drop everything.
        .process_group(0)
        .kill_on_drop(true)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| {
            format!("{} does not start: {error}; script/bootstrap --tests installs it", program.display())
        })?;
    let progress = child.stdout.take().map(|out| tokio::spawn(show_progress(out)));
    let complaints = child.stderr.take().map(|out| tokio::spawn(show_complaints(out)));
    let stop = serve::stop_on_signals();
    let (status, interrupted) = tokio::select! {
        status = child.wait() => (status?, false),
        () = stop.cancelled() => (stop_in_order(&mut child).await?, true),
    };
    for told in [progress, complaints].into_iter().flatten() {
        drop(told.await);
    }
    drop(tokens);
    let ending = if interrupted { Ending::Partial("it was interrupted".to_owned()) } else { ending(status) };
    if ending == Ending::NotRun {
        let log = std::fs::read_to_string(folder.join(LOG)).unwrap_or_default();
        return Err(format!("k6 did not run ({status}):\n{}", end_of(&log)).into());
    }
    let mut recorded = tokio::task::spawn_blocking(move || output::read(&folder)).await??;
    match ending {
        Ending::Partial(why) => recorded.unfinished = Some(why),
        Ending::ThresholdsCrossed => {
            recorded.note(
                "k6 says that thresholds of its script were crossed; the limits of the scenario decide".to_owned(),
            );
        }
        Ending::Complete | Ending::NotRun => {}
    }
    Ok(recorded)
}

/// The k6 of `ONSALE_K6`, else the one that is installed for tests, else the one of the system.
fn program() -> PathBuf {
    // It runs in the folder of the run, where a relative path leads nowhere.
    let named = std::env::var_os("ONSALE_K6").map(PathBuf::from).map(|path| path.canonicalize().unwrap_or(path));
    let own = std::env::current_dir().map(|folder| folder.join(OWN_K6)).ok().filter(|path| path.is_file());
    named.or(own).unwrap_or_else(|| "k6".into())
}

/// The access tokens of all fans, one a line, readable by us only and only while k6 runs.
struct TokenFile(PathBuf);

impl TokenFile {
    fn write(path: PathBuf, fans: &[Fan]) -> std::io::Result<Self> {
        // One that a killed run has left may be readable by others.
        if path.exists() {
            std::fs::remove_file(&path)?;
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let written = Self(path);
        let tokens: Vec<&str> = fans.iter().map(|fan| fan.access_token.as_str()).collect();
        file.write_all(tokens.join("\n").as_bytes())?;
        Ok(written)
    }
}

impl Drop for TokenFile {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

/// Shows how far k6 is, now and then. Without a terminal it tells of it each second.
async fn show_progress(out: impl AsyncRead + Unpin) {
    let mut lines = tokio::io::BufReader::new(out).lines();
    let mut shown_ms = None;
    while let Ok(Some(line)) = lines.next_line().await {
        let now_ms = System.monotonic_ms();
        if is_progress(&line) && shown_ms.is_none_or(|shown_ms| now_ms - shown_ms >= PROGRESS_EVERY_MS) {
            eprintln!("k6: {line}");
            shown_ms = Some(now_ms);
        }
    }
}

/// Shows what k6 says outside its log: that it was called wrongly, or that it crashed.
async fn show_complaints(out: impl AsyncRead + Unpin) {
    let mut lines = tokio::io::BufReader::new(out).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if !line.trim().is_empty() && !is_progress(&line) {
            eprintln!("k6: {line}");
        }
    }
}

fn is_progress(line: &str) -> bool {
    line.starts_with("running (")
}

fn signal(child: &Child, signal: Signal) {
    if let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()) {
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

/// Asks k6 to stop, which writes down what it has. Whoever interrupts once more, or waits long enough, ends it at once.
async fn stop_in_order(child: &mut Child) -> std::io::Result<ExitStatus> {
    eprintln!("k6 is asked to stop; once more ends it at once");
    signal(child, Signal::SIGINT);
    let again = serve::stop_on_signals();
    tokio::select! {
        status = child.wait() => return status,
        () = again.cancelled() => {}
        () = tokio::time::sleep(STOP_WAIT) => {}
    }
    child.kill().await?;
    child.wait().await
}

/// How k6 ended. The numbers are those of its package `errext/exitcodes`.
#[derive(Debug, PartialEq, Eq)]
enum Ending {
    /// All fans were sent.
    Complete,
    /// So they were, and thresholds of the script were crossed.
    ThresholdsCrossed,
    /// It stopped before, for this reason.
    Partial(String),
    /// It sent none.
    NotRun,
}

fn ending(status: ExitStatus) -> Ending {
    match status.code() {
        Some(0) => Ending::Complete,
        Some(99) => Ending::ThresholdsCrossed,
        Some(code @ 100..=102) => Ending::Partial(format!("it ran out of time (k6 ended with {code})")),
        Some(code @ (103 | 105)) => Ending::Partial(format!("somebody else stopped it (k6 ended with {code})")),
        Some(108) => Ending::Partial("its script gave up (k6 ended with 108)".to_owned()),
        // Without a code: a signal. That is also how a machine out of memory ends it.
        None => Ending::Partial(format!("it was killed ({status})")),
        // Settings, a script that cannot be read, a fault of k6.
        Some(_) => Ending::NotRun,
    }
}

fn end_of(text: &str) -> String {
    let lines: Vec<&str> = text.lines().rev().take(10).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn crossed_thresholds_are_not_a_run_that_did_not_happen() {
        let of = |code: i32| ending(ExitStatus::from_raw(code << 8));
        assert_eq!((of(0), of(99)), (Ending::Complete, Ending::ThresholdsCrossed));
        assert_eq!((of(255), of(107), of(104)), (Ending::NotRun, Ending::NotRun, Ending::NotRun));
        assert!(matches!(of(105), Ending::Partial(_)) && matches!(of(108), Ending::Partial(_)));
        assert!(matches!(ending(ExitStatus::from_raw(9)), Ending::Partial(_)), "killed");
    }

    #[test]
    fn progress_is_told_from_the_rest() {
        assert!(is_progress("running (01.0s), 2/3 VUs, 5 complete and 0 interrupted iterations"));
        assert!(!is_progress("fans   [  25% ] 2/3 VUs  1.0s/4s  20.00 iters/s"));
    }
}
