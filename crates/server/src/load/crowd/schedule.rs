//! When fans come, and of which kind each of them is.

use std::{collections::BTreeMap, time::Duration};

use crate::load::scenario::{Kind, Stage};

/// When a fan comes, counted from the start. Each stage sends its fans at even distances.
pub(super) fn due(stages: &[Stage], index: usize) -> Duration {
    let index = real(index);
    let (mut at_secs, mut before) = (0.0, 0.0);
    for stage in stages {
        let fans = stage.secs * stage.rate;
        if index < before + fans {
            at_secs += (index - before) / stage.rate;
            break;
        }
        at_secs += stage.secs;
        before += fans;
    }
    // Rounding may leave the last fan behind the last stage: then it comes at its end.
    Duration::try_from_secs_f64(at_secs).unwrap_or_default()
}

/// What each fan is like: the same in each run, as many of each kind as its share says, and mixed at any moment.
pub(super) fn kinds(shares: &BTreeMap<Kind, f64>, fans: usize) -> Vec<Kind> {
    let wanted = wanted(shares, fans);
    let mut given = vec![0; wanted.len()];
    let mut kinds = Vec::with_capacity(fans);
    for come in 1..=fans {
        // Who is farthest behind its share of those who have come, in whole numbers, so that nothing is rounded.
        let mut next: Option<(i128, Kind, &mut usize)> = None;
        for ((kind, wanted), given) in wanted.iter().zip(&mut given) {
            let behind = product(*wanted, come) - product(*given, fans);
            if next.as_ref().is_none_or(|(most, ..)| behind > *most) {
                next = Some((behind, *kind, given));
            }
        }
        let Some((_, kind, given)) = next else { break };
        *given += 1;
        kinds.push(kind);
    }
    kinds
}

/// How many fans are of each kind: whole numbers, with the rest to those who lose most by rounding.
fn wanted(shares: &BTreeMap<Kind, f64>, fans: usize) -> Vec<(Kind, usize)> {
    let exact = || shares.iter().map(|(kind, share)| (*kind, (share * real(fans)).max(0.0)));
    let mut wanted: Vec<(Kind, usize)> = exact().map(|(kind, exact)| (kind, whole(exact))).collect();
    let missing = fans.saturating_sub(wanted.iter().map(|(_, count)| count).sum());
    let mut lost: Vec<(usize, f64)> = exact().map(|(_, exact)| exact.fract()).enumerate().collect();
    // Stable, so equals stay in the order of kinds.
    lost.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    for (at, _) in lost.into_iter().take(missing) {
        if let Some((_, count)) = wanted.get_mut(at) {
            *count += 1;
        }
    }
    wanted
}

fn product(one: usize, other: usize) -> i128 {
    i128::try_from(one).unwrap_or(i128::MAX).saturating_mul(i128::try_from(other).unwrap_or(i128::MAX))
}

/// A count as a number that can be divided.
fn real(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "fans are a million at most, and none below 0"
)]
fn whole(exact: f64) -> usize {
    exact.floor() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAGES: [Stage; 3] =
        [Stage { secs: 2.0, rate: 10.0 }, Stage { secs: 0.5, rate: 1_000.0 }, Stage { secs: 4.0, rate: 2.5 }];

    #[test]
    fn each_stage_sends_its_fans_at_even_distances_and_none_after_the_last() {
        let due_ms = |index| due(&STAGES, index).as_millis();
        assert_eq!((due_ms(0), due_ms(1), due_ms(19)), (0, 100, 1_900));
        assert_eq!((due_ms(20), due_ms(21), due_ms(519)), (2_000, 2_001, 2_499));
        assert_eq!((due_ms(520), due_ms(521), due_ms(529)), (2_500, 2_900, 6_100));
        assert_eq!((due_ms(530), due_ms(1_000_000)), (6_500, 6_500), "the end of the last stage");
        let mut by_second = [0; 7];
        (0..530).for_each(|index| by_second[usize::try_from(due(&STAGES, index).as_secs()).unwrap()] += 1);
        assert_eq!(by_second, [10, 10, 502, 2, 3, 2, 1]);
        assert!((1..530).all(|index| due(&STAGES, index) > due(&STAGES, index - 1)), "one after the other");
    }

    fn shares(shares: &[(Kind, f64)]) -> BTreeMap<Kind, f64> {
        shares.iter().copied().collect()
    }

    fn count(kinds: &[Kind], of: Kind) -> usize {
        kinds.iter().filter(|kind| **kind == of).count()
    }

    #[test]
    fn shares_are_exact_mixed_and_the_same_each_time() {
        let shares = shares(&[
            (Kind::Polite, 0.84),
            (Kind::Rude, 0.03),
            (Kind::Robot, 0.03),
            (Kind::Leaver, 0.04),
            (Kind::Mover, 0.04),
            (Kind::NoShow, 0.02),
        ]);
        let kinds = kinds(&shares, 3_000);
        let counts = shares.keys().map(|kind| count(&kinds, *kind)).collect::<Vec<_>>();
        assert_eq!((counts, kinds.len()), (vec![2_520, 90, 90, 120, 120, 60], 3_000));
        assert_eq!(kinds, super::kinds(&shares, 3_000));
        for (hundred, some) in kinds.chunks(100).enumerate() {
            for (kind, share) in &shares {
                let off = real(count(some, *kind)) - share * 100.0;
                assert!(off.abs() <= 2.0, "{kind:?} is off by {off} among fans {hundred}00 to {hundred}99");
            }
        }
    }

    #[test]
    fn what_does_not_divide_goes_to_who_loses_most_and_no_fan_is_lost() {
        let three = shares(&[(Kind::Polite, 1.0 / 3.0), (Kind::Rude, 1.0 / 3.0), (Kind::Robot, 1.0 / 3.0)]);
        let counts = |shares: &BTreeMap<Kind, f64>, fans| {
            let kinds = kinds(shares, fans);
            shares.keys().map(|kind| count(&kinds, *kind)).collect::<Vec<_>>()
        };
        assert_eq!((counts(&three, 100), counts(&three, 99)), (vec![34, 33, 33], vec![33, 33, 33]));
        let rare = shares(&[(Kind::Polite, 0.97), (Kind::NoShow, 0.03)]);
        assert_eq!((counts(&rare, 10), counts(&rare, 50)), (vec![10, 0], vec![49, 1]));
        assert_eq!(counts(&shares(&[(Kind::Polite, 1.0), (Kind::Rude, 0.0)]), 7), [7, 0]);
        assert!(super::kinds(&three, 0).is_empty() && super::kinds(&BTreeMap::new(), 5).is_empty());
    }
}
