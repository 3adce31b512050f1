//! Faults of the stores, told apart only as far as a caller acts on the difference.

/// Any underlying error.
pub type Cause = Box<dyn std::error::Error + Send + Sync + 'static>;

/// A store did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It is away, overloaded or too slow. The same request may succeed later; nothing is known to be done.
    #[error("a store is unavailable")]
    Unavailable(#[source] Cause),
    /// Another transaction was in the way (deadlock, serialisation, lock timeout). Nothing was done; try again.
    #[error("another transaction was in the way")]
    Conflict(#[source] Cause),
    /// It answered something that it never should. A person should look.
    #[error("a store answered something unexpected")]
    Broken(#[source] Cause),
}

impl StoreError {
    /// The same for another caller who waited for the same work: its meaning and the text of its cause.
    #[must_use]
    pub fn shared(&self) -> Self {
        let copy = |cause: &Cause| cause.to_string().into();
        match self {
            Self::Unavailable(cause) => Self::Unavailable(copy(cause)),
            Self::Conflict(cause) => Self::Conflict(copy(cause)),
            Self::Broken(cause) => Self::Broken(copy(cause)),
        }
    }
}
