//! Child processes: their user, their signals, their end.

use std::{fs::File, path::Path, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, Uid, User},
};
use tokio::process::{Child, Command};

use crate::{StackError, io};

/// Longest wait for a child to end after it was asked to.
const STOP_WAIT: Duration = Duration::from_secs(20);

/// Whether a process with this id exists and runs; one that has ended and that its parent has not asked about does not.
fn is_alive(pid: i32) -> bool {
    kill(Pid::from_raw(pid), None).is_ok() && state_and_start(pid).is_none_or(|(state, _)| state != "Z")
}

/// The state of a process, and when it started, in ticks since the machine did: with its id this names one process for ever.
/// `None` where the system does not tell.
fn state_and_start(pid: i32) -> Option<(String, String)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program, in parentheses, may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.to_owned();
    Some((state, fields.nth(18)?.to_owned()))
}

/// Notes which process runs, so that whoever comes after a crash finds it.
fn note(file: &Path, pid: i32) -> Result<(), StackError> {
    let start = state_and_start(pid).map(|(_, start)| start).unwrap_or_default();
    std::fs::write(file, format!("{pid} {start}\n")).map_err(io(format!("cannot write {}", file.display())))
}

/// The process that was noted, if it still runs.
pub(crate) fn noted(file: &Path) -> Option<i32> {
    let text = std::fs::read_to_string(file).ok()?;
    let mut words = text.split_whitespace();
    let (pid, start) = (words.next()?.parse().ok()?, words.next()?);
    state_and_start(pid).is_some_and(|(_, since)| since == start).then_some(pid)
}

/// Ends the process that was noted, if it still runs: first in order, then at once.
pub(crate) async fn end_noted(file: &Path, stop_with: Signal) -> Result<(), StackError> {
    if let Some(pid) = noted(file) {
        end(pid, stop_with).await?;
    }
    drop(std::fs::remove_file(file));
    Ok(())
}

/// Ends a process that is not our child.
pub(crate) async fn end(pid: i32, stop_with: Signal) -> Result<(), StackError> {
    if !is_alive(pid) {
        return Ok(());
    }
    tracing::warn!(pid, "a server that a killed process left running is ended");
    for signal in [stop_with, Signal::SIGKILL] {
        let _ = kill(Pid::from_raw(pid), signal);
        let gone = async {
            while is_alive(pid) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(STOP_WAIT, gone).await.is_ok() {
            return Ok(());
        }
    }
    Err(StackError::Failed(format!("process {pid} does not end")))
}

/// The command line of a process; empty where the system does not tell.
pub(crate) fn command_line(pid: i32) -> String {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

/// Whom servers run as: PostgreSQL refuses root, so as root an unprivileged user takes its place.
pub(crate) fn service_user() -> Result<Option<User>, StackError> {
    if !Uid::effective().is_root() {
        return Ok(None);
    }
    for name in ["postgres", "nobody"] {
        if let Ok(Some(user)) = User::from_name(name) {
            return Ok(Some(user));
        }
    }
    Err(StackError::Failed(
        "PostgreSQL does not run as root, and there is neither a user `postgres` nor `nobody`".into(),
    ))
}

/// A command that runs as `user` in a process group of its own, so that Ctrl-C reaches only us and we stop it in order.
pub(crate) fn command(program: &Path, user: Option<&User>) -> Command {
    let mut command = Command::new(program);
    command.process_group(0).current_dir("/").stdin(std::process::Stdio::null());
    if let Some(user) = user {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw()).env("HOME", "/");
    }
    command
}

/// Gives a folder to the user that will work in it.
pub(crate) fn give(folder: &Path, user: Option<&User>) -> Result<(), StackError> {
    std::fs::create_dir_all(folder).map_err(io(format!("cannot make {}", folder.display())))?;
    if let Some(user) = user {
        std::os::unix::fs::chown(folder, Some(user.uid.as_raw()), Some(user.gid.as_raw())).map_err(io(format!(
            "cannot give {} to {}",
            folder.display(),
            user.name
        )))?;
    }
    Ok(())
}

/// Whether `user` can reach a folder: every folder above it must let the user through.
pub(crate) async fn can_reach(folder: &Path, user: Option<&User>) -> bool {
    let mut probe = command(Path::new("/bin/sh"), user);
    probe.arg("-c").arg("cd \"$1\"").arg("sh").arg(folder).stderr(std::process::Stdio::null());
    probe.status().await.is_ok_and(|status| status.success())
}

/// A server that is running.
pub(crate) struct Server {
    child: Child,
    pid: Pid,
    /// Ends it in order.
    stop_with: Signal,
    /// Ends it at once.
    kill_with: Signal,
}

impl Server {
    /// Starts it, and notes it in a file if one is named.
    pub(crate) fn spawn(
        mut command: Command,
        log: &Path,
        noted: Option<&Path>,
        stop_with: Signal,
        kill_with: Signal,
    ) -> Result<Self, StackError> {
        let log_file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .map_err(io(format!("cannot open {}", log.display())))?;
        let errors = log_file.try_clone().map_err(io("cannot open the log twice"))?;
        let child = command.stdout(log_file).stderr(errors).spawn().map_err(io("a server does not start"))?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        let pid = pid.ok_or_else(|| StackError::Failed("a server ended at once".into()))?;
        let server = Self { child, pid, stop_with, kill_with };
        if let Some(file) = noted {
            note(file, pid.as_raw())?;
        }
        Ok(server)
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    pub(crate) async fn stop(&mut self) {
        let _ = kill(self.pid, self.stop_with);
        if tokio::time::timeout(STOP_WAIT, self.child.wait()).await.is_err() {
            tracing::warn!(pid = self.pid.as_raw(), "a server did not stop in time and is killed");
            self.kill(Signal::SIGKILL).await;
        }
    }

    pub(crate) async fn kill(&mut self, signal: Signal) {
        let _ = kill(self.pid, signal);
        drop(self.child.wait().await);
    }

    /// Kills it and its children, as the end of the machine would. PostgreSQL's backends live in sessions of their
    /// own and would otherwise answer for a moment longer.
    pub(crate) async fn kill_all(&mut self) {
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.pid)).unwrap_or_default();
        self.kill(Signal::SIGKILL).await;
        for child in children.split_whitespace().filter_map(|text| text.parse().ok()) {
            let _ = kill(Pid::from_raw(child), Signal::SIGKILL);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !self.has_ended() {
            let _ = kill(self.pid, self.kill_with);
        }
    }
}

/// The last lines of a log, for an error message.
pub(crate) fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(20).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}
