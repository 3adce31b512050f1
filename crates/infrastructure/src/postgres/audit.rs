//! What operators did.

use chrono::{DateTime, Utc};
use diesel::{pg::Pg, prelude::*};
use onsale_application::{
    audit::{AuditChange, AuditEntry, AuditLog, AuditRecord},
    error::StoreError,
};
use onsale_domain::ids::{ConcertId, UserId};
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

#[derive(Queryable, Selectable)]
#[diesel(table_name = audit_log, check_for_backend(Pg))]
struct AuditRow {
    id: i64,
    at: DateTime<Utc>,
    #[diesel(deserialize_as = Uuid)]
    actor_id: UserId,
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

    async fn entries(
        &self,
        concert: ConcertId,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<AuditRecord>, StoreError> {
        let rows: Vec<AuditRow> = self
            .read_all(|| {
                audit_log::table
                    .filter(audit_log::concert_id.eq(concert.0))
                    .filter(audit_log::id.lt(before.unwrap_or(i64::MAX)))
                    .order(audit_log::id.desc())
                    .limit(limit)
                    .select(AuditRow::as_select())
            })
            .await?;
        rows.into_iter()
            .map(|AuditRow { id, at, actor_id, action, changes }| {
                let changes: Vec<StoredChange> =
                    serde_json::from_value(changes).map_err(|_| impossible("changes that are none"))?;
                let change = |c: StoredChange| AuditChange { what: c.what, from: c.from, to: c.to };
                let changes = changes.into_iter().map(change).collect();
                Ok(AuditRecord { id, at, entry: AuditEntry { actor: actor_id, concert, action, changes } })
            })
            .collect()
    }
}
