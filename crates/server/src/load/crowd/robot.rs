//! Robots try what nobody may do, and never get a seat. The documented refusals are the right answers.

use tokio::time::Instant;
use uuid::Uuid;

use super::{answers::State, ask::Question, fan::Fan, seats::Seat, turn::wish, wire::Request};

/// A seat that is of no show.
const NO_SEAT: Seat = Seat { id: Uuid::nil(), version: 1 };

/// A version that no seat reaches.
const NEVER: i32 = 1_000_000_000;

/// As long as a queue token.
const TOKEN_LENGTH: usize = 120;

/// Asks once for what must be refused, with the one code that is right.
async fn try_gate(fan: &Fan, due: Instant, request: Request<'_>, right: &[&str]) {
    let question = Question { step: "gate", request, right, unheard: &[] };
    fan.ask(&question, due, false, |_, _| Ok(())).await;
}

/// Goes to the seats at once, and shows a token that nobody made.
pub(super) async fn try_without_place(fan: &Fan, due: Instant) {
    let paths = &fan.world.plan.paths;
    let forged = "A".repeat(TOKEN_LENGTH);
    let headers = [("queue-token", forged.as_str())];
    let wanted = wish(NO_SEAT);
    try_gate(fan, due, fan.get(&paths.seats, &[]), &["queue_token_required"]).await;
    let reserve = fan.post(&paths.reservations, &headers, Some(&wanted));
    try_gate(fan, Instant::now(), reserve, &["queue_token_required"]).await;
    try_gate(fan, Instant::now(), fan.get(&paths.place, &headers), &["token_invalid"]).await;
}

/// Shows a token that waits, just after the server said so. While more fans are before it than may be active at once, nobody
/// can have called it in this moment.
pub(super) async fn try_before_turn(fan: &Fan) {
    let plan = &fan.world.plan;
    let is_far_back =
        fan.place.position.is_some_and(|position| position > plan.scenario.sale.policy.active_limit.into());
    if fan.place.state != State::Waiting || !is_far_back {
        return;
    }
    let headers = [("queue-token", fan.token.as_str())];
    let changed = changed(&fan.token);
    let forged = [("queue-token", changed.as_str())];
    let wanted = wish(NO_SEAT);
    try_gate(fan, Instant::now(), fan.get(&plan.paths.seats, &headers), &["queue_token_waiting"]).await;
    let reserve = fan.post(&plan.paths.reservations, &headers, Some(&wanted));
    try_gate(fan, Instant::now(), reserve, &["queue_token_waiting"]).await;
    let reserve = fan.post(&plan.paths.reservations, &forged, Some(&wanted));
    try_gate(fan, Instant::now(), reserve, &["queue_token_required"]).await;
}

/// With a turn, reserves at a version that the seat does not have, and gives the turn up.
pub(super) async fn try_stale_version(fan: &Fan) {
    if !fan.read_seats().await {
        return;
    }
    if let Some(seat) = fan.world.seats.first() {
        let stale = Seat { version: if seat.version > 1 { seat.version - 1 } else { NEVER }, ..seat };
        let headers = [("queue-token", fan.token.as_str())];
        let wanted = wish(stale);
        let reserve = fan.post(&fan.world.plan.paths.reservations, &headers, Some(&wanted));
        try_gate(fan, Instant::now(), reserve, &["version_conflict", "seat_taken"]).await;
    }
    fan.leave().await;
}

/// A token of which somebody has changed the end.
fn changed(token: &str) -> String {
    const END: usize = 8;
    let kept: String = token.chars().take(token.chars().count().saturating_sub(END)).collect();
    let end: String = token.chars().skip(kept.chars().count()).map(|c| if c == 'A' { 'B' } else { 'A' }).collect();
    kept + &end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_token_is_another_one_of_the_same_length() {
        for token in ["AgEBmXsefxx6Y50AAAAAAAA", "AgEBmXsefxx6Y50AgEBmXse", "short", ""] {
            let changed = changed(token);
            assert_eq!(changed.len(), token.len());
            assert!(changed != token || token.is_empty());
        }
        assert_eq!(changed("AgEBmXsefxx6"), "AgEBAAAAAAAA");
    }

    #[test]
    fn a_wish_names_one_seat() {
        let body = r#"{"seats":[{"seat_id":"00000000-0000-0000-0000-000000000000","version":1}]}"#;
        assert_eq!(wish(NO_SEAT), body);
    }
}
