//! Concerts, shows and seats: what operators create and everybody reads.

use std::{future::Future, sync::Arc};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use onsale_domain::{
    concert::{ConcertDetails, SaleState},
    fault::Faults,
    ids::{ConcertId, ShowId, UserId},
    queue::{PolicyWarning, QueuePolicy},
    seat::{NewSeat, SeatPlace},
    show::ShowDetails,
    text,
};
use uuid::Uuid;

use crate::{
    audit::{AuditChange, AuditEntry},
    context::{Clock, Ids},
    error::StoreError,
    page::Page,
};

/// A concert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Concert {
    /// Id.
    pub id: ConcertId,
    /// What the operator says of it.
    pub details: ConcertDetails,
    /// Stage of the sale.
    pub sale_state: SaleState,
    /// Settings of the line.
    pub policy: QueuePolicy,
    /// What the operators say to everyone in line; empty when nothing.
    pub message: String,
    /// Start of the next show, if one is still to come.
    pub next_show_at: Option<DateTime<Utc>>,
    /// Advances by one with every edit.
    pub version: i32,
}

/// A show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Show {
    /// Id.
    pub id: ShowId,
    /// Of which concert.
    pub concert_id: ConcertId,
    /// Its title.
    pub concert_title: String,
    /// What the operator says of it.
    pub details: ShowDetails,
    /// ISO 4217 code of all prices of the show.
    pub currency: String,
    /// Advances by one with every edit.
    pub version: i32,
}

/// Where a page starts: behind this instant and id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageStart {
    /// Sort key of the last item before.
    pub at: DateTime<Utc>,
    /// Its id.
    pub id: Uuid,
}

/// An edit that was, or was not, made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit<T> {
    /// It was made; this is the new value.
    Done(T),
    /// There is no such thing.
    NotFound,
    /// It has been edited since the version that the operator saw.
    VersionMismatch,
}

/// What came of an edit of a show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShowEdit {
    /// It was made.
    Done,
    /// There is no such show.
    NotFound,
    /// It has been edited since the version that the operator saw.
    VersionMismatch,
    /// The start cannot change: a seat is held or sold.
    HasSales,
}

/// What can be sold of a concert: the seats of its shows to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ForSale {
    /// Seats that are not kept back, whoever has them.
    pub seats: i64,
    /// Those of them that nobody holds or has bought.
    pub available: i64,
    /// The longest hold of the shows.
    pub longest_hold_secs: Option<i32>,
}

/// What came of adding seats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SeatsAdded {
    /// So many.
    Added(usize),
    /// Some places exist already, these among them; none was added.
    PlaceTaken(Vec<SeatPlace>),
    /// There is no such show.
    NotFound,
}

/// Concerts and shows in the database.
pub trait CatalogueStore: Send + Sync + 'static {
    /// Public concerts that have a show after `now`, by next show and id; one more than `limit` when there are more.
    fn public_concerts(
        &self,
        now: DateTime<Utc>,
        after: Option<PageStart>,
        limit: i64,
    ) -> impl Future<Output = Result<Vec<Concert>, StoreError>> + Send;
    /// A concert in any stage.
    fn concert(
        &self,
        id: ConcertId,
        now: DateTime<Utc>,
    ) -> impl Future<Output = Result<Option<Concert>, StoreError>> + Send;
    /// Shows of a concert after `now`, by start and id; one more than `limit` when there are more.
    fn shows(
        &self,
        concert: ConcertId,
        now: DateTime<Utc>,
        after: Option<PageStart>,
        limit: i64,
    ) -> impl Future<Output = Result<Vec<Show>, StoreError>> + Send;
    /// A show, and the stage of its concert's sale.
    fn show(&self, id: ShowId) -> impl Future<Output = Result<Option<(Show, SaleState)>, StoreError>> + Send;
    /// Adds a concert, and notes who did it.
    fn insert_concert(
        &self,
        concert: &Concert,
        audit: &AuditEntry,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Saves a concert if its stored version is `expected`, advances the version by one, and notes who did it; all or
    /// nothing.
    fn update_concert(
        &self,
        concert: &Concert,
        expected: i32,
        audit: &AuditEntry,
    ) -> impl Future<Output = Result<Edit<()>, StoreError>> + Send;
    /// Adds a show; `false` when there is no such concert.
    fn insert_show(&self, show: &Show) -> impl Future<Output = Result<bool, StoreError>> + Send;
    /// Saves a show if its stored version is `expected`, and advances the version by one. Its start MUST NOT change while a
    /// seat is held or sold, nor while one is being held.
    fn update_show(&self, show: &Show, expected: i32) -> impl Future<Output = Result<ShowEdit, StoreError>> + Send;
    /// What can be sold of a concert.
    fn for_sale(&self, concert: ConcertId) -> impl Future<Output = Result<ForSale, StoreError>> + Send;
    /// Adds seats, all or none.
    fn insert_seats(
        &self,
        show: ShowId,
        seats: &[(Uuid, NewSeat)],
    ) -> impl Future<Output = Result<SeatsAdded, StoreError>> + Send;
    /// The concerts whose line may hold fans: a pre-queue, on sale, paused or draining; and those closed within a day, so that a line
    /// whose store was away hears of it.
    fn concerts_with_a_line(&self) -> impl Future<Output = Result<Vec<Concert>, StoreError>> + Send;
}

