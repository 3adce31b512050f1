//! Identifiers. Each kind of thing has its own type, so that a seat id can never be passed as a show id.

use std::fmt;

use uuid::Uuid;

macro_rules! id {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<Uuid> for $name {
            fn from(value: Uuid) -> Self {
                Self(value)
            }
        }
    )*};
}

id! {
    /// A person with an account: a fan or an operator.
    UserId
    /// A concert, which owns one line.
    ConcertId
    /// One date of a concert.
    ShowId
    /// One numbered place at one show.
    SeatId
    /// Seats held for one fan.
    ReservationId
    /// One captured payment.
    PaymentId
    /// The right to one sold seat.
    TicketId
    /// One posting in the ledger.
    LedgerTransactionId
    /// All refresh tokens that descend from one login.
    SessionId
}
