//! What the migrations make, as diesel knows it; a test holds the two together.

use diesel::{allow_columns_to_appear_in_same_group_by_clause, allow_tables_to_appear_in_same_query, joinable, table};

table! {
    /// Kept by the migrations themselves.
    __diesel_schema_migrations (version) {
        version -> Varchar,
        run_on -> Timestamp,
    }
}

table! {
    audit_log (id) {
        id -> Int8,
        at -> Timestamptz,
        actor_id -> Uuid,
        concert_id -> Uuid,
        action -> Text,
        changes -> Jsonb,
    }
}

table! {
    concerts (id) {
        id -> Uuid,
        title -> Text,
        description -> Text,
        sale_state -> Text,
        version -> Int4,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
        message -> Text,
        queue_policy -> Jsonb,
    }
}

table! {
    idempotency_keys (user_id, key) {
        user_id -> Uuid,
        key -> Text,
        request_hash -> Bytea,
        body -> Text,
        created_at -> Timestamptz,
    }
}

table! {
    ledger_accounts (id) {
        id -> Uuid,
        kind -> Text,
        user_id -> Nullable<Uuid>,
        currency -> Bpchar,
        balance_minor -> Nullable<Int8>,
    }
}

table! {
    ledger_entries (id) {
        id -> Int8,
        transaction_id -> Uuid,
        account_id -> Uuid,
        amount_minor -> Int8,
        balance_after_minor -> Nullable<Int8>,
        created_at -> Timestamptz,
    }
}

table! {
    ledger_transactions (id) {
        id -> Uuid,
        kind -> Text,
        reference_id -> Uuid,
        created_at -> Timestamptz,
    }
}

table! {
    line_ballots (user_id, concert_id) {
        concert_id -> Uuid,
        user_id -> Uuid,
        place_id -> Uuid,
        key -> Int8,
        joined_ms -> Int8,
    }
}

table! {
    line_estimates (concert_id, number) {
        concert_id -> Uuid,
        number -> Int8,
        at_ms -> Int8,
        low_secs -> Int8,
        high_secs -> Int8,
    }
}

table! {
    line_log (concert_id, index) {
        concert_id -> Uuid,
        index -> Int8,
        kind -> Text,
        number -> Int8,
        place_hash -> Nullable<Bytea>,
        active -> Nullable<Int8>,
        active_limit -> Nullable<Int8>,
        at_ms -> Int8,
        hash -> Bytea,
    }
}

table! {
    line_odd_entries (concert_id, at_ms, counter) {
        concert_id -> Uuid,
        at_ms -> Int8,
        counter -> Int8,
        entry -> Text,
        noted_at -> Timestamptz,
    }
}

table! {
    line_places (concert_id, number) {
        concert_id -> Uuid,
        number -> Int8,
        user_id -> Uuid,
        place_id -> Uuid,
        token_id -> Uuid,
        state -> Text,
        times -> Int4,
        joined_ms -> Int8,
        called_ms -> Nullable<Int8>,
        arrived_ms -> Nullable<Int8>,
        lapsed_ms -> Nullable<Int8>,
        last_end_ms -> Nullable<Int8>,
        ended_ms -> Nullable<Int8>,
        outcome -> Nullable<Text>,
    }
}

table! {
    /// A view: [`line_places`] and [`line_places_past`] together.
    line_places_ever (concert_id, number) {
        concert_id -> Uuid,
        number -> Int8,
        user_id -> Uuid,
        place_id -> Uuid,
        token_id -> Uuid,
        state -> Text,
        times -> Int4,
        joined_ms -> Int8,
        called_ms -> Nullable<Int8>,
        arrived_ms -> Nullable<Int8>,
        lapsed_ms -> Nullable<Int8>,
        last_end_ms -> Nullable<Int8>,
        ended_ms -> Nullable<Int8>,
        outcome -> Nullable<Text>,
    }
}

table! {
    line_places_past (concert_id, number) {
        concert_id -> Uuid,
        number -> Int8,
        user_id -> Uuid,
        place_id -> Uuid,
        token_id -> Uuid,
        state -> Text,
        times -> Int4,
        joined_ms -> Int8,
        called_ms -> Nullable<Int8>,
        arrived_ms -> Nullable<Int8>,
        lapsed_ms -> Nullable<Int8>,
        last_end_ms -> Nullable<Int8>,
        ended_ms -> Nullable<Int8>,
        outcome -> Nullable<Text>,
    }
}

