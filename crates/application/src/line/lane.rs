//! What a process keeps of one line.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicBool, AtomicU64},
};

use onsale_domain::ids::UserId;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{model::Joined, ports::Told};
use crate::error::StoreError;

/// Hears what came of a join.
pub(super) type Answer = oneshot::Sender<Result<Joined, StoreError>>;

/// Joins of one line that wait for their batch.
#[derive(Default)]
pub(super) struct JoinQueue {
    pub(super) waiting: VecDeque<(UserId, Answer)>,
    /// Whether somebody takes batches from it.
    pub(super) driven: bool,
    pub(super) store_left_alone_until_ms: i64,
}

/// What a process remembers of a line between two ticks.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) draw_finished: bool,
    pub(super) other_life_since: Option<i64>,
    pub(super) checked_at_ms: Option<i64>,
}

#[derive(Default)]
pub(super) struct Lane {
    /// One at a time writes news or loads; others wait, and then find it done: the last time that news were written to the end.
    pub(super) writing: tokio::sync::Mutex<u64>,
    /// How often news were begun to be written.
    pub(super) writings_begun: AtomicU64,
    /// One at a time asks for loading; others are told that the line recovers.
    pub(super) loading: tokio::sync::Mutex<()>,
    pub(super) memory: Mutex<Memory>,
    pub(super) joins: Mutex<JoinQueue>,
    pub(super) sweeping: tokio::sync::Mutex<()>,
    pub(super) sweep_wanted: AtomicBool,
    pub(super) told: Mutex<Vec<Told>>,
}
