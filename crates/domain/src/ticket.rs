//! Tickets: the right to one sold seat.

/// What a ticket is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TicketState {
    /// Lets its holder in.
    Valid,
    /// Taken back, for example by a refund.
    Void,
}

impl TicketState {
    /// The word in the API and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            TicketState::Valid => "valid",
            TicketState::Void => "void",
        }
    }

    /// The state of a word.
    pub fn parse(word: &str) -> Option<Self> {
        [TicketState::Valid, TicketState::Void].into_iter().find(|state| state.as_str() == word)
    }
}
