//! The line in front of the sale, and the gate that its active tokens open.
//!
//! [`keeper`] runs a line: ticks, the admission log, recovery, the draw. [`facade`] answers fans and operators, most of
//! them from [`snapshots`]; [`gate`] checks tokens for everything behind the line. What is needed from outside stands in
//! [`ports`].

mod facade;
mod gate;
mod guard;
mod keeper;
mod model;
mod ports;
mod records;
mod snapshots;
mod stock;
mod views;

pub use facade::{Line, LineFacade};
pub use gate::{Gate, GateRefusal, HOLD_WITHIN_MS, LineGate, Purpose, Turn};
pub use guard::PollGuard;
pub use keeper::{Keeper, LineDatabase, Tended};
pub use model::{
    Admission, Asked, Call, Departures, Ended, Event, Found, Held, HoldLeft, Intent, Joined, LineStats, News, OddEntry,
    Promotion, QueueTicket, Restored, Slot, Snapshot, Swept, Tick, Ticked, Whereabouts, taken_at_ms,
};
pub use ports::{
    Ceiling, Drawing, LineJournal, LineStore, LiveAdmission, NewLife, QueueTokens, RawSnapshot, Receipts, Seeds, Told,
    Verdict, Written,
};
pub use records::{EstimateErrors, LineRecordQueries, LineRecords, LineRecordsFacade, LineReport, LoggedAdmission};
pub use snapshots::Snapshots;
pub use stock::{ConcertStock, SectionStock, ShowStock, StockCache, StockQueries};
pub use views::{DrawView, Follower, Forecasting, LineError, LineState, LineView, PlaceState, PlaceView, Seen};
