-- Adds an amount to a fan's wallet, as one posting against the outside world.
-- $1 charge id  $2 user id  $3 amount in minor units  $4 ledger transaction id  $5 most that a wallet may hold  $6 event id
-- One row (balance, currency), or none when the wallet would hold too much.
WITH credit AS (
    UPDATE ledger_accounts SET balance_minor = balance_minor + $3
    WHERE user_id = $2 AND kind = 'wallet' AND balance_minor <= $5 - $3
    RETURNING id, balance_minor, currency
), posting AS (
    INSERT INTO ledger_transactions (id, kind, reference_id) SELECT $4, 'charge', $1 FROM credit RETURNING id
), entries AS (
    INSERT INTO ledger_entries (transaction_id, account_id, amount_minor, balance_after_minor)
    SELECT posting.id, side.account_id, side.amount_minor, side.balance_after_minor
    FROM posting, credit, LATERAL (
        VALUES (credit.id, $3, credit.balance_minor),
            ((SELECT a.id FROM ledger_accounts a WHERE a.kind = 'external_cash' AND a.currency = credit.currency),
                -$3, NULL)
    ) AS side(account_id, amount_minor, balance_after_minor)
), event AS (
    INSERT INTO outbox_events (event_id, event_type, aggregate_id, payload)
    SELECT $6, 'wallet.charged', $1,
        jsonb_build_object('charge_id', $1, 'user_id', $2, 'amount_minor', $3, 'currency', credit.currency)
    FROM credit
)
SELECT credit.balance_minor, credit.currency::text FROM credit
