//! Fans with wallets, and a sale that is on.

use std::path::PathBuf;

use chrono::{SecondsFormat, TimeDelta};
use onsale_application::context::Clock;
use onsale_infrastructure::{postgres::load_runs::TITLES, system::System};
use reqwest::Method;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Failure,
    scenario::{Sale, Scenario},
    target::Target,
};
use crate::mint;

/// Most seats of one section, and of one request.
const SEATS_AT_ONCE: usize = 50_000;

/// Most rows of a block of seats.
const ROWS_AT_ONCE: usize = 10_000;

/// How many of the dearest seats a wallet pays for: as many as one reservation may have.
const SEATS_PAID_FOR: i64 = 20;

/// A fan of a run.
#[derive(Debug, Clone)]
pub struct Fan {
    /// Who it is.
    pub user_id: Uuid,
    /// Speaks for the fan until the run is long over.
    pub access_token: String,
}

/// What a generator has to do.
pub struct Job {
    /// What is to happen.
    pub scenario: Scenario,
    /// Servers; fans are spread over them by their index.
    pub base_urls: Vec<String>,
    /// Fans in the order in which they come.
    pub fans: Vec<Fan>,
    /// Whose line they stand in.
    pub concert: Uuid,
    /// The show that they buy.
    pub show: Uuid,
    /// Where everything of the run is kept.
    pub folder: PathBuf,
}

/// A sale that there is already.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// The concert.
    pub concert: Uuid,
    /// The show; the first to come when none is named.
    pub show: Option<Uuid>,
}

/// What is made gets an id.
#[derive(Deserialize)]
struct Made {
    id: Uuid,
}

/// What of a concert matters here.
#[derive(Deserialize)]
struct Concert {
    title: String,
    sale_state: String,
    version: i64,
}

#[derive(Deserialize)]
struct Shows {
    items: Vec<Made>,
}

#[derive(Deserialize)]
struct Section {
    price_max_minor: i64,
}

#[derive(Deserialize)]
struct Availability {
    sections: Vec<Section>,
}

/// Makes the fans, and the sale unless one is asked for. Tokens are good for `ttl_secs`.
pub async fn prepare(
    target: &Target,
    name: &str,
    scenario: Scenario,
    asked: Option<Asked>,
    folder: PathBuf,
    ttl_secs: i64,
) -> Result<Job, Failure> {
    let (concert, show, price_minor) = match asked {
        None => make_sale(target, name, &scenario).await?,
        Some(asked) => find_sale(target, asked).await?,
    };
    let balance_minor = price_minor.saturating_mul(SEATS_PAID_FOR);
    let minted = mint::mint(&target.config, &target.postgres, scenario.fans, balance_minor, "load", ttl_secs).await?;
    let fans =
        minted.into_iter().map(|token| Fan { user_id: token.user_id, access_token: token.access_token }).collect();
    let base_urls = target.base_urls.clone();
    Ok(Job { scenario, base_urls, fans, concert, show, folder })
}

/// Makes a concert with its shows and puts it on sale.
async fn make_sale(target: &Target, name: &str, scenario: &Scenario) -> Result<(Uuid, Uuid, i64), Failure> {
    let sale = &scenario.sale;
    let began = System.now().to_rfc3339_opts(SecondsFormat::Secs, true);
    let concert = json!({
        "title": format!("{TITLES}{name}, {began}"),
        "description": "Made by onsale load run; onsale load clean removes it.",
        "queue_policy": sale.policy,
    });
    let Made { id: concert } = target.send(Method::POST, "admin/concerts", None, &concert).await?;
    let mut first = None;
    for number in 1..=sale.shows {
        // One an evening, from a month from now on, so that the first is the first to come.
        let evening = TimeDelta::days(30 + i64::try_from(number)?);
        let starts_at = (System.now() + evening).to_rfc3339_opts(SecondsFormat::Secs, true);
        let show = json!({ "venue": "Load hall", "starts_at": starts_at });
        let Made { id: show } =
            target.send(Method::POST, &format!("admin/concerts/{concert}/shows"), None, &show).await?;
        for block in blocks(sale) {
            let seats = json!({ "blocks": [block] });
            let _: IgnoredAny = target.send(Method::POST, &format!("admin/shows/{show}/seats"), None, &seats).await?;
        }
        first = first.or(Some(show));
    }
    let show = first.ok_or("a sale without a show")?;
    let path = format!("admin/concerts/{concert}");
    let Concert { version, .. } = target.get(&path).await?;
    let _: IgnoredAny = target.send(Method::PATCH, &path, Some(version), &json!({ "sale_state": "on_sale" })).await?;
    Ok((concert, show, sale.price_minor))
}

