//! What a line leaves behind, for everybody to check and for operators to read.

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder, get,
    http::header::{self, ContentEncoding},
};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::{Stream, StreamExt, stream};
use onsale_application::{
    error::StoreError,
    line::{DrawView, FanPlace},
};
use onsale_domain::{
    fault::Faults,
    ids::ConcertId,
    queue::{DrawSeed, LogEntry, LogKind, batch_hash, place_hash},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{ApiResult, PageQuery, instant, private};
use crate::{
    conditional::takes_gzip,
    connections::EndsInTime,
    extract::{Id, Operator, Query, SignedIn, State},
    problem::{ApiError, Code},
    published::{Lines, List, ballot_line, gzipped, is_worth_packing, log_line, plain},
};

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
    #[schema(example = "01997b1e-7f1c-7a63-9d0c-0d6f0f4e6a55")]
    concert_id: Uuid,
    /// Fans admitted for the first time.
    #[schema(example = 12_600)]
    admitted: i64,
    /// Fans admitted again after their turn had lapsed.
    #[schema(example = 210)]
    readmitted: i64,
    /// Fans admitted although a higher number had been admitted before; 0 in a fair line.
    #[schema(example = 0)]
    inversions: i64,
    /// Most active fans after any admission.
    #[schema(example = 2_100)]
    highest_active: i64,
    /// Admissions after which more were active than the limit of that moment; 0 when the limit held.
    #[schema(example = 0)]
    above_limit: i64,
    /// Turns that lapsed because nobody came.
    #[schema(example = 640)]
    no_shows: i64,
    /// Fans who came back after a lapse.
    #[schema(example = 210)]
    returned: i64,
    /// Turns that ended by payment.
    #[schema(example = 9_870)]
    paid: i64,
    /// Turns that ran out.
    #[schema(example = 1_440)]
    expired: i64,
    /// Fans who left while they waited.
    #[schema(example = 1_130)]
    departed: i64,
    /// Milliseconds from joining to the first admission: half waited no longer.
    #[schema(example = 1_512_000)]
    waiting_p50_ms: i64,
    /// Nine in ten waited no longer.
    #[schema(example = 2_730_000)]
    waiting_p90_ms: i64,
    /// Ninety-nine in a hundred waited no longer.
    #[schema(example = 3_010_000)]
    waiting_p99_ms: i64,
    /// Estimates given at joining that were checked against what happened (a sample).
    #[schema(example = 630)]
    estimates: i64,
    /// How many of them held.
    #[schema(example = 611)]
    estimates_kept: i64,
    /// Median distance of an estimate from what happened, in seconds; 0 when it held.
    #[schema(example = 0)]
    eta_error_p50_secs: i64,
    /// 90th percentile of the same.
    #[schema(example = 0)]
    eta_error_p90_secs: i64,
    /// How often the line began to live: one more than the losses of its store.
    #[schema(example = 1)]
    lives: i64,
}

