//! The machine's clock and randomness; the only place that may read either.

use chrono::{DateTime, Utc};
use onsale_application::context::{Clock, Ids};
use uuid::Uuid;

/// The real clock and real ids.
#[derive(Debug, Clone, Copy, Default)]
pub struct System;

impl Clock for System {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }
}

impl Ids for System {
    #[expect(clippy::disallowed_methods, reason = "the one place that makes ids")]
    fn new_id(&self) -> Uuid {
        Uuid::now_v7()
    }
}

/// Fresh randomness for a key.
pub fn random_bytes() -> [u8; 32] {
    rand::random()
}
