-- Adds a concert and notes who did it.
WITH added AS (
    INSERT INTO concerts (id, title, description, sale_state, message, queue_policy)
    VALUES (:concert_id, :title, :description, :sale_state, :message, :queue_policy)
)
INSERT INTO audit_log (concert_id, actor_id, action, changes) VALUES (:concert_id, :actor_id, :action, :changes)
