//! Holds and payments, within a transaction.

use chrono::{DateTime, Utc};
use diesel::sql_types::{Array, BigInt, Bool, Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid};
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
    reservations::{ReservationRow, ReservationSql, reservations_from},
    statement::statement,
};

type RefusalSql = (
    Text,
    Bool,
    Integer,
    BigInt,
    Nullable<SqlUuid>,
    Nullable<Bool>,
    Nullable<SqlUuid>,
    Nullable<Text>,
    Nullable<Text>,
    Nullable<Integer>,
    Nullable<BigInt>,
    Nullable<Text>,
    Nullable<Bool>,
    Nullable<Integer>,
);
type RefusalRow = (
    String,
    bool,
    i32,
    i64,
    Option<Uuid>,
    Option<bool>,
    Option<Uuid>,
    Option<String>,
    Option<String>,
    Option<i32>,
    Option<i64>,
    Option<String>,
    Option<bool>,
    Option<i32>,
);

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
        let claim = statement::<BigInt>(include_str!("sql/claim_seats.sql"))
            .bind::<BigInt, _>(number_of([hold.user.0, hold.show.0]))
            .bind::<BigInt, _>(show_lock(hold.show))
            .bind::<Array<BigInt>, _>(seats)
            .bind::<Array<SqlUuid>, _>(seat_ids(hold))
            .bind::<Array<Integer>, _>(versions_of(hold))
            .bind::<SqlUuid, _>(hold.user.0)
            .bind::<SqlUuid, _>(hold.show.0);
        let lost: Vec<i64> = self.rows(claim).await?;
        let place = lost.first().and_then(|place| usize::try_from(place - 1).ok());
        Ok(place.and_then(|place| hold.choices.get(place)).map(|choice| choice.seat_id))
    }

    async fn hold(&mut self, hold: &Hold<'_>) -> Result<Option<Reservation>, StoreError> {
        let query = statement::<ReservationSql>(include_str!("sql/hold.sql"))
            .bind::<SqlUuid, _>(hold.id.0)
            .bind::<SqlUuid, _>(hold.user.0)
            .bind::<SqlUuid, _>(hold.show.0)
            .bind::<Array<SqlUuid>, _>(seat_ids(hold))
            .bind::<Array<Integer>, _>(versions_of(hold))
            .bind::<SqlUuid, _>(hold.event_id)
            .bind::<BigInt, _>(hold.turn);
        let rows: Vec<ReservationRow> = self.rows(query).await?;
        Ok(reservations_from(rows)?.into_iter().next())
    }

    async fn end_overdue_in_the_way(&mut self, hold: &Hold<'_>) -> Result<i64, StoreError> {
        let query = statement::<BigInt>(include_str!("sql/end_overdue.sql"))
            .bind::<BigInt, _>(100_i64)
            .bind::<Bool, _>(true)
            .bind::<SqlUuid, _>(hold.user.0)
            .bind::<SqlUuid, _>(hold.show.0)
            .bind::<Array<SqlUuid>, _>(seat_ids(hold));
        Ok(self.rows::<BigInt, i64>(query).await?.into_iter().sum())
    }

    async fn release(&mut self, id: ReservationId, user: UserId, event_id: Uuid) -> Result<bool, StoreError> {
        let query = statement::<BigInt>(include_str!("sql/release.sql"))
            .bind::<SqlUuid, _>(id.0)
            .bind::<SqlUuid, _>(user.0)
            .bind::<SqlUuid, _>(event_id);
        Ok(self.rows::<BigInt, i64>(query).await? == [1])
    }
}

