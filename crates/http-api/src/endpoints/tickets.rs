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
    #[param(inline, required = false, example = "png")]
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

/// List my tickets
///
/// The newest first.
#[utoipa::path(operation_id = "listTickets", params(PageQuery),
    responses((status = 200, description = "A page of tickets", body = TicketPage)))]
#[get("/me/tickets")]
pub(crate) async fn list(user: SignedIn, state: State, query: Query<PageQuery>) -> ApiResult {
    let before = query.0.after_id()?.map(TicketId);
    let page = state.facades.tickets.tickets(user.0, before, query.0.limit()?).await?.map(TicketDto::from);
    Ok(private(&TicketPage { items: page.items, next_cursor: page.next.map(|id| id.to_string()) }))
}

/// Read one of my tickets
#[utoipa::path(operation_id = "readTicket", params(("id" = Uuid, Path, description = "Ticket")),
    responses((status = 200, description = "The ticket", body = TicketDto)))]
#[get("/tickets/{id}")]
pub(crate) async fn read(user: SignedIn, state: State, id: Id) -> ApiResult {
    let found = state.facades.tickets.ticket(TicketId(id.0), user.0).await?;
    Ok(private(&TicketDto::from(found)))
}

/// Get a ticket's code as a picture
#[utoipa::path(operation_id = "readTicketQr",
    params(("id" = Uuid, Path, description = "Ticket"), QrQuery),
    responses((status = 200, description = "The picture", content((String = "image/svg+xml"), (inline(Picture) = "image/png")))))]
#[get("/tickets/{id}/qr")]
pub(crate) async fn read_qr(user: SignedIn, state: State, id: Id, query: Query<QrQuery>) -> ApiResult {
    let (_, code) = state.facades.tickets.ticket(TicketId(id.0), user.0).await?;
    let qr = qr_of(code)?;
    let (media_type, picture) = match query.0.format {
        QrFormat::Svg => {
            let picture = qr.render::<svg::Color<'_>>().min_dimensions(240, 240).build();
            ("image/svg+xml", picture.into_bytes())
        }
        QrFormat::Png => ("image/png", png(&qr).map_err(|error| internal(error.into()))?),
    };
    Ok(HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).content_type(media_type).body(picture))
}

/// Get a ticket as a page to print
///
/// Concert, venue, start, seat, price, holder and the code as a picture, in one file without links.
#[utoipa::path(operation_id = "readTicketPage", params(("id" = Uuid, Path, description = "Ticket")),
    responses((status = 200, description = "The page", body = String, content_type = "text/html")))]
#[get("/tickets/{id}/page")]
pub(crate) async fn read_page(user: SignedIn, state: State, id: Id) -> ApiResult {
    let (held, code) = state.facades.tickets.ticket(TicketId(id.0), user.0).await?;
    let picture = svg(&qr_of(code)?);
    let seat = &held.ticket;
    let rows = [
        ("Venue", held.venue.clone()),
        ("Start", held.starts_at.format("%Y-%m-%d %H:%M UTC").to_string()),
        ("Seat", format!("section {}, row {}, number {}", seat.section, seat.row, seat.number)),
        ("Price", format!("{} {} (minor units)", held.price_minor, held.currency)),
        ("Holder", held.holder_name.clone()),
        ("State", seat.state.as_str().to_owned()),
        ("Ticket", seat.id.to_string()),
    ];
    let rows = rows.map(|(name, value)| format!("<tr><th>{name}</th><td>{}</td></tr>", escaped(&value))).join("\n");
    let title = escaped(&held.concert_title);
    let page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{title}</title>\n\
         <style>body {{ font: 16px sans-serif; margin: 2em }} th {{ text-align: left; padding-right: 1em }}</style>\n\
         <h1>{title}</h1>\n<table>\n{rows}\n</table>\n{picture}\n"
    );
    Ok(HttpResponse::Ok()
        .insert_header(("Cache-Control", "no-store"))
        // Nothing on it runs or loads, whatever an operator or a fan wrote.
        .insert_header(("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"))
        .content_type("text/html; charset=utf-8")
        .body(page))
}

/// Text that people wrote, as text of a page.
fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut page, c| {
        match c {
            '&' => page.push_str("&amp;"),
            '<' => page.push_str("&lt;"),
            '>' => page.push_str("&gt;"),
            '"' => page.push_str("&quot;"),
            '\'' => page.push_str("&#39;"),
            other => page.push(other),
        }
        page
    })
}

fn qr_of(code: String) -> Result<QrCode, ApiError> {
    QrCode::with_error_correction_level(code, EcLevel::M).map_err(|error| internal(error.into()))
}

fn svg(qr: &QrCode) -> String {
    // As a part of a page, without the declaration of a file of its own.
    let file = qr.render::<svg::Color<'_>>().min_dimensions(240, 240).build();
    file.split_once("?>").map_or(file.clone(), |(_, picture)| picture.to_owned())
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
