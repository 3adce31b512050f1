//! One request and its verdict.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{
    answers::{judge, outcome, text},
    fan::Fan,
    http::{Answer, NoAnswer},
    wire::Request,
};
use crate::load::recorded::{NO_ANSWER, Verdict};

/// Who got no answer asks again after this.
pub(super) const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What a fan asks, and the outcomes that the documents promise.
#[derive(Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) step: &'static str,
    pub(super) request: Request<'a>,
    pub(super) right: &'a [&'a str],
    /// What is right besides when a first answer may have been lost.
    pub(super) unheard: &'a [&'a str],
}

/// What a fan heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard<T> {
    /// What was asked for.
    Right(T),
    /// To come back after so long.
    Later(Duration),
    /// Something else; it was noted.
    Wrong,
}

impl Fan {
    pub(super) fn get<'a>(&'a self, path: &'a str, headers: &'a [(&'a str, &'a str)]) -> Request<'a> {
        Request { method: "GET", path, access: self.access(), headers, body: None }
    }

    pub(super) fn post<'a>(
        &'a self,
        path: &'a str,
        headers: &'a [(&'a str, &'a str)],
        body: Option<&'a str>,
    ) -> Request<'a> {
        Request { method: "POST", body, ..self.get(path, headers) }
    }

    /// Asks once. `read` takes what matters out of an answer with a right outcome, or says what is wrong with it all the same.
    pub(super) async fn ask<T>(
        &self,
        question: &Question<'_>,
        due: Instant,
        again: bool,
        read: impl FnOnce(&Answer, &str) -> Result<T, String>,
    ) -> Heard<T> {
        let from = self.world.measured_from(due, Instant::now());
        let answer = self.world.http.send(self.server, &question.request).await;
        self.take(question, from, again, answer, read)
    }

    /// Judges an answer and notes it.
    pub(super) fn take<T>(
        &self,
        question: &Question<'_>,
        from: Instant,
        again: bool,
        answer: Result<Answer, NoAnswer>,
        read: impl FnOnce(&Answer, &str) -> Result<T, String>,
    ) -> Heard<T> {
        let (world, step, ended) = (&self.world, question.step, Instant::now());
        let answer = match answer {
            Ok(answer) => answer,
            Err(why) => {
                world.add(step, NO_ANSWER, Verdict::Wrong, from, ended);
                world.note(format!("{step} without an answer: {why}"));
                return Heard::Later(AGAIN_AFTER);
            }
        };
        let outcome = outcome(answer.status, answer.body());
        let is_right =
            |outcome: &str| question.right.contains(&outcome) || (again && question.unheard.contains(&outcome));
        let verdict = judge(&answer, &outcome, is_right);
        let (verdict, heard, fault) = match verdict {
            Verdict::Right => match read(&answer, &outcome) {
                Ok(read) => (verdict, Heard::Right(read), None),
                Err(fault) => (Verdict::Wrong, Heard::Wrong, Some(fault)),
            },
            Verdict::Refused => (verdict, Heard::Later(answer.retry_after.unwrap_or(AGAIN_AFTER)), None),
            Verdict::Wrong => (verdict, Heard::Wrong, Some(text(answer.body()))),
        };
        world.add(step, &outcome, verdict, from, ended);
        if let Some(fault) = fault {
            world.wrong(step, &outcome, &self.name(), &fault);
        }
        heard
    }

    /// Asks until there is an answer that is no refusal, at the times that the server names, as long as there is patience.
    pub(super) async fn insist<T>(
        &self,
        question: &Question<'_>,
        read: impl Fn(&Answer, &str) -> Result<T, String>,
    ) -> Option<T> {
        self.insist_from(Instant::now(), question, read).await
    }

    /// The same, beginning with a request that was due then.
    pub(super) async fn insist_from<T>(
        &self,
        mut due: Instant,
        question: &Question<'_>,
        read: impl Fn(&Answer, &str) -> Result<T, String>,
    ) -> Option<T> {
        let mut again = false;
        loop {
            match self.ask(question, due, again, &read).await {
                Heard::Right(right) => return Some(right),
                Heard::Wrong => return None,
                Heard::Later(pause) => due = Instant::now() + pause,
            }
            if due > self.until {
                return None;
            }
            sleep_until(due).await;
            again = true;
        }
    }
}