/// Shared copies of what fans read, kept outside the process. Losing it costs speed only: every failure is a miss.
pub trait CatalogueCache: Send + Sync + 'static {
    /// A concert with its age-independent facts, or a miss.
    fn get_concert(&self, id: ConcertId) -> impl Future<Output = (CacheStamp, Option<Concert>)> + Send;
    /// Keeps a concert that was loaded after `stamp` was taken.
    fn put_concert(&self, stamp: CacheStamp, concert: &Concert) -> impl Future<Output = ()> + Send;
    /// A page of the concert list, or a miss.
    fn get_concerts(&self, page: &str) -> impl Future<Output = (CacheStamp, Option<Page<Concert, PageStart>>)> + Send;
    /// Keeps a page.
    fn put_concerts(
        &self,
        stamp: CacheStamp,
        page: &str,
        value: &Page<Concert, PageStart>,
    ) -> impl Future<Output = ()> + Send;
    /// A page of a concert's shows, or a miss.
    fn get_shows(
        &self,
        concert: ConcertId,
        page: &str,
    ) -> impl Future<Output = (CacheStamp, Option<Page<Show, PageStart>>)> + Send;
    /// Keeps a page.
    fn put_shows(
        &self,
        stamp: CacheStamp,
        concert: ConcertId,
        page: &str,
        value: &Page<Show, PageStart>,
    ) -> impl Future<Output = ()> + Send;
    /// Makes every copy invalid, for every instance. What is put with an older stamp stays invalid.
    fn evict(&self) -> impl Future<Output = ()> + Send;
}

/// The state of the cache when a read began; what was read is only kept if nothing was evicted since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheStamp(pub Option<i64>);

/// Changes of a concert that an operator asks for; `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct ConcertChanges {
    /// New title.
    pub title: Option<String>,
    /// New description.
    pub description: Option<String>,
    /// Next stage of the sale.
    pub sale_state: Option<SaleState>,
    /// New settings of the line.
    pub policy: Option<QueuePolicy>,
    /// New message to everyone in line.
    pub message: Option<String>,
}

/// Changes of a show that an operator asks for; `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct ShowChanges {
    /// New venue.
    pub venue: Option<String>,
    /// New start.
    pub starts_at: Option<DateTime<Utc>>,
    /// New hold time in seconds.
    pub hold_secs: Option<i32>,
    /// New limit of seats per fan.
    pub seats_per_fan: Option<i32>,
}

