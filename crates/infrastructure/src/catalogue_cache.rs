//! Copies of the catalogue in the process, and one number in Redis that makes them end.
//!
//! What strangers ask for is kept in memory of a fixed size, never in the memory of the line. A write advances a generation
//! that all instances share. Each looks at it at most ten times a second, however many read, and drops what it has when it
//! has changed: at once after a write of its own, within [`LOOK_EVERY`] after one of another instance. A copy carries the
//! version at which its reading began, so a slow reader cannot store what was true before a write. While Redis is away, a
//! copy lives for [`ALONE`].

use std::{sync::Arc, time::Duration};

use deadpool_redis::redis;
use moka::sync::Cache;
use onsale_application::{
    catalogue::{CacheStamp, CatalogueCache, Concert, PageStart, Show},
    context::Clock,
    page::Page,
};
use onsale_domain::ids::ConcertId;
use parking_lot::Mutex;

use crate::redis::SharedRedis;

/// How often the shared generation is looked at, at most.
pub const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long a copy lives while the generation cannot be read.
const ALONE: Duration = Duration::from_secs(1);
/// Bytes kept of single concerts, of pages of concerts, and of pages of shows, each.
const BYTES: u64 = 32 * 1024 * 1024;

/// A copy, as of a version, made at a moment of the process's clock.
#[derive(Clone)]
struct Copy<T> {
    version: i64,
    made_ms: i64,
    value: Arc<T>,
}

/// What this process knows of the shared generation.
#[derive(Default)]
struct Known {
    /// Advances with each change of the generation and each write of this process.
    version: i64,
    generation: Option<i64>,
    looked_ms: Option<i64>,
    reachable: bool,
}

/// The copies of this process.
pub struct SharedCatalogue<C> {
    redis: Arc<SharedRedis>,
    key: String,
    clock: C,
    known: Mutex<Known>,
    looking: tokio::sync::Mutex<()>,
    concerts: Cache<ConcertId, Copy<Concert>>,
    concert_pages: Cache<String, Copy<Page<Concert, PageStart>>>,
    show_pages: Cache<(ConcertId, String), Copy<Page<Show, PageStart>>>,
}

/// Room for copies, each of which is as large as `bytes` says, and some.
fn copies<K, T>(ttl: Duration, bytes: fn(&T) -> usize) -> Cache<K, Copy<T>>
where
    K: std::hash::Hash + Eq + Send + Sync + 'static,
    T: Clone + Send + Sync + 'static,
{
    let size = move |_: &K, copy: &Copy<T>| u32::try_from(bytes(&copy.value) + 200).unwrap_or(u32::MAX);
    Cache::builder().weigher(size).max_capacity(BYTES).time_to_live(ttl).build()
}

fn concert_bytes(concert: &Concert) -> usize {
    200 + concert.details.title.len() + concert.details.description.len() + concert.message.len()
}

fn show_bytes(show: &Show) -> usize {
    200 + show.concert_title.len() + show.details.venue.len()
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

impl<C: Clock> SharedCatalogue<C> {
    /// Copies live for `ttl` at most. The generation stands under a key that starts with `prefix`.
    pub fn new(redis: Arc<SharedRedis>, prefix: &str, ttl: Duration, clock: C) -> Self {
        Self {
            redis,
            key: format!("{prefix}:{{catalogue}}:generation"),
            clock,
            known: Mutex::default(),
            looking: tokio::sync::Mutex::default(),
            concerts: copies(ttl, concert_bytes),
            concert_pages: copies(ttl, |page: &Page<Concert, PageStart>| page.items.iter().map(concert_bytes).sum()),
            show_pages: copies(ttl, |page: &Page<Show, PageStart>| page.items.iter().map(show_bytes).sum()),
        }
    }

    fn is_fresh(&self) -> bool {
        let now = self.clock.monotonic_ms();
        self.known.lock().looked_ms.is_some_and(|looked| now - looked < millis(LOOK_EVERY))
    }

    /// The version to read and store copies at, and whether the generation behind it could be read.
    async fn version(&self) -> (i64, bool) {
        if !self.is_fresh() {
            let _one = self.looking.lock().await;
            if !self.is_fresh() {
                let mut command = redis::cmd("GET");
                command.arg(&self.key);
                let read = self.redis.run::<Option<i64>>(&command).await;
                let now = self.clock.monotonic_ms();
                let mut known = self.known.lock();
                known.looked_ms = Some(now);
                let was_reachable = std::mem::replace(&mut known.reachable, read.is_ok());
                if let Ok(generation) = read {
                    let generation = Some(generation.unwrap_or(0));
                    // What others wrote while nobody could be told is not known either.
                    if known.generation != generation || !was_reachable {
                        known.version += 1;
                        known.generation = generation;
                    }
                }
            }
        }
        let known = self.known.lock();
        (known.version, known.reachable)
    }

    async fn get<K, T>(&self, copies: &Cache<K, Copy<T>>, key: &K) -> (CacheStamp, Option<T>)
    where
        K: std::hash::Hash + Eq + Send + Sync + 'static,
        T: Clone + Send + Sync + 'static,
    {
        let (version, reachable) = self.version().await;
        let young = |copy: &Copy<T>| reachable || self.clock.monotonic_ms() - copy.made_ms < millis(ALONE);
        let copy = copies.get(key).filter(|copy| copy.version == version && young(copy));
        (CacheStamp(Some(version)), copy.map(|copy| T::clone(&copy.value)))
    }

    fn copy<T: Clone>(&self, stamp: CacheStamp, value: &T) -> Option<Copy<T>> {
        let made_ms = self.clock.monotonic_ms();
        stamp.0.map(|version| Copy { version, made_ms, value: Arc::new(value.clone()) })
    }
}

impl<C: Clock> CatalogueCache for SharedCatalogue<C> {
    async fn get_concert(&self, id: ConcertId) -> (CacheStamp, Option<Concert>) {
        self.get(&self.concerts, &id).await
    }

    async fn put_concert(&self, stamp: CacheStamp, concert: &Concert) {
        if let Some(copy) = self.copy(stamp, concert) {
            self.concerts.insert(concert.id, copy);
        }
    }

    async fn get_concerts(&self, page: &str) -> (CacheStamp, Option<Page<Concert, PageStart>>) {
        self.get(&self.concert_pages, &page.to_owned()).await
    }

    async fn put_concerts(&self, stamp: CacheStamp, page: &str, value: &Page<Concert, PageStart>) {
        if let Some(copy) = self.copy(stamp, value) {
            self.concert_pages.insert(page.to_owned(), copy);
        }
    }

    async fn get_shows(&self, concert: ConcertId, page: &str) -> (CacheStamp, Option<Page<Show, PageStart>>) {
        self.get(&self.show_pages, &(concert, page.to_owned())).await
    }

    async fn put_shows(&self, stamp: CacheStamp, concert: ConcertId, page: &str, value: &Page<Show, PageStart>) {
        if let Some(copy) = self.copy(stamp, value) {
            self.show_pages.insert((concert, page.to_owned()), copy);
        }
    }

    async fn evict(&self) {
        self.known.lock().version += 1;
        let mut command = redis::cmd("INCR");
        command.arg(&self.key);
        if let Err(error) = self.redis.run::<i64>(&command).await {
            tracing::warn!(%error, "other instances could not be told of an edit; their copies stay until their time is over");
        }
    }
}
