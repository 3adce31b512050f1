//! What `onsale dev` keeps between starts, and what it says of itself while it runs.

use std::{
    fs::OpenOptions,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::Value;

use crate::config::Config;

/// The file with the secrets.
const SECRETS: &str = "secrets.toml";

/// The file that is there while it runs.
const RUNNING: &str = "running.toml";

/// What a running `onsale dev` says to other commands of this program.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Running {
    /// Its process.
    pub pid: u32,
    /// Where it listens.
    pub bind: String,
    /// Its database.
    pub database_url: String,
    /// Its Redis.
    pub redis_url: String,
    /// Start of its keys there.
    pub redis_key_prefix: String,
    /// Currency of its wallets.
    pub currency: String,
}

/// The file that says that it runs. It goes when this is dropped.
pub struct RunningNote(PathBuf);

impl Drop for RunningNote {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

/// Says where this process serves, in a file that only its owner can read, as the addresses of stores may have passwords.
pub fn note_running(data_dir: &Path, config: &Config, bind: &str) -> std::io::Result<RunningNote> {
    let note = RunningNote(data_dir.join(RUNNING));
    // One that a killed process has left.
    drop(std::fs::remove_file(&note.0));
    let redis_url = config.redis.urls.join(",");
    let values = [
        ("bind", bind),
        ("database_url", config.database.url.as_str()),
        ("redis_url", redis_url.as_str()),
        ("redis_key_prefix", config.redis_prefix.as_str()),
        ("currency", config.currency.code()),
    ];
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&note.0)?;
    writeln!(file, "# Written by `onsale dev`, gone when it ends.\npid = {}", std::process::id())?;
    for (name, value) in values {
        // A string of JSON is one of TOML.
        writeln!(file, "{name} = {}", Value::from(value))?;
    }
    Ok(note)
}

/// What runs in a folder, and its secrets as a configuration file; `None` when nothing does.
pub fn running(data_dir: &Path) -> std::io::Result<Option<(Running, String)>> {
    let text = match std::fs::read_to_string(data_dir.join(RUNNING)) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let running = toml::from_str(&text).map_err(std::io::Error::other)?;
    Ok(Some((running, std::fs::read_to_string(data_dir.join(SECRETS))?)))
}

/// The generated secrets as a configuration file, made at the first start and readable by its owner only. They are
/// kept, so that tokens and tickets stay good across restarts.
pub fn secrets(data_dir: &Path) -> std::io::Result<String> {
    let path = data_dir.join(SECRETS);
    if path.exists() {
        return std::fs::read_to_string(&path);
    }
    let text = format!(
        "# Made by `onsale dev`; not for production.\n[auth]\nsecret = \"{}\"\nticket_key = \"{}\"\n",
        STANDARD.encode(onsale_infrastructure::system::random_bytes()),
        STANDARD.encode(onsale_infrastructure::system::random_bytes()),
    );
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    file.write_all(text.as_bytes())?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_read_and_goes_with_the_note() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(running(folder.path()).expect("readable"), None);
        let secrets = secrets(folder.path()).expect("secrets");
        let environment = |name: &str| match name {
            "DATABASE_URL" => Some("postgres://a:\"b\\c@localhost/onsale".to_owned()),
            "REDIS_URL" => Some("redis://localhost/0".to_owned()),
            _ => None,
        };
        let config = Config::parse(&secrets, &environment).expect("a configuration");
        let note = note_running(folder.path(), &config, "127.0.0.1:8080").expect("written");
        let (found, also) = running(folder.path()).expect("readable").expect("there");
        assert_eq!((found.pid, found.bind.as_str(), also), (std::process::id(), "127.0.0.1:8080", secrets));
        assert_eq!((found.database_url, found.redis_url), (config.database.url, "redis://localhost/0".to_owned()));
        assert_eq!((found.redis_key_prefix.as_str(), found.currency.as_str()), ("onsale", "KRW"));
        drop(note);
        assert_eq!(running(folder.path()).expect("readable"), None);
    }
}
