//! Money: whole minor units of one currency, never a fraction, never a float.

use std::fmt;

use crate::fault::Faults;

/// An ISO 4217 currency code. Won (KRW) has no minor unit, so `150000` is 150,000 won; euro has cents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Currency([u8; 3]);

impl Currency {
    /// Three capital letters.
    pub fn parse(code: &str) -> Result<Self, Faults> {
        match <[u8; 3]>::try_from(code.as_bytes()) {
            Ok(bytes) if bytes.iter().all(u8::is_ascii_uppercase) => Ok(Self(bytes)),
            _ => Err(Faults::one("currency", "must be an ISO 4217 code of three capital letters")),
        }
    }

    /// The code.
    pub fn code(&self) -> &str {
        // The constructor lets only ASCII letters in, so this never falls back.
        std::str::from_utf8(&self.0).unwrap_or("XXX")
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// The highest price of one seat in minor units. Four of these still fit an `i64` many times over.
pub const PRICE_MAX_MINOR: i64 = 1_000_000_000_000;

/// What one seat costs, in minor units: 0 to [`PRICE_MAX_MINOR`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Price(i64);

impl Price {
    /// Checks the range.
    pub fn new(field: &str, minor: i64) -> Result<Self, Faults> {
        if (0..=PRICE_MAX_MINOR).contains(&minor) {
            Ok(Self(minor))
        } else {
            Err(Faults::one(field, format!("must be 0 to {PRICE_MAX_MINOR} minor units")))
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
    fn currencies_are_three_capitals() {
        assert_eq!(Currency::parse("KRW").map(|c| c.to_string()), Ok("KRW".to_owned()));
        for wrong in ["", "krw", "KR", "KRWW", "K1W", "€UR"] {
            assert!(Currency::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn prices_are_exact_and_bounded() {
        assert_eq!(Price::new("price", 150_000).map(Price::minor), Ok(150_000));
        assert!(Price::new("price", -1).is_err());
        assert!(Price::new("price", PRICE_MAX_MINOR + 1).is_err());
    }
}