/// Why a read or an edit was refused.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// The input is wrong.
    #[error(transparent)]
    Invalid(#[from] Faults),
    /// There is no such concert or show, or it is a draft and the reader is no operator.
    #[error("there is no such concert or show")]
    NotFound,
    /// It has been edited since.
    #[error("it has been edited since; it is at version {0} now")]
    VersionMismatch(i32),
    /// The sale cannot go from its stage to the one asked for.
    #[error("a sale that is {from} cannot become {to}", from = .0.as_str(), to = .1.as_str())]
    InvalidTransition(SaleState, SaleState),
    /// No show to come has a seat that could be sold.
    #[error("no show to come has a seat to sell; add seats first")]
    NothingToSell,
    /// Seats are held or sold, so this can no longer change.
    #[error("seats of the show are held or sold")]
    HasSales,
    /// A place of the request exists already.
    #[error("these places exist already: {}", taken(.0))]
    PlaceTaken(Vec<SeatPlace>),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn taken(places: &[SeatPlace]) -> String {
    let named = places.iter().map(|place| format!("{}-{}-{}", place.section, place.row, place.number));
    named.collect::<Vec<_>>().join(", ")
}

/// The catalogue, as the HTTP edge sees it.
#[async_trait]
pub trait Catalogue: Send + Sync {
    /// Public concerts with a show to come.
    async fn concerts(
        &self,
        after: Option<PageStart>,
        limit: usize,
    ) -> Result<Page<Concert, PageStart>, CatalogueError>;
    /// A public concert.
    async fn concert(&self, id: ConcertId) -> Result<Concert, CatalogueError>;
    /// Shows to come of a public concert.
    async fn shows(
        &self,
        id: ConcertId,
        after: Option<PageStart>,
        limit: usize,
    ) -> Result<Page<Show, PageStart>, CatalogueError>;
    /// A concert in any stage, past every cache; for operators.
    async fn concert_uncached(&self, id: ConcertId) -> Result<Concert, CatalogueError>;
    /// Adds a concert as a draft.
    async fn create_concert(
        &self,
        actor: UserId,
        title: &str,
        description: &str,
        policy: QueuePolicy,
    ) -> Result<Concert, CatalogueError>;
    /// Edits a concert. With `expected` it must still have that version; without, the newest is taken. Its line follows at the next
    /// tick; steering makes it follow at once.
    async fn edit_concert(
        &self,
        actor: UserId,
        id: ConcertId,
        expected: Option<i32>,
        changes: ConcertChanges,
    ) -> Result<Concert, CatalogueError>;
    /// What an operator should look at once more in the settings of a concert's line.
    async fn policy_warnings(&self, concert: &Concert) -> Result<Vec<PolicyWarning>, CatalogueError>;
    /// Adds a show.
    async fn create_show(
        &self,
        concert: ConcertId,
        venue: &str,
        starts_at: DateTime<Utc>,
        hold_secs: i32,
        seats_per_fan: i32,
    ) -> Result<Show, CatalogueError>;
    /// A show, past every cache; for operators.
    async fn show_uncached(&self, id: ShowId) -> Result<Show, CatalogueError>;
    /// Edits a show that still has version `expected`.
    async fn edit_show(&self, id: ShowId, expected: i32, changes: ShowChanges) -> Result<Show, CatalogueError>;
    /// Adds seats, all or none; answers how many.
    async fn add_seats(&self, show: ShowId, seats: Vec<NewSeat>) -> Result<usize, CatalogueError>;
}

/// How many reads of strangers ask the database at the same time.
pub const READS_AT_ONCE: usize = 4;

/// The catalogue over a store and a cache.
pub struct CatalogueFacade<S, K, C> {
    /// The truth.
    pub store: Arc<S>,
    /// Copies of it.
    pub cache: K,
    /// How many reads of strangers may ask the truth at once; the rest wait.
    pub reads: tokio::sync::Semaphore,
    /// Time and ids.
    pub context: C,
    /// The installation's currency.
    pub currency: String,
}

/// What an edit did, for the audit log.
fn audit_of(actor: UserId, before: &Concert, after: &Concert) -> AuditEntry {
    let action = if before.sale_state != after.sale_state {
        after.sale_state.as_str()
    } else if before.policy != after.policy {
        "policy"
    } else {
        "edit"
    };
    let mut changes = Vec::new();
    let mut note = |what: &str, from: String, to: String| {
        if from != to {
            changes.push(AuditChange { what: what.to_owned(), from: Some(from), to });
        }
    };
    note("sale_state", before.sale_state.as_str().to_owned(), after.sale_state.as_str().to_owned());
    note("title", before.details.title.clone(), after.details.title.clone());
    note("description", before.details.description.clone(), after.details.description.clone());
    note("message", before.message.clone(), after.message.clone());
    for ((setting, from), (_, to)) in before.policy.values().zip(after.policy.values()) {
        note(setting.name, from.to_string(), to.to_string());
    }
    AuditEntry { actor, concert: after.id, action: action.to_owned(), changes }
}

fn page_key(after: Option<PageStart>, limit: usize) -> String {
    match after {
        Some(PageStart { at, id }) => format!("{limit}:{}:{id}", at.timestamp_micros()),
        None => format!("{limit}:first"),
    }
}

fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(100) + 1
}

