//! Wallets: prepaid balances.

use crate::fault::Faults;

/// An amount to put into a wallet, in minor units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChargeAmount(i64);

impl ChargeAmount {
    /// 1 to `max_minor`, which the installation sets.
    pub fn new(minor: i64, max_minor: i64) -> Result<Self, Faults> {
        if (1..=max_minor).contains(&minor) {
            Ok(Self(minor))
        } else {
            Err(Faults::one("amount_minor", format!("must be 1 to {max_minor} minor units")))
        }
    }

    /// Minor units.
    pub fn minor(self) -> i64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_negative_zero_or_huge_is_charged() {
        assert_eq!(ChargeAmount::new(100, 1_000).map(ChargeAmount::minor), Ok(100));
        for wrong in [0, -1, i64::MIN, 1_001, i64::MAX] {
            assert!(ChargeAmount::new(wrong, 1_000).is_err(), "{wrong}");
        }
    }
}
