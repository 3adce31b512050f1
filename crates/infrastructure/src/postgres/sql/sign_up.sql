-- Adds a user with an empty wallet, both or none: none when the address is taken.
WITH added AS (
    INSERT INTO users (id, email, password_hash, display_name, role, created_at)
    VALUES (:user_id, :email, :password_hash, :display_name, :role, :created_at)
    ON CONFLICT (email) DO NOTHING
    RETURNING id
)
INSERT INTO ledger_accounts (id, kind, user_id, currency, balance_minor)
SELECT :wallet_id, 'wallet', added.id, :currency, 0 FROM added