impl<S: CatalogueStore, K: CatalogueCache, C: Clock + Ids> CatalogueFacade<S, K, C> {
    /// Waits for a read of strangers to be over when there are as many as may be.
    async fn turn(&self) -> Result<tokio::sync::SemaphorePermit<'_>, StoreError> {
        self.reads.acquire().await.map_err(|error| StoreError::Unavailable(error.into()))
    }

    async fn public_concert(&self, id: ConcertId) -> Result<Concert, CatalogueError> {
        let (stamp, cached) = self.cache.get_concert(id).await;
        let concert = match cached {
            Some(concert) => concert,
            None => {
                let _turn = self.turn().await?;
                let loaded = self.store.concert(id, self.context.now()).await?.ok_or(CatalogueError::NotFound)?;
                self.cache.put_concert(stamp, &loaded).await;
                loaded
            }
        };
        if concert.sale_state.is_public() { Ok(concert) } else { Err(CatalogueError::NotFound) }
    }
}

#[async_trait]
impl<S: CatalogueStore, K: CatalogueCache, C: Clock + Ids> Catalogue for CatalogueFacade<S, K, C> {
    async fn concerts(
        &self,
        after: Option<PageStart>,
        limit: usize,
    ) -> Result<Page<Concert, PageStart>, CatalogueError> {
        let key = page_key(after, limit);
        let (stamp, cached) = self.cache.get_concerts(&key).await;
        if let Some(page) = cached {
            return Ok(page);
        }
        let _turn = self.turn().await?;
        let now = self.context.now();
        let found = self.store.public_concerts(now, after, rows(limit)).await?;
        let page = Page::cut(found, limit, |c| PageStart { at: c.next_show_at.unwrap_or(now), id: c.id.0 });
        self.cache.put_concerts(stamp, &key, &page).await;
        Ok(page)
    }

    async fn concert(&self, id: ConcertId) -> Result<Concert, CatalogueError> {
        self.public_concert(id).await
    }

    async fn shows(
        &self,
        id: ConcertId,
        after: Option<PageStart>,
        limit: usize,
    ) -> Result<Page<Show, PageStart>, CatalogueError> {
        self.public_concert(id).await?;
        let key = page_key(after, limit);
        let (stamp, cached) = self.cache.get_shows(id, &key).await;
        if let Some(page) = cached {
            return Ok(page);
        }
        let _turn = self.turn().await?;
        let found = self.store.shows(id, self.context.now(), after, rows(limit)).await?;
        let page = Page::cut(found, limit, |s| PageStart { at: s.details.starts_at, id: s.id.0 });
        self.cache.put_shows(stamp, id, &key, &page).await;
        Ok(page)
    }

    async fn concert_uncached(&self, id: ConcertId) -> Result<Concert, CatalogueError> {
        self.store.concert(id, self.context.now()).await?.ok_or(CatalogueError::NotFound)
    }

    async fn create_concert(
        &self,
        actor: UserId,
        title: &str,
        description: &str,
        policy: QueuePolicy,
    ) -> Result<Concert, CatalogueError> {
        let mut faults = Faults::new();
        let details = faults.take(ConcertDetails::parse(title, description));
        let policy = faults.take(policy.check());
        let (details, policy) = faults.finish(details.zip(policy))?;
        let concert = Concert {
            id: ConcertId(self.context.new_id()),
            details,
            sale_state: SaleState::Draft,
            policy,
            message: String::new(),
            next_show_at: None,
            version: 1,
        };
        let audit = AuditEntry { actor, concert: concert.id, action: "create".to_owned(), changes: vec![] };
        self.store.insert_concert(&concert, &audit).await?;
        self.cache.evict().await;
        Ok(concert)
    }

