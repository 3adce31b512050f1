//! Keys and stored answers.

use diesel::sql_types::{BigInt, Binary, Bool, Nullable, SmallInt, Text, Uuid as SqlUuid};
use onsale_application::{
    error::StoreError,
    idempotency::{Claim, IdempotencyKeys, RequestKey, StoredAnswer},
};
use onsale_domain::ids::UserId;
use sha2::{Digest, Sha256};

use super::{PostgresTx, pool::impossible, statement::statement};

/// The advisory lock that stands for a user's key while its first request runs. Two different keys that share a
/// number only make one of them wait for a retry.
fn lock_number(user: UserId, key: &str) -> i64 {
    let digest = Sha256::new().chain_update(user.0.as_bytes()).chain_update(key).finalize();
    digest.first_chunk::<8>().map_or(0, |bytes| i64::from_be_bytes(*bytes))
}

impl IdempotencyKeys for PostgresTx {
    async fn claim(&mut self, user: UserId, key: &RequestKey) -> Result<Claim, StoreError> {
        // What is stored takes no lock, so any number of callers may read it at once.
        let claim = statement::<Nullable<Bool>>(
            "SELECT CASE WHEN NOT EXISTS (SELECT 1 FROM idempotency_keys WHERE user_id = $1 AND key = $2)
                THEN pg_try_advisory_xact_lock($3) END",
        )
        .bind::<SqlUuid, _>(user.0)
        .bind::<Text, _>(key.key.clone())
        .bind::<BigInt, _>(lock_number(user, &key.key));
        let claimed = self.rows::<Nullable<Bool>, Option<bool>>(claim).await?;
        // Its own statement, so that it sees what the former holder of the lock committed.
        let stored = statement::<(Binary, SmallInt, Nullable<Text>, Text)>(
            "SELECT request_hash, status, location, body FROM idempotency_keys WHERE user_id = $1 AND key = $2",
        )
        .bind::<SqlUuid, _>(user.0)
        .bind::<Text, _>(key.key.clone());
        let rows: Vec<(Vec<u8>, i16, Option<String>, String)> = self.rows(stored).await?;
        let Some((hash, status, location, body)) = rows.into_iter().next() else {
            return Ok(if claimed == [Some(true)] { Claim::New } else { Claim::InFlight });
        };
        Ok(Claim::Stored {
            request_hash: hash.try_into().map_err(|_| impossible("a request hash of another length"))?,
            answer: StoredAnswer { status: u16::try_from(status).unwrap_or(200), location, body },
        })
    }

    async fn store(&mut self, user: UserId, key: &RequestKey, answer: &StoredAnswer) -> Result<(), StoreError> {
        let insert = statement::<Bool>(
            "INSERT INTO idempotency_keys (user_id, key, request_hash, status, location, body)
             VALUES ($1, $2, $3, $4, $5, $6) RETURNING true",
        )
        .bind::<SqlUuid, _>(user.0)
        .bind::<Text, _>(key.key.clone())
        .bind::<Binary, _>(key.request_hash.to_vec())
        .bind::<SmallInt, _>(i16::try_from(answer.status).unwrap_or(200))
        .bind::<Nullable<Text>, _>(answer.location.clone())
        .bind::<Text, _>(answer.body.clone());
        self.rows::<Bool, bool>(insert).await.map(|_| ())
    }
}
