//! The visit of one fan, from coming to going. What `loadtest/fan.js` does with k6, this does too, and event streams besides.

use std::{cell::Cell, rc::Rc, time::Duration};

use tokio::time::{Instant, sleep, sleep_until};

use super::{
    answers::{Place, State},
    ask::{Heard, Question},
    robot, turn,
    world::World,
};
use crate::load::scenario::{Journey, Kind};

/// Rude fans ask this often.
const RUDE_PAUSE: Duration = Duration::from_millis(200);

/// Who changes the mind or the device does so after so many milliseconds.
const MOMENT_MS: [u64; 2] = [1_000, 3_000];

/// The old device asks once no snapshot of the line can be that old.
const OLD_DEVICE_AFTER: Duration = Duration::from_secs(3);

/// Longest time that a turn takes; nobody gives up in it because of a refusal.
const TURN: Duration = Duration::from_mins(5);

/// A fan on the way.
#[derive(Clone)]
pub(super) struct Fan {
    pub(super) world: Rc<World>,
    pub(super) index: usize,
    pub(super) kind: Kind,
    pub(super) server: usize,
    /// End of the fan's patience.
    pub(super) until: Instant,
    /// The queue token.
    pub(super) token: String,
    /// Number of the place; 0 before there is one.
    pub(super) number: i64,
    /// The best position that was told.
    position: i64,
    /// What was heard last of the place.
    pub(super) place: Place,
    /// When to ask again.
    next: Instant,
    /// Whether something was sent that ends the place.
    ending: Rc<Cell<bool>>,
}

/// Why a fan joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Joining {
    First,
    /// After leaving: a new place at the back.
    Again,
    /// From another device: the same place, under another token.
    Moved,
    /// The turn lapsed: the same place, at the head.
    Lapsed,
}

/// How waiting for a turn has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waited {
    /// The turn came.
    Turn,
    /// The fan went away.
    Gone,
    /// The time is over for which it was to be waited.
    TimeIsOver,
}

/// Comes when it is time, and goes when patience ends, when the turn was used, or when something wrong was heard.
pub(super) async fn visit(world: Rc<World>, index: usize, due: Instant) {
    let mut fan = Fan::new(world, index, due);
    // What few fans do is kept apart, so that the many who wait are small.
    let mut is_in_line = if fan.kind == Kind::Robot {
        Box::pin(robot::try_without_place(&fan, due)).await;
        fan.join(Instant::now(), Joining::First).await
    } else {
        fan.join(due, Joining::First).await
    };
    if is_in_line && fan.place.state == State::Waiting {
        is_in_line = match fan.kind {
            Kind::Leaver => Box::pin(fan.leave_and_come_back()).await,
            Kind::Mover => Box::pin(fan.change_device()).await,
            _ => true,
        };
    }
    if !is_in_line {
        return;
    }
    if fan.follows() {
        Box::pin(fan.follow()).await;
    } else if fan.wait_for_turn(fan.until).await == Waited::Turn {
        Box::pin(fan.use_turn()).await;
    }
}

/// A time between two, in milliseconds.
pub(super) async fn pause(between_ms: [u64; 2]) {
    let [least, most] = between_ms;
    sleep(Duration::from_millis(rand::random_range(least..=most.max(least)))).await;
}

impl Fan {
    fn new(world: Rc<World>, index: usize, due: Instant) -> Self {
        let plan = &world.plan;
        let nowhere =
            Place { state: State::Waiting, number: 0, position: None, poll_after: Duration::ZERO, hopeless: false };
        Self {
            index,
            kind: plan.kinds.get(index).copied().unwrap_or(Kind::Polite),
            server: plan.server_of(index),
            until: due + Duration::from_secs(plan.scenario.patience_secs),
            token: String::new(),
            number: 0,
            position: i64::MAX,
            place: nowhere,
            next: due,
            ending: Rc::default(),
            world,
        }
    }

    pub(super) fn access(&self) -> &str {
        self.world.plan.access.get(self.index).map_or("", String::as_str)
    }

    /// Who it is, for people.
    pub(super) fn name(&self) -> String {
        format!("{:?} {}", self.kind, self.index)
    }

    /// Whether the fan listens to the event stream instead of asking.
    pub(super) fn follows(&self) -> bool {
        self.world.plan.scenario.journey == Journey::Follow && !matches!(self.kind, Kind::Rude | Kind::Robot)
    }

    /// Takes in how the place is now.
    pub(super) fn hear(&mut self, place: Place, new_token: Option<String>) {
        if place.number > 0 && place.number != self.number {
            self.number = place.number;
            self.world.succeed("join", self.index, place.number.to_string());
        }
        self.position = place.position.unwrap_or(i64::MAX);
        if let Some(token) = new_token {
            self.token = token;
        }
        self.next = Instant::now() + if self.kind == Kind::Rude { RUDE_PAUSE } else { place.poll_after };
        self.place = place;
    }

    /// What is wrong with a place that goes on, if anything: it keeps its number and only moves forward.
    pub(super) fn complaint(&self, place: &Place) -> Result<(), String> {
        if self.number > 0 && place.number != self.number {
            return Err(format!("number {} after {}", place.number, self.number));
        }
        match place.position {
            Some(position) if position > self.position => Err(format!("position {position} after {}", self.position)),
            _ => Ok(()),
        }
    }

