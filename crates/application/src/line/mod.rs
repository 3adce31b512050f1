//! The line in front of the sale, and the gate that its active tokens open.
//!
//! [`joins`] gathers joins and puts them on disk. [`keeper`] runs a line: ticks, what is written down, the draw; [`loading`]
//! fills a store that was lost. [`facade`] answers fans and operators, most of them from [`snapshots`]; [`gate`] checks tokens
//! for everything behind the line. What is needed from outside stands in [`ports`].

mod facade;
mod gate;
mod guard;
mod joins;
mod keeper;
mod lane;
mod loading;
mod model;
mod place;
mod ports;
mod records;
mod snapshots;
mod stock;
mod views;

pub use facade::{Line, LineFacade};
pub use gate::{Gate, GateRefusal, HOLD_WITHIN_MS, LineGate, Purpose, Turn};
pub use guard::PollGuard;
pub use keeper::{Keeper, LineDatabase, Ticked};
pub use model::{
    Admission, Asked, Call, Departures, Ended, Event, Found, Held, HoldLeft, Intent, Joined, LineStats, Loading, News,
    OddEntry, Promoted, Promotion, Slot, Snapshot, StreamPass, Swept, Tick, TokenClaims, Whereabouts,
};
pub use place::{Entrant, Entrants, Entry, Place, Stand};
pub use ports::{
    Joiner, Left, LineDraws, LineHead, LineJournal, LinePlaces, LineStore, NewLife, QueueTokens, RawSnapshot, Receipts,
    Seeds, Taken, Told, Totals, Written,
};
pub use records::{EstimateErrors, FanPlace, LineRecords, LineReport, LoggedAdmission, PlaceWord};
pub use snapshots::Snapshots;
pub use stock::{ConcertStock, SectionStock, ShowStock, StockCache, StockQueries};
pub use views::{
    Admitted, DrawView, Follower, Forecasting, LineError, LineState, LineView, PlaceState, PlaceView, Seen, WhyFewer,
};
