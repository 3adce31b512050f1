//! Published lists, read from the database once for all who read them.

use std::{sync::Arc, time::Duration};

use actix_web::web;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, future, stream};
use moka::future::Cache;
use onsale_application::{
    error::StoreError,
    line::{DrawView, LineRecords},
};
use onsale_domain::{
    ids::ConcertId,
    queue::{LogEntry, LogHash},
};
use serde_json::json;
use tokio::{
    sync::{OnceCell, Semaphore},
    time::Instant,
};
use uuid::Uuid;

use crate::{
    conditional::TAKES_LONG,
    gzip::{File, Piece},
};

/// Entries or ballots read and sent at once.
const PART: i64 = 5_000;
/// Bytes of parts that are kept.
const PARTS_BYTES: u64 = 32 * 1024 * 1024;
/// What has been published does not change, so a part is kept for a while.
const PART_KEPT: Duration = Duration::from_mins(1);
/// What comes behind the last part shows after this time.
const LAST_PART_KEPT: Duration = Duration::from_secs(1);
/// Loads of parts at the same time.
const LOADS: usize = 2;
/// Most readers of published lists at the same time; one who takes nothing is cut off with the connection.
const READERS: usize = 256;

/// An entry of the log as a line, and its position.
pub(crate) fn log_line((entry, hash): &(LogEntry, LogHash)) -> (i64, String) {
    let line = json!({
        "index": entry.index,
        "kind": entry.kind.as_str(),
        "number": entry.number,
        "place": entry.place.map(hex::encode),
        "at_ms": entry.at_ms,
        "hash": hex::encode(hash),
    });
    (entry.index, line.to_string())
}

/// A ballot of a draw as a line, and its position.
pub(crate) fn ballot_line((number, ballot): &(i64, Uuid)) -> (i64, String) {
    (*number, json!({ "number": number, "ballot": ballot }).to_string())
}

/// Which published list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum List {
    /// Entries of the log.
    Log,
    /// Ballots of a draw that is done.
    Ballots,
}

/// A part of a published list: up to [`PART`] lines behind a position.
struct Part {
    text: Bytes,
    /// Each line's position and where it ends in the text.
    lines: Vec<(i64, usize)>,
    /// Whether nothing stands behind it yet.
    last: bool,
    read_at: Instant,
    /// All of the text compressed, once somebody has asked for that.
    packed: OnceCell<Arc<Piece>>,
}

/// Lines of a published list that are sent together.
pub(crate) struct Lines {
    text: Bytes,
    /// The part of which they are all lines.
    part: Option<Arc<Part>>,
}

impl From<Bytes> for Lines {
    fn from(text: Bytes) -> Self {
        Self { text, part: None }
    }
}

/// Published lists as they were last sent, so that many readers cost one read of the database, and how many read it.
pub struct Published {
    parts: Cache<(Uuid, List, i64), Arc<Part>>,
    draws: Cache<Uuid, Option<DrawView>>,
    /// Loads at the same time. Who takes what was loaded slowly keeps nobody from loading.
    loads: Arc<Semaphore>,
    readers: Arc<Semaphore>,
}

impl Default for Published {
    fn default() -> Self {
        // An empty part costs something too. Compressed it takes less than half as much again: most of a line are words and
        // hexadecimal digits.
        let size = |_: &(Uuid, List, i64), part: &Arc<Part>| {
            u32::try_from(256 + part.text.len() * 3 / 2 + part.lines.len() * 16).unwrap_or(u32::MAX)
        };
        Self {
            parts: Cache::builder().weigher(size).max_capacity(PARTS_BYTES).time_to_live(PART_KEPT).build(),
            draws: Cache::builder().max_capacity(1_000).time_to_live(LAST_PART_KEPT).build(),
            loads: Arc::new(Semaphore::new(LOADS)),
            readers: Arc::new(Semaphore::new(READERS)),
        }
    }
}

async fn read_part(records: &dyn LineRecords, concert: Uuid, list: List, from: i64) -> Result<Part, StoreError> {
    let id = ConcertId(concert);
    let found: Vec<(i64, String)> = match list {
        List::Log => records.log(id, from, PART).await?.iter().map(log_line).collect(),
        List::Ballots => records.drawn(id, from, PART).await?.iter().map(ballot_line).collect(),
    };
    let last = i64::try_from(found.len()).unwrap_or(i64::MAX) < PART;
    let (mut text, mut lines) = (String::new(), Vec::with_capacity(found.len()));
    for (position, line) in found {
        text += &line;
        text.push('\n');
        lines.push((position, text.len()));
    }
    Ok(Part { text: text.into(), lines, last, read_at: Instant::now(), packed: OnceCell::new() })
}

impl Part {
    /// The lines behind `after`, at most `most`, without copying them, and how many they are.
    fn behind(&self, after: i64, most: usize) -> (Bytes, usize) {
        let skipped = self.lines.partition_point(|(position, _)| *position <= after);
        let taken = (self.lines.len() - skipped).min(most);
        let end_of =
            |count: usize| count.checked_sub(1).and_then(|index| self.lines.get(index)).map_or(0, |(_, end)| *end);
        (self.text.slice(end_of(skipped)..end_of(skipped + taken)), taken)
    }

