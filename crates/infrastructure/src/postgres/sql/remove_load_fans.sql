-- Removes fans of load runs, whom the caller has locked, with everything that hangs on them but their places in line, which have
-- no foreign key and go with their lines. Seats that they have are free again. The triggers that keep the ledger append-only are
-- off.
-- Of each posting both sides go: the fan's wallet and the account of the system, which keeps no balance. So what is left sums to
-- zero, and revenue equals payments, as before.
-- Rows of what, count. 'of others' counts what must not be: entries of these postings on wallets of other fans.
WITH theirs AS MATERIALIZED (
    SELECT id FROM reservations WHERE user_id = ANY(:fans::uuid[])
), paid AS MATERIALIZED (
    SELECT id FROM payments WHERE user_id = ANY(:fans)
), wallets AS MATERIALIZED (
    SELECT id FROM ledger_accounts WHERE kind = 'wallet' AND user_id = ANY(:fans)
), postings AS MATERIALIZED (
    SELECT e.transaction_id AS id FROM ledger_entries e JOIN wallets ON wallets.id = e.account_id
    -- What cost nothing has a posting without entries.
    UNION SELECT t.id FROM ledger_transactions t JOIN paid ON paid.id = t.reference_id WHERE t.kind IN ('payment', 'refund')
), of_others AS (
    SELECT 1 FROM postings JOIN ledger_entries e ON e.transaction_id = postings.id JOIN ledger_accounts a ON a.id = e.account_id
    WHERE a.kind = 'wallet' AND NOT a.user_id = ANY(:fans)
), tickets_gone AS (
    DELETE FROM tickets t USING theirs WHERE t.reservation_id = theirs.id RETURNING 1
), payments_gone AS (
    DELETE FROM payments p USING paid WHERE p.id = paid.id RETURNING 1
), seats_freed AS (
    UPDATE seats s SET state = 'available', reservation_id = NULL, held_until = NULL, version = s.version + 1
    FROM theirs WHERE s.reservation_id = theirs.id
), lines_gone AS (
    DELETE FROM reservation_seats rs USING theirs WHERE rs.reservation_id = theirs.id
), reservations_gone AS (
    DELETE FROM reservations r USING theirs WHERE r.id = theirs.id RETURNING 1
), entries_gone AS (
    DELETE FROM ledger_entries e USING postings WHERE e.transaction_id = postings.id RETURNING 1
), postings_gone AS (
    DELETE FROM ledger_transactions t USING postings WHERE t.id = postings.id RETURNING t.kind, t.reference_id
), wallets_gone AS (
    DELETE FROM ledger_accounts a USING wallets WHERE a.id = wallets.id
), events_gone AS (
    DELETE FROM outbox_events o USING (
        SELECT id FROM theirs UNION ALL SELECT reference_id FROM postings_gone WHERE kind = 'charge') AS about
    WHERE o.aggregate_id = about.id RETURNING 1
), fans_gone AS (
    -- Stored answers and refresh tokens go with them.
    DELETE FROM users WHERE id = ANY(:fans) RETURNING 1
)
SELECT 'fans' AS what, count(*) AS count FROM fans_gone
UNION ALL SELECT 'reservations', count(*) FROM reservations_gone
UNION ALL SELECT 'payments', count(*) FROM payments_gone
UNION ALL SELECT 'tickets', count(*) FROM tickets_gone
UNION ALL SELECT 'postings', count(*) FROM postings_gone
UNION ALL SELECT 'entries of the ledger', count(*) FROM entries_gone
UNION ALL SELECT 'events', count(*) FROM events_gone
UNION ALL SELECT 'of others', count(*) FROM of_others
