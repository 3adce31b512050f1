-- Every answer that is stored is that of something new.
ALTER TABLE idempotency_keys
    ADD COLUMN status   smallint NOT NULL DEFAULT 201 CHECK (status BETWEEN 200 AND 299),
    ADD COLUMN location text;
ALTER TABLE idempotency_keys ALTER COLUMN status DROP DEFAULT;
UPDATE idempotency_keys SET location = '/api/v1/reservations/' || (body::jsonb ->> 'id') WHERE body::jsonb ? 'seats';
