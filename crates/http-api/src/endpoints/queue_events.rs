//! A fan's place as a stream of server-sent events, from the same snapshots that answer polls.

use std::{convert::Infallible, rc::Rc, sync::Arc, time::Duration};

use actix_web::{HttpRequest, HttpResponse, get};
use bytes::Bytes;
use futures_util::stream;
use onsale_application::line::{Follower, Line, LineError, PlaceState, PlaceView, Seen};
use onsale_domain::{
    concert::SaleState,
    ids::{ConcertId, UserId},
};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{ApiResult, queue::QueuePlace};
use crate::{
    connections::Connection,
    extract::{Id, QueueToken, SignedIn, State},
    problem::{ApiError, Code},
    streams::OpenStream,
};

/// A comment is sent this often, so that nobody between takes the stream for dead, and so that the server finds out soon
/// when nobody listens any more.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Fans who are farther back than this hear of a new position less often.
const NEAR: i64 = 2_000;
/// How often they do.
const FAR_EVERY: Duration = Duration::from_secs(5);
/// How often the store is asked about a fan whose place no snapshot shows: active, lapsed, or back at the head.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// What the last event says when a newer stream of the fan took this one's place.
const REPLACED: &str = "stream_replaced";

/// One open stream.
struct Stream {
    line: Arc<dyn Line>,
    concert: ConcertId,
    user: UserId,
    follower: Follower,
    heartbeat: tokio::time::Interval,
    /// What the fan heard last.
    told: PlaceView,
    told_at: Instant,
    asked_at: Instant,
    /// Whether the newest snapshot shows the fan's place.
    shown: bool,
    /// Whether there is a new position that a fan far back has not heard of yet.
    owed: bool,
    first: Option<Bytes>,
    over: bool,
    stopping: CancellationToken,
    open: OpenStream,
}

/// Names what the fan sees, for `Last-Event-ID`.
fn id_of(view: &PlaceView) -> String {
    let place = match view.place {
        PlaceState::PreQueue => "registered".to_owned(),
        PlaceState::Waiting { position } => position.to_string(),
        PlaceState::Active { expires_at } => format!("active-{}", expires_at.timestamp()),
        PlaceState::Lapsed { until } => format!("lapsed-{}", until.timestamp()),
    };
    let recovering = if view.line.recovering { "-recovering" } else { "" };
    format!("{}-{}-{place}{recovering}", view.number, view.line.state.as_str())
}

fn event(view: &PlaceView) -> Bytes {
    // These are plain structs, which always serialise.
    let data = serde_json::to_string(&QueuePlace::from(view.clone())).unwrap_or_default();
    format!("id: {}\nevent: place\ndata: {data}\n\n", id_of(view)).into()
}

/// The last event: why there will be no more.
fn ending(error: &LineError) -> Option<Bytes> {
    let code = match error {
        LineError::NotInLine => Code::NotInLine,
        LineError::TokenMoved => Code::QueueTokenMoved,
        LineError::NoConcert => Code::NotFound,
        _ => return None,
    };
    Some(last_event(code.as_str()))
}

fn last_event(code: &str) -> Bytes {
    format!("event: end\ndata: {{\"code\":\"{code}\"}}\n\n").into()
}

impl Stream {
    /// Whether there is something that the fan must hear now.
    fn is_news(&self, view: &PlaceView) -> bool {
        let (told, line) = (&self.told, &view.line);
        let else_changed = told.line.state != line.state
            || told.line.message != line.message
            || told.line.sold_out != line.sold_out
            || told.line.recovering != line.recovering
            || told.number != view.number;
        match (told.place, view.place) {
            (PlaceState::Waiting { position: before }, PlaceState::Waiting { position }) => {
                let due = position <= NEAR || self.told_at.elapsed() >= FAR_EVERY;
                else_changed || (position != before && due)
            }
            (before, now) => else_changed || before != now,
        }
    }

    /// Looks at the newest snapshot, and at the store only when it says that something has happened to this fan.
    async fn look(&mut self) -> Result<PlaceView, LineError> {
        let snapshot = self.follower.news.borrow_and_update().clone();
        self.asked_at = Instant::now();
        let Some(snapshot) = snapshot else { return Ok(self.told.clone()) };
        if self.told.place == PlaceState::PreQueue && snapshot.state == SaleState::PreQueue {
            self.shown = true;
            return Ok(self.told.clone());
        }
        match self.line.glance(&self.follower.ticket, &self.follower.token, &snapshot) {
            Seen::Waiting(view) => {
                self.shown = true;
                Ok(*view)
            }
            Seen::Ask => self.ask().await,
        }
    }

