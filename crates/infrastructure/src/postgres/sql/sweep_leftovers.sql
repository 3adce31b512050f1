-- Deletes stored answers of yesterday and refresh tokens that have ended, the oldest first.
-- One row (count): how many were deleted.
WITH keys AS (
    DELETE FROM idempotency_keys WHERE (user_id, key) IN (
        SELECT user_id, key FROM idempotency_keys
        WHERE created_at < now() - interval '24 hours' ORDER BY created_at LIMIT :most)
    RETURNING 1
), tokens AS (
    DELETE FROM refresh_tokens WHERE token_hash IN (
        SELECT token_hash FROM refresh_tokens WHERE expires_at < now() ORDER BY expires_at LIMIT :most)
    RETURNING 1
)
SELECT (SELECT count(*) FROM keys) + (SELECT count(*) FROM tokens) AS count
