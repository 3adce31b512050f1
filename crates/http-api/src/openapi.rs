//! The OpenAPI document: success answers from the endpoints, everything else from the table of routes.

use std::collections::BTreeMap;

use onsale_application::line::{PlaceWord, WhyFewer};
use onsale_domain::{
    account::Role, concert::SaleState, queue::LogKind, reservation::ReservationState, seat::SeatState,
    ticket::TicketState,
};
use serde::{Serialize, Serializer};
use serde_json::{Value, json, map::Entry};
use utoipa::{OpenApi, ToSchema};
use utoipa_actix_web::AppExt;

use crate::{
    endpoints, examples,
    problem::{Code, ProblemDto},
    routes::{Access, GROUPS, Headers, ROUTES, Route},
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Onsale",
        description = include_str!("openapi.md"),
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    components(schemas(ProblemDto)),
)]
struct Document;

/// The document as JSON, the same text for the same program, with the paths in the order of the table.
pub fn text() -> String {
    let document = document();
    let members = document.as_object().into_iter().flatten();
    let members = members.map(|(name, value)| match value.as_object() {
        Some(paths) if name == "paths" => (name.as_str(), Member::Paths(Paths(paths))),
        _ => (name.as_str(), Member::Other(value)),
    });
    serde_json::to_string_pretty(&Ordered(members.collect())).unwrap_or_default() + "\n"
}

/// Members in this order.
struct Ordered<'a, T>(Vec<(&'a str, T)>);

impl<T: Serialize> Serialize for Ordered<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Member<'a> {
    Paths(Paths<'a>),
    Other(&'a Value),
}

struct Paths<'a>(&'a serde_json::Map<String, Value>);

impl Serialize for Paths<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut order: Vec<&str> = vec![];
        for route in ROUTES {
            if !order.contains(&route.path) {
                order.push(route.path);
            }
        }
        Ordered(order.into_iter().filter_map(|path| Some((path, self.0.get(path)?))).collect()).serialize(serializer)
    }
}

/// The document.
pub fn document() -> Value {
    let (_, api) = actix_web::App::new()
        .into_utoipa_app()
        .openapi(Document::openapi())
        .configure(endpoints::documented)
        .split_for_parts();
    let mut document = serde_json::to_value(api).unwrap_or_default();
    if let Some(components) = document.get_mut("components").and_then(Value::as_object_mut) {
        components.insert(
            "securitySchemes".to_owned(),
            json!({
                "access_token": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
                    "description": "An access token from /auth/login, good for 15 minutes." },
                "queue_token": { "type": "apiKey", "in": "header", "name": "Queue-Token",
                    "description": "The `token` of your place in the concert's line, from joining it." },
                "stream_pass": { "type": "apiKey", "in": "query", "name": "pass",
                    "description": "A pass for one stream, for browsers, whose `EventSource` sends no headers. `url` of `createStreamPass` has it already." },
            }),
        );
    }
    if let Some(document) = document.as_object_mut() {
        let here = json!([{ "url": "/", "description": "The server that this document is of" }]);
        document.insert("servers".to_owned(), here);
        let groups = GROUPS.iter().map(|(name, words)| json!({ "name": name, "description": words }));
        document.insert("tags".to_owned(), groups.collect());
    }
    if let Some(schemas) = document.pointer_mut("/components/schemas").and_then(Value::as_object_mut) {
        schemas.values_mut().for_each(flatten);
    }
    for (schema, member, words) in closed_lists() {
        let member = format!("/components/schemas/{schema}/properties/{member}");
        if let Some(member) = document.pointer_mut(&member).and_then(Value::as_object_mut) {
            close(member, words);
        }
    }
    let schemas = document.pointer("/components/schemas").cloned().unwrap_or_default();
    for route in ROUTES {
        let operation = document
            .get_mut("paths")
            .and_then(|paths| paths.get_mut(route.path))
            .and_then(|path| path.get_mut(route.method.to_ascii_lowercase()))
            .and_then(Value::as_object_mut);
        if let Some(operation) = operation {
            complete(operation, route);
            examples::give(operation, &schemas);
        }
    }
    document
}

/// What a body takes in from another struct stands in its schema among its own members, as it does in its JSON.
fn flatten(schema: &mut Value) {
    let Some(schema) = schema.as_object_mut() else { return };
    let Some(Value::Array(parts)) = schema.remove("allOf") else { return };
    let parts = parts.into_iter().filter_map(|part| match part {
        Value::Object(part) => Some(part),
        _ => None,
    });
    for (keyword, value) in parts.flatten() {
        match schema.entry(keyword) {
            Entry::Vacant(entry) => {
                entry.insert(value);
            }
            Entry::Occupied(entry) => match (entry.into_mut(), value) {
                (Value::Object(members), Value::Object(more)) => members.extend(more),
                (Value::Array(names), Value::Array(more)) => names.extend(more),
                // It is described by its own words.
                _ => {}
            },
        }
    }
}

