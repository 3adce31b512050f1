//! The machine's clock and randomness; the only place that may read either.

use chrono::{DateTime, Utc};
use onsale_application::{
    context::{Clock, Ids, Task, Tasks, Work},
    line::Seeds,
};
use onsale_domain::queue::DrawSeed;
use uuid::Uuid;

/// The real clock and real ids.
#[derive(Debug, Clone, Copy, Default)]
pub struct System;

impl Clock for System {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    fn monotonic_ms(&self) -> i64 {
        static START: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(std::time::Instant::now);
        i64::try_from(START.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}

impl Ids for System {
    #[expect(clippy::disallowed_methods, reason = "the one place that makes ids")]
    fn new_id(&self) -> Uuid {
        Uuid::now_v7()
    }
}

impl Seeds for System {
    fn seed(&self) -> DrawSeed {
        DrawSeed(random_bytes())
    }
}

/// Fresh randomness for a key.
pub fn random_bytes() -> [u8; 32] {
    rand::random()
}

/// Background work on a runtime that outlives whoever starts it.
#[derive(Debug, Clone)]
pub struct Background(pub tokio::runtime::Handle);

impl Tasks for Background {
    fn spawn(&self, task: Task) {
        self.0.spawn(task);
    }

    fn compute(&self, work: Work) {
        self.0.spawn_blocking(work);
    }
}
