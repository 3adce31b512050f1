//! Reserve, release, pay.

use std::{future::Future, sync::Arc};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use onsale_domain::{
    concert::SaleState,
    ids::{ConcertId, LedgerTransactionId, PaymentId, ReservationId, SeatId, ShowId, UserId},
    reservation::{PayRefusal, ReservationState},
    seat::{CHOICES_MAX, ChoiceError, SeatChoice, SeatChoices, SeatState},
};
use uuid::Uuid;

use crate::{
    context::Ids,
    error::StoreError,
    idempotency::{self, IdempotencyKeys, Idempotent, KeyRefusal, StoredAnswer, Work},
    line::{Gate, GateRefusal},
    seat_maps::{SeatView, SharedSeatMaps},
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
    /// The seats, ordered by section, row and number.
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
    /// Makes other reservations of this fan at this show wait until the transaction ends.
    fn lock_fan(&mut self, user: UserId, show: ShowId) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Holds all seats or none. MUST compare versions and never wait for a seat that somebody else has locked; MUST
    /// respect the sale's stage, the limit per fan and the rule of one held reservation. Writes the outbox event.
    fn hold(&mut self, hold: &Hold<'_>) -> impl Future<Output = Result<Option<Reservation>, StoreError>> + Send;
    /// Why [`Holds::hold`] answered none.
    fn refusal(&mut self, hold: &Hold<'_>) -> impl Future<Output = Result<HoldRefusal, StoreError>> + Send;
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
}

/// What came of a payment.
#[derive(Debug, Clone)]
pub enum PayOutcome {
    /// Paid, posted, sold, ticketed and in the outbox.
    Paid(Payment),
    /// The reservation is not (or no longer) held and in time. Nothing was changed.
    NotHeld,
    /// The wallet holds too little. The transaction MUST be rolled back.
    InsufficientBalance,
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
    /// The concert of a show, whatever its stage.
    fn concert_of_show(&self, show: ShowId) -> impl Future<Output = Result<Option<ConcertId>, StoreError>> + Send;
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
    InsufficientBalance,
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
    ) -> Result<StoredAnswer, ReserveError>;
    /// One reservation of the fan.
    async fn reservation(&self, id: ReservationId, fan: UserId) -> Result<Reservation, ReservationError>;
    /// The fan's reservations, newest first, and whether there are more.
    async fn reservations(
        &self,
        fan: UserId,
        before: Option<ReservationId>,
        limit: usize,
    ) -> Result<(Vec<Reservation>, bool), ReservationError>;
    /// Frees the seats of a held reservation. Nothing happens when it ended before, unless it was paid.
    async fn release(&self, id: ReservationId, fan: UserId) -> Result<(), ReservationError>;
    /// Pays a reservation from the wallet and ends the fan's turn.
    async fn pay(
        &self,
        id: ReservationId,
        fan: UserId,
        queue_token: Option<String>,
        idempotent: Idempotent<Payment>,
    ) -> Result<StoredAnswer, ReservationError>;
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
    /// Ids.
    pub context: C,
}

struct ReserveWork<'a> {
    hold: Hold<'a>,
}

impl<Tx: Holds> Work<Tx, Reservation, ReserveError> for ReserveWork<'_> {
    async fn run(self, tx: &mut Tx) -> Result<Reservation, ReserveError> {
        let hold = &self.hold;
        tx.lock_fan(hold.user, hold.show).await?;
        if let Some(reservation) = tx.hold(hold).await? {
            return Ok(reservation);
        }
        let mut refusal = tx.refusal(hold).await?;
        // A hold that ran out is free from that instant, whether or not the sweeper has been there.
        if refusal.overdue && tx.end_overdue_in_the_way(hold).await? > 0 {
            if let Some(reservation) = tx.hold(hold).await? {
                return Ok(reservation);
            }
            refusal = tx.refusal(hold).await?;
        }
        Err(explain(hold, refusal))
    }
}

/// The reason that helps the fan most, in the order in which a person would ask.
fn explain(hold: &Hold<'_>, refusal: HoldRefusal) -> ReserveError {
    match refusal.sale_state {
        None | Some(SaleState::Draft) => return ReserveError::NoShow,
        Some(SaleState::Scheduled) => return ReserveError::NotOpen,
        Some(SaleState::Closed) => return ReserveError::Closed,
        Some(_) if refusal.started => return ReserveError::Closed,
        Some(_) => {}
    }
    let unknown: Vec<SeatId> = hold
        .choices
        .iter()
        .map(|choice| choice.seat_id)
        .filter(|id| !refusal.seats.iter().any(|seat| seat.id == *id))
        .collect();
    if !unknown.is_empty() {
        return ReserveError::UnknownSeats(unknown);
    }
    let asked = hold.choices.len();
    if asked > usize::try_from(refusal.seats_per_fan).unwrap_or(0) {
        let limit = usize::try_from(refusal.seats_per_fan).unwrap_or(0);
        return ReserveError::Choice(ChoiceError::TooMany { asked, limit });
    }
    if let Some(held) = refusal.held {
        return ReserveError::ReservationExists(held);
    }
    if refusal.seats_had + i64::try_from(asked).unwrap_or(i64::MAX) > i64::from(refusal.seats_per_fan) {
        return ReserveError::LimitReached { had: refusal.seats_had, asked, limit: refusal.seats_per_fan };
    }
    if refusal.seats.iter().any(|seat| seat.state != SeatState::Available) {
        ReserveError::SeatTaken(refusal.seats)
    } else {
        // Free at the right version by now means that it was locked by somebody who then let go: also a lost race.
        ReserveError::VersionConflict(refusal.seats)
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
            PayOutcome::InsufficientBalance => Err(PayFailure::Other(ReservationError::InsufficientBalance)),
        }
    }
}

