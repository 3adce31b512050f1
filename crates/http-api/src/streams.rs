//! Open event streams: so many in all, and a few per fan.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use onsale_domain::ids::UserId;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Most open streams of one fan; another one ends the oldest. Three devices, or a page that was opened again and again.
pub const STREAMS_PER_FAN: usize = 3;

type OpenByFan = Mutex<HashMap<UserId, VecDeque<(u64, CancellationToken)>>>;

/// All open streams of this process.
pub struct Streams {
    permits: Arc<Semaphore>,
    open: Arc<OpenByFan>,
}

/// One open stream; dropping it makes room.
pub struct OpenStream {
    fan: UserId,
    number: u64,
    open: Arc<OpenByFan>,
    /// Cancelled when a newer stream of the fan takes its place.
    pub replaced: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

impl Streams {
    /// At most `limit` at the same time.
    pub fn new(limit: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(limit)), open: Arc::default() }
    }

    /// Room for one more; `None` when there are as many as may be.
    pub fn permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.permits).try_acquire_owned().ok()
    }

    /// Opens a stream of a fan. The oldest ends when the fan has more than [`STREAMS_PER_FAN`].
    pub fn open(&self, fan: UserId, permit: OwnedSemaphorePermit) -> OpenStream {
        let replaced = CancellationToken::new();
        let mut open = self.open.lock();
        let mine = open.entry(fan).or_default();
        while mine.len() >= STREAMS_PER_FAN {
            let Some((_, oldest)) = mine.pop_front() else { break };
            oldest.cancel();
        }
        let number = mine.back().map_or(0, |(number, _)| number + 1);
        mine.push_back((number, replaced.clone()));
        OpenStream { fan, number, open: Arc::clone(&self.open), replaced, _permit: permit }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let mut open = self.open.lock();
        if let Some(mine) = open.get_mut(&self.fan) {
            mine.retain(|(number, _)| *number != self.number);
            if mine.is_empty() {
                open.remove(&self.fan);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_fourth_stream_of_a_fan_ends_the_oldest_and_nobody_elses() {
        let streams = Streams::new(5);
        let (fan, other) = (UserId(Uuid::from_u128(1)), UserId(Uuid::from_u128(2)));
        let open = |fan| streams.permit().map(|permit| streams.open(fan, permit));
        let mut mine: Vec<_> = (0..STREAMS_PER_FAN).filter_map(|_| open(fan)).collect();
        let others = open(other).expect("room");
        let newest = open(fan).expect("room");
        let replaced: Vec<bool> = mine.iter().map(|stream| stream.replaced.is_cancelled()).collect();
        assert_eq!(replaced, [true, false, false]);
        assert!(!others.replaced.is_cancelled() && !newest.replaced.is_cancelled());
        assert!(open(other).is_none(), "five are open until the replaced one has ended");
        drop(mine.remove(0));
        assert!(open(other).is_some());
        drop((mine, newest, others));
        assert!(streams.open.lock().is_empty(), "nothing is kept of streams that ended");
    }
}