    async fn ask(&mut self) -> Result<PlaceView, LineError> {
        (self.shown, self.asked_at) = (false, Instant::now());
        let (ticket, view) = self.line.look(self.concert, self.user, &self.follower.token).await?;
        if let Some(token) = &view.token {
            (self.follower.ticket, self.follower.token) = (ticket, token.clone());
        }
        Ok(view)
    }

    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        if self.over {
            return None;
        }
        loop {
            // What becomes of a turn, no snapshot shows.
            let has_turn = matches!(self.told.place, PlaceState::Active { .. } | PlaceState::Lapsed { .. });
            let seen = tokio::select! {
                () = self.stopping.cancelled() => return None,
                () = self.open.replaced.cancelled() => {
                    self.over = true;
                    return Some(last_event(REPLACED));
                }
                _ = self.heartbeat.tick() => return Some(Bytes::from_static(b": still here\n\n")),
                changed = self.follower.news.changed(), if !has_turn => {
                    if changed.is_err() {
                        return None;
                    }
                    self.look().await
                }
                () = sleep_until(self.told_at + FAR_EVERY), if self.owed => self.look().await,
                () = sleep_until(self.asked_at + ASK_EVERY), if has_turn => self.ask().await,
                () = sleep_until(self.asked_at + ASK_EVERY), if !has_turn && !self.shown => self.look().await,
            };
            match seen {
                Ok(view) if self.is_news(&view) => {
                    let bytes = event(&view);
                    (self.told, self.told_at, self.owed) = (view, Instant::now(), false);
                    return Some(bytes);
                }
                Ok(view) => self.owed = view.place != self.told.place,
                Err(error) => {
                    if let Some(last) = ending(&error) {
                        self.over = true;
                        return Some(last);
                    }
                    tracing::debug!(%error, "a follower looks again at the next snapshot");
                }
            }
        }
    }
}

/// Follow my place: an event `place` with what `GET .../tokens/me` answers, whenever it changes; near the head (2,000) at
/// every change, farther back every 5 s; a turn that begins, lapses or ends within a second or two. Following is looking: it
/// changes nothing. `Last-Event-ID` saves a repeated first event, a comment every 5 s keeps the stream alive, and an event
/// `end` with a `code` says why there will be no more: `not_in_line`, `queue_token_moved`, `not_found`, or `stream_replaced`
/// when the fan opened more than three.
#[utoipa::path(tag = "Queue", operation_id = "followMyPlace", params(("id" = Uuid, Path, description = "Concert"),
        ("Last-Event-ID" = Option<String>, Header, description = "Id of the event that was heard last.")),
    responses((status = 200, description = "The stream", body = String, content_type = "text/event-stream")))]
#[get("/concerts/{id}/queue/tokens/me/events")]
pub(crate) async fn follow(request: HttpRequest, user: SignedIn, state: State, id: Id, token: QueueToken) -> ApiResult {
    let token = token.0.ok_or_else(|| ApiError::new(Code::QueueTokenRequired))?;
    let (line, concert) = (state.facades.line.clone(), ConcertId(id.0));
    // Nothing is kept for a token that is not genuine.
    line.check(concert, user.0, &token)?;
    let permit = state.streams.permit().ok_or_else(|| ApiError::new(Code::TooManyStreams))?;
    let (view, follower) = line.follow(concert, user.0, &token).await?;
    // Only a stream that is good takes the place of another.
    let open = state.streams.open(user.0, permit);
    let known = request.headers().get("last-event-id").and_then(|value| value.to_str().ok());
    let first = if known == Some(id_of(&view).as_str()) {
        Bytes::from_static(b"retry: 3000\n: nothing new\n\n")
    } else {
        let mut bytes = b"retry: 3000\n".to_vec();
        bytes.extend(event(&view));
        bytes.into()
    };
    let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let stream = Stream {
        line,
        concert,
        user: user.0,
        follower,
        heartbeat,
        told: view,
        told_at: Instant::now(),
        asked_at: Instant::now(),
        shown: false,
        owed: false,
        first: Some(first),
        over: false,
        stopping: state.stopping.clone(),
        open,
    };
    let events = stream::unfold(stream, |mut stream| async move {
        let bytes = stream.next().await?;
        Some((Ok::<_, Infallible>(bytes), stream))
    });
    // Nothing comes after the stream.
    if let Some(connection) = request.conn_data::<Rc<Connection>>() {
        connection.ends_with_its_answer();
    }
    Ok(HttpResponse::Ok()
        .force_close()
        .content_type("text/event-stream")
        .insert_header(("Cache-Control", "no-store"))
        .insert_header(("X-Accel-Buffering", "no"))
        .streaming(events))
}
