//! Counts the seats of a concert.

use diesel::sql_types::{BigInt, Integer, Text, Uuid as SqlUuid};
use onsale_application::{
    error::StoreError,
    line::{ConcertStock, SectionStock, StockQueries},
};
use onsale_domain::{ids::ConcertId, queue::Stock};

use super::{Postgres, statement::statement};

impl StockQueries for Postgres {
    async fn concert_stock(&self, concert: ConcertId) -> Result<ConcertStock, StoreError> {
        type Row = (String, String, i64, i64, i64, i64, i64, i32);
        let rows: Vec<Row> = self
            .rows(|| {
                statement::<(Text, Text, BigInt, BigInt, BigInt, BigInt, BigInt, Integer)>(
                    "SELECT s.section, h.currency::text,
                        count(*) FILTER (WHERE s.state = 'available' OR (s.state = 'held' AND s.held_until <= now())),
                        count(*) FILTER (WHERE s.state = 'held' AND s.held_until > now()),
                        count(*) FILTER (WHERE s.state = 'sold'),
                        min(s.price_minor), max(s.price_minor), max(h.seats_per_fan)
                     FROM shows h JOIN seats s ON s.show_id = h.id
                     WHERE h.concert_id = $1 AND h.starts_at > now()
                     GROUP BY s.section, h.currency ORDER BY s.section",
                )
                .bind::<SqlUuid, _>(concert.0)
            })
            .await?;
        let mut whole = ConcertStock::default();
        for (section, currency, available, held, sold, price_min, price_max, seats_per_fan) in rows {
            whole.total.available += available;
            whole.total.held += held;
            whole.total.sold += sold;
            whole.seats_per_fan = whole.seats_per_fan.max(seats_per_fan.into());
            let stock = Stock { available, held, sold };
            whole.sections.push(SectionStock { section, stock, price_min, price_max, currency });
        }
        Ok(whole)
    }
}
