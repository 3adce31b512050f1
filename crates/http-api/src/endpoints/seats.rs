//! Seats of a show.

use std::sync::Arc;

use actix_web::{
    HttpRequest, HttpResponse, get,
    http::header::{HeaderName, HeaderValue},
};
use onsale_application::seat_maps::{SeatMap, SeatView};
use onsale_domain::{fault::Faults, ids::ShowId, queue::Stock};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::ApiResult;
use crate::{
    conditional::Rendered,
    extract::{Id, Query, QueueToken, SignedIn, State},
    problem::ApiError,
    seat::{SeatDto, SectionDto},
    state::{RenderedSeats, SeatListKey},
};

/// The seats of a show.
#[derive(Serialize, ToSchema)]
pub struct SeatList {
    #[schema(example = "01997b1e-80a2-7d94-a1b7-5e2f8c6d9034")]
    show_id: Uuid,
    /// ISO 4217 code of the prices.
    #[schema(example = "KRW")]
    currency: String,
    /// Whether these are all seats of the show or section, and not only those that changed.
    #[schema(example = true)]
    complete: bool,
    /// Ordered by section, row and number, as people count.
    items: Vec<SeatDto>,
}

/// Which seats.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SeatQuery {
    /// Only this section.
    #[param(max_length = 40)]
    section: Option<String>,
    /// `Seats-Version` of an answer before: only seats that changed since.
    #[param(minimum = 0)]
    since: Option<i64>,
}

/// The header that says as of when seats were read, in microseconds since 1970 by the database's clock.
const SEATS_VERSION: &str = "seats-version";

/// What is left of a show.
#[derive(Serialize, ToSchema)]
pub struct Availability {
    #[schema(example = "01997b1e-80a2-7d94-a1b7-5e2f8c6d9034")]
    show_id: Uuid,
    #[schema(example = 1_204)]
    available: i64,
    #[schema(example = 37)]
    held: i64,
    #[schema(example = 259)]
    sold: i64,
    sections: Vec<SectionDto>,
}

/// Count what is left of a show
///
/// Counts and prices per section. A second old at most, or a little older when counting takes long.
#[utoipa::path(operation_id = "readAvailability", params(("id" = Uuid, Path, description = "Show")),
    responses((status = 200, description = "What is left", body = Availability)))]
#[get("/shows/{id}/availability")]
pub(crate) async fn availability(request: HttpRequest, state: State, id: Id) -> ApiResult {
    let show = state.facades.seat_maps.availability(ShowId(id.0)).await?;
    let Stock { available, held, sold } =
        show.sections.iter().fold(Stock::default(), |sum, section| sum.plus(&section.stock));
    let sections = show.sections.iter().map(SectionDto::from).collect();
    let body = Availability { show_id: show.show_id.0, available, held, sold, sections };
    state.shared.respond(Rendered::json(&body)?, &request, "no-cache").await
}

/// List the seats of a show
///
/// Seats with state, price and version, in the order in which people count: row 2 before row 10. A seat is never shown
/// as available for more than a second after it was taken. Give a `section` when the show is large. `since` saves
/// reading a whole arena again: send `Seats-Version` of the answer before, and only the seats come that changed since,
/// with `complete` false. When the server does not know that far back, or when much has changed, the whole list comes,
/// with `complete` true.
#[utoipa::path(operation_id = "listSeats",
    params(("id" = Uuid, Path, description = "Show"), SeatQuery),
    responses((status = 200, description = "The seats", body = SeatList,
        headers(("Seats-Version" = i64, description = "For `since`: as of when the seats were read")))))]
#[get("/shows/{id}/seats")]
pub(crate) async fn list(
    user: SignedIn,
    request: HttpRequest,
    state: State,
    id: Id,
    query: Query<SeatQuery>,
    token: QueueToken,
) -> ApiResult {
    let map = state.facades.seat_maps.seats(ShowId(id.0), user.0, token.0.as_deref()).await?;
    let SeatQuery { section, since } = query.0;
    if since.is_some_and(|since| since < 0) {
        return Err(ApiError::parameters(&Faults::one("since", "must be 0 or more")));
    }
    // Nothing is kept of a list of changes: it is short, and everybody has another one.
    if let Some(changed) = since.and_then(|since| map.changed_since(since)) {
        let changes = render(&map, section.as_deref(), changed, false)?;
        return Ok(versioned(changes.respond(&request, "private, no-cache"), &map));
    }
    let key = SeatListKey { show: id.0, section };
    let kept = state.rendered_seats.get(&key).await.filter(|kept| Arc::ptr_eq(&kept.from, &map));
    let rendered = match kept {
        Some(kept) => kept.rendered,
        None => {
            let rendered = render(&map, key.section.as_deref(), &map.seats, true)?;
            let keep = RenderedSeats { from: Arc::clone(&map), rendered: rendered.clone() };
            state.rendered_seats.insert(key, keep).await;
            rendered
        }
    };
    Ok(versioned(rendered.respond_packed(&request, "private, no-cache").await?, &map))
}

fn versioned(mut response: HttpResponse, map: &SeatMap) -> HttpResponse {
    response.headers_mut().insert(HeaderName::from_static(SEATS_VERSION), HeaderValue::from(map.as_of_us));
    response
}

fn render<'a>(
    map: &SeatMap,
    section: Option<&str>,
    seats: impl IntoIterator<Item = &'a SeatView>,
    complete: bool,
) -> Result<Rendered, ApiError> {
    let wanted = seats.into_iter().filter(|seat| section.is_none_or(|section| seat.section == section));
    Rendered::json(&SeatList {
        show_id: map.show_id.0,
        currency: map.currency.clone(),
        complete,
        items: wanted.map(SeatDto::from).collect(),
    })
}
