//! Counts the seats of a concert.

use diesel::sql_types::{BigInt, Bool, Integer, Nullable, Text, Uuid as SqlUuid};
use onsale_application::{
    error::StoreError,
    line::{ConcertStock, SectionStock, ShowStock, StockQueries},
};
use onsale_domain::{
    ids::{ConcertId, ShowId},
    queue::Stock,
};
use uuid::Uuid;

use super::{Postgres, statement::statement};

type StockSql =
    ((SqlUuid, Bool, Integer, Text), (Nullable<Text>, BigInt, BigInt, BigInt, Nullable<BigInt>, Nullable<BigInt>));
type StockRow = ((Uuid, bool, i32, String), (Option<String>, i64, i64, i64, Option<i64>, Option<i64>));

impl StockQueries for Postgres {
    async fn concert_stock(&self, concert: ConcertId) -> Result<ConcertStock, StoreError> {
        let rows: Vec<StockRow> = self
            .rows(|| {
                statement::<StockSql>(
                    "SELECT h.id, h.starts_at > now(), h.seats_per_fan, h.currency::text, s.section,
                        count(s.id) FILTER (WHERE s.state = 'available' OR (s.state = 'held' AND s.held_until <= now())),
                        count(s.id) FILTER (WHERE s.state = 'held' AND s.held_until > now()),
                        count(s.id) FILTER (WHERE s.state = 'sold'),
                        min(s.price_minor), max(s.price_minor)
                     FROM shows h LEFT JOIN seats s ON s.show_id = h.id
                     WHERE h.concert_id = $1
                     GROUP BY h.id, s.section ORDER BY h.starts_at, h.id, s.section",
                )
                .bind::<SqlUuid, _>(concert.0)
            })
            .await?;
        let mut shows: Vec<ShowStock> = Vec::new();
        for ((show, to_come, seats_per_fan, currency), (section, available, held, sold, low, high)) in rows {
            if shows.last().is_none_or(|last| last.show_id.0 != show) {
                let seats_per_fan = seats_per_fan.into();
                let currency = currency.clone();
                shows.push(ShowStock { show_id: ShowId(show), to_come, seats_per_fan, currency, sections: vec![] });
            }
            if let (Some(last), Some(section), Some(price_min_minor), Some(price_max_minor)) =
                (shows.last_mut(), section, low, high)
            {
                let stock = Stock { available, held, sold };
                last.sections.push(SectionStock { section, stock, price_min_minor, price_max_minor, currency });
            }
        }
        Ok(ConcertStock::of(shows))
    }
}
