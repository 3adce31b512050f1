//! Every code that the API can answer: its status, what it means, and what a client does about it.

macro_rules! catalogue {
    ($($name:ident $code:literal $status:literal $title:literal $advice:literal)*) => {
        /// Every code that the API can answer. A code has one meaning for ever.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[expect(missing_docs, reason = "the titles in the table say what each means")]
        pub enum Code { $($name),* }

        impl Code {
            /// All codes.
            pub const ALL: &[Code] = &[$(Code::$name),*];

            /// The code in JSON.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$name => $code),* }
            }

            /// The HTTP status.
            pub fn status(self) -> u16 {
                match self { $(Code::$name => $status),* }
            }

            /// What it means, for people.
            pub fn title(self) -> &'static str {
                match self { $(Code::$name => $title),* }
            }

            /// What a client does about it, with Markdown's backquotes.
            pub fn advice(self) -> &'static str {
                match self { $(Code::$name => $advice),* }
            }

            /// The code with this name.
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|code| code.as_str() == text)
            }
        }
    };
}

catalogue! {
    MalformedRequest "malformed_request" 400 "The request cannot be read"
        "Read `detail` and `errors`: each error points to a member and says what it must be. Mend the request; the same one fails again."
    IdempotencyKeyInvalid "idempotency_key_invalid" 400 "The Idempotency-Key must have 1 to 128 visible ASCII characters"
        "Send a key of 1 to 128 visible ASCII characters. A fresh UUID for each thing that the fan wants done is a good one."
    IdempotencyKeyRequired "idempotency_key_required" 400 "This request needs an Idempotency-Key"
        "Send an `Idempotency-Key`, a new one for each thing that the fan wants done, and the same one when the request is repeated."
    Unauthenticated "unauthenticated" 401 "A valid access token is needed"
        "Refresh the access token with `POST /auth/refresh`, or log in again, and repeat the request."
    BadCredentials "bad_credentials" 401 "The e-mail address or the password is wrong"
        "Ask the person for e-mail address and password again. The answer does not say which of them is wrong."
    RefreshReused "refresh_reused" 401 "The refresh token was used before; its session is revoked"
        "Log in again. If the person did not use two clients with one refresh token, somebody else has it."
    RefreshInvalid "refresh_invalid" 401 "The refresh token is unknown, expired or revoked"
        "Log in again."
    TokenInvalid "token_invalid" 401 "The queue token is not genuine or not yours"
        "Join without the token: a fan who has a live place gets that place, with a fresh token."
    StreamPassInvalid "stream_pass_invalid" 401 "The pass is not genuine, was used, or is out"
        "Get a new pass with `POST .../queue/tokens/me/stream-passes`: each is good for one stream, within 30 seconds."
    InsufficientBalance "insufficient_balance" 402 "The wallet holds too little"
        "Put at least `missing_minor` into the wallet and pay again before the reservation ends. The seats stay held until then."
    Forbidden "forbidden" 403 "Only operators may do this"
        "Use an operator's account. Operators are made on the server's command line."
    QueueTokenRequired "queue_token_required" 403 "An active queue token of yours for this concert is needed"
        "Join the line of the concert and send its token in `Queue-Token` once the place is active."
    QueueTokenWaiting "queue_token_waiting" 403 "It is not your turn yet"
        "Wait as `GET .../queue/tokens/me` says. After a lapsed turn it means that the turn came back: the place stands at the head again."
    QueueTokenExpired "queue_token_expired" 403 "Your turn is over; join the line again"
        "Join with the token; the new place is at the back. Seats that are held can be paid all the same."
    QueueTokenMoved "queue_token_moved" 403 "Another device of yours took the place over"
        "The newest device has the place. Joining takes it back, if the fan wants that."
    NoFreeTopUp "no_free_top_up" 403 "Wallets are not filled for nothing here"
        "Wallets are filled in another way here. `money.free_top_up` is for demonstrations."
    NotFound "not_found" 404 "There is nothing here"
        "Check the path and the id. What belongs to somebody else reads the same, and so does a concert that is still a draft."
    NotInLine "not_in_line" 404 "You have no place in this line"
        "Join the line."
    MethodNotAllowed "method_not_allowed" 405 "This method is not served here"
        "Use one of the methods in `Allow`."
    BodyTooSlow "body_too_slow" 408 "The body came too slowly"
        "Send the body again, faster: the head start and the least rate stand in the limits of the API."
    EmailTaken "email_taken" 409 "There is an account with this e-mail address"
        "Log in instead, or use another e-mail address."
    SaleNotOpen "sale_not_open" 409 "The sale is not open yet"
        "Read the concert's `sale_state` and come back when the sale or its pre-queue is open."
    QueueClosed "queue_closed" 409 "The line takes nobody any more"
        "Nobody joins any more. Who has a place keeps it."
    SoldOut "sold_out" 409 "Nothing is left and nothing can come back"
        "Ask now and then: seats that are released open the line again."
    SaleClosed "sale_closed" 409 "The sale is over"
        "Nothing is sold any more. A reservation that is held can still be paid in time."
    SeatTaken "seat_taken" 409 "At least one of the seats is taken"
        "Choose again from `seats`, which has the versions of now. While another fan is taking seats, for some milliseconds, the one that was lost reads `held`, still at its old version; others that the same fan is taking may still read `available`."
    VersionConflict "version_conflict" 409 "At least one of the seats has changed since you saw it"
        "Choose again from `seats`, which has the versions of now."
    ReservationExists "reservation_exists" 409 "You hold a reservation at this show already"
        "`detail` names the reservation. Pay or release it first."
    ReservationPaid "reservation_paid" 409 "The reservation is paid and cannot be released"
        "Nothing is to be done: the seats are bought, and the tickets stand under `GET /me/tickets`."
    AlreadyPaid "already_paid" 409 "The reservation is paid already"
        "Nothing is to be done: read the tickets with `GET /me/tickets`."
    HasSales "has_sales" 409 "Seats of the show are held or sold"
        "Leave the start as it is. The other settings of the show may change."
    InvalidTransition "invalid_transition" 409 "The sale cannot go from its stage to this one"
        "`detail` names both stages. Which stage may become which stands in the API's table of stages."
    NothingToSell "nothing_to_sell" 409 "No show to come has a seat to sell"
        "Add seats to a show to come first."
    PlaceTaken "place_taken" 409 "One of the places exists already"
        "`detail` names the places that exist. Send the others again; nothing was added."
    IdempotencyInFlight "idempotency_in_flight" 409 "The first request with this Idempotency-Key is still running"
        "Wait for `Retry-After` and repeat the request under the same key: it answers what the first one did."
    ReservationExpired "reservation_expired" 410 "The reservation is no longer held"
        "Its time is over, or it was released. Reserve again while the turn lasts."
    VersionMismatch "version_mismatch" 412 "It has been edited since the version in If-Match"
        "`version` is the one of now. Read the thing again, look at what has changed, and send the edit with the new version."
    BodyTooLarge "body_too_large" 413 "The body is too large"
        "Send less, or in parts. `detail` says how much is read."
    UnsupportedMediaType "unsupported_media_type" 415 "The body must be application/json"
        "Send JSON with `Content-Type: application/json`."
    ValidationFailed "validation_failed" 422 "Some values are not right"
        "Read `errors`: each points to a value and says what would be right. Nothing was done."
    ConfirmationRequired "confirmation_required" 422 "This cannot be taken back; confirm it in the body"
        "Read what `detail` says would happen. If it is meant, send the id as `confirm`."
    TooManySeats "too_many_seats" 422 "One fan may not have so many seats at one show"
        "Choose fewer: seats that the fan holds or has bought at the show count too."
    SeatUnknown "seat_unknown" 422 "Some of the seats are not of this show"
        "`errors` names the seats. Read the seats of the show again."
    AmountOutOfRange "amount_out_of_range" 422 "The amount is out of range"
        "Send an amount within the limits of a charge and of a wallet."
    IdempotencyKeyReused "idempotency_key_reused" 422 "The Idempotency-Key was used for another request"
        "Use a new key for a new request. The old key belongs to another one for a day."
    IfMatchRequired "if_match_required" 428 "This edit needs If-Match with the version that you saw"
        "Read the thing first and send its `ETag` in `If-Match`."
    TooManyRequests "too_many_requests" 429 "Too many requests; come back later"
        "Wait for `Retry-After`. In line, ask again after `poll_after_ms`."
    Internal "internal" 500 "Something went wrong here"
        "Repeat it later. When it stays, tell the operators the `request_id`."
    Unavailable "unavailable" 503 "A store is away; nothing was done, try again"
        "Wait for `Retry-After`, then repeat. The answer may have been lost and not the work, so repeat writes under the same `Idempotency-Key`. Joining needs none: joining again finds the place. While the line's store is away, a fan who waits and asks with the token hears `recovering`; a fan who asks for a turn or a lapse hears this."
    Busy "busy" 503 "Too much at once; try again"
        "Wait for `Retry-After`, then repeat. Nothing was done."
    QueueFull "queue_full" 503 "As many wait in this line as may"
        "Wait for `Retry-After`, then join again."
    LineRecovering "line_recovering" 503 "The line recovers from the loss of its store; places are kept"
        "Repeat after `Retry-After`, with the token that was last received. The line's store was lost in that very moment, or the ballot of a fan who leaves is just being drawn. No place is lost."
    TooManyStreams "too_many_streams" 503 "This server follows as many places as it may; poll instead"
        "Ask `GET .../queue/tokens/me` after `poll_after_ms` instead."
    NotReady "not_ready" 503 "The server is not ready"
        "Wait: the server starts, stops, or one of its stores is away. A load balancer sends requests elsewhere meanwhile."
}
