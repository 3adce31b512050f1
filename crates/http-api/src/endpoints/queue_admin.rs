//! How operators steer a line.

use std::collections::BTreeMap;

use actix_web::{HttpResponse, get, post, put};
use onsale_application::{
    catalogue::{Concert, ConcertChanges},
    line::{Forecasting, LineStats, WhyFewer},
};
use onsale_domain::{
    concert::SaleState,
    ids::ConcertId,
    queue::{Eta, PolicyWarning, QueuePolicy},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{ApiResult, private, queue::EtaDto};
use crate::{
    conditional::version_etag,
    extract::{Id, IfMatch, Json, Operator, State},
    problem::{ApiError, Code},
};

/// Settings of a line.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
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
    /// Seconds in which a promoted fan must use the token before the turn goes to the next, 5 to 3,600; 60 when not given.
    #[serde(default = "claim_secs")]
    #[schema(example = 60, minimum = 5, maximum = 3600, required = false)]
    claim_secs: i32,
    /// Seconds after a lapsed turn in which the fan may come back to the head, 0 to 86,400; 900 when not given.
    #[serde(default = "return_secs")]
    #[schema(example = 900, minimum = 0, maximum = 86_400, required = false)]
    return_secs: i32,
    /// Most fans waiting, 1 to 10,000,000.
    #[schema(example = 1_000_000, minimum = 1, maximum = 10_000_000)]
    waiting_limit: i32,
    /// Settings that are allowed and probably not meant, in answers. Sent back as they are, they change nothing.
    #[serde(default)]
    #[schema(read_only, required = false)]
    warnings: Vec<PolicyWarningDto>,
}

/// A setting that is allowed and probably not meant.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = PolicyWarning)]
#[serde(deny_unknown_fields)]
pub struct PolicyWarningDto {
    /// `turn_shorter_than_hold` or `admits_more_than_seats`.
    #[schema(example = "admits_more_than_seats")]
    code: String,
    #[schema(example = "2100 fans may be active at once, and 50 seats are left")]
    message: String,
    /// Settings that would fit, by their names.
    #[schema(example = json!({ "active_limit": 50, "batch": 50 }))]
    proposal: BTreeMap<String, i32>,
}

impl PolicyWarningDto {
    fn of(policy: &QueuePolicy, warning: PolicyWarning) -> Self {
        let (code, message, proposal) = match warning {
            PolicyWarning::TurnShorterThanHold { hold_secs } => (
                "turn_shorter_than_hold",
                format!(
                    "seats are held for {hold_secs} s and an unused turn lasts {} s: they can be paid all the same, and keep the slot",
                    policy.active_sliding_secs
                ),
                vec![
                    ("active_sliding_secs", hold_secs),
                    ("active_absolute_secs", policy.active_absolute_secs.max(hold_secs)),
                ],
            ),
            PolicyWarning::AdmitsMoreThanSeats { left, active_limit, batch } => (
                "admits_more_than_seats",
                format!("{} fans may be active at once, and {left} seats are left", policy.active_limit),
                vec![("active_limit", active_limit), ("batch", batch)],
            ),
        };
        let proposal = proposal.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { code: code.to_owned(), message, proposal }
    }
}

fn claim_secs() -> i32 {
    QueuePolicy::default().claim_secs
}

fn return_secs() -> i32 {
    QueuePolicy::default().return_secs
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
            claim_secs: dto.claim_secs,
            return_secs: dto.return_secs,
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
            claim_secs: policy.claim_secs,
            return_secs: policy.return_secs,
            waiting_limit: policy.waiting_limit,
            warnings: vec![],
        }
    }
}

