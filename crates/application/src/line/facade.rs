//! What fans and operators ask of a line.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::DateTime;
use onsale_domain::{
    concert::SaleState,
    fault::Faults,
    ids::{ConcertId, UserId},
    queue::{self, QueuePolicy, odds},
};

use super::{
    guard::PollGuard,
    keeper::{Keeper, LineDatabase, Tended},
    model::{Ended, Found, Held, Intent, Joined, LineStats, QueueTicket, Restored, Snapshot, Whereabouts},
    ports::{LineStore, QueueTokens, Receipts, Seeds, Verdict},
    stock::ConcertStock,
    views::{Follower, Forecasting, LineError, LineState, LineView, PlaceState, PlaceView, Seen},
};
use crate::{
    audit::{AuditChange, AuditEntry},
    catalogue::Concert,
    context::{Clock, Ids},
    error::StoreError,
};

/// The line, as the HTTP edge sees it.
#[async_trait]
pub trait Line: Send + Sync {
    /// Gives the fan a place; `true` when it is a new one. Who has a place and does not show its token takes it over. Joining
    /// is showing up: a lapsed turn comes back to the head.
    async fn join(&self, concert: ConcertId, user: UserId, token: Option<&str>)
    -> Result<(bool, PlaceView), LineError>;
    /// The fan's place. A token that is shown must be this fan's, this concert's, and the newest of the place. Looking is not
    /// showing up.
    async fn status(&self, concert: ConcertId, user: UserId, token: Option<&str>) -> Result<PlaceView, LineError>;
    /// The same for a follower, who is told rather than asks: never too early.
    async fn look(&self, concert: ConcertId, user: UserId, token: &str) -> Result<(QueueTicket, PlaceView), LineError>;
    /// Leaves the line, or ends the turn.
    async fn leave(&self, concert: ConcertId, user: UserId, token: Option<&str>) -> Result<(), LineError>;
    /// Follows the fan's place.
    async fn follow(&self, concert: ConcertId, user: UserId, token: &str) -> Result<(PlaceView, Follower), LineError>;
    /// Whether the token is genuine, this fan's and this concert's. Touches no store.
    fn check(&self, concert: ConcertId, user: UserId, token: &str) -> Result<(), LineError>;
    /// What a follower sees in a snapshot. Touches no store.
    fn glance(&self, ticket: &QueueTicket, token: &str, snapshot: &Snapshot) -> Seen;
    /// What everybody may know of a concert's line. From memory, but for the snapshot when it is old.
    async fn overview(&self, concert: &Concert) -> Result<LineView, LineError>;
    /// Makes new settings take effect now rather than at the next tick.
    async fn apply(&self, concert: &Concert) -> Result<Tended, LineError>;
    /// Calls `count` fans now, within the limit. Answers how many became active.
    async fn admit(&self, actor: UserId, concert: ConcertId, count: i64) -> Result<i64, LineError>;
    /// What other settings would do to those who wait.
    async fn forecast(&self, concert: ConcertId, policy: QueuePolicy) -> Result<Forecasting, LineError>;
}

/// The line over its keeper.
pub struct LineFacade<P, L, T, C> {
    /// Runs the lines.
    pub keeper: Arc<Keeper<P, L, C>>,
    /// Signed tokens and receipts.
    pub tokens: Arc<T>,
    /// Refuses polls that come much too early.
    pub guard: PollGuard,
}

/// What came of a token of an earlier life.
pub(super) enum Resumed {
    /// The place is back.
    Here(Held),
    /// A newer token, or another place, of the same fan holds.
    Moved,
    /// It was left, or the turn is over.
    Gone,
}

impl<P: LineDatabase, L: LineStore, T: QueueTokens + Receipts, C: Clock + Ids + Seeds + Clone> LineFacade<P, L, T, C> {
    async fn concert(&self, id: ConcertId) -> Result<Concert, LineError> {
        let now = self.keeper.context.now();
        let concert = self.keeper.database.concert(id, now).await?.ok_or(LineError::NoConcert)?;
        if concert.sale_state.is_public() { Ok(concert) } else { Err(LineError::NoConcert) }
    }

    /// Makes the line live on the store's server.
    pub(super) async fn revive(&self, id: ConcertId) -> Result<(), StoreError> {
        self.open_line(id).await.map_err(store_error)
    }

