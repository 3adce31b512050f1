//! Joins, gathered: whatever came while the batch before was being committed is committed together, entered into the line's
//! store together, and then answered. So a place is on disk before its fan hears of it, at a fraction of the cost of one
//! commit per fan, and nobody waits for a timer.

use std::{collections::HashMap, sync::Arc};

use onsale_domain::{
    concert::SaleState,
    ids::{ConcertId, UserId},
};
use tokio::sync::oneshot;

use super::{
    keeper::{Keeper, LineDatabase},
    lane::{Answer, Lane},
    model::{Held, Joined, TokenClaims, Whereabouts},
    place::{Entrant, Entrants, Entry},
    ports::{Joiner, LineStore, Seeds, Taken},
};
use crate::{
    context::{Clock, Ids},
    error::StoreError,
};

/// Most joins committed together.
const MOST: usize = 256;
/// Most joins of one line that wait in this process; further ones are refused.
const MOST_WAITING: usize = 16_384;
/// How often a batch is tried when another process is in its way.
const TRIES: usize = 6;
/// Milliseconds for which the line's store is left alone after it did not answer: ticks tell it of the places meanwhile.
const LEFT_ALONE_MS: i64 = 500;

/// Who waits for an answer, by fan.
struct Answers(HashMap<UserId, Vec<Answer>>);

impl Answers {
    /// Tells a fan, who may have asked several times; `first` is the answer to the first of these requests.
    fn tell(&mut self, user: UserId, told: impl Fn(bool) -> Result<Joined, StoreError>) {
        for (index, answer) in self.0.remove(&user).into_iter().flatten().enumerate() {
            // Who hung up has the place all the same.
            let _ = answer.send(told(index == 0));
        }
    }

    /// The fan's requests stand first in the queue again.
    fn ask_again(&mut self, user: UserId, lane: &Lane) {
        let mut queue = lane.joins.lock();
        for answer in self.0.remove(&user).into_iter().flatten().rev() {
            queue.waiting.push_front((user, answer));
        }
    }
}

fn gives_numbers(taken: &HashMap<UserId, Taken>) -> bool {
    taken.values().any(|taken| matches!(taken, Taken::New(_)))
}

/// A place of a batch that is on disk.
struct Placed {
    new: bool,
    joiner: Joiner,
    number: i64,
    /// Where the fan is, as far as the database knows.
    recorded: Option<Whereabouts>,
}

/// Whoever takes batches; when it ends by a panic, who waits hears of it and the next join starts another one.
struct Driving {
    lane: Arc<Lane>,
    /// Whether the queue still takes this for its driver.
    armed: bool,
}

impl Drop for Driving {
    fn drop(&mut self) {
        if self.armed {
            let mut queue = self.lane.joins.lock();
            queue.driven = false;
            queue.waiting.clear();
        }
    }
}

impl<P: LineDatabase, L: LineStore, C: Clock + Ids + Seeds + Clone> Keeper<P, L, C> {
    /// Gives the fan a place that is on disk, the same one as long as it lives; a fan who has one takes it over.
    pub async fn join(self: &Arc<Self>, concert: ConcertId, user: UserId) -> Result<Joined, StoreError> {
        let (answer, heard) = oneshot::channel();
        let lane = self.lane(concert);
        let first = {
            let mut queue = lane.joins.lock();
            if queue.waiting.len() >= MOST_WAITING {
                return Err(StoreError::Unavailable("too many join at once".into()));
            }
            queue.waiting.push_back((user, answer));
            !std::mem::replace(&mut queue.driven, true)
        };
        if first {
            let keeper = Arc::clone(self);
            let driving = Driving { lane, armed: true };
            self.tasks.spawn(Box::pin(async move { keeper.take_batches(concert, driving).await }));
        }
        heard.await.unwrap_or_else(|_| Err(StoreError::Unavailable("the join was given up".into())))
    }

    async fn take_batches(self: Arc<Self>, concert: ConcertId, mut driving: Driving) {
        let lane = Arc::clone(&driving.lane);
        loop {
            let batch: Vec<_> = {
                let mut queue = lane.joins.lock();
                if queue.waiting.is_empty() {
                    (queue.driven, driving.armed) = (false, false);
                    return;
                }
                let many = queue.waiting.len().min(MOST);
                queue.waiting.drain(..many).collect()
            };
            self.join_batch(concert, &lane, batch).await;
        }
    }

