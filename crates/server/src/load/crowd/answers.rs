//! What fans read from answers, and what answers are to them.

use std::{borrow::Cow, time::Duration};

use serde::Deserialize;
use uuid::Uuid;

use super::http::Answer;
use crate::load::recorded::Verdict;

/// What a place is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    PreQueue,
    Waiting,
    Active,
    Lapsed,
}

#[derive(Deserialize)]
struct ToldPlace<'a> {
    #[serde(borrow)]
    token: Option<Cow<'a, str>>,
    state: State,
    number: i64,
    position: Option<i64>,
    poll_after_ms: u64,
    #[serde(borrow)]
    sale_state: Cow<'a, str>,
    sold_out: bool,
}

/// A place in line as it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) state: State,
    pub(super) number: i64,
    /// 1 is the head; `None` unless waiting.
    pub(super) position: Option<i64>,
    /// When to ask again.
    pub(super) poll_after: Duration,
    /// Whether waiting is of no use: nothing is left, or the sale is over.
    pub(super) hopeless: bool,
}

impl Place {
    /// Reads it, and the token if it is another one than `token`.
    pub(super) fn read(body: &[u8], token: &str) -> Result<(Self, Option<String>), String> {
        let told: ToldPlace<'_> = read(body)?;
        if told.state == State::Waiting && told.position.is_none_or(|position| position < 1) {
            return Err(format!("whoever waits has a position, and the head reads 1: {}", text(body)));
        }
        if told.poll_after_ms == 0 {
            return Err(format!("it does not say when to ask again: {}", text(body)));
        }
        let new_token = told.token.filter(|told| told != token).map(Cow::into_owned);
        let place = Self {
            state: told.state,
            number: told.number,
            position: told.position,
            poll_after: Duration::from_millis(told.poll_after_ms),
            hopeless: told.sold_out || told.sale_state == "closed",
        };
        Ok((place, new_token))
    }
}

/// A seat as a list or a refusal tells it.
#[derive(Debug, Deserialize)]
pub(super) struct ToldSeat<'a> {
    pub(super) seat_id: Uuid,
    #[serde(borrow)]
    pub(super) state: Cow<'a, str>,
    pub(super) version: i32,
}

/// The seats of a show, or those that changed.
#[derive(Debug, Deserialize)]
pub(super) struct ToldSeats<'a> {
    #[serde(borrow)]
    pub(super) items: Vec<ToldSeat<'a>>,
}

/// What losing a seat answers besides the code.
#[derive(Debug, Deserialize)]
pub(super) struct ToldLoss<'a> {
    #[serde(borrow)]
    pub(super) seats: Vec<ToldSeat<'a>>,
}

/// Anything of which only the id matters.
#[derive(Debug, Deserialize)]
pub(super) struct ToldId {
    pub(super) id: Uuid,
}

/// What paying answers.
#[derive(Debug, Deserialize)]
pub(super) struct ToldPayment {
    pub(super) reservation_id: Uuid,
    pub(super) tickets: Vec<ToldId>,
}

/// A ticket.
#[derive(Debug, Deserialize)]
pub(super) struct ToldTicket<'a> {
    pub(super) reservation_id: Uuid,
    #[serde(borrow)]
    pub(super) state: Cow<'a, str>,
}

/// Reads a body, or says that it cannot be read.
pub(super) fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| format!("{error}: {}", text(body)))
}

/// The beginning of a body, for people, without the token that a place begins with: reports are read by others.
pub(super) fn text(body: &[u8]) -> String {
    const MOST: usize = 300;
    const TOKEN: &str = "\"token\":\"";
    let whole = String::from_utf8_lossy(body);
    let masked = whole.split_once(TOKEN).map(|(before, behind)| {
        let rest = behind.split_once('"').map_or("", |(_, rest)| rest);
        format!("{before}{TOKEN}...\"{rest}")
    });
    masked.as_deref().unwrap_or(&whole).chars().take(MOST).collect()
}

/// How a request ended: the status of a success, else the code of the problem.
pub(super) fn outcome(status: u16, body: &[u8]) -> Cow<'_, str> {
    #[derive(Deserialize)]
    struct Problem<'a> {
        #[serde(borrow)]
        code: Cow<'a, str>,
    }
    match status {
        200 => "200".into(),
        201 => "201".into(),
        204 => "204".into(),
        304 => "304".into(),
        _ => match serde_json::from_slice(body) {
            Ok(Problem { code }) if status >= 400 => code,
            _ => status.to_string().into(),
        },
    }
}