    async fn edit_concert(
        &self,
        actor: UserId,
        id: ConcertId,
        expected: Option<i32>,
        changes: ConcertChanges,
    ) -> Result<Concert, CatalogueError> {
        // Without an expected version the edit is taken again on the newest one when somebody was faster.
        for _ in 0..5 {
            let mut concert = self.concert_uncached(id).await?;
            if expected.is_some_and(|version| version != concert.version) {
                return Err(CatalogueError::VersionMismatch(concert.version));
            }
            let mut faults = Faults::new();
            let title = changes.title.as_deref().unwrap_or(&concert.details.title);
            let description = changes.description.as_deref().unwrap_or(&concert.details.description);
            let details = faults.take(ConcertDetails::parse(title, description));
            let policy = faults.take(changes.policy.unwrap_or(concert.policy).check());
            let message = changes.message.as_deref().unwrap_or(&concert.message);
            let message = faults.take(text::checked("message", message, 0, 500));
            let before = concert.clone();
            ((concert.details, concert.policy), concert.message) = faults.finish(details.zip(policy).zip(message))?;
            if let Some(next) = changes.sale_state {
                if !concert.sale_state.may_become(next) {
                    return Err(CatalogueError::InvalidTransition(concert.sale_state, next));
                }
                if concert.sale_state.opens_sale(next) && self.store.for_sale(id).await?.seats == 0 {
                    return Err(CatalogueError::NothingToSell);
                }
                concert.sale_state = next;
            }
            match self.store.update_concert(&concert, concert.version, &audit_of(actor, &before, &concert)).await? {
                Edit::Done(()) => {
                    concert.version += 1;
                    self.cache.evict().await;
                    return Ok(concert);
                }
                Edit::NotFound => return Err(CatalogueError::NotFound),
                Edit::VersionMismatch if expected.is_some() => break,
                Edit::VersionMismatch => {}
            }
        }
        Err(CatalogueError::VersionMismatch(self.concert_uncached(id).await?.version))
    }

    async fn policy_warnings(&self, concert: &Concert) -> Result<Vec<PolicyWarning>, CatalogueError> {
        let ForSale { available, longest_hold_secs, .. } = self.store.for_sale(concert.id).await?;
        Ok(concert.policy.warnings(longest_hold_secs, available))
    }

    async fn create_show(
        &self,
        concert: ConcertId,
        venue: &str,
        starts_at: DateTime<Utc>,
        hold_secs: i32,
        seats_per_fan: i32,
    ) -> Result<Show, CatalogueError> {
        let details = ShowDetails::parse(venue, starts_at, hold_secs, seats_per_fan)?.is_to_come(self.context.now())?;
        let concert = self.concert_uncached(concert).await?;
        let show = Show {
            id: ShowId(self.context.new_id()),
            concert_id: concert.id,
            concert_title: concert.details.title,
            details,
            currency: self.currency.clone(),
            version: 1,
        };
        if !self.store.insert_show(&show).await? {
            return Err(CatalogueError::NotFound);
        }
        self.cache.evict().await;
        Ok(show)
    }

    async fn show_uncached(&self, id: ShowId) -> Result<Show, CatalogueError> {
        self.store.show(id).await?.map(|(show, _)| show).ok_or(CatalogueError::NotFound)
    }

    async fn edit_show(&self, id: ShowId, expected: i32, changes: ShowChanges) -> Result<Show, CatalogueError> {
        let mut show = self.show_uncached(id).await?;
        if show.version != expected {
            return Err(CatalogueError::VersionMismatch(show.version));
        }
        let before = show.details.starts_at;
        show.details = ShowDetails::parse(
            changes.venue.as_deref().unwrap_or(&show.details.venue),
            changes.starts_at.unwrap_or(show.details.starts_at),
            changes.hold_secs.unwrap_or(show.details.hold_secs),
            changes.seats_per_fan.unwrap_or(show.details.seats_per_fan),
        )?;
        if show.details.starts_at != before {
            show.details = show.details.is_to_come(self.context.now())?;
        }
        match self.store.update_show(&show, expected).await? {
            ShowEdit::Done => {
                show.version += 1;
                self.cache.evict().await;
                Ok(show)
            }
            ShowEdit::NotFound => Err(CatalogueError::NotFound),
            ShowEdit::VersionMismatch => Err(CatalogueError::VersionMismatch(self.show_uncached(id).await?.version)),
            ShowEdit::HasSales => Err(CatalogueError::HasSales),
        }
    }

    async fn add_seats(&self, show: ShowId, seats: Vec<NewSeat>) -> Result<usize, CatalogueError> {
        let seats: Vec<_> = seats.into_iter().map(|seat| (self.context.new_id(), seat)).collect();
        match self.store.insert_seats(show, &seats).await? {
            SeatsAdded::Added(count) => Ok(count),
            SeatsAdded::PlaceTaken(places) => Err(CatalogueError::PlaceTaken(places)),
            SeatsAdded::NotFound => Err(CatalogueError::NotFound),
        }
    }
}
