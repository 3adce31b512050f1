//! Where the next page of a list begins.

use diesel::{
    AppearsOnTable, Expression, QueryResult, SelectableExpression,
    expression::{AsExpression, ValidGrouping},
    pg::Pg,
    query_builder::{AstPass, QueryFragment, QueryId},
    sql_types::{Bool, SqlType},
};

/// `(a, b) > (x, y)`. Said in one, an index on `(a, b)` leads to the first row of the page.
#[derive(Debug, Clone, Copy, QueryId, ValidGrouping)]
pub(super) struct Behind<A, B, X, Y> {
    columns: (A, B),
    values: (X, Y),
}

/// What stands behind these values in the order of two columns.
pub(super) fn behind<A, B, X, Y>(
    columns: (A, B),
    values: (X, Y),
) -> Behind<A, B, <X as AsExpression<A::SqlType>>::Expression, <Y as AsExpression<B::SqlType>>::Expression>
where
    A: Expression,
    A::SqlType: SqlType,
    B: Expression,
    B::SqlType: SqlType,
    X: AsExpression<A::SqlType>,
    Y: AsExpression<B::SqlType>,
{
    Behind { columns, values: (values.0.as_expression(), values.1.as_expression()) }
}

impl<A, B, X, Y> Expression for Behind<A, B, X, Y>
where
    A: Expression,
    B: Expression,
    X: Expression<SqlType = A::SqlType>,
    Y: Expression<SqlType = B::SqlType>,
{
    type SqlType = Bool;
}

impl<QS, A, B, X, Y> AppearsOnTable<QS> for Behind<A, B, X, Y>
where
    Self: Expression,
    A: AppearsOnTable<QS>,
    B: AppearsOnTable<QS>,
    X: AppearsOnTable<QS>,
    Y: AppearsOnTable<QS>,
{
}

impl<QS, A, B, X, Y> SelectableExpression<QS> for Behind<A, B, X, Y>
where
    Self: AppearsOnTable<QS>,
    A: SelectableExpression<QS>,
    B: SelectableExpression<QS>,
    X: SelectableExpression<QS>,
    Y: SelectableExpression<QS>,
{
}

impl<A, B, X, Y> QueryFragment<Pg> for Behind<A, B, X, Y>
where
    A: QueryFragment<Pg>,
    B: QueryFragment<Pg>,
    X: QueryFragment<Pg>,
    Y: QueryFragment<Pg>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("(");
        self.columns.0.walk_ast(out.reborrow())?;
        out.push_sql(", ");
        self.columns.1.walk_ast(out.reborrow())?;
        out.push_sql(") > (");
        self.values.0.walk_ast(out.reborrow())?;
        out.push_sql(", ");
        self.values.1.walk_ast(out.reborrow())?;
        out.push_sql(")");
        Ok(())
    }
}
