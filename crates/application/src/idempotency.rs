//! The same request twice gets the same answer, and does its work once.
//!
//! The answer is stored in the transaction of the write. A refused request changed nothing and is not stored, so
//! repeating it is judged anew.

use std::future::Future;

use onsale_domain::ids::UserId;

use crate::{
    error::StoreError,
    transaction::{Transaction, UnitOfWork},
};

/// How a finished write is turned into the text of the answer, which is stored with it and means nothing here.
pub type Render<T> = Box<dyn Fn(&T) -> String + Send + Sync>;

/// A write that may be repeated.
pub struct Idempotent<T> {
    /// The client's key and the fingerprint of its request; `None` when the client sent no key.
    pub key: Option<RequestKey>,
    /// Makes the answer.
    pub render: Render<T>,
}

/// A client's key for one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestKey {
    /// 1 to 128 visible ASCII characters, unique per user.
    pub key: String,
    /// SHA-256 over method, path and body.
    pub request_hash: [u8; 32],
}

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// Nobody used it; this transaction now has it to itself.
    New,
    /// The request was done before.
    Stored {
        /// The fingerprint of that request.
        request_hash: [u8; 32],
        /// What it was answered.
        answer: String,
    },
    /// Another transaction is doing it right now.
    InFlight,
}

/// Keys and their answers, within a transaction.
pub trait IdempotencyKeys: Send {
    /// The stored answer, or else the claim of the key until the transaction ends. MUST NOT wait for another transaction
    /// that has it, and MUST find what is stored whoever reads it at the same time.
    fn claim(&mut self, user: UserId, key: &RequestKey) -> impl Future<Output = Result<Claim, StoreError>> + Send;
    /// Stores the answer.
    fn store(
        &mut self,
        user: UserId,
        key: &RequestKey,
        answer: &str,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyRefusal {
    /// It belongs to another request of the same user.
    #[error("the key was used for another request")]
    OtherRequest,
    /// The first request with it has not ended yet.
    #[error("the first request with this key is still running")]
    InFlight,
}

/// What came of a request.
#[derive(Debug, Clone)]
pub struct Answered<T> {
    /// What to answer.
    pub answer: String,
    /// What this call did; `None` when an earlier one had done it.
    pub done: Option<T>,
}

/// Runs `work` in a transaction and stores its answer under the key, or returns the answer that is stored already.
/// Commits only when `work` succeeds.
pub async fn run<U, T, E, W>(unit: &U, user: UserId, idempotent: &Idempotent<T>, work: W) -> Result<Answered<T>, E>
where
    U: UnitOfWork,
    U::Tx: IdempotencyKeys,
    E: From<StoreError> + From<KeyRefusal>,
    W: Work<U::Tx, T, E>,
{
    let mut tx = unit.begin().await?;
    if let Some(key) = &idempotent.key {
        match tx.claim(user, key).await? {
            Claim::New => {}
            Claim::Stored { request_hash, answer } => {
                tx.rollback().await?;
                return if request_hash == key.request_hash {
                    Ok(Answered { answer, done: None })
                } else {
                    Err(KeyRefusal::OtherRequest.into())
                };
            }
            Claim::InFlight => {
                tx.rollback().await?;
                return Err(KeyRefusal::InFlight.into());
            }
        }
    }
    match work.run(&mut tx).await {
        Ok(done) => {
            let answer = (idempotent.render)(&done);
            if let Some(key) = &idempotent.key {
                tx.store(user, key, &answer).await?;
            }
            tx.commit().await?;
            Ok(Answered { answer, done: Some(done) })
        }
        Err(refusal) => {
            tx.rollback().await?;
            Err(refusal)
        }
    }
}

/// Work inside a transaction, as a value.
pub trait Work<Tx, T, E>: Send {
    /// Does the work.
    fn run(self, tx: &mut Tx) -> impl Future<Output = Result<T, E>> + Send;
}
