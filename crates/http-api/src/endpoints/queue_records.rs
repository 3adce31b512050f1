//! What a line leaves behind, for everybody to check and for operators to read.

use std::{sync::Arc, time::Duration};

use actix_web::{HttpResponse, get};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::{Stream, StreamExt, stream};
use moka::future::Cache;
use onsale_application::{
    error::StoreError,
    line::{DrawView, FanPlace, LineRecords},
};
use onsale_domain::{
    fault::Faults,
    ids::ConcertId,
    queue::{LogEntry, LogHash},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::{sync::Semaphore, time::Instant};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{ApiResult, PageQuery, instant, private};
use crate::{
    connections::EndsInTime,
    extract::{Id, Operator, Query, SignedIn, State},
    problem::{ApiError, Code},
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

/// Where to start.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LogQuery {
    /// Only entries with a higher index (of the draw: number) than this; 0 when not given.
    #[param(minimum = 0)]
    after: Option<i64>,
    /// Most entries, 1 to 100,000; all when not given.
    #[param(minimum = 1, maximum = 100_000)]
    limit: Option<i64>,
}

impl LogQuery {
    /// Behind which position, and how many.
    fn range(&self) -> Result<(i64, usize), ApiError> {
        let most = match self.limit.map(usize::try_from) {
            None => usize::MAX,
            Some(Ok(limit @ 1..=100_000)) => limit,
            Some(_) => return Err(ApiError::parameters(&Faults::one("limit", "must be 1 to 100000"))),
        };
        match self.after.unwrap_or(0) {
            after @ 0.. => Ok((after, most)),
            _ => Err(ApiError::parameters(&Faults::one("after", "must be 0 or more"))),
        }
    }
}

/// Waiting times and estimates of a line, and whether it was fair.
#[derive(Serialize, ToSchema)]
#[schema(as = FairnessReport)]
pub struct FairnessReportDto {
    concert_id: Uuid,
    /// Fans admitted for the first time.
    admitted: i64,
    /// Fans admitted again after their turn had lapsed.
    readmitted: i64,
    /// Fans admitted although a higher number had been admitted before; 0 in a fair line.
    inversions: i64,
    /// Most active fans after any admission.
    highest_active: i64,
    /// Admissions after which more were active than the limit of that moment; 0 when the limit held.
    above_limit: i64,
    /// Turns that lapsed because nobody came.
    no_shows: i64,
    /// Fans who came back after a lapse.
    returned: i64,
    /// Turns that ended by payment.
    paid: i64,
    /// Turns that ran out.
    expired: i64,
    /// Fans who left while they waited.
    departed: i64,
    /// Milliseconds from joining to the first admission: half waited no longer.
    waiting_p50_ms: i64,
    /// Nine in ten waited no longer.
    waiting_p90_ms: i64,
    /// Ninety-nine in a hundred waited no longer.
    waiting_p99_ms: i64,
    /// Estimates given at joining that were checked against what happened (a sample).
    estimates: i64,
    /// How many of them held.
    estimates_kept: i64,
    /// Median distance of an estimate from what happened, in seconds; 0 when it held.
    eta_error_p50_secs: i64,
    /// 90th percentile of the same.
    eta_error_p90_secs: i64,
    /// How often the line began to live: one more than the losses of its store.
    lives: i64,
}

/// An action of an operator.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditEntry)]
pub struct AuditEntryDto {
    id: i64,
    created_at: DateTime<Utc>,
    /// Who.
    actor_id: Uuid,
    /// `create`, `edit`, `policy`, `admit`, or the stage that the sale was put into.
    #[schema(example = "policy")]
    action: String,
    changes: Vec<AuditChangeDto>,
}

/// One value that an action changed or set.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditChange)]
pub struct AuditChangeDto {
    #[schema(example = "batch")]
    what: String,
    #[schema(example = "420")]
    from: Option<String>,
    #[schema(example = "840")]
    to: String,
}

/// A page of the audit log.
#[derive(Serialize, ToSchema)]
pub struct AuditPage {
    items: Vec<AuditEntryDto>,
    /// For the `cursor` of the next page; null on the last.
    next_cursor: Option<String>,
}

/// A place or ballot of mine, as the database has it: what is decided in line shows within a second or so.
#[derive(Serialize, ToSchema)]
#[schema(as = MyPlace)]
pub struct FanPlaceDto {
    /// The ballot, if there was a draw.
    place_id: Uuid,
    concert_id: Uuid,
    #[schema(example = "Seoul Night")]
    concert_title: String,
    /// Place in the order of joining; 0 until the opening draw.
    #[schema(example = 43_300)]
    number: i64,
    /// `pre_queue`, `waiting`, `active` or `lapsed`; when it is over, what it was last.
    #[schema(example = "active")]
    state: &'static str,
    joined_at: DateTime<Utc>,
    /// When the turn came, the last time.
    called_at: Option<DateTime<Utc>>,
    /// When it ended; null while it lives.
    ended_at: Option<DateTime<Utc>>,
    /// How it ended: `paid`, `expired` (the turn ran out), `left` (the fan ended the turn), `departed` (the fan left while
    /// waiting) or `forfeited` (nobody came back after a lapse); null while it lives.
    #[schema(example = "paid")]
    outcome: Option<&'static str>,
}

/// A page of places.
#[derive(Serialize, ToSchema)]
pub struct MyPlacePage {
    items: Vec<FanPlaceDto>,
    /// For the `cursor` of the next page; null on the last.
    next_cursor: Option<String>,
}

impl From<FanPlace> for FanPlaceDto {
    fn from(place: FanPlace) -> Self {
        Self {
            place_id: place.place_id,
            concert_id: place.concert_id.0,
            concert_title: place.concert_title,
            number: place.number,
            state: place.state.as_str(),
            joined_at: place.joined_at,
            called_at: place.called_at,
            ended_at: place.ended.map(|(at, _)| at),
            outcome: place.ended.map(|(_, kind)| kind.as_str()),
        }
    }
}

/// List my places
///
/// Every place and ballot that I have or had, in all lines, the newest first.
#[utoipa::path(operation_id = "listMyPlaces", params(PageQuery),
    responses((status = 200, description = "A page of places", body = MyPlacePage)))]
