//! SQL by hand, for what the typed queries cannot say: values by name, rows by name, prepared once per connection.
//!
//! diesel's own `sql_query` is prepared anew at every call, which costs half the throughput; a [`Sql`] is cached by its text.

use std::marker::PhantomData;

use diesel::{
    QueryResult, QueryableByName,
    pg::Pg,
    query_builder::{AstPass, Query, QueryFragment, QueryId},
    result::Error,
    serialize::ToSql,
    sql_types::{BigInt, HasSqlType, SingleValue, Untyped},
};

/// SQL text with `:names` and the values for them. Rows are structs that derive `QueryableByName`.
pub(super) struct Sql {
    text: &'static str,
    values: Vec<(&'static str, Box<dyn Value + Send>)>,
}

/// A statement without values yet.
pub(super) fn sql(text: &'static str) -> Sql {
    Sql { text, values: Vec::new() }
}

impl Sql {
    /// Gives `:name` its value, of SQL type `ST`.
    pub(super) fn bind<ST, T>(mut self, name: &'static str, value: T) -> Self
    where
        ST: Send + SingleValue + 'static,
        T: ToSql<ST, Pg> + Send + 'static,
        Pg: HasSqlType<ST>,
    {
        self.values.push((name, Box::new(Typed::<ST, T> { value, sql_type: PhantomData })));
        self
    }
}

/// How many rows a statement of several steps touched.
#[derive(QueryableByName)]
#[diesel(check_for_backend(Pg))]
pub(super) struct Counted {
    #[diesel(sql_type = BigInt)]
    pub(super) count: i64,
}

/// A piece of a statement.
#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    Text(&'a str),
    Name(&'a str),
}

/// Splits at `:names`. `::` is a cast and belongs to the text, and so does a colon before anything but a letter.
fn pieces(mut text: &str) -> Vec<Piece<'_>> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(colon) = text.get(from..).and_then(|rest| rest.find(':')).map(|at| from + at) {
        let after = text.get(colon + 1..).unwrap_or_default();
        if after.starts_with(':') {
            from = colon + 2;
            continue;
        }
        let length = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
        if !after.starts_with(|c: char| c.is_ascii_lowercase()) {
            from = colon + 1;
            continue;
        }
        let (name, rest) = after.split_at(length);
        found.extend([Piece::Text(text.get(..colon).unwrap_or_default()), Piece::Name(name)]);
        (text, from) = (rest, 0);
    }
    found.push(Piece::Text(text));
    found
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

impl QueryFragment<Pg> for Sql {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        // A value is sent once however often it is named: the first time as a value, then by the number that it got.
        let mut sent: Vec<&str> = Vec::with_capacity(self.values.len());
        for piece in pieces(self.text) {
            match piece {
                Piece::Text(text) => out.push_sql(text),
                Piece::Name(name) => match sent.iter().position(|known| *known == name) {
                    Some(index) => out.push_sql(&format!("${}", index + 1)),
                    None => {
                        let value = self.values.iter().find(|(known, _)| *known == name);
                        let (_, value) =
                            value.ok_or_else(|| Error::QueryBuilderError(format!(":{name} has no value").into()))?;
                        value.push(&mut out)?;
                        sent.push(name);
                    }
                },
            }
        }
        if let Some((name, _)) = self.values.iter().find(|(name, _)| !sent.contains(name)) {
            return Err(Error::QueryBuilderError(format!(":{name} is not in the statement").into()));
        }
        Ok(())
    }
}

impl QueryId for Sql {
    // Not static: two statements of this type differ by their text, and the text is the key of the cache.
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for Sql {
    type SqlType = Untyped;
}

#[cfg(test)]
mod tests {
    use diesel::{debug_query, sql_types::Text};

    use super::*;

    #[test]
    fn a_name_is_a_value_and_a_cast_is_not() {
        let text = "SELECT :a::bigint, x::text -- so: this\nWHERE b = :b_2 AND c = :a";
        let found = pieces(text);
        let names: Vec<_> = found.iter().filter(|piece| matches!(piece, Piece::Name(_))).collect();
        assert_eq!(names, [&Piece::Name("a"), &Piece::Name("b_2"), &Piece::Name("a")]);
    }

    #[test]
    fn a_value_that_is_named_twice_is_sent_once() {
        let query = sql("SELECT :a, :b, :a").bind::<Text, _>("b", "two").bind::<BigInt, _>("a", 1_i64);
        assert_eq!(debug_query::<Pg, _>(&query).to_string(), "SELECT $1, $2, $1 -- binds: [1, \"two\"]");
    }

    #[test]
    fn a_name_without_a_value_and_a_value_without_a_name_are_refused() {
        use diesel::query_builder::QueryBuilder;
        let built = |query: &Sql| {
            let mut builder = diesel::pg::PgQueryBuilder::default();
            let built = query.to_sql(&mut builder, &Pg);
            built.map(|()| builder.finish())
        };
        assert!(built(&sql("SELECT :a")).is_err());
        assert!(built(&sql("SELECT 1").bind::<BigInt, _>("a", 1_i64)).is_err());
        assert_eq!(built(&sql("SELECT :a").bind::<BigInt, _>("a", 1_i64)).unwrap(), "SELECT $1");
    }
}
