//! Direct SQL, past the application, for looking and for trying to break in.

use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

#[derive(diesel::QueryableByName)]
struct Number {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    n: i64,
}

/// A connection of the test's own.
pub struct Sql(AsyncPgConnection);

impl Sql {
    /// Connects.
    pub async fn connect(url: &str) -> Self {
        Self(AsyncPgConnection::establish(url).await.expect("PostgreSQL answers"))
    }

    /// Runs statements; the error's text when the database refuses.
    pub async fn run(&mut self, sql: &str) -> Result<(), String> {
        self.0.batch_execute(sql).await.map_err(|error| error.to_string())
    }

    /// The one number that a query answers in its column `n`.
    pub async fn number(&mut self, sql: &str) -> i64 {
        let row: Number = diesel::sql_query(sql).get_result(&mut self.0).await.expect("a query that answers one row");
        row.n
    }
}