/// Numbers of a line since it exists.
#[derive(Serialize, ToSchema)]
#[schema(as = QueueStats)]
pub struct QueueStatsDto {
    /// Stage of the sale.
    #[schema(example = "on_sale")]
    sale_state: String,
    /// Fans waiting now.
    waiting: i64,
    /// Fans active now.
    active: i64,
    /// Highest number given out.
    joined_total: i64,
    /// Fans promoted.
    promoted_total: i64,
    /// Fans who came back after a lapsed turn and wait at the head now.
    returning: i64,
    /// Fans in the pre-queue now.
    registered: i64,
    /// Active tokens that expired.
    expired_total: i64,
    /// Turns that lapsed because nobody came.
    lapsed_total: i64,
    /// Fans who came back after a lapse.
    returned_total: i64,
    /// Places that were left, or ended by payment.
    left_total: i64,
}

fn stats_of(state: SaleState, stats: LineStats) -> QueueStatsDto {
    QueueStatsDto {
        sale_state: state.as_str().to_owned(),
        waiting: stats.waiting,
        active: stats.active,
        joined_total: stats.joined_total,
        promoted_total: stats.promoted_total,
        returning: stats.returning,
        registered: stats.registered,
        expired_total: stats.expired_total,
        lapsed_total: stats.lapsed_total,
        returned_total: stats.returned_total,
        left_total: stats.left_total,
    }
}

/// The settings of a concert's line, with what should be looked at once more.
async fn policy_answer(state: &State, concert: &Concert) -> ApiResult {
    let warnings = state.facades.catalogue.policy_warnings(concert).await?;
    let warnings = warnings.into_iter().map(|warning| PolicyWarningDto::of(&concert.policy, warning)).collect();
    let policy = QueuePolicyDto { warnings, ..concert.policy.into() };
    Ok(HttpResponse::Ok().insert_header(version_etag(concert.version)).json(policy))
}

/// Read the settings of a line
///
/// `ETag` is the concert's version.
#[utoipa::path(operation_id = "readQueuePolicy", params(("id" = Uuid, Path, description = "Concert")),
    responses((status = 200, description = "The settings", body = QueuePolicyDto,
        headers(("ETag" = String, description = "For `If-Match` of an edit")))))]
#[get("/admin/concerts/{id}/queue/policy")]
pub(crate) async fn read_policy(_operator: Operator, state: State, id: Id) -> ApiResult {
    let concert = state.facades.catalogue.concert_uncached(ConcertId(id.0)).await?;
    policy_answer(&state, &concert).await
}

/// Change the settings of a line
///
/// Also while the sale runs. A lower limit lets active fans finish.
#[utoipa::path(operation_id = "writeQueuePolicy", params(("id" = Uuid, Path, description = "Concert")),
    request_body = QueuePolicyDto,
    responses((status = 200, description = "The new settings", body = QueuePolicyDto,
        headers(("ETag" = String, description = "For `If-Match` of an edit")))))]
#[put("/admin/concerts/{id}/queue/policy")]
pub(crate) async fn write_policy(
    operator: Operator,
    state: State,
    id: Id,
    version: IfMatch,
    body: Json<QueuePolicyDto>,
) -> ApiResult {
    let changes = ConcertChanges { policy: Some(body.value.into()), ..ConcertChanges::default() };
    let concert = super::admin::edit(&state, operator.0, ConcertId(id.0), Some(version.0), changes).await?;
    policy_answer(&state, &concert).await
}

async fn become_(state: &State, operator: Operator, id: Id, expected: Option<i32>, next: SaleState) -> ApiResult {
    let changes = ConcertChanges { sale_state: Some(next), ..ConcertChanges::default() };
    let concert = super::admin::edit(state, operator.0, ConcertId(id.0), expected, changes).await?;
    let stats = state.facades.line.overview(&concert).await.map(|view| view.stats).unwrap_or_default();
    Ok(private(&stats_of(concert.sale_state, stats)))
}

/// Pause the line
///
/// Fans join and keep their places, nobody is promoted.
#[utoipa::path(operation_id = "pauseQueue", params(("id" = Uuid, Path, description = "Concert")),
    responses((status = 200, description = "The line afterwards", body = QueueStatsDto)))]
