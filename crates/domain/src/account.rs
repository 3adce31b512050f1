//! People and what they may do.

use crate::{fault::Faults, text};

/// What a user may do. Only the command line and operators make operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Stands in line and buys.
    Fan,
    /// Runs sales.
    Operator,
}

impl Role {
    /// All roles.
    pub const ALL: [Role; 2] = [Role::Fan, Role::Operator];

    /// The word in tokens and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Fan => "fan",
            Role::Operator => "operator",
        }
    }

    /// The role of a word, `None` for any other word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == word)
    }
}

/// An e-mail address in lower case; unique per account.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Email(String);

impl Email {
    /// Checks the shape only (one `@`, a dot in the domain, no blanks, 254 characters at most): whether somebody
    /// reads it can only be found out by sending something.
    pub fn parse(email: &str) -> Result<Self, Faults> {
        let email = email.trim().to_lowercase();
        let shape_is_right = match email.split_once('@') {
            Some((local, domain)) => {
                !local.is_empty()
                    && domain.contains('.')
                    && !domain.starts_with('.')
                    && !domain.ends_with('.')
                    && !domain.contains('@')
            }
            None => false,
        };
        let length_is_right = email.chars().count() <= 254;
        let letters_are_right = !email.chars().any(|c| c.is_control() || c.is_whitespace());
        if shape_is_right && length_is_right && letters_are_right {
            Ok(Self(email))
        } else {
            Err(Faults::one("email", "must be an e-mail address such as mina@example.org, 254 characters at most"))
        }
    }

    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A password on its way to the hash. Has no `Debug` output of its content, so that it cannot slip into a log.
#[derive(Clone)]
pub struct Password(String);

impl Password {
    /// 8 to 128 characters. Length is what counts (NIST SP 800-63B), so no rules about kinds of characters.
    pub fn parse(password: &str) -> Result<Self, Faults> {
        let length = password.chars().count();
        if (8..=128).contains(&length) {
            Ok(Self(password.to_owned()))
        } else {
            Err(Faults::one("password", format!("must have 8 to 128 characters, has {length}")))
        }
    }

    /// The text, for the hash function only.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(hidden)")
    }
}

/// A name to greet somebody with: 1 to 80 characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisplayName(String);

impl DisplayName {
    /// Checks and trims.
    pub fn parse(name: &str) -> Result<Self, Faults> {
        text::checked("display_name", name, 1, 80).map(Self)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e_mail_addresses_are_compared_in_lower_case() {
        assert_eq!(
            Email::parse(" Mina@Example.ORG ").map(|e| e.as_str().to_owned()),
            Ok("mina@example.org".to_owned())
        );
    }

    #[test]
    fn what_is_no_e_mail_address_is_refused() {
        let long = format!("{}@example.org", "x".repeat(250));
        for wrong in
            ["", "mina", "@example.org", "mina@", "mina@local", "a@b@c.d", "a b@c.de", "a@.de", "a\u{0}@b.de", &long]
        {
            assert!(Email::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn passwords_are_long_enough_and_never_printed() {
        assert!(Password::parse("1234567").is_err());
        assert!(Password::parse(&"x".repeat(129)).is_err());
        let password = Password::parse("correct horse").expect("long enough");
        assert!(!format!("{password:?}").contains("horse"));
    }

    #[test]
    fn roles_have_one_word_each() {
        for role in [Role::Fan, Role::Operator] {
            assert_eq!(Role::parse(role.as_str()), Some(role));
        }
        assert_eq!(Role::parse("admin"), None);
    }
}
