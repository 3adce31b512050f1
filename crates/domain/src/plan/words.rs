//! Numbers as people read them.

use super::chance::whole;

/// A number without what stands behind the point, with commas: 1,234,567.
pub fn count(number: f64) -> String {
    let digits = format!("{:.0}", number.max(0.0));
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes in the unit that fits: 230 B, 1.2 MB.
pub fn bytes(number: f64) -> String {
    let units = [(1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    match units.into_iter().find(|(unit, _)| number >= *unit) {
        Some((unit, name)) => format!("{:.1} {name}", number / unit),
        None => format!("{} B", count(number)),
    }
}

/// Seconds as people say them: 45 s, 3 min 20 s, 2 h 5 min.
pub fn time(secs: u32) -> String {
    match secs {
        ..60 => format!("{secs} s"),
        60..3_600 if secs.is_multiple_of(60) => format!("{} min", secs / 60),
        60..3_600 => format!("{} min {} s", secs / 60, secs % 60),
        _ => format!("{} h {} min", secs / 3_600, secs % 3_600 / 60),
    }
}

/// The next multiple of `step` that is not below.
pub(super) fn up_to(number: f64, step: u32) -> u32 {
    whole((number / f64::from(step.max(1))).ceil()).saturating_mul(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!([0.4, 999.0, 1_000.0, 1_234_567.4].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([12.0, 1_500.0, 2.3e8, 4.05e9].map(bytes), ["12 B", "1.5 kB", "230.0 MB", "4.0 GB"]);
        assert_eq!([45, 60, 200, 7_500].map(time), ["45 s", "1 min", "3 min 20 s", "2 h 5 min"]);
        assert_eq!([(0.0, 30), (30.0, 30), (30.1, 30)].map(|(number, step)| up_to(number, step)), [0, 30, 60]);
    }
}
