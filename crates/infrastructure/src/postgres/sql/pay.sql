-- Pays a held reservation from the wallet: reservation, wallet, payment, ledger, seats, tickets and outbox together.
-- The reservation's row lock is taken by the first UPDATE, which judges the time once it has it.
-- Ticket ids are at least one per seat.
-- No row: not held or too late. One row without a payment: too little money (missing_minor says how much), roll back. Else one
-- row per ticket.
WITH paid AS (
    UPDATE reservations SET state = 'paid', ended_at = clock_timestamp()
    WHERE id = :reservation_id AND user_id = :user_id AND state = 'held' AND expires_at > clock_timestamp()
    RETURNING id, show_id, total_minor, currency, turn
), debit AS (
    UPDATE ledger_accounts w SET balance_minor = w.balance_minor - paid.total_minor
    FROM paid
    WHERE w.user_id = :user_id AND w.kind = 'wallet' AND w.currency = paid.currency AND w.balance_minor >= paid.total_minor
    RETURNING w.id, w.balance_minor, paid.total_minor, paid.currency, paid.show_id
), payment AS (
    INSERT INTO payments (id, reservation_id, user_id, amount_minor, currency)
    SELECT :payment_id, :reservation_id, :user_id, debit.total_minor, debit.currency FROM debit
    RETURNING id
), posting AS (
    INSERT INTO ledger_transactions (id, kind, reference_id) SELECT :ledger_transaction_id, 'payment', payment.id FROM payment
    RETURNING id
), entries AS (
    INSERT INTO ledger_entries (transaction_id, account_id, amount_minor, balance_after_minor)
    SELECT posting.id, side.account_id, side.amount_minor, side.balance_after_minor
    FROM posting, debit, LATERAL (
        VALUES (debit.id, -debit.total_minor, debit.balance_minor),
            ((SELECT a.id FROM ledger_accounts a WHERE a.kind = 'revenue' AND a.currency = debit.currency),
                debit.total_minor, NULL)
    ) AS side(account_id, amount_minor, balance_after_minor)
    WHERE side.amount_minor <> 0
), sold AS (
    UPDATE seats s SET state = 'sold', held_until = NULL, version = s.version + 1
    FROM debit WHERE s.reservation_id = :reservation_id AND s.state = 'held'
    RETURNING s.id, s.section, s.row_label, s.number
), numbered AS (
    SELECT sold.*, row_number() OVER (ORDER BY sold.section, sold.row_label, sold.number) AS n FROM sold
), issued AS (
    INSERT INTO tickets (id, reservation_id, seat_id, user_id)
    SELECT (:ticket_ids::uuid[])[numbered.n], :reservation_id, numbered.id, :user_id FROM numbered
    RETURNING id, seat_id, issued_at
), event AS (
    INSERT INTO outbox_events (event_id, event_type, aggregate_id, payload)
    SELECT :event_id, 'reservation.paid', :reservation_id,
        jsonb_build_object('reservation_id', :reservation_id, 'payment_id', payment.id, 'user_id', :user_id, 'show_id', debit.show_id,
            'amount_minor', debit.total_minor, 'currency', debit.currency,
            'seat_ids', (SELECT jsonb_agg(numbered.id ORDER BY numbered.n) FROM numbered))
    FROM payment, debit
)
SELECT paid.show_id, paid.total_minor, paid.currency, debit.balance_minor, issued.id AS ticket_id, issued.seat_id,
    numbered.section, numbered.row_label, numbered.number, issued.issued_at, paid.turn,
    CASE WHEN debit.id IS NULL THEN paid.total_minor - (SELECT w.balance_minor FROM ledger_accounts w
        WHERE w.user_id = :user_id AND w.kind = 'wallet' AND w.currency = paid.currency) END AS missing_minor
FROM paid
LEFT JOIN debit ON true
LEFT JOIN issued ON true
LEFT JOIN numbered ON numbered.id = issued.seat_id
ORDER BY numbered.n
