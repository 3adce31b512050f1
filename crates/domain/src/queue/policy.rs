//! The settings of a line. What a change of them would do is told by [`crate::plan::forecast`].

use serde::{Deserialize, Serialize};

use crate::fault::Faults;

/// A setting, for whoever shows or checks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Its name, everywhere.
    pub name: &'static str,
    /// What it means, with its unit.
    pub text: &'static str,
    /// Least and most; a switch is 0 or 1.
    pub range: (i32, i32),
    /// What it is unless somebody says otherwise.
    pub default: i32,
    /// Whether it is a switch.
    pub is_switch: bool,
    /// Whether operators may leave it out, which means its default.
    pub optional: bool,
}

/// A value of a setting as a number.
trait Value: Copy {
    const IS_SWITCH: bool;
    fn number(self) -> i32;
}

impl Value for i32 {
    const IS_SWITCH: bool = false;
    fn number(self) -> i32 {
        self
    }
}

impl Value for bool {
    const IS_SWITCH: bool = true;
    fn number(self) -> i32 {
        i32::from(self)
    }
}

macro_rules! settings {
    ($(#[doc = $text:literal] $name:ident: $kind:ty = $default:literal, $low:literal..=$high:literal $(, $optional:ident)?;)*) => {
        /// The settings of one concert's line. Changeable while the sale runs. This is their one home: a setting is a line here, with
        /// its text, default and range; the API, its document, the database and the line's store take them from here.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        // What was stored before a setting was there means its default; one of a newer program is passed over.
        #[serde(default)]
        pub struct QueuePolicy {
            $(#[doc = $text] pub $name: $kind),*
        }

        impl Default for QueuePolicy {
            fn default() -> Self {
                Self { $($name: $default),* }
            }
        }

        impl QueuePolicy {
            /// All settings.
            pub const SETTINGS: &[Setting] = &[$(Setting {
                name: stringify!($name),
                text: $text.trim_ascii(),
                range: ($low, $high),
                default: $default as i32,
                is_switch: <$kind as Value>::IS_SWITCH,
                optional: [$(stringify!($optional),)? ""].len() > 1,
            }),*];

            /// Every setting with its value; a switch is 0 or 1.
            pub fn values(&self) -> impl Iterator<Item = (&'static Setting, i32)> {
                Self::SETTINGS.iter().zip([$(self.$name.number()),*])
            }
        }
    };
}

settings! {
    /// Seconds between two promotions.
    interval_secs: i32 = 60, 1..=3_600;
    /// Most fans that one promotion makes active.
    batch: i32 = 420, 1..=100_000;
    /// Most active fans at any moment.
    active_limit: i32 = 2_100, 1..=100_000;
    /// Whether a fan who joins an empty line while there is room is active at once.
    idle_admission: bool = true, 0..=1;
    /// Seconds that an active token lives without being used. Any valid use renews it once less than half is left.
    active_sliding_secs: i32 = 300, 10..=86_400;
    /// Seconds that an active token lives at most, used or not; not less than `active_sliding_secs`.
    active_absolute_secs: i32 = 900, 10..=86_400;
    /// Seconds in which a promoted fan must use the token for the first time, or the turn goes to the next.
    claim_secs: i32 = 60, 5..=3_600, optional;
    /// Seconds after a lapsed turn in which the fan may come back to the head of the line, once.
    return_secs: i32 = 900, 0..=86_400, optional;
    /// Most fans waiting; the next one is refused.
    waiting_limit: i32 = 1_000_000, 1..=10_000_000;
}

impl QueuePolicy {
    /// Refuses settings that make no sense and names each of them.
    pub fn check(self) -> Result<Self, Faults> {
        let mut faults = Faults::new();
        for (Setting { name, range: (low, high), .. }, value) in self.values() {
            if !(low..=high).contains(&&value) {
                faults.add(*name, format!("must be {low} to {high}"));
            }
        }
        if self.active_absolute_secs < self.active_sliding_secs {
            faults.add("active_absolute_secs", "must not be less than active_sliding_secs");
        }
        faults.into_result().map(|()| self)
    }
}

/// Settings that are allowed and probably not meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyWarning {
    /// A hold can outlive the turn in which it is made. It can be paid all the same, and keeps its slot.
    TurnShorterThanHold {
        /// The longest hold of the concert's shows, which is what `active_sliding_secs` should be at least.
        hold_secs: i32,
    },
    /// More fans may be active at once than there are seats left.
    AdmitsMoreThanSeats {
        /// Seats left.
        left: i64,
        /// A limit that fits: one seat for each active fan.
        active_limit: i32,
        /// A batch that fits the limit.
        batch: i32,
    },
}

impl QueuePolicy {
    /// What an operator should look at once more, given the longest hold of the concert's shows and the seats left.
    pub fn warnings(&self, longest_hold_secs: Option<i32>, seats_left: i64) -> Vec<PolicyWarning> {
        let mut warnings = vec![];
        if let Some(hold_secs) = longest_hold_secs.filter(|secs| *secs > self.active_sliding_secs) {
            warnings.push(PolicyWarning::TurnShorterThanHold { hold_secs });
        }
        if seats_left > 0 && i64::from(self.active_limit) > seats_left {
            let active_limit = i32::try_from(seats_left).unwrap_or(self.active_limit);
            let batch = self.batch.min(active_limit);
            warnings.push(PolicyWarning::AdmitsMoreThanSeats { left: seats_left, active_limit, batch });
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_shorter_than_holds_and_limits_above_the_seats_are_warned_of() {
        let policy = QueuePolicy::default();
        assert_eq!(policy.warnings(Some(300), 60_000), []);
        assert_eq!(policy.warnings(None, 0), [], "nothing is known yet");
        let warnings = policy.warnings(Some(301), 50);
        let proposal = PolicyWarning::AdmitsMoreThanSeats { left: 50, active_limit: 50, batch: 50 };
        assert_eq!(warnings, [PolicyWarning::TurnShorterThanHold { hold_secs: 301 }, proposal]);
    }

    #[test]
    fn the_defaults_are_right() {
        assert!(QueuePolicy::default().check().is_ok());
    }

    #[test]
    fn policies_that_make_no_sense_name_every_fault() {
        let wrong = QueuePolicy {
            interval_secs: 0,
            batch: 0,
            active_limit: -1,
            active_absolute_secs: 20,
            active_sliding_secs: 30,
            claim_secs: 4,
            ..QueuePolicy::default()
        };
        let faults = wrong.check().expect_err("wrong");
        let fields: Vec<_> = faults.iter().map(|f| f.field.as_str()).collect();
        assert_eq!(fields, ["interval_secs", "batch", "active_limit", "claim_secs", "active_absolute_secs"]);
    }
}
