//! Time and new ids, handed in so that rules stay testable.

use std::{future::Future, pin::Pin};

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// What time it is for accounts and listings. Holds and payments ask the database's clock instead, the line asks
/// Redis's: each deadline is judged by the one clock that set it.
pub trait Clock: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> DateTime<Utc>;
    /// Milliseconds that only ever grow, from some moment on; for ages within this process.
    fn monotonic_ms(&self) -> i64;
}

/// Where new ids come from.
pub trait Ids: Send + Sync + 'static {
    /// A new id, unique everywhere and greater than the ones made before on this machine (UUID version 7).
    fn new_id(&self) -> Uuid;
}

/// Work that goes on by itself.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Work that keeps a processor busy and waits for nothing.
pub type Work = Box<dyn FnOnce() + Send>;

/// Runs work to its end in the background, whatever becomes of whoever asked for it.
pub trait Tasks: Send + Sync + 'static {
    /// Starts it.
    fn spawn(&self, task: Task);
    /// Starts work that would hold up whatever else its thread has to do; it MUST have a thread of its own meanwhile.
    fn compute(&self, work: Work);
}
