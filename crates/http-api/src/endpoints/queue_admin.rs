//! How operators steer a line.

use std::{borrow::Cow, collections::BTreeMap};

use actix_web::{HttpResponse, get, post, put};
use onsale_application::{
    catalogue::{Concert, ConcertChanges},
    line::{Forecasting, WhyFewer},
    steering::SaleNow,
};
use onsale_domain::{
    concert::SaleState,
    fault::Faults,
    ids::ConcertId,
    queue::{Eta, PolicyWarning, QueuePolicy},
};
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use serde_json::{Value, json};
use utoipa::{
    IntoParams, PartialSchema, ToSchema,
    openapi::{
        ArrayBuilder, KnownFormat, ObjectBuilder, Ref, RefOr, Schema, SchemaFormat,
        schema::{AdditionalProperties, Type},
    },
};
use uuid::Uuid;

use super::{ApiResult, private, queue::EtaDto};
use crate::{
    conditional::version_etag,
    extract::{Id, IfMatch, Json, Operator, Query, State},
    problem::ApiError,
};

/// Settings of a line, and in answers what should be looked at once more.
#[derive(Debug, Clone, Serialize)]
pub struct QueuePolicyDto {
    #[serde(flatten)]
    policy: QueuePolicy,
    warnings: Vec<PolicyWarningDto>,
}

/// Settings are given whole, but for those that are optional. Warnings that are sent back change nothing.
impl<'de> Deserialize<'de> for QueuePolicyDto {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut members = serde_json::Map::deserialize(deserializer)?;
        let warnings = members.remove("warnings").unwrap_or_else(|| json!([]));
        let warnings = serde_json::from_value(warnings).map_err(D::Error::custom)?;
        if let Some(missing) =
            QueuePolicy::SETTINGS.iter().find(|setting| !setting.optional && !members.contains_key(setting.name))
        {
            return Err(D::Error::missing_field(missing.name));
        }
        if let Some(unknown) = members.keys().find(|name| QueuePolicy::SETTINGS.iter().all(|known| known.name != *name))
        {
            return Err(D::Error::custom(format!("unknown field `{unknown}`")));
        }
        let policy = serde_json::from_value(members.into()).map_err(D::Error::custom)?;
        Ok(Self { policy, warnings })
    }
}

impl PartialSchema for QueuePolicyDto {
    fn schema() -> RefOr<Schema> {
        let mut schema = ObjectBuilder::new()
            .description(Some("Settings of a line."))
            .additional_properties(Some(AdditionalProperties::FreeForm(false)));
        let mut example = serde_json::Map::new();
        for setting in QueuePolicy::SETTINGS {
            let (low, high) = setting.range;
            let default = if setting.is_switch { json!(setting.default == 1) } else { json!(setting.default) };
            let unless_given =
                if setting.optional { format!(" {} when not given.", setting.default) } else { String::new() };
            let member = ObjectBuilder::new()
                .description(Some(format!("{}{unless_given}", setting.text)))
                .examples([default.clone()]);
            let member = if setting.is_switch {
                member.schema_type(Type::Boolean)
            } else {
                let format = SchemaFormat::KnownFormat(KnownFormat::Int32);
                member.schema_type(Type::Integer).format(Some(format)).minimum(Some(low)).maximum(Some(high))
            };
            schema = schema.property(setting.name, member);
            if !setting.optional {
                schema = schema.required(setting.name);
            }
            example.insert(setting.name.to_owned(), default);
        }
        let warnings = ArrayBuilder::new()
            .items(Ref::from_schema_name(PolicyWarningDto::name()))
            .description(Some(
                "Settings that are allowed and probably not meant, in answers. Sent back as they are, they change nothing.",
            ))
            .build();
        schema.property("warnings", warnings).examples([Value::Object(example)]).into()
    }
}

impl ToSchema for QueuePolicyDto {
    fn name() -> Cow<'static, str> {
        "QueuePolicy".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((PolicyWarningDto::name().into(), PolicyWarningDto::schema()));
        PolicyWarningDto::schemas(schemas);
    }
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

