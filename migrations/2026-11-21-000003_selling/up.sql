-- Reservations, payments and tickets.

CREATE TABLE reservations (
    id          uuid        PRIMARY KEY,
    user_id     uuid        NOT NULL REFERENCES users,
    show_id     uuid        NOT NULL REFERENCES shows,
    state       text        NOT NULL DEFAULT 'held'
        CHECK (state IN ('held', 'paid', 'cancelled', 'expired', 'refunded')),
    total_minor bigint      NOT NULL CHECK (total_minor >= 0),
    currency    char(3)     NOT NULL,
    expires_at  timestamptz NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    ended_at    timestamptz,
    UNIQUE (id, show_id),
    UNIQUE (id, user_id),
    CHECK ((state = 'held') = (ended_at IS NULL))
) WITH (fillfactor = 80);
-- One held reservation per fan and show.
CREATE UNIQUE INDEX reservations_one_held ON reservations (user_id, show_id) WHERE state = 'held';
CREATE INDEX reservations_of_user ON reservations (user_id, id DESC);
-- What the sweeper looks for.
CREATE INDEX reservations_due ON reservations (expires_at) WHERE state = 'held';
-- How many seats a fan has at a show, asked by every hold. There is no index on show_id alone: the planner would take it
-- for that question and read all reservations of a show that sells well.
CREATE INDEX reservations_of_user_at_show ON reservations (user_id, show_id);

CREATE TABLE reservation_seats (
    reservation_id uuid   NOT NULL,
    seat_id        uuid   NOT NULL,
    show_id        uuid   NOT NULL,
    price_minor    bigint NOT NULL CHECK (price_minor >= 0),
    -- Whether the reservation still has the seat: held or paid. Ends with cancel, expiry or refund.
    live           bool   NOT NULL DEFAULT true,
    PRIMARY KEY (reservation_id, seat_id),
    FOREIGN KEY (reservation_id, show_id) REFERENCES reservations (id, show_id),
    FOREIGN KEY (seat_id, show_id) REFERENCES seats (id, show_id)
);
-- No double sale: a seat is in one live reservation at most, whatever the code above it does.
CREATE UNIQUE INDEX reservation_seats_one_live ON reservation_seats (seat_id) WHERE live;

ALTER TABLE seats ADD FOREIGN KEY (reservation_id, show_id) REFERENCES reservations (id, show_id);

CREATE TABLE payments (
    id             uuid        PRIMARY KEY,
    reservation_id uuid        NOT NULL,
    user_id        uuid        NOT NULL,
    amount_minor   bigint      NOT NULL CHECK (amount_minor >= 0),
    currency       char(3)     NOT NULL,
    state          text        NOT NULL DEFAULT 'captured' CHECK (state IN ('captured', 'refunded')),
    created_at     timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (reservation_id, user_id) REFERENCES reservations (id, user_id)
);
-- Charged once, ever: a refunded reservation is not paid again either.
CREATE UNIQUE INDEX payments_one_capture ON payments (reservation_id);
CREATE INDEX payments_of_user ON payments (user_id, id DESC);

CREATE TABLE tickets (
    id             uuid        PRIMARY KEY,
    reservation_id uuid        NOT NULL,
    seat_id        uuid        NOT NULL,
    user_id        uuid        NOT NULL REFERENCES users,
    state          text        NOT NULL DEFAULT 'valid' CHECK (state IN ('valid', 'void')),
    issued_at      timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (reservation_id, seat_id) REFERENCES reservation_seats (reservation_id, seat_id)
);
-- The second, independent guard against a double sale.
CREATE UNIQUE INDEX tickets_one_valid ON tickets (seat_id) WHERE state = 'valid';
CREATE INDEX tickets_of_user ON tickets (user_id, id DESC);
CREATE INDEX tickets_of_reservation ON tickets (reservation_id);
