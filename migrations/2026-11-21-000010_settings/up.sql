-- The settings of a line are one value, which the program checks and reads as a whole. Only the most fans waiting are read by
-- statements too, so the database sees to that one.
ALTER TABLE concerts ADD COLUMN queue_policy jsonb;
UPDATE concerts SET queue_policy = jsonb_build_object(
    'interval_secs', interval_secs,
    'batch', batch,
    'active_limit', active_limit,
    'idle_admission', idle_admission,
    'active_sliding_secs', active_sliding_secs,
    'active_absolute_secs', active_absolute_secs,
    'claim_secs', claim_secs,
    'return_secs', return_secs,
    'waiting_limit', waiting_limit);
ALTER TABLE concerts
    ALTER COLUMN queue_policy SET NOT NULL,
    ADD CONSTRAINT concerts_queue_policy_check
        CHECK (coalesce((queue_policy ->> 'waiting_limit')::bigint BETWEEN 1 AND 10000000, false)),
    DROP COLUMN interval_secs,
    DROP COLUMN batch,
    DROP COLUMN active_limit,
    DROP COLUMN idle_admission,
    DROP COLUMN active_sliding_secs,
    DROP COLUMN active_absolute_secs,
    DROP COLUMN claim_secs,
    DROP COLUMN return_secs,
    DROP COLUMN waiting_limit;
