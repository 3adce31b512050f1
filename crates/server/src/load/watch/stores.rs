//! What Redis and PostgreSQL say of themselves.

use std::time::Duration;

use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use redis::{AsyncConnectionConfig, Client, InfoDict, RedisResult, aio::MultiplexedConnection};
use serde::Serialize;
use tokio::time::timeout;

/// Figures of Redis, over all masters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct RedisFigures {
    /// Memory that is in use.
    pub memory_bytes: u64,
    /// Commands since it started.
    pub commands_total: u64,
    /// Seconds of processor time since it started.
    pub cpu_secs: f64,
    /// Open connections, ours among them.
    pub connections: u64,
}

impl RedisFigures {
    fn of(info: &InfoDict) -> Self {
        let cpu = |name: &str| info.get::<f64>(name).unwrap_or_default();
        Self {
            memory_bytes: info.get("used_memory").unwrap_or_default(),
            commands_total: info.get("total_commands_processed").unwrap_or_default(),
            cpu_secs: cpu("used_cpu_sys") + cpu("used_cpu_user"),
            connections: info.get("connected_clients").unwrap_or_default(),
        }
    }
}

/// The servers that hold lines.
pub(super) struct Redis {
    nodes: Vec<(Client, Option<MultiplexedConnection>)>,
    settings: AsyncConnectionConfig,
}

impl Redis {
    /// Connects nothing yet.
    pub(super) fn new(urls: &[String], wait: Duration) -> Self {
        let settings = AsyncConnectionConfig::new().set_connection_timeout(Some(wait)).set_response_timeout(Some(wait));
        let nodes = urls.iter().filter_map(|url| Client::open(url.as_str()).ok()).map(|client| (client, None));
        Self { nodes: nodes.collect(), settings }
    }

    /// The sum over all nodes, or nothing when one does not answer: a sum of some would look like a drop.
    pub(super) async fn ask(&mut self) -> Option<RedisFigures> {
        let mut all = RedisFigures::default();
        for (client, link) in &mut self.nodes {
            // A link that failed is not used again.
            let open = match link.take() {
                Some(open) => open,
                None => client.get_multiplexed_async_connection_with_config(&self.settings).await.ok()?,
            };
            let (info, open) = info(open).await.ok()?;
            *link = Some(open);
            let one = RedisFigures::of(&info);
            all.memory_bytes += one.memory_bytes;
            all.commands_total += one.commands_total;
            all.cpu_secs += one.cpu_secs;
            all.connections += one.connections;
        }
        (!self.nodes.is_empty()).then_some(all)
    }
}

async fn info(mut link: MultiplexedConnection) -> RedisResult<(InfoDict, MultiplexedConnection)> {
    let info: InfoDict = redis::cmd("INFO").query_async(&mut link).await?;
    Ok((info, link))
}

/// Counters of our database; WAL is of the whole server. One row of a view and one scan of the backends, a few dozen.
const FIGURES: &str = "\
SELECT d.xact_commit AS commits_total, d.xact_rollback AS rollbacks_total, d.deadlocks AS deadlocks_total,
       (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint AS wal_bytes_total, b.connections, b.active, b.waiting
FROM pg_stat_database d
CROSS JOIN (
    SELECT count(*) AS connections, count(*) FILTER (WHERE state = 'active') AS active,
           count(*) FILTER (WHERE state = 'active' AND wait_event_type = 'Lock') AS waiting
    FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
) b
WHERE d.datname = current_database()";

/// Figures of PostgreSQL.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, diesel::QueryableByName)]
pub struct PostgresFigures {
    /// Transactions committed since statistics were reset.
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    pub commits_total: i64,
    /// Transactions rolled back.
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    pub rollbacks_total: i64,
    /// Deadlocks.
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    pub deadlocks_total: i64,
    /// Bytes of write-ahead log, since the server was made.
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    pub wal_bytes_total: i64,
    /// Open connections, without ours.
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    pub connections: i64,
    /// Those that run a statement.
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    pub active: i64,
    /// Those that wait for a lock while they do.
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    pub waiting: i64,
}

/// The database, over one connection of our own.
pub(super) struct Database {
    url: String,
    link: Option<AsyncPgConnection>,
}

impl Database {
    /// Connects nothing yet.
    pub(super) fn new(url: String) -> Self {
        Self { url, link: None }
    }

    /// The figures, unless they take longer than `wait`.
    pub(super) async fn ask(&mut self, wait: Duration) -> Option<PostgresFigures> {
        // A link that failed, or whose answer did not come in time, is not used again.
        let link = self.link.take();
        let (figures, link) = timeout(wait, ask(&self.url, link)).await.ok().flatten()?;
        self.link = Some(link);
        Some(figures)
    }
}

async fn ask(url: &str, link: Option<AsyncPgConnection>) -> Option<(PostgresFigures, AsyncPgConnection)> {
    let mut link = match link {
        Some(link) => link,
        None => AsyncPgConnection::establish(url).await.ok()?,
    };
    let figures: PostgresFigures = diesel::sql_query(FIGURES).get_result(&mut link).await.ok()?;
    Some((figures, link))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_redis_says_of_itself_is_read() {
        let info = InfoDict::new(
            "# Clients\r\nconnected_clients:9\r\n# Memory\r\nused_memory:1048576\r\nused_memory_human:1.00M\r\n\
             # Stats\r\ntotal_commands_processed:12345\r\n# CPU\r\nused_cpu_sys:1.250000\r\nused_cpu_user:2.500000\r\n",
        );
        let read = RedisFigures { memory_bytes: 1_048_576, commands_total: 12_345, cpu_secs: 3.75, connections: 9 };
        assert_eq!(RedisFigures::of(&info), read);
    }
}
