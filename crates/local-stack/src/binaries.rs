//! Where the servers' programs are.

use std::path::{Path, PathBuf};

use crate::StackError;

/// The folder with `initdb` and `postgres`: `ONSALE_PG_BIN_DIR`, else where distributions put it, else `PATH`.
pub(crate) fn postgres_folder() -> Result<PathBuf, StackError> {
    let named = std::env::var_os("ONSALE_PG_BIN_DIR").map(PathBuf::from).into_iter().collect::<Vec<_>>();
    let candidates = if named.is_empty() {
        let mut found = versions("/usr/lib/postgresql", "bin");
        found.extend(["/usr/pgsql-17/bin", "/usr/pgsql-16/bin", "/usr/pgsql-15/bin"].map(PathBuf::from));
        found.extend(in_path("postgres").and_then(|path| path.canonicalize().ok()?.parent().map(Path::to_owned)));
        found
    } else {
        named
    };
    candidates
        .into_iter()
        .find(|folder| folder.join("initdb").is_file() && folder.join("postgres").is_file())
        .ok_or(StackError::Missing { program: "PostgreSQL", package: "postgresql" })
}

/// `ONSALE_REDIS_SERVER`, else `redis-server` or `valkey-server` in `PATH`.
pub(crate) fn redis_server() -> Result<PathBuf, StackError> {
    std::env::var_os("ONSALE_REDIS_SERVER")
        .map(PathBuf::from)
        .or_else(|| in_path("redis-server"))
        .or_else(|| in_path("valkey-server"))
        .filter(|path| path.is_file())
        .ok_or(StackError::Missing { program: "Redis", package: "redis-server" })
}

/// `base/*/leaf`, the highest version first.
fn versions(base: &str, leaf: &str) -> Vec<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = std::fs::read_dir(base)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join(leaf))))
        .collect();
    found.sort();
    found.into_iter().rev().map(|(_, path)| path).collect()
}

fn in_path(program: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths).map(|folder| folder.join(program)).find(|path| path.is_file())
}
