//! Reads of tickets.

use chrono::{DateTime, Utc};
use diesel::{dsl::auto_type, pg::Pg, prelude::*};
use onsale_application::{
    error::StoreError,
    tickets::{HeldTicket, Ticket, TicketQueries},
};
use onsale_domain::{
    ids::{ConcertId, ReservationId, SeatId, ShowId, TicketId, UserId},
    ticket::TicketState,
};
use uuid::Uuid;

use super::{
    Postgres,
    schema::{concerts, reservation_seats, reservations, seats, shows, tickets, users},
    words::Word,
};

/// A ticket with its seat, and the occasion.
#[derive(Queryable, Selectable)]
#[diesel(table_name = tickets, check_for_backend(Pg))]
struct TicketRow {
    #[diesel(deserialize_as = Uuid)]
    id: TicketId,
    #[diesel(deserialize_as = Uuid)]
    reservation_id: ReservationId,
    #[diesel(deserialize_as = Uuid)]
    seat_id: SeatId,
    #[diesel(deserialize_as = Word<TicketState>)]
    state: TicketState,
    issued_at: DateTime<Utc>,
    #[diesel(deserialize_as = Uuid, select_expression = seats::show_id)]
    show_id: ShowId,
    #[diesel(select_expression = seats::section)]
    section: String,
    #[diesel(select_expression = seats::row_label)]
    row_label: String,
    #[diesel(select_expression = seats::number)]
    number: i32,
    #[diesel(deserialize_as = Uuid, select_expression = shows::concert_id)]
    concert_id: ConcertId,
    #[diesel(select_expression = shows::venue)]
    venue: String,
    #[diesel(select_expression = shows::starts_at)]
    starts_at: DateTime<Utc>,
    #[diesel(select_expression = concerts::title)]
    concert_title: String,
    #[diesel(select_expression = reservation_seats::price_minor)]
    price_minor: i64,
    #[diesel(select_expression = reservations::currency)]
    currency: String,
    #[diesel(select_expression = users::display_name)]
    holder_name: String,
}

impl From<TicketRow> for HeldTicket {
    fn from(row: TicketRow) -> Self {
        Self {
            ticket: Ticket {
                id: row.id,
                reservation_id: row.reservation_id,
                show_id: row.show_id,
                seat_id: row.seat_id,
                section: row.section,
                row: row.row_label,
                number: row.number,
                state: row.state,
                issued_at: row.issued_at,
            },
            concert_id: row.concert_id,
            concert_title: row.concert_title,
            venue: row.venue,
            starts_at: row.starts_at,
            price_minor: row.price_minor,
            currency: row.currency,
            holder_name: row.holder_name,
        }
    }
}

/// Tickets with all that [`TicketRow`] has of them.
#[auto_type(no_type_alias)]
fn tickets_of(user: Uuid) -> _ {
    tickets::table
        .inner_join(users::table)
        .inner_join(reservations::table)
        .inner_join(seats::table)
        .inner_join(shows::table.on(shows::id.eq(seats::show_id)))
        .inner_join(concerts::table.on(concerts::id.eq(shows::concert_id)))
        .inner_join(
            reservation_seats::table.on(reservation_seats::reservation_id
                .eq(tickets::reservation_id)
                .and(reservation_seats::seat_id.eq(tickets::seat_id))),
        )
        .filter(tickets::user_id.eq(user))
}

impl TicketQueries for Postgres {
    async fn ticket(&self, id: TicketId, user: UserId) -> Result<Option<HeldTicket>, StoreError> {
        let row: Option<TicketRow> =
            self.read_one(|| tickets_of(user.0).filter(tickets::id.eq(id.0)).select(TicketRow::as_select())).await?;
        Ok(row.map(HeldTicket::from))
    }

    async fn tickets(&self, user: UserId, before: Option<TicketId>, limit: i64) -> Result<Vec<HeldTicket>, StoreError> {
        let before = before.map_or(Uuid::max(), |id| id.0);
        let rows: Vec<TicketRow> = self
            .read_all(|| {
                tickets_of(user.0)
                    .filter(tickets::id.lt(before))
                    .order(tickets::id.desc())
                    .limit(limit)
                    .select(TicketRow::as_select())
            })
            .await?;
        Ok(rows.into_iter().map(HeldTicket::from).collect())
    }
}
