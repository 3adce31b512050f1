//! One transaction, one guard, one begin.

use std::future::Future;

use crate::error::StoreError;

/// An open transaction. Dropping it without [`Transaction::commit`] leaves no change, no lock and no open transaction
/// behind, also when the drop happens in the middle of a statement.
pub trait Transaction: Send + Sized {
    /// Makes all changes last, together.
    fn commit(self) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Undoes all changes.
    fn rollback(self) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Opens transactions.
pub trait UnitOfWork: Send + Sync + 'static {
    /// The guard, which implements the ports that work inside a transaction.
    type Tx: Transaction;
    /// Begins a transaction (read committed).
    fn begin(&self) -> impl Future<Output = Result<Self::Tx, StoreError>> + Send;
}
