//! What fans, operators and everybody are told of a line, and why it refuses.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use onsale_domain::{concert::SaleState, fault::Faults, plan::Forecast, queue::Eta};
use tokio::sync::watch;

use super::{
    model::{LineStats, Snapshot, TokenClaims},
    stock::ConcertStock,
};
use crate::error::StoreError;

/// Where a fan is told to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlaceState {
    /// Registered for the opening draw.
    PreQueue,
    /// In line.
    Waiting {
        /// 1 is the head.
        position: i64,
    },
    /// Past the line until this instant.
    Active {
        /// When the token ends if it is not used.
        expires_at: DateTime<Utc>,
    },
    /// The turn was not used in time. Joining until this instant puts the fan at the head again.
    Lapsed {
        /// End of the time to come back.
        until: DateTime<Utc>,
    },
}

/// How the line is, for everybody in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineState {
    /// Stage of the sale.
    pub state: SaleState,
    /// What the operators say to everyone.
    pub message: String,
    /// Whether nothing is left and nothing can come back.
    pub sold_out: bool,
    /// Whether the line's store is away or being loaded: nobody is promoted, and this is how it was last.
    pub recovering: bool,
    /// Fans who came back after a lapsed turn and go first; positions do not count them.
    pub returning: i64,
    /// Seats, when they have been counted.
    pub stock: Option<Arc<ConcertStock>>,
}

/// What a fan in line is told.
#[derive(Debug, Clone, PartialEq)]
pub struct PlaceView {
    /// The signed token, for the `Queue-Token` header; `None` to who does not show it.
    pub token: Option<String>,
    /// Place in the order of joining; 0 until the draw.
    pub number: i64,
    /// Where the fan is.
    pub place: PlaceState,
    /// The probable wait; `None` when active or when the line stands still.
    pub eta: Option<Eta>,
    /// When to ask again.
    pub poll_after_ms: i64,
    /// The line.
    pub line: LineState,
    /// The chances, in words; `None` when active, closed, or when seats have not been counted.
    pub odds: Option<String>,
}

/// What everybody is told about a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineView {
    /// The line.
    pub line: LineState,
    /// Numbers.
    pub stats: LineStats,
    /// Promotions per minute when the line is full.
    pub promoted_per_minute: i64,
    /// SHA-256 of the seed of the opening draw; `None` for a line without a pre-queue.
    pub draw_commitment: Option<[u8; 32]>,
}

/// The opening draw, as far as it is public.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrawView {
    /// SHA-256 of the seed.
    pub commitment: [u8; 32],
    /// The seed, once everybody has been drawn.
    pub seed: Option<[u8; 32]>,
    /// Number of the first ballot.
    pub first: i64,
    /// The last number drawn; less than `first` before the draw.
    pub last: i64,
}

impl DrawView {
    /// Behind which number the ballots stand that come after `after`; `None` while they are not public, until everybody has been
    /// drawn.
    pub fn ballots_behind(&self, after: i64) -> Option<i64> {
        // The numbers of a draw may begin anywhere.
        self.seed.map(|_| after.max(self.first - 1))
    }
}

/// What a follower sees in a new snapshot.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen {
    /// The fan still waits, in line or for the draw.
    There(Box<PlaceView>),
    /// Something else has happened: ask for the place.
    Ask,
}

/// Follows one fan's place from snapshot to snapshot.
pub struct Follower {
    /// What the fan's token says.
    pub claims: TokenClaims,
    /// The token.
    pub token: String,
    /// New snapshots.
    pub news: watch::Receiver<Option<Arc<Snapshot>>>,
}

/// Why the line refused.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// There is no such concert.
    #[error("there is no such concert")]
    NoConcert,
    /// The sale has not started.
    #[error("the sale is not open yet")]
    NotOpen,
    /// The line takes nobody any more.
    #[error("the line is closed")]
    Closed,
    /// Nothing is left and nothing can come back.
    #[error("the concert is sold out")]
    SoldOut,
    /// As many wait as may.
    #[error("the line is full")]
    Full,
    /// The fan has no place.
    #[error("there is no place of this fan in this line")]
    NotInLine,
    /// The queue token is forged, damaged, another fan's or another concert's.
    #[error("the queue token is not valid here")]
    TokenInvalid,
    /// The pass for a stream is not genuine, of another line, used, or out.
    #[error("the pass is not valid")]
    PassInvalid,
    /// Another device of the same fan took the place over.
    #[error("another device took the place over")]
    TokenMoved,
    /// The fan asks much more often than told to.
    #[error("come back in {0} ms")]
    TooEarly(i64),
    /// The line recovers from the loss of its store.
    #[error("the line recovers")]
    Recovering,
    /// The settings make no sense.
    #[error(transparent)]
    Invalid(#[from] Faults),
    /// A store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a change of the settings would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forecasting {
    /// Fans waiting, or registered for the draw; as many as were asked about.
    pub waiting: i64,
    /// Fans active now.
    pub active: i64,
    /// The waits.
    pub forecast: Forecast,
}

/// What came of admitting fans by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admitted {
    /// How many became active.
    pub count: i64,
    /// Why they are fewer than asked for.
    pub why_fewer: Option<WhyFewer>,
}

/// Why fewer fans were admitted than asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhyFewer {
    /// All who waited were.
    NobodyWaits,
    /// As many are active as may.
    LimitReached,
    /// Nothing is left and nothing can come back.
    SoldOut,
    /// The next places are being entered, or a clock went back: the next tick goes on.
    NotYet,
}

impl WhyFewer {
    /// All reasons.
    pub const ALL: [WhyFewer; 4] = [WhyFewer::NobodyWaits, WhyFewer::LimitReached, WhyFewer::SoldOut, WhyFewer::NotYet];

    /// Its name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NobodyWaits => "nobody_waits",
            Self::LimitReached => "limit_reached",
            Self::SoldOut => "sold_out",
            Self::NotYet => "not_yet",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ballots_are_public_once_everybody_has_been_drawn() {
        let drawing = DrawView { commitment: [0; 32], seed: None, first: 5, last: 9 };
        assert_eq!(drawing.ballots_behind(0), None);
        let drawn = DrawView { seed: Some([1; 32]), ..drawing };
        assert_eq!((drawn.ballots_behind(0), drawn.ballots_behind(7)), (Some(4), Some(7)));
    }
}
