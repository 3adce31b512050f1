//! Rules that SQL must repeat are those of the domain. Lua is told its words by Rust: `redis/words.rs` of the infrastructure.

use onsale_domain::{
    account::Role, concert::SaleState, queue::LogKind, reservation::ReservationState, seat::SeatState,
    ticket::TicketState,
};
use onsale_test_support::World;

fn infrastructure(path: &str) -> String {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../infrastructure/src/");
    std::fs::read_to_string(format!("{root}{path}")).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Words in single quotes.
fn quoted(text: &str) -> Vec<&str> {
    text.split('\'').skip(1).step_by(2).collect()
}

/// The words of each list that follows `before`, up to `end`.
fn lists<'a>(text: &'a str, before: &str, end: &str) -> Vec<Vec<&'a str>> {
    text.split(before).skip(1).map(|rest| quoted(rest.split(end).next().unwrap())).collect()
}

fn stages(rule: impl Fn(SaleState) -> bool) -> Vec<&'static str> {
    SaleState::ALL.into_iter().filter(|stage| rule(*stage)).map(SaleState::as_str).collect()
}

#[test]
fn stages_in_sql_are_those_of_the_domain() {
    let sells = stages(SaleState::sells);
    let numbers = || stages(|stage| stage.admits_joins() && stage != SaleState::PreQueue);
    let ticks = stages(|stage| stage.admits_joins() || stage.promotes());
    assert_eq!(lists(&infrastructure("postgres/sql/hold.sql"), "sale_state IN (", ")"), [sells]);
    assert_eq!(lists(&infrastructure("postgres/sql/join_new.sql"), "sale_state IN (", ")"), [numbers()]);
    assert_eq!(lists(&infrastructure("postgres/sql/join_line.sql"), "sale_state NOT IN (", ")"), [numbers()]);
    let lines = infrastructure("../../../migrations/2026-11-21-000006_line/up.sql");
    assert_eq!(lists(&lines, "concerts_with_a_line ON concerts (id) WHERE sale_state IN (", ")"), [ticks]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_words_that_the_database_accepts_are_those_of_the_domain() {
    World::with(async |world| {
        let mut sql = world.sql().await;
        let mut check = async |table: &str, column: &str, words: Vec<&str>| {
            // Every word of the domain is among those of the constraint, and there are no others.
            let constraint = format!(
                "FROM pg_constraint c, regexp_matches(pg_get_constraintdef(c.oid), '''([a-z_]+)''::text', 'g') word
                 WHERE c.conrelid = '{table}'::regclass AND c.contype = 'c'
                    AND pg_get_constraintdef(c.oid) LIKE 'CHECK (({column} = ANY%' "
            );
            let all = format!("SELECT count(*) AS n {constraint}");
            assert_eq!(sql.number(&all).await, i64::try_from(words.len()).unwrap(), "{table}.{column}");
            for word in words {
                let one = format!("SELECT count(*) AS n {constraint} AND word[1] = '{word}'");
                assert_eq!(sql.number(&one).await, 1, "{table}.{column} does not accept {word}");
            }
        };
        check("users", "role", Role::ALL.map(Role::as_str).to_vec()).await;
        check("concerts", "sale_state", SaleState::ALL.map(SaleState::as_str).to_vec()).await;
        check("seats", "state", SeatState::ALL.map(SeatState::as_str).to_vec()).await;
        check("reservations", "state", ReservationState::ALL.map(ReservationState::as_str).to_vec()).await;
        check("tickets", "state", TicketState::ALL.map(TicketState::as_str).to_vec()).await;
        check("line_log", "kind", LogKind::ALL.map(LogKind::as_str).to_vec()).await;
    })
    .await;
}
