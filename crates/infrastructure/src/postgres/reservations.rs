//! Reads of reservations.

use chrono::{DateTime, Utc};
use diesel::{
    dsl::auto_type,
    pg::Pg,
    prelude::*,
    sql_types::{BigInt, Integer, Text, Timestamptz, Uuid as SqlUuid},
};
use onsale_application::{
    error::StoreError,
    seat_maps::ShowConcerts,
    selling::{Reservation, ReservationQueries, ReservedSeat},
};
use onsale_domain::{
    ids::{ConcertId, ReservationId, SeatId, ShowId, UserId},
    reservation::ReservationState,
    seat::as_people_count,
};
use uuid::Uuid;

use super::{
    Postgres,
    functions::clock_timestamp,
    schema::{concerts, reservation_seats, reservations, seats, shows},
    words::Word,
};

/// One seat of a reservation with the reservation's own columns, and the database's time.
#[derive(Queryable, Selectable, QueryableByName)]
#[diesel(table_name = reservations, check_for_backend(Pg))]
pub(super) struct ReservationRow {
    #[diesel(sql_type = SqlUuid, deserialize_as = Uuid)]
    id: ReservationId,
    #[diesel(sql_type = SqlUuid, deserialize_as = Uuid)]
    user_id: UserId,
    #[diesel(sql_type = SqlUuid, deserialize_as = Uuid)]
    show_id: ShowId,
    #[diesel(sql_type = SqlUuid, deserialize_as = Uuid, select_expression = shows::concert_id)]
    concert_id: ConcertId,
    #[diesel(sql_type = Text, select_expression = concerts::title)]
    concert_title: String,
    #[diesel(sql_type = Text, select_expression = shows::venue)]
    venue: String,
    #[diesel(sql_type = Timestamptz, select_expression = shows::starts_at)]
    starts_at: DateTime<Utc>,
    #[diesel(sql_type = Text, deserialize_as = Word<ReservationState>)]
    state: ReservationState,
    #[diesel(sql_type = BigInt)]
    total_minor: i64,
    #[diesel(sql_type = Text)]
    currency: String,
    #[diesel(sql_type = Timestamptz)]
    expires_at: DateTime<Utc>,
    #[diesel(sql_type = Timestamptz)]
    created_at: DateTime<Utc>,
    #[diesel(sql_type = Timestamptz, select_expression = clock_timestamp(), select_expression_type = clock_timestamp)]
    seen_at: DateTime<Utc>,
    #[diesel(sql_type = SqlUuid, deserialize_as = Uuid, select_expression = reservation_seats::seat_id)]
    seat_id: SeatId,
    #[diesel(sql_type = Text, select_expression = seats::section)]
    section: String,
    #[diesel(sql_type = Text, select_expression = seats::row_label)]
    row_label: String,
    #[diesel(sql_type = Integer, select_expression = seats::number)]
    number: i32,
    #[diesel(sql_type = BigInt, select_expression = reservation_seats::price_minor)]
    price_minor: i64,
}

/// Puts rows of the same reservation, which follow each other, together.
pub(super) fn reservations_from(rows: Vec<ReservationRow>) -> Vec<Reservation> {
    let mut found: Vec<Reservation> = Vec::new();
    for row in rows {
        if found.last().is_none_or(|last| last.id != row.id) {
            found.push(Reservation {
                id: row.id,
                user_id: row.user_id,
                show_id: row.show_id,
                concert_id: row.concert_id,
                concert_title: row.concert_title,
                venue: row.venue,
                starts_at: row.starts_at,
                state: row.state.seen_at(row.expires_at, row.seen_at),
                total_minor: row.total_minor,
                currency: row.currency,
                expires_at: row.expires_at,
                created_at: row.created_at,
                seats: Vec::new(),
            });
        }
        if let Some(last) = found.last_mut() {
            let ReservationRow { seat_id: id, section, row_label: row, number, price_minor, .. } = row;
            last.seats.push(ReservedSeat { id, section, row, number, price_minor });
        }
    }
    for reservation in &mut found {
        reservation.seats.sort_by(|a, b| {
            let sections = as_people_count(&a.section, &b.section);
            sections.then_with(|| as_people_count(&a.row, &b.row)).then(a.number.cmp(&b.number))
        });
    }
    found
}

/// Reservations with all that [`ReservationRow`] has of them.
#[auto_type(no_type_alias)]
fn reservations_of(user: Uuid) -> _ {
    reservations::table
        .inner_join(shows::table.inner_join(concerts::table))
        .inner_join(reservation_seats::table)
        .inner_join(seats::table.on(seats::id.eq(reservation_seats::seat_id)))
        .filter(reservations::user_id.eq(user))
}

impl ReservationQueries for Postgres {
    async fn reservation(&self, id: ReservationId, user: UserId) -> Result<Option<Reservation>, StoreError> {
        let rows: Vec<ReservationRow> = self
            .read_all(|| reservations_of(user.0).filter(reservations::id.eq(id.0)).select(ReservationRow::as_select()))
            .await?;
        Ok(reservations_from(rows).into_iter().next())
    }

    async fn reservations(
        &self,
        user: UserId,
        before: Option<ReservationId>,
        limit: i64,
    ) -> Result<Vec<Reservation>, StoreError> {
        let before = before.map_or(Uuid::max(), |id| id.0);
        let rows: Vec<ReservationRow> = self
            .read_all(|| {
                let page = diesel::alias!(reservations as page);
                let ids = page
                    .filter(page.field(reservations::user_id).eq(user.0))
                    .filter(page.field(reservations::id).lt(before))
                    .order(page.field(reservations::id).desc())
                    .limit(limit)
                    .select(page.field(reservations::id));
                reservations_of(user.0)
                    .filter(reservations::id.eq_any(ids))
                    .order(reservations::id.desc())
                    .select(ReservationRow::as_select())
            })
            .await?;
        Ok(reservations_from(rows))
    }
}

impl ShowConcerts for Postgres {
    async fn concert_of_show(&self, show: ShowId) -> Result<Option<ConcertId>, StoreError> {
        if let Some(concert) = self.concerts_of_shows.get(&show).await {
            return Ok(Some(concert));
        }
        // Ids that strangers make up cost a few connections at most.
        let _turn = self.lookups.acquire().await.map_err(|error| StoreError::Unavailable(error.into()))?;
        let found: Option<Uuid> = self.read_one(|| shows::table.find(show.0).select(shows::concert_id)).await?;
        let found = found.map(ConcertId);
        if let Some(concert) = found {
            self.concerts_of_shows.insert(show, concert).await;
        }
        Ok(found)
    }
}
