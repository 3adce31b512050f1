-- A sale of which pgbench holds and pays one seat after the other: for each a seat, a fan and the ids that the product would make.
-- The fans are there already, with money. Ids begin with a time, as the product's do.
\set ON_ERROR_STOP 1
CREATE FUNCTION bench_id(what text, n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT (lpad(to_hex(1790000000000 + n / 4), 12, '0') || '7' || substr(md5(what || n), 1, 3) || '8'
        || substr(md5(what || n), 4, 15))::uuid
$$;
INSERT INTO concerts (id, title, description, sale_state, queue_policy)
VALUES (bench_id('concert', 0), 'Limits', '', 'on_sale', '{"waiting_limit": 10000000}');
INSERT INTO shows (id, concert_id, venue, starts_at, currency, hold_secs)
VALUES (bench_id('show', 0), bench_id('concert', 0), 'Limits', '2100-01-01', 'KRW', 3600);
INSERT INTO seats (id, show_id, section, row_label, number, price_minor)
SELECT bench_id('seat', n), bench_id('show', 0), 'A', (n / 100 + 1)::text, n % 100 + 1, 100
FROM (SELECT row_number() OVER () AS n FROM users WHERE role = 'fan') fans;
CREATE SEQUENCE bench_holds;
CREATE SEQUENCE bench_pays;
CREATE TABLE bench_sale AS
SELECT n, user_id, bench_id('show', 0) AS show_id, bench_id('seat', n) AS seat_id, bench_id('reservation', n) AS reservation_id,
    bench_id('payment', n) AS payment_id, bench_id('posting', n) AS posting_id, bench_id('ticket', n) AS ticket_id,
    bench_id('held', n) AS held_id, bench_id('paid', n) AS paid_id, 'pay-' || n AS key,
    hashtextextended(user_id::text, 0) AS fan_lock, hashtextextended('show', 0) AS show_lock,
    hashtextextended('seat' || n, 0) AS seat_lock, hashtextextended('pay-' || n, 0) AS key_lock
FROM (SELECT id AS user_id, row_number() OVER (ORDER BY id) AS n FROM users WHERE role = 'fan') fans;
ALTER TABLE bench_sale ADD PRIMARY KEY (n);
VACUUM (ANALYZE);
