//! What the database refuses, even from somebody who writes SQL by hand.

use onsale_infrastructure::postgres::migrations;
use onsale_test_support::{App, World};
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn direct_sql_can_neither_sell_twice_nor_make_money_nor_rewrite_history() {
    let id = Uuid::new_v4();
    let refused = [
        ("a second live reservation of a seat", "INSERT INTO reservation_seats (reservation_id, seat_id, show_id, price_minor)
            SELECT r.id, s.id, s.show_id, 1 FROM reservations r, seats s WHERE r.state = 'held' AND s.state = 'sold'".to_owned()),
        ("a second ticket for a seat", "INSERT INTO tickets (id, reservation_id, seat_id, user_id)
            SELECT gen_random_uuid(), reservation_id, seat_id, user_id FROM tickets".to_owned()),
        ("a sold seat that is held", "UPDATE seats SET state = 'held', version = version + 1, held_until = now() WHERE state = 'sold'".to_owned()),
        ("a held seat of another's", "UPDATE seats SET reservation_id = (SELECT id FROM reservations WHERE state = 'paid'),
            version = version + 1 WHERE state = 'held'".to_owned()),
        ("a free seat that is sold", "UPDATE seats SET state = 'sold', version = version + 1,
            reservation_id = (SELECT id FROM reservations WHERE state = 'paid') WHERE state = 'available'".to_owned()),
        ("a version that goes back", "UPDATE seats SET version = 0".to_owned()),
        ("a second payment", "INSERT INTO payments (id, reservation_id, user_id, amount_minor, currency)
            SELECT gen_random_uuid(), reservation_id, user_id, 1, currency FROM payments".to_owned()),
        ("a second held reservation of a fan", "INSERT INTO reservations (id, user_id, show_id, total_minor, currency, expires_at)
            SELECT gen_random_uuid(), user_id, show_id, 1, currency, now() FROM reservations WHERE state = 'held'".to_owned()),
        ("a posting that does not sum to zero", format!("BEGIN; INSERT INTO ledger_transactions (id, kind, reference_id) VALUES ('{id}', 'charge', '{id}');
            INSERT INTO ledger_entries (transaction_id, account_id, amount_minor) SELECT '{id}', id, 5 FROM ledger_accounts WHERE kind = 'revenue'; COMMIT")),
        ("money that no entry explains", "UPDATE ledger_accounts SET balance_minor = balance_minor + 1 WHERE kind = 'wallet'".to_owned()),
        ("a negative wallet", "UPDATE ledger_accounts SET balance_minor = -1 WHERE kind = 'wallet'".to_owned()),
        ("an edited entry", "UPDATE ledger_entries SET amount_minor = amount_minor + 1".to_owned()),
        ("a deleted entry", "DELETE FROM ledger_entries".to_owned()),
        ("a truncated ledger", "TRUNCATE ledger_entries".to_owned()),
        ("an edited posting", "UPDATE ledger_transactions SET kind = 'refund'".to_owned()),
    ];
    World::with(async |world| {
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
        let mut sql = world.sql().await;
        for (what, statement) in &refused {
            assert!(sql.run(statement).await.is_err(), "the database allows {what}");
            drop(sql.run("ROLLBACK").await);
        }
        app.assert_books_balance().await;
    })
    .await;
}

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
