//! The line: joining, asking, leaving; and how operators steer it.

use actix_web::{HttpResponse, delete, get, post, put};
use chrono::{DateTime, Utc};
use onsale_application::{
    catalogue::ConcertChanges,
    line::{LineStats, LineView, Place, PlaceView},
};
use onsale_domain::{concert::SaleState, ids::ConcertId, queue::QueuePolicy};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{ApiResult, instant, private};
use crate::{
    conditional::version_etag,
    extract::{Id, IfMatch, Json, Operator, QueueToken, SignedIn, State},
};

/// What everybody may know of a line.
#[derive(Serialize, ToSchema)]
pub struct QueueOverview {
    /// Stage of the sale.
    #[schema(example = "on_sale")]
    state: String,
    /// Fans waiting.
    #[schema(example = 41_199)]
    waiting: i64,
    /// Fans past the line.
    #[schema(example = 2_100)]
    active: i64,
    /// Fans promoted per minute when promotions are full.
    #[schema(example = 420)]
    promoted_per_minute: i64,
}

/// A probable wait in seconds.
#[derive(Serialize, ToSchema)]
pub struct EtaDto {
    /// If every promotion is full.
    #[schema(example = 5_880)]
    low: i64,
    /// If every active fan stays as long as a token can live.
    #[schema(example = 18_060)]
    high: i64,
}

/// A place in line.
#[derive(Serialize, ToSchema)]
pub struct QueuePlace {
    /// For the `Queue-Token` header.
    #[schema(example = "AQGXl7qk")]
    token: String,
    /// `waiting` or `active`.
    #[schema(example = "waiting")]
    state: String,
    /// Place in the order of joining.
    #[schema(example = 43_300)]
    number: i64,
    /// 1 is the head of the line; null when active.
    #[schema(example = 41_200)]
    position: Option<i64>,
    /// Fans before this one; null when active.
    #[schema(example = 41_199)]
    ahead: Option<i64>,
    /// Null when active, and when nobody is promoted at the moment.
    eta: Option<EtaDto>,
    /// Milliseconds after which to ask again.
    #[schema(example = 31_700)]
    poll_after_ms: i64,
    /// When an active token ends if it is not used; null when waiting.
    expires_at: Option<DateTime<Utc>>,
}

impl From<PlaceView> for QueuePlace {
    fn from(view: PlaceView) -> Self {
        let (state, position, expires_at) = match view.place {
            Place::Waiting { position, .. } => ("waiting", Some(position), None),
            Place::Active { expires_at } => ("active", None, Some(expires_at)),
        };
        Self {
            token: view.token,
            state: state.to_owned(),
            number: view.number,
            position,
            ahead: position.map(|position| position - 1),
            eta: view.eta.map(|eta| EtaDto { low: eta.low_secs, high: eta.high_secs }),
            poll_after_ms: view.poll_after_ms,
            expires_at: expires_at.map(instant),
        }
    }
}

/// Settings of a line.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[schema(as = QueuePolicy)]
#[serde(deny_unknown_fields)]
pub struct QueuePolicyDto {
    /// Seconds between promotions, 1 to 3,600.
    #[schema(example = 60, minimum = 1, maximum = 3600)]
    interval_secs: i32,
    /// Most fans that one promotion makes active, 1 to 100,000.
    #[schema(example = 420, minimum = 1, maximum = 100_000)]
    batch: i32,
    /// Most active fans, 1 to 100,000.
    #[schema(example = 2_100, minimum = 1, maximum = 100_000)]
    active_limit: i32,
    /// Whether a fan who joins an empty line while there is room is active at once.
    #[schema(example = true)]
    idle_admission: bool,
    /// Seconds that an active token lives unused, 10 to 86,400.
    #[schema(example = 300, minimum = 10, maximum = 86_400)]
    active_sliding_secs: i32,
    /// Seconds that an active token lives at most, not less than `active_sliding_secs`.
    #[schema(example = 900, minimum = 10, maximum = 86_400)]
    active_absolute_secs: i32,
    /// Most fans waiting, 1 to 10,000,000.
    #[schema(example = 1_000_000, minimum = 1, maximum = 10_000_000)]
    waiting_limit: i32,
}

