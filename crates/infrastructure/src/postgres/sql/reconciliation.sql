-- Whether money and seats add up. Every column but the last is 0 when they do.
-- One row: sum of entries, unbalanced postings, wallets that differ, payments less revenue, half-paid reservations,
-- sum of wallets.
SELECT
    (SELECT coalesce(sum(amount_minor), 0)::bigint FROM ledger_entries),
    (SELECT count(*) FROM (
        SELECT 1 FROM ledger_entries GROUP BY transaction_id HAVING sum(amount_minor) <> 0) AS unbalanced),
    (SELECT count(*) FROM ledger_accounts a
     WHERE a.kind = 'wallet' AND a.balance_minor
        <> (SELECT coalesce(sum(e.amount_minor), 0) FROM ledger_entries e WHERE e.account_id = a.id)),
    (SELECT coalesce(sum(amount_minor), 0)::bigint FROM payments WHERE state = 'captured')
        - (SELECT coalesce(sum(e.amount_minor), 0)::bigint FROM ledger_entries e
           JOIN ledger_accounts a ON a.id = e.account_id WHERE a.kind = 'revenue'),
    (SELECT count(*) FROM reservations r
     JOIN LATERAL (
        SELECT count(*) AS lines,
            count(*) FILTER (WHERE s.state = 'sold' AND s.reservation_id = r.id) AS sold,
            count(t.id) AS tickets
        FROM reservation_seats rs
        JOIN seats s ON s.id = rs.seat_id
        LEFT JOIN tickets t ON t.seat_id = rs.seat_id AND t.reservation_id = r.id AND t.state = 'valid'
        WHERE rs.reservation_id = r.id
     ) AS has ON true
     LEFT JOIN payments p ON p.reservation_id = r.id AND p.state = 'captured'
     WHERE CASE WHEN r.state = 'paid'
        THEN p.id IS NULL OR has.sold <> has.lines OR has.tickets <> has.lines
            OR NOT EXISTS (SELECT 1 FROM outbox_events e
                           WHERE e.aggregate_id = r.id AND e.event_type = 'reservation.paid')
        ELSE p.id IS NOT NULL OR has.sold <> 0 OR has.tickets <> 0 END),
    (SELECT coalesce(sum(balance_minor), 0)::bigint FROM ledger_accounts WHERE kind = 'wallet')
