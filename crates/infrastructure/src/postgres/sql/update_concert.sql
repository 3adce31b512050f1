-- Saves a concert if nobody has edited it since, and notes who did it. One row is written then, else none.
WITH edited AS (
    UPDATE concerts SET title = :title, description = :description, sale_state = :sale_state, message = :message,
        queue_policy = :queue_policy, version = version + 1, updated_at = now()
    WHERE id = :concert_id AND version = :expected
    RETURNING id
)
INSERT INTO audit_log (concert_id, actor_id, action, changes)
SELECT id, :actor_id, :action, :changes FROM edited
