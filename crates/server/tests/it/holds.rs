//! Holds below the HTTP edge, for tests in which the transaction of one stays open.

use onsale_application::selling::Hold;
use onsale_domain::{
    ids::{ReservationId, SeatId, ShowId, UserId},
    seat::SeatChoice,
};
use onsale_test_support::{Client, Sale, World};
use serde_json::Value;
use uuid::Uuid;

/// These seats at the versions at which they were read, in the order in which they are claimed.
pub(crate) fn choices_of(seats: &[Value]) -> Vec<SeatChoice> {
    let choice = |seat: &Value| SeatChoice {
        seat_id: SeatId(seat["seat_id"].as_str().unwrap().parse().unwrap()),
        version: i32::try_from(seat["version"].as_i64().unwrap()).unwrap(),
    };
    let mut choices: Vec<SeatChoice> = seats.iter().map(choice).collect();
    choices.sort_by_key(|choice| choice.seat_id);
    choices
}

/// A hold for this fan.
pub(crate) fn hold_of<'a>(fan: &Client, sale: &Sale, choices: &'a [SeatChoice]) -> Hold<'a> {
    Hold {
        id: ReservationId(Uuid::new_v4()),
        user: UserId(fan.user_id.parse().unwrap()),
        show: ShowId(sale.show.parse().unwrap()),
        choices,
        turn: 1,
        event_id: Uuid::new_v4(),
    }
}

/// Comes back as soon as a statement waits for a lock that another transaction has.
pub(crate) async fn somebody_waits(world: &World) {
    let waiting =
        "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let mut sql = world.sql().await;
    while sql.number(waiting).await == 0 {}
}
