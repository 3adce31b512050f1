//! Demo data: ten concerts of ten shows of fifty seats, one arena of sixty thousand, and two accounts.

use chrono::{DateTime, Duration, TimeZone, Utc};
use onsale_application::{
    accounts::AccountError,
    catalogue::{CatalogueError, ConcertChanges},
    context::Clock,
};
use onsale_domain::{
    account::Role,
    concert::SaleState,
    fault::Faults,
    ids::UserId,
    queue::QueuePolicy,
    seat::{SeatBlock, seats_from},
};
use onsale_infrastructure::system::System;

use crate::wiring::Instance;

/// Address and password of the demo fan.
pub const FAN: (&str, &str) = ("fan@onsale.example", "onsale-demo-fan");
/// Address and password of the demo operator.
pub const OPERATOR: (&str, &str) = ("operator@onsale.example", "onsale-demo-operator");

/// Why there is no demo data.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// Accounts.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// Concerts.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// Seats.
    #[error(transparent)]
    Seats(#[from] Faults),
    /// The database.
    #[error(transparent)]
    Store(#[from] onsale_application::error::StoreError),
}

/// Adds the demo data unless there is a concert already; answers whether it did.
pub async fn seed(instance: &Instance) -> Result<bool, DemoError> {
    if instance.postgres.has_concerts().await? {
        return Ok(false);
    }
    let accounts = &instance.api.facades.accounts;
    match accounts.create(FAN.0, FAN.1, "Demo fan", Role::Fan).await {
        Ok(_) | Err(AccountError::EmailTaken) => {}
        Err(error) => return Err(error.into()),
    }
    let operator = match accounts.create(OPERATOR.0, OPERATOR.1, "Demo operator", Role::Operator).await {
        Ok(user) => user.id,
        Err(AccountError::EmailTaken) => accounts.log_in(OPERATOR.0, OPERATOR.1).await?.user.id,
        Err(error) => return Err(error.into()),
    };
    let first_show = first_evening(System.now());
    for number in 1..=10_i32 {
        let blocks = [SeatBlock { section: "A".to_owned(), rows: 5, seats_per_row: 10, price_minor: 150_000 }];
        let title = format!("Seoul Night {number}");
        let starts_at = first_show + Duration::days(i64::from(number));
        concert(instance, operator, &title, "Olympic Hall", starts_at, 10, &blocks).await?;
    }
    let arena: Vec<SeatBlock> = ["Floor", "East", "North", "South", "West", "Upper"]
        .into_iter()
        .zip([198_000, 154_000, 132_000, 132_000, 154_000, 99_000])
        .map(|(section, price_minor)| SeatBlock {
            section: section.to_owned(),
            rows: 100,
            seats_per_row: 100,
            price_minor,
        })
        .collect();
    concert(instance, operator, "Arena", "Main Stadium", first_show + Duration::days(30), 1, &arena).await?;
    Ok(true)
}

/// Ten in the morning UTC, seven in the evening in Seoul, a month from `now`.
fn first_evening(now: DateTime<Utc>) -> DateTime<Utc> {
    let day = (now + Duration::days(30)).date_naive();
    day.and_hms_opt(10, 0, 0).map_or(now + Duration::days(30), |evening| Utc.from_utc_datetime(&evening))
}

async fn concert(
    instance: &Instance,
    operator: UserId,
    title: &str,
    venue: &str,
    first_show: DateTime<Utc>,
    shows: i64,
    blocks: &[SeatBlock],
) -> Result<(), DemoError> {
    let catalogue = &instance.api.facades.catalogue;
    let concert = catalogue.create_concert(operator, title, "Demo data.", QueuePolicy::default()).await?;
    for number in 0..shows {
        let starts_at = first_show + Duration::days(number);
        let show = catalogue.create_show(concert.id, venue, starts_at, 300, 4).await?;
        catalogue.add_seats(show.id, seats_from(blocks, vec![])?).await?;
    }
    let changes = ConcertChanges { sale_state: Some(SaleState::OnSale), ..ConcertChanges::default() };
    catalogue.edit_concert(operator, concert.id, None, changes).await?;
    Ok(())
}
