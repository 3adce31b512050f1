-- A sale of a million paid reservations, as the product's own statements would have left it. Needs the migrations, and
-- takes a few minutes. Variables: paid (reservations, a multiple of 2000), fans, concerts (with and without a line).
--
--   psql -v paid=1000000 -v fans=300000 -v concerts=100000 -f loadtest/sql/paid.sql "$DATABASE_URL"
--
-- 200 shows at 20 concerts on sale. Three of ten reservations have two seats, the others one. Beside what is sold, each
-- show has held seats, reservations that expired, and seats that nobody wants.
\set ON_ERROR_STOP 1
-- No triggers and no foreign keys while loading: the checks at the end say whether all is well.
SET session_replication_role = replica;
SET synchronous_commit = off;
SET work_mem = '64MB';
SET max_parallel_workers_per_gather = 0;
SET client_min_messages = warning;

-- Ids that begin with a time, as the product makes them: what is written together is together in each index.
CREATE FUNCTION pg_temp.id(what text, n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT (lpad(to_hex(1790000000000 + n / 4), 12, '0') || '7' || substr(md5(what || n), 1, 3) || '8'
        || substr(md5(what || n), 4, 15))::uuid
$$;
CREATE FUNCTION pg_temp.at(n bigint) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$
    SELECT to_timestamp((1790000000000 + n / 4) / 1000.0)
$$;

\echo fans and their wallets
INSERT INTO users (id, email, password_hash, display_name, role)
SELECT pg_temp.id('user', n), 'fan' || n || '@million.example', '!', 'Fan', 'fan' FROM generate_series(1, :fans) n;
INSERT INTO ledger_accounts (id, kind, user_id, currency, balance_minor)
SELECT pg_temp.id('wallet', n), 'wallet', pg_temp.id('user', n), 'KRW', 0 FROM generate_series(1, :fans) n;
INSERT INTO ledger_accounts (id, kind, currency)
VALUES (pg_temp.id('cash', 0), 'external_cash', 'KRW'), (pg_temp.id('revenue', 0), 'revenue', 'KRW')
ON CONFLICT DO NOTHING;

\echo concerts, shows and seats
-- Twenty have a line: sixteen on sale, and one each in pre-queue, paused, draining and closed this very hour. The others
-- are drafts, scheduled, or were closed long ago.
INSERT INTO concerts (id, title, description, sale_state, queue_policy, created_at, updated_at)
SELECT pg_temp.id('concert', n), 'Concert ' || n, repeat('A fine evening. ', 20),
    CASE WHEN n <= 16 THEN 'on_sale' WHEN n <= 20 THEN ('{pre_queue,paused,draining,closed}'::text[])[n - 16]
        WHEN n % 10 = 0 THEN 'draft' WHEN n % 10 = 1 THEN 'scheduled' ELSE 'closed' END,
    '{"interval_secs": 60, "batch": 420, "active_limit": 2100, "idle_admission": true, "active_sliding_secs": 300,
      "active_absolute_secs": 900, "claim_secs": 60, "return_secs": 900, "waiting_limit": 1000000}',
    now() - interval '2 years',
    now() - CASE WHEN n <= 20 THEN interval '10 minutes' ELSE interval '2 days' + n * interval '9 minutes' END
FROM generate_series(1, :concerts) n;
INSERT INTO shows (id, concert_id, venue, starts_at, currency)
SELECT pg_temp.id('show', n), pg_temp.id('concert', n % 20 + 1), 'Hall ' || n, '2100-01-01', 'KRW'
FROM generate_series(0, 199) n;

-- Reservation n (0..) is the m-th of its show and takes one or two places of the show, in no order of places.
CREATE TEMP TABLE sale AS
SELECT n, n % 200 AS show, n / 200 AS m, (n * 7919 + n / :fans) % :fans + 1 AS fan,
    (10000 * CASE WHEN n / 200 % 10 < 3 THEN 2 ELSE 1 END)::bigint AS total
FROM generate_series(0::bigint, :paid - 1) n;
CREATE TEMP TABLE sold AS
SELECT s.n, s.show, s.fan, ((s.m / 10 * 13 + s.m % 10 + least(s.m % 10, 3) + k) * 7919) % (:paid / 200 * 8 / 5) AS place,
    row_number() OVER (ORDER BY s.n, k) - 1 AS ticket