#[post("/admin/concerts/{id}/queue/pause")]
pub(crate) async fn pause(operator: Operator, state: State, id: Id) -> ApiResult {
    become_(&state, operator, id, None, SaleState::Paused).await
}

/// Resume the sale
///
/// On sale, or on sale again.
#[utoipa::path(operation_id = "resumeQueue", params(("id" = Uuid, Path, description = "Concert")),
    responses((status = 200, description = "The line afterwards", body = QueueStatsDto)))]
#[post("/admin/concerts/{id}/queue/resume")]
pub(crate) async fn resume(operator: Operator, state: State, id: Id) -> ApiResult {
    become_(&state, operator, id, None, SaleState::OnSale).await
}

/// Drain the line
///
/// Nobody joins any more, whoever waits is still promoted.
#[utoipa::path(operation_id = "drainQueue", params(("id" = Uuid, Path, description = "Concert")),
    responses((status = 200, description = "The line afterwards", body = QueueStatsDto)))]
#[post("/admin/concerts/{id}/queue/drain")]
pub(crate) async fn drain(operator: Operator, state: State, id: Id) -> ApiResult {
    become_(&state, operator, id, None, SaleState::Draining).await
}

/// A confirmation that the sale is to end.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CloseSale {
    /// The id of the concert, once more.
    #[schema(example = "01997b1e-7f1c-7a63-9d0c-0d6f0f4e6a55")]
    confirm: Option<String>,
}

/// Close the sale for good
///
/// Nobody joins, is promoted or reserves any more; seats that are held can still be paid until their holds end. It
/// cannot be taken back, so the body repeats the concert's id; without it the answer says what closing would do and
/// changes nothing. To stop for a while, pause; to let those in line finish, drain.
#[utoipa::path(operation_id = "closeQueue", params(("id" = Uuid, Path, description = "Concert")),
    request_body = CloseSale,
    responses((status = 200, description = "The line afterwards", body = QueueStatsDto)))]
#[post("/admin/concerts/{id}/queue/close")]
pub(crate) async fn close(
    operator: Operator,
    state: State,
    id: Id,
    version: IfMatch,
    body: Json<CloseSale>,
) -> ApiResult {
    let confirmed = body.value.confirm.is_some_and(|confirm| Uuid::try_parse(&confirm) == Ok(id.0));
    if !confirmed {
        let concert = state.facades.catalogue.concert_uncached(ConcertId(id.0)).await?;
        let crowd = match state.facades.line.overview(&concert).await {
            Ok(view) => format!(
                "{} who wait are never called, {} who are active can only pay what they hold",
                view.stats.waiting + view.stats.registered,
                view.stats.active
            ),
            Err(_) => "nobody who waits is ever called; how many do cannot be told at the moment".to_owned(),
        };
        let detail = format!(
            "closing is the end of the sale of \"{}\" and cannot be taken back: {crowd}. Pause stops for a while, drain lets \
             those in line finish. To close, send {{\"confirm\": \"{}\"}}",
            concert.details.title, id.0
        );
        return Err(ApiError::detail(Code::ConfirmationRequired, detail));
    }
    become_(&state, operator, id, Some(version.0), SaleState::Closed).await
}

/// Read the numbers of a line
#[utoipa::path(operation_id = "readQueueStats", params(("id" = Uuid, Path, description = "Concert")),
    responses((status = 200, description = "The numbers", body = QueueStatsDto)))]
#[get("/admin/concerts/{id}/queue/stats")]
pub(crate) async fn read_stats(_operator: Operator, state: State, id: Id) -> ApiResult {
    let concert = state.facades.catalogue.concert_uncached(ConcertId(id.0)).await?;
    let view = state.facades.line.overview(&concert).await?;
    Ok(private(&stats_of(view.line.state, view.stats)))
}

/// How many fans to admit.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAdmissions {
    /// 1 to 100,000. Never beyond the limit of active fans.
    #[schema(example = 50, minimum = 1, maximum = 100_000)]
    count: i64,
}

