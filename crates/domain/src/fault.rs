//! What is wrong with a value that somebody sent, said so that they can mend it.

use std::fmt;

/// One thing that is wrong with the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where: the field's name in the API, with `/` between levels (`seats/0/version`).
    pub field: String,
    /// What is wrong and what would be right, as one sentence.
    pub message: String,
}

/// Everything that is wrong with one input; never empty when it is used as an error.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// No fault yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// One fault.
    pub fn one(field: impl Into<String>, message: impl Into<String>) -> Self {
        let mut faults = Self::new();
        faults.add(field, message);
        faults
    }

    /// Adds a fault.
    pub fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.0.push(Fault { field: field.into(), message: message.into() });
    }

    /// Keeps the value, or notes its faults and goes on, so that all faults of an input are found in one pass.
    pub fn take<T>(&mut self, result: Result<T, Faults>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(faults) => {
                self.0.extend(faults.0);
                None
            }
        }
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The faults, in the order in which they were found.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.0.iter()
    }

    /// `Ok` when nothing is wrong.
    pub fn into_result(self) -> Result<(), Faults> {
        if self.is_empty() { Ok(()) } else { Err(self) }
    }

    /// The finished value, or the faults that kept it from being finished.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Faults> {
        match value {
            Some(value) if self.is_empty() => Ok(value),
            _ => Err(self),
        }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{}: {}", fault.field, fault.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_faults_of_an_input_are_kept() {
        let mut faults = Faults::new();
        assert_eq!(faults.take(Ok::<_, Faults>(7)), Some(7));
        assert_eq!(faults.take(Err::<i32, _>(Faults::one("a", "is missing"))), None);
        faults.add("b", "is too long");
        assert_eq!(faults.finish(Some(1)).map_err(|f| f.to_string()), Err("a: is missing; b: is too long".to_owned()));
    }
}
