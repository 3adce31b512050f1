-- An entry of a wallet follows the one before it, and the wallet holds what the newest says. Until now only a change of the
-- wallet was checked, so an entry without one was taken.
CREATE FUNCTION entry_matches_wallet() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    wallet_balance bigint := (SELECT balance_minor FROM ledger_accounts WHERE id = NEW.account_id);
    before         bigint;
    newest         bigint;
BEGIN
    -- A system account keeps no balance, and its entries say none.
    IF wallet_balance IS NULL AND NEW.balance_after_minor IS NULL THEN
        RETURN NULL;
    END IF;
    SELECT balance_after_minor INTO before FROM ledger_entries
        WHERE account_id = NEW.account_id AND id < NEW.id ORDER BY id DESC LIMIT 1;
    SELECT balance_after_minor INTO newest FROM ledger_entries
        WHERE account_id = NEW.account_id ORDER BY id DESC LIMIT 1;
    IF NEW.balance_after_minor IS DISTINCT FROM coalesce(before, 0) + NEW.amount_minor THEN
        RAISE EXCEPTION 'entry % of account % does not follow the one before it', NEW.id, NEW.account_id
            USING ERRCODE = 'check_violation';
    END IF;
    IF wallet_balance IS DISTINCT FROM newest THEN
        RAISE EXCEPTION 'wallet % holds % but its entries say %', NEW.account_id, wallet_balance, newest
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER entry_matches_wallet AFTER INSERT ON ledger_entries
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION entry_matches_wallet();
