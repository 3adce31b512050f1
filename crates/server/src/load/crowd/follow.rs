//! Fans who follow the event stream instead of asking. Each has a connection of its own.

use std::{borrow::Cow, time::Duration};

use serde::Deserialize;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{
    answers::{Place, State, read},
    ask::{Heard, Question},
    events::{Event, Events},
    fan::{Fan, Waited},
    http::{ANSWER_WITHIN, Incoming, NoAnswer, Opened},
};
use crate::load::recorded::{NO_ANSWER, Verdict};

/// A stream on which nothing comes for so long is dead: there is a comment each 5 s.
const SILENCE: Duration = Duration::from_secs(15);

/// A stream that ended without saying so is opened again after this (`retry`).
const OPEN_AGAIN_AFTER: Duration = Duration::from_secs(3);

/// The old device hears within this time that it is the old one.
const MOVED_WITHIN: Duration = Duration::from_secs(10);

/// Why a stream has ended.
#[derive(Debug, Deserialize)]
struct End<'a> {
    #[serde(borrow)]
    code: Cow<'a, str>,
}

/// How listening has ended.
enum Listened {
    /// Patience is over, or the server said that there will be no more.
    Done,
    /// Without a word.
    Broken,
}

/// An open stream.
pub(super) struct Stream {
    incoming: Incoming,
    events: Events,
}

impl Stream {
    /// The next event or comment; `None` at the end.
    async fn next(&mut self) -> Result<Option<Event>, NoAnswer> {
        loop {
            if let Some(event) = self.events.next() {
                return Ok(Some(event));
            }
            if !self.incoming.more(&mut self.events.input).await? {
                return Ok(None);
            }
        }
    }

    /// The same, but not later than that.
    async fn next_until(&mut self, end: Instant) -> Result<Option<Event>, NoAnswer> {
        timeout_at(end, self.next()).await.unwrap_or(Err(NoAnswer::TooLate))
    }
}

impl Fan {
    /// Follows until patience ends or the place does.
    pub(super) async fn follow(&mut self) {
        let (mut due, mut last_id) = (Instant::now(), None);
        while due < self.until {
            sleep_until(due).await;
            match self.open_stream(due, last_id.as_deref()).await {
                Heard::Right((mut stream, first)) => {
                    if self.hear_event(first, &mut last_id) {
                        return;
                    }
                    match self.listen(&mut stream, &mut last_id).await {
                        Listened::Done => return,
                        Listened::Broken => due = Instant::now() + OPEN_AGAIN_AFTER,
                    }
                }
                // Meanwhile the fan asks.
                Heard::Later(pause) => {
                    due = Instant::now() + pause;
                    if self.wait_for_turn(due).await == Waited::Gone {
                        return;
                    }
                }
                Heard::Wrong => return,
            }
        }
    }

    /// Opens a stream. It is open when the first event is there, or the word that there is nothing new.
    async fn open_stream(&self, due: Instant, last_id: Option<&str>) -> Heard<(Stream, Event)> {
        let from = self.world.measured_from(due, Instant::now());
        let all = [("queue-token", self.token.as_str()), ("last-event-id", last_id.unwrap_or_default())];
        let headers = all.get(..if last_id.is_some() { 2 } else { 1 }).unwrap_or_default();
        let request = self.get(&self.world.plan.paths.events, headers);
        let question = Question { step: "follow", request, right: &["200"], unheard: &[] };
        let number = self.world.next_stream();
        let begun = match self.world.http.open(self.server, &request, number).await {
            Ok(Opened::Stream(incoming)) => {
                let mut stream = Stream { incoming, events: Events::default() };
                match stream.next_until(Instant::now() + ANSWER_WITHIN).await {
                    Ok(Some(event)) => Ok((stream, event)),
                    Ok(None) => Err(Err(NoAnswer::Cut)),
                    Err(why) => Err(Err(why)),
                }
            }
            // It is no stream, so 200 is not among the right answers either.
            Ok(Opened::Answer(answer)) => Err(Ok(answer)),
            Err(why) => Err(Err(why)),
        };
        match begun {
            Ok(begun) => {
                self.world.add(question.step, "200", Verdict::Right, from, Instant::now());
                Heard::Right(begun)
            }
            Err(answer) => self.take(&question, from, false, answer, |_, _| Err("it is no stream".to_owned())),
        }
    }

