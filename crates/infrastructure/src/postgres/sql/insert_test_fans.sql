-- Adds fans with wallets that hold an amount, booked like any other charge. All or none; an address that exists is an error.
WITH new AS (
    SELECT * FROM unnest(:user_ids::uuid[], :emails::text[], :wallet_ids::uuid[], :charge_ids::uuid[], :posting_ids::uuid[])
        AS n(user_id, email, wallet_id, charge_id, posting_id)
), people AS (
    INSERT INTO users (id, email, password_hash, display_name, role)
    SELECT user_id, email, '!', 'Test fan', 'fan' FROM new RETURNING id
), wallets AS (
    INSERT INTO ledger_accounts (id, kind, user_id, currency, balance_minor)
    SELECT wallet_id, 'wallet', user_id, :currency, :balance_minor FROM new RETURNING id
), postings AS (
    INSERT INTO ledger_transactions (id, kind, reference_id)
    SELECT posting_id, 'charge', charge_id FROM new WHERE :balance_minor > 0 RETURNING id
)
INSERT INTO ledger_entries (transaction_id, account_id, amount_minor, balance_after_minor)
SELECT posting_id, wallet_id, :balance_minor, :balance_minor FROM new WHERE :balance_minor > 0
UNION ALL
SELECT posting_id, a.id, -:balance_minor, NULL FROM new, ledger_accounts a
WHERE :balance_minor > 0 AND a.kind = 'external_cash' AND a.currency = :currency
