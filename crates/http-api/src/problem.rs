//! Problems: what goes wrong, as RFC 9457 `application/problem+json` with a stable code each.

use std::fmt;

use actix_web::{
    HttpResponse, ResponseError,
    http::{StatusCode, header},
};
use onsale_application::{
    accounts::{AccountError, HashError},
    catalogue::CatalogueError,
    error::{Cause, StoreError},
    idempotency::KeyRefusal,
    line::{GateRefusal, LineError},
    seat_maps::{SeatMapError, SeatView},
    selling::{ReservationError, ReserveError},
    tickets::TicketError,
    wallets::WalletError,
};
use onsale_domain::{
    fault::{Fault, Faults},
    seat::ChoiceError,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::endpoints::seats::SeatNowDto;

macro_rules! catalogue {
    ($($name:ident $code:literal $status:literal $title:literal)*) => {
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
        }
    };
}

catalogue! {
    MalformedRequest "malformed_request" 400 "The request cannot be read"
    IdempotencyKeyInvalid "idempotency_key_invalid" 400 "The Idempotency-Key must have 1 to 128 visible ASCII characters"
    IdempotencyKeyRequired "idempotency_key_required" 400 "This request needs an Idempotency-Key"
    Unauthenticated "unauthenticated" 401 "A valid access token is needed"
    BadCredentials "bad_credentials" 401 "The e-mail address or the password is wrong"
    RefreshReused "refresh_reused" 401 "The refresh token was used before; its session is revoked"
    RefreshInvalid "refresh_invalid" 401 "The refresh token is unknown, expired or revoked"
    TokenInvalid "token_invalid" 401 "The queue token is not genuine or not yours"
    InsufficientBalance "insufficient_balance" 402 "The wallet holds too little"
    Forbidden "forbidden" 403 "Only operators may do this"
    QueueTokenRequired "queue_token_required" 403 "An active queue token of yours for this concert is needed"
    QueueTokenWaiting "queue_token_waiting" 403 "It is not your turn yet"
    QueueTokenExpired "queue_token_expired" 403 "Your turn is over; join the line again"
    QueueTokenMoved "queue_token_moved" 403 "Another device of yours took the place over"
    NoFreeTopUp "no_free_top_up" 403 "Wallets are not filled for nothing here"
    NotFound "not_found" 404 "There is nothing here"
    NotInLine "not_in_line" 404 "You have no place in this line"
    MethodNotAllowed "method_not_allowed" 405 "This method is not served here"
    BodyTooSlow "body_too_slow" 408 "The body came too slowly"
    EmailTaken "email_taken" 409 "There is an account with this e-mail address"
    SaleNotOpen "sale_not_open" 409 "The sale is not open yet"
    QueueClosed "queue_closed" 409 "The line takes nobody any more"
    SoldOut "sold_out" 409 "Nothing is left and nothing can come back"
    SaleClosed "sale_closed" 409 "The sale is over"
    SeatTaken "seat_taken" 409 "At least one of the seats is taken"
    VersionConflict "version_conflict" 409 "At least one of the seats has changed since you saw it"
    ReservationExists "reservation_exists" 409 "You hold a reservation at this show already"
    ReservationPaid "reservation_paid" 409 "The reservation is paid and cannot be released"
    AlreadyPaid "already_paid" 409 "The reservation is paid already"
    HasSales "has_sales" 409 "Seats of the show are held or sold"
    InvalidTransition "invalid_transition" 409 "The sale cannot go from its stage to this one"
    NothingToSell "nothing_to_sell" 409 "No show to come has a seat to sell"
    PlaceTaken "place_taken" 409 "One of the places exists already"
    IdempotencyInFlight "idempotency_in_flight" 409 "The first request with this Idempotency-Key is still running"
    ReservationExpired "reservation_expired" 410 "The reservation is no longer held"
    VersionMismatch "version_mismatch" 412 "It has been edited since the version in If-Match"
    BodyTooLarge "body_too_large" 413 "The body is too large"
    UnsupportedMediaType "unsupported_media_type" 415 "The body must be application/json"
    ValidationFailed "validation_failed" 422 "Some values are not right"
    ConfirmationRequired "confirmation_required" 422 "This cannot be taken back; confirm it in the body"
    TooManySeats "too_many_seats" 422 "One fan may not have so many seats at one show"
    SeatUnknown "seat_unknown" 422 "Some of the seats are not of this show"
    AmountOutOfRange "amount_out_of_range" 422 "The amount is out of range"
    IdempotencyKeyReused "idempotency_key_reused" 422 "The Idempotency-Key was used for another request"
    IfMatchRequired "if_match_required" 428 "This edit needs If-Match with the version that you saw"
    TooManyRequests "too_many_requests" 429 "Too many requests; come back later"
    Internal "internal" 500 "Something went wrong here"
    Unavailable "unavailable" 503 "A store is away; nothing was done, try again"
    Busy "busy" 503 "Too much at once; try again"
    QueueFull "queue_full" 503 "As many wait in this line as may"
    LineRecovering "line_recovering" 503 "The line recovers from the loss of its store; places are kept"
    TooManyStreams "too_many_streams" 503 "This server follows as many places as it may; poll instead"
    NotReady "not_ready" 503 "The server is not ready"
}

