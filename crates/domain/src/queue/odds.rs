//! What a fan's chances are, in plain words.

/// The seats of a concert, all shows together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stock {
    /// Seats that nobody holds.
    pub available: i64,
    /// Seats in reservations that are not paid yet.
    pub held: i64,
    /// Seats sold.
    pub sold: i64,
}

impl Stock {
    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Stock) -> Stock {
        Stock {
            available: self.available + other.available,
            held: self.held + other.held,
            sold: self.sold + other.sold,
        }
    }

    /// Nothing is left and nothing can come back from a reservation. A concert without seats is not sold out.
    pub fn is_sold_out(&self) -> bool {
        self.available == 0 && self.held == 0 && self.sold > 0
    }
}

/// A number as people say it: exact below 1,000, else two or three leading digits.
fn about(number: i64) -> String {
    let step = match number {
        ..1_000 => return number.to_string(),
        1_000..100_000 => 100,
        _ => 1_000,
    };
    let digits = (number / step * step).to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    format!("about {text}")
}

/// One plain sentence about the seats left and the fan's position.
pub fn odds(stock: &Stock, position: i64, seats_per_fan: i64) -> String {
    if stock.is_sold_out() {
        return "Sold out.".to_owned();
    }
    let seats = if stock.available == 1 { "seat" } else { "seats" };
    let left = format!("{} {seats} left, {} in open reservations", about(stock.available), about(stock.held));
    let verdict = if stock.available >= position.saturating_mul(seats_per_fan.max(1)) {
        "enough even if everybody before you buys as many as allowed"
    } else if stock.available >= position {
        "enough if everybody before you buys one"
    } else if stock.available + stock.held >= position {
        "enough only if open reservations come back"
    } else {
        "not enough unless many before you do not buy"
    };
    format!("{left}; you are number {position} in line: {verdict}.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odds_are_plain_and_honest() {
        let stock = Stock { available: 18_437, held: 420, sold: 0 };
        assert_eq!(
            odds(&stock, 41_200, 4),
            "about 18,400 seats left, 420 in open reservations; you are number 41200 in line: not enough unless many \
             before you do not buy."
        );
        assert!(odds(&stock, 10, 4).contains("enough even if"));
        assert!(odds(&stock, 18_000, 4).contains("buys one"));
        assert!(odds(&stock, 18_500, 4).contains("come back"));
        assert_eq!(about(1_234_567), "about 1,234,000");
    }

    #[test]
    fn a_held_seat_may_come_back_and_no_seats_at_all_are_not_sold_out() {
        assert!(!Stock { available: 0, held: 1, sold: 9 }.is_sold_out());
        assert!(Stock { available: 0, held: 0, sold: 9 }.is_sold_out());
        assert!(!Stock::default().is_sold_out());
    }
}
