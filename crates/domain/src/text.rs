//! Text that people typed.

use crate::fault::Faults;

/// Trims `text` and checks that it has `min..=max` characters and none that cannot be shown or stored (control
/// characters, U+0000 among them).
pub fn checked(field: &str, text: &str, min: usize, max: usize) -> Result<String, Faults> {
    let text = text.trim();
    let length = text.chars().count();
    if length < min || length > max {
        return Err(Faults::one(field, format!("must have {min} to {max} characters, has {length}")));
    }
    if text.chars().any(|c| c.is_control() && c != '\n') {
        return Err(Faults::one(field, "must not contain control characters"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trims_and_counts_characters_not_bytes() {
        assert_eq!(checked("name", "  소녀시대 ", 1, 4), Ok("소녀시대".to_owned()));
        assert!(checked("name", "소녀시대!", 1, 4).is_err());
        assert!(checked("name", "   ", 1, 4).is_err());
    }

    #[test]
    fn refuses_what_cannot_be_stored() {
        assert!(checked("name", "a\u{0}b", 1, 9).is_err());
        assert!(checked("name", "a\u{7}b", 1, 9).is_err());
        assert!(checked("name", "a\nb", 1, 9).is_ok());
    }
}
