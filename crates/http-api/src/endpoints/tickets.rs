//! Tickets and their codes.

use actix_web::{HttpResponse, get};
use chrono::{DateTime, Utc};
use onsale_application::{
    error::Cause,
    tickets::{HeldTicket, Ticket},
};
use onsale_domain::ids::TicketId;
use qrcode::{EcLevel, QrCode, render::svg};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{ApiResult, PageQuery, instant, private};
use crate::{
    extract::{Id, Query, SignedIn, State},
    problem::{ApiError, Code},
};

/// A ticket as the payment answers it.
#[derive(Serialize, ToSchema)]
#[schema(as = PaidTicket)]
pub struct PaidTicketDto {
    id: Uuid,
    seat_id: Uuid,
    #[schema(example = "A")]
    section: String,
    #[schema(example = "1")]
    row: String,
    #[schema(example = 12)]
    number: i32,
}

/// A ticket.
#[derive(Serialize, ToSchema)]
#[schema(as = Ticket)]
pub struct TicketDto {
    id: Uuid,
    reservation_id: Uuid,
    concert_id: Uuid,
    #[schema(example = "Seoul Night")]
    concert_title: String,
    show_id: Uuid,
    #[schema(example = "Olympic Hall")]
    venue: String,
    /// Start of the show.
    starts_at: DateTime<Utc>,
    seat_id: Uuid,
    #[schema(example = "A")]
    section: String,
    #[schema(example = "1")]
    row: String,
    #[schema(example = 12)]
    number: i32,
    /// What the seat cost, in minor units.
    #[schema(example = 150_000)]
    price_minor: i64,
    #[schema(example = "KRW")]
    currency: String,
    /// The name that the holder gave.
    #[schema(example = "Mina")]
    holder_name: String,
    /// `valid` or `void`.
    #[schema(example = "valid")]
    state: String,
    issued_at: DateTime<Utc>,
    /// A compact JWS (EdDSA), to be verified with the keys of `/.well-known/jwks.json`.
    #[schema(example = "eyJhbGciOiJFZERTQSJ9.e30.signature")]
    code: String,
}

/// A page of tickets.
#[derive(Serialize, ToSchema)]
pub struct TicketPage {
    items: Vec<TicketDto>,
    /// For the `cursor` of the next page; null on the last.
    next_cursor: Option<String>,
}

/// What kind of picture.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum QrFormat {
    /// Scalable.
    #[default]
    Svg,
    /// Pixels, eight to a module.
    Png,
}

/// The bytes of a picture.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "for the document")]
pub struct Picture(Vec<u8>);

/// What kind of picture.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct QrQuery {
    /// `svg` (unless given) or `png`.
    #[serde(default)]
    #[param(inline, required = false)]
    format: QrFormat,
}

impl From<&Ticket> for PaidTicketDto {
    fn from(ticket: &Ticket) -> Self {
        Self {
            id: ticket.id.0,
            seat_id: ticket.seat_id.0,
            section: ticket.section.clone(),
            row: ticket.row.clone(),
            number: ticket.number,
        }
    }
}

impl From<(HeldTicket, String)> for TicketDto {
    fn from((held, code): (HeldTicket, String)) -> Self {
        let HeldTicket { ticket, .. } = held;
        Self {
            id: ticket.id.0,
            reservation_id: ticket.reservation_id.0,
            concert_id: held.concert_id.0,
            concert_title: held.concert_title,
            show_id: ticket.show_id.0,
            venue: held.venue,
            starts_at: instant(held.starts_at),
            seat_id: ticket.seat_id.0,
            section: ticket.section,
            row: ticket.row,
            number: ticket.number,
            price_minor: held.price_minor,
            currency: held.currency,
            holder_name: held.holder_name,
            state: ticket.state.as_str().to_owned(),
            issued_at: instant(ticket.issued_at),
            code,
        }
    }
}

/// My tickets, newest first.
#[utoipa::path(tag = "Tickets", operation_id = "listTickets", params(PageQuery),
    responses((status = 200, description = "A page of tickets", body = TicketPage)))]
#[get("/me/tickets")]
pub(crate) async fn list(user: SignedIn, state: State, query: Query<PageQuery>) -> ApiResult {
    let before = query.0.after_id()?.map(TicketId);
    let (found, more) = state.facades.tickets.tickets(user.0, before, query.0.limit()?).await?;
    let next_cursor = if more { found.last().map(|(last, _)| last.ticket.id.to_string()) } else { None };
    Ok(private(&TicketPage { items: found.into_iter().map(TicketDto::from).collect(), next_cursor }))
}

/// One of my tickets.
#[utoipa::path(tag = "Tickets", operation_id = "readTicket", params(("id" = Uuid, Path, description = "Ticket")),
    responses((status = 200, description = "The ticket", body = TicketDto)))]
#[get("/tickets/{id}")]
pub(crate) async fn read(user: SignedIn, state: State, id: Id) -> ApiResult {
    let found = state.facades.tickets.ticket(TicketId(id.0), user.0).await?;
    Ok(private(&TicketDto::from(found)))
}

/// The code of one of my tickets as a QR picture.
#[utoipa::path(tag = "Tickets", operation_id = "readTicketQr",
    params(("id" = Uuid, Path, description = "Ticket"), QrQuery),
    responses((status = 200, description = "The picture", content((String = "image/svg+xml"), (inline(Picture) = "image/png")))))]
#[get("/tickets/{id}/qr")]
pub(crate) async fn read_qr(user: SignedIn, state: State, id: Id, query: Query<QrQuery>) -> ApiResult {
    let (_, code) = state.facades.tickets.ticket(TicketId(id.0), user.0).await?;
    let qr = QrCode::with_error_correction_level(code, EcLevel::M).map_err(|error| internal(error.into()))?;
    let (media_type, picture) = match query.0.format {
        QrFormat::Svg => {
            let picture = qr.render::<svg::Color<'_>>().min_dimensions(240, 240).build();
            ("image/svg+xml", picture.into_bytes())
        }
        QrFormat::Png => ("image/png", png(&qr).map_err(|error| internal(error.into()))?),
    };
    Ok(HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).content_type(media_type).body(picture))
}

fn internal(cause: Cause) -> ApiError {
    ApiError { cause: Some(cause), ..ApiError::new(Code::Internal) }
}

/// Eight pixels to a module, with the quiet zone of four modules that readers need.
fn png(qr: &QrCode) -> Result<Vec<u8>, png::EncodingError> {
    const PIXELS: usize = 8;
    const QUIET: usize = 4;
    let modules = qr.width() + 2 * QUIET;
    let side = u32::try_from(modules * PIXELS).unwrap_or(u32::MAX);
    let mut pixels = Vec::with_capacity(modules * modules * PIXELS * PIXELS);
    let colors = qr.to_colors();
    let dark = |x: usize, y: usize| {
        let inside = (QUIET..QUIET + qr.width()).contains(&x) && (QUIET..QUIET + qr.width()).contains(&y);
        inside && colors.get((y - QUIET) * qr.width() + (x - QUIET)) == Some(&qrcode::Color::Dark)
    };
    for y in 0..modules * PIXELS {
        for x in 0..modules * PIXELS {
            pixels.push(if dark(x / PIXELS, y / PIXELS) { 0 } else { 255 });
        }
    }
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, side, side);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.write_header()?.write_image_data(&pixels)?;
    Ok(file)
}
