//! Loading: a line's store that was restarted, emptied or replaced gets everything from the database, in the original order.

use std::sync::Arc;

use onsale_domain::{
    ids::{ConcertId, UserId},
    queue::LogKind,
};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{
    keeper::{BATCH, Keeper, LineDatabase, PART, PLACES, PLACES_SENT, count, lost},
    lane::Lane,
    model::{Event, Loading, News},
    place::Place,
    ports::{LineStore, NewLife, Seeds, Written},
};
use crate::{
    catalogue::Concert,
    context::{Clock, Ids},
    error::StoreError,
};

/// Milliseconds for which another process is given to finish loading.
const PATIENCE_MS: i64 = 5_000;

/// A step of loading went on, or somebody else's loading has ended this one.
fn go_on(goes_on: bool) -> Result<(), StoreError> {
    if goes_on { Ok(()) } else { Err(lost()) }
}

impl<P: LineDatabase, L: LineStore, C: Clock + Ids + Seeds + Clone> Keeper<P, L, C> {
    /// The database knows another life than the store. Mostly somebody is loading the line just now; when nobody finishes, this
    /// process does. Answers what to tell who asked meanwhile.
    pub(super) async fn meet_other_life(&self, concert: &Concert, lane: &Lane) -> Result<StoreError, StoreError> {
        let now = self.context.monotonic_ms();
        let since = *lane.memory.lock().other_life_since.get_or_insert(now);
        if now - since > PATIENCE_MS {
            lane.memory.lock().other_life_since = None;
            let _one = lane.writing.lock().await;
            self.load_all(concert).await?;
        }
        Ok(lost())
    }

    /// Makes the line live on the store's server, whatever has happened to it. While somebody does, callers hear that it
    /// recovers.
    pub async fn load(self: &Arc<Self>, concert: &Concert) -> Result<(), StoreError> {
        let (done, heard) = oneshot::channel();
        let (keeper, concert) = (Arc::clone(self), concert.clone());
        // It goes on when whoever asked hangs up.
        self.tasks.spawn(Box::pin(async move {
            let _ = done.send(keeper.load_unless_under_way(&concert, &keeper.lane(concert.id)).await);
        }));
        heard.await.unwrap_or_else(|_| Err(lost()))
    }

    /// The same in the background.
    pub fn load_soon(self: &Arc<Self>, concert: ConcertId) {
        if self.lane(concert).loading.try_lock().is_err() {
            return;
        }
        let keeper = Arc::clone(self);
        self.tasks.spawn(Box::pin(async move {
            let found = keeper.database.concert(concert, keeper.context.now()).await;
            if let Ok(Some(concert)) = found
                && let Err(error) = keeper.load(&concert).await
            {
                tracing::debug!(%error, concert_id = %concert.id, "the line could not be loaded; a tick does it");
            }
        }));
    }

    pub(super) async fn load_unless_under_way(&self, concert: &Concert, lane: &Lane) -> Result<(), StoreError> {
        let Ok(_asking) = lane.loading.try_lock() else { return Err(lost()) };
        let _one = lane.writing.lock().await;
        // Somebody may have done it while this waited.
        match self.lines.loading(concert.id).await? {
            Loading::Done => return Ok(()),
            Loading::UnderWay => return Err(lost()),
            Loading::Wanted => self.load_all(concert).await?,
        }
        let tick = self.settings(concert, 0);
        self.lines.promote(concert.id, &tick).await?;
        Ok(())
    }

