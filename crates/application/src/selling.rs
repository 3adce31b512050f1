//! Reserve, release, pay.

use std::{future::Future, sync::Arc};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use onsale_domain::{
    concert::SaleState,
    ids::{ConcertId, LedgerTransactionId, PaymentId, ReservationId, SeatId, ShowId, UserId},
    reservation::{PayRefusal, ReservationState},
    seat::{CHOICES_MAX, ChoiceError, SeatChoice, SeatChoices, SeatState, within_limit},
};
use uuid::Uuid;

use crate::{
    context::{Clock, Ids},
    error::StoreError,
    idempotency::{self, IdempotencyKeys, Idempotent, KeyRefusal, Work},
    line::{Gate, GateRefusal, HOLD_WITHIN_MS, Purpose},
    page::{Page, rows_for},
    seat_maps::{SeatView, SharedSeatMaps, ShowConcerts},
    tickets::Ticket,
    transaction::{Transaction, UnitOfWork},
};

/// A reservation with its seats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// Id.
    pub id: ReservationId,
    /// Whose.
    pub user_id: UserId,
    /// At which show.
    pub show_id: ShowId,
    /// Of which concert.
    pub concert_id: ConcertId,
    /// Its title.
    pub concert_title: String,
    /// Where the show is.
    pub venue: String,
    /// When it starts.
    pub starts_at: DateTime<Utc>,
    /// How it stands, by the database's clock.
    pub state: ReservationState,
    /// What all seats cost together, in minor units.
    pub total_minor: i64,
    /// Currency.
    pub currency: String,
    /// End of the hold.
    pub expires_at: DateTime<Utc>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// The seats, in the order in which people count.
    pub seats: Vec<ReservedSeat>,
}

/// A seat of a reservation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReservedSeat {
    /// Id.
    pub id: SeatId,
    /// Section.
    pub section: String,
    /// Row.
    pub row: String,
    /// Number.
    pub number: i32,
    /// Price in minor units.
    pub price_minor: i64,
}

/// A hold to be tried.
#[derive(Debug, Clone)]
pub struct Hold<'a> {
    /// Id of the reservation.
    pub id: ReservationId,
    /// For whom.
    pub user: UserId,
    /// At which show.
    pub show: ShowId,
    /// Which seats at which versions, by ascending id.
    pub choices: &'a [SeatChoice],
    /// The number of the turn in which it is made.
    pub turn: i64,
    /// Id of the event that tells of it.
    pub event_id: Uuid,
}

/// Why a hold did not succeed, as the database sees it afterwards.
#[derive(Debug, Clone)]
pub struct HoldRefusal {
    /// Stage of the sale; `None` when there is no such show.
    pub sale_state: Option<SaleState>,
    /// Whether the show has started.
    pub started: bool,
    /// Limit of the show.
    pub seats_per_fan: i32,
    /// Seats that the fan holds or bought at the show.
    pub seats_had: i64,
    /// The fan's held reservation at the show, if one is live.
    pub held: Option<ReservationId>,
    /// The seats asked for, as they are now; seats that the show does not have are missing.
    pub seats: Vec<SeatView>,
    /// Whether a hold that ran out is in the way and can be ended.
    pub overdue: bool,
}

