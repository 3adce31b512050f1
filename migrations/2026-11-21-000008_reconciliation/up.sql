-- Indexes that the reconciliation of money and seats, and the search for lines to tick, read. Only two are new on hot tables, and both are partial;
-- the others get a column more, so that the tables themselves need not be read.

-- What was paid, by id: asked with each line and each payment. Paying leaves reservations_one_held and moves the row
-- anyway; this adds one entry per paid reservation.
CREATE INDEX reservations_paid ON reservations (id) WHERE state = 'paid';

-- Whether a payment's event was written. Holding, charging and publishing do not touch it.
CREATE INDEX outbox_events_paid ON outbox_events (aggregate_id) WHERE event_type = 'reservation.paid';

-- The same guards and look-ups as before, with what reconciliation needs of the row.
DROP INDEX payments_one_capture;
-- Charged once, ever: a refunded reservation is not paid again either.
CREATE UNIQUE INDEX payments_one_capture ON payments (reservation_id) INCLUDE (state);
DROP INDEX tickets_one_valid;
-- The second, independent guard against a double sale.
CREATE UNIQUE INDEX tickets_one_valid ON tickets (seat_id) INCLUDE (reservation_id) WHERE state = 'valid';
DROP INDEX tickets_of_reservation;
CREATE INDEX tickets_of_reservation ON tickets (reservation_id, seat_id) INCLUDE (state);
DROP INDEX ledger_entries_of_account;
CREATE INDEX ledger_entries_of_account ON ledger_entries (account_id, id DESC) INCLUDE (amount_minor);
ALTER TABLE ledger_entries DROP CONSTRAINT ledger_entries_transaction_id_account_id_key,
    ADD CONSTRAINT ledger_entries_once UNIQUE (transaction_id, account_id) INCLUDE (amount_minor);

-- Lines end a day after their sale closed. With the index concerts_with_a_line, this answers both arms of that query.
CREATE INDEX concerts_closed ON concerts (updated_at) WHERE sale_state = 'closed';

-- Not made: an index on sold seats, (reservation_id, id) WHERE state = 'sold'. It would end the HOT updates by which
-- seats go from held to sold, and be of no use while a sale runs, when few pages of seats are all-visible.
