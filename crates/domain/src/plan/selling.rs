//! What called fans do, step by step.

use super::{
    chance::whole,
    simulation::Run,
    turns::{Step, Turn, Who},
};

/// Most seconds in which a fan who lost a race, or sees a seat that came back, chooses.
const CHOOSE_AGAIN_SECS: f64 = 5.0;

impl Run<'_> {
    /// A slot is taken; the claim window begins.
    pub(super) fn call(&mut self, id: u32) {
        let Some(mut turn) = self.turns.get(id) else { return };
        self.taken += 1;
        turn.called_at = self.now;
        let comes_after = match turn.who {
            Who::Absent | Who::Gone => u32::MAX,
            Who::Robot => 1,
            _ => self.tables.notice.draw(&mut turn.chance),
        };
        let claim_secs = self.rules.claim_secs;
        if comes_after <= claim_secs {
            self.turns.plan(id, turn, Step::Arrives, self.now, self.now + comes_after);
        } else {
            turn.until = self.now.saturating_add(comes_after);
            self.turns.plan(id, turn, Step::Lapses, self.now, self.now + claim_secs);
        }
    }

    /// What happens to a turn in this second.
    pub(super) fn step(&mut self, id: u32, mut turn: Turn) {
        match turn.step {
            Step::Arrives => self.arrives(id, turn),
            Step::Lapses => self.lapses(id, turn),
            Step::Returns => {
                self.returned += 1;
                turn.step = Step::Back;
                turn.came_back = true;
                self.back.insert((turn.number, id));
                self.turns.put(id, turn);
            }
            Step::Chooses => self.chooses(id, turn),
            Step::Looks => {
                self.load.seats += 1.0;
                if self.available > 0 {
                    self.chooses_again(id, turn);
                } else {
                    self.searches(id, turn);
                }
            }
            Step::Closes => self.closes(id, turn),
            Step::Pays => {
                self.load.pay += 1.0;
                self.held -= turn.holds;
                self.sold += turn.holds;
                self.fates.bought += 1;
                self.last_paid_at = Some(self.now);
                if let Some(group) = self.groups.get_mut(usize::from(turn.group)) {
                    group.bought += 1;
                }
                self.free_slot(id, turn);
            }
            Step::HoldEnds => self.hold_ends(id, turn),
            Step::RunsOut => self.ends(id, turn),
            Step::Ended | Step::Back => {}
        }
    }

    /// The slot is free for the next, and the turn over.
    fn free_slot(&mut self, id: u32, turn: Turn) {
        self.taken -= 1;
        self.slot_secs += f64::from(self.now - turn.called_at);
        self.slots_ended += 1;
        self.turns.end(id, turn);
    }

    /// The turn is over and its fan has no seats.
    fn ends(&mut self, id: u32, mut turn: Turn) {
        self.stops_reading(&mut turn);
        match turn.who {
            Who::Robot => self.fates.robots += 1,
            Who::Looker => self.fates.looked_only += 1,
            Who::Buyer => self.fates.without_seats += 1,
            Who::Absent => self.fates.no_shows += 1,
            Who::Gone => self.fates.gave_up += 1,
            Who::Stranger => {}
        }
        self.free_slot(id, turn);
    }

    fn stops_reading(&mut self, turn: &mut Turn) {
        if std::mem::take(&mut turn.reads) {
            self.reading -= 1;
        }
    }

    /// The turn was not used in time: it goes to the next. Its fan may come back once.
    fn lapses(&mut self, id: u32, mut turn: Turn) {
        self.lapsed += 1;
        self.owed += 1;
        let back_until = self.now.saturating_add(self.rules.return_secs);
        if matches!(turn.who, Who::Absent | Who::Gone) || turn.came_back || turn.until > back_until {
            if turn.who != Who::Gone {
                turn.who = Who::Absent;
            }
            return self.ends(id, turn);
        }
        self.taken -= 1;
        self.slot_secs += f64::from(self.now - turn.called_at);
        self.slots_ended += 1;
        self.turns.plan(id, turn, Step::Returns, self.now, turn.until);
    }

    /// The first use of the turn: the seats.
    fn arrives(&mut self, id: u32, mut turn: Turn) {
        self.load.seats += 1.0;
        turn.last = self.now + self.rules.absolute_secs;
        turn.wants = match turn.who {
            Who::Robot => self.sale.seats_per_fan,
            _ => {
                let share = turn.chance.share();
                let more = self.tables.seats_within.iter().take_while(|within| **within < share).count();
                u32::try_from(more + 1).unwrap_or(1).min(self.sale.seats_per_fan)
            }
        };
        let reads_secs = if turn.who == Who::Robot { 1 } else { self.tables.read.draw(&mut turn.chance) };
        if turn.who != Who::Robot {
            turn.reads = true;
            self.reading += 1;
        }
        let step = if turn.who == Who::Looker { Step::Closes } else { Step::Chooses };
        self.again(id, turn, step, reads_secs);
    }

    /// The next step comes after so many seconds, unless the turn ends first. A page that shows seats keeps the turn alive up to
    /// its last end.
    fn again(&mut self, id: u32, turn: Turn, step: Step, after_secs: u32) {
        let at = self.now + after_secs;
        if at < turn.last {
            self.turns.plan(id, turn, step, self.now, at);
        } else {
            self.turns.plan(id, turn, Step::RunsOut, self.now, turn.last);
        }
    }

    /// Closes the page, so that the turn runs out, or gives the turn up.
    fn closes(&mut self, id: u32, mut turn: Turn) {
        self.stops_reading(&mut turn);
        if turn.chance.share() < self.sale.crowd.says_goodbye_share {
            return self.ends(id, turn);
        }
        let until = (self.now + self.rules.sliding_secs).min(turn.last);
        self.turns.plan(id, turn, Step::RunsOut, self.now, until);
    }

    /// There are no seats: looks again and again whether one comes back, for a while.
    fn searches(&mut self, id: u32, mut turn: Turn) {
        if turn.searches_until == 0 {
            let secs = if turn.who == Who::Robot { u32::MAX } else { self.tables.search.draw(&mut turn.chance) };
            turn.searches_until = self.now.saturating_add(secs);
        }
        let step = if self.now < turn.searches_until { Step::Looks } else { Step::Closes };
        self.again(id, turn, step, self.sale.crowd.look_every_secs);
    }

    fn loses(&mut self) {
        self.lost_races += 1;
        self.load.lost += 1.0;
    }

    /// Chooses seats that are shown now: some are quicker than others.
    fn chooses_again(&mut self, id: u32, mut turn: Turn) {
        let secs = whole((turn.chance.share() * CHOOSE_AGAIN_SECS).ceil()).max(1);
        self.again(id, turn, Step::Chooses, secs);
    }

    /// Tries to reserve: may find nothing, may lose a race, else holds all that is wanted or what there is.
    fn chooses(&mut self, id: u32, mut turn: Turn) {
        self.stops_reading(&mut turn);
        turn.until = (self.now + self.rules.sliding_secs).min(turn.last);
        let seats = turn.wants.min(self.available);
        if seats == 0 {
            self.loses();
            return self.searches(id, turn);
        }
        let all_there = (1.0 - self.gone_share).powi(i32::try_from(seats).unwrap_or(1));
        if turn.chance.share() >= all_there {
            self.loses();
            return self.chooses_again(id, turn);
        }
        self.load.reserve += 1.0;
        turn.holds = seats;
        self.available -= seats;
        self.held += seats;
        if let Some(now) = self.lately.back_mut() {
            *now += seats;
        }
        let hold_secs = self.rules.hold_secs;
        let pays_after = match turn.who {
            Who::Robot => u32::MAX,
            _ => self.tables.decide.draw(&mut turn.chance).saturating_add(self.tables.pay.draw(&mut turn.chance)),
        };
        if pays_after < hold_secs {
            self.turns.plan(id, turn, Step::Pays, self.now, self.now + pays_after);
        } else {
            self.turns.plan(id, turn, Step::HoldEnds, self.now, self.now + hold_secs);
        }
    }

    /// The seats come back. While the turn lives its fan tries again; a robot keeps its turn alive.
    fn hold_ends(&mut self, id: u32, mut turn: Turn) {
        self.holds_ended += 1;
        self.held -= turn.holds;
        self.available += turn.holds;
        turn.holds = 0;
        match turn.who {
            Who::Robot if self.now + 1 < turn.last => self.again(id, turn, Step::Chooses, 1),
            Who::Buyer if self.now < turn.until => self.chooses_again(id, turn),
            _ => self.ends(id, turn),
        }
    }
}
