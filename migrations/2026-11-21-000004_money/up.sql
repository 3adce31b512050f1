-- Wallets backed by a double-entry ledger. Entries are never changed; a mistake is mended by another posting.

CREATE TABLE ledger_accounts (
    id            uuid    PRIMARY KEY,
    -- wallet: what a fan may spend. external_cash: where charges come from. revenue: what was sold.
    kind          text    NOT NULL CHECK (kind IN ('wallet', 'external_cash', 'revenue')),
    user_id       uuid    REFERENCES users,
    currency      char(3) NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    -- Wallets keep a running balance. System accounts keep none: it would be one row that every payment waits for.
    balance_minor bigint  CHECK (balance_minor >= 0),
    CHECK ((kind = 'wallet') = (user_id IS NOT NULL)),
    CHECK ((kind = 'wallet') = (balance_minor IS NOT NULL))
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX ledger_accounts_wallet ON ledger_accounts (user_id) WHERE kind = 'wallet';
CREATE UNIQUE INDEX ledger_accounts_system ON ledger_accounts (kind, currency) WHERE kind <> 'wallet';

CREATE TABLE ledger_transactions (
    id           uuid        PRIMARY KEY,
    kind         text        NOT NULL CHECK (kind IN ('charge', 'payment', 'refund')),
    -- What it is for: the charge's own id, or the payment's. Nothing is posted twice.
    reference_id uuid        NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    UNIQUE (kind, reference_id)
);

CREATE TABLE ledger_entries (
    id                  bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    transaction_id      uuid        NOT NULL REFERENCES ledger_transactions,
    account_id          uuid        NOT NULL REFERENCES ledger_accounts,
    amount_minor        bigint      NOT NULL CHECK (amount_minor <> 0),
    -- The wallet's balance after this entry; none on system accounts.
    balance_after_minor bigint      CHECK (balance_after_minor >= 0),
    created_at          timestamptz NOT NULL DEFAULT now(),
    UNIQUE (transaction_id, account_id)
);
CREATE INDEX ledger_entries_of_account ON ledger_entries (account_id, id DESC);

CREATE FUNCTION ledger_balanced() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT sum(amount_minor) FROM ledger_entries WHERE transaction_id = NEW.transaction_id) <> 0 THEN
        RAISE EXCEPTION 'ledger transaction % does not sum to zero', NEW.transaction_id
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER ledger_balanced AFTER INSERT ON ledger_entries
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ledger_balanced();

-- A wallet's balance is what its newest entry says, or zero: money in a wallet that no entry explains is refused.
CREATE FUNCTION wallet_matches_ledger() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    wallet_balance bigint := (SELECT balance_minor FROM ledger_accounts WHERE id = NEW.id);
    entry_balance  bigint := (SELECT balance_after_minor FROM ledger_entries
                              WHERE account_id = NEW.id ORDER BY id DESC LIMIT 1);
BEGIN
    IF wallet_balance <> coalesce(entry_balance, 0) THEN
        RAISE EXCEPTION 'wallet % holds % but its entries say %', NEW.id, wallet_balance, coalesce(entry_balance, 0)
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER wallet_matches_ledger AFTER INSERT OR UPDATE OF balance_minor ON ledger_accounts
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.kind = 'wallet') EXECUTE FUNCTION wallet_matches_ledger();

CREATE FUNCTION append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER ledger_entries_append_only BEFORE UPDATE OR DELETE ON ledger_entries
    FOR EACH ROW EXECUTE FUNCTION append_only();
CREATE TRIGGER ledger_entries_no_truncate BEFORE TRUNCATE ON ledger_entries
    FOR EACH STATEMENT EXECUTE FUNCTION append_only();
CREATE TRIGGER ledger_transactions_append_only BEFORE UPDATE OR DELETE ON ledger_transactions
    FOR EACH ROW EXECUTE FUNCTION append_only();
CREATE TRIGGER ledger_transactions_no_truncate BEFORE TRUNCATE ON ledger_transactions
    FOR EACH STATEMENT EXECUTE FUNCTION append_only();