    async fn listen(&mut self, stream: &mut Stream, last_id: &mut Option<String>) -> Listened {
        loop {
            let silent = Instant::now() + SILENCE;
            match stream.next_until(silent.min(self.until)).await {
                Ok(Some(event)) => {
                    if self.hear_event(event, last_id) {
                        return Listened::Done;
                    }
                }
                Err(NoAnswer::TooLate) if Instant::now() >= self.until => return Listened::Done,
                ended => {
                    let why = ended.err().map_or_else(|| "it just ended".to_owned(), |why| why.to_string());
                    self.fault(NO_ANSWER);
                    self.world.note(format!("a stream broke: {why}"));
                    return Listened::Broken;
                }
            }
        }
    }

    /// Notes what a stream did wrong after it was open.
    fn fault(&self, outcome: &str) {
        let now = Instant::now();
        self.world.add("follow", outcome, Verdict::Wrong, now, now);
    }

    /// Takes in an event. Answers whether it was the last one.
    fn hear_event(&mut self, event: Event, last_id: &mut Option<String>) -> bool {
        match event.name.as_str() {
            "" => self.world.event("comments"),
            "place" => {
                self.world.event("places");
                let heard = Place::read(event.data.as_bytes(), &self.token);
                match heard.and_then(|(place, token)| self.complaint(&place).map(|()| (place, token))) {
                    Ok((place, token)) => self.hear(place, token),
                    Err(fault) => {
                        self.fault("place");
                        self.world.wrong("follow", "place", &self.name(), &fault);
                    }
                }
                *last_id = event.id;
            }
            "end" => {
                self.world.event("ends");
                let code = code_of(&event);
                // A turn ends; somebody who waits is called first.
                let is_right = code == "not_in_line" && matches!(self.place.state, State::Active | State::Lapsed);
                if !is_right {
                    self.fault(&code);
                    self.world.wrong("follow", &code, &self.name(), &format!("the place was {:?}", self.place.state));
                }
                return true;
            }
            other => {
                self.fault("unknown_event");
                self.world.wrong("follow", "unknown_event", &self.name(), other);
            }
        }
        false
    }

    /// Opens a stream that somebody else will listen to.
    pub(super) async fn begin_to_follow(&self) -> Option<Stream> {
        match self.open_stream(Instant::now(), None).await {
            Heard::Right((stream, _)) => Some(stream),
            Heard::Later(_) | Heard::Wrong => None,
        }
    }

    /// The stream of the old device ends, and says why.
    pub(super) async fn hear_of_move(&self, mut stream: Stream) {
        let end = Instant::now() + MOVED_WITHIN;
        loop {
            match stream.next_until(end).await {
                Ok(Some(event)) if event.name == "end" => {
                    self.world.event("ends");
                    let code = code_of(&event);
                    if code != "queue_token_moved" && !(code == "not_in_line" && self.is_ending()) {
                        self.fault(&code);
                        self.world.wrong("follow", &code, &self.name(), "another device took the place over");
                    }
                    return;
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => {
                    self.fault("not_ended");
                    let text = "the stream of the old device did not end with queue_token_moved";
                    self.world.wrong("follow", "not_ended", &self.name(), text);
                    return;
                }
            }
        }
    }
}

fn code_of(event: &Event) -> String {
    read::<End<'_>>(event.data.as_bytes()).map_or_else(|_| "unreadable".to_owned(), |end| end.code.into_owned())
}