impl From<QueuePolicyDto> for QueuePolicy {
    fn from(dto: QueuePolicyDto) -> Self {
        dto.policy
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
    #[schema(example = 41_200)]
    waiting: i64,
    /// Fans active now.
    #[schema(example = 2_100)]
    active: i64,
    /// Highest number given out.
    #[schema(example = 43_300)]
    joined_total: i64,
    /// Fans promoted.
    #[schema(example = 2_100)]
    promoted_total: i64,
    /// Fans who came back after a lapsed turn and wait at the head now.
    #[schema(example = 0)]
    returning: i64,
    /// Fans in the pre-queue now.
    #[schema(example = 0)]
    registered: i64,
    /// Active tokens that expired.
    #[schema(example = 0)]
    expired_total: i64,
    /// Turns that lapsed because nobody came.
    #[schema(example = 0)]
    lapsed_total: i64,
    /// Fans who came back after a lapse.
    #[schema(example = 0)]
    returned_total: i64,
    /// Places that were left, or ended by payment.
    #[schema(example = 0)]
    left_total: i64,
}

impl From<SaleNow> for QueueStatsDto {
    fn from(SaleNow { state, stats }: SaleNow) -> Self {
        Self {
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
}

/// The settings of a concert's line, with what should be looked at once more.
async fn policy_answer(state: &State, concert: &Concert) -> ApiResult {
    let warnings = state.facades.catalogue.policy_warnings(concert).await?;
    let warnings = warnings.into_iter().map(|warning| PolicyWarningDto::of(&concert.policy, warning)).collect();
    let policy = QueuePolicyDto { policy: concert.policy, warnings };
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
    let steering = state.facades.steering.clone();
    let write = async move { steering.edit(operator.0, ConcertId(id.0), Some(version.0), changes).await };
    let concert = state.detached.run(write).await??;
    policy_answer(&state, &concert).await
}

async fn put_into(state: &State, operator: Operator, id: Id, next: SaleState) -> ApiResult {
    let steering = state.facades.steering.clone();
    let write = async move { steering.put_into(operator.0, ConcertId(id.0), next).await };
    Ok(private(&QueueStatsDto::from(state.detached.run(write).await??)))
}

/// Pause the line
///
/// Fans join and keep their places, nobody is promoted.
#[utoipa::path(operation_id = "pauseQueue", params(("id" = Uuid, Path, description = "Concert")),
    responses((status = 200, description = "The line afterwards", body = QueueStatsDto)))]
#[post("/admin/concerts/{id}/queue/pause")]
pub(crate) async fn pause(operator: Operator, state: State, id: Id) -> ApiResult {
    put_into(&state, operator, id, SaleState::Paused).await
}

/// Put the sale on (again)
///
/// Also a sale that has not begun: a draft becomes public and is sold from now on.
#[utoipa::path(operation_id = "resumeQueue", params(("id" = Uuid, Path, description = "Concert")),
    responses((status = 200, description = "The line afterwards", body = QueueStatsDto)))]
#[post("/admin/concerts/{id}/queue/resume")]
pub(crate) async fn resume(operator: Operator, state: State, id: Id) -> ApiResult {
    put_into(&state, operator, id, SaleState::OnSale).await
}

/// Drain the line
///
/// Nobody joins any more, whoever waits is still promoted.
#[utoipa::path(operation_id = "drainQueue", params(("id" = Uuid, Path, description = "Concert")),
    responses((status = 200, description = "The line afterwards", body = QueueStatsDto)))]
#[post("/admin/concerts/{id}/queue/drain")]
pub(crate) async fn drain(operator: Operator, state: State, id: Id) -> ApiResult {
    put_into(&state, operator, id, SaleState::Draining).await
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
    let confirmed = body.value.confirm.and_then(|text| Uuid::try_parse(&text).ok()).map(ConcertId);
    let steering = state.facades.steering.clone();
    let write = async move { steering.close(operator.0, ConcertId(id.0), version.0, confirmed).await };
    Ok(private(&QueueStatsDto::from(state.detached.run(write).await??)))
}

/// Read the numbers of a line
#[utoipa::path(operation_id = "readQueueStats", params(("id" = Uuid, Path, description = "Concert")),
    responses((status = 200, description = "The numbers", body = QueueStatsDto)))]
#[get("/admin/concerts/{id}/queue/stats")]
pub(crate) async fn read_stats(_operator: Operator, state: State, id: Id) -> ApiResult {
    let now = state.facades.steering.now(ConcertId(id.0)).await?;
    Ok(private(&QueueStatsDto::from(now)))
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
    #[schema(example = 37)]
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

/// Of how many fans.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ForecastQuery {
    /// As if so many stood in line, 1 to 10,000,000; those who do when not given.
    #[param(minimum = 1, maximum = 10_000_000)]
    fans: Option<i64>,
}

impl ForecastQuery {
    fn fans(&self) -> Result<Option<i64>, ApiError> {
        match self.fans {
            None | Some(1..=10_000_000) => Ok(self.fans),
            Some(_) => Err(ApiError::parameters(&Faults::one("fans", "must be 1 to 10000000"))),
        }
    }
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
    /// Fans waiting, or registered for the draw; as many as `fans` says when it is given.
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
    let steering = state.facades.steering.clone();
    let write = async move { steering.edit(operator.0, ConcertId(id.0), None, changes).await };
    state.detached.run(write).await??;
    Ok(HttpResponse::NoContent().finish())
}

/// Try settings without using them
///
/// What would these settings do to those who wait, or who are registered for the draw? A simulation by the rules of
/// the line, also of a draft, with as many fans as `fans` says. Nobody joins or leaves in it. Changes nothing.
#[utoipa::path(operation_id = "forecastQueue", params(("id" = Uuid, Path, description = "Concert"), ForecastQuery),
    request_body = QueuePolicyDto,
    responses((status = 200, description = "The waits now and then", body = QueueForecast)))]
#[post("/admin/concerts/{id}/queue/forecast")]
pub(crate) async fn forecast(
    _operator: Operator,
    state: State,
    id: Id,
    query: Query<ForecastQuery>,
    body: Json<QueuePolicyDto>,
) -> ApiResult {
    let fans = query.0.fans()?;
    let told = state.facades.line.forecast(ConcertId(id.0), body.value.into(), fans).await?;
    let Forecasting { waiting, active, forecast } = told;
    let eta = |eta: Eta| EtaDto { low: eta.low_secs, high: eta.high_secs };
    let rows = forecast.rows.into_iter();
    let positions =
        rows.map(|row| ForecastRowDto { position: row.position, now: eta(row.now), then: eta(row.then) }).collect();
    Ok(private(&QueueForecast { waiting, active, active_above_limit: forecast.active_above_limit, positions }))
}
