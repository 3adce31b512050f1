//! Functions of PostgreSQL that diesel does not know.
#![allow(unreachable_pub, reason = "what the macro writes is public")]

use diesel::{
    define_sql_function,
    query_builder::QueryId,
    sql_types::{BigInt, Bool, Nullable, Numeric, SqlType, Text},
};

/// What functions return that return nothing.
#[derive(Debug, Clone, Copy, Default, QueryId, SqlType)]
#[diesel(postgres_type(oid = 2278, array_oid = 0))]
pub struct Void;

define_sql_function! {
    /// The time at this moment; `now` is the one at which the transaction began.
    fn clock_timestamp() -> diesel::sql_types::Timestamptz;
}

define_sql_function! {
    /// A sum as a number that Rust has.
    #[sql_name = "int8"]
    fn whole(sum: Nullable<Numeric>) -> Nullable<BigInt>;
}

define_sql_function! {
    /// Waits for a lock that ends with the transaction.
    fn pg_advisory_xact_lock(number: BigInt) -> Void;
}

define_sql_function! {
    /// Whether a lock that ends with the transaction could be had at once.
    fn pg_try_advisory_xact_lock(number: BigInt) -> Bool;
}

define_sql_function! {
    /// Changes a setting, until the transaction ends when `local` says so.
    fn set_config(name: Text, value: Text, local: Bool) -> Text;
}
