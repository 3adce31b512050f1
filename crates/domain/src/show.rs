//! Shows: one date and time of a concert at a venue.

use chrono::{DateTime, Datelike, Utc};

use crate::{fault::Faults, text};

/// Seconds that a reservation is held before it must be paid.
pub const HOLD_SECS_DEFAULT: i32 = 300;
/// Most seats of one fan at one show, held and paid together.
pub const SEATS_PER_FAN_DEFAULT: i32 = 4;
const HOLD_SECS: std::ops::RangeInclusive<i32> = 10..=3_600;
const SEATS_PER_FAN: std::ops::RangeInclusive<i32> = 1..=20;

/// What an operator says about a show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShowDetails {
    /// Where: 1 to 200 characters.
    pub venue: String,
    /// When it starts.
    pub starts_at: DateTime<Utc>,
    /// Seconds that a reservation is held: 10 to 3,600.
    pub hold_secs: i32,
    /// Most seats of one fan: 1 to 20.
    pub seats_per_fan: i32,
}

impl ShowDetails {
    /// Checks all fields and names every fault. A show that there is may lie in the past, see [`ShowDetails::is_to_come`].
    pub fn parse(venue: &str, starts_at: DateTime<Utc>, hold_secs: i32, seats_per_fan: i32) -> Result<Self, Faults> {
        let mut faults = Faults::new();
        let venue = faults.take(text::checked("venue", venue, 1, 200));
        if !(2000..=2200).contains(&starts_at.year()) {
            faults.add("starts_at", "must lie in the years 2000 to 2200");
        }
        if !HOLD_SECS.contains(&hold_secs) {
            faults.add("hold_secs", "must be 10 to 3600 seconds");
        }
        if !SEATS_PER_FAN.contains(&seats_per_fan) {
            faults.add("seats_per_fan", "must be 1 to 20");
        }
        faults.finish(venue.map(|venue| Self { venue, starts_at, hold_secs, seats_per_fan }))
    }

    /// Refuses a start that has passed: nothing can be sold for it any more.
    pub fn is_to_come(self, now: DateTime<Utc>) -> Result<Self, Faults> {
        if self.starts_at > now { Ok(self) } else { Err(Faults::one("starts_at", "must lie in the future")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("a date")
    }

    #[test]
    fn every_fault_of_a_show_is_named() {
        let faults = ShowDetails::parse("", at("9999-01-01T00:00:00Z"), 0, 21).expect_err("all wrong");
        let fields: Vec<_> = faults.iter().map(|f| f.field.as_str()).collect();
        assert_eq!(fields, ["venue", "starts_at", "hold_secs", "seats_per_fan"]);
    }

    #[test]
    fn a_show_in_the_past_is_not_to_come() {
        let show = ShowDetails::parse("Hall", at("2027-05-01T19:00:00Z"), 300, 4).expect("right");
        assert!(show.clone().is_to_come(at("2027-05-01T18:59:59Z")).is_ok());
        assert!(show.is_to_come(at("2027-05-01T19:00:00Z")).is_err());
    }

    #[test]
    fn a_right_show_passes() {
        assert!(ShowDetails::parse("Olympic Hall", at("2027-05-01T19:00:00Z"), 300, 4).is_ok());
    }
}