/// Members whose values are a closed list: the words of the domain.
fn closed_lists() -> Vec<(&'static str, &'static str, Vec<&'static str>)> {
    let stages = || SaleState::ALL.map(SaleState::as_str).to_vec();
    let seats = || SeatState::ALL.map(SeatState::as_str).to_vec();
    let mut lists = vec![
        ("User", "role", Role::ALL.map(Role::as_str).to_vec()),
        ("Seat", "state", seats()),
        ("SeatNow", "state", seats()),
        ("Reservation", "state", ReservationState::ALL.map(ReservationState::as_str).to_vec()),
        ("Ticket", "state", TicketState::ALL.map(TicketState::as_str).to_vec()),
        ("QueuePlace", "state", PlaceWord::ALL.map(PlaceWord::as_str).to_vec()),
        ("MyPlace", "state", PlaceWord::ALL.map(PlaceWord::as_str).to_vec()),
        ("MyPlace", "outcome", LogKind::ENDS.map(LogKind::as_str).to_vec()),
        ("Admissions", "why_fewer", WhyFewer::ALL.map(WhyFewer::as_str).to_vec()),
        ("WalletEntry", "kind", vec!["charge", "payment", "refund"]),
        ("TokenPair", "token_type", vec!["Bearer"]),
        ("Problem", "code", Code::ALL.iter().map(|code| code.as_str()).collect()),
    ];
    lists.extend(
        ["Concert", "QueueOverview", "QueuePlace", "QueueStats"].map(|schema| (schema, "sale_state", stages())),
    );
    lists
}

fn close(member: &mut serde_json::Map<String, Value>, words: Vec<&str>) {
    let or_null =
        member.get("type").and_then(Value::as_array).is_some_and(|types| types.iter().any(|one| one == "null"));
    let mut values: Vec<Value> = words.into_iter().map(Value::from).collect();
    if or_null {
        values.push(Value::Null);
    }
    member.insert("enum".to_owned(), values.into());
}

/// Headers of every answer of a route, beside those that its endpoint names.
fn shared_headers(route: &Route) -> Vec<(&'static str, Value)> {
    let header = |description: &str, schema: Value| json!({ "description": description, "schema": schema });
    let id = header("To be quoted when asking for help", json!({ "type": "string", "format": "uuid" }));
    let mut headers = vec![("X-Request-Id", id)];
    if route.headers == Headers::Cacheable {
        headers.push(("ETag", header("For `If-None-Match`", json!({ "type": "string" }))));
    }
    headers
}

fn complete(operation: &mut serde_json::Map<String, Value>, route: &Route) {
    operation.insert("tags".to_owned(), json!([route.group]));
    let (signed_in, with_token) = (json!({ "access_token": [] }), json!({ "access_token": [], "queue_token": [] }));
    let security = match (route.access, route.headers) {
        (Access::Public, _) => json!([]),
        (Access::Follower, _) => json!([with_token, { "stream_pass": [] }]),
        (Access::BehindTheLine, _) | (_, Headers::QueueTokenRequired) => json!([with_token]),
        // Shown when there is one.
        (_, Headers::QueueToken) => json!([with_token, signed_in]),
        (Access::SignedIn | Access::Operator, _) => json!([signed_in]),
    };
    operation.insert("security".to_owned(), security);
    let parameters = header_parameters(route);
    if !parameters.is_empty() {
        let list = operation.entry("parameters").or_insert_with(|| json!([]));
        if let Some(list) = list.as_array_mut() {
            list.extend(parameters);
        }
    }
    for parameter in operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten() {
        let is = |member: &str, word: &str| parameter.get(member).is_some_and(|value| value == word);
        // As ids look, and of nothing: a request that is sent as it stands changes nothing.
        if is("name", "id")
            && is("in", "path")
            && let Some(parameter) = parameter.as_object_mut()
        {
            parameter.insert("example".to_owned(), json!("01997b1e-7f1c-7a63-9d0c-0d6f0f4e6a55"));
        }
    }
    let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else { return };
    if route.headers == Headers::Cacheable {
        responses
            .insert("304".to_owned(), json!({ "description": "Nothing has changed since the ETag that was sent" }));
    }
    for response in responses.values_mut().filter_map(Value::as_object_mut) {
        let headers = response.entry("headers").or_insert_with(|| json!({}));
        if let Some(headers) = headers.as_object_mut() {
            headers.extend(shared_headers(route).into_iter().map(|(name, header)| (name.to_owned(), header)));
        }
    }
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in route.problems() {
        by_status.entry(code.status()).or_default().push(code);
    }
    for (status, codes) in by_status {
        responses.insert(status.to_string(), problem_response(&codes));
    }
}

