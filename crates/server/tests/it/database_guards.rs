//! What the database refuses, even from somebody who writes SQL by hand.

use onsale_infrastructure::postgres::migrations;
use onsale_test_support::{App, Sql, World};
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn migrations_go_down_and_up_again() {
    World::with(async |world| {
        let down = migrations::down(&world.database_url).await.unwrap();
        let mut sql = world.sql().await;
        let left = "SELECT count(*) AS n FROM pg_tables WHERE schemaname = 'public'
            AND tablename NOT LIKE '\\_\\_diesel%'";
        assert_eq!(sql.number(left).await, 0);
        let left = "SELECT count(*) AS n FROM pg_proc
            WHERE pronamespace = 'public'::regnamespace AND proname NOT LIKE 'diesel%'";
        assert_eq!(sql.number(left).await, 0);
        assert_eq!(migrations::up(&world.database_url).await.unwrap().len(), down.len());
        assert!(migrations::up(&world.database_url).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn never_again_16_starting_again_keeps_everything() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale(2, 100).await;
        let mut fan = app.fans(1, 1_000).await.remove(0);
        let before = app.join(&mut fan, &sale).await;
        app.stop().await;
        migrations::up(&world.database_url).await.unwrap();
        let app = world.app().await;
        let fan = fan.at(&app.base);
        assert_eq!(fan.get("me/wallet").await.expect(200).json["balance_minor"], 1_000);
        let after = fan.get(&format!("concerts/{}/queue/tokens/me", sale.concert)).await.expect(200);
        assert_eq!(after.json["number"], before["number"]);
        app.seats(&fan, &sale).await;
    })
    .await;
}

/// A sale with a sold, a held and a free seat, two fans in line, and somebody who writes SQL by hand.
async fn sale_by_hand(world: &World) -> Sql {
    let app = world.app().await;
    let sale = app.sale(3, 100).await;
    let mut fans = app.fans(2, 1_000).await;
    for (index, fan) in fans.iter_mut().enumerate() {
        app.join(fan, &sale).await;
        let seats = app.seats(fan, &sale).await;
        let path = format!("shows/{}/reservations", sale.show);
        let reserved = fan.post(&path, App::choice(&seats[index..=index])).await.expect(201);
        if index == 0 {
            let pay = format!("reservations/{}/payment", reserved.json["id"].as_str().unwrap());
            fan.post_empty(&pay).await.expect(201);
        }
    }
    world.sql().await
}

/// Stops the test unless the database refuses the statement, and names this guard as the reason.
async fn assert_refused(sql: &mut Sql, guard: &str, statement: &str) {
    let reason = sql.run(statement).await.expect_err(statement);
    assert!(reason.contains(guard), "not refused by {guard}: {reason}\n{statement}");
    drop(sql.run("ROLLBACK").await);
}

/// Stops the test unless what is in the table stays in it as it is.
async fn assert_append_only(sql: &mut Sql, table: &str, column: &str) {
    assert!(sql.number(&format!("SELECT count(*) AS n FROM {table}")).await > 0, "{table} is empty");
    let guard = format!("{table} is append-only");
    for statement in [
        format!("UPDATE {table} SET {column} = {column}"),
        format!("DELETE FROM {table}"),
        format!("TRUNCATE {table} CASCADE"),
    ] {
        assert_refused(sql, &guard, &statement).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seat_is_in_at_most_one_live_reservation() {
    World::with(async |world| {
        let mut sql = sale_by_hand(world).await;
        let both = |live: bool| {
            format!(
                "INSERT INTO reservation_seats (reservation_id, seat_id, show_id, price_minor, live)
                 SELECT r.id, s.id, s.show_id, 1, {live} FROM reservations r, seats s
                 WHERE r.state = 'held' AND s.state = 'sold'"
            )
        };
        assert_refused(&mut sql, "reservation_seats_one_live", &both(true)).await;
        // In one that is over it may be, as long as that stays over.
        sql.run(&both(false)).await.unwrap();
        let revive = "UPDATE reservation_seats SET live = true WHERE NOT live";
        assert_refused(&mut sql, "reservation_seats_one_live", revive).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seat_has_at_most_one_valid_ticket() {
    World::with(async |world| {
        let mut sql = sale_by_hand(world).await;
        let second = |state: &str| {
            format!(
                "INSERT INTO tickets (id, reservation_id, seat_id, user_id, state)
                 SELECT gen_random_uuid(), reservation_id, seat_id, user_id, '{state}' FROM tickets"
            )
        };
        assert_refused(&mut sql, "tickets_one_valid", &second("valid")).await;
        sql.run(&second("void")).await.unwrap();
        assert_refused(&mut sql, "tickets_one_valid", "UPDATE tickets SET state = 'valid'").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seat_only_changes_as_it_may_and_taking_it_advances_its_version() {
    World::with(async |world| {
        let mut sql = sale_by_hand(world).await;
        let of = |state: &str| format!("(SELECT id FROM reservations WHERE state = '{state}')");
        let (held, paid) = (of("held"), of("paid"));
        for (guard, change) in [
            (
                "cannot go from sold to held",
                "state = 'held', version = version + 1, held_until = now() WHERE state = 'sold'".to_owned(),
            ),
            (
                "cannot go from available to sold",
                format!("state = 'sold', version = version + 1, reservation_id = {paid} WHERE state = 'available'"),
            ),
            (
                "another reservation cannot take it",
                format!("reservation_id = {paid}, version = version + 1 WHERE state = 'held'"),
            ),
            (
                "must advance its version",
                format!("state = 'held', reservation_id = {held}, held_until = now() WHERE state = 'available'"),
            ),
            ("cannot go back", "version = version - 1".to_owned()),
            ("cannot move to another show", "show_id = gen_random_uuid()".to_owned()),
        ] {
            assert_refused(&mut sql, guard, &format!("UPDATE seats SET {change}")).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fan_has_one_held_reservation_per_show() {
    World::with(async |world| {
        let mut sql = sale_by_hand(world).await;
        let second = "INSERT INTO reservations (id, user_id, show_id, total_minor, currency, expires_at)
            SELECT gen_random_uuid(), user_id, show_id, 1, currency, now() FROM reservations WHERE state = 'held'";
        assert_refused(&mut sql, "reservations_one_held", second).await;
        sql.run("UPDATE reservations SET state = 'cancelled', ended_at = now() WHERE state = 'held'").await.unwrap();
        let another = second.replace("WHERE state = 'held'", "WHERE state = 'cancelled'");
        sql.run(&another).await.unwrap();
        assert_refused(&mut sql, "reservations_one_held", &another).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reservation_is_charged_once() {
    World::with(async |world| {
        let mut sql = sale_by_hand(world).await;
        let second = "INSERT INTO payments (id, reservation_id, user_id, amount_minor, currency)
            SELECT gen_random_uuid(), reservation_id, user_id, 1, currency FROM payments";
        assert_refused(&mut sql, "payments_one_capture", second).await;
        // Nor again after a refund.
        sql.run("UPDATE payments SET state = 'refunded'").await.unwrap();
        assert_refused(&mut sql, "payments_one_capture", second).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_posted_twice() {
    World::with(async |world| {
        let mut sql = sale_by_hand(world).await;
        for kind in ["charge", "payment"] {
            let again = format!(
                "INSERT INTO ledger_transactions (id, kind, reference_id)
                 SELECT gen_random_uuid(), kind, reference_id FROM ledger_transactions WHERE kind = '{kind}'"
            );
            assert_refused(&mut sql, "ledger_transactions_kind_reference_id_key", &again).await;
        }
        // A refund of what was paid is another posting.
        let refund = "INSERT INTO ledger_transactions (id, kind, reference_id)
            SELECT gen_random_uuid(), 'refund', reference_id FROM ledger_transactions WHERE kind = 'payment'";
        sql.run(refund).await.unwrap();
        assert_refused(&mut sql, "ledger_transactions_kind_reference_id_key", refund).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_is_never_negative_and_equals_its_entries() {
    World::with(async |world| {
        let mut sql = sale_by_hand(world).await;
        for (guard, balance) in [
            ("ledger_accounts_balance_minor_check", "-1"),
            ("but its entries say", "balance_minor + 1"),
            ("but its entries say", "0"),
        ] {
            let change = format!("UPDATE ledger_accounts SET balance_minor = {balance} WHERE kind = 'wallet'");
            assert_refused(&mut sql, guard, &change).await;
        }
        // A wallet that is new begins with nothing.
        let id = Uuid::new_v4();
        let new = |balance: i64| {
            format!(
                "INSERT INTO users (id, email, password_hash, display_name, role)
                 VALUES ('{id}', 'new@example.org', '!', 'New', 'fan');
                 INSERT INTO ledger_accounts (id, kind, user_id, currency, balance_minor)
                 VALUES ('{id}', 'wallet', '{id}', 'KRW', {balance})"
            )
        };
        assert_refused(&mut sql, "but its entries say", &new(1)).await;
        sql.run(&new(0)).await.unwrap();
        // An entry of a wallet says what the wallet holds afterwards, and the wallet does hold it.
        let charge = |balance: i64, entry: &str| {
            let posting = Uuid::new_v4();
            format!(
                "UPDATE ledger_accounts SET balance_minor = {balance} WHERE id = '{id}';
                 INSERT INTO ledger_transactions (id, kind, reference_id) VALUES ('{posting}', 'charge', '{posting}');
                 INSERT INTO ledger_entries (transaction_id, account_id, amount_minor, balance_after_minor)
                 SELECT '{posting}', id, CASE kind WHEN 'wallet' THEN 5 ELSE -5 END,
                     CASE kind WHEN 'wallet' THEN {entry}::bigint END
                 FROM ledger_accounts WHERE id = '{id}' OR kind = 'external_cash'"
            )
        };
        assert_refused(&mut sql, "but its entries say", &charge(0, "5")).await;
        assert_refused(&mut sql, "does not follow", &charge(7, "7")).await;
        assert_refused(&mut sql, "does not follow", &charge(0, "NULL")).await;
        sql.run(&charge(5, "5")).await.unwrap();
        assert_refused(&mut sql, "does not follow", &charge(5, "5")).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_posting_sums_to_zero() {
    World::with(async |world| {
        let mut sql = sale_by_hand(world).await;
        let posting = |id: Uuid, less: i64| {
            format!(
                "INSERT INTO ledger_transactions (id, kind, reference_id) VALUES ('{id}', 'charge', '{id}');
                 INSERT INTO ledger_entries (transaction_id, account_id, amount_minor)
                 SELECT '{id}', id, CASE kind WHEN 'revenue' THEN 5 ELSE -{less} END
                 FROM ledger_accounts WHERE kind <> 'wallet'"
            )
        };
        assert_refused(&mut sql, "does not sum to zero", &posting(Uuid::new_v4(), 4)).await;
        sql.run(&posting(Uuid::new_v4(), 5)).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_is_append_only() {
    World::with(async |world| {
        let mut sql = sale_by_hand(world).await;
        assert_append_only(&mut sql, "ledger_entries", "amount_minor").await;
        assert_append_only(&mut sql, "ledger_transactions", "kind").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_is_append_only() {
    World::with(async |world| {
        let mut sql = sale_by_hand(world).await;
        assert_append_only(&mut sql, "audit_log", "action").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_published_log_is_append_only() {
    World::with(async |world| {
        let mut sql = sale_by_hand(world).await;
        assert_append_only(&mut sql, "line_log", "number").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_has_no_number_twice() {
    World::with(async |world| {
        let mut sql = sale_by_hand(world).await;
        let again = "INSERT INTO line_places (concert_id, number, user_id, place_id, token_id, joined_ms)
            SELECT concert_id, number, gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), joined_ms FROM line_places";
        assert_refused(&mut sql, "line_places_pkey", again).await;
        // Nor that of a place that is over.
        sql.run("UPDATE line_places SET ended_ms = joined_ms, outcome = 'left'").await.unwrap();
        assert_refused(&mut sql, "line_places_pkey", again).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fan_has_one_place_per_concert() {
    World::with(async |world| {
        let mut sql = sale_by_hand(world).await;
        let second = "INSERT INTO line_places (concert_id, number, user_id, place_id, token_id, joined_ms)
            SELECT concert_id, number + 100, user_id, gen_random_uuid(), gen_random_uuid(), joined_ms FROM line_places";
        // The one who has paid has none any more.
        sql.run("UPDATE line_places SET ended_ms = NULL, outcome = NULL").await.unwrap();
        assert_refused(&mut sql, "line_places_one_live", second).await;
        sql.run("UPDATE line_places SET ended_ms = joined_ms, outcome = 'left'").await.unwrap();
        sql.run(second).await.unwrap();
        let ballot = "INSERT INTO line_ballots (concert_id, user_id, place_id, key, joined_ms)
            SELECT concert_id, user_id, gen_random_uuid(), 1, 1 FROM line_places WHERE number = 101";
        sql.run(ballot).await.unwrap();
        assert_refused(&mut sql, "line_ballots_pkey", ballot).await;
    })
    .await;
}
