//! What operators did.

use chrono::{DateTime, Utc};
use diesel::sql_types::{BigInt, Bool, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use onsale_application::{
    audit::{AuditChange, AuditEntry, AuditLog, AuditRecord},
    error::StoreError,
};
use onsale_domain::ids::{ConcertId, UserId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    Postgres,
    pool::impossible,
    statement::{Statement, statement},
};

#[derive(Serialize, Deserialize)]
struct StoredChange {
    what: String,
    from: Option<String>,
    to: String,
}

/// Who, what and the changes, as the last three values of a statement.
pub(super) fn with_audit(statement: Statement<Bool>, entry: &AuditEntry) -> Statement<Bool> {
    let stored = |change: &AuditChange| StoredChange {
        what: change.what.clone(),
        from: change.from.clone(),
        to: change.to.clone(),
    };
    let changes: Vec<StoredChange> = entry.changes.iter().map(stored).collect();
    statement
        .bind::<SqlUuid, _>(entry.actor.0)
        .bind::<Text, _>(entry.action.clone())
        // Strings and lists of them have no way to fail.
        .bind::<Text, _>(serde_json::to_string(&changes).unwrap_or_else(|_| "[]".to_owned()))
}

impl AuditLog for Postgres {
    async fn note(&self, entry: &AuditEntry) -> Result<(), StoreError> {
        let _: Vec<bool> = self
            .rows(|| {
                let insert = statement::<Bool>(
                    "INSERT INTO audit_log (concert_id, actor_id, action, changes) VALUES ($1, $2, $3, $4::jsonb)
                     RETURNING true",
                )
                .bind::<SqlUuid, _>(entry.concert.0);
                with_audit(insert, entry)
            })
            .await?;
        Ok(())
    }

    async fn entries(
        &self,
        concert: ConcertId,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<AuditRecord>, StoreError> {
        let rows: Vec<(i64, DateTime<Utc>, Uuid, String, String)> = self
            .rows(|| {
                statement::<(BigInt, Timestamptz, SqlUuid, Text, Text)>(
                    "SELECT id, at, actor_id, action, changes::text FROM audit_log
                     WHERE concert_id = $1 AND ($2::bigint IS NULL OR id < $2) ORDER BY id DESC LIMIT $3",
                )
                .bind::<SqlUuid, _>(concert.0)
                .bind::<Nullable<BigInt>, _>(before)
                .bind::<BigInt, _>(limit)
            })
            .await?;
        rows.into_iter()
            .map(|(id, at, actor, action, changes)| {
                let changes: Vec<StoredChange> =
                    serde_json::from_str(&changes).map_err(|_| impossible("changes that are none"))?;
                let change = |c: StoredChange| AuditChange { what: c.what, from: c.from, to: c.to };
                let changes = changes.into_iter().map(change).collect();
                Ok(AuditRecord { id, at, entry: AuditEntry { actor: UserId(actor), concert, action, changes } })
            })
            .collect()
    }
}