impl From<QueuePolicyDto> for QueuePolicy {
    fn from(dto: QueuePolicyDto) -> Self {
        Self {
            interval_secs: dto.interval_secs,
            batch: dto.batch,
            active_limit: dto.active_limit,
            idle_admission: dto.idle_admission,
            active_sliding_secs: dto.active_sliding_secs,
            active_absolute_secs: dto.active_absolute_secs,
            waiting_limit: dto.waiting_limit,
        }
    }
}

impl From<QueuePolicy> for QueuePolicyDto {
    fn from(policy: QueuePolicy) -> Self {
        Self {
            interval_secs: policy.interval_secs,
            batch: policy.batch,
            active_limit: policy.active_limit,
            idle_admission: policy.idle_admission,
            active_sliding_secs: policy.active_sliding_secs,
            active_absolute_secs: policy.active_absolute_secs,
            waiting_limit: policy.waiting_limit,
        }
    }
}

/// Numbers of a line since it exists.
#[derive(Serialize, ToSchema)]
#[schema(as = QueueStats)]
pub struct QueueStatsDto {
    /// Stage of the sale.
    #[schema(example = "on_sale")]
    state: String,
    /// Fans waiting now.
    waiting: i64,
    /// Fans active now.
    active: i64,
    /// Fans who joined.
    joined_total: i64,
    /// Fans promoted.
    promoted_total: i64,
    /// Active tokens that expired.
    expired_total: i64,
    /// Places that were left, or ended by payment.
    left_total: i64,
}

fn stats_of(state: SaleState, stats: LineStats) -> QueueStatsDto {
    QueueStatsDto {
        state: state.as_str().to_owned(),
        waiting: stats.waiting,
        active: stats.active,
        joined_total: stats.joined_total,
        promoted_total: stats.promoted_total,
        expired_total: stats.expired_total,
        left_total: stats.left_total,
    }
}

/// The line of a concert, for everybody.
#[utoipa::path(tag = "Queue", operation_id = "readQueue", params(("id" = Uuid, Path, description = "Concert")),
    responses((status = 200, description = "The line", body = QueueOverview)))]
#[get("/concerts/{id}/queue")]
pub(crate) async fn overview(state: State, id: Id) -> ApiResult {
    let LineView { state: sale, stats, promoted_per_minute } = state.facades.line.overview(ConcertId(id.0)).await?;
    Ok(private(&QueueOverview {
        state: sale.as_str().to_owned(),
        waiting: stats.waiting,
        active: stats.active,
        promoted_per_minute,
    }))
}

/// Join the line. Joining again returns the same place.
#[utoipa::path(tag = "Queue", operation_id = "joinQueue", params(("id" = Uuid, Path, description = "Concert")),
    responses((status = 201, description = "A new place", body = QueuePlace),
        (status = 200, description = "The place that the fan has already", body = QueuePlace)))]
#[post("/concerts/{id}/queue/tokens")]
pub(crate) async fn join(user: SignedIn, state: State, id: Id) -> ApiResult {
    let (new, place) = state.facades.line.join(ConcertId(id.0), user.0).await?;
    let mut response = if new { HttpResponse::Created() } else { HttpResponse::Ok() };
    Ok(response.insert_header(("Cache-Control", "no-store")).json(QueuePlace::from(place)))
}

/// Where am I? Ask again after `poll_after_ms`.
#[utoipa::path(tag = "Queue", operation_id = "readMyPlace", params(("id" = Uuid, Path, description = "Concert")),
    responses((status = 200, description = "The fan's place", body = QueuePlace)))]
#[get("/concerts/{id}/queue/tokens/me")]
pub(crate) async fn status(user: SignedIn, state: State, id: Id, token: QueueToken) -> ApiResult {
    let place = state.facades.line.status(ConcertId(id.0), user.0, token.0.as_deref()).await?;
    Ok(private(&QueuePlace::from(place)))
}

/// Leave the line, or end the turn.
#[utoipa::path(tag = "Queue", operation_id = "leaveQueue", params(("id" = Uuid, Path, description = "Concert")),
    responses((status = 204, description = "The place is gone")))]
#[delete("/concerts/{id}/queue/tokens/me")]
pub(crate) async fn leave(user: SignedIn, state: State, id: Id, token: QueueToken) -> ApiResult {
    state.facades.line.leave(ConcertId(id.0), user.0, token.0.as_deref()).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// The settings of a line. `ETag` is the concert's version.
#[utoipa::path(tag = "Operators", operation_id = "readQueuePolicy", params(("id" = Uuid, Path, description = "Concert")),
    responses((status = 200, description = "The settings", body = QueuePolicyDto)))]
