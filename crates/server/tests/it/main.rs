//! The whole application over HTTP, on a real PostgreSQL and Redis.
//!
//! One binary, one module per subject. `never_again` in a test's name points to the row of the table of defects that
//! earlier systems of this kind had.
#![allow(missing_docs, reason = "tests")]
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "tests make their own ids")]
#![allow(clippy::too_many_lines, reason = "a test tells one story")]
#![allow(
    clippy::cast_possible_wrap,
    clippy::cast_possible_truncation,
    clippy::format_collect,
    clippy::semicolon_if_nothing_returned,
    reason = "small numbers of the tests own"
)]

mod accountable;
mod accounts;
mod bad_input;
mod browsers;
mod catalogue;
mod cluster;
mod crash;
mod database_guards;
mod dev;
mod disk;
mod documents;
mod doors;
mod draw;
mod events;
mod faults;
mod gate;
mod history;
mod holds;
mod lane;
mod line;
mod load;
mod model;
mod money;
mod one_home;
mod places;
mod planning;
mod plans;
mod races;
mod recovery;
mod schema;
mod seat_list;
mod selling;
mod steering;
mod stores_away;
mod stories;
mod tickets;
mod tls;
mod world;

/// Runs the tasks at once, each on its own, and returns what they answered.
async fn at_once<T: Send + 'static>(
    tasks: impl IntoIterator<Item = impl Future<Output = T> + Send + 'static>,
) -> Vec<T> {
    let mut set = tokio::task::JoinSet::new();
    for task in tasks {
        set.spawn(task);
    }
    set.join_all().await
}

/// How many answers have each code.
fn tally(answers: &[onsale_test_support::Answer]) -> std::collections::BTreeMap<String, usize> {
    let mut counts = std::collections::BTreeMap::new();
    for answer in answers {
        *counts.entry(answer.code()).or_insert(0) += 1;
    }
    counts
}