/// What an answer is to whoever expects these outcomes. Too many or too much is neither right nor wrong if the server says
/// when to come back.
pub(super) fn judge(answer: &Answer, outcome: &str, right: impl FnOnce(&str) -> bool) -> Verdict {
    let is_later = matches!(answer.status, 429 | 503) || outcome == "idempotency_in_flight";
    if is_later && answer.retry_after.is_none() {
        Verdict::Wrong
    } else if right(outcome) {
        Verdict::Right
    } else if is_later {
        Verdict::Refused
    } else {
        Verdict::Wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAITING: &str = r#"{"token":"AgEB","state":"waiting","number":43300,"position":41200,"ahead":41199,
        "eta":{"low":5880,"high":18060},"poll_after_ms":31700,"expires_at":null,"sale_state":"on_sale","message":"a \"b\"",
        "sold_out":false,"recovering":false,"returning":0,"stock":{"available":18437,"held":420,"sold":31143},"odds":"x"}"#;

    #[test]
    fn a_place_is_read_and_its_token_when_it_is_another_one() {
        let place = Place {
            state: State::Waiting,
            number: 43_300,
            position: Some(41_200),
            poll_after: Duration::from_millis(31_700),
            hopeless: false,
        };
        assert_eq!(Place::read(WAITING.as_bytes(), "AgEA"), Ok((place, Some("AgEB".to_owned()))));
        assert_eq!(Place::read(WAITING.as_bytes(), "AgEB"), Ok((place, None)));
        let changed = |from: &str, to: &str| Place::read(WAITING.replacen(from, to, 1).as_bytes(), "");
        assert!(changed("\"sold_out\":false", "\"sold_out\":true").expect("a place").0.hopeless);
        assert!(changed("on_sale", "closed").expect("a place").0.hopeless);
        assert_eq!(changed("\"AgEB\"", "null").expect("a place").1, None, "told without the token");
        let active = changed("waiting", "active").expect("a place").0;
        assert_eq!(active.state, State::Active);
        assert_eq!(changed("waiting", "pre_queue").expect("a place").0.state, State::PreQueue);
    }

    #[test]
    fn a_place_that_makes_no_sense_is_not_right() {
        for (from, to) in [
            ("41200", "0"),
            ("41200", "null"),
            ("31700", "0"),
            ("\"state\":\"waiting\"", "\"state\":\"asleep\""),
            ("43300", "null"),
        ] {
            let body = WAITING.replacen(from, to, 1);
            let fault = Place::read(body.as_bytes(), "").expect_err(to);
            assert!(fault.contains("\"poll_after_ms\":"), "the text tells what came: {fault}");
            assert!(!fault.contains("AgEB"), "and not the token: {fault}");
        }
        assert!(Place::read(b"<html>", "").is_err());
    }

    #[test]
    fn seats_losses_payments_and_tickets_are_read() {
        let seats = br#"{"show_id":"x","complete":true,"items":[{"seat_id":"01997b1e-81f0-7000-8000-000000000001",
            "section":"A","row":"1","number":12,"price_minor":150000,"state":"available","version":3}]}"#;
        let told: ToldSeats<'_> = read(seats).expect("seats");
        let seat = told.items.first().expect("one");
        assert_eq!((seat.state.as_ref(), seat.version), ("available", 3));
        let loss = br#"{"code":"seat_taken","status":409,"seats":[{"seat_id":"01997b1e-81f0-7000-8000-000000000001",
            "section":"A","row":"1","number":12,"state":"held","version":4}]}"#;
        assert_eq!(read::<ToldLoss<'_>>(loss).expect("a loss").seats.len(), 1);
        let paid = br#"{"id":"01997b1e-81f0-7000-8000-000000000002","amount_minor":1,
            "reservation_id":"01997b1e-81f0-7000-8000-000000000003","tickets":[{"id":"01997b1e-81f0-7000-8000-000000000004"}]}"#;
        let paid: ToldPayment = read(paid).expect("a payment");
        assert_eq!((paid.tickets.len(), paid.reservation_id.as_u128() & 0xF), (1, 3));
    }

    #[test]
    fn outcomes_are_statuses_of_successes_and_codes_of_problems() {
        let problem =
            br#"{"type":"/problems/seat_taken","title":"..","status":409,"code":"seat_taken","request_id":"7"}"#;
        assert_eq!((outcome(409, problem), outcome(200, problem)), ("seat_taken".into(), "200".into()));
        assert_eq!((outcome(304, b""), outcome(204, b"")), ("304".into(), "204".into()));
        assert_eq!((outcome(502, b"<html>"), outcome(206, problem)), ("502".into(), "206".into()));
    }

    #[test]
    fn overload_is_refused_when_it_says_until_when_and_wrong_when_not() {
        let verdict = |status: u16, retry_after: Option<u64>, code: &str, right: &[&str]| {
            let answer = Answer::empty(status, retry_after.map(Duration::from_secs));
            judge(&answer, code, |outcome| right.contains(&outcome))
        };
        assert_eq!(verdict(200, None, "200", &["200"]), Verdict::Right);
        assert_eq!(verdict(201, None, "201", &["200"]), Verdict::Wrong);
        assert_eq!(verdict(409, None, "seat_taken", &["201", "seat_taken"]), Verdict::Right);
        assert_eq!(verdict(429, Some(1), "too_many_requests", &["200"]), Verdict::Refused);
        assert_eq!(verdict(429, None, "too_many_requests", &["200"]), Verdict::Wrong);
        assert_eq!(verdict(429, Some(1), "too_many_requests", &["200", "too_many_requests"]), Verdict::Right);
        assert_eq!(verdict(429, None, "too_many_requests", &["200", "too_many_requests"]), Verdict::Wrong);
        assert_eq!(verdict(503, Some(30), "queue_full", &["201"]), Verdict::Refused);
        assert_eq!(verdict(503, None, "busy", &["201"]), Verdict::Wrong);
        assert_eq!(verdict(409, Some(1), "idempotency_in_flight", &["201"]), Verdict::Refused);
        assert_eq!(verdict(500, None, "internal", &["200"]), Verdict::Wrong);
    }
}