FROM sale s, generate_series(0, 1) k WHERE k = 0 OR s.m % 10 < 3;
CREATE TEMP TABLE held AS
SELECT n, n % 200 AS show, n + 1 AS fan, ((:paid / 2000 * 13 + n / 200) * 7919) % (:paid / 200 * 8 / 5) AS place
FROM generate_series(0::bigint, :paid / 50 - 1) n;
ANALYZE sale, sold, held;

INSERT INTO seats (id, show_id, section, row_label, number, price_minor, state, reservation_id, held_until, version)
SELECT pg_temp.id('seat', sh * (:paid / 200 * 8 / 5) + p), pg_temp.id('show', sh), 'A', (p / 100 + 1)::text, p % 100 + 1,
    10000,
    CASE WHEN s.n IS NOT NULL THEN 'sold' WHEN h.n IS NOT NULL THEN 'held' ELSE 'available' END,
    CASE WHEN s.n IS NOT NULL THEN pg_temp.id('reservation', s.n)
        WHEN h.n IS NOT NULL THEN pg_temp.id('hold', :paid + h.n) END,
    CASE WHEN s.n IS NULL AND h.n IS NOT NULL THEN now() + interval '1 hour' END,
    CASE WHEN s.n IS NOT NULL THEN 3 WHEN h.n IS NOT NULL THEN 2 ELSE 1 END
FROM generate_series(0, 199) sh CROSS JOIN generate_series(0::bigint, :paid / 200 * 8 / 5 - 1) p
LEFT JOIN sold s ON s.show = sh AND s.place = p
LEFT JOIN held h ON h.show = sh AND h.place = p
ORDER BY sh, p;

\echo reservations, payments and tickets
INSERT INTO reservations (id, user_id, show_id, state, total_minor, currency, expires_at, created_at, ended_at, turn)
SELECT pg_temp.id('reservation', n), pg_temp.id('user', fan), pg_temp.id('show', show), 'paid', total, 'KRW',
    pg_temp.at(n) + interval '5 minutes', pg_temp.at(n), pg_temp.at(n) + interval '1 minute', n
FROM sale ORDER BY n;
INSERT INTO reservations (id, user_id, show_id, total_minor, currency, expires_at)
SELECT pg_temp.id('hold', :paid + n), pg_temp.id('user', fan), pg_temp.id('show', show), 10000, 'KRW',
    now() + interval '1 hour' FROM held ORDER BY n;
INSERT INTO reservations (id, user_id, show_id, state, total_minor, currency, expires_at, ended_at)
SELECT pg_temp.id('expired', n * 10), pg_temp.id('user', n % :fans + 1), pg_temp.id('show', n % 200), 'expired', 10000, 'KRW',
    pg_temp.at(n * 10), pg_temp.at(n * 10) FROM generate_series(0, :paid / 10 - 1) n;
INSERT INTO reservation_seats (reservation_id, seat_id, show_id, price_minor)
SELECT pg_temp.id('reservation', n), pg_temp.id('seat', show * (:paid / 200 * 8 / 5) + place), pg_temp.id('show', show), 10000
FROM sold ORDER BY ticket;
INSERT INTO reservation_seats (reservation_id, seat_id, show_id, price_minor)
SELECT pg_temp.id('hold', :paid + n), pg_temp.id('seat', show * (:paid / 200 * 8 / 5) + place), pg_temp.id('show', show), 10000
FROM held ORDER BY n;
-- Who let it expire had a seat that somebody else bought.
INSERT INTO reservation_seats (reservation_id, seat_id, show_id, price_minor, live)
SELECT pg_temp.id('expired', n * 10), pg_temp.id('seat', n % 200 * (:paid / 200 * 8 / 5) + n / 200),
    pg_temp.id('show', n % 200), 10000, false FROM generate_series(0, :paid / 10 - 1) n;
INSERT INTO payments (id, reservation_id, user_id, amount_minor, currency, created_at)
SELECT pg_temp.id('payment', n), pg_temp.id('reservation', n), pg_temp.id('user', fan), total, 'KRW', pg_temp.at(n)
FROM sale ORDER BY n;
INSERT INTO tickets (id, reservation_id, seat_id, user_id, issued_at)
SELECT pg_temp.id('ticket', ticket), pg_temp.id('reservation', n),
    pg_temp.id('seat', show * (:paid / 200 * 8 / 5) + place), pg_temp.id('user', fan), pg_temp.at(n)
FROM sold ORDER BY ticket;

