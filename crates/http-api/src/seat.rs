//! Seats and their counts as they are sent, wherever they are.

use onsale_application::{line::SectionStock, seat_maps::SeatView};
use onsale_domain::queue::Stock;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// A seat.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Seat)]
pub struct SeatDto {
    seat_id: Uuid,
    #[schema(example = "A")]
    section: String,
    #[schema(example = "1")]
    row: String,
    #[schema(example = 12)]
    number: i32,
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
            seat_id: seat.id.0,
            section: seat.section.clone(),
            row: seat.row.clone(),
            number: seat.number,
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
    seat_id: Uuid,
    #[schema(example = "A")]
    section: String,
    #[schema(example = "1")]
    row: String,
    #[schema(example = 12)]
    number: i32,
    /// `available`, `held`, `sold` or `blocked`.
    #[schema(example = "held")]
    state: String,
    /// Send it back when reserving.
    #[schema(example = 2)]
    version: i32,
}

impl From<&SeatView> for SeatNowDto {
    fn from(seat: &SeatView) -> Self {
        let SeatDto { seat_id, section, row, number, state, version, .. } = seat.into();
        Self { seat_id, section, row, number, state, version }
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
