-- Removes operators that load runs made and of whom the audit log says nothing any more.
-- Rows of what, count.
WITH gone AS (
    DELETE FROM users u
    WHERE u.role = 'operator' AND u.password_hash = '!' AND u.email LIKE :addresses
        AND NOT EXISTS (SELECT 1 FROM audit_log a WHERE a.actor_id = u.id)
    RETURNING 1
)
SELECT 'operators' AS what, count(*) AS count FROM gone
