//! What diesel's errors mean to a caller.

use diesel::result::{DatabaseErrorKind, Error};
use onsale_application::error::StoreError;

/// Sorts an error by what a caller can do about it.
///
/// diesel passes on only a few SQLSTATEs as kinds; lock timeouts, statement timeouts, deadlocks and shutdowns arrive
/// as text, which is matched here and nowhere else.
pub(super) fn classify(error: Error) -> StoreError {
    match &error {
        Error::DatabaseError(DatabaseErrorKind::SerializationFailure, _) => StoreError::Conflict(error.into()),
        Error::DatabaseError(DatabaseErrorKind::ClosedConnection, _) => StoreError::Unavailable(error.into()),
        Error::DatabaseError(_, info) => match meaning(info.message()) {
            Meaning::Busy => StoreError::Conflict(error.into()),
            Meaning::Away => StoreError::Unavailable(error.into()),
            Meaning::Other => StoreError::Broken(error.into()),
        },
        _ => StoreError::Broken(error.into()),
    }
}

/// Whether the connection was already gone when the statement was sent, so that sending it again is safe for reads
/// and for the first statement of a transaction.
pub(super) fn connection_is_gone(error: &Error) -> bool {
    match error {
        Error::DatabaseError(DatabaseErrorKind::ClosedConnection, _) => true,
        Error::DatabaseError(_, info) => {
            let text = info.message();
            text.contains("connection closed") || text.contains("terminating connection")
        }
        _ => false,
    }
}

/// Whether a unique index refused a row.
pub(super) fn is_unique_violation(error: &Error) -> bool {
    matches!(error, Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _))
}

enum Meaning {
    Busy,
    Away,
    Other,
}

fn meaning(text: &str) -> Meaning {
    const BUSY: [&str; 3] = ["deadlock detected", "canceling statement due to lock timeout", "could not obtain lock"];
    const AWAY: [&str; 10] = [
        "canceling statement due to statement timeout",
        "terminating connection",
        "the database system is",
        "connection closed",
        "error communicating with the server",
        "too many clients",
        "remaining connection slots",
        "could not extend file",
        "No space left on device",
        "canceling statement due to user request",
    ];
    if BUSY.iter().any(|part| text.contains(part)) {
        Meaning::Busy
    } else if AWAY.iter().any(|part| text.contains(part)) {
        Meaning::Away
    } else {
        Meaning::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_postgresql_are_told_apart() {
        for text in ["deadlock detected", "canceling statement due to lock timeout"] {
            assert!(matches!(meaning(text), Meaning::Busy), "{text}");
        }
        for text in [
            "canceling statement due to statement timeout",
            "terminating connection due to administrator command",
            "the database system is shutting down",
            "sorry, too many clients already",
        ] {
            assert!(matches!(meaning(text), Meaning::Away), "{text}");
        }
        assert!(matches!(meaning("column \"x\" does not exist"), Meaning::Other));
    }
}
