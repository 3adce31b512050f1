DROP TRIGGER entry_matches_wallet ON ledger_entries;
DROP FUNCTION entry_matches_wallet();
