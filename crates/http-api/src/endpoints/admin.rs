//! How operators create and edit concerts, shows and seats.

use actix_web::{HttpResponse, get, patch, post};
use chrono::{DateTime, Utc};
use onsale_application::catalogue::{Concert, ConcertChanges, ShowChanges};
use onsale_domain::{
    concert::SaleState,
    fault::Faults,
    ids::{ConcertId, ShowId},
    queue::QueuePolicy,
    seat::{NewSeat, SeatBlock, seats_from},
    show::{HOLD_SECS_DEFAULT, SEATS_PER_FAN_DEFAULT},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    ApiResult,
    concerts::{ConcertDto, ShowDto},
    queue_admin::QueuePolicyDto,
};
use crate::{
    conditional::version_etag,
    extract::{BulkJson, Id, IfMatch, Json, Operator, State},
};

/// A new concert.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewConcert {
    /// 1 to 200 characters.
    #[schema(example = "Seoul Night", min_length = 1, max_length = 200)]
    title: String,
    /// 0 to 4,000 characters.
    #[serde(default)]
    #[schema(example = "One night, all songs.", max_length = 4000)]
    description: String,
    /// Settings of the line; the defaults when not given.
    queue_policy: Option<QueuePolicyDto>,
}

/// Changes of a concert; what is not given stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ConcertChanges, example = json!({ "title": "Seoul Night" }))]
pub struct ConcertChangesDto {
    #[schema(example = "Seoul Night", min_length = 1, max_length = 200)]
    title: Option<String>,
    #[schema(max_length = 4000)]
    description: Option<String>,
    /// Next stage: `scheduled`, `pre_queue`, `on_sale` (which needs a seat to sell), `paused`, `draining`, or back to `draft`
    /// before the sale began. A sale is closed by `POST .../queue/close`, which asks for a confirmation.
    #[schema(example = "scheduled")]
    sale_state: Option<String>,
}

/// A new show.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewShow {
    /// 1 to 200 characters.
    #[schema(example = "Olympic Hall", min_length = 1, max_length = 200)]
    venue: String,
    #[schema(example = "2030-05-01T10:00:00Z")]
    starts_at: DateTime<Utc>,
    /// Seconds that a reservation is held, 10 to 3,600; 300 when not given.
    #[schema(example = 300, minimum = 10, maximum = 3600)]
    hold_secs: Option<i32>,
    /// Most seats of one fan, 1 to 20; 4 when not given.
    #[schema(example = 4, minimum = 1, maximum = 20)]
    seats_per_fan: Option<i32>,
}

/// Changes of a show; what is not given stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ShowChanges, example = json!({ "venue": "Olympic Hall" }))]
pub struct ShowChangesDto {
    #[schema(example = "Olympic Hall", min_length = 1, max_length = 200)]
    venue: Option<String>,
    /// Only while no seat is held or sold.
    starts_at: Option<DateTime<Utc>>,
    #[schema(minimum = 10, maximum = 3600)]
    hold_secs: Option<i32>,
    #[schema(minimum = 1, maximum = 20)]
    seats_per_fan: Option<i32>,
}

/// Seats to add, as blocks, one by one, or both; 100,000 at most in one request.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSeats {
    /// Rows `1..=rows` with seats `1..=seats_per_row` each.
    #[serde(default)]
    blocks: Vec<SeatBlockDto>,
    /// Single seats.
    #[serde(default)]
    seats: Vec<NewSeatDto>,
}

/// A block of seats.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SeatBlock)]
pub struct SeatBlockDto {
    #[schema(example = "A", min_length = 1, max_length = 40)]
    section: String,
    #[schema(example = 5, minimum = 1, maximum = 10_000)]
    rows: i32,
    #[schema(example = 10, minimum = 1, maximum = 10_000)]
    seats_per_row: i32,
    /// Minor units.
    #[schema(example = 150_000, minimum = 0, maximum = 1_000_000_000_000_i64)]
    price_minor: i64,
}

/// A single seat.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewSeat)]
pub struct NewSeatDto {
    #[schema(example = "A", min_length = 1, max_length = 40)]
    section: String,
    #[schema(example = "12", min_length = 1, max_length = 10)]
    row: String,
    #[schema(example = 7, minimum = 1, maximum = 100_000)]
    number: i32,
    /// Minor units.
    #[schema(example = 150_000, minimum = 0, maximum = 1_000_000_000_000_i64)]
    price_minor: i64,
}

