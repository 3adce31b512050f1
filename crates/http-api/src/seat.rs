//! Seats and their counts as they are sent, wherever they are.

use onsale_application::{line::SectionStock, seat_maps::SeatView, selling::ReservedSeat, tickets::Ticket};
use onsale_domain::queue::Stock;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// Which seat, and where it is: part of every answer that has a seat, and none by itself.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = SeatPlace)]
pub struct SeatPlaceDto {
    #[schema(example = "01997b1e-81f0-7e3a-b5c4-1a9d7f2e6b08")]
    seat_id: Uuid,
    #[schema(example = "A")]
    section: String,
    #[schema(example = "1")]
    row: String,
    #[schema(example = 12)]
    number: i32,
}

impl From<&SeatView> for SeatPlaceDto {
    fn from(seat: &SeatView) -> Self {
        Self { seat_id: seat.id.0, section: seat.section.clone(), row: seat.row.clone(), number: seat.number }
    }
}

impl From<&ReservedSeat> for SeatPlaceDto {
    fn from(seat: &ReservedSeat) -> Self {
        Self { seat_id: seat.id.0, section: seat.section.clone(), row: seat.row.clone(), number: seat.number }
    }
}

impl From<&Ticket> for SeatPlaceDto {
    fn from(ticket: &Ticket) -> Self {
        Self {
            seat_id: ticket.seat_id.0,
            section: ticket.section.clone(),
            row: ticket.row.clone(),
            number: ticket.number,
        }
    }
}

/// A seat.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Seat)]
pub struct SeatDto {
    #[serde(flatten)]
    #[schema(inline)]
    place: SeatPlaceDto,
    /// Minor units of the show's currency.
    #[schema(example = 150_000)]
    price_minor: i64,
    /// `available`, `held`, `sold` or `blocked`.
    #[schema(example = "available")]
    state: String,
    /// Send it back when reserving.
    #[schema(example = 1)]
    version: i32,
}

impl From<&SeatView> for SeatDto {
    fn from(seat: &SeatView) -> Self {
        Self {
            place: seat.into(),
            price_minor: seat.price_minor,
            state: seat.state.as_str().to_owned(),
            version: seat.version,
        }
    }
}

/// A seat that a fan asked for, as it is now.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = SeatNow)]
pub struct SeatNowDto {
    #[serde(flatten)]
    #[schema(inline)]
    place: SeatPlaceDto,
    /// `available`, `held`, `sold` or `blocked`.
    #[schema(example = "held")]
    state: String,
    /// Send it back when reserving.
    #[schema(example = 2)]
    version: i32,
}

impl From<&SeatView> for SeatNowDto {
    fn from(seat: &SeatView) -> Self {
        Self { place: seat.into(), state: seat.state.as_str().to_owned(), version: seat.version }
    }
}

/// Seats by what has become of them.
#[derive(Serialize, ToSchema)]
#[schema(as = SeatCounts)]
pub struct SeatCountsDto {
    /// Seats that nobody holds.
    #[schema(example = 18_437)]
    available: i64,
    /// Seats in reservations that are not paid yet.
    #[schema(example = 420)]
    held: i64,
    /// Seats that are paid.
    #[schema(example = 31_143)]
    sold: i64,
}

impl From<Stock> for SeatCountsDto {
    fn from(stock: Stock) -> Self {
        Self { available: stock.available, held: stock.held, sold: stock.sold }
    }
}

/// Seats and prices of one section.
#[derive(Serialize, ToSchema)]
#[schema(as = Section)]
pub struct SectionDto {
    #[schema(example = "A")]
    section: String,
    /// Seats that nobody holds.
    #[schema(example = 1_204)]
    available: i64,
    /// Seats in reservations that are not paid yet.
    #[schema(example = 37)]
    held: i64,
    /// Seats that are paid.
    #[schema(example = 259)]
    sold: i64,
    /// Lowest price in minor units.
    #[schema(example = 99_000)]
    price_min_minor: i64,
    /// Highest price in minor units.
    #[schema(example = 154_000)]
    price_max_minor: i64,
    /// ISO 4217 code of the prices.
    #[schema(example = "KRW")]
    currency: String,
}

impl From<&SectionStock> for SectionDto {
    fn from(section: &SectionStock) -> Self {
        let Stock { available, held, sold } = section.stock;
        Self {
            section: section.section.clone(),
            available,
            held,
            sold,
            price_min_minor: section.price_min_minor,
            price_max_minor: section.price_max_minor,
            currency: section.currency.clone(),
        }
    }
}
