//! Concerts and the stages of their sale.

use crate::{fault::Faults, text};

/// The stage of a concert's sale. It decides who may join the line, whether the line moves, and who may reserve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SaleState {
    /// Being prepared; fans do not see it.
    Draft,
    /// Announced; fans see it, the line is not open yet.
    Scheduled,
    /// Fans register for the opening draw; when the sale begins they are ordered by it, and who joins later stands behind.
    PreQueue,
    /// Fans join, are promoted, reserve and pay.
    OnSale,
    /// Fans join and keep their places; nobody is promoted. Who is active goes on.
    Paused,
    /// Nobody joins any more; who stands in line is still promoted.
    Draining,
    /// The end: nobody joins, is promoted or reserves. Held reservations can still be paid until they expire.
    Closed,
}

impl SaleState {
    /// All stages.
    pub const ALL: [SaleState; 7] = [
        SaleState::Draft,
        SaleState::Scheduled,
        SaleState::PreQueue,
        SaleState::OnSale,
        SaleState::Paused,
        SaleState::Draining,
        SaleState::Closed,
    ];

    /// The word in the API and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            SaleState::Draft => "draft",
            SaleState::Scheduled => "scheduled",
            SaleState::PreQueue => "pre_queue",
            SaleState::OnSale => "on_sale",
            SaleState::Paused => "paused",
            SaleState::Draining => "draining",
            SaleState::Closed => "closed",
        }
    }

    /// The stage of a word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// Whether the sale may go from here to `next`. Staying is allowed, so that a repeated request is harmless.
    #[expect(clippy::unnested_or_patterns, reason = "one line per stage")]
    pub fn may_become(self, next: SaleState) -> bool {
        use SaleState::{Closed, Draft, Draining, OnSale, Paused, PreQueue, Scheduled};
        self == next
            || matches!(
                (self, next),
                (Draft, Scheduled | PreQueue | OnSale | Closed)
                    | (Scheduled, Draft | PreQueue | OnSale | Closed)
                    | (PreQueue, OnSale | Paused | Closed)
                    | (OnSale, Paused | Draining | Closed)
                    | (Paused, OnSale | Draining | Closed)
                    | (Draining, OnSale | Paused | Closed)
            )
    }

    /// Whether going from here to `next` puts seats on sale that were not.
    pub fn opens_sale(self, next: SaleState) -> bool {
        !self.sells() && next.sells()
    }

    /// Whether fans see the concert.
    pub fn is_public(self) -> bool {
        self != SaleState::Draft
    }

    /// Whether a fan who is not in line yet may join.
    pub fn admits_joins(self) -> bool {
        matches!(self, SaleState::PreQueue | SaleState::OnSale | SaleState::Paused)
    }

    /// Whether the scheduler promotes.
    pub fn promotes(self) -> bool {
        matches!(self, SaleState::OnSale | SaleState::Draining)
    }

    /// Whether active fans may make new reservations.
    pub fn sells(self) -> bool {
        matches!(self, SaleState::OnSale | SaleState::Paused | SaleState::Draining)
    }
}

/// What an operator says about a concert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConcertDetails {
    /// 1 to 200 characters.
    pub title: String,
    /// 0 to 4,000 characters.
    pub description: String,
}

impl ConcertDetails {
    /// Checks all fields and names every fault.
    pub fn parse(title: &str, description: &str) -> Result<Self, Faults> {
        let mut faults = Faults::new();
        let title = faults.take(text::checked("title", title, 1, 200));
        let description = faults.take(text::checked("description", description, 0, 4_000));
        let details = title.zip(description).map(|(title, description)| Self { title, description });
        faults.finish(details)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_stages_belong_together() {
        for state in SaleState::ALL {
            assert_eq!(SaleState::parse(state.as_str()), Some(state));
            assert!(state.may_become(state));
        }
        assert_eq!(SaleState::parse("open"), None);
    }

    #[test]
    fn a_closed_sale_stays_closed_and_a_started_one_is_never_a_draft_again() {
        for next in SaleState::ALL {
            assert_eq!(SaleState::Closed.may_become(next), next == SaleState::Closed);
        }
        for started in [SaleState::OnSale, SaleState::Paused, SaleState::Draining] {
            assert!(!started.may_become(SaleState::Draft));
            assert!(!started.may_become(SaleState::Scheduled));
            assert!(started.may_become(SaleState::Closed));
        }
    }

    #[test]
    fn every_way_into_selling_opens_the_sale() {
        use SaleState::{Draft, OnSale, Paused, PreQueue, Scheduled};
        for before in [Draft, Scheduled, PreQueue] {
            assert!(before.opens_sale(OnSale) && before.opens_sale(Paused));
        }
        assert!(!Paused.opens_sale(OnSale) && !OnSale.opens_sale(OnSale) && !Draft.opens_sale(PreQueue));
    }

    #[test]
    fn pausing_keeps_the_line_open_but_still() {
        assert!(SaleState::Paused.admits_joins());
        assert!(!SaleState::Paused.promotes());
        assert!(SaleState::Paused.sells());
        assert!(!SaleState::Draining.admits_joins());
        assert!(SaleState::Draining.promotes());
    }

    #[test]
    fn every_fault_is_named() {
        let faults = ConcertDetails::parse("", &"x".repeat(4_001)).expect_err("both are wrong");
        assert_eq!(faults.iter().count(), 2);
    }
}