    async fn join_batch(self: &Arc<Self>, concert: ConcertId, lane: &Lane, batch: Vec<(UserId, Answer)>) {
        // A batch has a fan once; who asked twice in it is answered twice.
        let mut answers = Answers(HashMap::with_capacity(batch.len()));
        let mut joiners = Vec::with_capacity(batch.len());
        for (user_id, answer) in batch {
            let asked = answers.0.entry(user_id).or_default();
            if asked.is_empty() {
                joiners.push(Joiner { user_id, id: self.context.new_id() });
            }
            asked.push(answer);
        }
        let taken = match self.take_places(concert, &joiners).await {
            Ok(taken) => taken,
            Err(error) => {
                for joiner in joiners {
                    answers.tell(joiner.user_id, |_| Err(error.shared()));
                }
                return;
            }
        };
        let gave_numbers = gives_numbers(&taken);
        let mut placed = Vec::with_capacity(joiners.len());
        for joiner in joiners {
            let Joiner { user_id, id } = joiner;
            let refused = match taken.get(&user_id) {
                Some(Taken::New(number)) => {
                    placed.push(Placed { new: true, joiner, number: *number, recorded: Some(Whereabouts::Waiting) });
                    continue;
                }
                Some(Taken::Known(number, stand)) => {
                    placed.push(Placed { new: false, joiner, number: *number, recorded: stand.whereabouts() });
                    continue;
                }
                Some(Taken::Ballot(new, ballot)) => {
                    let joiner = Joiner { user_id, id: if *new { id } else { *ballot } };
                    placed.push(Placed { new: *new, joiner, number: 0, recorded: Some(Whereabouts::PreQueue) });
                    continue;
                }
                Some(Taken::Full) => Ok(Joined::Full),
                Some(Taken::SoldOut) => Ok(Joined::SoldOut),
                Some(Taken::NotOpen(state)) => Ok(Joined::NotOpen(*state)),
                // Asked again with the next batch: numbers that are entered together were given out together.
                Some(Taken::Opening) | None if gave_numbers => {
                    answers.ask_again(user_id, lane);
                    continue;
                }
                Some(Taken::Opening) | None => Err(()),
            };
            let in_the_way = || StoreError::Unavailable("others are in the way of the join".into());
            answers.tell(user_id, |_| refused.map_err(|()| in_the_way()));
        }
        if !placed.is_empty() {
            self.enter_batch(concert, lane, placed, answers).await;
        }
    }

    /// Commits the batch, as often as others are in its way; once somebody has a new number, no further numbers are asked for.
    async fn take_places(&self, concert: ConcertId, joiners: &[Joiner]) -> Result<HashMap<UserId, Taken>, StoreError> {
        let mut done = HashMap::with_capacity(joiners.len());
        let mut pending = joiners.to_vec();
        for _ in 0..TRIES {
            let rows = match self.database.join(concert, &pending).await {
                // Another process gave one of these fans a place a moment ago.
                Err(StoreError::Conflict(_)) => continue,
                rows => rows?,
            };
            if rows.is_empty() {
                self.database.head(concert).await?;
            }
            let opens = rows.iter().any(|(_, taken)| *taken == Taken::Opening);
            let registers = rows.iter().any(|(_, taken)| *taken == Taken::NotOpen(SaleState::PreQueue));
            let said = |taken: &Taken| !matches!(taken, Taken::Opening | Taken::NotOpen(SaleState::PreQueue));
            done.extend(rows.into_iter().filter(|(_, taken)| said(taken)));
            pending.retain(|joiner| !done.contains_key(&joiner.user_id));
            if opens {
                self.database.open_draw(concert).await?;
            }
            if registers {
                let seed = self.seed(concert).await?;
                let ballots: Vec<_> = pending.iter().map(|joiner| (*joiner, seed.key(joiner.id))).collect();
                match self.database.register(concert, &ballots).await {
                    Err(StoreError::Conflict(_)) => continue,
                    // The line has opened meanwhile.
                    rows => done.extend(
                        rows?.into_iter().filter(|(_, taken)| matches!(taken, Taken::Ballot(..) | Taken::Full)),
                    ),
                }
                pending.retain(|joiner| !done.contains_key(&joiner.user_id));
            }
            if pending.is_empty() || gives_numbers(&done) {
                break;
            }
        }
        Ok(done)
    }

    /// Tells the line's store, and then the fans. While the store is away, or has to be loaded, it hears of the places by a tick:
    /// they are on disk.
    async fn enter_batch(self: &Arc<Self>, concert: ConcertId, lane: &Lane, placed: Vec<Placed>, mut answers: Answers) {
        let entered = self.enter(concert, lane, &placed).await;
        for (index, place) in placed.into_iter().enumerate() {
            let Joiner { user_id, id } = place.joiner;
            let claims = TokenClaims { concert_id: concert, user_id, number: place.number, id };
            let held = |first: bool, at: Whereabouts| Joined::Placed(place.new && first, Held { claims, at });
            answers.tell(user_id, |first| match &entered {
                Some(entered) => {
                    let at = entered.get(index).copied().flatten();
                    Ok(at.map_or(Joined::Over, |at| held(first, at)))
                }
                None => {
                    let at =
                        place.recorded.ok_or_else(|| StoreError::Unavailable("the line's store is away".into()))?;
                    Ok(held(first, at))
                }
            });
        }
    }

    async fn enter(
        self: &Arc<Self>,
        concert: ConcertId,
        lane: &Lane,
        placed: &[Placed],
    ) -> Option<Vec<Option<Whereabouts>>> {
        if lane.joins.lock().store_left_alone_until_ms > self.context.monotonic_ms() {
            return None;
        }
        let numbers = || placed.iter().filter(|place| place.new && place.number > 0).map(|place| place.number);
        let entrant = |place: &Placed| Entrant {
            user_id: place.joiner.user_id,
            number: place.number,
            token_id: Some(place.joiner.id),
            moved: !place.new,
        };
        let why = Entry::Joined(numbers().min().zip(numbers().max()));
        let entrants = Entrants { why, places: placed.iter().map(entrant).collect() };
        match self.lines.enter(concert, &entrants).await {
            Ok(Some(entered)) => Some(entered),
            Ok(None) => {
                self.load_soon(concert);
                None
            }
            Err(error) => {
                tracing::warn!(%error, concert_id = %concert, "the line's store does not hear of joins; they are on disk");
                let until = self.context.monotonic_ms() + LEFT_ALONE_MS;
                lane.joins.lock().store_left_alone_until_ms = until;
                None
            }
        }
    }
}
