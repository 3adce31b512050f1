-- Whether money and seats add up. Every column but the last is 0 when they do.
-- One row.
-- Tables are read in the order of indexes that are made for it, and merged: about 3 s on a busy machine for a million
-- paid reservations. The inner ORDER BYs are what keeps the planner from hashing tables that do not fit its memory.
WITH postings AS (
    SELECT coalesce(sum(minor), 0)::bigint AS minor, count(*) FILTER (WHERE minor <> 0) AS unbalanced
    FROM (SELECT sum(amount_minor) AS minor FROM ledger_entries GROUP BY transaction_id) AS posting
), by_account AS MATERIALIZED (
    SELECT account_id, sum(amount_minor) AS minor
    FROM (SELECT account_id, amount_minor FROM ledger_entries ORDER BY account_id) AS entry GROUP BY account_id
), accounts AS (
    SELECT count(*) FILTER (WHERE a.kind = 'wallet' AND a.balance_minor <> coalesce(e.minor, 0)) AS differing,
        coalesce(sum(e.minor) FILTER (WHERE a.kind = 'revenue'), 0)::bigint AS revenue_minor,
        coalesce(sum(a.balance_minor) FILTER (WHERE a.kind = 'wallet'), 0)::bigint AS wallets_minor
    FROM ledger_accounts a LEFT JOIN by_account e ON e.account_id = a.id
), half_paid AS (
    -- Paid without a captured payment or an event, and the other way round.
    SELECT coalesce(r.id, p.reservation_id) AS id
    FROM (SELECT r.id, e.aggregate_id FROM reservations r
          LEFT JOIN outbox_events e ON e.aggregate_id = r.id AND e.event_type = 'reservation.paid'
          WHERE r.state = 'paid' ORDER BY r.id) r
    FULL JOIN (SELECT reservation_id FROM payments WHERE state = 'captured' ORDER BY reservation_id) p
        ON p.reservation_id = r.id
    WHERE r.aggregate_id IS NULL OR p.reservation_id IS NULL
    UNION
    -- A seat of a paid reservation without a valid ticket, and the other way round.
    SELECT coalesce(l.reservation_id, t.reservation_id)
    FROM (SELECT rs.reservation_id, rs.seat_id FROM reservation_seats rs
          JOIN reservations r ON r.id = rs.reservation_id AND r.state = 'paid'
          ORDER BY rs.reservation_id, rs.seat_id) l
    FULL JOIN (SELECT reservation_id, seat_id FROM tickets WHERE state = 'valid' ORDER BY reservation_id, seat_id) t
        ON t.reservation_id = l.reservation_id AND t.seat_id = l.seat_id
    WHERE l.seat_id IS NULL OR t.seat_id IS NULL
    UNION
    -- A valid ticket whose seat is not sold to its reservation, and the other way round.
    SELECT side.id
    FROM (SELECT id, reservation_id FROM seats WHERE state = 'sold' ORDER BY id) s
    FULL JOIN (SELECT seat_id, reservation_id FROM tickets WHERE state = 'valid' ORDER BY seat_id) t ON t.seat_id = s.id
    CROSS JOIN LATERAL (VALUES (s.reservation_id), (t.reservation_id)) AS side(id)
    WHERE s.reservation_id IS DISTINCT FROM t.reservation_id AND side.id IS NOT NULL
)
SELECT postings.minor AS entries_sum_minor, postings.unbalanced AS unbalanced_transactions,
    accounts.differing AS wallets_differing,
    (SELECT coalesce(sum(amount_minor), 0)::bigint FROM payments WHERE state = 'captured') - accounts.revenue_minor
        AS payments_less_revenue_minor,
    (SELECT count(*) FROM half_paid) AS half_paid_reservations, accounts.wallets_minor AS wallets_total_minor,
    (SELECT min(currency) FROM ledger_accounts WHERE kind = 'revenue') AS currency
FROM postings, accounts