    /// All of it, compressed once however many ask.
    async fn packed(&self) -> Arc<Piece> {
        let packed = self.packed.get_or_init(|| async {
            let text = self.text.clone();
            if text.len() < TAKES_LONG {
                return Arc::new(Piece::packed(&text));
            }
            let packed = web::block(move || Piece::packed(&text)).await;
            Arc::new(packed.unwrap_or_else(|_| Piece::stored(&self.text)))
        });
        Arc::clone(packed.await)
    }
}

impl Lines {
    /// Compressed when they are a whole part, which is kept for others; else as they are.
    async fn piece(&self) -> Arc<Piece> {
        match &self.part {
            Some(part) => part.packed().await,
            None => Arc::new(Piece::stored(&self.text)),
        }
    }
}

/// Whether a list of so many lines at most is worth compressing: only whole parts are.
pub(crate) fn is_worth_packing(most: usize) -> bool {
    i64::try_from(most).unwrap_or(i64::MAX) >= PART
}

/// Lines as they are.
pub(crate) fn plain(
    lines: impl Stream<Item = Result<Lines, StoreError>>,
) -> impl Stream<Item = Result<Bytes, StoreError>> {
    lines.map_ok(|lines| lines.text)
}

/// Lines as one gzip file.
pub(crate) fn gzipped(
    lines: impl Stream<Item = Result<Lines, StoreError>>,
) -> impl Stream<Item = Result<Bytes, StoreError>> {
    let head = stream::once(future::ready(Ok::<_, StoreError>(Bytes::from_static(File::HEAD))));
    let pieces = stream::try_unfold((Box::pin(lines), Some(File::default())), |(mut lines, file)| async move {
        let Some(mut file) = file else { return Ok::<_, StoreError>(None) };
        match lines.try_next().await? {
            Some(next) => {
                let piece = next.piece().await;
                Ok(Some((file.add(&piece), (lines, Some(file)))))
            }
            None => Ok(Some((file.end(), (lines, None)))),
        }
    });
    head.chain(pieces)
}

impl Published {
    /// The opening draw as everybody was last told of it, a second old at most.
    pub(crate) async fn draw(&self, records: &dyn LineRecords, concert: Uuid) -> Result<Option<DrawView>, StoreError> {
        let load = records.draw(ConcertId(concert));
        self.draws.try_get_with(concert, load).await.map_err(|error| error.shared())
    }

    /// A part of a published list, from memory or read once for everybody who asks.
    async fn part(
        &self,
        records: &dyn LineRecords,
        concert: Uuid,
        list: List,
        from: i64,
    ) -> Result<Arc<Part>, StoreError> {
        let key = (concert, list, from);
        if self.parts.get(&key).await.is_some_and(|part| part.last && part.read_at.elapsed() > LAST_PART_KEPT) {
            self.parts.invalidate(&key).await;
        }
        let load = async {
            let _turn = self.loads.acquire().await.map_err(|error| StoreError::Unavailable(error.into()))?;
            read_part(records, concert, list, from).await.map(Arc::new)
        };
        self.parts.try_get_with(key, load).await.map_err(|error| {
            tracing::warn!(%error, "a published list was cut off");
            error.shared()
        })
    }

    /// The lines behind `after`, at most `most`, part by part; `None` when as many read as may. A stream that ends with an error
    /// is cut off, which the client sees; the log line says why.
    pub(crate) fn list(
        self: &Arc<Self>,
        records: &Arc<dyn LineRecords>,
        concert: Uuid,
        list: List,
        after: i64,
        most: usize,
    ) -> Option<impl Stream<Item = Result<Lines, StoreError>> + use<>> {
        let permit = Arc::clone(&self.readers).try_acquire_owned().ok()?;
        let (published, records) = (Arc::clone(self), Arc::clone(records));
        // The log has every index, so its parts begin at round ones, whatever was asked for, and readers share them.
        let from = if list == List::Log { after / PART * PART } else { after };
        Some(stream::try_unfold(Some((from, after, most, permit)), move |mut reading| {
            let (published, records) = (Arc::clone(&published), Arc::clone(&records));
            async move {
                while let Some((from, after, most, permit)) = reading.filter(|(_, _, most, _)| *most > 0) {
                    let part = published.part(&*records, concert, list, from).await?;
                    let (text, taken) = part.behind(after, most);
                    let next = part.lines.last().filter(|_| !part.last).map(|(position, _)| *position);
                    reading = next.map(|next| (next, after.max(next), most - taken, permit));
                    // An empty piece would end the answer.
                    if !text.is_empty() {
                        let part = (taken == part.lines.len()).then_some(part);
                        return Ok::<_, StoreError>(Some((Lines { text, part }, reading)));
                    }
                }
                Ok(None)
            }
        }))
    }
}
