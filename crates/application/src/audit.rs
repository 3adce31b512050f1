//! Who did what to a sale, and when.

use std::future::Future;

use chrono::{DateTime, Utc};
use onsale_domain::ids::{ConcertId, UserId};

use crate::error::StoreError;

/// An action of an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Who.
    pub actor: UserId,
    /// On which concert.
    pub concert: ConcertId,
    /// What: `create`, `edit`, `policy`, `admit`, or the stage that the sale was put into.
    pub action: String,
    /// Particulars.
    pub changes: Vec<AuditChange>,
}

/// One value that an action changed or set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditChange {
    /// Which.
    pub what: String,
    /// What it was; `None` when it is not something that was before.
    pub from: Option<String>,
    /// What it is.
    pub to: String,
}

/// An entry as it was noted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// Position in the log.
    pub id: i64,
    /// When.
    pub at: DateTime<Utc>,
    /// What.
    pub entry: AuditEntry,
}

/// The append-only log of what operators did. Edits of concerts are noted together with the edit itself, see
/// [`crate::catalogue::CatalogueStore`]; it is read as one of the records of a line, [`crate::line::LineRecords`].
pub trait AuditLog: Send + Sync + 'static {
    /// Notes an action.
    fn note(&self, entry: &AuditEntry) -> impl Future<Output = Result<(), StoreError>> + Send;
}
