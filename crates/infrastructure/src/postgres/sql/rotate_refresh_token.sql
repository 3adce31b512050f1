-- Uses a refresh token and stores the next one of its session.
-- The row lock of the UPDATE lets one of many simultaneous uses through; the others see used_at. A session with any revoked
-- token is over, so a token that was stored while the session was being revoked is no good either.
-- One row (user_id), or none when the token is no good.
WITH used AS (
    UPDATE refresh_tokens SET used_at = :now
    WHERE token_hash = :hash AND used_at IS NULL AND expires_at > :now
        AND NOT EXISTS (SELECT 1 FROM refresh_tokens other
            WHERE other.session_id = refresh_tokens.session_id AND other.revoked_at IS NOT NULL)
    RETURNING session_id, user_id
)
INSERT INTO refresh_tokens (token_hash, session_id, user_id, expires_at)
SELECT :next_hash, used.session_id, used.user_id, :next_expires_at FROM used
RETURNING user_id