    async fn open_line(&self, id: ConcertId) -> Result<(), LineError> {
        let concert = self.concert(id).await?;
        match concert.sale_state {
            SaleState::Draft => Err(LineError::NoConcert),
            SaleState::Scheduled => Err(LineError::NotOpen),
            _ => Ok(self.keeper.revive(&concert).await?),
        }
    }

    fn shown(&self, concert: ConcertId, user: UserId, token: &str) -> Result<QueueTicket, LineError> {
        self.tokens
            .verify_queue(token)
            .filter(|ticket| ticket.user_id == user && ticket.concert_id == concert)
            .ok_or(LineError::TokenInvalid)
    }

    /// Gives back the place of a token of an earlier life. Who only looks is told of a lapsed turn, and it stays lapsed.
    pub(super) async fn resume(&self, shown: &QueueTicket, intent: Intent) -> Result<Resumed, StoreError> {
        let keeper = &self.keeper;
        let mut ticket = *shown;
        let mut key = None;
        if ticket.number == 0 {
            match keeper.database.drawn(ticket.concert_id, ticket.id).await? {
                Some(number) => ticket.number = number,
                None => key = Some(keeper.seed(ticket.concert_id).await?.key(ticket.id)),
            }
        }
        let mut verdict = None;
        for _ in 0..3 {
            match keeper.lines.restore(&ticket, verdict, key, intent).await? {
                Restored::Here(held) => {
                    keeper.snapshots.note_back(&held.ticket);
                    return Ok(Resumed::Here(held));
                }
                Restored::Left => return Ok(Resumed::Gone),
                Restored::Moved => return Ok(Resumed::Moved),
                Restored::AskLog => {
                    let concert = self.concert(ticket.concert_id).await.map_err(store_error)?;
                    let return_ms = i64::from(concert.policy.return_secs) * 1_000;
                    match keeper.database.verdict(ticket.concert_id, ticket.number, return_ms).await? {
                        Verdict::Over => return Ok(Resumed::Gone),
                        Verdict::Lapsed { until_ms } if intent == Intent::Looks => {
                            let until = DateTime::from_timestamp_millis(until_ms).unwrap_or_default();
                            return Ok(Resumed::Here(Held { ticket, at: Whereabouts::Lapsed { until } }));
                        }
                        known => verdict = Some(known),
                    }
                }
                Restored::Lost => self.revive(ticket.concert_id).await?,
            }
        }
        Err(StoreError::Unavailable("the line recovers".into()))
    }

    /// The fan's place by the store; `shown` is the ticket of the token that the fan shows.
    async fn find(
        &self,
        concert: ConcertId,
        user: UserId,
        shown: Option<&QueueTicket>,
        intent: Intent,
    ) -> Result<Held, LineError> {
        let mut settled = false;
        for _ in 0..4 {
            match self.keeper.lines.place(concert, user, shown, intent).await? {
                Found::Here(held) if held.at == Whereabouts::Called && !settled => {
                    settled = true;
                    self.settle(concert).await;
                }
                Found::Here(held) => return Ok(held),
                Found::Moved { life } | Found::Nowhere { life } if shown.is_some_and(|shown| shown.life < life) => {
                    let Some(shown) = shown else { break };
                    return match self.resume(shown, intent).await? {
                        Resumed::Here(held) => Ok(held),
                        Resumed::Moved => Err(LineError::TokenMoved),
                        Resumed::Gone => Err(LineError::NotInLine),
                    };
                }
                Found::Moved { .. } => return Err(LineError::TokenMoved),
                Found::Nowhere { .. } => return Err(LineError::NotInLine),
                Found::Lost => self.open_line(concert).await?,
            }
        }
        Err(LineError::Recovering)
    }

    /// A turn was given up: its slot is judged and its end written down now rather than at the next tick; when that fails,
    /// the tick does it.
    async fn free_slot(&self, id: ConcertId) {
        if let Err(error) = self.keeper.sweep_soon(id).await {
            tracing::warn!(%error, concert_id = %id, "a slot comes free at the next tick");
        }
        self.settle(id).await;
    }

    /// Who is called becomes active now rather than at the next tick; when that fails, the tick does it.
    async fn settle(&self, id: ConcertId) {
        let settled = match self.concert(id).await {
            Ok(concert) => self.keeper.settle(&concert).await.map_err(LineError::Store),
            Err(error) => Err(error),
        };
        if let Err(error) = settled {
            tracing::warn!(%error, concert_id = %id, "called fans become active at the next tick");
        }
    }

