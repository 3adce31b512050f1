//! What a line leaves behind, for everybody to check and for operators to read.

use actix_web::{HttpResponse, get};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::{Stream, StreamExt, stream};
use onsale_application::{error::StoreError, line::FanPlace};
use onsale_domain::{fault::Faults, ids::ConcertId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{ApiResult, PageQuery, instant, private};
use crate::{
    connections::EndsInTime,
    extract::{Id, Operator, Query, SignedIn, State},
    problem::{ApiError, Code},
    published::List,
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

/// A published list, unless as many are read as may be.
fn list(
    state: &State,
    concert: Uuid,
    list: List,
    after: i64,
    most: usize,
) -> Result<impl Stream<Item = Result<Bytes, StoreError>> + use<>, ApiError> {
    let lines = state.published.list(&state.facades.line_records, concert, list, after, most);
    lines.ok_or_else(|| ApiError::new(Code::Busy))
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
    let draw = state.published.draw(&*state.facades.line_records, id.0).await?;
    let draw = draw.ok_or_else(|| ApiError::new(Code::NotFound))?;
    let head = json!({
        "concert": id.0,
        "commitment": hex::encode(draw.commitment),
        "seed": draw.seed.map(hex::encode),
        "first": draw.first,
        "last": draw.last,
    });
    let head = Bytes::from(head.to_string() + "\n");
    let Some(behind) = draw.ballots_behind(after) else {
        return Ok(HttpResponse::Ok().content_type("application/x-ndjson").body(head));
    };
    let parts = list(&state, id.0, List::Ballots, behind, most)?;
    Ok(sent(stream::once(async { Ok(head) }).chain(parts)))
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