/// A problem as it is sent.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemDto {
    /// Names the kind of problem: `/problems/` and the code.
    #[schema(example = "/problems/seat_taken")]
    pub r#type: String,
    /// What this kind of problem is.
    #[schema(example = "At least one of the seats is taken")]
    pub title: String,
    /// The HTTP status.
    #[schema(example = 409)]
    pub status: u16,
    /// Stable code for programs.
    #[schema(example = "seat_taken")]
    pub code: String,
    /// What happened this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// To be quoted when asking for help; also in the `X-Request-Id` header.
    #[schema(example = "01997b1e-7f1c-7a63-9d0c-0d6f0f4e6a55")]
    pub request_id: String,
    /// Every value that is not right.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub errors: Vec<FaultDto>,
    /// The seats that were asked for, as they are now (`seat_taken`, `version_conflict`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub seats: Vec<SeatNowDto>,
}

/// One value that is not right.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Fault)]
pub struct FaultDto {
    /// Where it stands, with `/` between levels.
    #[schema(example = "seats/0/version")]
    pub field: String,
    /// What is wrong and what would be right.
    #[schema(example = "must be 1 or more, as read from the seat list")]
    pub message: String,
}

/// A refusal or a failure on its way out. The middleware gives it the request's id and the log line.
#[derive(Debug)]
pub struct ApiError {
    /// Which.
    pub code: Code,
    /// What happened this time.
    pub detail: Option<String>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) seats: Vec<SeatView>,
    /// Seconds after which trying again makes sense.
    pub retry_after_secs: Option<u32>,
    /// Methods that are served, for 405.
    pub allow: Option<String>,
    /// For the log, never for the answer.
    pub cause: Option<Cause>,
}

impl ApiError {
    /// A problem without particulars.
    pub fn new(code: Code) -> Self {
        let retry_after_secs = match code {
            Code::Unavailable | Code::Busy | Code::NotReady | Code::IdempotencyInFlight => Some(1),
            Code::QueueFull | Code::TooManyStreams => Some(30),
            Code::LineRecovering => Some(2),
            _ => None,
        };
        Self { code, detail: None, faults: vec![], seats: vec![], retry_after_secs, allow: None, cause: None }
    }

