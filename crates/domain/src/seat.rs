//! Seats: what can be sold once.

use std::{cmp::Ordering, collections::HashSet};

use chrono::{DateTime, Utc};

use crate::{fault::Faults, ids::SeatId, money::Price, text};

/// Most seats that one request may create.
pub const SEATS_PER_REQUEST_MAX: usize = 100_000;

/// What a seat is right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SeatState {
    /// Can be reserved.
    Available,
    /// In a live reservation.
    Held,
    /// Paid for; only a refund frees it.
    Sold,
    /// Kept back by the operator.
    Blocked,
}

impl SeatState {
    /// All states.
    pub const ALL: [SeatState; 4] = [SeatState::Available, SeatState::Held, SeatState::Sold, SeatState::Blocked];

    /// The word in the API and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            SeatState::Available => "available",
            SeatState::Held => "held",
            SeatState::Sold => "sold",
            SeatState::Blocked => "blocked",
        }
    }

    /// The state of a word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// The state that everybody sees at `now`: a hold that ran out is free from that instant, whether or not the
    /// sweeper has been there.
    pub fn seen_at(self, held_until: Option<DateTime<Utc>>, now: DateTime<Utc>) -> SeatState {
        match (self, held_until) {
            (SeatState::Held, Some(until)) if until <= now => SeatState::Available,
            (state, _) => state,
        }
    }
}

/// The order in which people count sections and rows: 2 before 10, and A2 before A10.
pub fn as_people_count(one: &str, other: &str) -> Ordering {
    let (mut a, mut b) = (one, other);
    while let (Some(first), Some(second)) = (a.chars().next(), b.chars().next()) {
        let (digits_a, digits_b) = (digits_of(a), digits_of(b));
        let order = if digits_a.is_empty() || digits_b.is_empty() {
            (a, b) = (a.get(first.len_utf8()..).unwrap_or_default(), b.get(second.len_utf8()..).unwrap_or_default());
            first.cmp(&second)
        } else {
            (a, b) = (a.get(digits_a.len()..).unwrap_or_default(), b.get(digits_b.len()..).unwrap_or_default());
            let (value_a, value_b) = (digits_a.trim_start_matches('0'), digits_b.trim_start_matches('0'));
            value_a.len().cmp(&value_b.len()).then_with(|| value_a.cmp(value_b))
        };
        if order.is_ne() {
            return order;
        }
    }
    // 01 and 1 are two rows, so they have an order too.
    a.len().cmp(&b.len()).then_with(|| one.cmp(other))
}

fn digits_of(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

/// Where a seat is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SeatPlace {
    /// Section: 1 to 40 characters.
    pub section: String,
    /// Row: 1 to 10 characters.
    pub row: String,
    /// Number within the row, from 1.
    pub number: i32,
}

/// A seat that an operator wants to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSeat {
    /// Where it is; unique within its show.
    pub place: SeatPlace,
    /// What it costs.
    pub price: Price,
}

impl NewSeat {
    /// Checks all fields of seat `index` of a request.
    pub fn parse(index: usize, section: &str, row: &str, number: i32, price_minor: i64) -> Result<Self, Faults> {
        let mut faults = Faults::new();
        let section = faults.take(text::checked(&format!("seats/{index}/section"), section, 1, 40));
        let row = faults.take(text::checked(&format!("seats/{index}/row"), row, 1, 10));
        if !(1..=100_000).contains(&number) {
            faults.add(format!("seats/{index}/number"), "must be 1 to 100000");
        }
        let price = faults.take(Price::new(&format!("seats/{index}/price_minor"), price_minor));
        let seat = match (section, row, price) {
            (Some(section), Some(row), Some(price)) => Some(Self { place: SeatPlace { section, row, number }, price }),
            _ => None,
        };
        faults.finish(seat)
    }
}

/// A block of seats, said in one line: rows `1..=rows` with seats `1..=seats_per_row` each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeatBlock {
    /// Section name.
    pub section: String,
    /// How many rows.
    pub rows: i32,
    /// How many seats in each row.
    pub seats_per_row: i32,
    /// What each seat costs, in minor units.
    pub price_minor: i64,
}

