//! The transaction guard.

use diesel_async::{
    AnsiTransactionManager, AsyncPgConnection, RunQueryDsl, TransactionManager,
    methods::{ExecuteDsl, LoadQuery},
    pooled_connection::deadpool::Object,
};
use onsale_application::{
    error::StoreError,
    transaction::{Transaction, UnitOfWork},
};

use super::{
    Postgres,
    error::{classify, connection_is_gone},
    pool::{Connection, impossible},
};

/// An open transaction.
///
/// When it is dropped without commit or rollback, whether by an error, a panic or a request that was cut off in the
/// middle of a statement, its connection is taken out of the pool and closed, which makes PostgreSQL roll back and
/// drop all locks. Handing it back would leave the transaction open for the next user.
pub struct PostgresTx {
    connection: Option<Connection>,
}

impl UnitOfWork for Postgres {
    type Tx = PostgresTx;

    async fn begin(&self) -> Result<PostgresTx, StoreError> {
        // The guard comes before BEGIN is sent.
        let mut tx = PostgresTx { connection: Some(self.connection().await?) };
        match AnsiTransactionManager::begin_transaction(tx.connection()?).await {
            Ok(()) => Ok(tx),
            Err(error) if connection_is_gone(&error) => {
                drop(tx);
                let mut tx = PostgresTx { connection: Some(self.fresh_connection().await?) };
                AnsiTransactionManager::begin_transaction(tx.connection()?).await.map_err(classify)?;
                Ok(tx)
            }
            Err(error) => Err(classify(error)),
        }
    }
}

impl Transaction for PostgresTx {
    async fn commit(mut self) -> Result<(), StoreError> {
        AnsiTransactionManager::commit_transaction(self.connection()?).await.map_err(classify)?;
        self.connection = None;
        Ok(())
    }

    async fn rollback(mut self) -> Result<(), StoreError> {
        AnsiTransactionManager::rollback_transaction(self.connection()?).await.map_err(classify)?;
        self.connection = None;
        Ok(())
    }
}

impl PostgresTx {
    pub(super) fn connection(&mut self) -> Result<&mut AsyncPgConnection, StoreError> {
        self.connection.as_deref_mut().ok_or_else(|| impossible("the transaction has ended"))
    }

    /// Runs a query and returns its rows.
    pub(super) async fn all<Q, U>(&mut self, query: Q) -> Result<Vec<U>, StoreError>
    where
        U: Send,
        Q: LoadQuery<'static, AsyncPgConnection, U> + Send + 'static,
    {
        query.load::<U>(self.connection()?).await.map_err(classify)
    }

    /// Like [`PostgresTx::all`], for at most one row.
    pub(super) async fn one<Q, U>(&mut self, query: Q) -> Result<Option<U>, StoreError>
    where
        U: Send,
        Q: LoadQuery<'static, AsyncPgConnection, U> + Send + 'static,
    {
        Ok(self.all(query).await?.into_iter().next())
    }

    /// Runs a write without rows and returns how many it touched.
    pub(super) async fn execute<Q>(&mut self, query: Q) -> Result<usize, StoreError>
    where
        Q: ExecuteDsl<AsyncPgConnection> + Send + 'static,
    {
        query.execute(self.connection()?).await.map_err(classify)
    }
}

impl Drop for PostgresTx {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            drop(Object::take(connection));
        }
    }
}
