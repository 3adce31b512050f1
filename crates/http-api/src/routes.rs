//! The one table of everything that is served.

use std::sync::LazyLock;

use crate::code::Code::{
    self, AlreadyPaid, AmountOutOfRange, BadCredentials, BodyTooLarge, BodyTooSlow, Busy, ConfirmationRequired,
    EmailTaken, Forbidden, HasSales, IdempotencyInFlight, IdempotencyKeyInvalid, IdempotencyKeyRequired,
    IdempotencyKeyReused, IfMatchRequired, InsufficientBalance, Internal, InvalidTransition, LineRecovering,
    MalformedRequest, NoFreeTopUp, NotFound, NotInLine, NotReady, NothingToSell, PlaceTaken, QueueClosed, QueueFull,
    QueueTokenExpired, QueueTokenMoved, QueueTokenRequired, QueueTokenWaiting, RefreshInvalid, RefreshReused,
    ReservationExists, ReservationExpired, ReservationPaid, SaleClosed, SaleNotOpen, SeatTaken, SeatUnknown, SoldOut,
    StreamPassInvalid, TokenInvalid, TooManyRequests, TooManySeats, TooManyStreams, Unauthenticated, Unavailable,
    UnsupportedMediaType, ValidationFailed, VersionConflict, VersionMismatch,
};

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Public,
    /// Signed-in users.
    SignedIn,
    /// Signed-in users, or whoever shows a pass for one stream.
    Follower,
    /// Signed-in users with an active queue token of the concert.
    BehindTheLine,
    /// Operators.
    Operator,
}

/// What kind of body a route reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// None.
    None,
    /// JSON.
    Json,
}

/// What headers a route understands besides those of its access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Headers {
    /// None.
    None,
    /// `If-None-Match`; answers 304.
    Cacheable,
    /// `If-Match`, required.
    IfMatch,
    /// `Idempotency-Key`.
    Idempotent,
    /// `Idempotency-Key`, required.
    IdempotentRequired,
    /// `Queue-Token`, checked when it is there.
    QueueToken,
    /// `Queue-Token`, required.
    QueueTokenRequired,
}

/// One route.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// Which group of [`GROUPS`] it stands in.
    pub group: &'static str,
    /// HTTP method.
    pub method: &'static str,
    /// Path with `{id}` for ids.
    pub path: &'static str,
    /// Who may call it.
    pub access: Access,
    /// What it reads.
    pub body: Body,
    /// What headers it understands.
    pub headers: Headers,
    /// Problems of its own, besides those that follow from the other columns.
    pub own: &'static [Code],
}

macro_rules! routes {
    ($($group:literal $words:literal {
        $($method:ident $path:literal $access:ident $body:ident $headers:ident [$($code:ident),*])*
    })*) => {
        /// Names and texts of the groups, in the order of work: fans first, then operators.
        pub const GROUPS: &[(&str, &str)] = &[$(($group, $words)),*];

        /// Every route of the API.
        pub const ROUTES: &[Route] = &[$($(Route {
            group: $group,
            method: stringify!($method),
            path: $path,
            access: Access::$access,
            body: Body::$body,
            headers: Headers::$headers,
            own: &[$($code),*],
        }),*),*];
    };
}

