DROP INDEX concerts_closed;
ALTER TABLE ledger_entries DROP CONSTRAINT ledger_entries_once,
    ADD CONSTRAINT ledger_entries_transaction_id_account_id_key UNIQUE (transaction_id, account_id);
DROP INDEX ledger_entries_of_account;
CREATE INDEX ledger_entries_of_account ON ledger_entries (account_id, id DESC);
DROP INDEX tickets_of_reservation;
CREATE INDEX tickets_of_reservation ON tickets (reservation_id);
DROP INDEX tickets_one_valid;
CREATE UNIQUE INDEX tickets_one_valid ON tickets (seat_id) WHERE state = 'valid';
DROP INDEX payments_one_capture;
CREATE UNIQUE INDEX payments_one_capture ON payments (reservation_id);
DROP INDEX outbox_events_paid;
DROP INDEX reservations_paid;
