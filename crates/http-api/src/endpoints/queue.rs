//! The line: joining, asking, leaving.

use actix_web::{HttpRequest, HttpResponse, delete, get, post};
use chrono::{DateTime, Utc};
use onsale_application::{
    catalogue::Concert,
    line::{LineState, LineView, PlaceState, PlaceView},
};
use onsale_domain::ids::ConcertId;
use serde::Serialize;
use utoipa::ToSchema;

use super::{ApiResult, instant, private};
use crate::{
    conditional::Rendered,
    extract::{Id, QueueToken, SignedIn, State},
    problem::ApiError,
    seat::{SeatCountsDto, SectionDto},
};

/// What everybody may know of a line.
#[derive(Serialize, ToSchema)]
pub struct QueueOverview {
    /// Stage of the sale.
    #[schema(example = "on_sale")]
    sale_state: String,
    /// Fans waiting.
    #[schema(example = 41_199)]
    waiting: i64,
    /// Fans past the line, with those whose holds keep their slots after their turns.
    #[schema(example = 2_100)]
    active: i64,
    /// Fans in the pre-queue.
    #[schema(example = 0)]
    registered: i64,
    /// Fans promoted per minute when promotions are full.
    #[schema(example = 420)]
    promoted_per_minute: i64,
    /// What the operators say to everyone; empty when nothing.
    #[schema(example = "The second show goes on sale at noon.")]
    message: String,
    /// Whether nothing is left and nothing can come back. The line takes nobody then.
    #[schema(example = false)]
    sold_out: bool,
    /// Whether the line's store is away or being loaded: nobody is promoted, places stay as they are, and what is told here is
    /// how it was last.
    #[schema(example = false)]
    recovering: bool,
    /// Seats of all shows to come together; null when they could not be counted yet.
    stock: Option<SeatCountsDto>,
    /// Seats and prices by section, all shows to come together.
    sections: Vec<SectionDto>,
    /// SHA-256 of the seed of the opening draw, lower-case hex; null when the line has none.
    #[schema(example = "630dcd2966c4336691125448bbb25b4ff412a49c732db2c8abc1b8581bd710dd")]
    draw_commitment: Option<String>,
}

/// A probable wait in seconds.
#[derive(Serialize, ToSchema)]
#[schema(as = Eta)]
pub struct EtaDto {
    /// If the line goes on as fast as it has, at best as planned.
    #[schema(example = 5_880)]
    pub(super) low: i64,
    /// If it goes on as slowly as it has, with a margin of a quarter; without a measurement, if every active fan stays as
    /// long as a token can live.
    #[schema(example = 18_060)]
    pub(super) high: i64,
}

/// A place in line.
#[derive(Serialize, ToSchema)]
pub struct QueuePlace {
    /// For the `Queue-Token` header. Null to who asks without showing it: join to take the place over.
    #[schema(example = "AQGXl7qk")]
    token: Option<String>,
    /// `pre_queue`, `waiting`, `active` or `lapsed`: a turn that was not used in time. Join again before `expires_at` to stand
    /// at the head; asking alone changes nothing.
    #[schema(example = "waiting")]
    state: String,
    /// Place in the order of joining; 0 until the opening draw.
    #[schema(example = 43_300)]
    number: i64,
    /// 1 is the head of the line; null unless waiting.
    #[schema(example = 41_200)]
    position: Option<i64>,
    /// Fans before this one at most; null unless waiting.
    #[schema(example = 41_199)]
    ahead: Option<i64>,
    /// Null unless waiting, and while nobody can be promoted: paused, closed, sold out, or `recovering`.
    eta: Option<EtaDto>,
    /// Milliseconds after which to ask again; before a quarter of them the answer is 429.
    #[schema(example = 31_700)]
    poll_after_ms: i64,
    /// When an active token ends if it is not used, or the end of the time to come back after a lapse; else null.
    expires_at: Option<DateTime<Utc>>,
    /// Stage of the sale.
    #[schema(example = "on_sale")]
    sale_state: String,
    /// What the operators say to everyone; empty when nothing.
    #[schema(example = "")]
    message: String,
    /// Whether nothing is left and nothing can come back.
    #[schema(example = false)]
    sold_out: bool,
    /// Whether the line's store is away or being loaded: nobody is promoted, places stay as they are, and what is told here is
    /// how it was last.
    #[schema(example = false)]
    recovering: bool,
    /// Fans who came back after a lapsed turn and go first; `position` does not count them.
    #[schema(example = 0)]
    returning: i64,
    /// Seats of all shows to come together; null when they could not be counted yet.
    stock: Option<SeatCountsDto>,
    /// The chances in plain words; null unless waiting, when the sale is closed, and when seats could not be counted yet.
    #[schema(
        example = "about 18,400 seats left, 420 in open reservations; you are number 41200 in line: not enough unless many before you do not buy."
    )]
    odds: Option<String>,
}

fn stock_of(line: &LineState) -> Option<SeatCountsDto> {
    line.stock.as_ref().map(|stock| stock.total.into())
}

impl From<PlaceView> for QueuePlace {
    fn from(view: PlaceView) -> Self {
        let (state, position, expires_at) = match view.place {
            PlaceState::PreQueue => ("pre_queue", None, None),
            PlaceState::Waiting { position } => ("waiting", Some(position), None),
            PlaceState::Active { expires_at } => ("active", None, Some(expires_at)),
            PlaceState::Lapsed { until } => ("lapsed", None, Some(until)),
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
            sale_state: view.line.state.as_str().to_owned(),
            sold_out: view.line.sold_out,
            recovering: view.line.recovering,
            returning: view.line.returning,
            stock: stock_of(&view.line),
            message: view.line.message,
            odds: view.odds,
        }
    }
}

