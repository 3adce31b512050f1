//! Reads of tickets.

use chrono::{DateTime, Utc};
use diesel::sql_types::{BigInt, Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use onsale_application::{
    error::StoreError,
    tickets::{HeldTicket, Ticket, TicketQueries},
};
use onsale_domain::{
    ids::{ConcertId, ReservationId, SeatId, ShowId, TicketId, UserId},
    ticket::TicketState,
};
use uuid::Uuid;

use super::{Postgres, pool::impossible, statement::statement};

type TicketSql = (
    (SqlUuid, SqlUuid, SqlUuid, SqlUuid, Text, Text, Integer, Text, Timestamptz),
    (SqlUuid, Text, Text, Timestamptz, BigInt, Text, Text),
);
type TicketRow = (
    (Uuid, Uuid, Uuid, Uuid, String, String, i32, String, DateTime<Utc>),
    (Uuid, String, String, DateTime<Utc>, i64, String, String),
);

/// Tickets `t` as rows of [`TicketSql`].
macro_rules! ticket_query {
    ($rest:literal) => {
        concat!(
            "SELECT t.id, t.reservation_id, s.show_id, s.id, s.section, s.row_label, s.number, t.state, t.issued_at,
                c.id, c.title, h.venue, h.starts_at, rs.price_minor, r.currency::text, u.display_name
             FROM tickets t JOIN seats s ON s.id = t.seat_id JOIN shows h ON h.id = s.show_id
             JOIN concerts c ON c.id = h.concert_id JOIN users u ON u.id = t.user_id
             JOIN reservations r ON r.id = t.reservation_id
             JOIN reservation_seats rs ON rs.reservation_id = t.reservation_id AND rs.seat_id = t.seat_id ",
            $rest
        )
    };
}

fn ticket_from(row: TicketRow) -> Result<HeldTicket, StoreError> {
    let ((id, reservation, show, seat, section, row, number, state, issued_at), occasion) = row;
    let (concert, concert_title, venue, starts_at, price_minor, currency, holder_name) = occasion;
    let ticket = Ticket {
        id: TicketId(id),
        reservation_id: ReservationId(reservation),
        show_id: ShowId(show),
        seat_id: SeatId(seat),
        section,
        row,
        number,
        state: TicketState::parse(&state).ok_or_else(|| impossible("an unknown ticket state"))?,
        issued_at,
    };
    let concert_id = ConcertId(concert);
    Ok(HeldTicket { ticket, concert_id, concert_title, venue, starts_at, price_minor, currency, holder_name })
}

impl TicketQueries for Postgres {
    async fn ticket(&self, id: TicketId, user: UserId) -> Result<Option<HeldTicket>, StoreError> {
        let row: Option<TicketRow> = self
            .row(|| {
                statement::<TicketSql>(ticket_query!("WHERE t.id = $1 AND t.user_id = $2"))
                    .bind::<SqlUuid, _>(id.0)
                    .bind::<SqlUuid, _>(user.0)
            })
            .await?;
        row.map(ticket_from).transpose()
    }

    async fn tickets(&self, user: UserId, before: Option<TicketId>, limit: i64) -> Result<Vec<HeldTicket>, StoreError> {
        let rows: Vec<TicketRow> = self
            .rows(|| {
                statement::<TicketSql>(ticket_query!(
                    "WHERE t.user_id = $1 AND ($2::uuid IS NULL OR t.id < $2)
                     ORDER BY t.id DESC LIMIT $3"
                ))
                .bind::<SqlUuid, _>(user.0)
                .bind::<Nullable<SqlUuid>, _>(before.map(|id| id.0))
                .bind::<BigInt, _>(limit)
            })
            .await?;
        rows.into_iter().map(ticket_from).collect()
    }
}
