//! The endpoints, one file per resource. What each may answer stands in [`crate::routes::ROUTES`].

pub mod admin;
pub mod auth;
pub mod concerts;
pub mod queue;
pub mod queue_admin;
pub mod queue_events;
pub mod queue_records;
pub mod reports;
pub mod reservations;
pub mod seats;
pub mod system;
pub mod tickets;
pub mod wallet;

use actix_web::{HttpResponse, web};
use chrono::{DateTime, Utc};
use onsale_application::catalogue::PageStart;
use onsale_domain::fault::Faults;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_actix_web::{scope, service_config::ServiceConfig};
use uuid::Uuid;

use crate::{
    problem::{ApiError, Code},
    state::Seal,
};

/// What a handler returns.
pub type ApiResult = Result<HttpResponse, ApiError>;

/// Registers every endpoint with its OpenAPI description.
pub fn documented(config: &mut ServiceConfig<'_>) {
    config
        .service(
            // Routes are tried in this order, so the busiest come first.
            scope("/api/v1")
                .service(queue::receipt)
                .service(queue::my_place)
                .service(queue::join)
                .service(auth::sign_up)
                .service(auth::log_in)
                .service(auth::refresh)
                .service(auth::log_out)
                .service(auth::me)
                .service(concerts::list)
                .service(concerts::read)
                .service(concerts::shows)
                .service(queue::overview)
                .service(queue_events::follow)
                .service(queue_events::create_pass)
                .service(queue_records::my_places)
                .service(queue_records::log)
                .service(queue_records::read_draw)
                .service(queue::leave)
                .service(seats::availability)
                .service(seats::list)
                .service(reservations::reserve)
                .service(reservations::list)
                .service(reservations::read)
                .service(reservations::release)
                .service(reservations::pay)
                .service(wallet::read)
                .service(wallet::entries)
                .service(wallet::charge)
                .service(tickets::list)
                .service(tickets::read)
                .service(tickets::read_qr)
                .service(tickets::read_page)
                .service(admin::create_concert)
                .service(admin::read_concert)
                .service(admin::edit_concert)
                .service(admin::create_show)
                .service(admin::read_show)
                .service(admin::edit_show)
                .service(admin::add_seats)
                .service(queue_admin::read_policy)
                .service(queue_admin::write_policy)
                .service(queue_admin::pause)
                .service(queue_admin::resume)
                .service(queue_admin::drain)
                .service(queue_admin::close)
                .service(queue_admin::read_stats)
                .service(queue_admin::admit)
                .service(queue_admin::write_message)
                .service(queue_admin::forecast)
                .service(queue_records::report)
                .service(queue_records::audit)
                .service(reports::show_report)
                .service(reports::reconciliation)
                .service(reports::outbox),
        )
        .service(system::jwks)
        .service(system::livez)
        .service(system::readyz)
        .service(system::metrics)
        .service(system::openapi)
        .service(system::problem);
}

/// Registers every endpoint on the real server.
pub(crate) fn configure(config: &mut web::ServiceConfig) {
    documented(&mut ServiceConfig::new(config));
}

/// Where a page starts and how long it is.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// `next_cursor` of the page before.
    #[param(max_length = 100)]
    pub cursor: Option<String>,
    /// Most items on the page, 1 to 100; 20 when not given.
    #[param(minimum = 1, maximum = 100)]
    pub limit: Option<i64>,
}

impl PageQuery {
    fn limit(&self) -> Result<usize, ApiError> {
        let limit = self.limit.unwrap_or(20);
        match usize::try_from(limit) {
            Ok(limit @ 1..=100) => Ok(limit),
            _ => Err(ApiError::parameters(&Faults::one("limit", "must be 1 to 100"))),
        }
    }

    /// A cursor of this public list by time and id: only one that this installation gave out. So nobody can make up pages to
    /// be read and kept.
    fn start(&self, list: &str, seal: &Seal) -> Result<Option<PageStart>, ApiError> {
        let parse = |text: &str| {
            let (text, sealed) = text.rsplit_once('_')?;
            if seal(&format!("{list} {text}")) != sealed {
                return None;
            }
            let (micros, id) = text.split_once('_')?;
            let at = DateTime::from_timestamp_micros(micros.parse().ok()?)?;
            // Beyond the years of any show lies nothing, and PostgreSQL's calendar ends before chrono's.
            let in_calendar = (0..=7_258_118_400_000_000).contains(&at.timestamp_micros());
            in_calendar.then_some(PageStart { at, id: Uuid::try_parse(id).ok()? })
        };
        self.parsed(parse)
    }

    /// A cursor of a list by id.
    fn after_id(&self) -> Result<Option<Uuid>, ApiError> {
        self.parsed(|text| Uuid::try_parse(text).ok())
    }

    /// A cursor of a list by number.
    fn after_number(&self) -> Result<Option<i64>, ApiError> {
        self.parsed(|text| text.parse().ok())
    }

    fn parsed<T>(&self, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>, ApiError> {
        match &self.cursor {
            None => Ok(None),
            Some(text) => Some(text)
                .filter(|text| text.len() <= 100)
                .and_then(|text| parse(text))
                .map(Some)
                .ok_or_else(|| ApiError::detail(Code::MalformedRequest, "cursor: is no cursor of this list")),
        }
    }
}

fn cursor(start: PageStart, list: &str, seal: &Seal) -> String {
    let text = format!("{}_{}", start.at.timestamp_micros(), start.id);
    let sealed = seal(&format!("{list} {text}"));
    format!("{text}_{sealed}")
}

/// A body as the text that is stored with a write, to be sent again when the request is repeated.
fn written(body: &impl serde::Serialize) -> String {
    // These bodies are plain structs, which always serialise.
    serde_json::to_string(body).unwrap_or_default()
}

/// The answer to a write that made something new, at once or when the request was repeated; `of` is where such things stand.
fn created(body: String, of: Option<&str>) -> HttpResponse {
    #[derive(Deserialize)]
    struct New {
        id: Uuid,
    }
    let mut response = HttpResponse::Created();
    if let (Some(of), Ok(New { id })) = (of, serde_json::from_str(&body)) {
        response.insert_header(("Location", format!("{of}/{id}")));
    }
    response.insert_header(("Cache-Control", "no-store")).content_type("application/json").body(body)
}

/// A body that is not to be kept by anyone.
fn private(body: &impl serde::Serialize) -> HttpResponse {
    HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(body)
}

/// Millisecond precision, which is all that anyone acts on.
fn instant(at: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(at.timestamp_millis()).unwrap_or(at)
}