/// Look at the line of a concert
///
/// What everybody may know. A second old at most.
#[utoipa::path(operation_id = "readQueue", params(("id" = Uuid, Path, description = "Concert")),
    responses((status = 200, description = "The line", body = QueueOverview)))]
#[get("/concerts/{id}/queue")]
pub(crate) async fn overview(request: HttpRequest, state: State, id: Id) -> ApiResult {
    // From memory too: nothing is kept for a concert that there is not.
    let concert = state.facades.catalogue.concert(ConcertId(id.0)).await?;
    let body = match &state.overviews {
        None => overview_of(&state, &concert).await?,
        // One look serves everybody who asks within the time of a snapshot.
        Some(overviews) => match overviews.get(&id.0).await {
            Some(body) => body,
            None => {
                let body = overview_of(&state, &concert).await?;
                overviews.insert(id.0, body.clone()).await;
                body
            }
        },
    };
    body.respond_packed(&request, "no-cache").await
}

async fn overview_of(state: &State, concert: &Concert) -> Result<Rendered, ApiError> {
    let LineView { line, stats, promoted_per_minute, draw_commitment } = state.facades.line.overview(concert).await?;
    let sections = line.stock.iter().flat_map(|stock| &stock.sections);
    let told = QueueOverview {
        sale_state: line.state.as_str().to_owned(),
        waiting: stats.waiting,
        active: stats.active,
        registered: stats.registered,
        promoted_per_minute,
        sold_out: line.sold_out,
        recovering: line.recovering,
        stock: stock_of(&line),
        sections: sections.map(SectionDto::from).collect(),
        message: line.message,
        draw_commitment: draw_commitment.map(hex::encode),
    };
    Rendered::json(&told)
}

/// Join the line
///
/// Take `token` from the answer and put it into `Authorize` as `queue_token`. Joining again returns the same place, and
/// brings a lapsed turn back to the head, once. Joining again without the token takes the place over: the old token
/// stops working. A token of another line or another fan is refused: before joining another line on this page, log out
/// of `queue_token` in `Authorize`.
#[utoipa::path(operation_id = "joinQueue", params(("id" = Uuid, Path, description = "Concert")),
    responses((status = 201, description = "A new place", body = QueuePlace),
        (status = 200, description = "The place that the fan has already", body = QueuePlace)))]
#[post("/concerts/{id}/queue/tokens")]
pub(crate) async fn join(user: SignedIn, state: State, id: Id, token: QueueToken) -> ApiResult {
    let (new, place) = state.facades.line.join(ConcertId(id.0), user.0, token.0.as_deref()).await?;
    let mut response = if new { HttpResponse::Created() } else { HttpResponse::Ok() };
    Ok(response.insert_header(("Cache-Control", "no-store")).json(QueuePlace::from(place)))
}

/// Where am I in line?
///
/// Ask again after `poll_after_ms`. Asking is looking and changes nothing; a lapsed turn comes back by joining, or by
/// using the token behind the line.
#[utoipa::path(operation_id = "readMyPlace", params(("id" = Uuid, Path, description = "Concert")),
    responses((status = 200, description = "The fan's place", body = QueuePlace)))]
#[get("/concerts/{id}/queue/tokens/me")]
pub(crate) async fn my_place(user: SignedIn, state: State, id: Id, token: QueueToken) -> ApiResult {
    let place = state.facades.line.place(ConcertId(id.0), user.0, token.0.as_deref()).await?;
    Ok(private(&QueuePlace::from(place)))
}

/// Proof of a place.
#[derive(Serialize, ToSchema)]
pub struct QueueReceipt {
    /// Compact JWS (EdDSA, key in /.well-known/jwks.json): the place's number or ballot, and since when it is the fan's.
    #[schema(example = "eyJhbGciOiJFZERTQSJ9.eyJudW1iZXIiOjQzMzAwfQ.c2ln")]
    receipt: String,
}

/// Get a signed proof of my place
///
/// Of the newest place or ballot, also when it is over, as often as it is asked for.
#[utoipa::path(operation_id = "readMyReceipt", params(("id" = Uuid, Path, description = "Concert")),
    responses((status = 200, description = "The receipt", body = QueueReceipt)))]
#[get("/concerts/{id}/queue/tokens/me/receipt")]
pub(crate) async fn receipt(user: SignedIn, state: State, id: Id) -> ApiResult {
    let receipt = state.facades.line.receipt(ConcertId(id.0), user.0).await?;
    Ok(private(&QueueReceipt { receipt }))
}

/// Leave the line, or end my turn
#[utoipa::path(operation_id = "leaveQueue", params(("id" = Uuid, Path, description = "Concert")),
    responses((status = 204, description = "The place is gone")))]
#[delete("/concerts/{id}/queue/tokens/me")]
pub(crate) async fn leave(user: SignedIn, state: State, id: Id, token: QueueToken) -> ApiResult {
    let line = state.facades.line.clone();
    let write = async move { line.leave(ConcertId(id.0), user.0, token.0.as_deref()).await };
    state.detached.run(write).await??;
    Ok(HttpResponse::NoContent().finish())
}
