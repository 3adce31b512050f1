//! Configuration: a TOML file and the environment, checked as a whole, all faults named at once.
//!
//! A setting `section.key` is read from the environment variable `ONSALE_SECTION_KEY`, else from the file, else it has
//! its default. `DATABASE_URL` and `REDIS_URL` are understood too.

use std::{collections::BTreeSet, fmt, net::SocketAddr, ops::RangeInclusive, path::Path, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use onsale_domain::money::Currency;
use onsale_http_api::Limits;
use onsale_infrastructure::{
    postgres::PostgresConfig,
    redis::{RedisConfig, RedisMode},
};

/// A secret that is never printed.
#[derive(Clone)]
pub struct Secret(pub Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Everything that can be set.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the server listens.
    pub bind: SocketAddr,
    /// Worker threads.
    pub workers: usize,
    /// Limits of the edge.
    pub limits: Limits,
    /// Longest time that a client may take to send a request's head.
    pub client_timeout: Duration,
    /// Most open connections per worker.
    pub connections_per_worker: usize,
    /// Origins whose pages may call this server from a browser.
    pub cors_origins: Vec<String>,
    /// Longest graceful shutdown.
    pub shutdown: Duration,
    /// PostgreSQL.
    pub database: PostgresConfig,
    /// Redis of the line.
    pub redis: RedisConfig,
    /// Redis of the cache.
    pub cache: RedisConfig,
    /// Start of every Redis key.
    pub redis_prefix: String,
    /// How long catalogue copies live.
    pub cache_ttl: Duration,
    /// Secret that the keys of access and queue tokens are derived from.
    pub secret: Secret,
    /// Seed of the key that signs tickets.
    pub ticket_key: Secret,
    /// Life of access tokens.
    pub access_ttl_secs: i64,
    /// Life of refresh tokens.
    pub refresh_ttl_days: i64,
    /// Password hashes at the same time.
    pub hashes_at_once: usize,
    /// Password hashes that may wait.
    pub hashes_waiting: usize,
    /// Whether `onsale token mint` works.
    pub allow_token_mint: bool,
    /// How often the schedulers call the promoter.
    pub line_tick: Duration,
    /// Milliseconds for which one snapshot of a line answers polls.
    pub snapshot_ms: i64,
    /// Whether polls that come much too early are refused.
    pub early_poll_guard: bool,
    /// How often the sweeper runs.
    pub sweep_interval: Duration,
    /// Most holds that one sweep ends.
    pub sweep_batch: i64,
    /// Currency of wallets and prices.
    pub currency: Currency,
    /// Most that one charge may add.
    pub charge_max_minor: i64,
    /// Whether fans may put money into their wallets without paying for it.
    pub free_top_up: bool,
    /// Form of the logs.
    pub log_format: LogFormat,
    /// What is logged, in the syntax of tracing's `EnvFilter`.
    pub log_filter: String,
}

/// Everything that is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
#[error("the configuration is not right:\n  - {}", .0.join("\n  - "))]
pub struct ConfigFaults(pub Vec<String>);

/// Reads settings one by one and keeps every fault.
struct Reader<'a> {
    file: toml::Table,
    environment: &'a dyn Fn(&str) -> Option<String>,
    known: BTreeSet<&'static str>,
    faults: Vec<String>,
}

impl<'a> Reader<'a> {
    fn new(file: &str, environment: &'a dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigFaults> {
        let file = file.parse().map_err(|error| ConfigFaults(vec![format!("the file is no TOML: {error}")]))?;
        Ok(Self { file, environment, known: BTreeSet::new(), faults: vec![] })
    }

    fn raw(&mut self, name: &'static str, also: Option<&str>) -> Option<String> {
        self.known.insert(name);
        let variable = format!("ONSALE_{}", name.replace('.', "_").to_uppercase());
        if let Some(value) = (self.environment)(&variable).or_else(|| also.and_then(|also| (self.environment)(also))) {
            return Some(value);
        }
        let (section, key) = name.split_once('.')?;
        match self.file.get(section)?.get(key)? {
            toml::Value::String(text) => Some(text.clone()),
            toml::Value::Integer(number) => Some(number.to_string()),
            toml::Value::Boolean(yes) => Some(yes.to_string()),
            _ => {
                self.faults.push(format!("{name} must be a string, a whole number, true or false"));
                None
            }
        }
    }