routes! {
    "Account" "Who you are. Log in, then press Authorize and paste the access token." {
        POST   "/api/v1/auth/signup"                                     Public        Json None               [EmailTaken, ValidationFailed, Busy]
        POST   "/api/v1/auth/login"                                      Public        Json None               [BadCredentials, TooManyRequests, Busy]
        POST   "/api/v1/auth/refresh"                                    Public        Json None               [RefreshReused, RefreshInvalid]
        POST   "/api/v1/auth/logout"                                     SignedIn      Json None               []
        GET    "/api/v1/me"                                              SignedIn      None None               []
    }
    "Concerts" "What is on, for everybody." {
        GET    "/api/v1/concerts"                                        Public        None Cacheable          [MalformedRequest, ValidationFailed]
        GET    "/api/v1/concerts/{id}"                                   Public        None Cacheable          [NotFound]
        GET    "/api/v1/concerts/{id}/shows"                             Public        None Cacheable          [MalformedRequest, ValidationFailed, NotFound]
        GET    "/api/v1/shows/{id}/availability"                         Public        None Cacheable          [NotFound]
    }
    "Line" "A place in line, and what anybody may check of it." {
        GET    "/api/v1/concerts/{id}/queue"                             Public        None Cacheable          [NotFound, LineRecovering]
        POST   "/api/v1/concerts/{id}/queue/tokens"                      SignedIn      None QueueToken         [NotFound, SaleNotOpen, QueueClosed, QueueFull, SoldOut, TokenInvalid, LineRecovering]
        GET    "/api/v1/concerts/{id}/queue/tokens/me"                   SignedIn      None QueueToken         [NotFound, NotInLine, TokenInvalid, QueueTokenMoved, SaleNotOpen, LineRecovering]
        POST   "/api/v1/concerts/{id}/queue/tokens/me/stream-passes"     SignedIn      None QueueTokenRequired [NotFound, TokenInvalid, QueueTokenRequired]
        GET    "/api/v1/concerts/{id}/queue/tokens/me/events"            Follower      None QueueTokenRequired [NotFound, NotInLine, TokenInvalid, QueueTokenMoved, QueueTokenRequired, SaleNotOpen, LineRecovering, TooManyStreams, StreamPassInvalid, MalformedRequest]
        GET    "/api/v1/concerts/{id}/queue/tokens/me/receipt"           SignedIn      None None               [NotFound, NotInLine]
        DELETE "/api/v1/concerts/{id}/queue/tokens/me"                   SignedIn      None QueueToken         [NotFound, NotInLine, TokenInvalid, QueueTokenMoved, SaleNotOpen, LineRecovering]
        GET    "/api/v1/me/places"                                       SignedIn      None None               [MalformedRequest, ValidationFailed]
        GET    "/api/v1/concerts/{id}/queue/log"                         Public        None None               [MalformedRequest, NotFound, ValidationFailed, Busy]
        GET    "/api/v1/concerts/{id}/queue/draw"                        Public        None None               [MalformedRequest, NotFound, ValidationFailed, Busy]
    }
    "Seats" "Once it is your turn: see seats and reserve them." {
        GET    "/api/v1/shows/{id}/seats"                                BehindTheLine None Cacheable          [MalformedRequest, NotFound, ValidationFailed]
        POST   "/api/v1/shows/{id}/reservations"                         BehindTheLine Json Idempotent         [NotFound, SeatTaken, VersionConflict, ReservationExists, SaleNotOpen, SaleClosed, ValidationFailed, TooManySeats, SeatUnknown, Busy]
        GET    "/api/v1/reservations"                                    SignedIn      None None               [MalformedRequest, ValidationFailed]
        GET    "/api/v1/reservations/{id}"                               SignedIn      None None               [NotFound]
        DELETE "/api/v1/reservations/{id}"                               SignedIn      None None               [NotFound, ReservationPaid, Busy]
    }
    "Payment" "A wallet, and paying what is reserved." {
        GET    "/api/v1/me/wallet"                                       SignedIn      None None               []
        POST   "/api/v1/me/wallet/charges"                               SignedIn      Json IdempotentRequired [NoFreeTopUp, AmountOutOfRange, Busy]
        GET    "/api/v1/me/wallet/entries"                               SignedIn      None None               [MalformedRequest, ValidationFailed]
        POST   "/api/v1/reservations/{id}/payment"                       SignedIn      None Idempotent         [NotFound, InsufficientBalance, AlreadyPaid, ReservationExpired, Busy]
    }
    "Tickets" "What a fan shows at the gate." {
        GET    "/api/v1/me/tickets"                                      SignedIn      None None               [MalformedRequest, ValidationFailed]
        GET    "/api/v1/tickets/{id}"                                    SignedIn      None None               [NotFound]
        GET    "/api/v1/tickets/{id}/qr"                                 SignedIn      None None               [MalformedRequest, NotFound]
        GET    "/api/v1/tickets/{id}/page"                               SignedIn      None None               [NotFound]
        GET    "/.well-known/jwks.json"                                  Public        None Cacheable          []
    }
    "Operator: catalogue" "Concerts, shows and seats." {
        POST   "/api/v1/admin/concerts"                                  Operator      Json None               [ValidationFailed]
        GET    "/api/v1/admin/concerts/{id}"                             Operator      None None               [NotFound]
        PATCH  "/api/v1/admin/concerts/{id}"                             Operator      Json IfMatch            [NotFound, ValidationFailed, InvalidTransition, NothingToSell]
        POST   "/api/v1/admin/concerts/{id}/shows"                       Operator      Json None               [NotFound, ValidationFailed]
        GET    "/api/v1/admin/shows/{id}"                                Operator      None None               [NotFound]
        PATCH  "/api/v1/admin/shows/{id}"                                Operator      Json IfMatch            [NotFound, ValidationFailed, HasSales]
        POST   "/api/v1/admin/shows/{id}/seats"                          Operator      Json None               [NotFound, ValidationFailed, PlaceTaken]
    }
    "Operator: sale" "The stage of a sale, while it runs." {
        POST   "/api/v1/admin/concerts/{id}/queue/pause"                 Operator      None None               [NotFound, InvalidTransition, NothingToSell]
        POST   "/api/v1/admin/concerts/{id}/queue/resume"                Operator      None None               [NotFound, InvalidTransition, NothingToSell]
        POST   "/api/v1/admin/concerts/{id}/queue/drain"                 Operator      None None               [NotFound, InvalidTransition]
        POST   "/api/v1/admin/concerts/{id}/queue/close"                 Operator      Json IfMatch            [NotFound, InvalidTransition, ConfirmationRequired]
        PUT    "/api/v1/admin/concerts/{id}/queue/message"               Operator      Json None               [NotFound, ValidationFailed]
    }
    "Operator: line" "Settings and numbers of a line." {
        GET    "/api/v1/admin/concerts/{id}/queue/stats"                 Operator      None None               [NotFound, LineRecovering]
        GET    "/api/v1/admin/concerts/{id}/queue/policy"                Operator      None None               [NotFound]
        PUT    "/api/v1/admin/concerts/{id}/queue/policy"                Operator      Json IfMatch            [NotFound, ValidationFailed]
        POST   "/api/v1/admin/concerts/{id}/queue/forecast"              Operator      Json None               [NotFound, ValidationFailed, LineRecovering]
        POST   "/api/v1/admin/concerts/{id}/queue/admissions"            Operator      Json None               [NotFound, ValidationFailed, SaleNotOpen, QueueClosed, LineRecovering]
    }
    "Operator: reports" "What has happened, and whether it adds up." {
        GET    "/api/v1/admin/concerts/{id}/queue/report"                Operator      None None               [NotFound]
        GET    "/api/v1/admin/concerts/{id}/audit"                       Operator      None None               [MalformedRequest, NotFound, ValidationFailed]
        GET    "/api/v1/admin/shows/{id}/report"                         Operator      None None               [NotFound]
        GET    "/api/v1/admin/ledger/reconciliation"                     Operator      None None               []
        GET    "/api/v1/admin/outbox"                                    Operator      None None               []
    }
    "System" "Health, metrics, and this document." {
        GET    "/livez"                                                  Public        None None               []
        GET    "/readyz"                                                 Public        None None               [NotReady]
        GET    "/metrics"                                                Public        None None               []
        GET    "/openapi.json"                                           Public        None Cacheable          []
        GET    "/problems/{code}"                                        Public        None None               [NotFound]
    }
}

