//! Chance that can be had again: the same seed gives the same sale, and each fan has chances of their own, so that two
//! policies are compared with the same fans.

use super::crowd::Spread;

/// The chances of one fan, one after the other (splitmix64).
#[derive(Debug, Clone, Copy)]
pub(super) struct Chance(u64);

impl Chance {
    /// Those of the fan with this index.
    pub(super) fn of(seed: u64, fan: u32) -> Self {
        let mut mixed = Self(seed ^ u64::from(fan).wrapping_mul(0xD134_2543_DE82_EF95));
        Self(mixed.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// 0 up to 1.
    pub(super) fn share(&mut self) -> f64 {
        // 32 bits are exact, and finer than any share that anybody gives.
        f64::from(self.bits(32)) / 4_294_967_296.0
    }

    /// A number of so many bits, up to 32.
    fn bits(&mut self, many: u32) -> u32 {
        u32::try_from(self.next() >> (64 - many)).unwrap_or(u32::MAX)
    }
}

/// Bits of an index of [`Times`].
const FINE: u32 = 11;

/// Whole seconds at evenly spaced shares of a [`Spread`], so that drawing one is looking one up.
#[derive(Debug, Clone)]
pub(super) struct Times(Vec<u32>);

impl Times {
    /// At least a second each: what follows happens in a later second.
    pub(super) fn of(spread: Spread) -> Self {
        let many = 1_u32 << FINE;
        let secs = |index: u32| spread.quantile((f64::from(index) + 0.5) / f64::from(many));
        Self((0..many).map(|index| whole(secs(index).round()).max(1)).collect())
    }

    /// One of them.
    pub(super) fn draw(&self, chance: &mut Chance) -> u32 {
        let index = usize::try_from(chance.bits(FINE)).unwrap_or(0);
        self.0.get(index).copied().unwrap_or(1)
    }
}

/// A number that is not negative, without what stands behind the point.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the range of the type")]
pub(super) fn whole(number: f64) -> u32 {
    number.clamp(0.0, f64::from(u32::MAX)) as u32
}

/// Up to which standard deviation a share of a normal distribution lies (Acklam's approximation, error below 1.2e-9).
pub(super) fn normal_quantile(share: f64) -> f64 {
    const A: [f64; 6] = [
        -39.696_830_286_653_76,
        220.946_098_424_520_5,
        -275.928_510_446_968_7,
        138.357_751_867_269,
        -30.664_798_066_147_16,
        2.506_628_277_459_239,
    ];
    const B: [f64; 6] = [
        -54.476_098_798_224_06,
        161.585_836_858_040_9,
        -155.698_979_859_886_6,
        66.801_311_887_719_72,
        -13.280_681_552_885_72,
        1.0,
    ];
    const C: [f64; 6] = [
        -0.007_784_894_002_430_293,
        -0.322_396_458_041_136_5,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const D: [f64; 5] =
        [0.007_784_695_709_041_462, 0.322_467_129_070_039_8, 2.445_134_137_142_996, 3.754_408_661_907_416, 1.0];
    let polynomial = |factors: &[f64], at: f64| factors.iter().fold(0.0, |sum, factor| sum * at + factor);
    let share = share.clamp(1e-9, 1.0 - 1e-9);
    let tail = |share: f64| {
        let at = (-2.0 * share.ln()).sqrt();
        polynomial(&C, at) / polynomial(&D, at)
    };
    if share < 0.024_25 {
        tail(share)
    } else if share > 0.975_75 {
        -tail(1.0 - share)
    } else {
        let at = share - 0.5;
        at * polynomial(&A, at * at) / polynomial(&B, at * at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_normal_distribution_is_the_known_one() {
        for (share, deviations) in [(0.5, 0.0), (0.9, 1.281_551_566), (0.01, -2.326_347_874), (0.999, 3.090_232_306)] {
            assert!((normal_quantile(share) - deviations).abs() < 1e-6, "{share}");
        }
    }

    #[test]
    fn chances_are_even_and_the_same_each_time() {
        let mut sum = 0.0;
        for fan in 0..10_000 {
            let (mut one, mut same) = (Chance::of(7, fan), Chance::of(7, fan));
            let share = one.share();
            assert!((0.0..1.0).contains(&share) && share.to_bits() == same.share().to_bits());
            sum += share;
        }
        assert!((sum / 10_000.0 - 0.5).abs() < 0.01, "{sum}");
        assert_ne!(Chance::of(7, 1).next(), Chance::of(8, 1).next());
    }

    #[test]
    fn drawn_times_have_the_median_and_the_p90_that_were_given() {
        let times = Times::of(Spread::new(60.0, 180.0));
        let mut drawn: Vec<u32> = (0..20_000).map(|fan| times.draw(&mut Chance::of(1, fan))).collect();
        drawn.sort_unstable();
        assert!((58..=62).contains(&drawn[10_000]), "{}", drawn[10_000]);
        assert!((174..=186).contains(&drawn[18_000]), "{}", drawn[18_000]);
        assert!(Times::of(Spread::fixed(30.0)).0.iter().all(|secs| *secs == 30));
    }
}
