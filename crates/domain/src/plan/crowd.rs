//! Who comes to a sale, when, and how long they take.

use serde::{Deserialize, Serialize};

use super::chance::normal_quantile;
use crate::fault::Faults;

/// Deviations of the 90th percentile.
const Z90: f64 = 1.281_551_565_544_6;

/// A time that differs from fan to fan: log-normal, told by its median and the time within which nine of ten are done.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spread {
    /// Half take no longer, in seconds.
    pub median_secs: f64,
    /// Nine in ten take no longer, in seconds.
    pub p90_secs: f64,
}

impl Spread {
    /// With this median and this 90th percentile, in seconds.
    pub const fn new(median_secs: f64, p90_secs: f64) -> Self {
        Self { median_secs, p90_secs }
    }

    /// The same for everybody.
    pub const fn fixed(secs: f64) -> Self {
        Self::new(secs, secs)
    }

    fn sigma(self) -> f64 {
        if self.median_secs > 0.0 { ((self.p90_secs / self.median_secs).ln() / Z90).max(0.0) } else { 0.0 }
    }

    /// Within how many seconds this share of the fans is done.
    pub fn quantile(self, share: f64) -> f64 {
        self.median_secs * (self.sigma() * normal_quantile(share)).exp()
    }

    /// Seconds on average.
    pub fn mean_secs(self) -> f64 {
        self.median_secs * (self.sigma().powi(2) / 2.0).exp()
    }

    /// Everybody takes so many times as long.
    pub fn times(self, factor: f64) -> Self {
        Self::new(self.median_secs * factor, self.p90_secs * factor)
    }

    fn is_right(self) -> bool {
        (0.0..=86_400.0).contains(&self.median_secs) && (self.median_secs..=864_000.0).contains(&self.p90_secs)
    }
}

/// Fans who come between two moments, evenly.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ArrivalPart {
    /// Until this second after the opening; from where the part before ends.
    pub until_secs: u32,
    /// How many, against those of the other parts.
    pub weight: f64,
}

/// When those come who were not there before the opening.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Curve {
    /// Most at once, then fewer and fewer: half of them within so many seconds, half of the others within as many more.
    HalfLifeSecs(f64),
    /// Part after part.
    Parts(Vec<ArrivalPart>),
}

impl Curve {
    /// The share that has come by the end of this second after the opening.
    pub fn come_by(&self, secs: f64) -> f64 {
        match self {
            Self::HalfLifeSecs(half_life) => 1.0 - (-secs / half_life.max(1e-6)).exp2(),
            Self::Parts(parts) => {
                let whole: f64 = parts.iter().map(|part| part.weight).sum();
                let (mut from, mut come) = (0.0, 0.0);
                for part in parts {
                    let until = f64::from(part.until_secs);
                    if secs >= until {
                        come += part.weight;
                    } else {
                        come += part.weight * ((secs - from) / (until - from)).clamp(0.0, 1.0);
                        break;
                    }
                    from = until;
                }
                if whole > 0.0 { (come / whole).min(1.0) } else { 1.0 }
            }
        }
    }
}

/// When fans come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Arrivals {
    /// Share of all fans who are there before the opening, in the pre-queue, and are drawn.
    pub before_share: f64,
    /// Seconds over which these register, evenly.
    pub before_secs: u32,
    /// The others.
    pub after: Curve,
}

/// Everybody who comes to a sale, and how they behave.
///
/// The shares of robots, of no-shows and of those who only look exclude each other; the rest would buy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Crowd {
    /// How many.
    pub fans: u32,
    /// When they come.
    pub arrivals: Arrivals,
    /// How long a waiting fan waits before giving up; `None` when nobody does.
    pub patience: Option<Spread>,
    /// Of those who give up, the share that leaves the line or ends the turn. The others close the page: their turn lapses, or
    /// runs out.
    pub says_goodbye_share: f64,
    /// Share that never comes when called.
    pub no_show_share: f64,
    /// Share of robots: they ask, hold as many seats as allowed for as long as they can, and never pay.
    pub robots_share: f64,
    /// Share that looks at the seats and closes the page; the turn runs out.
    pub looks_only_share: f64,
    /// From the call to the first use of the turn.
    pub notice: Spread,
    /// From seeing the seats to choosing some.
    pub read: Spread,
    /// From the reservation to the wish to pay.
    pub decide: Spread,
    /// From the wish to pay to the payment.
    pub pay: Spread,
    /// How long a fan who finds no seat goes on looking for one.
    pub search: Spread,
    /// How many fans want one seat, two, three and so on, against each other.
    pub seats_wanted: Vec<f64>,
    /// How many times likelier than by chance two fans want the same seat.
    pub crowding: f64,
    /// A page shows what has become of the seats so often, in seconds.
    pub look_every_secs: u32,
}

impl Crowd {
    /// A crowd as assumed when nothing is known of it. None of these figures is measured: they are where to start from, and a log
    /// of a past sale is better.
    pub fn assumed(fans: u32) -> Self {
        Self {
            fans,
            arrivals: Arrivals { before_share: 0.4, before_secs: 1_800, after: Curve::HalfLifeSecs(120.0) },
            patience: Some(Spread::new(3_600.0, 14_400.0)),
            says_goodbye_share: 0.2,
            no_show_share: 0.08,
            robots_share: 0.02,
            looks_only_share: 0.1,
            notice: Spread::new(5.0, 25.0),
            read: Spread::new(30.0, 90.0),
            decide: Spread::new(25.0, 80.0),
            pay: Spread::new(20.0, 60.0),
            search: Spread::new(60.0, 240.0),
            seats_wanted: vec![0.2, 0.5, 0.1, 0.2],
            crowding: 3.0,
            look_every_secs: 5,
        }
    }