impl Route {
    /// Whether the route reads a store, so that it can answer 503.
    fn uses_a_store(&self) -> bool {
        self.path.starts_with("/api/")
    }

    /// Every problem that the route can answer.
    pub fn problems(&self) -> Vec<Code> {
        let mut codes = self.own.to_vec();
        if self.access != Access::Public {
            codes.extend([Unauthenticated, TooManyRequests]);
        }
        if self.access == Access::Operator {
            codes.push(Forbidden);
        }
        if self.access == Access::BehindTheLine {
            codes.extend([QueueTokenRequired, QueueTokenWaiting, QueueTokenExpired, QueueTokenMoved]);
        }
        if self.body == Body::Json {
            codes.extend([MalformedRequest, BodyTooSlow, BodyTooLarge, UnsupportedMediaType]);
        }
        match self.headers {
            Headers::IfMatch => codes.extend([VersionMismatch, IfMatchRequired]),
            Headers::Idempotent => codes.extend([IdempotencyKeyInvalid, IdempotencyKeyReused, IdempotencyInFlight]),
            Headers::IdempotentRequired => {
                codes.extend([
                    IdempotencyKeyInvalid,
                    IdempotencyKeyReused,
                    IdempotencyInFlight,
                    IdempotencyKeyRequired,
                ]);
            }
            Headers::None | Headers::Cacheable | Headers::QueueToken | Headers::QueueTokenRequired => {}
        }
        if self.uses_a_store() {
            codes.extend([Unavailable, Internal]);
            if self.method != "GET" {
                codes.push(Busy);
            }
        }
        codes.sort_by_key(|code| (code.status(), code.as_str()));
        codes.dedup();
        codes
    }
}

