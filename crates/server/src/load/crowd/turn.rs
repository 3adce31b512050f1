//! What fans do in their turn.

use uuid::Uuid;

use super::{
    answers::{ToldId, ToldLoss, ToldPayment, ToldTicket, read, text},
    ask::Question,
    fan::{Fan, pause},
    seats::Seat,
};

/// Seats that a fan tries to get, one after the other.
const SEAT_TRIES: usize = 20;

/// How often a fan looks again when no seat is free.
const EMPTY_LOOKS: usize = 3;

/// Opens the seat map, and again after reading it: the second time nothing has changed most often.
pub(super) async fn look(fan: &Fan) {
    let Some(tag) = fan.open_seat_map(None).await else { return };
    pause(fan.world.plan.scenario.read_ms).await;
    fan.open_seat_map(Some(&tag)).await;
}

/// Reads, chooses, reserves and pays a seat. Whoever loses it takes another one, and gives the turn up when there is none;
/// a rush for the first seat ends with losing it.
pub(super) async fn buy(fan: &Fan, is_rush: bool) {
    let scenario = &fan.world.plan.scenario;
    if !fan.read_seats().await {
        return;
    }
    if !is_rush {
        pause(scenario.read_ms).await;
        if !fan.read_changes().await {
            return;
        }
    }
    let (mut tries, mut looks) = (0, 0);
    while tries < if is_rush { 1 } else { SEAT_TRIES } && looks < EMPTY_LOOKS {
        let seat = if is_rush { fan.world.seats.first() } else { fan.world.seats.any_free() };
        pause(scenario.choose_ms).await;
        let Some(seat) = seat else {
            looks += 1;
            if !fan.read_changes().await {
                return;
            }
            continue;
        };
        tries += 1;
        match reserve(fan, seat, tries).await {
            None => return,
            Some(Some(reservation)) => return pay(fan, reservation).await,
            Some(None) => {}
        }
    }
    fan.leave().await;
}

/// The body of a reservation of one seat.
pub(super) fn wish(seat: Seat) -> String {
    format!(r#"{{"seats":[{{"seat_id":"{}","version":{}}}]}}"#, seat.id, seat.version)
}

/// Reserves a seat. Answers the reservation, or `Some(None)` when somebody else was first.
async fn reserve(fan: &Fan, seat: Seat, tries: usize) -> Option<Option<Uuid>> {
    let world = &fan.world;
    let key = world.plan.key(fan.index, &format!("reserve-{tries}"));
    let headers = [("queue-token", fan.token.as_str()), ("idempotency-key", key.as_str())];
    let body = wish(seat);
    let request = fan.post(&world.plan.paths.reservations, &headers, Some(&body));
    let right = ["201", "seat_taken", "version_conflict"];
    let question = Question { step: "reserve", request, right: &right, unheard: &[] };
    let reserved = fan.insist(&question, |answer, outcome| {
        if outcome == "201" {
            return read(answer.body()).map(|ToldId { id }| Some(id));
        }
        let loss: ToldLoss<'_> = read(answer.body())?;
        if !loss.seats.iter().any(|told| told.seat_id == seat.id) {
            return Err(format!("the loser does not hear how the seat is now: {}", text(answer.body())));
        }
        world.seats.learn(&loss.seats);
        Ok(None)
    });
    let reservation = reserved.await?;
    if let Some(reservation) = reservation {
        world.succeed("reserve", fan.index, reservation.to_string());
    }
    Some(reservation)
}

async fn pay(fan: &Fan, reservation: Uuid) {
    let world = &fan.world;
    pause(world.plan.scenario.pay_ms).await;
    fan.ends();
    let key = world.plan.key(fan.index, "pay");
    let headers = [("idempotency-key", key.as_str())];
    let path = format!("/api/v1/reservations/{reservation}/payment");
    let question = Question { step: "pay", request: fan.post(&path, &headers, None), right: &["201"], unheard: &[] };
    let paid = fan.insist(&question, |answer, _| {
        let payment: ToldPayment = read(answer.body())?;
        match payment.tickets.as_slice() {
            [ToldId { id }] if payment.reservation_id == reservation => Ok(*id),
            _ => Err(format!("it is not one ticket for {reservation}: {}", text(answer.body()))),
        }
    });
    let Some(ticket) = paid.await else { return };
    world.succeed("pay", fan.index, reservation.to_string());
    let path = format!("/api/v1/tickets/{ticket}");
    let question = Question { step: "ticket", request: fan.get(&path, &[]), right: &["200"], unheard: &[] };
    fan.insist(&question, |answer, _| {
        let ticket: ToldTicket<'_> = read(answer.body())?;
        let is_good = ticket.reservation_id == reservation && ticket.state == "valid";
        is_good.then_some(()).ok_or_else(|| format!("no valid ticket for {reservation}: {}", text(answer.body())))
    })
    .await;
}
