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
    selling::{Missing, ReservationError, ReserveError},
    steering::{Closing, Crowd, SteeringError},
    tickets::TicketError,
    wallets::WalletError,
};
use onsale_domain::{
    fault::{Fault, Faults},
    seat::ChoiceError,
};
use serde::Serialize;
use utoipa::ToSchema;

pub use crate::code::Code;
use crate::seat::SeatNowDto;

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
    /// Everything that is not right with what was sent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub errors: Vec<FaultDto>,
    /// What the wallet lacks, in minor units (`insufficient_balance`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 150_000)]
    pub missing_minor: Option<i64>,
    /// ISO 4217 code of `missing_minor`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "KRW")]
    pub currency: Option<String>,
    /// The version of now (`version_mismatch`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 7)]
    pub version: Option<i32>,
    /// The seats that were asked for, as they are now (`seat_taken`, `version_conflict`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub seats: Vec<SeatNowDto>,
}

/// One thing that is not right.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Fault)]
pub struct FaultDto {
    /// Where it stands in the body: a JSON Pointer (RFC 6901), empty for the body itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "/seats/0/version")]
    pub pointer: Option<String>,
    /// Or which parameter of the query it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "limit")]
    pub parameter: Option<String>,
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
    /// Whether the faults are of the query, and not of the body.
    pub(crate) in_query: bool,
    pub(crate) missing: Option<Missing>,
    pub(crate) version: Option<i32>,
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
        Self {
            code,
            detail: None,
            faults: vec![],
            in_query: false,
            missing: None,
            version: None,
            seats: vec![],
            retry_after_secs,
            allow: None,
            cause: None,
        }
    }

    /// With what happened this time.
    pub fn detail(code: Code, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..Self::new(code) }
    }

    /// With every value that is not right.
    pub fn faults(code: Code, faults: &Faults) -> Self {
        Self { faults: faults.iter().cloned().collect(), ..Self::new(code) }
    }

    /// With every parameter of the query that is not right.
    pub fn parameters(faults: &Faults) -> Self {
        Self { in_query: true, ..Self::faults(Code::ValidationFailed, faults) }
    }

    fn seats(code: Code, seats: Vec<SeatView>) -> Self {
        Self { seats, ..Self::new(code) }
    }

    fn caused(code: Code, cause: Cause) -> Self {
        Self { cause: Some(cause), ..Self::new(code) }
    }

    fn fault(&self, fault: &Fault) -> FaultDto {
        let pointer = || if fault.field.is_empty() { String::new() } else { format!("/{}", fault.field) };
        FaultDto {
            pointer: (!self.in_query).then(pointer),
            parameter: self.in_query.then(|| fault.field.clone()),
            message: fault.message.clone(),
        }
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
            errors: self.faults.iter().map(|fault| self.fault(fault)).collect(),
            missing_minor: self.missing.as_ref().map(|missing| missing.amount_minor),
            currency: self.missing.as_ref().map(|missing| missing.currency.clone()),
            version: self.version,
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
            CatalogueError::VersionMismatch(now) => Self {
                version: Some(now),
                ..Self::detail(Code::VersionMismatch, format!("it is at version {now} now"))
            },
            CatalogueError::InvalidTransition(..) => Self::detail(Code::InvalidTransition, error.to_string()),
            CatalogueError::HasSales => Self::new(Code::HasSales),
            CatalogueError::NothingToSell => Self::detail(Code::NothingToSell, error.to_string()),
            CatalogueError::PlaceTaken(_) => Self::detail(Code::PlaceTaken, error.to_string()),
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
            LineError::PassInvalid => Self::new(Code::StreamPassInvalid),
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

impl From<SteeringError> for ApiError {
    fn from(error: SteeringError) -> Self {
        match error {
            SteeringError::Unconfirmed(closing) => Self::detail(Code::ConfirmationRequired, words_of(&closing)),
            SteeringError::Catalogue(error) => error.into(),
            SteeringError::Line(error) => error.into(),
        }
    }
}

/// What closing would do, and how it is confirmed.
fn words_of(Closing { concert, title, crowd }: &Closing) -> String {
    let crowd = match crowd {
        Some(Crowd { waiting, active }) => {
            format!("{waiting} who wait are never called, {active} who are active can only pay what they hold")
        }
        None => "nobody who waits is ever called; how many do cannot be told at the moment".to_owned(),
    };
    format!(
        "closing is the end of the sale of \"{title}\" and cannot be taken back: {crowd}. Pause stops for a while, drain lets \
         those in line finish. To close, send {{\"confirm\": \"{concert}\"}}"
    )
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
                    faults.add("seats", format!("{id} is not a seat of this show"));
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
            ReservationError::InsufficientBalance(missing) => {
                let detail = format!("{} {} are missing", missing.amount_minor, missing.currency);
                Self { missing: Some(missing), ..Self::detail(Code::InsufficientBalance, detail) }
            }
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