table! {
    lines (concert_id) {
        concert_id -> Uuid,
        life -> Int8,
        registered -> Int8,
        log_index -> Int8,
        log_hash -> Bytea,
        event_ms -> Int8,
        event_counter -> Int8,
        draw_seed -> Nullable<Bytea>,
        draw_finished_at -> Nullable<Timestamptz>,
        seq -> Int8,
        passed -> Int8,
        departed -> Int8,
        sold_out -> Bool,
        draw_first -> Nullable<Int8>,
        draw_last -> Nullable<Int8>,
        draw_key -> Nullable<Int8>,
        draw_place -> Nullable<Uuid>,
    }
}

table! {
    outbox_events (id) {
        id -> Int8,
        event_id -> Uuid,
        event_type -> Text,
        aggregate_id -> Uuid,
        payload -> Jsonb,
        created_at -> Timestamptz,
        published_at -> Nullable<Timestamptz>,
    }
}

table! {
    payments (id) {
        id -> Uuid,
        reservation_id -> Uuid,
        user_id -> Uuid,
        amount_minor -> Int8,
        currency -> Bpchar,
        state -> Text,
        created_at -> Timestamptz,
    }
}

table! {
    refresh_tokens (token_hash) {
        token_hash -> Bytea,
        session_id -> Uuid,
        user_id -> Uuid,
        expires_at -> Timestamptz,
        used_at -> Nullable<Timestamptz>,
        revoked_at -> Nullable<Timestamptz>,
        created_at -> Timestamptz,
    }
}

table! {
    reservation_seats (reservation_id, seat_id) {
        reservation_id -> Uuid,
        seat_id -> Uuid,
        show_id -> Uuid,
        price_minor -> Int8,
        live -> Bool,
    }
}

table! {
    reservations (id) {
        id -> Uuid,
        user_id -> Uuid,
        show_id -> Uuid,
        state -> Text,
        total_minor -> Int8,
        currency -> Bpchar,
        expires_at -> Timestamptz,
        created_at -> Timestamptz,
        ended_at -> Nullable<Timestamptz>,
        turn -> Nullable<Int8>,
    }
}

table! {
    seats (id) {
        id -> Uuid,
        show_id -> Uuid,
        section -> Text,
        row_label -> Text,
        number -> Int4,
        price_minor -> Int8,
        state -> Text,
        reservation_id -> Nullable<Uuid>,
        held_until -> Nullable<Timestamptz>,
        version -> Int4,
    }
}

table! {
    shows (id) {
        id -> Uuid,
        concert_id -> Uuid,
        venue -> Text,
        starts_at -> Timestamptz,
        currency -> Bpchar,
        hold_secs -> Int4,
        seats_per_fan -> Int4,
        version -> Int4,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

table! {
    tickets (id) {
        id -> Uuid,
        reservation_id -> Uuid,
        seat_id -> Uuid,
        user_id -> Uuid,
        state -> Text,
        issued_at -> Timestamptz,
    }
}

table! {
    users (id) {
        id -> Uuid,
        email -> Text,
        password_hash -> Text,
        display_name -> Text,
        role -> Text,
        created_at -> Timestamptz,
    }
}

joinable!(audit_log -> users (actor_id));
joinable!(idempotency_keys -> users (user_id));
joinable!(ledger_accounts -> users (user_id));
joinable!(ledger_entries -> ledger_accounts (account_id));
joinable!(ledger_entries -> ledger_transactions (transaction_id));
joinable!(line_estimates -> lines (concert_id));
joinable!(line_odd_entries -> lines (concert_id));
joinable!(lines -> concerts (concert_id));
joinable!(payments -> reservations (reservation_id));
joinable!(refresh_tokens -> users (user_id));
joinable!(reservation_seats -> reservations (reservation_id));
joinable!(reservation_seats -> seats (seat_id));
joinable!(reservations -> shows (show_id));
joinable!(reservations -> users (user_id));
joinable!(seats -> shows (show_id));
joinable!(shows -> concerts (concert_id));
joinable!(tickets -> reservations (reservation_id));
joinable!(tickets -> seats (seat_id));
joinable!(tickets -> users (user_id));

allow_tables_to_appear_in_same_query!(
    audit_log,
    concerts,
    idempotency_keys,
    ledger_accounts,
    ledger_entries,
    ledger_transactions,
    line_ballots,
    line_estimates,
    line_log,
    line_odd_entries,
    line_places,
    line_places_ever,
    line_places_past,
    lines,
    outbox_events,
    payments,
    refresh_tokens,
    reservation_seats,
    reservations,
    seats,
    shows,
    tickets,
    users,
);

// The seats of a concert are counted by show and section.
allow_columns_to_appear_in_same_group_by_clause!(
    seats::section,
    shows::id,
    shows::starts_at,
    shows::seats_per_fan,
    shows::currency,
);
