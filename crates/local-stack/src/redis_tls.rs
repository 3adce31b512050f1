//! A private Redis that speaks TLS, watched by a Sentinel.

use std::path::Path;

use crate::{
    StackError,
    redis_node::{Folder, MASTER_NAME, Node, free_ports, urls},
};

/// Files with PEM text.
#[derive(Debug, Clone, Copy)]
pub struct Certificate<'a> {
    /// Who is trusted.
    pub authority: &'a Path,
    /// The server's certificate, for 127.0.0.1.
    pub certificate: &'a Path,
    /// Its key.
    pub key: &'a Path,
}

/// A Redis on a port with TLS and one without, and a Sentinel that tells clients the one with TLS. Dropping it kills both.
pub struct RedisTls {
    redis: Node,
    sentinel: Node,
    tls_port: u16,
    _folder: Folder,
}

impl RedisTls {
    /// Starts an empty one in the folder `redis-tls` below `data_dir`.
    pub async fn start(data_dir: &Path, certificate: Certificate<'_>) -> Result<Self, StackError> {
        let folder = Folder::take(data_dir, "redis-tls")?;
        let [port, tls_port, watcher]: [u16; 3] = free_ports()?;
        let files: Vec<(&str, String)> = [
            ("tls-ca-cert-file", certificate.authority),
            ("tls-cert-file", certificate.certificate),
            ("tls-key-file", certificate.key),
        ]
        .into_iter()
        .map(|(name, path)| (name, path.display().to_string()))
        .collect();

        let listen = tls_port.to_string();
        let options: Vec<String> = files.iter().map(|(name, _)| format!("--{name}")).collect();
        let mut settings = vec!["--tls-port", listen.as_str(), "--tls-auth-clients", "no"];
        for (option, (_, path)) in options.iter().zip(&files) {
            settings.extend([option.as_str(), path.as_str()]);
        }
        let redis = Node::redis(&folder.make("redis")?, port, &settings).await?;

        let lines = files.iter().map(|(name, path)| format!("{name} {path}"));
        let watch =
            [format!("sentinel monitor {MASTER_NAME} 127.0.0.1 {tls_port} 1"), "tls-replication yes".to_owned()];
        let settings = watch.into_iter().chain(lines).collect::<Vec<_>>().join("\n");
        let sentinel = Node::sentinel(&folder.make("sentinel")?, watcher, &settings).await?;
        Ok(Self { redis, sentinel, tls_port, _folder: folder })
    }

    /// The Redis, over TLS.
    pub fn tls_url(&self) -> String {
        format!("rediss://127.0.0.1:{}", self.tls_port)
    }

    /// The same Redis, without.
    pub fn plain_url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.redis.port)
    }

    /// The Sentinel.
    pub fn sentinel_url(&self) -> String {
        urls(std::slice::from_ref(&self.sentinel))
    }

    /// What the Sentinel calls the master.
    pub fn master_name() -> &'static str {
        MASTER_NAME
    }

    /// Stops both in order and waits until they are gone.
    pub async fn stop(mut self) {
        self.sentinel.stop().await;
        self.redis.stop().await;
    }
}
