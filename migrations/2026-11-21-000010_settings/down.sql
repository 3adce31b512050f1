ALTER TABLE concerts
    ADD COLUMN interval_secs        int  NOT NULL DEFAULT 60      CHECK (interval_secs BETWEEN 1 AND 3600),
    ADD COLUMN batch                int  NOT NULL DEFAULT 420     CHECK (batch BETWEEN 1 AND 100000),
    ADD COLUMN active_limit         int  NOT NULL DEFAULT 2100    CHECK (active_limit BETWEEN 1 AND 100000),
    ADD COLUMN idle_admission       bool NOT NULL DEFAULT true,
    ADD COLUMN active_sliding_secs  int  NOT NULL DEFAULT 300     CHECK (active_sliding_secs BETWEEN 10 AND 86400),
    ADD COLUMN active_absolute_secs int  NOT NULL DEFAULT 900     CHECK (active_absolute_secs BETWEEN 10 AND 86400),
    ADD COLUMN waiting_limit        int  NOT NULL DEFAULT 1000000 CHECK (waiting_limit BETWEEN 1 AND 10000000),
    ADD COLUMN claim_secs           int  NOT NULL DEFAULT 60      CHECK (claim_secs BETWEEN 5 AND 3600),
    ADD COLUMN return_secs          int  NOT NULL DEFAULT 900     CHECK (return_secs BETWEEN 0 AND 86400),
    ADD CONSTRAINT concerts_check CHECK (active_sliding_secs <= active_absolute_secs);
-- A setting that the value does not have keeps its default.
UPDATE concerts SET
    interval_secs = coalesce((queue_policy ->> 'interval_secs')::int, interval_secs),
    batch = coalesce((queue_policy ->> 'batch')::int, batch),
    active_limit = coalesce((queue_policy ->> 'active_limit')::int, active_limit),
    idle_admission = coalesce((queue_policy ->> 'idle_admission')::bool, idle_admission),
    active_sliding_secs = coalesce((queue_policy ->> 'active_sliding_secs')::int, active_sliding_secs),
    active_absolute_secs = coalesce((queue_policy ->> 'active_absolute_secs')::int, active_absolute_secs),
    waiting_limit = coalesce((queue_policy ->> 'waiting_limit')::int, waiting_limit),
    claim_secs = coalesce((queue_policy ->> 'claim_secs')::int, claim_secs),
    return_secs = coalesce((queue_policy ->> 'return_secs')::int, return_secs);
ALTER TABLE concerts DROP COLUMN queue_policy;
