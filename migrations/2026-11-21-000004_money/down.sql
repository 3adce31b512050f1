DROP TABLE ledger_entries;
DROP TABLE ledger_transactions;
DROP TABLE ledger_accounts;
DROP FUNCTION append_only();
DROP FUNCTION wallet_matches_ledger();
DROP FUNCTION ledger_balanced();
