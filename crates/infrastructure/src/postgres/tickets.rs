//! Reads of tickets.

use chrono::{DateTime, Utc};
use diesel::sql_types::{BigInt, Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use onsale_application::{
    error::StoreError,
    tickets::{Ticket, TicketQueries},
};
use onsale_domain::{
    ids::{ReservationId, SeatId, ShowId, TicketId, UserId},
    ticket::TicketState,
};
use uuid::Uuid;

use super::{Postgres, pool::impossible, statement::statement};

type TicketSql = (SqlUuid, SqlUuid, SqlUuid, SqlUuid, Text, Text, Integer, Text, Timestamptz);
type TicketRow = (Uuid, Uuid, Uuid, Uuid, String, String, i32, String, DateTime<Utc>);

fn ticket_from(row: TicketRow) -> Result<Ticket, StoreError> {
    let (id, reservation, show, seat, section, row, number, state, issued_at) = row;
    Ok(Ticket {
        id: TicketId(id),
        reservation_id: ReservationId(reservation),
        show_id: ShowId(show),
        seat_id: SeatId(seat),
        section,
        row,
        number,
        state: TicketState::parse(&state).ok_or_else(|| impossible("an unknown ticket state"))?,
        issued_at,
    })
}

impl TicketQueries for Postgres {
    async fn ticket(&self, id: TicketId, user: UserId) -> Result<Option<Ticket>, StoreError> {
        let row: Option<TicketRow> = self
            .row(|| {
                statement::<TicketSql>(
                    "SELECT t.id, t.reservation_id, s.show_id, s.id, s.section, s.row_label, s.number, t.state, t.issued_at
                     FROM tickets t JOIN seats s ON s.id = t.seat_id
                     WHERE t.id = $1 AND t.user_id = $2",
                )
                .bind::<SqlUuid, _>(id.0)
                .bind::<SqlUuid, _>(user.0)
            })
            .await?;
        row.map(ticket_from).transpose()
    }

    async fn tickets(&self, user: UserId, before: Option<TicketId>, limit: i64) -> Result<Vec<Ticket>, StoreError> {
        let rows: Vec<TicketRow> = self
            .rows(|| {
                statement::<TicketSql>(
                    "SELECT t.id, t.reservation_id, s.show_id, s.id, s.section, s.row_label, s.number, t.state, t.issued_at
                     FROM tickets t JOIN seats s ON s.id = t.seat_id
                     WHERE t.user_id = $1 AND ($2::uuid IS NULL OR t.id < $2)
                     ORDER BY t.id DESC LIMIT $3",
                )
                .bind::<SqlUuid, _>(user.0)
                .bind::<Nullable<SqlUuid>, _>(before.map(|id| id.0))
                .bind::<BigInt, _>(limit)
            })
            .await?;
        rows.into_iter().map(ticket_from).collect()
    }
}
