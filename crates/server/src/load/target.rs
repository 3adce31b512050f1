//! Where the server is that a run is against, with its stores and secrets, and how an operator of the run speaks to it.

use std::{
    io::Write,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use onsale_infrastructure::postgres::Postgres;
use reqwest::{Method, RequestBuilder, Response};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Failure;
use crate::{config::Config, dev, mint};

/// Longest wait for an answer to an operator. Adding seats and adding up the ledger take their time.
const ANSWER_WAIT: Duration = Duration::from_mins(2);

/// Connections of this command to the database. They are not the server's, and should not be in its way.
const CONNECTIONS: usize = 4;

/// Longest statement of this command. Ten thousand fans are added in one.
const STATEMENT_WAIT: Duration = Duration::from_mins(1);

/// Which server is meant: without options the one of `script/server`.
#[derive(Debug, Clone, Args)]
pub struct Place {
    /// The folder of `onsale dev`, which has to run.
    #[arg(long, default_value = ".onsale")]
    pub data_dir: PathBuf,
    /// A TOML file with the settings of another server; the environment goes before it.
    #[arg(long, env = "ONSALE_CONFIG")]
    pub config: Option<PathBuf>,
    /// Where the server answers, for example `http://127.0.0.1:8080`; once for each instance.
    #[arg(long = "base-url", value_name = "URL")]
    pub base_urls: Vec<String>,
}

/// What is known of a server before it is spoken to.
pub struct Found {
    /// How it is configured.
    pub config: Config,
    /// Where it listens.
    pub bind: SocketAddr,
    /// Its processes on this machine, as far as they are known, with their names.
    pub processes: Vec<(String, u32)>,
}

impl Place {
    /// The server of the configuration, where one is given, else the one that runs in the folder.
    pub fn find(&self) -> Result<Found, Failure> {
        let is_set = |name: &str| std::env::var_os(name).is_some();
        // An address alone is none: `onsale dev` on servers of its own is started with one too.
        let in_environment = (is_set("DATABASE_URL") || is_set("ONSALE_DATABASE_URL")) && is_set("ONSALE_AUTH_SECRET");
        if self.config.is_some() || in_environment {
            let config = Config::load(self.config.as_deref())?;
            return Ok(Found { bind: config.bind, config, processes: vec![] });
        }
        let folder = self.data_dir.display();
        let Some((running, secrets)) = dev::running(&self.data_dir).map_err(|error| format!("{folder}: {error}"))?
        else {
            let how = "start script/server, or describe another server by --config or in the environment";
            return Err(format!("no server runs in {folder}: {how}").into());
        };
        let environment = |name: &str| match name {
            "DATABASE_URL" => Some(running.database_url.clone()),
            "REDIS_URL" => Some(running.redis_url.clone()),
            "ONSALE_HTTP_BIND" => Some(running.bind.clone()),
            "ONSALE_REDIS_KEY_PREFIX" => Some(running.redis_key_prefix.clone()),
            "ONSALE_MONEY_CURRENCY" => Some(running.currency.clone()),
            // Its tickets are worth nothing.
            "ONSALE_AUTH_ALLOW_TOKEN_MINT" => Some("true".to_owned()),
            "ONSALE_DATABASE_URL" | "ONSALE_REDIS_URL" => None,
            // The rest as the server has it if it was started from here.
            _ => std::env::var(name).ok(),
        };
        let config = Config::parse(&secrets, &environment)?;
        let stores = onsale_local_stack::processes(&self.data_dir);
        let stores = stores.into_iter().map(|(name, id)| (name.to_owned(), id));
        let processes = std::iter::once(("server".to_owned(), running.pid)).chain(stores).collect();
        Ok(Found { bind: config.bind, config, processes })
    }
}

/// Whether an address leads to this machine.
pub fn is_here(base_url: &str) -> bool {
    let host = base_url.split_once("://").map_or(base_url, |(_, host)| host);
    ["127.", "localhost", "[::1]", "0.0.0.0"].iter().any(|here| host.starts_with(here))
}

/// An address to which one can connect: who listens everywhere listens here.
fn reachable(bind: SocketAddr) -> String {
    let ip = if bind.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { bind.ip() };
    format!("http://{}", SocketAddr::new(ip, bind.port()))
}

/// The server that a run is against.
pub struct Target {
    /// Addresses of its instances, without a slash at the end.
    pub base_urls: Vec<String>,
    /// How it is configured: stores, secrets, currency.
    pub config: Config,
    /// Its database.
    pub postgres: Postgres,
    /// Its processes on this machine, as far as they are known, with their names.
    pub processes: Vec<(String, u32)>,
    /// Speaks for an operator of this run, until the run is long over.
    pub operator_token: String,
    http: reqwest::Client,
    api: String,
}

impl Target {
    /// The server of this place, with an operator whose token is good for `ttl_secs`. Every instance has to be ready.
    pub async fn find(place: &Place, ttl_secs: i64) -> Result<Self, Failure> {
        let Found { config, bind, processes } = place.find()?;
        let base_urls = if place.base_urls.is_empty() { vec![reachable(bind)] } else { place.base_urls.clone() };
        Self::of(config, base_urls, processes, ttl_secs).await
    }

    /// A server that is known.
    pub async fn of(
        mut config: Config,
        base_urls: Vec<String>,
        processes: Vec<(String, u32)>,
        ttl_secs: i64,
    ) -> Result<Self, Failure> {
        let base_urls: Vec<String> = base_urls.iter().map(|url| url.trim_end_matches('/').to_owned()).collect();
        if let Some(other) = base_urls.iter().find(|url| !url.starts_with("http://")) {
            return Err(
                format!("{other} does not start with http://: a run speaks to instances, not to a proxy").into()
            );
        }
        let first = base_urls.first().ok_or("there is no server to speak to")?;
        let api = format!("{first}/api/v1/");
        // Nothing of this machine stands between us and the server.
        let http = reqwest::Client::builder().no_proxy().timeout(ANSWER_WAIT).build()?;
        for base_url in &base_urls {
            let answer = http.get(format!("{base_url}/readyz")).send().await;
            let answer = answer.map_err(|error| format!("{base_url} does not answer: {}", whole(&error)))?;
            if !answer.status().is_success() {
                return Err(format!("{base_url} is not ready: {}", answer.text().await.unwrap_or_default()).into());
            }
        }
        config.database.pool_size = CONNECTIONS;
        config.database.acquire_timeout = ANSWER_WAIT;
        config.database.statement_timeout = STATEMENT_WAIT;
        let postgres = Postgres::new(&config.database, &tokio::runtime::Handle::current())?;
        let operator_token = mint::mint_operator(&config, &postgres, ttl_secs).await?.access_token;
        Ok(Self { base_urls, config, postgres, processes, operator_token, http, api })
    }

    /// Reads something as an operator; `path` is behind `/api/v1/`.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        Ok(self.answer(self.http.get(self.url(path)), path).await?.json().await?)
    }

    /// Makes or changes something as an operator. `version` is the one that an edit was made for.
    pub async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        version: Option<i64>,
        body: &Value,
    ) -> Result<T, Failure> {
        let mut request = self.http.request(method, self.url(path)).json(body);
        if let Some(version) = version {
            request = request.header("If-Match", format!("\"{version}\""));
        }
        Ok(self.answer(request, path).await?.json().await?)
    }

    /// Reads something that may be long into a file.
    pub async fn download(&self, path: &str, file: &Path) -> Result<(), Failure> {
        let mut answer = self.answer(self.http.get(self.url(path)), path).await?;
        let mut file = std::io::BufWriter::new(std::fs::File::create(file)?);
        while let Some(part) = answer.chunk().await? {
            file.write_all(&part)?;
        }
        Ok(file.flush()?)
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.api)
    }

    async fn answer(&self, request: RequestBuilder, path: &str) -> Result<Response, Failure> {
        let answer = request.bearer_auth(&self.operator_token).send().await;
        let answer = answer.map_err(|error| format!("{path}: {}", whole(&error)))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let text: String = answer.text().await.unwrap_or_default().chars().take(500).collect();
        Err(format!("{path} answered {status}: {text}").into())
    }
}

/// An error with its causes, which say more than it does.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(next) = source {
        text = format!("{text}: {next}");
        source = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_everywhere_is_spoken_to_here() {
        let of = |bind: &str| reachable(bind.parse().expect("an address"));
        assert_eq!(of("127.0.0.1:8080"), "http://127.0.0.1:8080");
        assert_eq!(
            (of("0.0.0.0:80"), of("[::]:81")),
            ("http://127.0.0.1:80".to_owned(), "http://127.0.0.1:81".to_owned())
        );
        assert_eq!(of("[::1]:8080"), "http://[::1]:8080");
        assert!(is_here("http://127.0.0.1:8080") && is_here("http://localhost") && is_here("http://[::1]:80"));
        assert!(!is_here("http://10.0.0.7:8080") && !is_here("http://tickets.example"));
    }
}
