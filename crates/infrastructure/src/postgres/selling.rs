//! Holds and payments, within a transaction.

use chrono::{DateTime, Utc};
use diesel::{
    pg::Pg,
    prelude::*,
    sql_types::{Array, BigInt, Bool, Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid},
};
use onsale_application::{
    error::StoreError,
    seat_maps::SeatView,
    selling::{
        Hold, HoldQueries, HoldRefusal, Holds, Missing, PayOutcome, Payment, PaymentOrder, Payments, Reservation,
    },
    tickets::Ticket,
};
use onsale_domain::{
    concert::SaleState,
    ids::{ReservationId, SeatId, ShowId, TicketId, UserId},
    seat::SeatState,
    ticket::TicketState,
};
use uuid::Uuid;

use super::{
    Postgres, PostgresTx,
    pool::impossible,
    reservations::{ReservationRow, reservations_from},
    statement::{Counted, sql},
    words::Word,
};

#[derive(QueryableByName)]
#[diesel(check_for_backend(Pg))]
struct LostRow {
    #[diesel(sql_type = BigInt)]
    place: i64,
}

/// The sale and the fan, and one of the seats that were asked for, if it is of the show.
#[derive(QueryableByName)]
#[diesel(check_for_backend(Pg))]
struct RefusalRow {
    #[diesel(sql_type = Text, deserialize_as = Word<SaleState>)]
    sale_state: SaleState,
    #[diesel(sql_type = Bool)]
    started: bool,
    #[diesel(sql_type = Integer)]
    seats_per_fan: i32,
    #[diesel(sql_type = BigInt)]
    seats_had: i64,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    own_id: Option<Uuid>,
    #[diesel(sql_type = Nullable<Bool>)]
    own_overdue: Option<bool>,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    seat_id: Option<Uuid>,
    #[diesel(sql_type = Nullable<Text>)]
    section: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    row_label: Option<String>,
    #[diesel(sql_type = Nullable<Integer>)]
    number: Option<i32>,
    #[diesel(sql_type = Nullable<BigInt>)]
    price_minor: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    state: Option<Word<SeatState>>,
    #[diesel(sql_type = Nullable<Bool>)]
    overdue: Option<bool>,
    #[diesel(sql_type = Nullable<Integer>)]
    version: Option<i32>,
}

fn seat_ids(hold: &Hold<'_>) -> Vec<Uuid> {
    hold.choices.iter().map(|choice| choice.seat_id.0).collect()
}

fn versions_of(hold: &Hold<'_>) -> Vec<i32> {
    hold.choices.iter().map(|choice| choice.version).collect()
}

/// The number of an advisory lock. Any will do as long as the same ids always get the same one; two that share one only make
/// each other wait.
fn number_of(ids: [Uuid; 2]) -> i64 {
    let [(a, b), (c, d)] = ids.map(|id| id.as_u64_pair());
    i64::from_ne_bytes((a ^ b.rotate_left(7) ^ c.rotate_left(1) ^ d.rotate_left(2)).to_ne_bytes())
}

/// The lock that holds at a show share, and that a move of the show has alone.
pub(super) fn show_lock(show: ShowId) -> i64 {
    number_of([Uuid::nil(), show.0])
}

impl Holds for PostgresTx {
    async fn claim_seats(&mut self, hold: &Hold<'_>) -> Result<Option<SeatId>, StoreError> {
        let seats: Vec<i64> = hold.choices.iter().map(|choice| number_of([choice.seat_id.0, Uuid::nil()])).collect();
        let claim = sql(include_str!("sql/claim_seats.sql"))
            .bind::<BigInt, _>("fan_and_show_lock", number_of([hold.user.0, hold.show.0]))
            .bind::<BigInt, _>("show_lock", show_lock(hold.show))
            .bind::<Array<BigInt>, _>("seat_locks", seats)
            .bind::<Array<SqlUuid>, _>("seat_ids", seat_ids(hold))
            .bind::<Array<Integer>, _>("versions", versions_of(hold))
            .bind::<SqlUuid, _>("user_id", hold.user.0)
            .bind::<SqlUuid, _>("show_id", hold.show.0);
        let lost: Option<LostRow> = self.one(claim).await?;
        let place = lost.and_then(|lost| usize::try_from(lost.place - 1).ok());
        Ok(place.and_then(|place| hold.choices.get(place)).map(|choice| choice.seat_id))
    }

    async fn hold(&mut self, hold: &Hold<'_>) -> Result<Option<Reservation>, StoreError> {
        let query = sql(include_str!("sql/hold.sql"))
            .bind::<SqlUuid, _>("reservation_id", hold.id.0)
            .bind::<SqlUuid, _>("user_id", hold.user.0)
            .bind::<SqlUuid, _>("show_id", hold.show.0)
            .bind::<Array<SqlUuid>, _>("seat_ids", seat_ids(hold))
            .bind::<Array<Integer>, _>("versions", versions_of(hold))
            .bind::<SqlUuid, _>("event_id", hold.event_id)
            .bind::<BigInt, _>("turn", hold.turn);
        let rows: Vec<ReservationRow> = self.all(query).await?;
        Ok(reservations_from(rows).into_iter().next())
    }

