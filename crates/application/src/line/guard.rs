//! Refuses polls that come much too early, without asking any store.

use std::sync::atomic::{AtomicU64, Ordering};

use onsale_domain::queue::is_much_too_early;
use uuid::Uuid;

/// Slots, 8 bytes each. Two fans who share a slot push each other out, which only lets an early poll through.
const SLOTS: usize = 1 << 20;

/// When each fan was last told to come back, in a table of fixed size.
pub struct PollGuard {
    slots: Option<Box<[AtomicU64]>>,
}

impl PollGuard {
    /// A table, or one that lets everybody through.
    pub fn new(enabled: bool) -> Self {
        Self { slots: enabled.then(|| std::iter::repeat_with(AtomicU64::default).take(SLOTS).collect()) }
    }

    fn slot(&self, place: Uuid) -> Option<(&AtomicU64, u64)> {
        let (high, low) = place.as_u64_pair();
        // The last 62 bits of an id are random.
        let slot = usize::try_from(low).unwrap_or(0) % SLOTS;
        let mark = (high ^ (low >> 20)) & 0xFFFF;
        self.slots.as_ref()?.get(slot).map(|cell| (cell, mark))
    }

    /// Notes that the owner of a place was told at `now_ms` to come back after `told_ms`.
    pub fn told(&self, place: Uuid, now_ms: i64, told_ms: i64) {
        let Some((cell, mark)) = self.slot(place) else { return };
        // 16 bits of the id, 16 bits of the time told in 4 ms, 32 bits of now in ms (49 days, then it starts anew).
        let told = u64::try_from((told_ms / 4).clamp(0, 0xFFFF)).unwrap_or(0);
        let now = u64::try_from(now_ms.max(0)).unwrap_or(0) & 0xFFFF_FFFF;
        cell.store(mark << 48 | told << 32 | now, Ordering::Relaxed);
    }

    /// Milliseconds after which the owner of the place may ask; `None` when now.
    pub fn too_early_ms(&self, place: Uuid, now_ms: i64) -> Option<i64> {
        let (cell, mark) = self.slot(place)?;
        let value = cell.load(Ordering::Relaxed);
        if value == 0 || value >> 48 != mark {
            return None;
        }
        let told = i64::try_from((value >> 32) & 0xFFFF).unwrap_or(0) * 4;
        let then = i64::try_from(value & 0xFFFF_FFFF).unwrap_or(0);
        let passed = (now_ms & 0xFFFF_FFFF) - then;
        (passed >= 0 && is_much_too_early(told, passed)).then_some(told / 4 - passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poll_before_a_quarter_of_the_time_is_refused_and_a_later_one_is_not() {
        let guard = PollGuard::new(true);
        let place = Uuid::from_u128(0x0199_7b1e_7f1c_7a63_9d0c_0d6f_0f4e_6a55);
        assert_eq!(guard.too_early_ms(place, 1_000), None, "never told");
        guard.told(place, 1_000, 8_000);
        assert_eq!(guard.too_early_ms(place, 1_000), Some(2_000));
        assert_eq!(guard.too_early_ms(place, 2_999), Some(1));
        assert_eq!(guard.too_early_ms(place, 3_000), None);
        assert_eq!(guard.too_early_ms(Uuid::from_u128(7), 1_000), None, "somebody else");
        let open = PollGuard::new(false);
        open.told(place, 1_000, 8_000);
        assert_eq!(open.too_early_ms(place, 1_000), None);
    }
}
