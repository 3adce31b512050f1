//! Tickets and their codes.

use actix_web::{HttpResponse, get};
use chrono::{DateTime, Utc};
use onsale_application::{
    error::Cause,
    tickets::{HeldTicket, Ticket},
};
use onsale_domain::{
    ids::{ConcertId, ReservationId, SeatId, ShowId, TicketId},
    ticket::TicketState,
};
use qrcode::{EcLevel, QrCode, render::svg};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{ApiResult, PageQuery, instant, private};
use crate::{
    extract::{Id, Query, SignedIn, State},
    problem::{ApiError, Code},
    seat::SeatPlaceDto,
};

/// The code of the examples, shorter than a real one.
const CODE_EXAMPLE: &str = "eyJhbGciOiJFZERTQSJ9.e30.signature";

/// A ticket as the payment answers it.
#[derive(Serialize, ToSchema)]
#[schema(as = PaidTicket)]
pub struct PaidTicketDto {
    #[schema(example = "01997b1e-9c03-7a11-b0e2-3c5f7d9e1a42")]
    id: Uuid,
    #[serde(flatten)]
    #[schema(inline)]
    place: SeatPlaceDto,
}

/// A ticket.
#[derive(Serialize, ToSchema)]
#[schema(as = Ticket)]
pub struct TicketDto {
    #[schema(example = "01997b1e-9c03-7a11-b0e2-3c5f7d9e1a42")]
    id: Uuid,
    #[schema(example = "01997b1e-9a40-7b8c-8e1f-6d4a0c3b2e75")]
    reservation_id: Uuid,
    #[schema(example = "01997b1e-7f1c-7a63-9d0c-0d6f0f4e6a55")]
    concert_id: Uuid,
    #[schema(example = "Seoul Night")]
    concert_title: String,
    #[schema(example = "01997b1e-80a2-7d94-a1b7-5e2f8c6d9034")]
    show_id: Uuid,
    #[schema(example = "Olympic Hall")]
    venue: String,
    /// Start of the show.
    #[schema(example = "2027-05-01T10:00:00Z")]
    starts_at: DateTime<Utc>,
    #[serde(flatten)]
    #[schema(inline)]
    place: SeatPlaceDto,
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
    #[schema(example = "2027-03-01T10:41:02.730Z")]
    issued_at: DateTime<Utc>,
    /// A compact JWS (EdDSA), to be verified with the keys of `/.well-known/jwks.json`.
    #[schema(example = json!(CODE_EXAMPLE))]
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
        Self { id: ticket.id.0, place: ticket.into() }
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
            place: SeatPlaceDto::from(&ticket),
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
    responses((status = 200, description = "The picture", content((String = "image/svg+xml", example = picture_example), (inline(Picture) = "image/png")))))]
#[get("/tickets/{id}/qr")]
pub(crate) async fn read_qr(user: SignedIn, state: State, id: Id, query: Query<QrQuery>) -> ApiResult {
    let (_, code) = state.facades.tickets.ticket(TicketId(id.0), user.0).await?;
    let qr = qr_of(&code)?;
    let (media_type, picture) = match query.0.format {
        QrFormat::Svg => ("image/svg+xml", svg(&qr).into_bytes()),
        QrFormat::Png => ("image/png", png(&qr).map_err(|error| internal(error.into()))?),
    };
    Ok(HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).content_type(media_type).body(picture))
}

/// Get a ticket as a page to print
///
/// Concert, venue, start, seat, price, holder and the code as a picture, in one file without links.
#[utoipa::path(operation_id = "readTicketPage", params(("id" = Uuid, Path, description = "Ticket")),
    responses((status = 200, description = "The page", body = String, content_type = "text/html", example = page_example)))]
#[get("/tickets/{id}/page")]
pub(crate) async fn read_page(user: SignedIn, state: State, id: Id) -> ApiResult {
    let (held, code) = state.facades.tickets.ticket(TicketId(id.0), user.0).await?;
    let page = page_of(&held, &code)?;
    Ok(HttpResponse::Ok()
        .insert_header(("Cache-Control", "no-store"))
        // Nothing on it runs or loads, whatever an operator or a fan wrote.
        .insert_header(("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"))
        .content_type("text/html; charset=utf-8")
        .body(page))
}

/// A ticket as a page, with its code as a picture.
fn page_of(held: &HeldTicket, code: &str) -> Result<String, ApiError> {
    let file = svg(&qr_of(code)?);
    // As a part of a page, without the declaration of a file of its own.
    let picture = file.split_once("?>").map_or(file.as_str(), |(_, picture)| picture);
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
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{title}</title>\n\
         <style>body {{ font: 16px sans-serif; margin: 2em }} th {{ text-align: left; padding-right: 1em }}</style>\n\
         <h1>{title}</h1>\n<table>\n{rows}\n</table>\n{picture}\n"
    ))
}

/// The ticket whose members the schema has as examples.
fn page_example() -> String {
    let at = |millis| DateTime::from_timestamp_millis(millis).unwrap_or_default();
    let ticket = Ticket {
        id: TicketId(Uuid::from_u128(0x0199_7b1e_9c03_7a11_b0e2_3c5f_7d9e_1a42)),
        reservation_id: ReservationId(Uuid::from_u128(0x0199_7b1e_9a40_7b8c_8e1f_6d4a_0c3b_2e75)),
        show_id: ShowId(Uuid::from_u128(0x0199_7b1e_80a2_7d94_a1b7_5e2f_8c6d_9034)),
        seat_id: SeatId(Uuid::from_u128(0x0199_7b1e_81f0_7e3a_b5c4_1a9d_7f2e_6b08)),
        section: "A".to_owned(),
        row: "1".to_owned(),
        number: 12,
        state: TicketState::Valid,
        issued_at: at(1_803_897_662_730),
    };
    let held = HeldTicket {
        ticket,
        concert_id: ConcertId(Uuid::from_u128(0x0199_7b1e_7f1c_7a63_9d0c_0d6f_0f4e_6a55)),
        concert_title: "Seoul Night".to_owned(),
        venue: "Olympic Hall".to_owned(),
        starts_at: at(1_809_165_600_000),
        price_minor: 150_000,
        currency: "KRW".to_owned(),
        holder_name: "Mina".to_owned(),
    };
    page_of(&held, CODE_EXAMPLE).unwrap_or_default()
}

fn picture_example() -> String {
    qr_of(CODE_EXAMPLE).map(|qr| svg(&qr)).unwrap_or_default()
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

fn qr_of(code: &str) -> Result<QrCode, ApiError> {
    QrCode::with_error_correction_level(code, EcLevel::M).map_err(|error| internal(error.into()))
}

fn svg(qr: &QrCode) -> String {
    qr.render::<svg::Color<'_>>().min_dimensions(240, 240).build()
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