    /// Seats that a fan who buys wants on average.
    pub fn mean_seats(&self, seats_per_fan: u32) -> f64 {
        let weights: f64 = self.seats_wanted.iter().sum();
        let wanted: f64 =
            (1_u32..).zip(&self.seats_wanted).map(|(many, weight)| f64::from(many.min(seats_per_fan)) * weight).sum();
        if weights > 0.0 { wanted / weights } else { 1.0 }
    }

    /// Share of those called who would buy.
    pub fn buyers_share(&self) -> f64 {
        (1.0 - self.no_show_share - self.robots_share - self.looks_only_share).max(0.0)
    }

    /// Names every fault.
    pub fn check(&self) -> Result<(), Faults> {
        let mut faults = Faults::new();
        if !(1..=10_000_000).contains(&self.fans) {
            faults.add("fans", "must be 1 to 10000000");
        }
        let shares = [
            ("before_share", self.arrivals.before_share),
            ("says_goodbye_share", self.says_goodbye_share),
            ("no_show_share", self.no_show_share),
            ("robots_share", self.robots_share),
            ("looks_only_share", self.looks_only_share),
        ];
        for (name, share) in shares {
            if !(0.0..=1.0).contains(&share) {
                faults.add(name, "must be 0 to 1");
            }
        }
        if self.no_show_share + self.robots_share + self.looks_only_share > 1.0 {
            faults.add("no_show_share", "must not be more than 1 together with robots_share and looks_only_share");
        }
        let patience = self.patience.map(|patience| ("patience", patience));
        let times = [
            ("notice", self.notice),
            ("read", self.read),
            ("decide", self.decide),
            ("pay", self.pay),
            ("search", self.search),
        ];
        for (name, spread) in times.into_iter().chain(patience) {
            if !spread.is_right() {
                faults.add(name, "must be 0 to 86400 seconds, and the 90th percentile not less than the median");
            }
        }
        match &self.arrivals.after {
            Curve::HalfLifeSecs(secs) if !(1.0..=86_400.0).contains(secs) => {
                faults.add("half_life_secs", "must be 1 to 86400");
            }
            Curve::Parts(parts) => {
                let grow = parts.is_sorted_by(|one, next| one.until_secs < next.until_secs);
                let first = parts.first().is_some_and(|part| part.until_secs > 0);
                let weighs = parts.iter().all(|part| part.weight >= 0.0) && parts.iter().any(|part| part.weight > 0.0);
                if !(grow && first && weighs) {
                    faults.add("arrivals", "must be parts with growing seconds from 1 on, and some weight");
                }
            }
            Curve::HalfLifeSecs(_) => {}
        }
        if self.seats_wanted.is_empty() || self.seats_wanted.len() > 20 || self.seats_wanted.iter().sum::<f64>() <= 0.0
        {
            faults.add("seats_wanted", "must be 1 to 20 weights, not all 0");
        }
        if self.seats_wanted.iter().any(|weight| !(0.0..=1e9).contains(weight)) {
            faults.add("seats_wanted", "must not be negative");
        }
        if !(0.0..=1_000.0).contains(&self.crowding) {
            faults.add("crowding", "must be 0 to 1000");
        }
        if !(1..=3_600).contains(&self.look_every_secs) {
            faults.add("look_every_secs", "must be 1 to 3600");
        }
        faults.into_result()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_its_median_its_p90_and_its_mean() {
        let spread = Spread::new(60.0, 180.0);
        assert!((spread.quantile(0.5) - 60.0).abs() < 1e-6 && (spread.quantile(0.9) - 180.0).abs() < 1e-3);
        assert!((spread.mean_secs() - 86.6).abs() < 0.1, "{}", spread.mean_secs());
        assert!((Spread::fixed(30.0).mean_secs() - 30.0).abs() < 1e-9);
        assert!((spread.times(2.0).quantile(0.9) - 360.0).abs() < 1e-3);
    }

    #[test]
    fn curves_bring_half_within_a_half_life_and_parts_evenly() {
        let curve = Curve::HalfLifeSecs(60.0);
        assert!((curve.come_by(60.0) - 0.5).abs() < 1e-9 && (curve.come_by(120.0) - 0.75).abs() < 1e-9);
        let parts = Curve::Parts(vec![
            ArrivalPart { until_secs: 10, weight: 3.0 },
            ArrivalPart { until_secs: 110, weight: 1.0 },
        ]);
        let come = [0.0, 5.0, 10.0, 60.0, 110.0, 9_999.0].map(|secs| parts.come_by(secs));
        let expected = [0.0, 0.375, 0.75, 0.875, 1.0, 1.0];
        assert!(come.iter().zip(expected).all(|(one, other)| (one - other).abs() < 1e-9), "{come:?}");
    }

    #[test]
    fn a_crowd_that_makes_no_sense_names_every_fault() {
        assert!(Crowd::assumed(1_000).check().is_ok());
        let mut wrong = Crowd::assumed(0);
        wrong.no_show_share = 0.6;
        wrong.robots_share = 0.6;
        wrong.read = Spread::new(60.0, 30.0);
        wrong.arrivals.after = Curve::Parts(vec![]);
        wrong.seats_wanted = vec![];
        let faults = wrong.check().expect_err("wrong");
        let fields: Vec<_> = faults.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(fields, ["fans", "no_show_share", "read", "arrivals", "seats_wanted"]);
    }

    #[test]
    fn seats_wanted_are_cut_to_what_one_fan_may_have() {
        let crowd = Crowd { seats_wanted: vec![1.0, 1.0, 0.0, 2.0], ..Crowd::assumed(10) };
        assert!((crowd.mean_seats(4) - 2.75).abs() < 1e-9 && (crowd.mean_seats(1) - 1.0).abs() < 1e-9);
    }
}