/// Writes out blocks and single seats as one list, checks that there is at least one and at most
/// [`SEATS_PER_REQUEST_MAX`], and that no place is named twice.
pub fn seats_from(blocks: &[SeatBlock], singles: Vec<NewSeat>) -> Result<Vec<NewSeat>, Faults> {
    let mut faults = Faults::new();
    let mut count = singles.len();
    for (index, block) in blocks.iter().enumerate() {
        faults.take(text::checked(&format!("blocks/{index}/section"), &block.section, 1, 40));
        faults.take(Price::new(&format!("blocks/{index}/price_minor"), block.price_minor));
        let sides = [("rows", block.rows), ("seats_per_row", block.seats_per_row)];
        for (name, value) in sides {
            if !(1..=10_000).contains(&value) {
                faults.add(format!("blocks/{index}/{name}"), "must be 1 to 10000");
            }
        }
        let size = i64::from(block.rows.max(0)) * i64::from(block.seats_per_row.max(0));
        count = count.saturating_add(usize::try_from(size).unwrap_or(usize::MAX));
    }
    if count == 0 {
        faults.add("seats", "name at least one seat or block");
    }
    if count > SEATS_PER_REQUEST_MAX {
        faults.add("seats", format!("one request may create {SEATS_PER_REQUEST_MAX} seats, this one has {count}"));
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let mut seats = singles;
    seats.reserve(count - seats.len());
    for block in blocks {
        let price = Price::new("price_minor", block.price_minor)?;
        for row in 1..=block.rows {
            for number in 1..=block.seats_per_row {
                let place = SeatPlace { section: block.section.trim().to_owned(), row: row.to_string(), number };
                seats.push(NewSeat { place, price });
            }
        }
    }
    let mut seen = HashSet::with_capacity(seats.len());
    for seat in &seats {
        if !seen.insert(&seat.place) {
            let SeatPlace { section, row, number } = &seat.place;
            return Err(Faults::one("seats", format!("names section {section}, row {row}, seat {number} twice")));
        }
    }
    Ok(seats)
}

/// A seat as a fan asks for it: which one, and the version at which the fan saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeatChoice {
    /// Which seat.
    pub seat_id: SeatId,
    /// The version that the fan saw; if the seat has changed since, the choice loses.
    pub version: i32,
}

/// The most seats that any request may name; the show's own limit per fan may be lower.
pub const CHOICES_MAX: usize = 20;

/// Seats chosen for one reservation: at least one, none twice, in the order of their ids. Everybody who takes seats
/// in the same order cannot deadlock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeatChoices(Vec<SeatChoice>);

/// Why a list of seats cannot be a reservation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChoiceError {
    /// More than one reservation may have.
    #[error("{asked} seats were asked for; one fan may have {limit} at one show")]
    TooMany {
        /// Seats in the request.
        asked: usize,
        /// The limit that was passed.
        limit: usize,
    },
    /// Empty, twice the same seat, or an impossible version.
    #[error(transparent)]
    Invalid(#[from] Faults),
}

impl SeatChoices {
    /// Checks and sorts.
    pub fn new(mut choices: Vec<SeatChoice>) -> Result<Self, ChoiceError> {
        if choices.len() > CHOICES_MAX {
            return Err(ChoiceError::TooMany { asked: choices.len(), limit: CHOICES_MAX });
        }
        let mut faults = Faults::new();
        if choices.is_empty() {
            faults.add("seats", "name at least one seat");
        }
        for (index, choice) in choices.iter().enumerate() {
            if choice.version < 1 {
                faults.add(format!("seats/{index}/version"), "must be 1 or more, as read from the seat list");
            }
        }
        choices.sort_by_key(|choice| choice.seat_id);
        if choices.windows(2).any(|pair| matches!(pair, [a, b] if a.seat_id == b.seat_id)) {
            faults.add("seats", "must not name a seat twice");
        }
        faults.into_result()?;
        Ok(Self(choices))
    }

    /// The choices, by ascending seat id.
    pub fn as_slice(&self) -> &[SeatChoice] {
        &self.0
    }
}

