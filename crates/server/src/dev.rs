//! What `onsale dev` keeps between starts.

use std::{fs::OpenOptions, io::Write, os::unix::fs::OpenOptionsExt, path::Path};

use base64::{Engine, engine::general_purpose::STANDARD};

/// The generated secrets as a configuration file, made at the first start and readable by its owner only. They are
/// kept, so that tokens and tickets stay good across restarts.
pub fn secrets(data_dir: &Path) -> std::io::Result<String> {
    let path = data_dir.join("secrets.toml");
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