    async fn end_overdue_in_the_way(&mut self, hold: &Hold<'_>) -> Result<i64, StoreError> {
        let query = sql(include_str!("sql/end_overdue.sql"))
            .bind::<BigInt, _>("most", 100_i64)
            .bind::<Bool, _>("in_the_way", true)
            .bind::<SqlUuid, _>("user_id", hold.user.0)
            .bind::<SqlUuid, _>("show_id", hold.show.0)
            .bind::<Array<SqlUuid>, _>("seat_ids", seat_ids(hold));
        let ended: Option<Counted> = self.one(query).await?;
        Ok(ended.map_or(0, |ended| ended.count))
    }

    async fn release(&mut self, id: ReservationId, user: UserId, event_id: Uuid) -> Result<bool, StoreError> {
        let query = sql(include_str!("sql/release.sql"))
            .bind::<SqlUuid, _>("reservation_id", id.0)
            .bind::<SqlUuid, _>("user_id", user.0)
            .bind::<SqlUuid, _>("event_id", event_id);
        let released: Option<Counted> = self.one(query).await?;
        Ok(released.is_some_and(|row| row.count == 1))
    }
}

impl HoldQueries for Postgres {
    async fn refusal(&self, hold: &Hold<'_>) -> Result<HoldRefusal, StoreError> {
        let rows: Vec<RefusalRow> = self
            .read_all(|| {
                sql(include_str!("sql/refusal.sql"))
                    .bind::<SqlUuid, _>("user_id", hold.user.0)
                    .bind::<SqlUuid, _>("show_id", hold.show.0)
                    .bind::<Array<SqlUuid>, _>("seat_ids", seat_ids(hold))
            })
            .await?;
        let mut refusal = HoldRefusal {
            sale_state: None,
            started: false,
            seats_per_fan: 0,
            seats_had: 0,
            held: None,
            seats: Vec::with_capacity(rows.len()),
            overdue: false,
        };
        for row in rows {
            refusal.sale_state = Some(row.sale_state);
            refusal.started = row.started;
            refusal.seats_per_fan = row.seats_per_fan;
            refusal.seats_had = row.seats_had;
            let own_is_overdue = row.own_overdue.unwrap_or(false);
            refusal.held = row.own_id.filter(|_| !own_is_overdue).map(ReservationId);
            let overdue = row.overdue.unwrap_or(false);
            refusal.overdue |= own_is_overdue || overdue;
            let place = row.section.zip(row.row_label).zip(row.number);
            if let (Some(id), Some(((section, row), number)), Some(price_minor), Some(Word(stored)), Some(version)) =
                (row.seat_id, place, row.price_minor, row.state, row.version)
            {
                let state = if overdue { SeatState::Available } else { stored };
                refusal.seats.push(SeatView { id: SeatId(id), section, row, number, price_minor, state, version });
            }
        }
        Ok(refusal)
    }
}

/// A reservation that was paid, or could not be, and one of its tickets.
#[derive(QueryableByName)]
#[diesel(check_for_backend(Pg))]
struct PayRow {
    #[diesel(sql_type = SqlUuid, deserialize_as = Uuid)]
    show_id: ShowId,
    #[diesel(sql_type = BigInt)]
    total_minor: i64,
    #[diesel(sql_type = Text)]
    currency: String,
    #[diesel(sql_type = Nullable<BigInt>)]
    balance_minor: Option<i64>,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    ticket_id: Option<Uuid>,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    seat_id: Option<Uuid>,
    #[diesel(sql_type = Nullable<Text>)]
    section: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    row_label: Option<String>,
    #[diesel(sql_type = Nullable<Integer>)]
    number: Option<i32>,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    issued_at: Option<DateTime<Utc>>,
    #[diesel(sql_type = Nullable<BigInt>)]
    turn: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    missing_minor: Option<i64>,
}

impl Payments for PostgresTx {
    async fn pay(&mut self, order: &PaymentOrder) -> Result<PayOutcome, StoreError> {
        let query = sql(include_str!("sql/pay.sql"))
            .bind::<SqlUuid, _>("payment_id", order.id.0)
            .bind::<SqlUuid, _>("reservation_id", order.reservation.0)
            .bind::<SqlUuid, _>("user_id", order.user.0)
            .bind::<SqlUuid, _>("ledger_transaction_id", order.ledger_transaction.0)
            .bind::<Array<SqlUuid>, _>("ticket_ids", order.ticket_ids.clone())
            .bind::<SqlUuid, _>("event_id", order.event_id);
        let rows: Vec<PayRow> = self.all(query).await?;
        let Some(first) = rows.first() else { return Ok(PayOutcome::NotHeld) };
        let (amount_minor, currency, turn) = (first.total_minor, first.currency.clone(), first.turn);
        let Some(balance_minor) = first.balance_minor else {
            // What was read a moment before the wallet was locked may have been enough still.
            let missing = Missing { amount_minor: first.missing_minor.unwrap_or(amount_minor).max(1), currency };
            return Ok(PayOutcome::InsufficientBalance(missing));
        };
        let ticket = |row: PayRow| {
            Some(Ticket {
                id: TicketId(row.ticket_id?),
                reservation_id: order.reservation,
                show_id: row.show_id,
                seat_id: SeatId(row.seat_id?),
                section: row.section?,
                row: row.row_label?,
                number: row.number?,
                state: TicketState::Valid,
                issued_at: row.issued_at?,
            })
        };
        let tickets: Option<Vec<Ticket>> = rows.into_iter().map(ticket).collect();
        Ok(PayOutcome::Paid(Payment {
            id: order.id,
            reservation_id: order.reservation,
            amount_minor,
            currency,
            balance_minor,
            tickets: tickets.ok_or_else(|| impossible("a paid reservation without seats"))?,
            turn,
        }))
    }
}
