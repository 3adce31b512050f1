//! Reservations: seats held for one fan for a limited time, to be paid.

use chrono::{DateTime, Utc};

/// How a reservation stands.
///
/// `Held` is written down as held until somebody ends it; whether it is still live also depends on the time, so ask
/// [`ReservationState::seen_at`], never the stored word alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReservationState {
    /// Seats are held until `expires_at`.
    Held,
    /// Paid; the seats are sold and ticketed.
    Paid,
    /// Released by the fan.
    Cancelled,
    /// Not paid in time.
    Expired,
    /// Paid and then taken back.
    Refunded,
}

/// Why a reservation cannot be paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PayRefusal {
    /// It is paid, or was and is refunded.
    #[error("the reservation is already paid")]
    AlreadyPaid,
    /// Its time is over, or the fan released it.
    #[error("the reservation is no longer held")]
    NoLongerHeld,
}

impl ReservationState {
    /// All states.
    pub const ALL: [ReservationState; 5] = [
        ReservationState::Held,
        ReservationState::Paid,
        ReservationState::Cancelled,
        ReservationState::Expired,
        ReservationState::Refunded,
    ];

    /// The word in the API and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            ReservationState::Held => "held",
            ReservationState::Paid => "paid",
            ReservationState::Cancelled => "cancelled",
            ReservationState::Expired => "expired",
            ReservationState::Refunded => "refunded",
        }
    }

    /// The state of a word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// The state that everybody sees at `now`: held and past its time is expired from that instant.
    pub fn seen_at(self, expires_at: DateTime<Utc>, now: DateTime<Utc>) -> ReservationState {
        match self {
            ReservationState::Held if expires_at <= now => ReservationState::Expired,
            state => state,
        }
    }

    /// Whether a reservation in this (seen) state can be paid.
    pub fn may_be_paid(self) -> Result<(), PayRefusal> {
        match self {
            ReservationState::Held => Ok(()),
            ReservationState::Paid | ReservationState::Refunded => Err(PayRefusal::AlreadyPaid),
            ReservationState::Cancelled | ReservationState::Expired => Err(PayRefusal::NoLongerHeld),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reservation_is_expired_from_its_last_instant_on() {
        let end: DateTime<Utc> = "2027-01-01T00:05:00Z".parse().expect("a date");
        let before = end - chrono::Duration::microseconds(1);
        assert_eq!(ReservationState::Held.seen_at(end, before), ReservationState::Held);
        assert_eq!(ReservationState::Held.seen_at(end, end), ReservationState::Expired);
        assert_eq!(ReservationState::Paid.seen_at(end, end), ReservationState::Paid);
    }

    #[test]
    fn only_a_held_reservation_is_paid() {
        assert_eq!(ReservationState::Held.may_be_paid(), Ok(()));
        assert_eq!(ReservationState::Paid.may_be_paid(), Err(PayRefusal::AlreadyPaid));
        assert_eq!(ReservationState::Refunded.may_be_paid(), Err(PayRefusal::AlreadyPaid));
        assert_eq!(ReservationState::Cancelled.may_be_paid(), Err(PayRefusal::NoLongerHeld));
        assert_eq!(ReservationState::Expired.may_be_paid(), Err(PayRefusal::NoLongerHeld));
    }

    #[test]
    fn words_and_states_belong_together() {
        for state in ReservationState::ALL {
            assert_eq!(ReservationState::parse(state.as_str()), Some(state));
        }
    }
}
