//! Copies of the catalogue for all instances.
//!
//! Each copy carries the generation at which its reading began. A write advances the generation, which makes every
//! older copy invalid at once, also one that a slow reader stores afterwards. Redis being away is a miss.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use deadpool_redis::redis;
use onsale_application::catalogue::{CacheTicket, CatalogueCache, Concert, Page, PageStart, Show};
use onsale_domain::{
    concert::{ConcertDetails, SaleState},
    ids::{ConcertId, ShowId},
    queue::QueuePolicy,
    show::ShowDetails,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

use super::SharedRedis;

/// The shared cache of the catalogue.
pub struct RedisCatalogueCache {
    redis: Arc<SharedRedis>,
    prefix: String,
    ttl: Duration,
}

#[derive(Serialize, Deserialize)]
struct Copy<T> {
    generation: i64,
    value: T,
}

#[derive(Serialize, Deserialize)]
struct CachedConcert {
    id: Uuid,
    title: String,
    description: String,
    sale_state: String,
    message: String,
    policy: (i32, i32, i32, bool, i32, i32, i32, i32, i32, i32),
    next_show_at: Option<DateTime<Utc>>,
    version: i32,
}

#[derive(Serialize, Deserialize)]
struct CachedShow {
    id: Uuid,
    concert_id: Uuid,
    venue: String,
    starts_at: DateTime<Utc>,
    hold_secs: i32,
    seats_per_fan: i32,
    currency: String,
    version: i32,
}

#[derive(Serialize, Deserialize)]
struct CachedPage<T> {
    items: Vec<T>,
    next: Option<(DateTime<Utc>, Uuid)>,
}

impl From<&Concert> for CachedConcert {
    fn from(concert: &Concert) -> Self {
        let p = &concert.policy;
        Self {
            id: concert.id.0,
            title: concert.details.title.clone(),
            description: concert.details.description.clone(),
            sale_state: concert.sale_state.as_str().to_owned(),
            policy: (
                p.interval_secs,
                p.batch,
                p.active_limit,
                p.idle_admission,
                p.active_sliding_secs,
                p.active_absolute_secs,
                p.claim_secs,
                p.return_secs,
                p.recovery_hold_secs,
                p.waiting_limit,
            ),
            message: concert.message.clone(),
            next_show_at: concert.next_show_at,
            version: concert.version,
        }
    }
}

impl CachedConcert {
    fn into_concert(self) -> Option<Concert> {
        let (
            interval_secs,
            batch,
            active_limit,
            idle_admission,
            active_sliding_secs,
            active_absolute_secs,
            claim_secs,
            return_secs,
            recovery_hold_secs,
            waiting_limit,
        ) = self.policy;
        Some(Concert {
            id: ConcertId(self.id),
            details: ConcertDetails { title: self.title, description: self.description },
            sale_state: SaleState::parse(&self.sale_state)?,
            policy: QueuePolicy {
                interval_secs,
                batch,
                active_limit,
                idle_admission,
                active_sliding_secs,
                active_absolute_secs,
                claim_secs,
                return_secs,
                recovery_hold_secs,
                waiting_limit,
            },
            message: self.message,
            next_show_at: self.next_show_at,
            version: self.version,
        })
    }
}

impl From<&Show> for CachedShow {
    fn from(show: &Show) -> Self {
        Self {
            id: show.id.0,
            concert_id: show.concert_id.0,
            venue: show.details.venue.clone(),
            starts_at: show.details.starts_at,
            hold_secs: show.details.hold_secs,
            seats_per_fan: show.details.seats_per_fan,
            currency: show.currency.clone(),
            version: show.version,
        }
    }
}

impl From<CachedShow> for Show {
    fn from(cached: CachedShow) -> Self {
        Self {
            id: ShowId(cached.id),
            concert_id: ConcertId(cached.concert_id),
            details: ShowDetails {
                venue: cached.venue,
                starts_at: cached.starts_at,
                hold_secs: cached.hold_secs,
                seats_per_fan: cached.seats_per_fan,
            },
            currency: cached.currency,
            version: cached.version,
        }
    }
}

fn page<T, C>(cached: CachedPage<C>, item: impl Fn(C) -> Option<T>) -> Option<Page<T>> {
    Some(Page {
        items: cached.items.into_iter().map(item).collect::<Option<Vec<T>>>()?,
        next: cached.next.map(|(at, id)| PageStart { at, id }),
    })
}

fn cached_page<'a, T, C: From<&'a T>>(page: &'a Page<T>) -> CachedPage<C> {
    CachedPage { items: page.items.iter().map(C::from).collect(), next: page.next.map(|start| (start.at, start.id)) }
}

impl RedisCatalogueCache {
    /// Copies live for `ttl` at most, under keys that start with `prefix`.
    pub fn new(redis: Arc<SharedRedis>, prefix: &str, ttl: Duration) -> Self {
        Self { redis, prefix: prefix.to_owned(), ttl }
    }

    fn key(&self, name: &str) -> String {
        // One hash tag, so that the generation and a copy can be read by one command on a cluster too.
        format!("{}:{{catalogue}}:{name}", self.prefix)
    }

    async fn get<T: DeserializeOwned>(&self, name: &str) -> (CacheTicket, Option<T>) {
        let mut command = redis::cmd("MGET");
        command.arg(self.key("generation")).arg(self.key(name));
        let read = self.redis.run(&command).await;
        let Ok::<(Option<i64>, Option<String>), _>((generation, text)) = read else { return (CacheTicket(None), None) };
        let generation = generation.unwrap_or(0);
        let copy = text.and_then(|text| serde_json::from_str::<Copy<T>>(&text).ok());
        let value = copy.filter(|copy| copy.generation == generation).map(|copy| copy.value);
        (CacheTicket(Some(generation)), value)
    }

    async fn put<T: Serialize + Send>(&self, ticket: CacheTicket, name: &str, value: T) {
        let Some(generation) = ticket.0 else { return };
        let Ok(text) = serde_json::to_string(&Copy { generation, value }) else { return };
        let mut command = redis::cmd("SET");
        command.arg(self.key(name)).arg(text).arg("EX").arg(self.ttl.as_secs().max(1));
        if let Err(error) = self.redis.run::<()>(&command).await {
            tracing::debug!(%error, "a copy was not stored in the cache");
        }
    }
}

impl CatalogueCache for RedisCatalogueCache {
    async fn get_concert(&self, id: ConcertId) -> (CacheTicket, Option<Concert>) {
        let (ticket, cached) = self.get::<CachedConcert>(&format!("concert:{id}")).await;
        (ticket, cached.and_then(CachedConcert::into_concert))
    }

    async fn put_concert(&self, ticket: CacheTicket, concert: &Concert) {
        self.put(ticket, &format!("concert:{}", concert.id), CachedConcert::from(concert)).await;
    }

    async fn get_concerts(&self, key: &str) -> (CacheTicket, Option<Page<Concert>>) {
        let (ticket, cached) = self.get::<CachedPage<CachedConcert>>(&format!("concerts:{key}")).await;
        (ticket, cached.and_then(|cached| page(cached, CachedConcert::into_concert)))
    }

    async fn put_concerts(&self, ticket: CacheTicket, key: &str, value: &Page<Concert>) {
        self.put(ticket, &format!("concerts:{key}"), cached_page::<_, CachedConcert>(value)).await;
    }

    async fn get_shows(&self, concert: ConcertId, key: &str) -> (CacheTicket, Option<Page<Show>>) {
        let (ticket, cached) = self.get::<CachedPage<CachedShow>>(&format!("shows:{concert}:{key}")).await;
        (ticket, cached.and_then(|cached| page(cached, |show| Some(Show::from(show)))))
    }

    async fn put_shows(&self, ticket: CacheTicket, concert: ConcertId, key: &str, value: &Page<Show>) {
        self.put(ticket, &format!("shows:{concert}:{key}"), cached_page::<_, CachedShow>(value)).await;
    }

    async fn evict(&self) {
        let mut command = redis::cmd("INCR");
        command.arg(self.key("generation"));
        if let Err(error) = self.redis.run::<()>(&command).await {
            tracing::warn!(%error, ttl_secs = self.ttl.as_secs(), "cached concerts could not be evicted; they stay until their time is over");
        }
    }
}