    fn parsed<T>(
        &mut self,
        name: &'static str,
        also: Option<&str>,
        default: Option<T>,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        match self.raw(name, also) {
            Some(text) => {
                let value = parse(&text);
                if value.is_none() {
                    self.faults.push(format!("{name} must be {expected}"));
                }
                value
            }
            None => {
                if default.is_none() {
                    let or = also.map(|also| format!(" (or {also})")).unwrap_or_default();
                    self.faults.push(format!("{name}{or} is missing: it must be {expected}"));
                }
                default
            }
        }
    }

    fn number(&mut self, name: &'static str, range: RangeInclusive<i64>, default: i64) -> Option<i64> {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        self.parsed(name, None, Some(default), &expected, |text| text.parse().ok().filter(|n| range.contains(n)))
    }

    fn size(&mut self, name: &'static str, range: RangeInclusive<i64>, default: i64) -> Option<usize> {
        self.number(name, range, default).and_then(|number| usize::try_from(number).ok())
    }

    fn millis(&mut self, name: &'static str, range: RangeInclusive<i64>, default: i64) -> Option<Duration> {
        self.number(name, range, default).and_then(|number| u64::try_from(number).ok()).map(Duration::from_millis)
    }

    fn flag(&mut self, name: &'static str, default: bool) -> Option<bool> {
        self.parsed(name, None, Some(default), "true or false", |text| text.parse().ok())
    }

    fn text(&mut self, name: &'static str, default: &str) -> Option<String> {
        self.parsed(name, None, Some(default.to_owned()), "text", |text| Some(text.to_owned()))
    }

    fn url(
        &mut self,
        name: &'static str,
        also: Option<&str>,
        schemes: &[&str],
        default: Option<String>,
    ) -> Option<String> {
        let expected = format!("a URL that starts with {}", schemes.join(" or "));
        self.parsed(name, also, default, &expected, |text| {
            schemes.iter().any(|scheme| text.starts_with(scheme)).then(|| text.to_owned())
        })
    }

    /// One URL of a Redis, or several with commas between.
    fn urls(&mut self, name: &'static str, also: Option<&str>, default: Option<Vec<String>>) -> Option<Vec<String>> {
        const SCHEMES: [&str; 3] = ["redis://", "rediss://", "unix://"];
        let expected = format!("one or more URLs that start with {}, with commas between", SCHEMES.join(" or "));
        self.parsed(name, also, default, &expected, |text| {
            let urls: Vec<String> = text.split(',').map(|url| url.trim().to_owned()).collect();
            urls.iter().all(|url| SCHEMES.iter().any(|scheme| url.starts_with(scheme))).then_some(urls)
        })
    }

