//! Counts the seats of a concert.

use diesel::{
    dsl,
    pg::Pg,
    prelude::*,
    query_builder::{QueryFragment, QueryId},
    sql_types::Bool,
};
use onsale_application::{
    error::StoreError,
    line::{ConcertStock, SectionStock, ShowStock, StockQueries},
};
use onsale_domain::{
    ids::{ConcertId, ShowId},
    queue::Stock,
    seat::SeatState,
};
use uuid::Uuid;

use super::{
    Postgres,
    schema::{seats, shows},
    words::Word,
};

/// A condition on seats for `FILTER`.
pub(super) trait SeatCondition:
    Expression<SqlType = Bool> + QueryFragment<Pg> + QueryId + Send + 'static
{
}

impl<T> SeatCondition for T where T: Expression<SqlType = Bool> + QueryFragment<Pg> + QueryId + Send + 'static {}

/// Seats in one state, as it is stored.
pub(super) fn stored_as(state: SeatState) -> impl SeatCondition {
    seats::state.eq(Word(state))
}

/// Seats that can be reserved: those whose hold ran out are free, whether or not the sweeper has been there.
pub(super) fn available() -> impl SeatCondition {
    let overdue = seats::held_until.assume_not_null().le(dsl::now);
    seats::state.eq(Word(SeatState::Available)).or(seats::state.eq(Word(SeatState::Held)).and(overdue))
}

/// Seats in a hold that has not run out.
pub(super) fn held() -> impl SeatCondition {
    seats::state.eq(Word(SeatState::Held)).and(seats::held_until.assume_not_null().gt(dsl::now))
}

/// A section of a show, or a show without seats.
#[derive(Queryable)]
struct SectionRow {
    #[diesel(deserialize_as = Uuid)]
    show_id: ShowId,
    to_come: bool,
    seats_per_fan: i32,
    currency: String,
    section: Option<String>,
    available: i64,
    held: i64,
    sold: i64,
    price_min_minor: Option<i64>,
    price_max_minor: Option<i64>,
}

impl StockQueries for Postgres {
    async fn concert_stock(&self, concert: ConcertId) -> Result<ConcertStock, StoreError> {
        let rows: Vec<SectionRow> = self
            .read_all(|| {
                let seat = seats::id.nullable();
                let price = seats::price_minor.nullable();
                shows::table
                    .left_join(seats::table)
                    .filter(shows::concert_id.eq(concert.0))
                    .group_by((shows::id, seats::section))
                    .order((shows::starts_at, shows::id, seats::section))
                    .select((
                        shows::id,
                        shows::starts_at.gt(dsl::now),
                        shows::seats_per_fan,
                        shows::currency,
                        seats::section.nullable(),
                        dsl::count(seat).aggregate_filter(available()),
                        dsl::count(seat).aggregate_filter(held()),
                        dsl::count(seat).aggregate_filter(stored_as(SeatState::Sold)),
                        dsl::min(price),
                        dsl::max(price),
                    ))
            })
            .await?;
        let mut shows: Vec<ShowStock> = Vec::new();
        for row in rows {
            let SectionRow { show_id, to_come, seats_per_fan, currency, section, available, held, sold, .. } = row;
            if shows.last().is_none_or(|last| last.show_id != show_id) {
                let seats_per_fan = seats_per_fan.into();
                let currency = currency.clone();
                shows.push(ShowStock { show_id, to_come, seats_per_fan, currency, sections: vec![] });
            }
            if let (Some(last), Some(section), Some(price_min_minor), Some(price_max_minor)) =
                (shows.last_mut(), section, row.price_min_minor, row.price_max_minor)
            {
                let stock = Stock { available, held, sold };
                last.sections.push(SectionStock { section, stock, price_min_minor, price_max_minor, currency });
            }
        }
        Ok(ConcertStock::of(shows))
    }
}
