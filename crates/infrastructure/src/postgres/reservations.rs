//! Reads of reservations.

use chrono::{DateTime, Utc};
use diesel::sql_types::{BigInt, Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use onsale_application::{
    error::StoreError,
    selling::{Reservation, ReservationQueries, ReservedSeat},
};
use onsale_domain::{
    ids::{ConcertId, ReservationId, SeatId, ShowId, UserId},
    reservation::ReservationState,
};
use uuid::Uuid;

use super::{Postgres, pool::impossible, statement::statement};

/// One seat of a reservation with the reservation's own columns, and the database's time.
pub(super) type ReservationSql = (
    SqlUuid,
    SqlUuid,
    SqlUuid,
    SqlUuid,
    Text,
    BigInt,
    Text,
    Timestamptz,
    Timestamptz,
    Timestamptz,
    SqlUuid,
    Text,
    Text,
    Integer,
    BigInt,
);
pub(super) type ReservationRow = (
    Uuid,
    Uuid,
    Uuid,
    Uuid,
    String,
    i64,
    String,
    DateTime<Utc>,
    DateTime<Utc>,
    DateTime<Utc>,
    Uuid,
    String,
    String,
    i32,
    i64,
);

/// Puts rows of the same reservation, which follow each other, together.
pub(super) fn reservations_from(rows: Vec<ReservationRow>) -> Result<Vec<Reservation>, StoreError> {
    let mut found: Vec<Reservation> = Vec::new();
    for (
        id,
        user,
        show,
        concert,
        state,
        total,
        currency,
        expires_at,
        created_at,
        now,
        seat,
        section,
        row,
        number,
        price,
    ) in rows
    {
        if found.last().is_none_or(|last| last.id.0 != id) {
            let stored = ReservationState::parse(&state).ok_or_else(|| impossible("an unknown reservation state"))?;
            found.push(Reservation {
                id: ReservationId(id),
                user_id: UserId(user),
                show_id: ShowId(show),
                concert_id: ConcertId(concert),
                state: stored.seen_at(expires_at, now),
                total_minor: total,
                currency,
                expires_at,
                created_at,
                seats: Vec::new(),
            });
        }
        if let Some(last) = found.last_mut() {
            last.seats.push(ReservedSeat { id: SeatId(seat), section, row, number, price_minor: price });
        }
    }
    Ok(found)
}

impl ReservationQueries for Postgres {
    async fn reservation(&self, id: ReservationId, user: UserId) -> Result<Option<Reservation>, StoreError> {
        let rows: Vec<ReservationRow> = self
            .rows(|| {
                statement::<ReservationSql>(
                    "SELECT r.id, r.user_id, r.show_id, sh.concert_id, r.state, r.total_minor, r.currency::text,
                        r.expires_at, r.created_at, clock_timestamp(), s.id, s.section, s.row_label, s.number,
                        rs.price_minor
                     FROM reservations r
                     JOIN shows sh ON sh.id = r.show_id
                     JOIN reservation_seats rs ON rs.reservation_id = r.id
                     JOIN seats s ON s.id = rs.seat_id
                     WHERE r.id = $1 AND r.user_id = $2
                     ORDER BY s.section, s.row_label, s.number",
                )
                .bind::<SqlUuid, _>(id.0)
                .bind::<SqlUuid, _>(user.0)
            })
            .await?;
        Ok(reservations_from(rows)?.into_iter().next())
    }

    async fn reservations(
        &self,
        user: UserId,
        before: Option<ReservationId>,
        limit: i64,
    ) -> Result<Vec<Reservation>, StoreError> {
        let rows: Vec<ReservationRow> = self
            .rows(|| {
                statement::<ReservationSql>(
                    "SELECT r.id, r.user_id, r.show_id, sh.concert_id, r.state, r.total_minor, r.currency::text,
                        r.expires_at, r.created_at, clock_timestamp(), s.id, s.section, s.row_label, s.number,
                        rs.price_minor
                     FROM (SELECT * FROM reservations
                           WHERE user_id = $1 AND ($2::uuid IS NULL OR id < $2) ORDER BY id DESC LIMIT $3) r
                     JOIN shows sh ON sh.id = r.show_id
                     JOIN reservation_seats rs ON rs.reservation_id = r.id
                     JOIN seats s ON s.id = rs.seat_id
                     ORDER BY r.id DESC, s.section, s.row_label, s.number",
                )
                .bind::<SqlUuid, _>(user.0)
                .bind::<Nullable<SqlUuid>, _>(before.map(|id| id.0))
                .bind::<BigInt, _>(limit)
            })
            .await?;
        reservations_from(rows)
    }

    async fn concert_of_show(&self, show: ShowId) -> Result<Option<ConcertId>, StoreError> {
        if let Some(concert) = self.concerts_of_shows.get(&show).await {
            return Ok(Some(concert));
        }
        // Ids that strangers make up cost a few connections at most.
        let _turn = self.lookups.acquire().await.map_err(|error| StoreError::Unavailable(error.into()))?;
        let found: Option<Uuid> = self
            .row(|| statement::<SqlUuid>("SELECT concert_id FROM shows WHERE id = $1").bind::<SqlUuid, _>(show.0))
            .await?;
        let found = found.map(ConcertId);
        if let Some(concert) = found {
            self.concerts_of_shows.insert(show, concert).await;
        }
        Ok(found)
    }
}