/// How many seats were added.
#[derive(Serialize, ToSchema)]
pub struct SeatsAdded {
    #[schema(example = "01997b1e-80a2-7d94-a1b7-5e2f8c6d9034")]
    show_id: Uuid,
    #[schema(example = 60_000)]
    added: usize,
}

/// A concert with everything that operators see.
fn concert(response: &mut actix_web::HttpResponseBuilder, concert: Concert) -> HttpResponse {
    response.insert_header(version_etag(concert.version)).json(ConcertDto::from(concert))
}

/// Create a concert
///
/// As a draft.
#[utoipa::path(operation_id = "createConcert", request_body = NewConcert,
    responses((status = 201, description = "The concert", body = ConcertDto, headers(("Location" = String, description = "The new thing"),
        ("ETag" = String, description = "For `If-Match` of an edit")))))]
#[post("/admin/concerts")]
pub(crate) async fn create_concert(operator: Operator, state: State, body: Json<NewConcert>) -> ApiResult {
    let NewConcert { title, description, queue_policy } = body.value;
    let policy = queue_policy.map_or_else(QueuePolicy::default, QueuePolicy::from);
    let catalogue = state.facades.catalogue.clone();
    let write = async move { catalogue.create_concert(operator.0, &title, &description, policy).await };
    let created = state.detached.run(write).await??;
    let location = format!("/api/v1/admin/concerts/{}", created.id);
    Ok(concert(HttpResponse::Created().insert_header(("Location", location)), created))
}

/// Read a concert in any stage
///
/// `ETag` is its version.
#[utoipa::path(operation_id = "readConcertAsOperator",
    params(("id" = Uuid, Path, description = "Concert")),
    responses((status = 200, description = "The concert", body = ConcertDto,
        headers(("ETag" = String, description = "For `If-Match` of an edit")))))]
#[get("/admin/concerts/{id}")]
pub(crate) async fn read_concert(_operator: Operator, state: State, id: Id) -> ApiResult {
    let found = state.facades.catalogue.concert_uncached(ConcertId(id.0)).await?;
    Ok(concert(&mut HttpResponse::Ok(), found))
}

/// Edit a concert, or move its sale on
///
/// Its words, or the stage of its sale; closing has a route of its own.
#[utoipa::path(operation_id = "editConcert", params(("id" = Uuid, Path, description = "Concert")),
    request_body = ConcertChangesDto,
    responses((status = 200, description = "The concert afterwards", body = ConcertDto,
        headers(("ETag" = String, description = "For `If-Match` of an edit")))))]
#[patch("/admin/concerts/{id}")]
pub(crate) async fn edit_concert(
    operator: Operator,
    state: State,
    id: Id,
    version: IfMatch,
    body: Json<ConcertChangesDto>,
) -> ApiResult {
    let ConcertChangesDto { title, description, sale_state } = body.value;
    let sale_state = match sale_state {
        None => None,
        Some(word) => Some(SaleState::parse(&word).ok_or_else(|| {
            Faults::one("sale_state", "must be draft, scheduled, pre_queue, on_sale, paused or draining")
        })?),
    };
    if sale_state == Some(SaleState::Closed) {
        let how = "a sale is closed by POST .../queue/close, which asks for a confirmation";
        return Err(Faults::one("sale_state", how).into());
    }
    let changes = ConcertChanges { title, description, sale_state, ..ConcertChanges::default() };
    let steering = state.facades.steering.clone();
    let write = async move { steering.edit(operator.0, ConcertId(id.0), Some(version.0), changes).await };
    let edited = state.detached.run(write).await??;
    Ok(concert(&mut HttpResponse::Ok(), edited))
}

/// Add a show to a concert
#[utoipa::path(operation_id = "createShow", params(("id" = Uuid, Path, description = "Concert")),
    request_body = NewShow,
    responses((status = 201, description = "The show", body = ShowDto, headers(("Location" = String, description = "The new thing"),
        ("ETag" = String, description = "For `If-Match` of an edit")))))]