/// The seats of a show in sections of full rows; what is left over has a row of its own.
fn blocks(sale: &Sale) -> Vec<Value> {
    let most_rows = (SEATS_AT_ONCE / sale.rows_of).clamp(1, ROWS_AT_ONCE);
    let mut sizes = vec![];
    let mut rows = sale.seats / sale.rows_of;
    while rows > 0 {
        let of_section = rows.min(most_rows);
        sizes.push((of_section, sale.rows_of));
        rows -= of_section;
    }
    let rest = sale.seats % sale.rows_of;
    if rest > 0 {
        sizes.push((1, rest));
    }
    let block = |(index, (rows, seats)): (usize, (usize, usize))| {
        let section = format!("S{}", index + 1);
        json!({ "section": section, "rows": rows, "seats_per_row": seats, "price_minor": sale.price_minor })
    };
    sizes.into_iter().enumerate().map(block).collect()
}

/// A sale that there is, and the highest price of its show.
async fn find_sale(target: &Target, asked: Asked) -> Result<(Uuid, Uuid, i64), Failure> {
    let Asked { concert, show } = asked;
    let Concert { title, sale_state, .. } = target.get(&format!("admin/concerts/{concert}")).await?;
    if !title.starts_with(TITLES) {
        eprintln!(
            "\"{title}\" is not of a load test: its line keeps the places of this run for ever, and `onsale load clean` leaves \
             the fans who stood there"
        );
    }
    if sale_state != "on_sale" {
        eprintln!("\"{title}\" is not on sale: its stage is {sale_state}");
    }
    let show = match show {
        Some(show) => show,
        None => {
            let Shows { items } = target.get(&format!("concerts/{concert}/shows?limit=1")).await?;
            items.first().ok_or("the concert has no show to come")?.id
        }
    };
    let Availability { sections } = target.get(&format!("shows/{show}/availability")).await?;
    let price_minor = sections.iter().map(|section| section.price_max_minor).max().unwrap_or_default();
    Ok((concert, show, price_minor))
}

/// Ends a sale that was made for a run, so that no server goes on ticking its line.
pub async fn close_sale(target: &Target, concert: Uuid) -> Result<(), Failure> {
    let path = format!("admin/concerts/{concert}");
    let Concert { version, .. } = target.get(&path).await?;
    let confirm = json!({ "confirm": concert });
    let _: IgnoredAny = target.send(Method::POST, &format!("{path}/queue/close"), Some(version), &confirm).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use onsale_domain::queue::QueuePolicy;

    use super::*;

    fn sizes(seats: usize, rows_of: usize) -> Vec<(i64, i64)> {
        let sale = Sale { seats, rows_of, shows: 1, price_minor: 100, policy: QueuePolicy::default() };
        let number = |block: &Value, name: &str| block[name].as_i64().expect("a number");
        blocks(&sale).iter().map(|block| (number(block, "rows"), number(block, "seats_per_row"))).collect()
    }

    #[test]
    fn a_hall_has_as_many_seats_as_were_asked_for() {
        assert_eq!(sizes(1_000, 50), [(20, 50)]);
        assert_eq!(sizes(1_001, 50), [(20, 50), (1, 1)]);
        assert_eq!(sizes(7, 50), [(1, 7)]);
        assert_eq!(sizes(120_000, 100), [(500, 100), (500, 100), (200, 100)]);
        for (seats, rows_of) in [(60_000, 1), (100_003, 10_000), (1_000_000, 77)] {
            let sizes = sizes(seats, rows_of);
            assert_eq!(sizes.iter().map(|(rows, of)| rows * of).sum::<i64>(), i64::try_from(seats).expect("small"));
            assert!(sizes.iter().all(|(rows, of)| *rows <= 10_000 && *of <= 10_000 && rows * of <= 50_000));
        }
    }
}
