//! What processes of this machine use, from `/proc`.

use std::{fs, path::Path};

use serde::Serialize;

/// Linux counts the time of processes in hundredths of a second for whoever reads it (`USER_HZ`), whatever it counts in itself.
const TICKS_PER_SEC: f64 = 100.0;

/// Most processes of one family that are read in one look.
const FAMILY: usize = 10_000;

/// What a process, or a family of processes, uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Usage {
    /// Seconds of processor time since it started.
    pub cpu_secs: f64,
    /// Resident memory. What several processes of a family share is counted once.
    pub memory_bytes: u64,
    /// Open files and connections.
    pub descriptors: u64,
}

/// What one process says of itself.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct One {
    /// Its own processor time, and that of its children that have ended.
    own_secs: f64,
    ended_secs: f64,
    /// Memory of its own, of files, and shared.
    anon_bytes: u64,
    file_bytes: u64,
    shared_bytes: u64,
    descriptors: u64,
}

/// What the process with this id uses; `None` when there is none. PostgreSQL counts with all its children, for each connection is
/// one, and so do we, for k6 is one. A server counts alone: under `onsale dev` its children are the stores.
pub(super) fn usage(id: u32) -> Option<Usage> {
    let folder = format!("/proc/{id}");
    let is_family = id == std::process::id() || is_postgres(&folder);
    let first = read(&folder)?;
    let mut members = vec![first];
    if is_family {
        let mut to_ask = children(&folder);
        while let Some(child) = to_ask.pop().filter(|_| members.len() < FAMILY) {
            let folder = format!("/proc/{child}");
            // One that has ended meanwhile counts with its parent.
            members.extend(read(&folder));
            to_ask.extend(children(&folder));
        }
    }
    Some(together(&members, is_family))
}

fn together(members: &[One], is_family: bool) -> Usage {
    let sum = |of: fn(&One) -> u64| members.iter().map(of).sum::<u64>();
    let most = |of: fn(&One) -> u64| members.iter().map(of).max().unwrap_or_default();
    Usage {
        cpu_secs: members.iter().map(|one| one.own_secs + if is_family { one.ended_secs } else { 0.0 }).sum(),
        memory_bytes: sum(|one| one.anon_bytes) + most(|one| one.file_bytes) + most(|one| one.shared_bytes),
        descriptors: sum(|one| one.descriptors),
    }
}

fn is_postgres(folder: &str) -> bool {
    fs::read_to_string(format!("{folder}/comm")).is_ok_and(|name| name.trim() == "postgres")
}

/// Each thread has the children that it started.
fn children(folder: &str) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("{folder}/task")) else { return vec![] };
    let lists = threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<u32>>()).collect()
}

fn read(folder: &str) -> Option<One> {
    let (own_secs, ended_secs) = times(&fs::read_to_string(format!("{folder}/stat")).ok()?)?;
    let status = fs::read_to_string(format!("{folder}/status")).ok()?;
    let (anon_bytes, file_bytes, shared_bytes) =
        (bytes(&status, "RssAnon:"), bytes(&status, "RssFile:"), bytes(&status, "RssShmem:"));
    let descriptors = descriptors(&Path::new(folder).join("fd"));
    Some(One { own_secs, ended_secs, anon_bytes, file_bytes, shared_bytes, descriptors })
}

/// Since Linux 6.2 the size of this folder is how many there are; before, they have to be counted. 0 for processes of others.
fn descriptors(folder: &Path) -> u64 {
    let size = fs::metadata(folder).map(|folder| folder.len()).unwrap_or_default();
    if size > 0 {
        return size;
    }
    fs::read_dir(folder).map_or(0, |entries| u64::try_from(entries.count()).unwrap_or(u64::MAX))
}

/// Seconds of a process and of its children that have ended, from `stat`: fields 14 to 17 (proc(5)).
fn times(stat: &str) -> Option<(f64, f64)> {
    // The name of the program, in parentheses, may hold anything; the field behind it is the third.
    let mut ticks = stat.rsplit_once(')')?.1.split_whitespace().skip(11).map(|field| field.parse::<f64>().ok());
    let mut next = || ticks.next().flatten();
    let (user, system, user_of_ended, system_of_ended) = (next()?, next()?, next()?, next()?);
    Some(((user + system) / TICKS_PER_SEC, (user_of_ended + system_of_ended) / TICKS_PER_SEC))
}

/// A line such as `RssAnon:      3456 kB`.
fn bytes(status: &str, name: &str) -> u64 {
    let value = status.lines().find_map(|line| line.strip_prefix(name));
    let kilobytes =
        value.and_then(|value| value.split_whitespace().next()).and_then(|number| number.parse::<u64>().ok());
    kilobytes.unwrap_or_default() * 1_024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_a_strange_name_is_read() {
        let stat = "4711 (post) (gres) S 1 4711 4711 0 -1 4194560 100 2 3 4 250 50 1000 200 20 0 1 0 99 1000 20 18446";
        assert_eq!(times(stat), Some((3.0, 12.0)));
        assert_eq!((times("4711 (cut"), times("4711 (cut) S 1 2")), (None, None));
        let status = "Name:\tpostgres\nVmRSS:\t    9000 kB\nRssAnon:\t     100 kB\nRssShmem:\t    7000 kB\n";
        assert_eq!((bytes(status, "RssAnon:"), bytes(status, "RssFile:")), (102_400, 0));
    }

    #[test]
    fn what_a_family_shares_counts_once() {
        let one = One {
            own_secs: 1.0,
            ended_secs: 10.0,
            anon_bytes: 100,
            file_bytes: 50,
            shared_bytes: 1_000,
            descriptors: 7,
        };
        let larger = One { shared_bytes: 1_500, ..one };
        let family = together(&[one, larger], true);
        assert_eq!(family, Usage { cpu_secs: 22.0, memory_bytes: 200 + 50 + 1_500, descriptors: 14 });
        assert!((together(&[one], false).cpu_secs - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn we_are_found_with_our_children_and_nobody_else() {
        let before = usage(std::process::id()).expect("we run");
        assert!(before.memory_bytes > 0 && before.descriptors > 2);
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("a child");
        assert!(children(&format!("/proc/{}", std::process::id())).contains(&child.id()));
        assert!(usage(child.id()).is_some());
        child.kill().expect("ours");
        child.wait().expect("ours");
        assert_eq!(usage(u32::MAX), None);
    }
}
