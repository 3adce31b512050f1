//! Around every request: an id, a span, a log line, counters, and problems in their final form.

use std::{borrow::Cow, rc::Rc};

use actix_web::{
    Error, HttpRequest,
    body::{BodySize, BodyStream, BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{
        Method,
        header::{HeaderName, HeaderValue},
    },
    middleware::Next,
    web,
};
use bytes::Bytes;
use futures_util::stream;
use tracing::Instrument;

use crate::{
    connections::{Connection, EndsInTime, Keeping, Rest, UnderWay},
    extract::whose,
    problem::{ApiError, Code},
    routes,
    state::ApiState,
};

static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Counts a request as under way until it is over, however it ends.
struct InFlight(prometheus::IntGauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

pub(crate) async fn observe<B: MessageBody + 'static>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    #[expect(clippy::disallowed_methods, reason = "latency for telemetry, not a rule")]
    let started = std::time::Instant::now();
    let Some(state) = request.app_data::<web::Data<ApiState>>().cloned() else {
        return next.call(request).await.map(ServiceResponse::map_into_boxed_body);
    };
    state.metrics.in_flight.inc();
    let in_flight = InFlight(state.metrics.in_flight.clone());
    let under_way = request.conn_data::<Rc<Connection>>().map(UnderWay::on);
    let rest = Rest::of(&mut request);
    let id = state.ids.new_id().to_string();
    let method = request.method().clone();
    // HEAD is GET of which the body stays here; the framework leaves out what it knows the length of.
    let head_only = method == Method::HEAD && routes::answers_head(request.path());
    if head_only {
        request.head_mut().method = Method::GET;
    }
    // The id alone: what else is worth knowing is added to the lines that are written.
    let span = tracing::info_span!("request", request_id = %id);
    // Handlers and extractors that fail have answered by now; an error here can only come from the framework itself.
    let response = next.call(request).instrument(span.clone()).await?;
    let _in_span = span.enter();

    let rewritten = response.response().error().map(|error| problem_of(error, &id, &method, response.request()));
    let (mut response, problem) = match rewritten {
        Some((code, rewritten)) => (response.into_response(rewritten), Some(code)),
        None => (response.map_into_boxed_body(), None),
    };
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID.clone(), value);
    }
    response
        .headers_mut()
        .insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
    // Only known methods become labels: a client must not be able to make time series.
    let method = match method.as_str() {
        known @ ("GET" | "POST" | "PUT" | "PATCH" | "DELETE" | "HEAD" | "OPTIONS") => known,
        _ => "OTHER",
    };
    let route = pattern_of(response.request());
    let status = response.status().as_u16();
    let seconds = started.elapsed().as_secs_f64();
    state.metrics.requests.with_label_values(&[method, &route, &status.to_string()]).observe(seconds);
    count_outcome(&state, method, &route, problem);
    tracing::debug!(%route, status, code = problem.map(Code::as_str), seconds, "answered");
    let under_way = under_way.filter(|_| response.response().extensions().get::<EndsInTime>().is_none());
    drop(in_flight);
    if head_only && response.response().body().size() == BodySize::Stream {
        return Ok(response.map_body(|_, _| BoxBody::new(BodyStream::new(stream::empty::<Result<Bytes, Error>>()))));
    }
    Ok(response.map_body(|_, body| Keeping::around(body, rest, under_way)))
}

/// The pattern by which the request is served. The framework matches its whole tree of routes again to tell; it is asked about
/// what is written unusually, like %72 for r, and about the pages of Swagger.
fn pattern_of(request: &HttpRequest) -> Cow<'static, str> {
    match routes::pattern_of(request.path()) {
        Some(pattern) => Cow::Borrowed(pattern),
        None => request.match_pattern().map_or(Cow::Borrowed("unmatched"), Cow::Owned),
    }
}

/// The final form of a problem, and the one log line about it when somebody should look.
fn problem_of(
    error: &Error,
    request_id: &str,
    method: &Method,
    request: &HttpRequest,
) -> (Code, actix_web::HttpResponse) {
    let path = request.path();
    let Some(api_error) = error.as_error::<ApiError>() else {
        let status = error.as_response_error().status_code().as_u16();
        let code = match status {
            413 => Code::BodyTooLarge,
            415 => Code::UnsupportedMediaType,
            404 => Code::NotFound,
            400..=499 => Code::MalformedRequest,
            _ => Code::Internal,
        };
        tracing::warn!(%method, path, %error, "the framework refused the request");
        return (code, ApiError::new(code).response(request_id));
    };
    if let Some(cause) = &api_error.cause {
        let mut chain = cause.to_string();
        let mut source = cause.source();
        while let Some(next) = source {
            chain = format!("{chain}: {next}");
            source = next.source();
        }
        let user_id = whose(request).map(|identity| tracing::field::display(identity.user_id));
        if api_error.code == Code::Internal {
            tracing::error!(%method, path, user_id, cause = chain, "a request failed");
        } else {
            let code = api_error.code.as_str();
            tracing::warn!(%method, path, user_id, code, cause = chain, "a request was turned away");
        }
    }
    (api_error.code, api_error.response(request_id))
}

fn count_outcome(state: &ApiState, method: &str, route: &str, problem: Option<Code>) {
    let (counter, success) = match (method, route) {
        ("POST", "/api/v1/shows/{id}/reservations") => (&state.metrics.reservations, "created"),
        ("POST", "/api/v1/reservations/{id}/payment") => (&state.metrics.payments, "captured"),
        _ => return,
    };
    counter.with_label_values(&[problem.map_or(success, Code::as_str)]).inc();
}
