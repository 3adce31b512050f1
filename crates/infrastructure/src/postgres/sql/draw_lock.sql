-- Whether this transaction is the one that draws. One row (mine).
SELECT pg_try_advisory_xact_lock(hashtextextended('line draw ' || :concert_id::text, 0)) AS mine