    /// A new life: everything that the database has goes into the store, in the original order; nobody is called meanwhile. Once,
    /// however many notice: a later life ends an earlier one's loading.
    async fn load_all(&self, concert: &Concert) -> Result<(), StoreError> {
        let id = concert.id;
        let began = self.context.monotonic_ms();
        let mut life = self.database.begin_life(id).await?;
        if life.life > 1 {
            tracing::warn!(concert_id = %id, life = life.life, "the line's store was restarted or lost; the line is loaded");
        }
        life.newest = self.write_rest(id, &life).await?;
        life.newest = self.write_paid(id, &life).await?;
        // Whatever is committed after this is beyond the numbers that are said to be all there.
        let head = self.database.head(id).await?;
        go_on(self.lines.begin_load(concert, &life).await?)?;
        let mut loaded = 0;
        let mut part = self.database.places(id, 0, i64::MAX, life.passed, count(PLACES)).await?;
        while let Some(last) = part.last() {
            loaded += part.len();
            // The next ones are read while these are sent.
            let next = self.database.places(id, last.number, i64::MAX, life.passed, count(PLACES));
            let (next, sent) = tokio::join!(next, self.load_part(id, life.life, &part));
            sent?;
            part = next?;
        }
        // While a draw is under way, a ballot is entered when its fan asks, or as the place that it becomes.
        if head.draws && head.whole == head.seq {
            loaded += self.load_ballots(id, life.life).await?;
        }
        let mut behind = UserId(Uuid::nil());
        loop {
            let part = self.database.holds(id, behind, count(PART)).await?;
            let Some(last) = part.last() else { break };
            behind = last.user_id;
            go_on(self.lines.load_holds(id, life.life, &part).await?)?;
        }
        go_on(self.lines.end_load(id, &life, head.whole).await?)?;
        let took_ms = self.context.monotonic_ms() - began;
        tracing::info!(concert_id = %id, life = life.life, loaded, took_ms, "the line lives");
        Ok(())
    }

    async fn load_ballots(&self, id: ConcertId, life: i64) -> Result<usize, StoreError> {
        let (mut behind, mut loaded) = (None, 0);
        loop {
            let part = self.database.ballots(id, behind, count(PLACES)).await?;
            let Some(last) = part.last() else { return Ok(loaded) };
            behind = Some((self.seed(id).await?.key(last.place_id), last.place_id));
            loaded += part.len();
            self.load_part(id, life, &part).await?;
        }
    }

    async fn load_part(&self, id: ConcertId, life: i64, places: &[Place]) -> Result<(), StoreError> {
        for part in places.chunks(PLACES_SENT) {
            go_on(self.lines.load_places(id, life, part).await?)?;
        }
        Ok(())
    }

    /// Before a new life: what the store noted and the database does not have yet. Answers the newest event in the log.
    async fn write_rest(&self, id: ConcertId, life: &NewLife) -> Result<(i64, i64), StoreError> {
        let mut newest = life.newest;
        loop {
            let Some(mut news) = self.lines.news(id, BATCH, true).await? else { break };
            let Some(last) = news.last_entry() else { break };
            let of_life = std::mem::replace(&mut news.life, life.life);
            news.calls.clear();
            // Refused when all of it is older than the log.
            let Written::Done(_) = self.database.write(id, &news, 0).await? else { break };
            if last <= newest {
                break;
            }
            newest = last;
            self.lines.written(id, of_life, Some(last), &[], &[]).await?;
            if news.entries() < BATCH {
                break;
            }
        }
        Ok(newest)
    }

    /// Before a new life: turns that were paid a moment before the store was lost. Answers the newest event in the log.
    async fn write_paid(&self, id: ConcertId, life: &NewLife) -> Result<(i64, i64), StoreError> {
        let numbers = self.database.paid_turns(id).await?;
        if numbers.is_empty() {
            return Ok(life.newest);
        }
        let newest = (life.newest.0.max(life.last_call_ms), life.newest.1 + 1);
        let paid = Event { at_ms: newest.0, counter: newest.1, kind: LogKind::Paid, numbers };
        let news = News { life: life.life, newest, events: vec![paid], ..News::default() };
        match self.database.write(id, &news, 0).await? {
            Written::Done(_) => Ok(newest),
            Written::Stale | Written::OtherLife => Err(lost()),
        }
    }
}