#[post("/admin/concerts/{id}/shows")]
pub(crate) async fn create_show(_operator: Operator, state: State, id: Id, body: Json<NewShow>) -> ApiResult {
    let NewShow { venue, starts_at, hold_secs, seats_per_fan } = body.value;
    let catalogue = state.facades.catalogue.clone();
    let write = async move {
        let hold_secs = hold_secs.unwrap_or(HOLD_SECS_DEFAULT);
        let seats_per_fan = seats_per_fan.unwrap_or(SEATS_PER_FAN_DEFAULT);
        catalogue.create_show(ConcertId(id.0), &venue, starts_at, hold_secs, seats_per_fan).await
    };
    let show = state.detached.run(write).await??;
    let location = format!("/api/v1/admin/shows/{}", show.id);
    Ok(HttpResponse::Created()
        .insert_header(("Location", location))
        .insert_header(version_etag(show.version))
        .json(ShowDto::from(show)))
}

/// Read a show
///
/// `ETag` is its version.
#[utoipa::path(operation_id = "readShowAsOperator",
    params(("id" = Uuid, Path, description = "Show")),
    responses((status = 200, description = "The show", body = ShowDto,
        headers(("ETag" = String, description = "For `If-Match` of an edit")))))]
#[get("/admin/shows/{id}")]
pub(crate) async fn read_show(_operator: Operator, state: State, id: Id) -> ApiResult {
    let show = state.facades.catalogue.show_uncached(ShowId(id.0)).await?;
    Ok(HttpResponse::Ok().insert_header(version_etag(show.version)).json(ShowDto::from(show)))
}

/// Edit a show
///
/// Its start only while no seat is held or sold.
#[utoipa::path(operation_id = "editShow", params(("id" = Uuid, Path, description = "Show")),
    request_body = ShowChangesDto,
    responses((status = 200, description = "The show afterwards", body = ShowDto,
        headers(("ETag" = String, description = "For `If-Match` of an edit")))))]
#[patch("/admin/shows/{id}")]
pub(crate) async fn edit_show(
    _operator: Operator,
    state: State,
    id: Id,
    version: IfMatch,
    body: Json<ShowChangesDto>,
) -> ApiResult {
    let ShowChangesDto { venue, starts_at, hold_secs, seats_per_fan } = body.value;
    let changes = ShowChanges { venue, starts_at, hold_secs, seats_per_fan };
    let catalogue = state.facades.catalogue.clone();
    let write = async move { catalogue.edit_show(ShowId(id.0), version.0, changes).await };
    let show = state.detached.run(write).await??;
    Ok(HttpResponse::Ok().insert_header(version_etag(show.version)).json(ShowDto::from(show)))
}

/// Add seats to a show
///
/// As blocks or one by one, all or none.
#[utoipa::path(operation_id = "addSeats", params(("id" = Uuid, Path, description = "Show")),
    request_body = NewSeats,
    responses((status = 201, description = "How many were added", body = SeatsAdded)))]
#[post("/admin/shows/{id}/seats")]
pub(crate) async fn add_seats(_operator: Operator, state: State, id: Id, body: BulkJson<NewSeats>) -> ApiResult {
    let seats = parse_seats(body.0)?;
    let catalogue = state.facades.catalogue.clone();
    let added = state.detached.run(async move { catalogue.add_seats(ShowId(id.0), seats).await }).await??;
    Ok(HttpResponse::Created().json(SeatsAdded { show_id: id.0, added }))
}

fn parse_seats(body: NewSeats) -> Result<Vec<NewSeat>, Faults> {
    let mut faults = Faults::new();
    let mut singles = Vec::with_capacity(body.seats.len());
    for (index, seat) in body.seats.iter().enumerate() {
        let parsed = NewSeat::parse(index, &seat.section, &seat.row, seat.number, seat.price_minor);
        singles.extend(faults.take(parsed));
    }
    let blocks: Vec<SeatBlock> = body
        .blocks
        .into_iter()
        .map(|block| SeatBlock {
            section: block.section,
            rows: block.rows,
            seats_per_row: block.seats_per_row,
            price_minor: block.price_minor,
        })
        .collect();
    faults.into_result()?;
    seats_from(&blocks, singles)
}