/// An action of an operator.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditEntry)]
pub struct AuditEntryDto {
    #[schema(example = 318)]
    id: i64,
    #[schema(example = "2027-03-01T09:12:44.087Z")]
    created_at: DateTime<Utc>,
    /// Who.
    #[schema(example = "01997b1e-5a01-7c1e-8d2f-4b6a9c0e1f35")]
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
    #[schema(example = "01997b1e-8c40-7f15-9a6d-3e7b2c5d8f91")]
    place_id: Uuid,
    #[schema(example = "01997b1e-7f1c-7a63-9d0c-0d6f0f4e6a55")]
    concert_id: Uuid,
    #[schema(example = "Seoul Night")]
    concert_title: String,
    /// Place in the order of joining; 0 until the opening draw.
    #[schema(example = 43_300)]
    number: i64,
    /// `pre_queue`, `waiting`, `active` or `lapsed`; when it is over, what it was last.
    #[schema(example = "active")]
    state: &'static str,
    #[schema(example = "2027-03-01T09:00:00.412Z")]
    joined_at: DateTime<Utc>,
    /// When the turn came, the last time.
    #[schema(example = "2027-03-01T10:40:07.250Z")]
    called_at: Option<DateTime<Utc>>,
    /// When it ended; null while it lives.
    #[schema(example = "2027-03-01T10:41:02.730Z")]
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

/// A published list, unless as many are read as may be.
fn list(
    state: &State,
    concert: Uuid,
    list: List,
    after: i64,
    most: usize,
) -> Result<impl Stream<Item = Result<Lines, StoreError>> + use<>, ApiError> {
    let lines = state.published.list(&state.facades.line_records, concert, list, after, most);
    lines.ok_or_else(|| ApiError::new(Code::Busy))
}

/// The head of a published list.
fn ndjson() -> HttpResponseBuilder {
    let mut answer = HttpResponse::Ok();
    answer.content_type("application/x-ndjson").insert_header((header::VARY, "accept-encoding"));
    answer
}

/// An answer that is sent part by part, within the time of a connection on which nothing is under way; as gzip to whoever takes
/// that and reads much.
fn sent(
    request: &HttpRequest,
    most: usize,
    lines: impl Stream<Item = Result<Lines, StoreError>> + 'static,
) -> HttpResponse {
    let mut answer = if is_worth_packing(most) && takes_gzip(request) {
        ndjson().insert_header(ContentEncoding::Gzip).streaming(gzipped(lines))
    } else {
        ndjson().streaming(plain(lines))
    };
    answer.extensions_mut().insert(EndsInTime);
    answer
}

/// The first line of a draw.
fn head_line(concert: Uuid, draw: &DrawView) -> String {
    let head = json!({
        "concert": concert,
        "commitment": hex::encode(draw.commitment),
        "seed": draw.seed.map(hex::encode),
        "first": draw.first,
        "last": draw.last,
    });
    head.to_string() + "\n"
}

/// The places of docs/ACCOUNTABLE.md, where their log and draw are worked out.
const PLACES: [Uuid; 3] = [
    Uuid::from_u128(0x0199_7b1e_7f1c_7a63_9d0c_0d6f_0f4e_6a55),
    Uuid::from_u128(0x0199_7b1e_7f1d_7c02_8a41_5b7d_e1a0_9c13),
    Uuid::from_u128(0x0199_7b1e_7f1d_7f5e_b6d8_92c4_407f_e2a8),
];

fn log_example() -> String {
    let [first, ..] = PLACES;
    let happened = [
        (LogKind::Joined, 3, Some(batch_hash(PLACES)), 1_789_999_990_000),
        (LogKind::Admitted, 1, Some(place_hash(first)), 1_790_000_000_000),
        (LogKind::Arrived, 1, None, 1_790_000_012_000),
        (LogKind::Departed, 3, None, 1_790_000_015_500),
        (LogKind::Paid, 1, None, 1_790_000_090_000),
    ];
    let (mut lines, mut hash) = (String::new(), [0; 32]);
    for (index, (kind, number, place, at_ms)) in (1..).zip(happened) {
        let entry = LogEntry { index, kind, number, place, at_ms };
        hash = entry.seal(&hash);
        lines += &log_line(&(entry, hash)).1;
        lines.push('\n');
    }
    lines
}

fn draw_example() -> String {
    let seed = DrawSeed(std::array::from_fn(|index| u8::try_from(index).unwrap_or_default()));
    let draw = DrawView { commitment: seed.commitment(), seed: Some(seed.0), first: 1, last: 3 };
    let mut ballots = PLACES;
    ballots.sort_by_key(|ballot| seed.key(*ballot));
    let mut lines = head_line(Uuid::from_u128(0x0199_7b1e_7a40_7e15_8d2b_4c9f_6e1a_7b38), &draw);
    for numbered in (1..).zip(ballots) {
        lines += &ballot_line(&numbered).1;
        lines.push('\n');
    }
    lines
}

/// Read the published log of a line
///
/// What happened to which number, each entry sealed with the hash of all before it. One JSON object per line; see
/// docs/ACCOUNTABLE.md for how to check it. Without `limit` the answer can be long: take 100 on this page.
#[utoipa::path(operation_id = "readQueueLog",
    params(("id" = Uuid, Path, description = "Concert"), LogQuery),
    responses((status = 200, description = "The log", body = String, content_type = "application/x-ndjson",
        example = log_example)))]
#[get("/concerts/{id}/queue/log")]
pub(crate) async fn log(request: HttpRequest, state: State, id: Id, query: Query<LogQuery>) -> ApiResult {
    state.facades.catalogue.concert(ConcertId(id.0)).await?;
    let (after, most) = query.0.range()?;
    Ok(sent(&request, most, list(&state, id.0, List::Log, after, most)?))
}

/// Read the opening draw
///
/// First a line with the commitment and, once everybody has been drawn, the seed; then a line per ballot in the order
/// of the numbers, those above `after`. See docs/ACCOUNTABLE.md for how to check it. Without `limit` the answer can be
/// long: take 100 on this page.
#[utoipa::path(operation_id = "readQueueDraw",
    params(("id" = Uuid, Path, description = "Concert"), LogQuery),
    responses((status = 200, description = "The draw", body = String, content_type = "application/x-ndjson",
        example = draw_example)))]
#[get("/concerts/{id}/queue/draw")]
pub(crate) async fn read_draw(request: HttpRequest, state: State, id: Id, query: Query<LogQuery>) -> ApiResult {
    let concert = ConcertId(id.0);
    state.facades.catalogue.concert(concert).await?;
    let (after, most) = query.0.range()?;
    let draw = state.published.draw(&*state.facades.line_records, id.0).await?;
    let draw = draw.ok_or_else(|| ApiError::new(Code::NotFound))?;
    let head = Bytes::from(head_line(id.0, &draw));
    let Some(behind) = draw.ballots_behind(after) else {
        return Ok(ndjson().body(head));
    };
    let ballots = list(&state, id.0, List::Ballots, behind, most)?;
    Ok(sent(&request, most, stream::once(async { Ok(Lines::from(head)) }).chain(ballots)))
}

/// Was the line fair?
#[utoipa::path(operation_id = "readFairnessReport",
    params(("id" = Uuid, Path, description = "Concert")),
    responses((status = 200, description = "The report", body = FairnessReportDto)))]
#[get("/admin/concerts/{id}/queue/report")]
pub(crate) async fn report(_operator: Operator, state: State, id: Id) -> ApiResult {
    let report = state.facades.line.report(ConcertId(id.0)).await?;
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
