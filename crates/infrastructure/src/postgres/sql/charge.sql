-- Adds an amount to a fan's wallet, as one posting against the outside world.
-- One row (balance, currency), or none when the wallet would hold too much.
WITH credit AS (
    UPDATE ledger_accounts SET balance_minor = balance_minor + :amount_minor
    WHERE user_id = :user_id AND kind = 'wallet' AND balance_minor <= :wallet_max_minor - :amount_minor
    RETURNING id, balance_minor, currency
), posting AS (
    INSERT INTO ledger_transactions (id, kind, reference_id) SELECT :ledger_transaction_id, 'charge', :charge_id FROM credit RETURNING id
), entries AS (
    INSERT INTO ledger_entries (transaction_id, account_id, amount_minor, balance_after_minor)
    SELECT posting.id, side.account_id, side.amount_minor, side.balance_after_minor
    FROM posting, credit, LATERAL (
        VALUES (credit.id, :amount_minor, credit.balance_minor),
            ((SELECT a.id FROM ledger_accounts a WHERE a.kind = 'external_cash' AND a.currency = credit.currency),
                -:amount_minor, NULL)
    ) AS side(account_id, amount_minor, balance_after_minor)
), event AS (
    INSERT INTO outbox_events (event_id, event_type, aggregate_id, payload)
    SELECT :event_id, 'wallet.charged', :charge_id,
        jsonb_build_object('charge_id', :charge_id, 'user_id', :user_id, 'amount_minor', :amount_minor, 'currency', credit.currency)
    FROM credit
)
SELECT credit.balance_minor, credit.currency FROM credit
