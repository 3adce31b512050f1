//! A place as the database has it, and how the line's store hears of it.

use chrono::DateTime;
use onsale_domain::ids::{ConcertId, UserId};
use uuid::Uuid;

use super::model::{Intent, TokenClaims, Whereabouts};

/// What a place is, as the database has it. What the line's store decides by its clock is there within a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stand {
    /// Registered for the opening draw.
    Ballot,
    /// In line.
    Waiting,
    /// Past the line.
    Active {
        /// Whether the token has been used.
        used: bool,
        /// When it ends whatever happens, by the line's clock in milliseconds.
        last_end_ms: i64,
    },
    /// The turn was not used in time.
    Lapsed {
        /// Since when, by the line's clock in milliseconds.
        since_ms: i64,
    },
    /// Back at the head after a turn that lapsed.
    Back,
}

impl Stand {
    /// Where the fan is, as far as the database knows; what becomes of a lapsed turn only the line's store knows.
    pub fn whereabouts(self) -> Option<Whereabouts> {
        match self {
            Self::Ballot => Some(Whereabouts::PreQueue),
            Self::Waiting => Some(Whereabouts::Waiting),
            Self::Active { last_end_ms, .. } => {
                DateTime::from_timestamp_millis(last_end_ms).map(|expires_at| Whereabouts::Active { expires_at })
            }
            Self::Back => Some(Whereabouts::Back { ahead: 0 }),
            Self::Lapsed { .. } => None,
        }
    }
}

/// A place as the database has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Whose.
    pub user_id: UserId,
    /// Place in the order of joining, from 1; 0 for a ballot.
    pub number: i64,
    /// For ever the same; the ballot in an opening draw.
    pub place_id: Uuid,
    /// Id of the newest token.
    pub token_id: Uuid,
    /// When it was taken, ms since 1970.
    pub joined_ms: i64,
    /// What it is, or was.
    pub at: Stand,
    /// Whether it came back after a lapsed turn.
    pub came: bool,
    /// Whether it is over.
    pub over: bool,
}

impl Place {
    /// What its newest token says.
    pub fn claims(&self, concert_id: ConcertId) -> TokenClaims {
        TokenClaims { concert_id, user_id: self.user_id, number: self.number, id: self.token_id }
    }

    /// Whether this token is an older one of the same place.
    pub fn had(&self, shown: &TokenClaims) -> bool {
        shown.id != self.token_id && (shown.number == self.number || shown.id == self.place_id)
    }
}

/// Places that the database has, for the line's store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entrants {
    /// Why the store hears of them.
    pub why: Entry,
    /// The places.
    pub places: Vec<Entrant>,
}

/// Why the line's store hears of places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// Their fans have just joined. The numbers, first and last, of which all new places are among these; none when all of them
    /// were known.
    Joined(Option<(i64, i64)>),
    /// A fan asked for a place of which the store does not know the newest.
    Asked(Intent),
    /// They were read from the database a while ago, so that tokens may have changed since: all live places of these numbers.
    Filled(i64, i64),
    /// The store has lost them, although the database has had everything that it knows.
    Lost,
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entrant {
    /// Whose.
    pub user_id: UserId,
    /// Place in the order of joining; 0 for a ballot.
    pub number: i64,
    /// Id of the newest token; none when the place is over.
    pub token_id: Option<Uuid>,
    /// Whether there were other tokens before.
    pub moved: bool,
}

impl From<&Place> for Entrant {
    fn from(place: &Place) -> Self {
        let token_id = (!place.over).then_some(place.token_id);
        let moved = place.token_id != place.place_id;
        Self { user_id: place.user_id, number: place.number, token_id, moved }
    }
}
