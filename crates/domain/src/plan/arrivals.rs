//! Fans who come, wait, give up, and are called in the order of joining.

use super::{
    chance::{Chance, whole},
    crowd::Crowd,
    simulation::{Cohort, Run},
    turns::{Turn, Who},
};

impl Run<'_> {
    pub(super) fn lose_patience(&mut self) {
        let Ok(second) = usize::try_from(self.now) else { return };
        let left = self.leaves_at.get(second).copied().unwrap_or(0);
        self.waiting -= left;
        self.fates.gave_up += left;
        self.closed_page += self.closes_at.get(second).copied().unwrap_or(0);
    }

    /// What this second's arrivals are, and whether there is room for them.
    pub(super) fn join(&mut self) {
        let Crowd { fans, arrivals, .. } = &self.sale.crowd;
        let all = (*fans).min(self.scope.most_fans);
        if self.now > 0 && self.arrived >= all {
            return;
        }
        let come =
            arrivals.before_share + (1.0 - arrivals.before_share) * arrivals.after.come_by(f64::from(self.now) + 1.0);
        let target = whole((f64::from(*fans) * come).round()).min(all);
        let mut first = self.arrived;
        if self.now == 0 {
            let before = whole((f64::from(*fans) * arrivals.before_share).round()).min(target);
            self.stand_in_line(0, before);
            first = before;
        }
        self.arrived = target.max(first);
        self.load.join = f64::from(self.arrived - first);
        while first < self.arrived && self.is_idle() {
            self.stand_in_line(first, first + 1);
            self.call_next();
            first += 1;
        }
        self.stand_in_line(first, self.arrived);
    }

    /// Whether a fan who joins now is called at once.
    fn is_idle(&self) -> bool {
        self.sale.policy.idle_admission
            && self.waiting == 0
            && self.back.is_empty()
            && self.taken < self.rules.limit
            && self.sold_out_at.is_none()
    }

    fn stand_in_line(&mut self, first: u32, end: u32) {
        let room = self.rules.waiting_limit.saturating_sub(self.waiting);
        let taken = end.saturating_sub(first).min(room);
        self.fates.refused += end.saturating_sub(first) - taken;
        let end = first + taken;
        if taken == 0 {
            return;
        }
        // Where nobody gives up, those in line need not be looked at one by one.
        let impatient = if self.tables.patience.is_some() { first..end } else { first..first };
        for fan in impatient {
            let (_, _, patience) = self.chances(fan);
            if let Some((leaves, secs)) = patience
                && let Some(count) = self.gives_up(leaves, self.now.saturating_add(secs))
            {
                *count += 1;
            }
        }
        self.waiting += taken;
        let group = self.group(self.now, first);
        if let Some(group) = self.groups.get_mut(group) {
            group.joined += taken;
        }
        self.line.push_back(Cohort { joined_at: self.now, next: first, end });
    }

    /// Fans of the pre-queue are those before the first that joined after the opening.
    fn group(&self, joined_at: u32, fan: u32) -> usize {
        let before = whole((f64::from(self.sale.crowd.fans) * self.sale.crowd.arrivals.before_share).round());
        match joined_at {
            0 if fan < before => 0,
            ..60 => 1,
            60..600 => 2,
            _ => 3,
        }
    }

    /// The count of those who leave, or close the page, in this second; beyond the horizon nobody counts.
    fn gives_up(&mut self, leaves: bool, at: u32) -> Option<&mut u32> {
        let counts = if leaves { &mut self.leaves_at } else { &mut self.closes_at };
        counts.get_mut(usize::try_from(at).ok()?)
    }

    /// What this fan does: the rest of the chances, who it is, and whether and when the fan gives up: leaving or not, and after
    /// how many seconds.
    fn chances(&self, fan: u32) -> (Chance, Who, Option<(bool, u32)>) {
        let mut chance = Chance::of(self.seed, fan);
        let Crowd { no_show_share, robots_share, looks_only_share, says_goodbye_share, .. } = self.sale.crowd;
        let share = chance.share();
        let who = match share {
            _ if share < robots_share => Who::Robot,
            _ if share < robots_share + no_show_share => Who::Absent,
            _ if share < robots_share + no_show_share + looks_only_share => Who::Looker,
            _ => Who::Buyer,
        };
        let patience = self.tables.patience.as_ref().filter(|_| who != Who::Robot).map(|patience| {
            let secs = patience.draw(&mut chance);
            (chance.share() < says_goodbye_share, secs)
        });
        (chance, who, patience)
    }

    /// Calls the fan who stands first and has not left. Answers whether there was one.
    pub(super) fn call_next(&mut self) -> bool {
        loop {
            let Some(cohort) = self.line.front_mut() else { return false };
            if cohort.next == cohort.end {
                self.line.pop_front();
                continue;
            }
            let Cohort { joined_at, next: fan, .. } = *cohort;
            cohort.next += 1;
            self.served += 1;
            let (chance, mut who, patience) = self.chances(fan);
            if let Some((leaves, secs)) = patience {
                let at = joined_at.saturating_add(secs);
                let is_past = at <= self.now && at < self.scope.horizon_secs;
                match (leaves, is_past) {
                    (true, true) => continue,
                    (false, true) => {
                        self.closed_page -= 1;
                        who = Who::Gone;
                    }
                    (_, false) => {
                        if let Some(count) = self.gives_up(leaves, at) {
                            *count -= 1;
                        }
                    }
                }
            }
            self.waiting -= 1;
            self.called += 1;
            let group = self.group(joined_at, fan);
            if let Some(group) = self.groups.get_mut(group) {
                group.called += 1;
            }
            if who != Who::Gone {
                self.note_wait(self.now - joined_at);
            }
            let id = self.turns.open(Turn::new(fan, who, chance, u8::try_from(group).unwrap_or(0)));
            self.call(id);
            return true;
        }
    }

    fn note_wait(&mut self, secs: u32) {
        let secs = usize::try_from(secs).unwrap_or(0);
        if self.waited.len() <= secs {
            self.waited.resize(secs + 1, 0);
        }
        if let Some(many) = self.waited.get_mut(secs) {
            *many += 1;
        }
    }
}
