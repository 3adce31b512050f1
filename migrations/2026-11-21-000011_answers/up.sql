-- An answer is stored as it was written; its status and its Location follow from the route and the body.
ALTER TABLE idempotency_keys DROP COLUMN status, DROP COLUMN location;
