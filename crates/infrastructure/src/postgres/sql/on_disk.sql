-- Waits until everything that was committed before is on disk: a message that nobody reads is, and what is written to the log of
-- PostgreSQL is written in order. One row.
SELECT set_config('synchronous_commit', 'on', true) = pg_logical_emit_message(true, 'onsale', '')::text AS written