    /// With what happened this time.
    pub fn detail(code: Code, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..Self::new(code) }
    }

    /// With every value that is not right.
    pub fn faults(code: Code, faults: &Faults) -> Self {
        Self { faults: faults.iter().cloned().collect(), ..Self::new(code) }
    }

    fn seats(code: Code, seats: Vec<SeatView>) -> Self {
        Self { seats, ..Self::new(code) }
    }

    fn caused(code: Code, cause: Cause) -> Self {
        Self { cause: Some(cause), ..Self::new(code) }
    }

    /// The answer for the request with this id.
    pub fn response(&self, request_id: &str) -> HttpResponse {
        let status = self.status_code();
        let mut builder = HttpResponse::build(status);
        if let Some(secs) = self.retry_after_secs {
            builder.insert_header((header::RETRY_AFTER, secs.to_string()));
        }
        if let Some(allow) = &self.allow {
            builder.insert_header((header::ALLOW, allow.as_str()));
        }
        if status == StatusCode::UNAUTHORIZED {
            builder.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
        }
        let problem = ProblemDto {
            r#type: format!("/problems/{}", self.code.as_str()),
            title: self.code.title().to_owned(),
            status: self.code.status(),
            code: self.code.as_str().to_owned(),
            detail: self.detail.clone(),
            request_id: request_id.to_owned(),
            errors: self
                .faults
                .iter()
                .map(|fault| FaultDto { field: fault.field.clone(), message: fault.message.clone() })
                .collect(),
            seats: self.seats.iter().map(SeatNowDto::from).collect(),
        };
        builder
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .content_type("application/problem+json")
            .body(serde_json::to_string(&problem).unwrap_or_default())
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code.as_str())
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        self.response("unknown")
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(cause) => Self::caused(Code::Unavailable, cause),
            StoreError::Conflict(cause) => Self::caused(Code::Busy, cause),
            StoreError::Broken(cause) => Self::caused(Code::Internal, cause),
        }
    }
}

impl From<KeyRefusal> for ApiError {
    fn from(refusal: KeyRefusal) -> Self {
        Self::new(match refusal {
            KeyRefusal::OtherRequest => Code::IdempotencyKeyReused,
            KeyRefusal::InFlight => Code::IdempotencyInFlight,
        })
    }
}

impl From<GateRefusal> for ApiError {
    fn from(refusal: GateRefusal) -> Self {
        match refusal {
            GateRefusal::Required => Self::new(Code::QueueTokenRequired),
            GateRefusal::Waiting => Self::new(Code::QueueTokenWaiting),
            GateRefusal::Expired => Self::new(Code::QueueTokenExpired),
            GateRefusal::Moved => Self::new(Code::QueueTokenMoved),
            GateRefusal::Store(error) => error.into(),
        }
    }
}

impl From<Faults> for ApiError {
    fn from(faults: Faults) -> Self {
        Self::faults(Code::ValidationFailed, &faults)
    }
}

impl From<AccountError> for ApiError {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::Invalid(faults) => faults.into(),
            AccountError::EmailTaken => Self::new(Code::EmailTaken),
            AccountError::BadCredentials => Self::new(Code::BadCredentials),
            AccountError::RefreshReused => Self::new(Code::RefreshReused),
            AccountError::RefreshInvalid => Self::new(Code::RefreshInvalid),
            AccountError::Gone => Self::new(Code::Unauthenticated),
            AccountError::Hash(HashError::Busy) => Self::new(Code::Busy),
            AccountError::Hash(HashError::Failed(cause)) => Self::caused(Code::Internal, cause),
            AccountError::Store(error) => error.into(),
        }
    }
}

impl From<CatalogueError> for ApiError {
    fn from(error: CatalogueError) -> Self {
        match error {
            CatalogueError::Invalid(faults) => faults.into(),
            CatalogueError::NotFound => Self::new(Code::NotFound),
            CatalogueError::VersionMismatch => Self::new(Code::VersionMismatch),
            CatalogueError::InvalidTransition(..) => Self::detail(Code::InvalidTransition, error.to_string()),
            CatalogueError::HasSales => Self::new(Code::HasSales),
            CatalogueError::NothingToSell => Self::detail(Code::NothingToSell, error.to_string()),
            CatalogueError::PlaceTaken => Self::new(Code::PlaceTaken),
            CatalogueError::Store(error) => error.into(),
        }
    }
}