fn header_parameters(route: &Route) -> Vec<Value> {
    let header = |name: &str, required: bool, schema: Value, description: &str| json!({ "name": name, "in": "header", "required": required, "schema": schema, "description": description });
    let key = json!({ "type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[!-~]+$" });
    let key_words = "Makes a repeated request harmless: the same key and request get the same answer for 24 hours.";
    match route.headers {
        Headers::None | Headers::QueueToken | Headers::QueueTokenRequired => vec![],
        Headers::Cacheable => {
            vec![header("If-None-Match", false, json!({ "type": "string" }), "The ETag of the copy at hand.")]
        }
        Headers::IfMatch => {
            // Without an example: the version that was seen is only in what was read.
            let version = json!({ "type": "string" });
            vec![header(
                "If-Match",
                true,
                version,
                "The `version` that was read before, in double quotes, as in its `ETag`.",
            )]
        }
        Headers::Idempotent => vec![header("Idempotency-Key", false, key, key_words)],
        Headers::IdempotentRequired => vec![header("Idempotency-Key", true, key, key_words)],
    }
}

fn problem_response(codes: &[Code]) -> Value {
    let examples: serde_json::Map<String, Value> = codes
        .iter()
        .map(|code| {
            let value = json!({
                "type": format!("/problems/{}", code.as_str()),
                "title": code.title(),
                "status": code.status(),
                "code": code.as_str(),
                "request_id": "01997b1e-7f1c-7a63-9d0c-0d6f0f4e6a55",
            });
            (code.as_str().to_owned(), json!({ "value": value }))
        })
        .collect();
    let words: Vec<String> = codes.iter().map(|code| format!("`{}`: {}", code.as_str(), code.title())).collect();
    let reference = format!("#/components/schemas/{}", ProblemDto::name());
    let mut response = json!({
        "description": words.join("; "),
        "content": { "application/problem+json": { "schema": { "$ref": reference }, "examples": examples } },
    });
    let retries = codes.iter().any(|code| matches!(code.status(), 429 | 503) || *code == Code::IdempotencyInFlight);
    if let (true, Some(response)) = (retries, response.as_object_mut()) {
        let retry_after = json!({ "description": "Seconds after which to try again", "schema": { "type": "integer" } });
        response.insert("headers".to_owned(), json!({ "Retry-After": retry_after }));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_and_the_endpoints_name_the_same_operations() {
        let document = document();
        let paths = document["paths"].as_object().expect("paths");
        let mut described: Vec<String> = vec![];
        for (path, operations) in paths {
            for method in operations.as_object().expect("operations").keys() {
                described.push(format!("{} {path}", method.to_uppercase()));
            }
        }
        let mut listed: Vec<String> = ROUTES.iter().map(|route| format!("{} {}", route.method, route.path)).collect();
        described.sort();
        listed.sort();
        assert_eq!(described, listed);
    }

    #[test]
    fn a_seat_stands_in_every_body_as_its_own_members() {
        let document = document();
        let schemas = document["components"]["schemas"].as_object().expect("schemas");
        for name in ["Seat", "SeatNow", "ReservedSeat", "PaidTicket", "Ticket"] {
            let schema = &schemas[name];
            let required = schema["required"].as_array().expect("required");
            for member in ["seat_id", "section", "row", "number"] {
                assert!(
                    schema["properties"][member].is_object() && required.iter().any(|name| name == member),
                    "{schema}"
                );
            }
            assert_eq!(schema["type"], "object");
        }
        assert!(schemas.values().all(|schema| schema["allOf"].is_null()) && !schemas.contains_key("SeatPlace"));
    }

    #[test]
    fn every_closed_list_is_of_a_member_that_there_is() {
        let document = document();
        for (schema, member, words) in closed_lists() {
            let found = &document["components"]["schemas"][schema]["properties"][member];
            let example = found["example"].as_str().unwrap_or(words[0]);
            assert!(found["enum"].is_array() && words.contains(&example), "{schema}.{member}: {found}");
        }
    }

    #[test]
    fn every_success_that_people_can_read_has_one_whole_example() {
        let document = document();
        for route in ROUTES {
            let operation = &document["paths"][route.path][route.method.to_ascii_lowercase()];
            for (status, response) in operation["responses"].as_object().expect("responses") {
                let answers = response["content"].as_object().into_iter().flatten();
                for (kind, answer) in answers.filter(|_| status.starts_with('2')) {
                    let example = &answer["example"];
                    let whole = match kind.as_str() {
                        // The bytes of a picture tell nobody anything.
                        "image/png" => example.is_null(),
                        "application/json" => example.is_object(),
                        _ => example.as_str().is_some_and(|text| !text.is_empty()),
                    };
                    assert!(whole, "{} {} {status}, {kind}: {example}", route.method, route.path);
                }
            }
        }
    }

    #[test]
    fn every_answer_has_a_description_and_every_problem_an_example() {
        let document = document();
        for route in ROUTES {
            let operation = &document["paths"][route.path][route.method.to_ascii_lowercase()];
            let responses = operation["responses"].as_object().expect("responses");
            assert!(responses.keys().any(|status| status.starts_with('2')), "{} has no success", route.path);
            for code in route.problems() {
                let example = &responses[&code.status().to_string()]["content"]["application/problem+json"]["examples"];
                assert!(example[code.as_str()]["value"]["code"] == code.as_str(), "{} {}", route.path, code.as_str());
            }
        }
    }
}