/// Seats and reservations, within a transaction.
pub trait Holds: Send {
    /// Makes other reservations of this fan at this show, and a move of the show, wait until the transaction ends; and claims
    /// the seats, one after the other by id, for this transaction alone, until one is claimed by somebody else, which is
    /// answered. MUST NOT wait for a seat. Of several who want the same seats, exactly one gets them.
    fn claim_seats(&mut self, hold: &Hold<'_>) -> impl Future<Output = Result<Option<SeatId>, StoreError>> + Send;
    /// Holds all seats or none. MUST compare versions and never wait for a seat that somebody else has locked; MUST
    /// respect the sale's stage, the limit per fan and the rule of one held reservation. Writes the outbox event.
    fn hold(&mut self, hold: &Hold<'_>) -> impl Future<Output = Result<Option<Reservation>, StoreError>> + Send;
    /// Ends the holds that ran out and stand in the way of this one: those of its seats and the fan's own. Skips what
    /// another transaction is ending. Answers how many it ended.
    fn end_overdue_in_the_way(&mut self, hold: &Hold<'_>) -> impl Future<Output = Result<i64, StoreError>> + Send;
    /// Releases a reservation that is held and in time; `false` when it is not (or not this fan's).
    fn release(
        &mut self,
        id: ReservationId,
        user: UserId,
        event_id: Uuid,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;
}

/// Says why seats were not held. Outside a transaction, so that who has lost keeps nothing locked.
pub trait HoldQueries: Send + Sync + 'static {
    /// Why [`Holds::hold`] answered none.
    fn refusal(&self, hold: &Hold<'_>) -> impl Future<Output = Result<HoldRefusal, StoreError>> + Send;
}

/// A payment to be tried.
#[derive(Debug, Clone)]
pub struct PaymentOrder {
    /// Id of the payment.
    pub id: PaymentId,
    /// What is paid.
    pub reservation: ReservationId,
    /// By whom.
    pub user: UserId,
    /// Id of the posting.
    pub ledger_transaction: LedgerTransactionId,
    /// Ids for the tickets; as many as a reservation can have seats.
    pub ticket_ids: Vec<Uuid>,
    /// Id of the event that tells of it.
    pub event_id: Uuid,
}

/// A payment that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// Id.
    pub id: PaymentId,
    /// What was paid.
    pub reservation_id: ReservationId,
    /// Amount in minor units.
    pub amount_minor: i64,
    /// Currency.
    pub currency: String,
    /// The wallet's balance afterwards.
    pub balance_minor: i64,
    /// The tickets.
    pub tickets: Vec<Ticket>,
    /// The number of the turn in which the seats were held.
    pub turn: Option<i64>,
}

/// What came of a payment.
#[derive(Debug, Clone)]
pub enum PayOutcome {
    /// Paid, posted, sold, ticketed and in the outbox.
    Paid(Payment),
    /// The reservation is not (or no longer) held and in time. Nothing was changed.
    NotHeld,
    /// The wallet holds too little. The transaction MUST be rolled back.
    InsufficientBalance(Missing),
}

/// What a wallet lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Minor units.
    pub amount_minor: i64,
    /// ISO 4217 code.
    pub currency: String,
}

/// Payments, within a transaction.
pub trait Payments: Send {
    /// Pays. MUST judge the time after it has the reservation's lock, so that paying and expiring never both happen.
    fn pay(&mut self, order: &PaymentOrder) -> impl Future<Output = Result<PayOutcome, StoreError>> + Send;
}

/// Reads of reservations.
pub trait ReservationQueries: Send + Sync + 'static {
    /// One reservation of this fan.
    fn reservation(
        &self,
        id: ReservationId,
        user: UserId,
    ) -> impl Future<Output = Result<Option<Reservation>, StoreError>> + Send;
    /// This fan's reservations, newest first; one more than `limit` when there are more.
    fn reservations(
        &self,
        user: UserId,
        before: Option<ReservationId>,
        limit: i64,
    ) -> impl Future<Output = Result<Vec<Reservation>, StoreError>> + Send;
}

/// A seat that was asked for and cannot be had, as it is now.
pub type SeatConflict = SeatView;

/// Why seats were not reserved.
#[derive(Debug, thiserror::Error)]
pub enum ReserveError {
    /// There is no such show.
    #[error("there is no such show")]
    NoShow,
    /// The choice itself is wrong.
    #[error(transparent)]
    Choice(#[from] ChoiceError),
    /// More seats than the fan may still have at this show.
    #[error("the fan has {had} seats at this show and asked for {asked}; {limit} are allowed")]
    LimitReached {
        /// Held or bought before.
        had: i64,
        /// Seats in the request.
        asked: usize,
        /// The show's limit.
        limit: i32,
    },
    /// Some seats are not of this show.
    #[error("some seats are not of this show")]
    UnknownSeats(Vec<SeatId>),
    /// At least one seat is held, sold or blocked.
    #[error("at least one seat is taken")]
    SeatTaken(Vec<SeatConflict>),
    /// All seats are free, but at least one has changed since the version that was sent.
    #[error("at least one seat has changed")]
    VersionConflict(Vec<SeatConflict>),
    /// The fan holds a reservation at this show already.
    #[error("the fan holds a reservation at this show already")]
    ReservationExists(ReservationId),
    /// The sale does not sell in its stage, or the show has started.
    #[error("the sale is not open")]
    NotOpen,
    /// The sale is over.
    #[error("the sale is closed")]
    Closed,
    /// The gate.
    #[error(transparent)]
    Gate(#[from] GateRefusal),
    /// The idempotency key.
    #[error(transparent)]
    Key(#[from] KeyRefusal),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a reservation was not read, released or paid.
#[derive(Debug, thiserror::Error)]
pub enum ReservationError {
    /// There is none with this id that is this fan's.
    #[error("there is no such reservation")]
    NotFound,
    /// It is paid already.
    #[error("the reservation is paid")]
    AlreadyPaid,
    /// Its time is over, or it was released.
    #[error("the reservation is no longer held")]
    NoLongerHeld,
    /// The wallet holds too little.
    #[error("the wallet holds too little")]
    InsufficientBalance(Missing),
    /// The idempotency key.
    #[error(transparent)]
    Key(#[from] KeyRefusal),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Selling, as the HTTP edge sees it.
#[async_trait]
pub trait Selling: Send + Sync {
    /// Reserves all seats or none.
    async fn reserve(
        &self,
        show: ShowId,
        fan: UserId,
        queue_token: Option<String>,
        choices: Vec<SeatChoice>,
        idempotent: Idempotent<Reservation>,
    ) -> Result<String, ReserveError>;
    /// One reservation of the fan.
    async fn reservation(&self, id: ReservationId, fan: UserId) -> Result<Reservation, ReservationError>;
    /// The fan's reservations, newest first, and whether there are more.
    async fn reservations(
        &self,
        fan: UserId,
        before: Option<ReservationId>,
        limit: usize,
    ) -> Result<Page<Reservation, ReservationId>, ReservationError>;
    /// Frees the seats of a held reservation. Nothing happens when it ended before, unless it was paid.
    async fn release(&self, id: ReservationId, fan: UserId) -> Result<(), ReservationError>;
    /// Pays a reservation from the wallet and ends the turn in which it was made. Whoever holds the seats may pay them until
    /// the hold ends, whatever became of the turn, the line and the sale.
    async fn pay(
        &self,
        id: ReservationId,
        fan: UserId,
        idempotent: Idempotent<Payment>,
    ) -> Result<String, ReservationError>;
}

/// Selling over the database, the gate and the shared seat maps.
pub struct SellingFacade<U, Q, G, M, C> {
    /// Transactions.
    pub unit: Arc<U>,
    /// Reads.
    pub queries: Arc<Q>,
    /// The gate.
    pub gate: Arc<G>,
    /// Shared seat maps.
    pub maps: Arc<M>,
    /// Time and ids.
    pub context: C,
}

/// How often a hold is tried whose seats others are letting go of at that moment.
const HOLD_TRIES: usize = 5;

struct ReserveWork<'a, C> {
    hold: Hold<'a>,
    /// Whether holds that ran out are in the way and are to be ended first.
    end_overdue: bool,
    /// By when the hold must be ready to be committed, while the slot is certain to last.
    give_up_at_ms: i64,
    clock: &'a C,
}

enum HoldFailure {
    /// Not all seats could be held; somebody else may have been taking this one.
    NotHeld(Option<SeatId>),
    Other(ReserveError),
}

impl From<StoreError> for HoldFailure {
    fn from(error: StoreError) -> Self {
        HoldFailure::Other(error.into())
    }
}

impl From<KeyRefusal> for HoldFailure {
    fn from(refusal: KeyRefusal) -> Self {
        HoldFailure::Other(refusal.into())
    }
}

impl<Tx: Holds, C: Clock> Work<Tx, Reservation, HoldFailure> for ReserveWork<'_, C> {
    async fn run(self, tx: &mut Tx) -> Result<Reservation, HoldFailure> {
        if let Some(seat) = tx.claim_seats(&self.hold).await? {
            return Err(HoldFailure::NotHeld(Some(seat)));
        }
        if self.end_overdue {
            tx.end_overdue_in_the_way(&self.hold).await?;
        }
        let reservation = tx.hold(&self.hold).await?.ok_or(HoldFailure::NotHeld(None))?;
        if self.clock.monotonic_ms() > self.give_up_at_ms {
            return Err(StoreError::Conflict("the hold took too long".into()).into());
        }
        Ok(reservation)
    }
}

/// Work that is refused before it begins.
struct Refuse(GateRefusal);

impl<Tx: Send> Work<Tx, Reservation, ReserveError> for Refuse {
    async fn run(self, _: &mut Tx) -> Result<Reservation, ReserveError> {
        Err(self.0.into())
    }
}

/// The reason that helps the fan most, in the order in which a person would ask. `None` when there is none any more: who was
/// in the way has let go.
fn explain(hold: &Hold<'_>, refusal: &HoldRefusal, contested: Option<SeatId>) -> Option<ReserveError> {
    match refusal.sale_state {
        None | Some(SaleState::Draft) => return Some(ReserveError::NoShow),
        Some(SaleState::Scheduled | SaleState::PreQueue) => return Some(ReserveError::NotOpen),
        Some(SaleState::Closed) => return Some(ReserveError::Closed),
        Some(_) if refusal.started => return Some(ReserveError::Closed),
        Some(_) => {}
    }
    let unknown: Vec<SeatId> = hold
        .choices
        .iter()
        .map(|choice| choice.seat_id)
        .filter(|id| !refusal.seats.iter().any(|seat| seat.id == *id))
        .collect();
    if !unknown.is_empty() {
        return Some(ReserveError::UnknownSeats(unknown));
    }
    let asked = hold.choices.len();
    if let Err(error) = within_limit(asked, 0, refusal.seats_per_fan) {
        return Some(ReserveError::Choice(error));
    }
    if let Some(held) = refusal.held {
        return Some(ReserveError::ReservationExists(held));
    }
    if within_limit(asked, refusal.seats_had, refusal.seats_per_fan).is_err() {
        return Some(ReserveError::LimitReached { had: refusal.seats_had, asked, limit: refusal.seats_per_fan });
    }
    let mut seats = refusal.seats.clone();
    // Somebody was taking it at that moment: what the database shows is a moment old.
    for seat in seats.iter_mut().filter(|seat| Some(seat.id) == contested && seat.state == SeatState::Available) {
        seat.state = SeatState::Held;
    }
    lost(seats, hold.choices)
}

/// How a choice has lost against the seats as they are; `None` when it has not.
fn lost(seats: Vec<SeatView>, choices: &[SeatChoice]) -> Option<ReserveError> {
    let moved =
        |seat: &SeatView| choices.iter().any(|choice| choice.seat_id == seat.id && choice.version != seat.version);
    if seats.iter().any(|seat| seat.state != SeatState::Available) {
        Some(ReserveError::SeatTaken(seats))
    } else if seats.iter().any(moved) {
        Some(ReserveError::VersionConflict(seats))
    } else {
        None
    }
}

struct PayWork {
    order: PaymentOrder,
}

enum PayFailure {
    NotHeld,
    Other(ReservationError),
}

impl From<StoreError> for PayFailure {
    fn from(error: StoreError) -> Self {
        PayFailure::Other(error.into())
    }
}

impl From<KeyRefusal> for PayFailure {
    fn from(refusal: KeyRefusal) -> Self {
        PayFailure::Other(refusal.into())
    }
}

impl<Tx: Payments> Work<Tx, Payment, PayFailure> for PayWork {
    async fn run(self, tx: &mut Tx) -> Result<Payment, PayFailure> {
        match tx.pay(&self.order).await? {
            PayOutcome::Paid(payment) => Ok(payment),
            PayOutcome::NotHeld => Err(PayFailure::NotHeld),
            PayOutcome::InsufficientBalance(missing) => {
                Err(PayFailure::Other(ReservationError::InsufficientBalance(missing)))
            }
        }
    }
}

impl<U, Q, G, M, C> SellingFacade<U, Q, G, M, C>
where
    Q: ReservationQueries + ShowConcerts,
    M: SharedSeatMaps,
{
    async fn own(&self, id: ReservationId, fan: UserId) -> Result<Reservation, ReservationError> {
        self.queries.reservation(id, fan).await?.ok_or(ReservationError::NotFound)
    }

    /// The concert of a show never changes, so any copy at hand will do.
    async fn concert_of(&self, show: ShowId) -> Result<ConcertId, ReserveError> {
        if let Some(map) = self.maps.at_hand(show) {
            return Ok(map.concert_id);
        }
        self.queries.concert_of_show(show).await?.ok_or(ReserveError::NoShow)
    }

    /// Versions only grow. So when a seat was seen past the version that was sent, by whoever lost on it a moment ago,
    /// that choice has lost for certain, and the database need not be asked.
    fn certainly_lost(&self, show: ShowId, choices: &SeatChoices) -> Option<ReserveError> {
        let choices = choices.as_slice();
        let seats: Vec<SeatView> = choices.iter().filter_map(|choice| self.maps.noted(show, choice.seat_id)).collect();
        let all_known = seats.len() == choices.len();
        let past = seats.iter().zip(choices).any(|(seat, choice)| seat.version > choice.version);
        if all_known && past { lost(seats, choices) } else { None }
    }
}

#[async_trait]
impl<U, Q, G, M, C> Selling for SellingFacade<U, Q, G, M, C>
where
    U: UnitOfWork,
    U::Tx: Holds + Payments + IdempotencyKeys,
    Q: ReservationQueries + ShowConcerts + HoldQueries,
    G: Gate,
    M: SharedSeatMaps,
    C: Clock + Ids,
{
    async fn reserve(
        &self,
        show: ShowId,
        fan: UserId,
        queue_token: Option<String>,
        choices: Vec<SeatChoice>,
        idempotent: Idempotent<Reservation>,
    ) -> Result<String, ReserveError> {
        let concert = self.concert_of(show).await?;
        let give_up_at_ms = self.context.monotonic_ms() + HOLD_WITHIN_MS;
        let turn = match self.gate.pass(concert, fan, queue_token.as_deref(), Purpose::Hold).await {
            Ok(turn) => turn,
            // The turn may have ended since the first request with this key, which is still answered.
            Err(refusal) if idempotent.key.is_some() => {
                let refused: Result<_, ReserveError> =
                    idempotency::run(self.unit.as_ref(), fan, &idempotent, Refuse(refusal)).await;
                return Ok(refused?.answer);
            }
            Err(refusal) => return Err(refusal.into()),
        };
        let choices = SeatChoices::new(choices)?;
        // A request that is repeated has to find its stored answer first.
        if idempotent.key.is_none()
            && let Some(lost) = self.certainly_lost(show, &choices)
        {
            return Err(lost);
        }
        let hold = Hold {
            id: ReservationId(self.context.new_id()),
            user: fan,
            show,
            choices: choices.as_slice(),
            turn: turn.number,
            event_id: self.context.new_id(),
        };
        let mut end_overdue = false;
        for _ in 0..HOLD_TRIES {
            let work = ReserveWork { hold: hold.clone(), end_overdue, give_up_at_ms, clock: &self.context };
            let contested = match idempotency::run(self.unit.as_ref(), fan, &idempotent, work).await {
                Ok(held) => {
                    if held.done.is_some() {
                        self.maps.forget(show).await;
                        warn_untold(self.gate.holds_changed(concert, fan).await, concert);
                    }
                    return Ok(held.answer);
                }
                Err(HoldFailure::Other(error)) => return Err(error),
                Err(HoldFailure::NotHeld(contested)) => contested,
            };
            let as_of = self.maps.as_of(show);
            let refusal = self.queries.refusal(&hold).await?;
            // A hold that ran out is free from that instant, whether or not the sweeper has been there.
            if refusal.overdue && !end_overdue && contested.is_none() {
                end_overdue = true;
                continue;
            }
            if let Some(error) = explain(&hold, &refusal, contested) {
                if matches!(error, ReserveError::SeatTaken(_) | ReserveError::VersionConflict(_)) && !refusal.overdue {
                    self.maps.note(show, as_of, &refusal.seats);
                }
                return Err(error);
            }
        }
        Err(StoreError::Conflict("the seats go from hand to hand".into()).into())
    }

    async fn reservation(&self, id: ReservationId, fan: UserId) -> Result<Reservation, ReservationError> {
        self.own(id, fan).await
    }

    async fn reservations(
        &self,
        fan: UserId,
        before: Option<ReservationId>,
        limit: usize,
    ) -> Result<Page<Reservation, ReservationId>, ReservationError> {
        let found = self.queries.reservations(fan, before, rows_for(limit)).await?;
        Ok(Page::cut(found, limit, |reservation| reservation.id))
    }

    async fn release(&self, id: ReservationId, fan: UserId) -> Result<(), ReservationError> {
        let mut tx = self.unit.begin().await?;
        let released = tx.release(id, fan, self.context.new_id()).await?;
        tx.commit().await?;
        let reservation = self.own(id, fan).await?;
        if released {
            self.maps.forget(reservation.show_id).await;
            warn_untold(self.gate.holds_changed(reservation.concert_id, fan).await, reservation.concert_id);
            return Ok(());
        }
        match reservation.state.may_be_paid() {
            Err(PayRefusal::AlreadyPaid) => Err(ReservationError::AlreadyPaid),
            Ok(()) | Err(PayRefusal::NoLongerHeld) => Ok(()),
        }
    }

    async fn pay(
        &self,
        id: ReservationId,
        fan: UserId,
        idempotent: Idempotent<Payment>,
    ) -> Result<String, ReservationError> {
        let reservation = self.own(id, fan).await?;
        // Who repeats a payment under its key is told what came of the first.
        if reservation.state.may_be_paid().is_err() && idempotent.key.is_none() {
            return Err(refusal_of(reservation.state));
        }
        let order = PaymentOrder {
            id: PaymentId(self.context.new_id()),
            reservation: id,
            user: fan,
            ledger_transaction: LedgerTransactionId(self.context.new_id()),
            ticket_ids: (0..CHOICES_MAX).map(|_| self.context.new_id()).collect(),
            event_id: self.context.new_id(),
        };
        match idempotency::run(self.unit.as_ref(), fan, &idempotent, PayWork { order }).await {
            Ok(paid) => {
                // A payment that is only replayed ends nothing.
                if let Some(payment) = paid.done {
                    let concert = reservation.concert_id;
                    self.maps.forget(reservation.show_id).await;
                    if let Some(turn) = payment.turn {
                        warn_untold(self.gate.paid(concert, fan, turn).await, concert);
                    }
                }
                Ok(paid.answer)
            }
            Err(PayFailure::NotHeld) => Err(refusal_of(self.own(id, fan).await?.state)),
            Err(PayFailure::Other(error)) => Err(error),
        }
    }
}

/// What the line was not told now it finds out by itself, when the turn or the hold ends.
fn warn_untold(told: Result<(), StoreError>, concert: ConcertId) {
    if let Err(error) = told {
        tracing::warn!(%error, concert_id = %concert, "the line could not be told of a hold; its slot comes free a little later");
    }
}

/// What a fan hears whose reservation could not be paid in this state.
fn refusal_of(state: ReservationState) -> ReservationError {
    match state.may_be_paid() {
        Err(PayRefusal::AlreadyPaid) => ReservationError::AlreadyPaid,
        Ok(()) | Err(PayRefusal::NoLongerHeld) => ReservationError::NoLongerHeld,
    }
}
