//! Removes what load runs made, and nothing else. Why that is safe stands beside the statements, in
//! `infrastructure/src/postgres/load_runs.rs`.

use std::{sync::Arc, time::Duration};

use onsale_application::{catalogue::CatalogueCache, error::StoreError};
use onsale_domain::ids::ConcertId;
use onsale_infrastructure::{
    catalogue_cache::SharedCatalogue,
    postgres::{
        Postgres,
        load_runs::{LoadConcert, Removed},
    },
    redis::{RedisLines, SharedRedis},
    system::System,
};
use uuid::Uuid;

use super::Failure;
use crate::config::Config;

/// Fans removed at once, which takes a few seconds; payments of others wait meanwhile.
const FANS_AT_ONCE: i64 = 10_000;

/// Places, and entries of a log, removed at once.
const PLACES_AT_ONCE: i64 = 20_000;

/// How often a step is tried that another transaction is in the way of.
const TRIES: u32 = 5;

/// Time between two tries.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cleaned {
    /// How much was removed, by what it is.
    pub removed: Removed,
    /// What was left, and why, in sentences.
    pub kept: Vec<String>,
}

impl Cleaned {
    fn add(&mut self, removed: Removed) {
        for (what, count) in removed {
            *self.removed.entry(what).or_default() += count;
        }
    }

    /// All of it, for people.
    pub fn lines(&self) -> Vec<String> {
        let removed = self.removed.iter().map(|(what, count)| format!("{count:>10} {what} removed"));
        let nothing = self.removed.is_empty().then(|| "Nothing of load runs was there to be removed.".to_owned());
        nothing.into_iter().chain(removed).chain(self.kept.iter().cloned()).collect()
    }
}

/// Tries a step again while another transaction is in its way: nothing was done then.
async fn patiently<T>(mut step: impl AsyncFnMut() -> Result<T, StoreError>) -> Result<T, StoreError> {
    for _ in 1..TRIES {
        match step().await {
            Err(StoreError::Conflict(_)) => tokio::time::sleep(TRY_AGAIN).await,
            done => return done,
        }
    }
    step().await
}

/// Removes fans, operators and concerts of load runs, with everything that hangs on them, from the database and from Redis. What
/// is not of a load run stays, and so does what of a load run others have a part in. A server may run meanwhile, but no run.
/// Doing it twice does no harm; one that was cut off is gone on with by the next.
pub async fn clean(config: &Config, postgres: &Postgres) -> Result<Cleaned, Failure> {
    let runtime = tokio::runtime::Handle::current();
    let lines = RedisLines::new(Arc::new(SharedRedis::new(&config.redis, runtime.clone())?), &config.redis_prefix);
    let cache = Arc::new(SharedRedis::new(&config.cache, runtime)?);
    let catalogue = SharedCatalogue::new(cache, &config.redis_prefix, config.cache_ttl, System);

    let found = postgres.load_concerts().await?;
    let all: Vec<Uuid> = found.iter().map(|concert| concert.id).collect();
    let (ours, shared): (Vec<LoadConcert>, Vec<LoadConcert>) =
        found.into_iter().partition(|concert| concert.strangers == 0);
    let mut cleaned = Cleaned::default();
    for LoadConcert { title, strangers, .. } in shared {
        cleaned.kept.push(format!("\"{title}\" stays: {strangers} who are not of a load run have a part in it."));
    }
    // From here on nobody sees them and no server ticks their lines, so they may be removed part by part.
    let hidden: Vec<Uuid> = ours.iter().map(|concert| concert.id).collect();
    postgres.hide_concerts(&hidden).await?;
    catalogue.evict().await;
    // Who came just before has a part in it all the same.
    let now = postgres.load_concerts().await?;
    let is_ours = |id: Uuid| now.iter().any(|concert| concert.id == id && concert.strangers == 0);
    let ours: Vec<LoadConcert> = ours.into_iter().filter(|concert| is_ours(concert.id)).collect();

    let removed = match postgres.index_for_removal().await {
        Ok(()) => remove(postgres, &lines, &all, &ours, &mut cleaned).await,
        Err(error) => Err(error.into()),
    };
    postgres.drop_removal_indexes().await?;
    removed?;
    let fans = postgres.load_fans_left().await?;
    if fans > 0 {
        let why = "they have a place or a seat at a concert that is not of a load run";
        cleaned.kept.push(format!("Fans of load runs who stay: {fans}; {why}."));
    }
    Ok(cleaned)
}

async fn remove(
    postgres: &Postgres,
    lines: &RedisLines,
    all: &[Uuid],
    ours: &[LoadConcert],
    cleaned: &mut Cleaned,
) -> Result<(), Failure> {
    let mut behind = Uuid::nil();
    while let Some((last, removed)) =
        patiently(async || postgres.remove_load_fans(all, behind, FANS_AT_ONCE).await).await?
    {
        behind = last;
        cleaned.add(removed);
    }
    for LoadConcert { id, title, .. } in ours {
        let id = *id;
        if !patiently(async || postgres.is_without_reservations(id).await).await? {
            cleaned.kept.push(format!("\"{title}\" stays: fans who stay have reservations there."));
            continue;
        }
        // First, so that no keys are left of a concert that nobody finds any more.
        forget(lines, id, cleaned).await?;
        loop {
            let part = patiently(async || postgres.remove_line_part(id, PLACES_AT_ONCE).await).await?;
            if part.is_empty() {
                break;
            }
            cleaned.add(part);
        }
        match patiently(async || postgres.remove_load_concert(id).await).await? {
            Some(removed) => cleaned.add(removed),
            None => cleaned.kept.push(format!("\"{title}\" stays: somebody has got a reservation there.")),
        }
        // And last: what a server was just about to do with the line is over now.
        forget(lines, id, cleaned).await?;
    }
    cleaned.add(patiently(async || postgres.remove_load_operators().await).await?);
    Ok(())
}

async fn forget(lines: &RedisLines, concert: Uuid, cleaned: &mut Cleaned) -> Result<(), Failure> {
    let keys = lines.forget(ConcertId(concert)).await?;
    if keys > 0 {
        cleaned.add(Removed::from([("keys in Redis".to_owned(), keys)]));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_is_said() {
        let mut cleaned = Cleaned::default();
        assert_eq!(cleaned.lines(), ["Nothing of load runs was there to be removed."]);
        for fans in [10_000, 5_000] {
            cleaned.add(Removed::from([("fans".to_owned(), fans)]));
        }
        cleaned.kept.push("One stays.".to_owned());
        assert_eq!(cleaned.lines(), ["     15000 fans removed", "One stays."]);
    }
}
