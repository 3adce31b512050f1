//! What fans and operators ask of a line.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use onsale_domain::{
    concert::SaleState,
    fault::Faults,
    ids::{ConcertId, UserId},
    plan::{self, LineNow},
    queue::{self, QueuePolicy, odds},
};
use tokio::sync::oneshot;

use super::{
    guard::PollGuard,
    keeper::{Keeper, LineDatabase, Ticked},
    model::{
        Ended, Found, Held, Intent, Joined, LineStats, STREAM_PASS_SECS, Snapshot, StreamPass, TokenClaims, Whereabouts,
    },
    place::{Entrant, Entrants, Entry},
    ports::{Left, LineStore, QueueTokens, Receipts, Seeds},
    records::{self, LineReport},
    stock::ConcertStock,
    views::{Admitted, Follower, Forecasting, LineError, LineState, LineView, PlaceState, PlaceView, Seen, WhyFewer},
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
    async fn place(&self, concert: ConcertId, user: UserId, token: Option<&str>) -> Result<PlaceView, LineError>;
    /// The same for a follower, who is told rather than asks: never too early.
    async fn followed_place(
        &self,
        concert: ConcertId,
        user: UserId,
        token: &str,
    ) -> Result<(TokenClaims, PlaceView), LineError>;
    /// Leaves the line, or ends the turn.
    async fn leave(&self, concert: ConcertId, user: UserId, token: Option<&str>) -> Result<(), LineError>;
    /// Signed proof of the fan's newest place or ballot, also of one that is over.
    async fn receipt(&self, concert: ConcertId, user: UserId) -> Result<String, LineError>;
    /// Follows the fan's place.
    async fn follow(&self, concert: ConcertId, user: UserId, token: &str) -> Result<(PlaceView, Follower), LineError>;
    /// Whether the token is genuine, this fan's and this concert's. Touches no store.
    fn check(&self, concert: ConcertId, user: UserId, token: &str) -> Result<(), LineError>;
    /// A pass for one stream of the fan's place, and when it ends.
    fn stream_pass(&self, concert: ConcertId, user: UserId, token: &str) -> Result<(String, DateTime<Utc>), LineError>;
    /// The fan and the token that a pass stands for. It is used up then.
    async fn use_stream_pass(&self, concert: ConcertId, pass: &str) -> Result<(UserId, String), LineError>;
    /// What a follower sees in a snapshot. Touches no store.
    fn seen(&self, claims: &TokenClaims, token: &str, snapshot: &Snapshot) -> Seen;
    /// What everybody may know of a concert's line. From memory, but for the snapshot when it is old.
    async fn overview(&self, concert: &Concert) -> Result<LineView, LineError>;
    /// Makes new settings take effect now rather than at the next tick.
    async fn apply(&self, concert: &Concert) -> Result<Ticked, LineError>;
    /// Calls `count` fans now, within the limit.
    async fn admit(&self, actor: UserId, concert: ConcertId, count: i64) -> Result<Admitted, LineError>;
    /// What other settings would do to those who wait or are registered, or to `fans`; also of a draft. Changes nothing.
    async fn forecast(
        &self,
        concert: ConcertId,
        policy: QueuePolicy,
        fans: Option<i64>,
    ) -> Result<Forecasting, LineError>;
    /// Whether the line was fair; of a concert in any stage.
    async fn report(&self, concert: ConcertId) -> Result<LineReport, LineError>;
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

impl<P: LineDatabase, L: LineStore, T: QueueTokens + Receipts, C: Clock + Ids + Seeds + Clone> LineFacade<P, L, T, C> {
    async fn concert(&self, id: ConcertId) -> Result<Concert, LineError> {
        let now = self.keeper.context.now();
        let concert = self.keeper.database.concert(id, now).await?.ok_or(LineError::NoConcert)?;
        if concert.sale_state.is_public() { Ok(concert) } else { Err(LineError::NoConcert) }
    }

    async fn open_line(&self, id: ConcertId) -> Result<(), LineError> {
        let concert = self.concert(id).await?;
        match concert.sale_state {
            SaleState::Draft => Err(LineError::NoConcert),
            SaleState::Scheduled => Err(LineError::NotOpen),
            _ => Ok(self.keeper.load(&concert).await?),
        }
    }

    fn shown(&self, concert: ConcertId, user: UserId, token: &str) -> Result<TokenClaims, LineError> {
        self.tokens
            .verify_queue(token)
            .filter(|claims| claims.user_id == user && claims.concert_id == concert)
            .ok_or(LineError::TokenInvalid)
    }

    /// The fan's place by the store; `shown` is what the token that the fan shows says.
    async fn find(
        &self,
        concert: ConcertId,
        user: UserId,
        shown: Option<&TokenClaims>,
        intent: Intent,
    ) -> Result<Held, LineError> {
        let mut opened = false;
        for _ in 0..4 {
            match self.keeper.lines.place(concert, user, shown, intent).await? {
                Found::Here(held) if held.at == Whereabouts::Called && !opened => {
                    opened = true;
                    self.open_calls(concert).await;
                }
                Found::Here(held) => return Ok(held),
                Found::Nowhere { entered } if shown.is_some_and(|shown| shown.is_within(entered)) => {
                    return Err(LineError::NotInLine);
                }
                Found::Moved | Found::Nowhere { .. } => return self.find_on_disk(concert, user, shown, intent).await,
                Found::Lost => self.open_line(concert).await?,
            }
        }
        Err(LineError::Recovering)
    }

    /// The fan's place by the database, for which the store is behind: it hears of the place, and says where the fan is.
    pub(super) async fn find_on_disk(
        &self,
        concert: ConcertId,
        user: UserId,
        shown: Option<&TokenClaims>,
        intent: Intent,
    ) -> Result<Held, LineError> {
        let place = self.keeper.database.place_of(concert, user, false).await?.ok_or(LineError::NotInLine)?;
        if shown.is_some_and(|shown| shown.id != place.token_id) {
            let moved = shown.is_some_and(|shown| place.had(shown));
            return Err(if moved { LineError::TokenMoved } else { LineError::NotInLine });
        }
        let entrants = Entrants { why: Entry::Asked(intent), places: vec![Entrant::from(&place)] };
        let entered = self.keeper.lines.enter(concert, &entrants).await?.ok_or(LineError::Recovering)?;
        let at = entered.first().copied().flatten().ok_or(LineError::NotInLine)?;
        Ok(Held { claims: place.claims(concert), at })
    }

    /// The store has lost a place that the database has, after everything that the store knew was written down. This should not
    /// happen; if it does, nobody stays shut out.
    async fn find_lost(&self, concert: ConcertId, user: UserId) -> Result<(), LineError> {
        self.keeper.write_news_together(&self.concert(concert).await?).await?;
        let Some(place) = self.keeper.database.place_of(concert, user, false).await? else { return Ok(()) };
        tracing::error!(concert_id = %concert, number = place.number, "the line's store had lost a place; it is back");
        let entrants = Entrants { why: Entry::Lost, places: vec![Entrant::from(&place)] };
        self.keeper.lines.enter(concert, &entrants).await?;
        Ok(())
    }

    /// A turn was given up: its slot is judged and its end written down now rather than at the next tick; when that fails,
    /// the tick does it.
    async fn free_slot(&self, id: ConcertId) {
        if let Err(error) = self.keeper.sweep_soon(id).await {
            tracing::warn!(%error, concert_id = %id, "a slot comes free at the next tick");
        }
        self.open_calls(id).await;
    }

    /// Who is called becomes active now rather than at the next tick; when that fails, the tick does it.
    async fn open_calls(&self, id: ConcertId) {
        let opened = match self.concert(id).await {
            Ok(concert) => self.keeper.write_news_together(&concert).await.map_err(LineError::Store),
            Err(error) => Err(error),
        };
        if let Err(error) = opened {
            tracing::warn!(%error, concert_id = %id, "called fans become active at the next tick");
        }
    }

    fn line_state(snapshot: &Snapshot, stock: Option<Arc<ConcertStock>>) -> LineState {
        LineState {
            state: snapshot.state,
            message: snapshot.message.clone(),
            sold_out: snapshot.sold_out,
            recovering: !snapshot.reachable,
            returning: snapshot.stats.returning,
            stock,
        }
    }

    /// What a waiting fan is told.
    fn waiting(&self, claims: &TokenClaims, token: Option<String>, position: i64, snapshot: &Snapshot) -> PlaceView {
        let estimate = queue::eta(&snapshot.policy, position, snapshot.next_promotion_ms(), snapshot.pace);
        let moves = snapshot.state.promotes() && !snapshot.sold_out && snapshot.reachable;
        let poll_after_ms = queue::poll_after_ms(&snapshot.policy, estimate, self.tokens.jitter());
        let stock = snapshot.stock.clone();
        PlaceView {
            token,
            number: claims.number,
            place: PlaceState::Waiting { position },
            eta: moves.then_some(estimate),
            poll_after_ms,
            odds: stock
                .as_ref()
                .filter(|_| snapshot.state != SaleState::Closed)
                .map(|stock| odds(&stock.total, position, stock.seats_per_fan)),
            line: Self::line_state(snapshot, stock),
        }
    }

    /// What a snapshot alone shows of a fan who waits in line.
    fn shown_waiting(&self, claims: &TokenClaims, token: &str, snapshot: &Snapshot) -> Option<PlaceView> {
        if claims.number == 0 || !snapshot.certainly_waits(claims.number) {
            return None;
        }
        Some(self.waiting(claims, Some(token.to_owned()), snapshot.position(claims.number), snapshot))
    }

    fn view(&self, held: &Held, token: Option<String>, snapshot: &Snapshot) -> PlaceView {
        let claims = &held.claims;
        let place = match held.at {
            Whereabouts::Waiting | Whereabouts::Called => {
                return self.waiting(claims, token, snapshot.position(claims.number), snapshot);
            }
            Whereabouts::Back { ahead } => return self.waiting(claims, token, ahead + 1, snapshot),
            Whereabouts::PreQueue => PlaceState::PreQueue,
            Whereabouts::Active { expires_at } => PlaceState::Active { expires_at },
            Whereabouts::Lapsed { until } => PlaceState::Lapsed { until },
        };
        Self::calm(claims, token, place, snapshot)
    }

    /// What a fan is told who does not wait in line.
    fn calm(claims: &TokenClaims, token: Option<String>, place: PlaceState, snapshot: &Snapshot) -> PlaceView {
        PlaceView {
            token,
            number: claims.number,
            place,
            eta: None,
            poll_after_ms: queue::calm_poll_after_ms(&snapshot.policy),
            line: Self::line_state(snapshot, snapshot.stock.clone()),
            odds: None,
        }
    }

    /// Polls that come much earlier than told are refused from here on.
    fn note_told(&self, claims: &TokenClaims, view: &PlaceView) {
        if matches!(view.place, PlaceState::Waiting { .. }) {
            self.guard.told(claims.id, self.keeper.context.monotonic_ms(), view.poll_after_ms);
        }
    }

    /// The line as it was a moment ago; while its store is away, as it was last or as the database knows it.
    async fn snapshot(&self, concert: ConcertId) -> Result<Arc<Snapshot>, LineError> {
        match self.keeper.snapshots.fresh(concert).await {
            Ok(Some(snapshot)) => return Ok(snapshot),
            Ok(None) => match self.open_line(concert).await {
                Ok(()) => {
                    if let Some(snapshot) = self.keeper.snapshots.fresh(concert).await? {
                        return Ok(snapshot);
                    }
                }
                Err(LineError::Store(StoreError::Unavailable(_))) => {}
                Err(error) => return Err(error),
            },
            Err(StoreError::Unavailable(_)) => {}
            Err(error) => return Err(error.into()),
        }
        let concert = self.concert(concert).await?;
        if concert.sale_state == SaleState::Scheduled {
            return Err(LineError::NotOpen);
        }
        let head = self.keeper.database.head(concert.id).await?;
        Ok(self.keeper.snapshots.of_database(&concert, &head))
    }

    /// Nothing is kept for a line that there is not.
    async fn check_line(&self, id: ConcertId) -> Result<(), LineError> {
        if self.keeper.knows(id) {
            return Ok(());
        }
        match self.concert(id).await?.sale_state {
            SaleState::Scheduled => Err(LineError::NotOpen),
            _ => Ok(()),
        }
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
        self.check_line(concert).await?;
        // Who shows a token that holds has the place, whatever the line takes now.
        if let Some(shown) = shown {
            match self.find(concert, user, Some(&shown), Intent::ShowsUp).await {
                Ok(held) => {
                    let snapshot = self.snapshot(concert).await?;
                    return Ok((false, self.view(&held, Some(self.tokens.sign_queue(&held.claims)), &snapshot)));
                }
                // While the store is away the database answers, as for any other device of the fan.
                Err(
                    LineError::NotInLine
                    | LineError::TokenMoved
                    | LineError::Recovering
                    | LineError::Store(StoreError::Unavailable(_)),
                ) => {}
                Err(error) => return Err(error),
            }
        }
        for tried in 0..4 {
            match self.keeper.join(concert, user).await? {
                Joined::Placed(fresh, held) => {
                    let held = if held.at == Whereabouts::Called {
                        self.open_calls(concert).await;
                        self.find(concert, user, Some(&held.claims), Intent::ShowsUp).await.unwrap_or(held)
                    } else {
                        held
                    };
                    let snapshot = self.snapshot(concert).await?;
                    let token = self.tokens.sign_queue(&held.claims);
                    let view = self.view(&held, Some(token), &snapshot);
                    self.note_told(&held.claims, &view);
                    if let Some(eta) = view.eta.filter(|_| fresh) {
                        self.keeper.note_told(concert, held.claims.number, eta);
                    }
                    return Ok((fresh, view));
                }
                Joined::Over if tried < 2 => self.open_calls(concert).await,
                Joined::Over => self.find_lost(concert, user).await?,
                Joined::Full => return Err(LineError::Full),
                Joined::SoldOut => return Err(LineError::SoldOut),
                Joined::NotOpen(SaleState::Draft) => return Err(LineError::NoConcert),
                Joined::NotOpen(SaleState::Scheduled) => return Err(LineError::NotOpen),
                Joined::NotOpen(_) => return Err(LineError::Closed),
            }
        }
        Err(LineError::Recovering)
    }

    async fn place(&self, concert: ConcertId, user: UserId, token: Option<&str>) -> Result<PlaceView, LineError> {
        let shown = token.map(|token| self.shown(concert, user, token)).transpose()?;
        if let Some((claims, token)) = shown.as_ref().zip(token) {
            if let Some(ms) = self.guard.too_early_ms(claims.id, self.keeper.context.monotonic_ms()) {
                return Err(LineError::TooEarly(ms));
            }
            let snapshot = self.snapshot(concert).await?;
            if let Some(view) = self.shown_waiting(claims, token, &snapshot) {
                self.note_told(claims, &view);
                return Ok(view);
            }
        }
        let held = self.find(concert, user, shown.as_ref(), Intent::Looks).await?;
        let snapshot = self.snapshot(concert).await?;
        // A ballot's token gets the number that was drawn.
        let token = token.map(|_| self.tokens.sign_queue(&held.claims));
        Ok(self.view(&held, token, &snapshot))
    }

    async fn followed_place(
        &self,
        concert: ConcertId,
        user: UserId,
        token: &str,
    ) -> Result<(TokenClaims, PlaceView), LineError> {
        let shown = self.shown(concert, user, token)?;
        let held = self.find(concert, user, Some(&shown), Intent::Looks).await?;
        let snapshot = self.snapshot(concert).await?;
        Ok((held.claims, self.view(&held, Some(self.tokens.sign_queue(&held.claims)), &snapshot)))
    }

    async fn leave(&self, concert: ConcertId, user: UserId, token: Option<&str>) -> Result<(), LineError> {
        let shown = token.map(|token| self.shown(concert, user, token)).transpose()?;
        let number = match self.find(concert, user, shown.as_ref(), Intent::Looks).await {
            Ok(held) => {
                // What happened before stands before it in the log.
                self.open_calls(concert).await;
                Some(held.claims.number).filter(|number| *number > 0)
            }
            // The database knows as well.
            Err(LineError::Recovering | LineError::Store(StoreError::Unavailable(_))) => {
                let place = self.keeper.database.place_of(concert, user, false).await?.ok_or(LineError::NotInLine)?;
                match shown {
                    Some(shown) if place.had(&shown) => return Err(LineError::TokenMoved),
                    Some(shown) if shown.id != place.token_id => return Err(LineError::NotInLine),
                    _ => None,
                }
            }
            Err(error) => return Err(error),
        };
        let number = match self.keeper.database.leave(concert, user, number).await? {
            Left::Place(number) => number,
            Left::BeingDrawn => return Err(LineError::Recovering),
            Left::Nothing => {
                // Over in the database, which the store may not have heard.
                if let Ok(Ended::PlaceAndAsks) =
                    self.keeper.lines.leave(concert, user, number.unwrap_or_default()).await
                {
                    self.free_slot(concert).await;
                }
                return Err(LineError::NotInLine);
            }
        };
        // The place is over. A store that does not hear of it now calls nobody for it: the database refuses.
        match self.keeper.lines.leave(concert, user, number).await {
            Ok(Ended::PlaceAndAsks) => self.free_slot(concert).await,
            Ok(Ended::Nothing | Ended::Place) => {}
            Ok(Ended::Lost) => self.keeper.load_soon(concert),
            Err(error) => tracing::warn!(%error, concert_id = %concert, "the line's store did not hear who left"),
        }
        Ok(())
    }

    async fn receipt(&self, concert: ConcertId, user: UserId) -> Result<String, LineError> {
        self.concert(concert).await?;
        let place = self.keeper.database.place_of(concert, user, true).await?.ok_or(LineError::NotInLine)?;
        Ok(self.tokens.receipt(concert, &place))
    }

    async fn follow(&self, concert: ConcertId, user: UserId, token: &str) -> Result<(PlaceView, Follower), LineError> {
        // Nothing is kept for a token that is not genuine.
        self.shown(concert, user, token)?;
        // Watch first, so that nothing between the look and the watching is missed.
        let news = self.keeper.snapshots.watch(concert);
        let (claims, view) = self.followed_place(concert, user, token).await?;
        let token = view.token.clone().unwrap_or_default();
        Ok((view, Follower { claims, token, news }))
    }

    fn check(&self, concert: ConcertId, user: UserId, token: &str) -> Result<(), LineError> {
        self.shown(concert, user, token).map(|_| ())
    }

    fn stream_pass(&self, concert: ConcertId, user: UserId, token: &str) -> Result<(String, DateTime<Utc>), LineError> {
        let claims = self.shown(concert, user, token)?;
        let context = &self.keeper.context;
        let until = context.now() + TimeDelta::seconds(STREAM_PASS_SECS);
        let pass = StreamPass { claims, id: context.new_id(), until_ms: until.timestamp_millis() };
        Ok((self.tokens.sign_pass(&pass), until))
    }

    async fn use_stream_pass(&self, concert: ConcertId, pass: &str) -> Result<(UserId, String), LineError> {
        let now_ms = self.keeper.context.now().timestamp_millis();
        let StreamPass { claims, id, .. } = self
            .tokens
            .verify_pass(pass)
            .filter(|pass| pass.claims.concert_id == concert && pass.until_ms > now_ms)
            .ok_or(LineError::PassInvalid)?;
        // Longer than it is good for: the clocks of instances differ.
        if !self.keeper.lines.first_use(concert, id, 2 * STREAM_PASS_SECS).await? {
            return Err(LineError::PassInvalid);
        }
        Ok((claims.user_id, self.tokens.sign_queue(&claims)))
    }

    fn seen(&self, claims: &TokenClaims, token: &str, snapshot: &Snapshot) -> Seen {
        if let Some(view) = self.shown_waiting(claims, token, snapshot) {
            Seen::There(Box::new(view))
        } else if claims.number == 0 && snapshot.state == SaleState::PreQueue {
            Seen::There(Box::new(Self::calm(claims, Some(token.to_owned()), PlaceState::PreQueue, snapshot)))
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
                recovering: false,
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

    async fn apply(&self, concert: &Concert) -> Result<Ticked, LineError> {
        match concert.sale_state {
            SaleState::Draft | SaleState::Scheduled => Ok(Ticked::default()),
            state => {
                if state == SaleState::PreQueue {
                    // The seed is committed to before anybody registers.
                    self.keeper.seed(concert.id).await?;
                }
                Ok(self.keeper.tick(concert).await?)
            }
        }
    }

    async fn admit(&self, actor: UserId, concert_id: ConcertId, count: i64) -> Result<Admitted, LineError> {
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
        let Ticked { promoted, last, .. } = self.keeper.tick_and_admit(&concert, count).await?;
        let sold_out = self.keeper.stock.at_hand(concert_id).is_some_and(|stock| stock.total.is_sold_out());
        let why_fewer = (promoted < count).then_some(match last {
            _ if last.waiting == 0 => WhyFewer::NobodyWaits,
            _ if last.active >= last.limit => WhyFewer::LimitReached,
            _ if sold_out => WhyFewer::SoldOut,
            _ => WhyFewer::NotYet,
        });
        Ok(Admitted { count: promoted, why_fewer })
    }

    async fn forecast(
        &self,
        concert_id: ConcertId,
        policy: QueuePolicy,
        fans: Option<i64>,
    ) -> Result<Forecasting, LineError> {
        let then = policy.check()?;
        let now = self.keeper.context.now();
        let concert = self.keeper.database.concert(concert_id, now).await?.ok_or(LineError::NoConcert)?;
        let mut line = LineNow { waiting: 0, active: 0, next_promotion_ms: 0, pace: None };
        if !matches!(concert.sale_state, SaleState::Draft | SaleState::Scheduled) {
            let snapshot = self.snapshot(concert_id).await?;
            let LineStats { waiting, registered, active, .. } = snapshot.stats;
            line = LineNow { waiting: waiting + registered, active, pace: snapshot.pace, ..line };
            // A pre-queue moves as soon as it opens.
            if concert.sale_state != SaleState::PreQueue {
                line.next_promotion_ms = snapshot.next_promotion_ms();
            }
        }
        line.waiting = fans.unwrap_or(line.waiting);
        let unfinished = || StoreError::Unavailable("the dry run was not finished".into());
        let one_of_few = Arc::clone(&self.keeper.forecasts).acquire_owned().await.map_err(|_| unfinished())?;
        let (tell, told) = oneshot::channel();
        self.keeper.tasks.compute(Box::new(move || {
            drop(tell.send(plan::forecast(&concert.policy, &then, &line)));
            drop(one_of_few);
        }));
        let forecast = told.await.map_err(|_| unfinished())?;
        Ok(Forecasting { waiting: line.waiting, active: line.active, forecast })
    }

    async fn report(&self, concert: ConcertId) -> Result<LineReport, LineError> {
        let database = &*self.keeper.database;
        database.concert(concert, self.keeper.context.now()).await?.ok_or(LineError::NoConcert)?;
        Ok(records::report(database, concert).await?)
    }
}