/// Refuses more seats than the show allows one fan, with those that the fan has there.
pub fn within_limit(asked: usize, had: i64, seats_per_fan: i32) -> Result<(), ChoiceError> {
    let limit = usize::try_from(seats_per_fan).unwrap_or(0);
    let together = asked.saturating_add(usize::try_from(had).unwrap_or(usize::MAX));
    if together > limit { Err(ChoiceError::TooMany { asked, limit }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn rows_sort_as_people_count() {
        let mut rows = ["10", "2", "1", "A10", "A2", "AA", "B", "01", "é9", "é10", "", "2b", "2a"];
        rows.sort_by(|a, b| as_people_count(a, b));
        assert_eq!(rows, ["", "01", "1", "2", "2a", "2b", "10", "A2", "A10", "AA", "B", "é9", "é10"]);
        let long = "9".repeat(100);
        assert_eq!(as_people_count(&long, "10"), Ordering::Greater);
    }

    fn choice(id: u128, version: i32) -> SeatChoice {
        SeatChoice { seat_id: SeatId(Uuid::from_u128(id)), version }
    }

    #[test]
    fn a_hold_is_over_at_its_very_end() {
        let until: DateTime<Utc> = "2027-01-01T00:05:00Z".parse().expect("a date");
        let before = until - chrono::Duration::milliseconds(1);
        assert_eq!(SeatState::Held.seen_at(Some(until), before), SeatState::Held);
        assert_eq!(SeatState::Held.seen_at(Some(until), until), SeatState::Available);
        assert_eq!(SeatState::Sold.seen_at(Some(until), until), SeatState::Sold);
    }

    #[test]
    fn choices_are_sorted_by_id() {
        let choices = SeatChoices::new(vec![choice(3, 1), choice(1, 1), choice(2, 5)]).expect("right");
        let ids: Vec<u128> = choices.as_slice().iter().map(|c| c.seat_id.0.as_u128()).collect();
        assert_eq!(ids, [1, 2, 3]);
    }

    #[test]
    fn empty_repeated_and_impossible_choices_are_refused() {
        assert!(matches!(SeatChoices::new(vec![]), Err(ChoiceError::Invalid(_))));
        assert!(matches!(SeatChoices::new(vec![choice(1, 1), choice(1, 2)]), Err(ChoiceError::Invalid(_))));
        for version in [0, -1, i32::MIN] {
            assert!(matches!(SeatChoices::new(vec![choice(1, version)]), Err(ChoiceError::Invalid(_))));
        }
    }

    #[test]
    fn ten_thousand_seats_are_too_many_before_anything_else_is_looked_at() {
        let many = vec![choice(1, 0); 10_000];
        assert_eq!(SeatChoices::new(many), Err(ChoiceError::TooMany { asked: 10_000, limit: CHOICES_MAX }));
    }

    #[test]
    fn seats_that_a_fan_has_count_within_the_limit() {
        assert_eq!(within_limit(5, 0, 4), Err(ChoiceError::TooMany { asked: 5, limit: 4 }));
        assert_eq!(within_limit(5, 0, 5), Ok(()));
        assert_eq!(within_limit(2, 3, 5), Ok(()));
        assert_eq!(within_limit(3, 3, 5), Err(ChoiceError::TooMany { asked: 3, limit: 5 }));
    }

    #[test]
    fn an_arena_is_a_few_blocks() {
        let block = SeatBlock { section: "Floor".into(), rows: 200, seats_per_row: 300, price_minor: 99_000 };
        let seats = seats_from(&[block], vec![]).expect("right");
        assert_eq!(seats.len(), 60_000);
        assert_eq!(seats.last().map(|s| s.place.number), Some(300));
    }

    #[test]
    fn blocks_and_seats_that_overlap_or_are_too_many_are_refused() {
        let block = SeatBlock { section: "A".into(), rows: 1, seats_per_row: 2, price_minor: 1 };
        let single = NewSeat::parse(0, "A", "1", 2, 1).expect("right");
        assert!(seats_from(std::slice::from_ref(&block), vec![single]).is_err());
        assert!(seats_from(&[], vec![]).is_err());
        let huge = SeatBlock { rows: 10_000, seats_per_row: 10_000, ..block };
        assert!(seats_from(&[huge], vec![]).is_err());
    }
}
