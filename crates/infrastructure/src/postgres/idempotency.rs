//! Keys and stored answers.

use diesel::{dsl, pg::Pg, prelude::*};
use onsale_application::{
    error::StoreError,
    idempotency::{Claim, IdempotencyKeys, RequestKey},
};
use onsale_domain::ids::UserId;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{PostgresTx, functions::pg_try_advisory_xact_lock, pool::impossible, schema::idempotency_keys};

/// The advisory lock that stands for a user's key while its first request runs. Two different keys that share a
/// number only make one of them wait for a retry.
fn lock_number(user: UserId, key: &str) -> i64 {
    let digest = Sha256::new().chain_update(user.0.as_bytes()).chain_update(key).finalize();
    digest.first_chunk::<8>().map_or(0, |bytes| i64::from_be_bytes(*bytes))
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = idempotency_keys, check_for_backend(Pg))]
struct AnswerRow {
    request_hash: Vec<u8>,
    body: String,
}

#[derive(Insertable)]
#[diesel(table_name = idempotency_keys)]
struct NewAnswer {
    user_id: Uuid,
    key: String,
    request_hash: Vec<u8>,
    body: String,
}

impl IdempotencyKeys for PostgresTx {
    async fn claim(&mut self, user: UserId, key: &RequestKey) -> Result<Claim, StoreError> {
        // What is stored takes no lock, so any number of callers may read it at once.
        let stored = idempotency_keys::table.find((user.0, key.key.clone()));
        let claim =
            dsl::case_when(dsl::not(dsl::exists(stored)), pg_try_advisory_xact_lock(lock_number(user, &key.key)));
        let claimed: Vec<Option<bool>> = self.all(diesel::select(claim)).await?;
        // Its own statement, so that it sees what the former holder of the lock committed.
        let stored = idempotency_keys::table.find((user.0, key.key.clone())).select(AnswerRow::as_select());
        let row: Option<AnswerRow> = self.one(stored).await?;
        let Some(AnswerRow { request_hash, body }) = row else {
            return Ok(if claimed == [Some(true)] { Claim::New } else { Claim::InFlight });
        };
        Ok(Claim::Stored {
            request_hash: request_hash.try_into().map_err(|_| impossible("a request hash of another length"))?,
            answer: body,
        })
    }

    async fn store(&mut self, user: UserId, key: &RequestKey, answer: &str) -> Result<(), StoreError> {
        let new = NewAnswer {
            user_id: user.0,
            key: key.key.clone(),
            request_hash: key.request_hash.to_vec(),
            body: answer.to_owned(),
        };
        self.execute(diesel::insert_into(idempotency_keys::table).values(new)).await.map(|_| ())
    }
}