impl From<LineError> for ApiError {
    fn from(error: LineError) -> Self {
        match error {
            LineError::NoConcert => Self::new(Code::NotFound),
            LineError::NotOpen => Self::new(Code::SaleNotOpen),
            LineError::Closed => Self::new(Code::QueueClosed),
            LineError::Full => Self::new(Code::QueueFull),
            LineError::NotInLine => Self::new(Code::NotInLine),
            LineError::TokenInvalid => Self::new(Code::TokenInvalid),
            LineError::TokenMoved => Self::new(Code::QueueTokenMoved),
            LineError::SoldOut => Self::new(Code::SoldOut),
            LineError::TooEarly(ms) => Self {
                retry_after_secs: u32::try_from((ms + 999) / 1_000).ok(),
                ..Self::detail(Code::TooManyRequests, "come back after poll_after_ms, not so much earlier")
            },
            LineError::Recovering => Self::new(Code::LineRecovering),
            LineError::Invalid(faults) => faults.into(),
            LineError::Store(error) => error.into(),
        }
    }
}

impl From<SeatMapError> for ApiError {
    fn from(error: SeatMapError) -> Self {
        match error {
            SeatMapError::NotFound => Self::new(Code::NotFound),
            SeatMapError::Gate(refusal) => refusal.into(),
            SeatMapError::Store(error) => error.into(),
        }
    }
}

impl From<ReserveError> for ApiError {
    fn from(error: ReserveError) -> Self {
        let text = error.to_string();
        match error {
            ReserveError::NoShow => Self::new(Code::NotFound),
            ReserveError::Choice(ChoiceError::TooMany { .. }) | ReserveError::LimitReached { .. } => {
                Self::detail(Code::TooManySeats, text)
            }
            ReserveError::Choice(ChoiceError::Invalid(faults)) => faults.into(),
            ReserveError::UnknownSeats(ids) => {
                let mut faults = Faults::new();
                for id in ids {
                    faults.add("seats", format!("{id} is no seat of this show"));
                }
                Self::faults(Code::SeatUnknown, &faults)
            }
            ReserveError::SeatTaken(seats) => Self::seats(Code::SeatTaken, seats),
            ReserveError::VersionConflict(seats) => Self::seats(Code::VersionConflict, seats),
            ReserveError::ReservationExists(id) => {
                Self::detail(Code::ReservationExists, format!("pay or release reservation {id} first"))
            }
            ReserveError::NotOpen => Self::new(Code::SaleNotOpen),
            ReserveError::Closed => Self::new(Code::SaleClosed),
            ReserveError::Gate(refusal) => refusal.into(),
            ReserveError::Key(refusal) => refusal.into(),
            ReserveError::Store(error) => error.into(),
        }
    }
}

impl From<ReservationError> for ApiError {
    fn from(error: ReservationError) -> Self {
        match error {
            ReservationError::NotFound => Self::new(Code::NotFound),
            ReservationError::AlreadyPaid => Self::new(Code::AlreadyPaid),
            ReservationError::NoLongerHeld => Self::new(Code::ReservationExpired),
            ReservationError::InsufficientBalance => Self::new(Code::InsufficientBalance),
            ReservationError::Key(refusal) => refusal.into(),
            ReservationError::Store(error) => error.into(),
        }
    }
}

impl From<WalletError> for ApiError {
    fn from(error: WalletError) -> Self {
        match error {
            WalletError::Invalid(faults) => Self::faults(Code::AmountOutOfRange, &faults),
            WalletError::NoFreeTopUp => Self::new(Code::NoFreeTopUp),
            WalletError::Full => Self::detail(Code::AmountOutOfRange, error.to_string()),
            WalletError::Gone => Self::new(Code::Unauthenticated),
            WalletError::Key(refusal) => refusal.into(),
            WalletError::Store(error) => error.into(),
        }
    }
}

impl From<TicketError> for ApiError {
    fn from(error: TicketError) -> Self {
        match error {
            TicketError::NotFound => Self::new(Code::NotFound),
            TicketError::Store(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_are_unique_and_their_status_is_final_and_honest() {
        let codes: HashSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(codes.len(), Code::ALL.len());
        for code in Code::ALL {
            assert!((400..=599).contains(&code.status()), "{}", code.as_str());
        }
    }
}
