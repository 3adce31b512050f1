//! What load runs leave behind: to be judged, and to be removed.
//!
//! # Why removing is safe
//!
//! The ledger, the audit log and the published logs are append-only by triggers, for everybody, and stay so: only the owner of the
//! tables can switch a trigger off, `DISABLE TRIGGER` is part of the transaction, and until that ends nobody else can write to the
//! table (`SHARE ROW EXCLUSIVE`), so nobody else ever finds it switched off. If anything goes wrong in between, the transaction is
//! rolled back, and with it the switch. Foreign keys, unique indexes and checks are never switched off.
//!
//! What may be removed is decided here and by the statements, not by whoever calls: fans and operators of whom nobody can log in
//! (`NO_PASSWORD`, which signing up cannot make) under addresses that nobody has (`ADDRESSES`), and concerts that such an
//! operator made under a title of load runs. Whoever stands in another line, or has a seat elsewhere, stays.
//!
//! Each transaction leaves the books right by itself: of each posting of a fan both sides go, with the payment, the tickets, the
//! event and the seat of the same reservation. So a removal that was cut off is just not over, and the next one goes on.

use std::collections::BTreeMap;

use diesel::{
    dsl,
    pg::Pg,
    prelude::*,
    sql_types::{Array, BigInt, Bool, Text, Uuid as SqlUuid},
};
use onsale_application::{
    error::StoreError,
    transaction::{Transaction, UnitOfWork},
};
use onsale_domain::{account::Role, concert::SaleState};
use uuid::Uuid;

use super::{
    Postgres, PostgresTx,
    functions::set_config,
    pool::impossible,
    schema::{concerts, line_places_ever, reservations, shows, users},
    statement::{Sql, sql},
    words::Word,
};

/// End of the addresses of everybody whom load runs make. The domain is reserved for examples, so nobody has such an address.
pub const ADDRESSES: &str = "@load.onsale.example";

/// Start of the titles of concerts that load runs make.
pub const TITLES: &str = "Load test ";

/// In the place of a password hash: no password fits it.
const NO_PASSWORD: &str = "!";

/// What removing fans must not find.
const OF_OTHERS: &str = "of others";

/// How much was removed, by what it is. What there was none of is missing.
pub type Removed = BTreeMap<String, i64>;

/// A concert that a load run made.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
#[diesel(check_for_backend(Pg))]
pub struct LoadConcert {
    /// Its id.
    #[diesel(sql_type = SqlUuid)]
    pub id: Uuid,
    /// Its title.
    #[diesel(sql_type = Text)]
    pub title: String,
    /// People who are not of load runs and have a reservation, a place or a ballot there.
    #[diesel(sql_type = BigInt)]
    pub strangers: i64,
}

/// A reservation that a fan was told of, as the database has it.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
#[diesel(check_for_backend(Pg))]
pub struct ToldReservation {
    /// Its id.
    #[diesel(sql_type = SqlUuid)]
    pub id: Uuid,
    /// Whose it is.
    #[diesel(sql_type = SqlUuid)]
    pub user_id: Uuid,
    /// Its state.
    #[diesel(sql_type = Text)]
    pub state: String,
    /// Seats in it.
    #[diesel(sql_type = BigInt)]
    pub seats: i64,
    /// Captured payments.
    #[diesel(sql_type = BigInt)]
    pub payments: i64,
    /// Valid tickets.
    #[diesel(sql_type = BigInt)]
    pub tickets: i64,
}

/// How many seats of a concert are so.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
#[diesel(check_for_backend(Pg))]
pub struct SeatCount {
    /// What they are.
    #[diesel(sql_type = Text)]
    pub what: String,
    /// How many.
    #[diesel(sql_type = BigInt)]
    pub count: i64,
    /// Whether it should be none.
    #[diesel(sql_type = Bool)]
    pub is_fault: bool,
}

