//! Direct SQL, past the application, for looking and for trying to break in.

use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

#[derive(diesel::QueryableByName)]
struct Number {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    n: i64,
}

#[derive(diesel::QueryableByName)]
struct Line {
    #[diesel(sql_type = diesel::sql_types::Text)]
    t: String,
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

    /// What a query answers in its column `t`, row by row.
    pub async fn texts(&mut self, sql: &str) -> Vec<String> {
        let lines: Vec<Line> = diesel::sql_query(sql).load(&mut self.0).await.expect("a query that answers texts");
        lines.into_iter().map(|line| line.t).collect()
    }
}
