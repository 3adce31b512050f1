//! Hand-written SQL that is prepared once per connection.
//!
//! diesel's own `sql_query` is prepared anew at every call, which costs half the throughput; a [`Statement`] is
//! cached by its text.

use std::marker::PhantomData;

use diesel::{
    QueryResult,
    pg::Pg,
    query_builder::{AstPass, Query, QueryFragment, QueryId},
    serialize::ToSql,
    sql_types::{HasSqlType, SingleValue},
};

/// SQL text with `$1`, `$2`... and the values for them, which it owns so that it can be sent from anywhere; `R` is the SQL type of a result row.
pub(super) struct Statement<R> {
    sql: &'static str,
    values: Vec<Box<dyn Value + Send>>,
    row: PhantomData<fn() -> R>,
}

/// A statement without values yet.
pub(super) fn statement<R>(sql: &'static str) -> Statement<R> {
    Statement { sql, values: Vec::new(), row: PhantomData }
}

impl<R> Statement<R> {
    /// Gives the next `$n` its value, of SQL type `ST`.
    pub(super) fn bind<ST, T>(mut self, value: T) -> Self
    where
        ST: Send + SingleValue + 'static,
        T: ToSql<ST, Pg> + Send + 'static,
        Pg: HasSqlType<ST>,
    {
        self.values.push(Box::new(Typed::<ST, T> { value, sql_type: PhantomData }));
        self
    }
}

impl<R> Statement<R> {
    /// Whether running it twice is the same as running it once.
    pub(super) fn is_read(&self) -> bool {
        self.sql.trim_start().starts_with("SELECT")
    }
}

struct Typed<ST, T> {
    value: T,
    sql_type: PhantomData<fn() -> ST>,
}

trait Value {
    fn push<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()>;
}

impl<ST, T> Value for Typed<ST, T>
where
    T: ToSql<ST, Pg>,
    Pg: HasSqlType<ST>,
{
    fn push<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_bind_param::<ST, T>(&self.value)
    }
}

impl<R> QueryFragment<Pg> for Statement<R> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(self.sql);
        // The text already says where each $n stands. diesel numbers values where it writes them, so it writes them
        // into a comment, in the same order.
        if !self.values.is_empty() {
            out.push_sql("\n/* ");
            for value in &self.values {
                value.push(&mut out)?;
                out.push_sql(" ");
            }
            out.push_sql("*/");
        }
        Ok(())
    }
}

impl<R> QueryId for Statement<R> {
    // Not static: two statements of one Rust type differ by their text, and the text is the key of the cache.
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<R> Query for Statement<R> {
    type SqlType = R;
}
