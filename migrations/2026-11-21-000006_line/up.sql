-- What makes a line outlive its store and accountable: lives and numbers, the admission log, the opening draw, what fans
-- were told, and what operators did.

ALTER TABLE concerts
    -- Seconds in which a promoted fan must use the token; after a lapse, to come back; and to hold after a loss.
    ADD COLUMN claim_secs         int  NOT NULL DEFAULT 60  CHECK (claim_secs BETWEEN 5 AND 3600),
    ADD COLUMN return_secs        int  NOT NULL DEFAULT 900 CHECK (return_secs BETWEEN 0 AND 86400),
    ADD COLUMN recovery_hold_secs int  NOT NULL DEFAULT 30  CHECK (recovery_hold_secs BETWEEN 0 AND 3600),
    -- What operators say to everyone in line.
    ADD COLUMN message            text NOT NULL DEFAULT ''  CHECK (length(message) <= 500),
    DROP CONSTRAINT concerts_sale_state_check,
    ADD CONSTRAINT concerts_sale_state_check CHECK (
        sale_state IN ('draft', 'scheduled', 'pre_queue', 'on_sale', 'paused', 'draining', 'closed'));
DROP INDEX concerts_with_a_line;
CREATE INDEX concerts_with_a_line ON concerts (id) WHERE sale_state IN ('pre_queue', 'on_sale', 'paused', 'draining');

CREATE TABLE lines (
    concert_id       uuid   PRIMARY KEY REFERENCES concerts,
    -- Advances when the line's store was restarted or lost. What belongs to an earlier life is refused.
    life             bigint NOT NULL DEFAULT 0,
    -- Highest number that may have been given out, and that certainly was. A new life begins above the ceiling.
    ceiling          bigint NOT NULL DEFAULT 0,
    seen             bigint NOT NULL DEFAULT 0,
    -- First and last of each range of numbers that a new life skipped.
    jumps            bigint[] NOT NULL DEFAULT '{}',
    -- Most fans ever seen in the pre-queue.
    registered       bigint NOT NULL DEFAULT 0,
    -- The end of the admission log, and the newest event of the store that is in it.
    log_index        bigint NOT NULL DEFAULT 0,
    log_hash         bytea  NOT NULL DEFAULT decode(repeat('00', 32), 'hex') CHECK (length(log_hash) = 32),
    event_ms         bigint NOT NULL DEFAULT 0,
    event_counter    bigint NOT NULL DEFAULT 0,
    -- The opening draw: its secret; the number before its first, and the last that is set aside for it; the last that
    -- has been drawn, and in which turn.
    draw_seed        bytea  CHECK (length(draw_seed) = 32),
    draw_before      bigint,
    draw_to          bigint,
    draw_done        bigint,
    draw_turn        bigint NOT NULL DEFAULT 0,
    draw_finished_at timestamptz,
    CHECK (seen <= ceiling)
);

-- Whom the line has let through, one row per number; written before a fan becomes active.
CREATE TABLE line_admissions (
    concert_id  uuid   NOT NULL REFERENCES lines,
    number      bigint NOT NULL,
    user_id     uuid   NOT NULL,
    place_id    uuid   NOT NULL,
    -- Milliseconds since 1970 by the line's clock: joined, called, used first, ended; and when the token ends at the latest.
    joined_ms   bigint NOT NULL,
    called_ms   bigint NOT NULL,
    arrived_ms  bigint,
    ended_ms    bigint,
    last_end_ms bigint NOT NULL,
    outcome     text   CHECK (outcome IN ('lapsed', 'returned', 'forfeited', 'expired', 'paid', 'left')),
    -- How often the number was called.
    times       int    NOT NULL DEFAULT 1,
    PRIMARY KEY (concert_id, number),
    CHECK ((ended_ms IS NULL) = (outcome IS NULL))
) WITH (fillfactor = 80);
CREATE INDEX line_admissions_live ON line_admissions (concert_id, number) WHERE ended_ms IS NULL;

-- The published log. Each entry's hash seals all before it. No foreign key: who writes holds the row of the line, and a
-- million rows are written in seconds.
CREATE TABLE line_log (
    concert_id   uuid   NOT NULL,
    index        bigint NOT NULL,
    kind         text   NOT NULL CHECK (kind IN (
        'admitted', 'arrived', 'lapsed', 'returned', 'forfeited', 'expired', 'paid', 'left', 'departed')),
    number       bigint NOT NULL,
    -- For an admission: SHA-256 of the place's id, active fans afterwards, and the limit.
    place_hash   bytea  CHECK (length(place_hash) = 32),
    active       bigint,
    active_limit bigint,
    at_ms        bigint NOT NULL,
    hash         bytea  NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (concert_id, index),
    CHECK ((kind = 'admitted') = (place_hash IS NOT NULL)),
    CHECK ((kind = 'admitted') = (active IS NOT NULL AND active_limit IS NOT NULL))
);
-- Who left, asked after a loss.
CREATE INDEX line_log_left ON line_log (concert_id, number) WHERE kind IN ('departed', 'left', 'paid');
CREATE TRIGGER line_log_append_only BEFORE UPDATE OR DELETE ON line_log
    FOR EACH ROW EXECUTE FUNCTION append_only();
CREATE TRIGGER line_log_no_truncate BEFORE TRUNCATE ON line_log
    FOR EACH STATEMENT EXECUTE FUNCTION append_only();

-- The opening draw. No foreign key, as for the log.
CREATE TABLE line_ballots (
    concert_id uuid   NOT NULL,
    number     bigint NOT NULL,
    user_id    uuid   NOT NULL,
    place_id   uuid   NOT NULL UNIQUE,
    PRIMARY KEY (concert_id, number)
);

-- What fans were told when they joined (a sample), to be held against what happened.
CREATE TABLE line_estimates (
    concert_id uuid   NOT NULL REFERENCES lines,
    number     bigint NOT NULL,
    at_ms      bigint NOT NULL,
    low_secs   bigint NOT NULL,
    high_secs  bigint NOT NULL,
    PRIMARY KEY (concert_id, number)
);

-- Who did what to a sale, and when. Edits of a concert are noted by the same statement that makes them.
CREATE TABLE audit_log (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT now(),
    actor_id   uuid        NOT NULL REFERENCES users,
    concert_id uuid        NOT NULL,
    action     text        NOT NULL CHECK (length(action) BETWEEN 1 AND 40),
    -- A list of {what, from, to}.
    changes    jsonb       NOT NULL
);
CREATE INDEX audit_log_of_concert ON audit_log (concert_id, id DESC);
CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE ON audit_log
    FOR EACH ROW EXECUTE FUNCTION append_only();
CREATE TRIGGER audit_log_no_truncate BEFORE TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION append_only();