/// The methods that a path is served under; none when it is not served at all.
pub fn methods_of(path: &str) -> Vec<&'static str> {
    let served = ROUTES.iter().filter(|route| matches(route.path, path)).map(|route| route.method);
    let mut methods: Vec<_> = served.collect();
    if methods.contains(&"GET") && answers_head(path) {
        methods.push("HEAD");
    }
    methods
}

/// A stream that never ends.
const EVENTS: &str = "/api/v1/concerts/{id}/queue/tokens/me/events";

/// Whether HEAD does what GET does, without the body: everywhere but for the stream of events.
pub(crate) fn answers_head(path: &str) -> bool {
    !matches(EVENTS, path)
}

/// The patterns by how many parts they have, so that few must be looked at.
static PATTERNS: LazyLock<Vec<Vec<&str>>> = LazyLock::new(|| {
    let mut by_parts: Vec<Vec<&str>> = Vec::new();
    for route in ROUTES {
        let parts = route.path.split('/').count();
        by_parts.resize_with(by_parts.len().max(parts + 1), Vec::new);
        if let Some(patterns) = by_parts.get_mut(parts).filter(|patterns| !patterns.contains(&route.path)) {
            patterns.push(route.path);
        }
    }
    by_parts
});

/// The pattern that a path is served by. The framework would match the whole tree of routes again to tell.
pub(crate) fn pattern_of(path: &str) -> Option<&'static str> {
    PATTERNS.get(path.split('/').count())?.iter().copied().find(|pattern| matches(pattern, path))
}

fn matches(pattern: &str, path: &str) -> bool {
    let (mut pattern, mut path) = (pattern.split('/'), path.split('/'));
    loop {
        match (pattern.next(), path.next()) {
            (None, None) => return true,
            (Some(expected), Some(part)) if expected.starts_with('{') && !part.is_empty() => {}
            (Some(expected), Some(part)) if expected == part => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_matched_part_by_part() {
        assert_eq!(methods_of("/api/v1/me"), ["GET", "HEAD"]);
        assert_eq!(methods_of("/api/v1/reservations/7"), ["GET", "DELETE", "HEAD"]);
        assert!(methods_of("/api/v1/reservations/").is_empty());
        assert!(methods_of("/nowhere").is_empty());
        assert_eq!(pattern_of("/api/v1/reservations/7"), Some("/api/v1/reservations/{id}"));
        assert_eq!(pattern_of("/api/v1/nowhere"), None);
        assert_eq!(pattern_of("/"), None);
    }
}
