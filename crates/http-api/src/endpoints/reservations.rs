//! Reservations and their payment.

use actix_web::{HttpResponse, delete, get, post};
use chrono::{DateTime, Utc};
use onsale_application::{
    idempotency::Idempotent,
    selling::{Payment, Reservation},
};
use onsale_domain::{
    ids::{ReservationId, SeatId, ShowId},
    seat::SeatChoice,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{ApiResult, PageQuery, created, instant, private, tickets::PaidTicketDto, written};
use crate::{
    extract::{Id, IdempotencyKey, Json, Query, QueueToken, SignedIn, State},
    problem::{ApiError, Code},
    seat::SeatPlaceDto,
};

/// Seats to reserve.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewReservation {
    /// None twice, and no more than the show's `seats_per_fan`.
    #[schema(min_items = 1, max_items = 20)]
    seats: Vec<SeatChoiceDto>,
}

/// A seat at the version that the fan saw.
#[derive(Deserialize, ToSchema)]
#[schema(as = SeatChoice)]
#[serde(deny_unknown_fields)]
pub struct SeatChoiceDto {
    seat_id: Uuid,
    /// As read from the seat list.
    #[schema(example = 1, minimum = 1)]
    version: i32,
}

/// A reservation.
#[derive(Serialize, ToSchema)]
#[schema(as = Reservation)]
pub struct ReservationDto {
    #[schema(example = "01997b1e-9a40-7b8c-8e1f-6d4a0c3b2e75")]
    id: Uuid,
    #[schema(example = "01997b1e-7f1c-7a63-9d0c-0d6f0f4e6a55")]
    concert_id: Uuid,
    #[schema(example = "Seoul Night")]
    concert_title: String,
    #[schema(example = "01997b1e-80a2-7d94-a1b7-5e2f8c6d9034")]
    show_id: Uuid,
    #[schema(example = "Olympic Hall")]
    venue: String,
    /// Start of the show.
    #[schema(example = "2027-05-01T10:00:00Z")]
    starts_at: DateTime<Utc>,
    /// `held`, `paid`, `cancelled`, `expired` or `refunded`.
    #[schema(example = "held")]
    state: String,
    /// What all seats cost together, in minor units.
    #[schema(example = 150_000)]
    total_minor: i64,
    #[schema(example = "KRW")]
    currency: String,
    /// End of the hold.
    #[schema(example = "2027-03-01T10:45:31.117Z")]
    expires_at: DateTime<Utc>,
    #[schema(example = "2027-03-01T10:40:31.117Z")]
    created_at: DateTime<Utc>,
    seats: Vec<ReservedSeatDto>,
}

/// A seat of a reservation.
#[derive(Serialize, ToSchema)]
#[schema(as = ReservedSeat)]
pub struct ReservedSeatDto {
    #[serde(flatten)]
    #[schema(inline)]
    place: SeatPlaceDto,
    /// Minor units.
    #[schema(example = 150_000)]
    price_minor: i64,
}

/// A page of reservations.
#[derive(Serialize, ToSchema)]
pub struct ReservationPage {
    items: Vec<ReservationDto>,
    /// For the `cursor` of the next page; null on the last.
    next_cursor: Option<String>,
}

/// A payment.
#[derive(Serialize, ToSchema)]
#[schema(as = Payment)]
pub struct PaymentDto {
    #[schema(example = "01997b1e-9c02-7d47-a3b8-5f1e9c6a0d24")]
    id: Uuid,
    #[schema(example = "01997b1e-9a40-7b8c-8e1f-6d4a0c3b2e75")]
    reservation_id: Uuid,
    /// Minor units.
    #[schema(example = 150_000)]
    amount_minor: i64,
    #[schema(example = "KRW")]
    currency: String,
    /// The wallet's balance afterwards.
    #[schema(example = 850_000)]
    balance_minor: i64,
    tickets: Vec<PaidTicketDto>,
}

impl From<&Reservation> for ReservationDto {
    fn from(reservation: &Reservation) -> Self {
        let seats =
            reservation.seats.iter().map(|seat| ReservedSeatDto { place: seat.into(), price_minor: seat.price_minor });
        Self {
            id: reservation.id.0,
            concert_id: reservation.concert_id.0,
            concert_title: reservation.concert_title.clone(),
            show_id: reservation.show_id.0,
            venue: reservation.venue.clone(),
            starts_at: instant(reservation.starts_at),
            state: reservation.state.as_str().to_owned(),
            total_minor: reservation.total_minor,
            currency: reservation.currency.clone(),
            expires_at: instant(reservation.expires_at),
            created_at: instant(reservation.created_at),
            seats: seats.collect(),
        }
    }
}

