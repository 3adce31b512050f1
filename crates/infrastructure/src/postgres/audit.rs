//! What operators did.

use diesel::prelude::*;
use onsale_application::{
    audit::{AuditChange, AuditEntry, AuditLog},
    error::StoreError,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::{Postgres, pool::impossible, schema::audit_log};

#[derive(Serialize, Deserialize)]
struct StoredChange {
    what: String,
    from: Option<String>,
    to: String,
}

#[derive(Insertable)]
#[diesel(table_name = audit_log)]
struct NewAuditEntry {
    concert_id: Uuid,
    actor_id: Uuid,
    action: String,
    changes: Value,
}

/// The changes of an entry as they are stored.
pub(super) fn changes_of(entry: &AuditEntry) -> Value {
    let stored = |change: &AuditChange| StoredChange {
        what: change.what.clone(),
        from: change.from.clone(),
        to: change.to.clone(),
    };
    let changes: Vec<StoredChange> = entry.changes.iter().map(stored).collect();
    // Strings and lists of them have no way to fail.
    serde_json::to_value(&changes).unwrap_or_else(|_| Value::Array(vec![]))
}

/// The changes of an entry, from how they are stored.
pub(super) fn changes_from(stored: Value) -> Result<Vec<AuditChange>, StoreError> {
    let changes: Vec<StoredChange> = serde_json::from_value(stored).map_err(|_| impossible("changes that are none"))?;
    let change = |StoredChange { what, from, to }| AuditChange { what, from, to };
    Ok(changes.into_iter().map(change).collect())
}

impl AuditLog for Postgres {
    async fn note(&self, entry: &AuditEntry) -> Result<(), StoreError> {
        let new = NewAuditEntry {
            concert_id: entry.concert.0,
            actor_id: entry.actor.0,
            action: entry.action.clone(),
            changes: changes_of(entry),
        };
        self.execute(diesel::insert_into(audit_log::table).values(new)).await.map(|_| ())
    }
}
