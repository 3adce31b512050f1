//! A fan's place as a stream of server-sent events, from the same snapshots that answer polls.

use std::{convert::Infallible, rc::Rc, sync::Arc, time::Duration};

use actix_web::{HttpRequest, HttpResponse, get, post};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::stream;
use onsale_application::line::{ConcertStock, Follower, Line, LineError, LineState, PlaceState, PlaceView, Seen};
use onsale_domain::{
    concert::SaleState,
    ids::{ConcertId, UserId},
    queue::{Eta, Stock, odds},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use super::{ApiResult, instant, queue::QueuePlace};
use crate::{
    connections::Connection,
    extract::{Id, Query, QueueToken, SignedIn, State, identify},
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
/// How a stream begins: milliseconds after which one that broke is opened again.
const RETRY: &str = "retry: 3000\n";
/// The comment of a heartbeat.
const STILL_HERE: &str = ": still here\n\n";
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
    let line = &view.line;
    let recovering = if line.recovering { "-recovering" } else { "" };
    let sold_out = if line.sold_out { "-sold_out" } else { "" };
    // Which message, in a few letters.
    let message = match line.message.as_str() {
        "" => String::new(),
        message => format!("-{}", hex::encode(Sha256::digest(message).first_chunk::<4>().copied().unwrap_or_default())),
    };
    format!("{}-{}-{place}{recovering}{sold_out}{message}", view.number, line.state.as_str())
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

/// A whole stream, of a fan who leaves the line soon.
fn example() -> String {
    let total = Stock { available: 18_437, held: 420, sold: 31_143 };
    let (position, seats_per_fan) = (41_200, 4);
    let line = LineState {
        state: SaleState::OnSale,
        message: String::new(),
        sold_out: false,
        recovering: false,
        returning: 0,
        stock: Some(Arc::new(ConcertStock { total, seats_per_fan, ..ConcertStock::default() })),
    };
    let view = PlaceView {
        token: Some("AQGXl7qk".to_owned()),
        number: 43_300,
        place: PlaceState::Waiting { position },
        eta: Some(Eta { low_secs: 5_880, high_secs: 18_060 }),
        poll_after_ms: 31_700,
        line,
        odds: Some(odds(&total, position, seats_per_fan)),
    };
    let (first, last) = (event(&view), last_event(Code::NotInLine.as_str()));
    let (first, last) = (String::from_utf8_lossy(&first), String::from_utf8_lossy(&last));
    format!("{RETRY}{first}{STILL_HERE}{last}")
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
        match self.line.seen(&self.follower.claims, &self.follower.token, &snapshot) {
            Seen::There(view) => {
                self.shown = true;
                Ok(*view)
            }
            Seen::Ask => self.ask().await,
        }
    }

    async fn ask(&mut self) -> Result<PlaceView, LineError> {
        (self.shown, self.asked_at) = (false, Instant::now());
        let (claims, view) = self.line.followed_place(self.concert, self.user, &self.follower.token).await?;
        if let Some(token) = &view.token {
            (self.follower.claims, self.follower.token) = (claims, token.clone());
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
                _ = self.heartbeat.tick() => return Some(Bytes::from_static(STILL_HERE.as_bytes())),
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

/// How a page without headers says who it is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FollowQuery {
    pass: Option<String>,
}

/// A pass for one stream.
#[derive(Serialize, ToSchema)]
#[schema(as = StreamPass)]
pub struct StreamPassDto {
    /// For one stream; whoever has it follows the place, so it belongs into no log.
    #[schema(example = "AwGXl7qk")]
    pass: String,
    /// Until when the stream must be open.
    #[schema(example = "2027-03-01T09:00:30.412Z")]
    expires_at: DateTime<Utc>,
    /// What `EventSource` opens, on this server.
    #[schema(example = "/api/v1/concerts/01997b1e-7f1c-7a63-9d0c-0d6f0f4e6a55/queue/tokens/me/events?pass=AwGXl7qk")]
    url: String,
}

/// Get a pass for a stream
///
/// For browsers, whose `EventSource` cannot send headers: a pass for one stream of my place, good for 30 seconds. `url` is
/// what to open.
#[utoipa::path(operation_id = "createStreamPass", params(("id" = Uuid, Path, description = "Concert")),
    responses((status = 201, description = "The pass", body = StreamPassDto)))]
#[post("/concerts/{id}/queue/tokens/me/stream-passes")]
pub(crate) async fn create_pass(user: SignedIn, state: State, id: Id, token: QueueToken) -> ApiResult {
    let token = token.0.ok_or_else(|| ApiError::new(Code::QueueTokenRequired))?;
    let (pass, expires_at) = state.facades.line.stream_pass(ConcertId(id.0), user.0, &token)?;
    let url = format!("/api/v1/concerts/{}/queue/tokens/me/events?pass={pass}", id.0);
    let body = StreamPassDto { pass, expires_at: instant(expires_at), url };
    Ok(HttpResponse::Created().insert_header(("Cache-Control", "no-store")).json(body))
}

/// Follow my place as a stream (not on this page)
///
/// A stream does not end by itself, so this page cannot show it: use `curl --no-buffer`, or `EventSource` with a pass.
/// An event `place` has what `readMyPlace` answers, whenever it changes; near the head (2,000) at every change, farther
/// back every 5 s; a turn that begins, lapses or ends within a second or two. Following is looking: it changes nothing.
/// `Last-Event-ID` saves a repeated first event, a comment every 5 s keeps the stream alive, and an event `end` with a
/// `code` says why there will be no more: `not_in_line`, `queue_token_moved`, `not_found`, or `stream_replaced` when
/// the fan opened more than three.
#[utoipa::path(operation_id = "followMyPlace", params(("id" = Uuid, Path, description = "Concert"),
        ("Last-Event-ID" = Option<String>, Header, description = "Id of the event that was heard last.")),
    responses((status = 200, description = "The stream", body = String, content_type = "text/event-stream", example = example)))]
#[get("/concerts/{id}/queue/tokens/me/events")]
pub(crate) async fn follow(
    request: HttpRequest,
    state: State,
    id: Id,
    query: Query<FollowQuery>,
    token: QueueToken,
) -> ApiResult {
    let (line, concert) = (state.facades.line.clone(), ConcertId(id.0));
    let room = || state.streams.permit().ok_or_else(|| ApiError::new(Code::TooManyStreams));
    let (user, token, permit) = match query.0.pass {
        Some(pass) => {
            // A pass is not used up for nothing.
            let permit = room()?;
            let (user, token) = line.use_stream_pass(concert, &pass).await?;
            state.check_user_rate(user)?;
            (user, token, permit)
        }
        None => {
            let user = identify(&request)?.user_id;
            let token = token.0.ok_or_else(|| ApiError::new(Code::QueueTokenRequired))?;
            // Nothing is kept for a token that is not genuine.
            line.check(concert, user, &token)?;
            (user, token, room()?)
        }
    };
    let (view, follower) = line.follow(concert, user, &token).await?;
    // Only a stream that is good takes the place of another.
    let open = state.streams.open(user, permit);
    let known = request.headers().get("last-event-id").and_then(|value| value.to_str().ok());
    let first = if known == Some(id_of(&view).as_str()) {
        format!("{RETRY}: nothing new\n\n").into()
    } else {
        let mut bytes = RETRY.as_bytes().to_vec();
        bytes.extend(event(&view));
        bytes.into()
    };
    let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let stream = Stream {
        line,
        concert,
        user,
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