impl HoldQueries for Postgres {
    async fn refusal(&self, hold: &Hold<'_>) -> Result<HoldRefusal, StoreError> {
        let rows: Vec<RefusalRow> = self
            .rows(|| {
                statement::<RefusalSql>(include_str!("sql/refusal.sql"))
                    .bind::<SqlUuid, _>(hold.user.0)
                    .bind::<SqlUuid, _>(hold.show.0)
                    .bind::<Array<SqlUuid>, _>(seat_ids(hold))
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
        for (sale, started, per_fan, had, own, own_overdue, id, section, row, number, price, state, overdue, version) in
            rows
        {
            refusal.sale_state = Some(SaleState::parse(&sale).ok_or_else(|| impossible("an unknown sale state"))?);
            refusal.started = started;
            refusal.seats_per_fan = per_fan;
            refusal.seats_had = had;
            let own_is_overdue = own_overdue.unwrap_or(false);
            refusal.held = own.filter(|_| !own_is_overdue).map(ReservationId);
            let overdue = overdue.unwrap_or(false);
            refusal.overdue |= own_is_overdue || overdue;
            if let (Some(id), Some(section), Some(row), Some(number), Some(price_minor), Some(state), Some(version)) =
                (id, section, row, number, price, state, version)
            {
                let stored = SeatState::parse(&state).ok_or_else(|| impossible("an unknown seat state"))?;
                let state = if overdue { SeatState::Available } else { stored };
                refusal.seats.push(SeatView { id: SeatId(id), section, row, number, price_minor, state, version });
            }
        }
        Ok(refusal)
    }
}

type PaySql = (
    SqlUuid,
    BigInt,
    Text,
    Nullable<BigInt>,
    Nullable<SqlUuid>,
    Nullable<SqlUuid>,
    Nullable<Text>,
    Nullable<Text>,
    Nullable<Integer>,
    Nullable<Timestamptz>,
    Nullable<BigInt>,
    Nullable<BigInt>,
);
type PayRow = (
    Uuid,
    i64,
    String,
    Option<i64>,
    Option<Uuid>,
    Option<Uuid>,
    Option<String>,
    Option<String>,
    Option<i32>,
    Option<DateTime<Utc>>,
    Option<i64>,
    Option<i64>,
);

impl Payments for PostgresTx {
    async fn pay(&mut self, order: &PaymentOrder) -> Result<PayOutcome, StoreError> {
        let query = statement::<PaySql>(include_str!("sql/pay.sql"))
            .bind::<SqlUuid, _>(order.id.0)
            .bind::<SqlUuid, _>(order.reservation.0)
            .bind::<SqlUuid, _>(order.user.0)
            .bind::<SqlUuid, _>(order.ledger_transaction.0)
            .bind::<Array<SqlUuid>, _>(order.ticket_ids.clone())
            .bind::<SqlUuid, _>(order.event_id);
        let rows: Vec<PayRow> = self.rows(query).await?;
        let Some((_, amount_minor, currency, balance, .., turn, missing)) = rows.first().cloned() else {
            return Ok(PayOutcome::NotHeld);
        };
        let Some(balance_minor) = balance else {
            // What was read a moment before the wallet was locked may have been enough still.
            let missing = Missing { amount_minor: missing.unwrap_or(amount_minor).max(1), currency };
            return Ok(PayOutcome::InsufficientBalance(missing));
        };
        let mut tickets = Vec::with_capacity(rows.len());
        for (show_id, _, _, _, id, seat_id, section, row, number, issued_at, ..) in rows {
            let (Some(id), Some(seat_id), Some(section), Some(row), Some(number), Some(issued_at)) =
                (id, seat_id, section, row, number, issued_at)
            else {
                return Err(impossible("a paid reservation without seats"));
            };
            tickets.push(Ticket {
                id: TicketId(id),
                reservation_id: order.reservation,
                show_id: ShowId(show_id),
                seat_id: SeatId(seat_id),
                section,
                row,
                number,
                state: TicketState::Valid,
                issued_at,
            });
        }
        Ok(PayOutcome::Paid(Payment {
            id: order.id,
            reservation_id: order.reservation,
            amount_minor,
            currency,
            balance_minor,
            tickets,
            turn,
        }))
    }
}
