//! What a line leaves behind: the fairness report, the published log and draw, and what operators did.

use std::collections::HashSet;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use onsale_domain::{
    ids::{ConcertId, UserId},
    queue::{AdmissionFact, Eta, FairnessReport, LogEntry, LogHash, LogKind},
};
use uuid::Uuid;

use super::{ports::LinePlaces, views::DrawView};
use crate::{audit::AuditRecord, error::StoreError, page::Page};

/// Admissions read at once.
const PART: i64 = 20_000;

/// An admission as the log has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoggedAdmission {
    /// Position in the log.
    pub index: i64,
    /// Whose turn it was.
    pub number: i64,
    /// When.
    pub at_ms: i64,
    /// Active fans afterwards.
    pub active: i64,
    /// The limit then.
    pub limit: i64,
    /// When the fan joined.
    pub joined_ms: Option<i64>,
    /// What the fan was told when joining, and when that was.
    pub told: Option<(Eta, i64)>,
}

/// How right the newest estimates were that have been put to the test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EstimateErrors {
    /// Estimates whose fans have been admitted; the newest 1,000 at most.
    pub checked: i64,
    /// How many held.
    pub kept: i64,
    /// Median distance in seconds; 0 when it held.
    pub p50_secs: i64,
    /// 90th percentile of the same.
    pub p90_secs: i64,
}

/// A place or ballot that a fan has or had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FanPlace {
    /// For ever the same.
    pub place_id: Uuid,
    /// Whose line.
    pub concert_id: ConcertId,
    /// Its title.
    pub concert_title: String,
    /// Place in the order of joining, from 1; 0 for a ballot.
    pub number: i64,
    /// What it is, or was last.
    pub state: PlaceWord,
    /// When it was taken.
    pub joined_at: DateTime<Utc>,
    /// When it was called last.
    pub called_at: Option<DateTime<Utc>>,
    /// When it ended, and how.
    pub ended: Option<(DateTime<Utc>, LogKind)>,
}

/// What a place is, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlaceWord {
    /// Registered for the opening draw.
    PreQueue,
    /// In line.
    Waiting,
    /// Past the line.
    Active,
    /// A turn that was not used in time.
    Lapsed,
}

impl PlaceWord {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::PreQueue, Self::Waiting, Self::Active, Self::Lapsed];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PreQueue => "pre_queue",
            Self::Waiting => "waiting",
            Self::Active => "active",
            Self::Lapsed => "lapsed",
        }
    }

    /// From the word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == word)
    }
}

/// What lines leave behind, read from the database. Nothing is decided on the way, so the HTTP edge and the schedulers read it
/// as it is.
#[async_trait]
pub trait LineRecords: Send + Sync + 'static {
    /// Entries of the published log behind a position, in order.
    async fn log(&self, concert: ConcertId, after: i64, most: i64) -> Result<Vec<(LogEntry, LogHash)>, StoreError>;
    /// How many entries of each kind the log has.
    async fn log_counts(&self, concert: ConcertId) -> Result<Vec<(LogKind, i64)>, StoreError>;
    /// Admissions behind a position of the log, in its order.
    async fn admissions_logged(
        &self,
        concert: ConcertId,
        after: i64,
        most: i64,
    ) -> Result<Vec<LoggedAdmission>, StoreError>;
    /// How right the newest estimates were.
    async fn estimate_errors(&self, concert: ConcertId) -> Result<EstimateErrors, StoreError>;
    /// What is public of the opening draw; `None` when the line has none.
    async fn draw(&self, concert: ConcertId) -> Result<Option<DrawView>, StoreError>;
    /// Drawn numbers above `after` with their ballots, in order. Which of them are public says
    /// [`DrawView::ballots_behind`].
    async fn drawn(&self, concert: ConcertId, after: i64, most: i64) -> Result<Vec<(i64, Uuid)>, StoreError>;
    /// Places and ballots of a fan in all lines, the newest first, behind this one.
    async fn places_of_fan(
        &self,
        user: UserId,
        before: Option<Uuid>,
        limit: usize,
    ) -> Result<Page<FanPlace, Uuid>, StoreError>;
    /// What operators did to a concert, the newest first, before this entry.
    async fn audit(
        &self,
        concert: ConcertId,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Page<AuditRecord, i64>, StoreError>;
}

/// Whether a line was fair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineReport {
    /// From the admissions.
    pub fairness: FairnessReport,
    /// Turns that lapsed because nobody came.
    pub no_shows: i64,
    /// Fans who came back after a lapse.
    pub returned: i64,
    /// Turns that ended by payment.
    pub paid: i64,
    /// Turns that ran out.
    pub expired: i64,
    /// Fans who left while they waited.
    pub departed: i64,
    /// Lives of the line: one more than the losses of its store.
    pub lives: i64,
}

/// Whether a line was fair, from all its admissions.
pub(super) async fn report<P: LineRecords + LinePlaces>(
    database: &P,
    concert: ConcertId,
) -> Result<LineReport, StoreError> {
    let (mut facts, mut seen, mut after) = (Vec::new(), HashSet::new(), 0);
    loop {
        let part = database.admissions_logged(concert, after, PART).await?;
        let Some(last) = part.last() else { break };
        after = last.index;
        facts.extend(part.iter().map(|logged| AdmissionFact {
            number: logged.number,
            again: !seen.insert(logged.number),
            waited_ms: logged.joined_ms.map(|joined| (logged.at_ms - joined).max(0)),
            active: logged.active,
            limit: logged.limit,
            told: logged.told.map(|(eta, at_ms)| (eta, (logged.at_ms - at_ms).max(0) / 1_000)),
        }));
    }
    let counts = database.log_counts(concert).await?;
    let count = |kind| counts.iter().find(|(known, _)| *known == kind).map_or(0, |(_, count)| *count);
    Ok(LineReport {
        fairness: FairnessReport::of(facts),
        no_shows: count(LogKind::Lapsed),
        returned: count(LogKind::Returned),
        paid: count(LogKind::Paid),
        expired: count(LogKind::Expired),
        departed: count(LogKind::Departed),
        lives: database.head(concert).await?.life,
    })
}