#[get("/me/places")]
pub(crate) async fn my_places(user: SignedIn, state: State, query: Query<PageQuery>) -> ApiResult {
    let (before, limit) = (query.0.after_id()?, query.0.limit()?);
    let page = state.facades.line_records.places_of_fan(user.0, before, limit).await?.map(FanPlaceDto::from);
    Ok(private(&MyPlacePage { items: page.items, next_cursor: page.next.map(|id| id.to_string()) }))
}

fn log_line((entry, hash): &(LogEntry, LogHash)) -> (i64, String) {
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

fn ballot_line((number, ballot): &(i64, Uuid)) -> (i64, String) {
    (*number, json!({ "number": number, "ballot": ballot }).to_string())
}

/// Which published list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum List {
    Log,
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
        // An empty part costs something too.
        let size = |_: &(Uuid, List, i64), part: &Arc<Part>| {
            u32::try_from(256 + part.text.len() + part.lines.len() * 16).unwrap_or(u32::MAX)
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
        List::Ballots => records.ballots(id, from, PART).await?.iter().map(ballot_line).collect(),
    };
    let last = i64::try_from(found.len()).unwrap_or(i64::MAX) < PART;
    let (mut text, mut lines) = (String::new(), Vec::with_capacity(found.len()));
    for (position, line) in found {
        text += &line;
        text.push('\n');
        lines.push((position, text.len()));
    }
    Ok(Part { text: text.into(), lines, last, read_at: Instant::now() })
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
}

/// A part of a published list, from memory or read once for everybody who asks.
async fn part_of(state: &State, concert: Uuid, list: List, from: i64) -> Result<Arc<Part>, StoreError> {
    let published = &state.published;
    let key = (concert, list, from);
    if published.parts.get(&key).await.is_some_and(|part| part.last && part.read_at.elapsed() > LAST_PART_KEPT) {
        published.parts.invalidate(&key).await;
    }
    let load = async {
        let _turn = published.loads.acquire().await.map_err(|error| StoreError::Unavailable(error.into()))?;
        read_part(&*state.facades.line_records, concert, list, from).await.map(Arc::new)
    };
    published.parts.try_get_with(key, load).await.map_err(|error| {
        tracing::warn!(%error, "a published list was cut off");
        error.shared()
    })
}

/// The lines behind `after`, at most `most`, part by part. A stream that ends with an error is cut off, which the client
/// sees; the log line says why.
fn list(
    state: &State,
    concert: Uuid,
    list: List,
    after: i64,
    most: usize,
) -> Result<impl Stream<Item = Result<Bytes, StoreError>> + use<>, ApiError> {
    let permit = Arc::clone(&state.published.readers).try_acquire_owned().map_err(|_| ApiError::new(Code::Busy))?;
    let state = state.clone();
    // The log has every index, so its parts begin at round ones, whatever was asked for, and readers share them.
    let from = if list == List::Log { after / PART * PART } else { after };
    Ok(stream::try_unfold(Some((from, after, most, permit)), move |mut reading| {
        let state = state.clone();
        async move {
            while let Some((from, after, most, permit)) = reading.filter(|(_, _, most, _)| *most > 0) {
                let part = part_of(&state, concert, list, from).await?;
                let (text, taken) = part.behind(after, most);
                let next = part.lines.last().filter(|_| !part.last).map(|(position, _)| *position);
                reading = next.map(|next| (next, after.max(next), most - taken, permit));
                // An empty piece would end the answer.
                if !text.is_empty() {
                    return Ok::<_, StoreError>(Some((text, reading)));
                }
            }
            Ok(None)
        }
    }))
}

/// An answer that is sent part by part, within the time of a connection on which nothing is under way.
fn sent(parts: impl Stream<Item = Result<Bytes, StoreError>> + 'static) -> HttpResponse {
    let mut answer = HttpResponse::Ok().content_type("application/x-ndjson").streaming(parts);
    answer.extensions_mut().insert(EndsInTime);
    answer
}

