//! The schema, carried in the program.

use diesel::migration::{Migration, MigrationSource, MigrationVersion};
use diesel_async::{AsyncConnection, AsyncMigrationHarness, AsyncPgConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use onsale_application::error::{Cause, StoreError};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../../migrations");

/// The versions that this program needs.
pub(super) fn versions() -> Vec<String> {
    let found: Result<Vec<Box<dyn Migration<diesel::pg::Pg>>>, _> = MIGRATIONS.migrations();
    found.map(|all| all.iter().map(|one| one.name().version().to_string()).collect()).unwrap_or_default()
}

/// Applies what is missing; answers the versions applied now.
pub async fn up(url: &str) -> Result<Vec<String>, StoreError> {
    with_harness(url, |harness| harness.run_pending_migrations(MIGRATIONS).map(|applied| texts(&applied))).await
}

/// Reverts everything; answers the versions reverted. All data is lost.
pub async fn down(url: &str) -> Result<Vec<String>, StoreError> {
    with_harness(url, |harness| harness.revert_all_migrations(MIGRATIONS).map(|reverted| texts(&reverted))).await
}

fn texts(versions: &[MigrationVersion<'_>]) -> Vec<String> {
    versions.iter().map(ToString::to_string).collect()
}

async fn with_harness(
    url: &str,
    work: impl FnOnce(&mut AsyncMigrationHarness<AsyncPgConnection>) -> Result<Vec<String>, Cause> + Send + 'static,
) -> Result<Vec<String>, StoreError> {
    let connection = AsyncPgConnection::establish(url).await.map_err(|error| StoreError::Unavailable(error.into()))?;
    // The harness blocks its thread, and the connection needs the runtime meanwhile.
    tokio::task::spawn_blocking(move || work(&mut AsyncMigrationHarness::new(connection)))
        .await
        .map_err(|error| StoreError::Broken(error.into()))?
        .map_err(StoreError::Broken)
}