impl From<&Payment> for PaymentDto {
    fn from(payment: &Payment) -> Self {
        Self {
            id: payment.id.0,
            reservation_id: payment.reservation_id.0,
            amount_minor: payment.amount_minor,
            currency: payment.currency.clone(),
            balance_minor: payment.balance_minor,
            tickets: payment.tickets.iter().map(PaidTicketDto::from).collect(),
        }
    }
}

/// Reserve seats
///
/// All or none. Losing a race answers 409 with the seats as they are now.
#[utoipa::path(operation_id = "reserveSeats", params(("id" = Uuid, Path, description = "Show")),
    request_body = NewReservation,
    responses((status = 201, description = "The reservation", body = ReservationDto,
        headers(("Location" = String, description = "The new thing")))))]
#[post("/shows/{id}/reservations")]
pub(crate) async fn reserve(
    user: SignedIn,
    state: State,
    id: Id,
    token: QueueToken,
    key: IdempotencyKey,
    body: Json<NewReservation>,
) -> ApiResult {
    let choices = body.value.seats.iter();
    let choices = choices.map(|seat| SeatChoice { seat_id: SeatId(seat.seat_id), version: seat.version }).collect();
    let idempotent = Idempotent {
        key: key.bound_to(&body.bytes),
        render: Box::new(|reservation: &Reservation| written(&ReservationDto::from(reservation))),
    };
    let selling = state.facades.selling.clone();
    let write = async move { selling.reserve(ShowId(id.0), user.0, token.0, choices, idempotent).await };
    Ok(created(state.detached.run(write).await??, Some("/api/v1/reservations")))
}

/// List my reservations
///
/// The newest first.
#[utoipa::path(operation_id = "listReservations", params(PageQuery),
    responses((status = 200, description = "A page of reservations", body = ReservationPage)))]
#[get("/reservations")]
pub(crate) async fn list(user: SignedIn, state: State, query: Query<PageQuery>) -> ApiResult {
    let before = query.0.after_id()?.map(ReservationId);
    let page = state.facades.selling.reservations(user.0, before, query.0.limit()?).await?;
    let page = page.map(|reservation| ReservationDto::from(&reservation));
    Ok(private(&ReservationPage { items: page.items, next_cursor: page.next.map(|id| id.to_string()) }))
}

/// Read one of my reservations
#[utoipa::path(operation_id = "readReservation",
    params(("id" = Uuid, Path, description = "Reservation")),
    responses((status = 200, description = "The reservation", body = ReservationDto)))]
#[get("/reservations/{id}")]
pub(crate) async fn read(user: SignedIn, state: State, id: Id) -> ApiResult {
    let reservation = state.facades.selling.reservation(ReservationId(id.0), user.0).await?;
    Ok(private(&ReservationDto::from(&reservation)))
}

/// Release a held reservation
///
/// Its seats are free at once. One that ended before stays ended.
#[utoipa::path(operation_id = "releaseReservation",
    params(("id" = Uuid, Path, description = "Reservation")),
    responses((status = 204, description = "The seats are free")))]
#[delete("/reservations/{id}")]
pub(crate) async fn release(user: SignedIn, state: State, id: Id) -> ApiResult {
    let selling = state.facades.selling.clone();
    let released = state.detached.run(async move { selling.release(ReservationId(id.0), user.0).await }).await?;
    released.map_err(|error| match ApiError::from(error) {
        refused if refused.code == Code::AlreadyPaid => ApiError::new(Code::ReservationPaid),
        other => other,
    })?;
    Ok(HttpResponse::NoContent().finish())
}

/// Pay a held reservation
///
/// From the wallet: money, seats and tickets together. Needs no queue token: whoever holds the seats may pay them until
/// the hold ends, whatever became of the turn, the line and the sale. Ends the turn in which they were reserved.
#[utoipa::path(operation_id = "payReservation",
    params(("id" = Uuid, Path, description = "Reservation")),
    responses((status = 201, description = "The payment and the tickets", body = PaymentDto)))]
#[post("/reservations/{id}/payment")]
pub(crate) async fn pay(user: SignedIn, state: State, id: Id, key: IdempotencyKey) -> ApiResult {
    let idempotent = Idempotent {
        key: key.bound_to(&[]),
        render: Box::new(|payment: &Payment| written(&PaymentDto::from(payment))),
    };
    let selling = state.facades.selling.clone();
    let write = async move { selling.pay(ReservationId(id.0), user.0, idempotent).await };
    Ok(created(state.detached.run(write).await??, None))
}
