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
    /// All states.
    pub const ALL: [TicketState; 2] = [TicketState::Valid, TicketState::Void];

    /// The word in the API and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            TicketState::Valid => "valid",
            TicketState::Void => "void",
        }
    }

    /// The state of a word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}