/// How many fans were admitted.
#[derive(Serialize, ToSchema)]
pub struct Admissions {
    #[schema(example = 50)]
    admitted: i64,
    /// Why they are fewer than asked for: `nobody_waits` any more, `limit_reached`, `sold_out`, or `not_yet` (the next places are being
    /// written down; ask again in a second). Null when they are not.
    #[schema(example = "limit_reached")]
    why_fewer: Option<&'static str>,
}

/// What to say to everyone in line.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LineMessage {
    /// 0 to 500 characters; empty to say nothing.
    #[schema(example = "The second show goes on sale at noon.", max_length = 500)]
    message: String,
}

/// The wait at one position.
#[derive(Serialize, ToSchema)]
#[schema(as = ForecastRow)]
pub struct ForecastRowDto {
    #[schema(example = 21_000)]
    position: i64,
    /// As things are.
    now: EtaDto,
    /// With the settings asked about.
    then: EtaDto,
}

/// What other settings would do.
#[derive(Serialize, ToSchema)]
pub struct QueueForecast {
    /// Fans waiting now.
    #[schema(example = 42_000)]
    waiting: i64,
    /// Fans active now.
    #[schema(example = 2_100)]
    active: i64,
    /// Active fans above the new limit. They finish their turns; nobody is promoted until the line is below it.
    #[schema(example = 0)]
    active_above_limit: i64,
    /// The head, the middle, the ninth tenth and the end of the line.
    positions: Vec<ForecastRowDto>,
}

/// Admit fans now
///
/// Beyond the batch but never beyond the limit; also while the line is paused.
#[utoipa::path(operation_id = "admitFans", params(("id" = Uuid, Path, description = "Concert")),
    request_body = NewAdmissions,
    responses((status = 200, description = "How many became active", body = Admissions)))]
#[post("/admin/concerts/{id}/queue/admissions")]
pub(crate) async fn admit(operator: Operator, state: State, id: Id, body: Json<NewAdmissions>) -> ApiResult {
    let line = state.facades.line.clone();
    let count = body.value.count;
    let write = async move { line.admit(operator.0, ConcertId(id.0), count).await };
    let admitted = state.detached.run(write).await??;
    Ok(private(&Admissions { admitted: admitted.count, why_fewer: admitted.why_fewer.map(WhyFewer::as_str) }))
}

/// Say something to everyone in line
#[utoipa::path(operation_id = "writeQueueMessage",
    params(("id" = Uuid, Path, description = "Concert")), request_body = LineMessage,
    responses((status = 204, description = "Everyone in line is told")))]
#[put("/admin/concerts/{id}/queue/message")]
pub(crate) async fn write_message(operator: Operator, state: State, id: Id, body: Json<LineMessage>) -> ApiResult {
    let changes = ConcertChanges { message: Some(body.value.message), ..ConcertChanges::default() };
    super::admin::edit(&state, operator.0, ConcertId(id.0), None, changes).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Try settings without using them
///
/// What would these settings do to those who wait? Changes nothing.
#[utoipa::path(operation_id = "forecastQueue", params(("id" = Uuid, Path, description = "Concert")),
    request_body = QueuePolicyDto,
    responses((status = 200, description = "The waits now and then", body = QueueForecast)))]
#[post("/admin/concerts/{id}/queue/forecast")]
pub(crate) async fn forecast(_operator: Operator, state: State, id: Id, body: Json<QueuePolicyDto>) -> ApiResult {
    let told = state.facades.line.forecast(ConcertId(id.0), body.value.into()).await?;
    let Forecasting { waiting, active, forecast } = told;
    let eta = |eta: Eta| EtaDto { low: eta.low_secs, high: eta.high_secs };
    let rows = forecast.rows.into_iter();
    let positions =
        rows.map(|row| ForecastRowDto { position: row.position, now: eta(row.now), then: eta(row.then) }).collect();
    Ok(private(&QueueForecast { waiting, active, active_above_limit: forecast.active_above_limit, positions }))
}