\echo ledger: one charge for each fan, then the payments
INSERT INTO ledger_transactions (id, kind, reference_id)
SELECT pg_temp.id('charged', n), 'charge', pg_temp.id('charge', n) FROM generate_series(1, :fans) n;
INSERT INTO ledger_entries (transaction_id, account_id, amount_minor, balance_after_minor)
SELECT pg_temp.id('charged', n), side.* FROM generate_series(1, :fans) n, LATERAL (VALUES
    (pg_temp.id('wallet', n), 1000000, 1000000),
    ((SELECT id FROM ledger_accounts WHERE kind = 'external_cash'), -1000000, NULL)) AS side;
INSERT INTO ledger_transactions (id, kind, reference_id)
SELECT pg_temp.id('paid', n), 'payment', pg_temp.id('payment', n) FROM sale ORDER BY n;
INSERT INTO ledger_entries (transaction_id, account_id, amount_minor, balance_after_minor)
SELECT pg_temp.id('paid', p.n), side.*
FROM (SELECT n, fan, total, 1000000 - sum(total) OVER (PARTITION BY fan ORDER BY n)::bigint AS after FROM sale
      ORDER BY n) p, LATERAL (VALUES
    (pg_temp.id('wallet', p.fan), -p.total, p.after),
    ((SELECT id FROM ledger_accounts WHERE kind = 'revenue'), p.total, NULL)) AS side;
UPDATE ledger_accounts a SET balance_minor = 1000000 - coalesce(spent.total, 0)
FROM generate_series(1, :fans) f LEFT JOIN (SELECT fan, sum(total) AS total FROM sale GROUP BY fan) spent ON spent.fan = f
WHERE a.id = pg_temp.id('wallet', f);

\echo events
INSERT INTO outbox_events (event_id, event_type, aggregate_id, payload)
SELECT pg_temp.id('charged', n), 'wallet.charged', pg_temp.id('charge', n),
    jsonb_build_object('charge_id', pg_temp.id('charge', n), 'amount_minor', 1000000, 'currency', 'KRW')
FROM generate_series(1, :fans) n;
INSERT INTO outbox_events (event_id, event_type, aggregate_id, payload)
SELECT pg_temp.id(event, n), 'reservation.' || event, id, jsonb_build_object('reservation_id', id, 'user_id',
    pg_temp.id('user', fan), 'show_id', pg_temp.id('show', show), 'amount_minor', total, 'currency', 'KRW')
FROM (SELECT *, pg_temp.id('reservation', n) AS id FROM sale) s, (VALUES ('held'), ('paid')) AS e(event) ORDER BY n, event;
INSERT INTO outbox_events (event_id, event_type, aggregate_id, payload)
SELECT gen_random_uuid(), 'reservation.expired', pg_temp.id('expired', n * 10), '{}' FROM generate_series(0, :paid / 10 - 1) n;

RESET session_replication_role;
\echo tables without foreign keys that hold (none when all is well)
SELECT 'line without reservation' AS wrong FROM reservation_seats rs LEFT JOIN reservations r
    ON r.id = rs.reservation_id AND r.show_id = rs.show_id WHERE r.id IS NULL
UNION SELECT 'line without seat' FROM reservation_seats rs LEFT JOIN seats s
    ON s.id = rs.seat_id AND s.show_id = rs.show_id WHERE s.id IS NULL
UNION SELECT 'ticket without line' FROM tickets t LEFT JOIN reservation_seats rs
    ON rs.reservation_id = t.reservation_id AND rs.seat_id = t.seat_id AND rs.live WHERE rs.seat_id IS NULL
UNION SELECT 'seat without live line' FROM seats s LEFT JOIN reservation_seats rs
    ON rs.reservation_id = s.reservation_id AND rs.seat_id = s.id AND rs.live
    WHERE s.reservation_id IS NOT NULL AND rs.seat_id IS NULL
UNION SELECT 'payment by somebody else' FROM payments p LEFT JOIN reservations r
    ON r.id = p.reservation_id AND r.user_id = p.user_id WHERE r.id IS NULL
UNION SELECT 'entry without account or posting' FROM ledger_entries e LEFT JOIN ledger_accounts a ON a.id = e.account_id
    LEFT JOIN ledger_transactions t ON t.id = e.transaction_id WHERE a.id IS NULL OR t.id IS NULL
UNION SELECT 'newest entry differs from wallet' FROM (SELECT DISTINCT ON (account_id) account_id, balance_after_minor
    FROM ledger_entries ORDER BY account_id, id DESC) e JOIN ledger_accounts a ON a.id = e.account_id
    WHERE a.balance_minor <> e.balance_after_minor;
VACUUM (ANALYZE);