    fn line_state(snapshot: &Snapshot, stock: Option<Arc<ConcertStock>>) -> LineState {
        LineState {
            state: snapshot.state,
            message: snapshot.message.clone(),
            sold_out: snapshot.sold_out,
            recovering_secs: snapshot.recovering_secs(),
            returning: snapshot.stats.returning,
            stock,
        }
    }

    /// What a waiting fan is told.
    fn waiting(&self, ticket: &QueueTicket, token: Option<String>, position: i64, snapshot: &Snapshot) -> PlaceView {
        let estimate = queue::eta(&snapshot.policy, position, snapshot.next_promotion_ms(), snapshot.pace);
        let moves = snapshot.state.promotes() && !snapshot.sold_out && snapshot.reachable;
        let poll_after_ms = queue::poll_after_ms(estimate, self.tokens.jitter());
        let stock = snapshot.stock.clone();
        PlaceView {
            token,
            number: ticket.number,
            place: PlaceState::Waiting { position },
            eta: moves.then_some(estimate),
            poll_after_ms,
            odds: stock
                .as_ref()
                .filter(|_| snapshot.state != SaleState::Closed)
                .map(|stock| odds(&stock.total, position, stock.seats_per_fan)),
            line: Self::line_state(snapshot, stock),
            receipt: None,
        }
    }

    fn view(&self, held: &Held, token: Option<String>, snapshot: &Snapshot) -> PlaceView {
        let ticket = &held.ticket;
        let (place, poll_after_ms) = match held.at {
            Whereabouts::Waiting | Whereabouts::Called => {
                return self.waiting(ticket, token, snapshot.position(ticket.number), snapshot);
            }
            Whereabouts::Back { ahead } => return self.waiting(ticket, token, ahead + 1, snapshot),
            Whereabouts::PreQueue => (PlaceState::PreQueue, queue::PRE_QUEUE_POLL_AFTER_MS),
            Whereabouts::Active { expires_at } => (PlaceState::Active { expires_at }, queue::ACTIVE_POLL_AFTER_MS),
            Whereabouts::Lapsed { until } => (PlaceState::Lapsed { until }, queue::ACTIVE_POLL_AFTER_MS),
        };
        PlaceView {
            token,
            number: ticket.number,
            place,
            eta: None,
            poll_after_ms,
            line: Self::line_state(snapshot, snapshot.stock.clone()),
            odds: None,
            receipt: None,
        }
    }

    /// Polls that come much earlier than told are refused from here on.
    fn note_told(&self, ticket: &QueueTicket, view: &PlaceView) {
        if matches!(view.place, PlaceState::Waiting { .. }) {
            self.guard.told(ticket.id, self.keeper.context.monotonic_ms(), view.poll_after_ms);
        }
    }

    async fn snapshot(&self, concert: ConcertId) -> Result<Arc<Snapshot>, LineError> {
        for _ in 0..2 {
            if let Some(snapshot) = self.keeper.snapshots.fresh(concert).await? {
                return Ok(snapshot);
            }
            self.open_line(concert).await?;
        }
        Err(LineError::Recovering)
    }
}

pub(super) fn store_error(error: LineError) -> StoreError {
    match error {
        LineError::Store(error) => error,
        LineError::Recovering => StoreError::Unavailable("the line recovers".into()),
        other => StoreError::Broken(other.to_string().into()),
    }
}

