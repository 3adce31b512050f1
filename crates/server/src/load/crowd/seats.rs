//! The seats of the show as all fans of a worker know them. Each reads the whole list, as browsers do, but it is parsed once:
//! ten thousand seats for each of ten thousand fans would take the generator longer than the server.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
};

use tokio::sync::OnceCell;
use uuid::Uuid;

use super::{
    answers::{ToldSeat, ToldSeats, read},
    ask::Question,
    fan::Fan,
    http::Answer,
};

/// What browsers send. The whole list comes compressed, and is thrown away.
const PACKED: (&str, &str) = ("accept-encoding", "gzip, deflate, br, zstd");

/// A seat at the version at which it was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seat {
    pub(super) id: Uuid,
    pub(super) version: i32,
}

#[derive(Debug)]
struct Known {
    version: i32,
    /// Where it stands among the free ones.
    free_at: Option<usize>,
}

/// What is known of seats.
#[derive(Debug, Default)]
pub(super) struct SeatMap {
    seats: HashMap<Uuid, Known>,
    free: Vec<Uuid>,
    first: Option<Uuid>,
    /// `Seats-Version` of the newest list.
    as_of: i64,
}

impl SeatMap {
    /// Takes in how seats are. Answers overtake each other, so what is older than what is known is left out.
    fn learn(&mut self, told: &[ToldSeat<'_>]) {
        for seat in told {
            self.first.get_or_insert(seat.seat_id);
            let known = self.seats.entry(seat.seat_id).or_insert(Known { version: 0, free_at: None });
            if seat.version < known.version {
                continue;
            }
            known.version = seat.version;
            match (known.free_at, seat.state == "available") {
                (None, true) => {
                    known.free_at = Some(self.free.len());
                    self.free.push(seat.seat_id);
                }
                (Some(at), false) => {
                    known.free_at = None;
                    // The last one takes its place.
                    self.free.swap_remove(at);
                    if let Some(moved) = self.free.get(at).and_then(|moved| self.seats.get_mut(moved)) {
                        moved.free_at = Some(at);
                    }
                }
                _ => {}
            }
        }
    }

    fn seat(&self, id: Uuid) -> Option<Seat> {
        self.seats.get(&id).map(|known| Seat { id, version: known.version })
    }

    fn any_free(&self) -> Option<Seat> {
        let last = self.free.len().checked_sub(1)?;
        self.free.get(rand::random_range(0..=last)).and_then(|id| self.seat(*id))
    }
}

/// What the fans of a worker know of seats together.
#[derive(Default)]
pub(super) struct Seats {
    map: RefCell<SeatMap>,
    begun: Cell<bool>,
    whole: OnceCell<()>,
}

impl Seats {
    /// A free seat by chance.
    pub(super) fn any_free(&self) -> Option<Seat> {
        self.map.borrow().any_free()
    }

    /// The first seat of the list, whoever has it.
    pub(super) fn first(&self) -> Option<Seat> {
        let map = self.map.borrow();
        map.first.and_then(|id| map.seat(id))
    }

    /// Takes in what somebody was told.
    pub(super) fn learn(&self, told: &[ToldSeat<'_>]) {
        self.map.borrow_mut().learn(told);
    }

    fn learn_list(&self, answer: &Answer) -> Result<(), String> {
        let told: ToldSeats<'_> = read(answer.body())?;
        let as_of = answer.seats_version.ok_or("a list of seats without Seats-Version")?;
        self.learn(&told.items);
        let mut map = self.map.borrow_mut();
        map.as_of = map.as_of.max(as_of);
        Ok(())
    }
}

impl Fan {
    /// Reads the whole list and throws it away. Answers its tag.
    pub(super) async fn open_seat_map(&self, known_tag: Option<&str>) -> Option<String> {
        let (step, right): (_, &[&str]) = match known_tag {
            None => ("seats", &["200"]),
            Some(_) => ("seats_304", &["304", "200"]),
        };
        let all = [("queue-token", self.token.as_str()), PACKED, ("if-none-match", known_tag.unwrap_or_default())];
        let headers = all.get(..if known_tag.is_some() { 3 } else { 2 }).unwrap_or_default();
        let request = self.get(&self.world.plan.paths.seats, headers);
        let question = Question { step, request, right, unheard: &[] };
        self.insist(&question, |answer, _| answer.etag.clone().ok_or_else(|| "seats without an ETag".to_owned())).await
    }

    async fn learn_seats(&self, path: &str) -> Option<()> {
        let headers = [("queue-token", self.token.as_str())];
        let question = Question { step: "seats", request: self.get(path, &headers), right: &["200"], unheard: &[] };
        self.insist(&question, |answer, _| self.world.seats.learn_list(answer)).await
    }

    /// Reads the whole list. Answers whether the seats are known.
    pub(super) async fn read_seats(&self) -> bool {
        let seats = &self.world.seats;
        if seats.begun.replace(true) && self.open_seat_map(None).await.is_none() {
            return false;
        }
        // If whoever began did not get it, the next one does.
        let whole = || async { self.learn_seats(&self.world.plan.paths.seats).await.ok_or(()) };
        seats.whole.get_or_try_init(whole).await.is_ok()
    }

    /// Reads what has changed since anybody read seats. Answers whether the seats are known.
    pub(super) async fn read_changes(&self) -> bool {
        let as_of = self.world.seats.map.borrow().as_of;
        let path = format!("{}?since={as_of}", self.world.plan.paths.seats);
        self.learn_seats(&path).await.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(id: u128, version: i32, state: &'static str) -> ToldSeat<'static> {
        ToldSeat { seat_id: Uuid::from_u128(id), state: state.into(), version }
    }

    fn free(map: &SeatMap) -> Vec<u128> {
        let mut free: Vec<u128> = map.free.iter().map(Uuid::as_u128).collect();
        free.sort_unstable();
        for (at, id) in map.free.iter().enumerate() {
            assert_eq!(map.seats[id].free_at, Some(at));
        }
        free
    }

    #[test]
    fn what_is_free_follows_what_was_told_and_old_news_changes_nothing() {
        let mut map = SeatMap::default();
        assert_eq!((map.any_free(), map.first), (None, None));
        map.learn(&[told(5, 1, "available"), told(2, 1, "sold"), told(3, 1, "available"), told(4, 7, "available")]);
        assert_eq!((free(&map), map.first), (vec![3, 4, 5], Some(Uuid::from_u128(5))));
        map.learn(&[told(5, 2, "held"), told(2, 2, "available"), told(4, 6, "held")]);
        assert_eq!(free(&map), [2, 3, 4], "seat 4 was told as it had been before");
        assert_eq!(map.seat(Uuid::from_u128(5)), Some(Seat { id: Uuid::from_u128(5), version: 2 }));
        map.learn(&[told(3, 2, "held"), told(2, 3, "held"), told(4, 8, "held"), told(4, 8, "held")]);
        assert_eq!((free(&map), map.any_free()), (vec![], None));
        map.learn(&[told(4, 9, "available")]);
        assert_eq!(map.any_free(), Some(Seat { id: Uuid::from_u128(4), version: 9 }));
    }

    #[test]
    fn every_free_seat_is_chosen_at_some_time() {
        let mut map = SeatMap::default();
        map.learn(&(0..5).map(|id| told(id, 1, "available")).collect::<Vec<_>>());
        let chosen: std::collections::BTreeSet<_> =
            (0..1_000).filter_map(|_| map.any_free()).map(|seat| seat.id).collect();
        assert_eq!(chosen.len(), 5);
    }
}
