//! Concerts and shows, as everybody reads them.

use actix_web::{HttpRequest, get};
use chrono::{DateTime, Utc};
use onsale_application::catalogue::{Concert, Show};
use onsale_domain::ids::ConcertId;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{ApiResult, PageQuery, cursor, instant};
use crate::{
    conditional::Rendered,
    extract::{Id, Query, State},
};

/// A concert.
#[derive(Serialize, ToSchema)]
#[schema(as = Concert)]
pub struct ConcertDto {
    #[schema(example = "01997b1e-7f1c-7a63-9d0c-0d6f0f4e6a55")]
    pub(super) id: Uuid,
    #[schema(example = "Seoul Night")]
    pub(super) title: String,
    #[schema(example = "One night, all songs.")]
    pub(super) description: String,
    /// `scheduled`, `pre_queue`, `on_sale`, `paused`, `draining` or `closed`; operators also see `draft`.
    #[schema(example = "on_sale")]
    pub(super) sale_state: String,
    /// Start of the next show, if one is still to come.
    #[schema(example = "2027-05-01T10:00:00Z")]
    pub(super) next_show_at: Option<DateTime<Utc>>,
    /// Advances with every edit.
    #[schema(example = 3)]
    pub(super) version: i32,
}

/// A page of concerts.
#[derive(Serialize, ToSchema)]
pub struct ConcertPage {
    items: Vec<ConcertDto>,
    /// For the `cursor` of the next page; null on the last.
    next_cursor: Option<String>,
}

/// A show.
#[derive(Serialize, ToSchema)]
#[schema(as = Show)]
pub struct ShowDto {
    #[schema(example = "01997b1e-80a2-7d94-a1b7-5e2f8c6d9034")]
    id: Uuid,
    #[schema(example = "01997b1e-7f1c-7a63-9d0c-0d6f0f4e6a55")]
    concert_id: Uuid,
    #[schema(example = "Seoul Night")]
    concert_title: String,
    #[schema(example = "Olympic Hall")]
    venue: String,
    #[schema(example = "2027-05-01T10:00:00Z")]
    starts_at: DateTime<Utc>,
    /// ISO 4217 code of the show's prices.
    #[schema(example = "KRW")]
    currency: String,
    /// Seconds that a reservation is held.
    #[schema(example = 300)]
    hold_secs: i32,
    /// Most seats of one fan.
    #[schema(example = 4)]
    seats_per_fan: i32,
    /// Advances with every edit.
    #[schema(example = 1)]
    version: i32,
}

/// A page of shows.
#[derive(Serialize, ToSchema)]
pub struct ShowPage {
    items: Vec<ShowDto>,
    /// For the `cursor` of the next page; null on the last.
    next_cursor: Option<String>,
}

impl From<Concert> for ConcertDto {
    fn from(concert: Concert) -> Self {
        Self {
            id: concert.id.0,
            title: concert.details.title,
            description: concert.details.description,
            sale_state: concert.sale_state.as_str().to_owned(),
            next_show_at: concert.next_show_at.map(instant),
            version: concert.version,
        }
    }
}

impl From<Show> for ShowDto {
    fn from(show: Show) -> Self {
        Self {
            id: show.id.0,
            concert_id: show.concert_id.0,
            concert_title: show.concert_title,
            venue: show.details.venue,
            starts_at: instant(show.details.starts_at),
            currency: show.currency,
            hold_secs: show.details.hold_secs,
            seats_per_fan: show.details.seats_per_fan,
            version: show.version,
        }
    }
}

/// List concerts
///
/// Public concerts with a show to come, the soonest first.
#[utoipa::path(operation_id = "listConcerts", params(PageQuery),
    responses((status = 200, description = "A page of concerts", body = ConcertPage)))]
#[get("/concerts")]
pub(crate) async fn list(request: HttpRequest, state: State, query: Query<PageQuery>) -> ApiResult {
    let whose = "concerts";
    let page = state.facades.catalogue.concerts(query.0.start(whose, &state.seal)?, query.0.limit()?).await?;
    let page = ConcertPage {
        items: page.items.into_iter().map(ConcertDto::from).collect(),
        next_cursor: page.next.map(|start| cursor(start, whose, &state.seal)),
    };
    state.shared.respond(Rendered::json(&page)?, &request, "no-cache").await
}

/// Read a concert
#[utoipa::path(operation_id = "readConcert", params(("id" = Uuid, Path, description = "Concert")),
    responses((status = 200, description = "The concert", body = ConcertDto)))]
#[get("/concerts/{id}")]
pub(crate) async fn read(request: HttpRequest, state: State, id: Id) -> ApiResult {
    let concert = state.facades.catalogue.concert(ConcertId(id.0)).await?;
    state.shared.respond(Rendered::json(&ConcertDto::from(concert))?, &request, "no-cache").await
}

/// List the shows of a concert
///
/// Shows to come, the soonest first.
#[utoipa::path(operation_id = "listShows",
    params(("id" = Uuid, Path, description = "Concert"), PageQuery),
    responses((status = 200, description = "A page of shows", body = ShowPage)))]
#[get("/concerts/{id}/shows")]
pub(crate) async fn shows(request: HttpRequest, state: State, id: Id, query: Query<PageQuery>) -> ApiResult {
    let whose = format!("shows of {}", id.0);
    let start = query.0.start(&whose, &state.seal)?;
    let page = state.facades.catalogue.shows(ConcertId(id.0), start, query.0.limit()?).await?;
    let page = ShowPage {
        items: page.items.into_iter().map(ShowDto::from).collect(),
        next_cursor: page.next.map(|start| cursor(start, &whose, &state.seal)),
    };
    state.shared.respond(Rendered::json(&page)?, &request, "no-cache").await
}
