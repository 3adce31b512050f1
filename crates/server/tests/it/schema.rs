//! What the program takes the tables for is what the migrations make.

use std::collections::BTreeSet;

use onsale_test_support::World;

const SCHEMA: &str = include_str!("../../../infrastructure/src/postgres/schema.rs");

/// PostgreSQL's name of a type of `schema.rs`.
fn sql_name(word: &str) -> &'static str {
    match word {
        "Bool" => "boolean",
        "Bpchar" => "character",
        "Bytea" => "bytea",
        "Int2" => "smallint",
        "Int4" => "integer",
        "Int8" => "bigint",
        "Jsonb" => "jsonb",
        "Text" => "text",
        "Timestamp" => "timestamp without time zone",
        "Timestamptz" => "timestamp with time zone",
        "Uuid" => "uuid",
        "Varchar" => "character varying",
        other => panic!("the type {other} is new here"),
    }
}

/// Every column that `schema.rs` says there is, with its type and whether it may be null.
fn said() -> BTreeSet<String> {
    let mut columns = BTreeSet::new();
    let mut table = "";
    for line in SCHEMA.lines().map(str::trim).filter(|line| !line.starts_with("//")) {
        if let Some((name, _)) = line.strip_suffix(") {").and_then(|head| head.split_once(" (")) {
            table = name;
        } else if let Some((column, kind)) = line.strip_suffix(',').and_then(|line| line.split_once(" -> ")) {
            let inner = kind.strip_prefix("Nullable<").and_then(|kind| kind.strip_suffix('>'));
            let null = if inner.is_some() { " null" } else { "" };
            columns.insert(format!("{table}.{column} {}{null}", sql_name(inner.unwrap_or(kind))));
        }
    }
    columns
}

#[tokio::test]
async fn the_schema_of_the_program_is_that_of_the_database() {
    World::with(async |world| {
        // A view does not say what may be null; this one has the columns of its first table.
        let query = "SELECT c.table_name || '.' || c.column_name || ' ' || c.data_type ||
                CASE WHEN coalesce(p.is_nullable, c.is_nullable) = 'YES' THEN ' null' ELSE '' END AS t
            FROM information_schema.columns c
            LEFT JOIN information_schema.columns p ON c.table_name = 'line_places_ever' AND p.table_name = 'line_places'
                AND p.table_schema = c.table_schema AND p.column_name = c.column_name
            WHERE c.table_schema = 'public'";
        let stored: BTreeSet<String> = world.sql().await.texts(query).await.into_iter().collect();
        let said = said();
        let missing: Vec<_> = stored.difference(&said).collect();
        let invented: Vec<_> = said.difference(&stored).collect();
        assert!(missing.is_empty() && invented.is_empty(), "not in schema.rs: {missing:#?}\nonly there: {invented:#?}");
    })
    .await;
}
