//! Words of the domain as values of columns.

use std::fmt::Debug;

use diesel::{
    AppearsOnTable, Expression, QueryResult, SelectableExpression,
    deserialize::{self, FromSql, FromSqlRow},
    expression::{AsExpression, ValidGrouping, is_aggregate},
    pg::{Pg, PgValue},
    query_builder::{AstPass, QueryFragment, QueryId},
    serialize::{self, Output, ToSql},
    sql_types::Text,
};
use onsale_domain::{
    account::Role, concert::SaleState, queue::LogKind, reservation::ReservationState, seat::SeatState,
    ticket::TicketState,
};

/// A closed list of words of the domain.
pub(super) trait Vocabulary: Copy + Debug + 'static {
    /// What one of them is, to name it when it is none.
    const WHAT: &'static str;

    /// The value of a word.
    fn parse_word(word: &str) -> Option<Self>;

    /// The word of a value.
    fn word(self) -> &'static str;
}

/// A value that a column has as its word. Another word in the column is an error.
#[derive(Debug, Clone, Copy, FromSqlRow, AsExpression)]
#[diesel(sql_type = Text)]
pub(super) struct Word<T>(pub(super) T);

impl<T: Vocabulary> FromSql<Text, Pg> for Word<T> {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        let word = std::str::from_utf8(value.as_bytes())?;
        T::parse_word(word).map(Word).ok_or_else(|| format!("an unknown {}: {word}", T::WHAT).into())
    }
}

impl<T: Vocabulary> ToSql<Text, Pg> for Word<T> {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        <str as ToSql<Text, Pg>>::to_sql(self.0.word(), out)
    }
}

macro_rules! vocabularies {
    ($($name:ident: $what:literal,)*) => {$(
        impl Vocabulary for $name {
            const WHAT: &'static str = $what;

            fn parse_word(word: &str) -> Option<Self> {
                Self::parse(word)
            }

            fn word(self) -> &'static str {
                self.as_str()
            }
        }

        impl From<Word<$name>> for $name {
            fn from(word: Word<$name>) -> Self {
                word.0
            }
        }
    )*};
}

vocabularies! {
    Role: "role",
    SaleState: "sale state",
    SeatState: "seat state",
    ReservationState: "reservation state",
    TicketState: "ticket state",
    LogKind: "kind of log entry",
}

/// A word, or any of several, in the text of a statement and not as a value of it: a plan that is made once for all values
/// can use a partial index only if the text says that it fits.
#[derive(Debug, Clone)]
pub(super) struct Fixed(String);

/// `'word'`.
pub(super) fn fixed(word: &'static str) -> Fixed {
    Fixed(format!("'{}'", plain(word)))
}

/// `ANY ('{word,word}')`: a column equals it that has one of the words.
pub(super) fn any_fixed(words: impl IntoIterator<Item = &'static str>) -> Fixed {
    let words: Vec<&str> = words.into_iter().map(plain).collect();
    Fixed(format!("ANY ('{{{}}}')", words.join(",")))
}

/// Nothing in a word needs quoting.
fn plain(word: &'static str) -> &'static str {
    debug_assert!(word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{word}");
    word
}

impl Expression for Fixed {
    type SqlType = Text;
}

impl<QS> AppearsOnTable<QS> for Fixed {}

impl<QS> SelectableExpression<QS> for Fixed {}

impl<GB> ValidGrouping<GB> for Fixed {
    type IsAggregate = is_aggregate::Never;
}

impl QueryFragment<Pg> for Fixed {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(&self.0);
        Ok(())
    }
}

impl QueryId for Fixed {
    // Not static: the text differs where the type does not, and is the key of the cache of statements.
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds<T: Vocabulary + PartialEq>(all: &[T]) {
        for value in all {
            assert_eq!(T::parse_word(value.word()), Some(*value));
        }
        assert_eq!(T::parse_word("none of them"), None);
    }

    #[test]
    fn words_and_values_belong_together() {
        holds(&Role::ALL);
        holds(&SaleState::ALL);
        holds(&SeatState::ALL);
        holds(&ReservationState::ALL);
        holds(&TicketState::ALL);
        holds(&LogKind::ALL);
    }

    #[test]
    fn fixed_words_are_literals() {
        assert_eq!(fixed("wallet").0, "'wallet'");
        assert_eq!(any_fixed(["on_sale", "paused"]).0, "ANY ('{on_sale,paused}')");
    }
}