    /// Origins of pages, with commas between; `*` for all, nothing for none.
    fn origins(&mut self, name: &'static str) -> Option<Vec<String>> {
        let expected = "* or origins such as https://tickets.example, with commas between";
        let is_origin = |text: &str| {
            let host = ["https://", "http://"].iter().find_map(|scheme| text.strip_prefix(scheme));
            host.is_some_and(|host| {
                !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".:-[]".contains(&b))
            })
        };
        self.parsed(name, None, Some(vec![]), expected, |text| {
            let origins: Vec<String> = text.split(',').map(|origin| origin.trim().to_owned()).collect();
            let all = origins == ["*"] || origins.iter().all(|origin| is_origin(origin));
            all.then_some(origins)
        })
    }

    fn secret(&mut self, name: &'static str, bytes: RangeInclusive<usize>) -> Option<Secret> {
        let expected = format!("base64 of {} to {} bytes", bytes.start(), bytes.end());
        self.parsed(name, None, None, &expected, |text| {
            STANDARD.decode(text.trim()).ok().filter(|decoded| bytes.contains(&decoded.len())).map(Secret)
        })
    }

    /// Secrets that are none: a byte repeated, a word from an example, or the same one twice.
    fn weak_secrets(&mut self, secrets: [(&str, &Option<Secret>); 2]) {
        const WORDS: [&str; 6] = ["change", "secret", "example", "password", "placeholder", "default"];
        for (name, secret) in &secrets {
            let Some(Secret(bytes)) = secret else { continue };
            // As it was given, and as it was meant.
            let text = STANDARD.encode(bytes).to_lowercase() + &String::from_utf8_lossy(bytes).to_lowercase();
            if bytes.iter().collect::<BTreeSet<_>>().len() < 8 || WORDS.iter().any(|word| text.contains(word)) {
                self.faults.push(format!("{name} must be random, for example from: openssl rand -base64 32"));
            }
        }
        let [(one, first), (other, second)] = secrets;
        if let (Some(first), Some(second)) = (first, second)
            && first.0 == second.0
        {
            self.faults.push(format!("{one} and {other} must differ"));
        }
    }

    fn unknown_settings(&mut self) {
        for (section, value) in &self.file {
            let Some(table) = value.as_table() else {
                self.faults.push(format!("{section} is no section that Onsale knows"));
                continue;
            };
            for key in table.keys() {
                let name = format!("{section}.{key}");
                if !self.known.contains(name.as_str()) {
                    self.faults.push(format!("{name} is no setting that Onsale knows"));
                }
            }
        }
    }
}