#[derive(Insertable)]
#[diesel(table_name = users)]
struct NewOperator {
    id: Uuid,
    email: String,
    password_hash: &'static str,
    display_name: &'static str,
    role: &'static str,
}

#[derive(QueryableByName)]
#[diesel(check_for_backend(Pg))]
struct IdRow {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
}

#[derive(QueryableByName)]
#[diesel(check_for_backend(Pg))]
struct CountRow {
    #[diesel(sql_type = Text)]
    what: String,
    #[diesel(sql_type = BigInt)]
    count: i64,
}

fn removed(rows: Vec<CountRow>) -> Removed {
    rows.into_iter().filter(|row| row.count > 0).map(|row| (row.what, row.count)).collect()
}

/// What addresses of load runs are like.
fn addresses() -> String {
    format!("%{ADDRESSES}")
}

fn of_concert(statement: &'static str, concert: Uuid) -> Sql {
    sql(statement).bind::<SqlUuid, _>("concert_id", concert)
}

/// Switches triggers off or on again, one statement for each table.
async fn switch(tx: &mut PostgresTx, statements: &[&'static str]) -> Result<(), StoreError> {
    for &statement in statements {
        tx.execute(sql(statement)).await?;
    }
    Ok(())
}

/// For a run.
impl Postgres {
    /// Adds an operator as whom nobody can log in.
    pub async fn insert_load_operator(&self, id: Uuid, email: &str) -> Result<(), StoreError> {
        let operator = NewOperator {
            id,
            email: email.to_owned(),
            password_hash: NO_PASSWORD,
            display_name: "Load test",
            role: Role::Operator.as_str(),
        };
        self.execute(diesel::insert_into(users::table).values(operator)).await.map(|_| ())
    }

    /// Numbers in a concert's line behind this one, in order, each with its fan; also of places that are over.
    pub async fn line_numbers(&self, concert: Uuid, after: i64, most: i64) -> Result<Vec<(i64, Uuid)>, StoreError> {
        self.for_lines()
            .read_all(|| {
                line_places_ever::table
                    .filter(line_places_ever::concert_id.eq(concert))
                    .filter(line_places_ever::number.gt(after))
                    .order(line_places_ever::number)
                    .limit(most)
                    .select((line_places_ever::number, line_places_ever::user_id))
            })
            .await
    }

    /// Those of these reservations that there are.
    pub async fn told_reservations(&self, ids: &[Uuid]) -> Result<Vec<ToldReservation>, StoreError> {
        self.read_all(|| sql(include_str!("sql/told_reservations.sql")).bind::<Array<SqlUuid>, _>("ids", ids.to_vec()))
            .await
    }

    /// The seats of a concert in figures, and everything that can be wrong with them.
    pub async fn seat_counts(&self, concert: Uuid) -> Result<Vec<SeatCount>, StoreError> {
        let mut tx = self.begin_patient().await?;
        let counts: Vec<SeatCount> = tx.all(of_concert(include_str!("sql/seat_faults.sql"), concert)).await?;
        tx.rollback().await?;
        Ok(counts)
    }
}

/// For removing.
impl Postgres {
    /// A transaction that may take its time: what it reads or removes is as large as the runs were.
    async fn begin_patient(&self) -> Result<PostgresTx, StoreError> {
        let mut tx = self.begin().await?;
        let settings = (
            set_config("statement_timeout", "600s", true),
            set_config("lock_timeout", "30s", true),
            set_config("jit", "off", true),
        );
        tx.execute(diesel::select(settings)).await?;
        Ok(tx)
    }

    /// Concerts that load runs made.
    pub async fn load_concerts(&self) -> Result<Vec<LoadConcert>, StoreError> {
        let mut tx = self.begin_patient().await?;
        let find = sql(include_str!("sql/load_concerts.sql"))
            .bind::<Text, _>("addresses", addresses())
            .bind::<Text, _>("titles", format!("{TITLES}%"));
        let found: Vec<LoadConcert> = tx.all(find).await?;
        tx.rollback().await?;
        Ok(found)
    }

    /// Makes concerts drafts again, which no sale can become: from then on nobody sees them and no server ticks their lines, which
    /// may be removed part by part.
    pub async fn hide_concerts(&self, ids: &[Uuid]) -> Result<(), StoreError> {
        let seen = concerts::table
            .filter(concerts::id.eq_any(ids.to_vec()))
            .filter(concerts::sale_state.ne(Word(SaleState::Draft)));
        let hidden = (
            concerts::sale_state.eq(Word(SaleState::Draft)),
            concerts::version.eq(concerts::version + 1),
            concerts::updated_at.eq(dsl::now),
        );
        self.execute(diesel::update(seen).set(hidden)).await.map(|_| ())
    }

    /// Makes three indexes that only removing needs: each user and each seat that goes is looked for in these tables by a foreign
    /// key, and the indexes that are there are partial or none. They would cost every sale something, so they go afterwards. They
    /// are committed before they are used, as PostgreSQL may not use an index in the transaction that made it.
    pub async fn index_for_removal(&self) -> Result<(), StoreError> {
        let indexes = [
            "CREATE INDEX IF NOT EXISTS load_removal_wallets ON ledger_accounts (user_id)",
            "CREATE INDEX IF NOT EXISTS load_removal_actors ON audit_log (actor_id)",
            "CREATE INDEX IF NOT EXISTS load_removal_seats ON reservation_seats (seat_id)",
        ];
        for index in indexes {
            let mut tx = self.begin_patient().await?;
            tx.execute(sql(index)).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// Drops them, also those that a removal has left that was cut off.
    pub async fn drop_removal_indexes(&self) -> Result<(), StoreError> {
        let mut tx = self.begin_patient().await?;
        tx.execute(sql("DROP INDEX IF EXISTS load_removal_wallets, load_removal_actors, load_removal_seats")).await?;
        tx.commit().await
    }

    /// Removes up to `most` fans of load runs whose ids are behind `after` and who have nothing to do with other concerts than
    /// these, with everything that they have but their places in line. Answers the last of them and what went; `None` when there
    /// is none.
    pub async fn remove_load_fans(
        &self,
        concerts: &[Uuid],
        after: Uuid,
        most: i64,
    ) -> Result<Option<(Uuid, Removed)>, StoreError> {
        let mut tx = self.begin_patient().await?;
        // Before any row is locked: whoever pays has the tables before the rows too.
        let off = [
            "ALTER TABLE ledger_entries DISABLE TRIGGER ledger_entries_append_only",
            "ALTER TABLE ledger_transactions DISABLE TRIGGER ledger_transactions_append_only",
        ];
        switch(&mut tx, &off).await?;
        let find = sql(include_str!("sql/load_fans.sql"))
            .bind::<SqlUuid, _>("after", after)
            .bind::<Text, _>("addresses", addresses())
            .bind::<Array<SqlUuid>, _>("concerts", concerts.to_vec())
            .bind::<BigInt, _>("most", most);
        let found: Vec<IdRow> = tx.all(find).await?;
        let fans: Vec<Uuid> = found.into_iter().map(|row| row.id).collect();
        let Some(last) = fans.last().copied() else {
            tx.rollback().await?;
            return Ok(None);
        };
        let remove = sql(include_str!("sql/remove_load_fans.sql")).bind::<Array<SqlUuid>, _>("fans", fans);
        let gone: Vec<CountRow> = tx.all(remove).await?;
        let gone = removed(gone);
        if gone.contains_key(OF_OTHERS) {
            tx.rollback().await?;
            return Err(impossible("a posting of a load run has a side on the wallet of somebody else"));
        }
        let on = [
            "ALTER TABLE ledger_entries ENABLE TRIGGER ledger_entries_append_only",
            "ALTER TABLE ledger_transactions ENABLE TRIGGER ledger_transactions_append_only",
        ];
        switch(&mut tx, &on).await?;
        tx.commit().await?;
        Ok(Some((last, gone)))
    }

    /// Fans of load runs that there are.
    pub async fn load_fans_left(&self) -> Result<i64, StoreError> {
        let count: Option<i64> = self
            .read_one(|| {
                users::table
                    .filter(users::role.eq(Word(Role::Fan)))
                    .filter(users::password_hash.eq(NO_PASSWORD))
                    .filter(users::email.like(addresses()))
                    .select(dsl::count_star())
            })
            .await?;
        Ok(count.unwrap_or_default())
    }

    /// Whether nobody has a reservation at a concert, whatever has become of it.
    pub async fn is_without_reservations(&self, concert: Uuid) -> Result<bool, StoreError> {
        let mut tx = self.begin_patient().await?;
        let is_without = Self::lock_without_reservations(&mut tx, concert).await?;
        tx.rollback().await?;
        Ok(is_without)
    }

    /// The same; the concert and its shows are locked then, so that it stays as it is.
    async fn lock_without_reservations(tx: &mut PostgresTx, concert: Uuid) -> Result<bool, StoreError> {
        let _concert: Vec<Uuid> = tx.all(concerts::table.find(concert).select(concerts::id).for_update()).await?;
        let at_concert = shows::table.filter(shows::concert_id.eq(concert));
        let ids: Vec<Uuid> = tx.all(at_concert.select(shows::id).for_update()).await?;
        let there = reservations::table.filter(reservations::show_id.eq_any(ids));
        let count: Option<i64> = tx.one(there.select(dsl::count_star())).await?;
        Ok(count.unwrap_or_default() == 0)
    }

    /// Removes up to `most` of each kind of thing from the line of a hidden concert: places, ballots, entries of the published
    /// log. Answers what went; nothing when nothing was left.
    pub async fn remove_line_part(&self, concert: Uuid, most: i64) -> Result<Removed, StoreError> {
        let mut tx = self.begin_patient().await?;
        switch(&mut tx, &["ALTER TABLE line_log DISABLE TRIGGER line_log_append_only"]).await?;
        let remove = of_concert(include_str!("sql/remove_line_part.sql"), concert).bind::<BigInt, _>("most", most);
        let gone: Vec<CountRow> = tx.all(remove).await?;
        switch(&mut tx, &["ALTER TABLE line_log ENABLE TRIGGER line_log_append_only"]).await?;
        tx.commit().await?;
        Ok(removed(gone))
    }

    /// Removes a hidden concert with its shows, its seats and what is left of its line; `None` when somebody has a reservation
    /// there.
    pub async fn remove_load_concert(&self, concert: Uuid) -> Result<Option<Removed>, StoreError> {
        let mut tx = self.begin_patient().await?;
        switch(&mut tx, &["ALTER TABLE audit_log DISABLE TRIGGER audit_log_append_only"]).await?;
        if !Self::lock_without_reservations(&mut tx, concert).await? {
            tx.rollback().await?;
            return Ok(None);
        }
        let gone: Vec<CountRow> = tx.all(of_concert(include_str!("sql/remove_load_concert.sql"), concert)).await?;
        switch(&mut tx, &["ALTER TABLE audit_log ENABLE TRIGGER audit_log_append_only"]).await?;
        tx.commit().await?;
        Ok(Some(removed(gone)))
    }

    /// Removes operators of load runs of whom the audit log says nothing any more.
    pub async fn remove_load_operators(&self) -> Result<Removed, StoreError> {
        let mut tx = self.begin_patient().await?;
        let remove = sql(include_str!("sql/remove_load_operators.sql")).bind::<Text, _>("addresses", addresses());
        let gone: Vec<CountRow> = tx.all(remove).await?;
        tx.commit().await?;
        Ok(removed(gone))
    }
}