#[get("/admin/concerts/{id}/queue/policy")]
pub(crate) async fn read_policy(_operator: Operator, state: State, id: Id) -> ApiResult {
    let concert = state.facades.catalogue.concert_uncached(ConcertId(id.0)).await?;
    Ok(HttpResponse::Ok().insert_header(version_etag(concert.version)).json(QueuePolicyDto::from(concert.policy)))
}

/// Change the settings of a line, also while the sale runs. A lower limit lets active fans finish.
#[utoipa::path(tag = "Operators", operation_id = "writeQueuePolicy", params(("id" = Uuid, Path, description = "Concert")),
    request_body = QueuePolicyDto,
    responses((status = 200, description = "The new settings", body = QueuePolicyDto)))]
#[put("/admin/concerts/{id}/queue/policy")]
pub(crate) async fn write_policy(
    _operator: Operator,
    state: State,
    id: Id,
    version: IfMatch,
    body: Json<QueuePolicyDto>,
) -> ApiResult {
    let changes = ConcertChanges { policy: Some(body.value.into()), ..ConcertChanges::default() };
    let concert = super::admin::edit(&state, ConcertId(id.0), Some(version.0), changes).await?;
    Ok(HttpResponse::Ok().insert_header(version_etag(concert.version)).json(QueuePolicyDto::from(concert.policy)))
}

async fn become_(state: &State, id: Id, next: SaleState) -> ApiResult {
    let changes = ConcertChanges { sale_state: Some(next), ..ConcertChanges::default() };
    let concert = super::admin::edit(state, ConcertId(id.0), None, changes).await?;
    let stats = state.facades.line.overview(concert.id).await.map(|view| view.stats).unwrap_or_default();
    Ok(private(&stats_of(concert.sale_state, stats)))
}

/// Pause: fans join and keep their places, nobody is promoted.
#[utoipa::path(tag = "Operators", operation_id = "pauseQueue", params(("id" = Uuid, Path, description = "Concert")),
    responses((status = 200, description = "The line afterwards", body = QueueStatsDto)))]
#[post("/admin/concerts/{id}/queue/pause")]
pub(crate) async fn pause(_operator: Operator, state: State, id: Id) -> ApiResult {
    become_(&state, id, SaleState::Paused).await
}

/// Resume: on sale again.
#[utoipa::path(tag = "Operators", operation_id = "resumeQueue", params(("id" = Uuid, Path, description = "Concert")),
    responses((status = 200, description = "The line afterwards", body = QueueStatsDto)))]
#[post("/admin/concerts/{id}/queue/resume")]
pub(crate) async fn resume(_operator: Operator, state: State, id: Id) -> ApiResult {
    become_(&state, id, SaleState::OnSale).await
}

/// Drain: nobody joins any more, who waits is still promoted.
#[utoipa::path(tag = "Operators", operation_id = "drainQueue", params(("id" = Uuid, Path, description = "Concert")),
    responses((status = 200, description = "The line afterwards", body = QueueStatsDto)))]
#[post("/admin/concerts/{id}/queue/drain")]
pub(crate) async fn drain(_operator: Operator, state: State, id: Id) -> ApiResult {
    become_(&state, id, SaleState::Draining).await
}

/// Close: the end of the sale.
#[utoipa::path(tag = "Operators", operation_id = "closeQueue", params(("id" = Uuid, Path, description = "Concert")),
    responses((status = 200, description = "The line afterwards", body = QueueStatsDto)))]
#[post("/admin/concerts/{id}/queue/close")]
pub(crate) async fn close(_operator: Operator, state: State, id: Id) -> ApiResult {
    become_(&state, id, SaleState::Closed).await
}

/// Numbers of a line.
#[utoipa::path(tag = "Operators", operation_id = "readQueueStats", params(("id" = Uuid, Path, description = "Concert")),
    responses((status = 200, description = "The numbers", body = QueueStatsDto)))]
#[get("/admin/concerts/{id}/queue/stats")]
pub(crate) async fn read_stats(_operator: Operator, state: State, id: Id) -> ApiResult {
    let view = state.facades.line.overview(ConcertId(id.0)).await?;
    Ok(private(&stats_of(view.state, view.stats)))
}
