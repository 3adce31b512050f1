//! On what a run was made.

use std::fs;

use serde::Serialize;

/// The machine of the generator.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// Processors that this program may use.
    pub cores: usize,
    /// What they call themselves.
    pub processor: String,
    /// Memory.
    pub memory_bytes: u64,
    /// The system and its version.
    pub system: String,
}

impl Machine {
    /// The one we run on. What it does not tell is empty or 0.
    pub fn here() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        // Without what a distribution appends.
        let release = read("/proc/sys/kernel/osrelease");
        let kernel = release.split('-').next().unwrap_or_default();
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            processor: field(&read("/proc/cpuinfo"), "model name").unwrap_or_default(),
            memory_bytes: kilobytes(&read("/proc/meminfo")).unwrap_or_default() * 1_024,
            system: format!("{} {}", std::env::consts::OS, kernel.trim()).trim().to_owned(),
        }
    }
}

/// The first `name : value` of a text.
fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn kilobytes(meminfo: &str) -> Option<u64> {
    field(meminfo, "MemTotal")?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_read() {
        let cpus = "processor\t: 0\nmodel name\t: Some CPU @ 2.0 GHz\nprocessor\t: 1\nmodel name\t: Other\n";
        assert_eq!(field(cpus, "model name").as_deref(), Some("Some CPU @ 2.0 GHz"));
        assert_eq!(kilobytes("MemTotal:       16384 kB\nMemFree: 1 kB\n"), Some(16_384));
        assert!(Machine::here().cores > 0);
    }
}
