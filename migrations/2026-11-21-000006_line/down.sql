DROP TABLE audit_log;
DROP TABLE line_estimates;
DROP TABLE line_ballots;
DROP TABLE line_log;
DROP TABLE line_admissions;
DROP TABLE lines;
DROP INDEX concerts_with_a_line;
UPDATE concerts SET sale_state = 'scheduled' WHERE sale_state = 'pre_queue';
ALTER TABLE concerts
    DROP CONSTRAINT concerts_sale_state_check,
    ADD CONSTRAINT concerts_sale_state_check CHECK (
        sale_state IN ('draft', 'scheduled', 'on_sale', 'paused', 'draining', 'closed')),
    DROP COLUMN claim_secs,
    DROP COLUMN return_secs,
    DROP COLUMN recovery_hold_secs,
    DROP COLUMN message;
CREATE INDEX concerts_with_a_line ON concerts (id) WHERE sale_state IN ('on_sale', 'paused', 'draining');