/// Read the published log of a line
///
/// What happened to which number, each entry sealed with the hash of all before it. One JSON object per line; see
/// docs/ACCOUNTABLE.md for how to check it. Without `limit` the answer can be long: take 100 on this page.
#[utoipa::path(operation_id = "readQueueLog",
    params(("id" = Uuid, Path, description = "Concert"), LogQuery),
    responses((status = 200, description = "The log", body = String, content_type = "application/x-ndjson")))]
#[get("/concerts/{id}/queue/log")]
pub(crate) async fn log(state: State, id: Id, query: Query<LogQuery>) -> ApiResult {
    state.facades.catalogue.concert(ConcertId(id.0)).await?;
    let (after, most) = query.0.range()?;
    Ok(sent(list(&state, id.0, List::Log, after, most)?))
}

/// Read the opening draw
///
/// First a line with the commitment and, once everybody has been drawn, the seed; then a line per ballot in the order
/// of the numbers, those above `after`. See docs/ACCOUNTABLE.md for how to check it. Without `limit` the answer can be
/// long: take 100 on this page.
#[utoipa::path(operation_id = "readQueueDraw",
    params(("id" = Uuid, Path, description = "Concert"), LogQuery),
    responses((status = 200, description = "The draw", body = String, content_type = "application/x-ndjson")))]
#[get("/concerts/{id}/queue/draw")]
pub(crate) async fn draw(state: State, id: Id, query: Query<LogQuery>) -> ApiResult {
    let concert = ConcertId(id.0);
    state.facades.catalogue.concert(concert).await?;
    let (after, most) = query.0.range()?;
    let load = state.facades.line_records.draw(concert);
    let draw = state.published.draws.try_get_with(id.0, load).await.map_err(|error| error.shared())?;
    let draw = draw.ok_or_else(|| ApiError::new(Code::NotFound))?;
    let head = json!({
        "concert": id.0,
        "commitment": hex::encode(draw.commitment),
        "seed": draw.seed.map(hex::encode),
        "first": draw.first,
        "last": draw.last,
    });
    let head = Bytes::from(head.to_string() + "\n");
    if draw.seed.is_none() {
        return Ok(HttpResponse::Ok().content_type("application/x-ndjson").body(head));
    }
    // Numbers may begin anywhere.
    let parts = list(&state, id.0, List::Ballots, after.max(draw.first - 1), most)?;
    Ok(sent(stream::once(async { Ok(head) }).chain(parts)))
}

/// Was the line fair?
#[utoipa::path(operation_id = "readFairnessReport",
    params(("id" = Uuid, Path, description = "Concert")),
    responses((status = 200, description = "The report", body = FairnessReportDto)))]
#[get("/admin/concerts/{id}/queue/report")]
pub(crate) async fn report(_operator: Operator, state: State, id: Id) -> ApiResult {
    state.facades.catalogue.concert_uncached(ConcertId(id.0)).await?;
    let report = state.facades.line_records.report(ConcertId(id.0)).await?;
    let fairness = report.fairness;
    Ok(private(&FairnessReportDto {
        concert_id: id.0,
        admitted: fairness.admitted,
        readmitted: fairness.readmitted,
        inversions: fairness.inversions,
        highest_active: fairness.highest_active,
        above_limit: fairness.above_limit,
        no_shows: report.no_shows,
        returned: report.returned,
        paid: report.paid,
        expired: report.expired,
        departed: report.departed,
        waiting_p50_ms: fairness.waiting.p50_ms,
        waiting_p90_ms: fairness.waiting.p90_ms,
        waiting_p99_ms: fairness.waiting.p99_ms,
        estimates: fairness.estimates,
        estimates_kept: fairness.estimates_kept,
        eta_error_p50_secs: fairness.eta_error_p50_secs,
        eta_error_p90_secs: fairness.eta_error_p90_secs,
        lives: report.lives,
    }))
}

/// List what operators did to a concert
///
/// And to its line, the newest first.
#[utoipa::path(operation_id = "readAudit",
    params(("id" = Uuid, Path, description = "Concert"), PageQuery),
    responses((status = 200, description = "A page of the audit log", body = AuditPage)))]
#[get("/admin/concerts/{id}/audit")]
pub(crate) async fn audit(_operator: Operator, state: State, id: Id, query: Query<PageQuery>) -> ApiResult {
    state.facades.catalogue.concert_uncached(ConcertId(id.0)).await?;
    let (before, limit) = (query.0.after_number()?, query.0.limit()?);
    let page = state.facades.line_records.audit(ConcertId(id.0), before, limit).await?;
    let page = page.map(|record| AuditEntryDto {
        id: record.id,
        created_at: instant(record.at),
        actor_id: record.entry.actor.0,
        action: record.entry.action,
        changes: record
            .entry
            .changes
            .into_iter()
            .map(|change| AuditChangeDto { what: change.what, from: change.from, to: change.to })
            .collect(),
    });
    Ok(private(&AuditPage { items: page.items, next_cursor: page.next.map(|id| id.to_string()) }))
}