    /// Joins. Answers whether the fan has a place.
    async fn join(&mut self, due: Instant, joining: Joining) -> bool {
        let with_token = [("queue-token", self.token.as_str())];
        let headers = if joining == Joining::Lapsed { with_token.as_slice() } else { &[] };
        let (right, unheard): (&[_], &[_]) = match joining {
            Joining::First | Joining::Again => (&["201", "sold_out"], &["200"]),
            Joining::Moved | Joining::Lapsed => (&["200"], &[]),
        };
        let request = self.post(&self.world.plan.paths.line, headers, None);
        let question = Question { step: "join", request, right, unheard };
        let joined = self.insist_from(due, &question, |answer, outcome| {
            if outcome == "sold_out" {
                return Ok(None);
            }
            let (place, token) = Place::read(answer.body(), &self.token)?;
            let is_drawn = place.state != State::PreQueue;
            let number = place.number;
            let fault = match joining {
                _ if self.token.is_empty() && token.is_none() => "it has no token".to_owned(),
                Joining::Again if is_drawn && number <= self.number => {
                    format!("number {number} is not behind {}", self.number)
                }
                Joining::Lapsed if place.state == State::Lapsed => "it is still lapsed".to_owned(),
                Joining::Moved | Joining::Lapsed if number != self.number => {
                    format!("number {number}, not {}", self.number)
                }
                Joining::Moved if is_drawn && token.is_none() => "the token is the old one".to_owned(),
                _ => return Ok(Some((place, token))),
            };
            Err(fault)
        });
        let Some(Some((place, token))) = joined.await else { return false };
        self.ending.set(false);
        self.hear(place, token);
        true
    }

    /// Asks again until there is a turn, patience ends, or `end` comes.
    pub(super) async fn wait_for_turn(&mut self, end: Instant) -> Waited {
        let right: &[&str] = if self.kind == Kind::Rude { &["200", "too_many_requests"] } else { &["200"] };
        loop {
            if self.place.state == State::Lapsed && !Box::pin(self.join(Instant::now(), Joining::Lapsed)).await {
                return Waited::Gone;
            }
            if self.place.state == State::Active {
                return Waited::Turn;
            }
            // What the fan did meanwhile may have taken longer than the time to the next poll.
            let due = self.next.max(Instant::now());
            if self.place.hopeless || due > self.until {
                return Waited::Gone;
            }
            if due > end {
                return Waited::TimeIsOver;
            }
            sleep_until(due).await;
            let headers = [("queue-token", self.token.as_str())];
            let request = self.get(&self.world.plan.paths.place, &headers);
            let question = Question { step: "poll", request, right, unheard: &[] };
            let heard = self.ask(&question, due, false, |answer, _| {
                if answer.status != 200 {
                    return Ok(None);
                }
                let (place, token) = Place::read(answer.body(), &self.token)?;
                self.complaint(&place)?;
                Ok(Some((place, token)))
            });
            match heard.await {
                Heard::Right(Some((place, token))) => {
                    self.hear(place, token);
                    if self.kind == Kind::Robot {
                        Box::pin(robot::try_before_turn(self)).await;
                    }
                }
                Heard::Later(_) | Heard::Right(None) if self.kind == Kind::Rude => {
                    self.next = Instant::now() + RUDE_PAUSE;
                }
                Heard::Later(pause) => self.next = Instant::now() + pause,
                Heard::Right(None) | Heard::Wrong => return Waited::Gone,
            }
        }
    }

    /// Gives the place or the turn up. Answers whether that was done.
    pub(super) async fn leave(&self) -> bool {
        self.ending.set(true);
        let headers = [("queue-token", self.token.as_str())];
        let request = super::wire::Request { method: "DELETE", ..self.get(&self.world.plan.paths.place, &headers) };
        let question = Question { step: "leave", request, right: &["204"], unheard: &["not_in_line"] };
        self.insist(&question, |_, _| Ok(())).await.is_some()
    }

    async fn leave_and_come_back(&mut self) -> bool {
        pause(MOMENT_MS).await;
        if !self.leave().await {
            return false;
        }
        pause(MOMENT_MS).await;
        self.join(Instant::now(), Joining::Again).await
    }

    /// Joins from another device, at the next server. Meanwhile the old one finds out.
    async fn change_device(&mut self) -> bool {
        pause(MOMENT_MS).await;
        let old = self.clone();
        let listening = if self.follows() { old.begin_to_follow().await } else { None };
        self.server = self.world.plan.server_of(self.index + 1);
        if !self.join(Instant::now(), Joining::Moved).await {
            return false;
        }
        // All devices of a ballot have the same token.
        if self.token != old.token {
            self.world.visits.spawn_local(async move {
                match listening {
                    Some(stream) => old.hear_of_move(stream).await,
                    None => old.ask_after_move().await,
                }
            });
        }
        true
    }

    /// The old device asks and hears that it is the old one.
    async fn ask_after_move(&self) {
        sleep(OLD_DEVICE_AFTER).await;
        let headers = [("queue-token", self.token.as_str())];
        let request = self.get(&self.world.plan.paths.place, &headers);
        let right = ["queue_token_moved", "not_in_line"];
        let question = Question { step: "poll", request, right: &right, unheard: &[] };
        self.insist(&question, |_, outcome| match outcome {
            "not_in_line" if !self.ending.get() => Err("the place is not over".to_owned()),
            _ => Ok(()),
        })
        .await;
    }

    async fn use_turn(&mut self) {
        if self.kind == Kind::NoShow {
            return;
        }
        self.until = Instant::now() + TURN;
        if self.kind == Kind::Robot {
            robot::try_stale_version(self).await;
            return;
        }
        match self.world.plan.scenario.journey {
            Journey::Wait | Journey::Follow => {}
            Journey::Look => turn::look(self).await,
            Journey::Buy => turn::buy(self, false).await,
            Journey::HotSeat => turn::buy(self, true).await,
        }
    }

    /// Notes that the place ends by what is sent next.
    pub(super) fn ends(&self) {
        self.ending.set(true);
    }

    /// Whether something was sent that ends the place.
    pub(super) fn is_ending(&self) -> bool {
        self.ending.get()
    }
}