impl Config {
    /// Reads the file, if one is named, and the environment of the process.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigFaults> {
        let text = match file {
            None => String::new(),
            Some(path) => std::fs::read_to_string(path)
                .map_err(|error| ConfigFaults(vec![format!("{} cannot be read: {error}", path.display())]))?,
        };
        Self::parse(&text, &|name| std::env::var(name).ok())
    }

    /// Checks a file's text and an environment, and names every fault.
    pub fn parse(file: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigFaults> {
        let mut r = Reader::new(file, environment)?;
        let config = Self::read(&mut r);
        r.unknown_settings();
        match config {
            Some(config) if r.faults.is_empty() => Ok(config),
            _ => Err(ConfigFaults(r.faults)),
        }
    }

    /// How and what to log, for who must log before the rest is known.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with these settings, together.
    pub fn logs(file: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<(LogFormat, String), ConfigFaults> {
        let mut r = Reader::new(file, environment)?;
        let logs = Self::read_logs(&mut r);
        logs.ok_or(ConfigFaults(r.faults))
    }

    fn read_logs(r: &mut Reader<'_>) -> Option<(LogFormat, String)> {
        let format = r.parsed("log.format", None, Some(LogFormat::Text), "text or json", |t| match t {
            "text" => Some(LogFormat::Text),
            "json" => Some(LogFormat::Json),
            _ => None,
        });
        let filter = r.text("log.filter", "info");
        Some((format?, filter?))
    }

    fn read(r: &mut Reader<'_>) -> Option<Self> {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let cores_i64 = i64::try_from(cores).unwrap_or(2);
        let bind = r.parsed(
            "http.bind",
            None,
            Some(SocketAddr::from(([127, 0, 0, 1], 8080))),
            "an address such as 127.0.0.1:8080",
            |t| t.parse().ok(),
        );
        let workers = r.size("http.workers", 1..=256, cores_i64);
        let limits = Self::read_limits(r);
        let client_timeout = r.millis("http.client_timeout_ms", 100..=600_000, 5_000);
        let connections_per_worker = r.size("http.connections_per_worker", 1..=1_000_000, 25_000);
        let cors_origins = r.origins("http.cors_origins");
        let shutdown = r.millis("http.shutdown_ms", 0..=600_000, 15_000);
        let database = Self::read_database(r);
        let redis = Self::read_redis(r);
        let cache_urls = r.urls("redis.cache_url", None, Some(vec![]));
        let connections = r.size("redis.connections", 1..=64, 4);
        let redis_timeout = r.millis("redis.timeout_ms", 10..=60_000, 1_000);
        let cache_timeout = r.millis("redis.cache_timeout_ms", 10..=60_000, 200);
        let redis_prefix =
            r.parsed("redis.key_prefix", None, Some("onsale".to_owned()), "1 to 40 letters, digits, - or _", |t| {
                let right = (1..=40).contains(&t.len())
                    && t.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
                right.then(|| t.to_owned())
            });
        let cache_ttl = r.number("catalogue.cache_ttl_secs", 1..=3_600, 30);
        let secret = r.secret("auth.secret", 32..=1_024);
        let ticket_key = r.secret("auth.ticket_key", 32..=32);
        r.weak_secrets([("auth.secret", &secret), ("auth.ticket_key", &ticket_key)]);
        let access_ttl_secs = r.number("auth.access_ttl_secs", 10..=86_400, 900);
        let refresh_ttl_days = r.number("auth.refresh_ttl_days", 1..=3_650, 30);
        let hashes_at_once = r.size("auth.hashes_at_once", 1..=256, cores_i64);
        let hashes_waiting = r.size("auth.hashes_waiting", 0..=100_000, 64);
        let allow_token_mint = r.flag("auth.allow_token_mint", false);
        let line_tick = r.millis("line.tick_ms", 50..=10_000, 500);
        let early_poll_guard = r.flag("line.early_poll_guard", true);
        let sweep_interval = r.millis("sweeper.interval_ms", 50..=600_000, 1_000);
        let sweep_batch = r.number("sweeper.batch", 1..=10_000, 500);
        let currency =
            r.parsed("money.currency", None, Currency::parse("KRW").ok(), "an ISO 4217 code such as KRW", |t| {
                Currency::parse(t).ok()
            });
        let free_top_up = r.flag("money.free_top_up", false);
        let charge_max_minor = r.number("money.charge_max_minor", 1..=1_000_000_000_000, 10_000_000);
        let logs = Self::read_logs(r);
        let connections = connections?;
        let (log_format, log_filter) = logs?;
        let (redis_urls, redis_mode) = redis?;
        // The cache is on the line's Redis unless it has one of its own, a single server.
        let (urls, mode) = match cache_urls? {
            urls if urls.is_empty() => (redis_urls.clone(), redis_mode.clone()),
            urls => (urls, RedisMode::Single),
        };
        let cache = RedisConfig { urls, mode, connections, timeout: Duration::ZERO };
        Some(Self {
            bind: bind?,
            workers: workers?,
            limits: limits?,
            client_timeout: client_timeout?,
            connections_per_worker: connections_per_worker?,
            cors_origins: cors_origins?,
            shutdown: shutdown?,
            database: database?,
            cache: RedisConfig { connections: 1, timeout: cache_timeout?, ..cache },
            redis: RedisConfig { urls: redis_urls, mode: redis_mode, connections, timeout: redis_timeout? },
            redis_prefix: redis_prefix?,
            cache_ttl: Duration::from_secs(u64::try_from(cache_ttl?).ok()?),
            secret: secret?,
            ticket_key: ticket_key?,
            access_ttl_secs: access_ttl_secs?,
            refresh_ttl_days: refresh_ttl_days?,
            hashes_at_once: hashes_at_once?,
            hashes_waiting: hashes_waiting?,
            allow_token_mint: allow_token_mint?,
            line_tick: line_tick?,
            snapshot_ms: i64::try_from(limits?.overview_ttl.as_millis()).ok()?,
            early_poll_guard: early_poll_guard?,
            sweep_interval: sweep_interval?,
            sweep_batch: sweep_batch?,
            currency: currency?,
            charge_max_minor: charge_max_minor?,
            free_top_up: free_top_up?,
            log_format,
            log_filter,
        })
    }

    fn read_limits(r: &mut Reader<'_>) -> Option<Limits> {
        let body_bytes = r.size("http.body_limit_bytes", 1_024..=10_485_760, 65_536);
        let bulk_body_bytes = r.size("http.bulk_body_limit_bytes", 65_536..=268_435_456, 33_554_432);
        let per_user = r.number("http.user_requests_per_sec", 1..=1_000_000, 50);
        let logins = r.number("http.logins_per_min", 1..=1_000_000, 10);
        let body_timeout = r.millis("http.body_timeout_ms", 100..=600_000, 10_000);
        let body_least_rate = r.size("http.body_least_bytes_per_sec", 1..=1_000_000_000, 16_384);
        // One look at a line answers everybody for as long as a snapshot does.
        let overview_ttl = r.millis("line.snapshot_ms", 0..=1_000, 250);
        let streams = r.size("line.streams", 0..=1_000_000, 20_000);
        Some(Limits {
            body_bytes: body_bytes?,
            bulk_body_bytes: bulk_body_bytes?,
            user_requests_per_sec: u32::try_from(per_user?).ok()?,
            logins_per_min: u32::try_from(logins?).ok()?,
            overview_ttl: overview_ttl?,
            streams: streams?,
            body_timeout: body_timeout?,
            body_least_bytes_per_sec: body_least_rate?,
        })
    }

    fn read_redis(r: &mut Reader<'_>) -> Option<(Vec<String>, RedisMode)> {
        let urls = r.urls("redis.url", Some("REDIS_URL"), None);
        let master = r.text("redis.sentinel_master", "mymaster")?;
        let nodes = r.urls("redis.sentinel_node_url", None, Some(vec![]))?;
        if nodes.len() > 1 {
            r.faults.push("redis.sentinel_node_url must be one URL".to_owned());
        }
        let mode = r.parsed("redis.mode", None, Some(RedisMode::Single), "single, cluster or sentinel", |text| {
            Some(match text {
                "single" => RedisMode::Single,
                "cluster" => RedisMode::Cluster,
                "sentinel" => RedisMode::Sentinel { master: master.clone(), node: nodes.first().cloned() },
                _ => return None,
            })
        })?;
        let urls = urls?;
        if mode == RedisMode::Single && urls.len() > 1 {
            r.faults.push("redis.url must be one URL unless redis.mode is cluster or sentinel".to_owned());
            return None;
        }
        Some((urls, mode))
    }

    fn read_database(r: &mut Reader<'_>) -> Option<PostgresConfig> {
        let url = r.url("database.url", Some("DATABASE_URL"), &["postgres://", "postgresql://"], None);
        let pool_size = r.size("database.pool_size", 1..=1_000, 16);
        let acquire_timeout = r.millis("database.acquire_timeout_ms", 10..=60_000, 1_000);
        let statement_timeout = r.millis("database.statement_timeout_ms", 10..=600_000, 5_000);
        let lock_timeout = r.millis("database.lock_timeout_ms", 10..=60_000, 1_000);
        let idle = r.millis("database.idle_in_transaction_timeout_ms", 100..=600_000, 5_000);
        Some(PostgresConfig {
            url: url?,
            pool_size: pool_size?,
            acquire_timeout: acquire_timeout?,
            statement_timeout: statement_timeout?,
            lock_timeout: lock_timeout?,
            idle_in_transaction_timeout: idle?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ascending(from: u8) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes.iter_mut().zip(from..).for_each(|(byte, value)| *byte = value);
        bytes
    }

    fn environment(name: &str) -> Option<String> {
        let secret = STANDARD.encode(ascending(0));
        let ticket_key = STANDARD.encode(ascending(100));
        match name {
            "DATABASE_URL" => Some("postgres://localhost/onsale".to_owned()),
            "REDIS_URL" => Some("redis://localhost/0".to_owned()),
            "ONSALE_AUTH_SECRET" => Some(secret),
            "ONSALE_AUTH_TICKET_KEY" => Some(ticket_key),
            _ => None,
        }
    }

    #[test]
    fn the_defaults_and_four_values_are_enough() {
        let config = Config::parse("", &environment).expect("right");
        assert_eq!(config.bind.port(), 8080);
        assert_eq!(config.cache.urls, config.redis.urls);
        assert_eq!(config.redis.mode, RedisMode::Single);
        assert!(!config.allow_token_mint && !config.free_top_up);
    }

    #[test]
    fn all_faults_are_named_at_once() {
        let file = "[http]\nbind = 'nowhere'\nworkers = 0\ncolour = 'red'\n[line]\ntick_ms = 'soon'\n[sales]\nx = 1";
        let ConfigFaults(faults) = Config::parse(file, &|_| None).expect_err("wrong");
        let named = |name: &str| faults.iter().any(|fault| fault.contains(name));
        for name in [
            "http.bind",
            "http.workers",
            "http.colour",
            "line.tick_ms",
            "sales.x",
            "DATABASE_URL",
            "REDIS_URL",
            "auth.secret",
            "auth.ticket_key",
        ] {
            assert!(named(name), "{name} is not named in {faults:#?}");
        }
    }

    #[test]
    fn secrets_that_are_none_are_refused() {
        let with = |secret: &[u8], ticket_key: &[u8]| {
            let (secret, ticket_key) = (STANDARD.encode(secret), STANDARD.encode(ticket_key));
            let find = |name: &str| match name {
                "ONSALE_AUTH_SECRET" => Some(secret.clone()),
                "ONSALE_AUTH_TICKET_KEY" => Some(ticket_key.clone()),
                _ => environment(name),
            };
            Config::parse("", &find).err().map(|ConfigFaults(faults)| faults.join("; ")).unwrap_or_default()
        };
        let (one, other) = (ascending(0), [0x5A; 32]);
        let mut another = one;
        another.reverse();
        assert_eq!(with(&one, &another), "");
        assert!(with(&[0; 32], &one).contains("auth.secret must be random"));
        assert!(with(&one, &other).contains("auth.ticket_key must be random"));
        assert!(with(b"change-me-to-something-long-and-random", &one).contains("auth.secret must be random"));
        let words = STANDARD.decode("replacethissecretwithyourownrandomvalue12345").expect("base64");
        assert!(with(&words, &one).contains("auth.secret must be random"));
        assert!(with(&one, &one).contains("auth.secret and auth.ticket_key must differ"));
    }

    #[test]
    fn redis_may_be_a_cluster_or_watched_by_sentinels() {
        let with = |settings: &'static str| {
            Config::parse(settings, &|name| match name {
                "REDIS_URL" => Some("redis://a:1, redis://b:2".to_owned()),
                _ => environment(name),
            })
        };
        let cluster = with("[redis]\nmode = 'cluster'").expect("right");
        assert_eq!((cluster.redis.urls.len(), &cluster.redis.mode), (2, &RedisMode::Cluster));
        assert_eq!(cluster.cache.mode, RedisMode::Cluster, "the cache is there too");
        let sentinel = with("[redis]\nmode = 'sentinel'\nsentinel_master = 'line'").expect("right");
        assert_eq!(sentinel.redis.mode, RedisMode::Sentinel { master: "line".to_owned(), node: None });
        let node = with("[redis]\nmode = 'sentinel'\nsentinel_node_url = 'redis://app:pass@node/2'").expect("right");
        let url = Some("redis://app:pass@node/2".to_owned());
        assert_eq!(node.redis.mode, RedisMode::Sentinel { master: "mymaster".to_owned(), node: url });
        assert!(with("").is_err(), "one server has one URL");
        assert!(with("[redis]\nmode = 'many'").is_err());
    }

    #[test]
    fn the_environment_goes_before_the_file_and_secrets_are_not_printed() {
        let with_bind = |name: &str| {
            if name == "ONSALE_HTTP_BIND" { Some("127.0.0.1:9".to_owned()) } else { environment(name) }
        };
        let config = Config::parse("[http]\nbind = '127.0.0.1:8'", &with_bind).expect("right");
        assert_eq!(config.bind.port(), 9);
        assert_eq!(format!("{:?}", config.secret), "(hidden)");
    }
}