impl<U, Q, G, M, C> SellingFacade<U, Q, G, M, C>
where
    Q: ReservationQueries,
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
    fn certainly_lost(&self, choices: &SeatChoices) -> Option<ReserveError> {
        let choices = choices.as_slice();
        let seats: Vec<SeatView> = choices.iter().filter_map(|choice| self.maps.noted(choice.seat_id)).collect();
        let all_known = seats.len() == choices.len();
        let lost = seats.iter().zip(choices).any(|(seat, choice)| seat.version > choice.version);
        if !(all_known && lost) {
            return None;
        }
        Some(if seats.iter().any(|seat| seat.state != SeatState::Available) {
            ReserveError::SeatTaken(seats)
        } else {
            ReserveError::VersionConflict(seats)
        })
    }
}

#[async_trait]
impl<U, Q, G, M, C> Selling for SellingFacade<U, Q, G, M, C>
where
    U: UnitOfWork,
    U::Tx: Holds + Payments + IdempotencyKeys,
    Q: ReservationQueries,
    G: Gate,
    M: SharedSeatMaps,
    C: Ids,
{
    async fn reserve(
        &self,
        show: ShowId,
        fan: UserId,
        queue_token: Option<String>,
        choices: Vec<SeatChoice>,
        idempotent: Idempotent<Reservation>,
    ) -> Result<StoredAnswer, ReserveError> {
        let concert = self.concert_of(show).await?;
        self.gate.pass(concert, fan, queue_token.as_deref()).await?;
        let choices = SeatChoices::new(choices)?;
        // A request that is repeated has to find its stored answer first.
        if idempotent.key.is_none()
            && let Some(lost) = self.certainly_lost(&choices)
        {
            return Err(lost);
        }
        let hold = Hold {
            id: ReservationId(self.context.new_id()),
            user: fan,
            show,
            choices: choices.as_slice(),
            event_id: self.context.new_id(),
        };
        let reserved = idempotency::run(self.unit.as_ref(), fan, &idempotent, ReserveWork { hold }).await;
        match &reserved {
            Ok(_) => self.maps.forget(show).await,
            Err(ReserveError::SeatTaken(seats) | ReserveError::VersionConflict(seats)) => self.maps.note(seats).await,
            Err(_) => {}
        }
        reserved
    }

    async fn reservation(&self, id: ReservationId, fan: UserId) -> Result<Reservation, ReservationError> {
        self.own(id, fan).await
    }

    async fn reservations(
        &self,
        fan: UserId,
        before: Option<ReservationId>,
        limit: usize,
    ) -> Result<(Vec<Reservation>, bool), ReservationError> {
        let rows = i64::try_from(limit).unwrap_or(100) + 1;
        let mut found = self.queries.reservations(fan, before, rows).await?;
        let more = found.len() > limit;
        found.truncate(limit);
        Ok((found, more))
    }

    async fn release(&self, id: ReservationId, fan: UserId) -> Result<(), ReservationError> {
        let mut tx = self.unit.begin().await?;
        let released = tx.release(id, fan, self.context.new_id()).await?;
        tx.commit().await?;
        let reservation = self.own(id, fan).await?;
        if released {
            self.maps.forget(reservation.show_id).await;
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
        queue_token: Option<String>,
        idempotent: Idempotent<Payment>,
    ) -> Result<StoredAnswer, ReservationError> {
        let reservation = self.own(id, fan).await?;
        // Paying ends the turn, so a payment that is repeated finds the gate shut. It is told what came of the first.
        let first_try = reservation.state.may_be_paid().is_ok();
        if first_try {
            self.gate.pass(reservation.concert_id, fan, queue_token.as_deref()).await?;
        } else if idempotent.key.is_none() {
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
            Ok(answer) => {
                self.maps.forget(reservation.show_id).await;
                // A payment that is only replayed must not end a turn that began after it.
                if first_try && let Err(error) = self.gate.finish(reservation.concert_id, fan).await {
                    tracing::warn!(%error, concert_id = %reservation.concert_id, "the active token could not be ended after payment; it ends by itself");
                }
                Ok(answer)
            }
            Err(PayFailure::NotHeld) => Err(refusal_of(self.own(id, fan).await?.state)),
            Err(PayFailure::Other(error)) => Err(error),
        }
    }
}

/// What a fan hears whose reservation could not be paid in this state.
fn refusal_of(state: ReservationState) -> ReservationError {
    match state.may_be_paid() {
        Err(PayRefusal::AlreadyPaid) => ReservationError::AlreadyPaid,
        Ok(()) | Err(PayRefusal::NoLongerHeld) => ReservationError::NoLongerHeld,
    }
}