#[async_trait]
impl<P: LineDatabase, L: LineStore, T: QueueTokens + Receipts, C: Clock + Ids + Seeds + Clone> Line
    for LineFacade<P, L, T, C>
{
    async fn join(
        &self,
        concert: ConcertId,
        user: UserId,
        token: Option<&str>,
    ) -> Result<(bool, PlaceView), LineError> {
        let shown = token.map(|token| self.shown(concert, user, token)).transpose()?;
        // Who shows a token that holds has the place, whatever the line takes now.
        if let Some(shown) = shown {
            match self.find(concert, user, Some(&shown), Intent::ShowsUp).await {
                Ok(held) => {
                    let snapshot = self.snapshot(concert).await?;
                    return Ok((false, self.view(&held, Some(self.tokens.sign_queue(&held.ticket)), &snapshot)));
                }
                Err(LineError::NotInLine | LineError::TokenMoved) => {}
                Err(error) => return Err(error),
            }
        }
        let new = self.keeper.context.new_id();
        for _ in 0..5 {
            let asked_at_ms = self.keeper.context.monotonic_ms();
            let key = self.keeper.known_seed(concert).map(|seed| seed.key(new));
            match self.keeper.lines.join(concert, user, new, key).await? {
                Joined::Placed(fresh, held) => {
                    let held = if held.at == Whereabouts::Called {
                        self.settle(concert).await;
                        self.find(concert, user, Some(&held.ticket), Intent::ShowsUp).await.unwrap_or(held)
                    } else {
                        held
                    };
                    let snapshot = self.snapshot(concert).await?;
                    let token = self.tokens.sign_queue(&held.ticket);
                    let mut view = self.view(&held, Some(token), &snapshot);
                    self.note_told(&held.ticket, &view);
                    if fresh {
                        view.receipt = Some(self.tokens.receipt(&held.ticket));
                        if let Some(eta) = view.eta {
                            self.keeper.note_told(concert, held.ticket.number, eta);
                        }
                    }
                    return Ok((fresh, view));
                }
                Joined::Full => return Err(LineError::Full),
                Joined::SoldOut => return Err(LineError::SoldOut),
                Joined::NotOpen(SaleState::Draft) => return Err(LineError::NoConcert),
                Joined::NotOpen(SaleState::Scheduled) => return Err(LineError::NotOpen),
                Joined::NotOpen(_) => return Err(LineError::Closed),
                Joined::NumbersUsedUp => {
                    let concert = self.concert(concert).await?;
                    self.keeper.raise_once(&concert, asked_at_ms).await?;
                }
                Joined::NeedsBallotKey => {
                    self.keeper.seed(concert).await?;
                }
                Joined::Lost => self.open_line(concert).await?,
            }
        }
        Err(LineError::Recovering)
    }

    async fn status(&self, concert: ConcertId, user: UserId, token: Option<&str>) -> Result<PlaceView, LineError> {
        let shown = token.map(|token| self.shown(concert, user, token)).transpose()?;
        if let Some((ticket, token)) = shown.as_ref().zip(token) {
            if let Some(ms) = self.guard.too_early_ms(ticket.id, self.keeper.context.monotonic_ms()) {
                return Err(LineError::TooEarly(ms));
            }
            let snapshot = self.snapshot(concert).await?;
            if let Seen::Waiting(view) = self.glance(ticket, token, &snapshot) {
                self.note_told(ticket, &view);
                return Ok(*view);
            }
        }
        let held = self.find(concert, user, shown.as_ref(), Intent::Looks).await?;
        let snapshot = self.snapshot(concert).await?;
        // A token of an earlier life is good as it is, until the next loss; a new one saves the fan a look-up then.
        let token = token.map(|_| self.tokens.sign_queue(&held.ticket));
        Ok(self.view(&held, token, &snapshot))
    }

    async fn look(&self, concert: ConcertId, user: UserId, token: &str) -> Result<(QueueTicket, PlaceView), LineError> {
        let shown = self.shown(concert, user, token)?;
        let held = self.find(concert, user, Some(&shown), Intent::Looks).await?;
        let snapshot = self.snapshot(concert).await?;
        Ok((held.ticket, self.view(&held, Some(self.tokens.sign_queue(&held.ticket)), &snapshot)))
    }

    async fn leave(&self, concert: ConcertId, user: UserId, token: Option<&str>) -> Result<(), LineError> {
        if let Some(token) = token {
            let shown = self.shown(concert, user, token)?;
            self.find(concert, user, Some(&shown), Intent::Looks).await?;
        }
        for _ in 0..3 {
            match self.keeper.lines.leave(concert, user).await? {
                Ended::Nothing => return Err(LineError::NotInLine),
                Ended::Place => return Ok(()),
                Ended::PlaceAndAsks => {
                    self.free_slot(concert).await;
                    return Ok(());
                }
                Ended::Lost => self.open_line(concert).await?,
            }
        }
        Err(LineError::Recovering)
    }

    async fn follow(&self, concert: ConcertId, user: UserId, token: &str) -> Result<(PlaceView, Follower), LineError> {
        // Nothing is kept for a token that is not genuine.
        self.shown(concert, user, token)?;
        // Watch first, so that nothing between the look and the watching is missed.
        let news = self.keeper.snapshots.watch(concert);
        let (ticket, view) = self.look(concert, user, token).await?;
        let token = view.token.clone().unwrap_or_default();
        Ok((view, Follower { ticket, token, news }))
    }

    fn check(&self, concert: ConcertId, user: UserId, token: &str) -> Result<(), LineError> {
        self.shown(concert, user, token).map(|_| ())
    }

    fn glance(&self, ticket: &QueueTicket, token: &str, snapshot: &Snapshot) -> Seen {
        let known = ticket.life == snapshot.life
            || self.keeper.snapshots.is_back(ticket, snapshot.life)
            // While the store is away nobody's place changes.
            || !snapshot.reachable;
        if ticket.number > 0 && known && snapshot.certainly_waits(ticket.number) {
            let position = snapshot.position(ticket.number);
            Seen::Waiting(Box::new(self.waiting(ticket, Some(token.to_owned()), position, snapshot)))
        } else {
            Seen::Ask
        }
    }

    async fn overview(&self, concert: &Concert) -> Result<LineView, LineError> {
        if !concert.sale_state.is_public() {
            return Err(LineError::NoConcert);
        }
        let promoted_per_minute = i64::from(concert.policy.batch) * 60 / i64::from(concert.policy.interval_secs.max(1));
        let draw_commitment = self.keeper.commitment(concert).await?;
        let (line, stats) = if concert.sale_state == SaleState::Scheduled {
            let line = LineState {
                state: concert.sale_state,
                message: concert.message.clone(),
                sold_out: false,
                recovering_secs: None,
                returning: 0,
                stock: self.keeper.stock.at_hand(concert.id),
            };
            (line, LineStats::default())
        } else {
            let snapshot = self.snapshot(concert.id).await?;
            let line = Self::line_state(&snapshot, snapshot.stock.clone());
            (LineState { state: concert.sale_state, message: concert.message.clone(), ..line }, snapshot.stats)
        };
        Ok(LineView { line, stats, promoted_per_minute, draw_commitment })
    }

    async fn apply(&self, concert: &Concert) -> Result<Tended, LineError> {
        match concert.sale_state {
            SaleState::Draft | SaleState::Scheduled => Ok(Tended::default()),
            state => {
                if state == SaleState::PreQueue {
                    // The seed is committed to before anybody registers.
                    self.keeper.seed(concert.id).await?;
                }
                Ok(self.keeper.tick(concert).await?)
            }
        }
    }

    async fn admit(&self, actor: UserId, concert_id: ConcertId, count: i64) -> Result<i64, LineError> {
        if !(1..=100_000).contains(&count) {
            return Err(Faults::one("count", "must be 1 to 100000").into());
        }
        let concert = self.concert(concert_id).await?;
        match concert.sale_state {
            SaleState::Draft | SaleState::Scheduled | SaleState::PreQueue => return Err(LineError::NotOpen),
            SaleState::Closed => return Err(LineError::Closed),
            SaleState::OnSale | SaleState::Paused | SaleState::Draining => {}
        }
        // Noted first: an action that was done is in the log, whatever happens in between.
        let changes = vec![AuditChange { what: "count".to_owned(), from: None, to: count.to_string() }];
        self.keeper
            .database
            .note(&AuditEntry { actor, concert: concert_id, action: "admit".to_owned(), changes })
            .await?;
        Ok(self.keeper.tend(&concert, count).await?.promoted)
    }

    async fn forecast(&self, concert_id: ConcertId, policy: QueuePolicy) -> Result<Forecasting, LineError> {
        let then = policy.check()?;
        let concert = self.concert(concert_id).await?;
        if concert.sale_state == SaleState::Scheduled {
            let forecast = queue::forecast(&concert.policy, &then, 0, 0, 0, None);
            return Ok(Forecasting { waiting: 0, active: 0, forecast });
        }
        let snapshot = self.snapshot(concert_id).await?;
        let LineStats { waiting, active, .. } = snapshot.stats;
        let next_ms = snapshot.next_promotion_ms();
        let forecast = queue::forecast(&concert.policy, &then, waiting, active, next_ms, snapshot.pace);
        Ok(Forecasting { waiting, active, forecast })
    }
}
