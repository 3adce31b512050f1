//! Fans who were called, and what happens to each of them next.

use super::chance::Chance;

/// No turn.
const NOBODY: u32 = u32::MAX;

/// What a called fan will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// Buys, if there are seats.
    Buyer,
    /// Looks at the seats and closes the page.
    Looker,
    /// Holds seats and does not pay.
    Robot,
    /// Does not come.
    Absent,
    /// Has closed the page while waiting.
    Gone,
    /// Was there before the simulation began.
    Stranger,
}

/// What happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing: the turn is over.
    Ended,
    /// The turn is used for the first time.
    Arrives,
    /// The turn was not used in time.
    Lapses,
    /// A fan whose turn lapsed shows up.
    Returns,
    /// Waits at the head of the line.
    Back,
    /// Tries to reserve.
    Chooses,
    /// Looks whether a seat has come back.
    Looks,
    /// Has seen enough.
    Closes,
    /// Pays.
    Pays,
    /// The hold ends unpaid.
    HoldEnds,
    /// The turn runs out.
    RunsOut,
}

/// A called fan.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn {
    /// The next one of the same second.
    next: u32,
    pub(super) step: Step,
    pub(super) who: Who,
    /// Place in the order of joining.
    pub(super) number: u32,
    pub(super) chance: Chance,
    pub(super) called_at: u32,
    /// When the turn ends unless it is used; for a lapsed one, when its fan shows up.
    pub(super) until: u32,
    /// When the turn ends, used or not.
    pub(super) last: u32,
    /// When the fan stops looking for seats that come back; 0 before finding none.
    pub(super) searches_until: u32,
    pub(super) wants: u32,
    pub(super) holds: u32,
    /// Which group of arrivals.
    pub(super) group: u8,
    pub(super) came_back: bool,
    pub(super) reads: bool,
}

impl Turn {
    pub(super) fn new(number: u32, who: Who, chance: Chance, group: u8) -> Self {
        Self {
            next: NOBODY,
            step: Step::Ended,
            who,
            number,
            chance,
            called_at: 0,
            until: 0,
            last: 0,
            searches_until: 0,
            wants: 1,
            holds: 0,
            group,
            came_back: false,
            reads: false,
        }
    }
}

/// All called fans, and a wheel of seconds on which the next step of each stands. Nothing is allocated for a step.
#[derive(Debug)]
pub(super) struct Turns {
    all: Vec<Turn>,
    free: Vec<u32>,
    /// The first turn of each second; a power of two of them.
    wheel: Vec<u32>,
}

impl Turns {
    /// For steps that lie at most so many seconds ahead.
    pub(super) fn new(longest_secs: u32) -> Self {
        let seconds = (longest_secs + 2).next_power_of_two();
        Self { all: vec![], free: vec![], wheel: vec![NOBODY; usize::try_from(seconds).unwrap_or(1)] }
    }

    /// How many are not over.
    pub(super) fn count(&self) -> usize {
        self.all.len() - self.free.len()
    }

    /// Room for one more.
    pub(super) fn open(&mut self, turn: Turn) -> u32 {
        if let Some(id) = self.free.pop() {
            self.put(id, turn);
            return id;
        }
        self.all.push(turn);
        u32::try_from(self.all.len() - 1).unwrap_or(NOBODY)
    }

    pub(super) fn get(&self, id: u32) -> Option<Turn> {
        self.all.get(usize::try_from(id).ok()?).copied()
    }

    /// The turn as it is now.
    pub(super) fn put(&mut self, id: u32, turn: Turn) {
        if let Some(known) = usize::try_from(id).ok().and_then(|id| self.all.get_mut(id)) {
            *known = turn;
        }
    }

    /// `step` happens at `at`, and not before the second after `now`.
    pub(super) fn plan(&mut self, id: u32, mut turn: Turn, step: Step, now: u32, at: u32) {
        let longest = u32::try_from(self.wheel.len()).unwrap_or(u32::MAX) - 1;
        let at = at.clamp(now + 1, now + longest);
        turn.step = step;
        if let Some(first) = usize::try_from(at).ok().and_then(|at| {
            let seconds = self.wheel.len();
            self.wheel.get_mut(at % seconds)
        }) {
            turn.next = std::mem::replace(first, id);
        }
        self.put(id, turn);
    }

    /// The first turn of which something happens in this second; [`Turns::after`] has the others.
    pub(super) fn due(&mut self, now: u32) -> Option<u32> {
        let seconds = self.wheel.len();
        let first = self.wheel.get_mut(usize::try_from(now).ok()? % seconds)?;
        Some(std::mem::replace(first, NOBODY)).filter(|id| *id != NOBODY)
    }

    /// The next one of the same second. To be asked before this turn is planned anew.
    pub(super) fn after(turn: &Turn) -> Option<u32> {
        Some(turn.next).filter(|id| *id != NOBODY)
    }

    /// The turn is over, and its room is free.
    pub(super) fn end(&mut self, id: u32, turn: Turn) {
        self.put(id, Turn { step: Step::Ended, ..turn });
        self.free.push(id);
    }

    /// Those that are not over.
    pub(super) fn standing(&self) -> impl Iterator<Item = &Turn> {
        self.all.iter().filter(|turn| turn.step != Step::Ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_happens_in_its_second_and_room_is_used_again() {
        let mut turns = Turns::new(100);
        let turn = |number| Turn::new(number, Who::Buyer, Chance::of(1, number), 0);
        for number in 0..300 {
            let id = turns.open(turn(number));
            turns.plan(id, turn(number), Step::Pays, 0, number / 3);
        }
        let mut seen = 0;
        for now in 1..100 {
            let mut next = turns.due(now);
            while let Some(id) = next {
                let one = turns.get(id).expect("a turn");
                next = Turns::after(&one);
                assert!(one.number / 3 == now || now == 1 && one.number < 6, "never in the second that is");
                turns.end(id, one);
                seen += 1;
            }
        }
        assert_eq!((seen, turns.count(), turns.standing().count()), (300, 0, 0));
        turns.open(turn(1));
        assert_eq!((turns.count(), turns.all.len()), (1, 300));
    }
}
