//! What is wrong with a body that cannot be read as what a route expects: everything at once, in words, by the schema that the
//! OpenAPI document shows.

use std::{borrow::Cow, sync::OnceLock};

use chrono::DateTime;
use onsale_domain::fault::Faults;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

/// Most bytes that are read a second time to be explained.
const EXPLAINED: usize = 1 << 18;
/// Most faults that are told.
const TOLD: usize = 100;

/// The schemas of the document, from when the edge is put together. Without them nothing is explained.
static SCHEMAS: OnceLock<Value> = OnceLock::new();
const NOTHING: &Value = &Value::Null;

/// Takes the schemas from the document.
pub(crate) fn learn(document: &str) {
    let mut document: Value = serde_json::from_str(document).unwrap_or_default();
    // The document is the same for everybody in this process.
    let _ = SCHEMAS.set(document.pointer_mut("/components/schemas").map(Value::take).unwrap_or_default());
}

/// The faults of a JSON text that is no `T`; none when the schema does not show them, as for a member that comes twice.
pub(crate) fn faults<T: ToSchema>(bytes: &[u8]) -> Faults {
    let mut found = Faults::new();
    if bytes.len() <= EXPLAINED
        && let Ok(value) = serde_json::from_slice(bytes)
    {
        walk(named(&T::name()), &value, "", &mut found);
    }
    found
}

fn of<'a>(schema: &'a Value, keyword: &str) -> &'a Value {
    schema.get(keyword).unwrap_or(NOTHING)
}

fn named(name: &str) -> &'static Value {
    of(SCHEMAS.get().unwrap_or(NOTHING), name)
}

/// The schema behind references and choices of one, and whether null will do, too.
fn resolve(schema: &'static Value) -> (&'static Value, bool) {
    if let Some(reference) = of(schema, "$ref").as_str() {
        return resolve(named(reference.rsplit('/').next().unwrap_or_default()));
    }
    let Some(choices) = of(schema, "oneOf").as_array() else { return (schema, false) };
    let mut others = choices.iter().filter(|choice| *of(choice, "type") != "null");
    match (others.next(), others.next()) {
        (Some(one), None) => (resolve(one).0, choices.len() == 2),
        _ => (schema, false),
    }
}

fn types(schema: &Value) -> Vec<&str> {
    match of(schema, "type") {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => vec![],
    }
}

fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => true,
    }
}

fn words(kind: &str) -> &str {
    match kind {
        "null" => "null",
        "boolean" => "true or false",
        "integer" => "a whole number",
        "number" => "a number",
        "string" => "a text",
        "array" => "a list",
        "object" => "an object",
        other => other,
    }
}

/// A step of a JSON Pointer.
fn step(name: &str) -> Cow<'_, str> {
    if name.contains(['~', '/']) { name.replace('~', "~0").replace('/', "~1").into() } else { name.into() }
}

/// Notes a fault, unless enough are told.
fn note(found: &mut Faults, at: impl Into<String>, message: impl Into<String>) {
    if found.iter().count() < TOLD {
        found.add(at, message);
    }
}

fn walk(schema: &'static Value, value: &Value, at: &str, found: &mut Faults) {
    let (schema, or_null) = resolve(schema);
    if or_null && value.is_null() {
        return;
    }
    let kinds = types(schema);
    if !kinds.is_empty() && !kinds.iter().any(|kind| is(value, kind)) {
        let expected: Vec<&str> = kinds.iter().map(|kind| words(kind)).collect();
        note(found, at, format!("must be {}", expected.join(" or ")));
        return;
    }
    let inside = |name: &str| if at.is_empty() { step(name).into_owned() } else { format!("{at}/{}", step(name)) };
    match value {
        Value::Object(members) => {
            let none = Map::new();
            let known = of(schema, "properties").as_object().unwrap_or(&none);
            for name in of(schema, "required").as_array().into_iter().flatten().filter_map(Value::as_str) {
                if !members.contains_key(name) {
                    note(found, inside(name), "is missing");
                }
            }
            for (name, member) in members {
                match of(schema, "properties").get(name) {
                    Some(schema) => walk(schema, member, &inside(name), found),
                    None if *of(schema, "additionalProperties") == false => {
                        let expected: Vec<&str> = known.keys().map(String::as_str).collect();
                        note(found, inside(name), format!("is not known here; known are {}", expected.join(", ")));
                    }
                    None => {}
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = schema.get("items") {
                for (index, item) in items.iter().enumerate() {
                    walk(schema, item, &inside(&index.to_string()), found);
                }
            }
        }
        Value::String(text) => {
            let fault = match of(schema, "format").as_str() {
                Some("uuid") if Uuid::try_parse(text).is_err() => "must be a UUID",
                Some("date-time") if DateTime::parse_from_rfc3339(text).is_err() => {
                    "must be a moment as RFC 3339 writes it, as 2030-05-01T10:00:00Z"
                }
                _ => return,
            };
            note(found, at, fault);
        }
        Value::Number(number) => {
            let least_and_most = match of(schema, "format").as_str() {
                Some("int32") => i64::from(i32::MIN)..=i64::from(i32::MAX),
                _ => return,
            };
            if number.as_i64().is_some_and(|number| !least_and_most.contains(&number)) {
                note(found, at, format!("must be {} to {}", least_and_most.start(), least_and_most.end()));
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoints::reservations::NewReservation;

    fn told(body: &str) -> Vec<String> {
        learn(&crate::openapi::text());
        faults::<NewReservation>(body.as_bytes())
            .iter()
            .map(|fault| format!("{}: {}", fault.field, fault.message))
            .collect()
    }

    #[test]
    fn the_whole_examples_of_answers_are_what_their_schemas_say() {
        learn(&crate::openapi::text());
        let document: &'static Value = Box::leak(Box::new(crate::openapi::document()));
        let mut found = Faults::new();
        for (path, operations) in document["paths"].as_object().expect("paths") {
            for (method, operation) in operations.as_object().expect("operations") {
                for (status, response) in operation["responses"].as_object().expect("responses") {
                    let answer = &response["content"]["application/json"];
                    if !answer["example"].is_null() {
                        walk(&answer["schema"], &answer["example"], &format!("{method} {path} {status}"), &mut found);
                    }
                }
            }
        }
        let found: Vec<String> = found.iter().map(|fault| format!("{}: {}", fault.field, fault.message)).collect();
        assert!(found.is_empty(), "{found:#?}");
    }

    #[test]
    fn everything_is_told_at_once_and_where_it_stands() {
        let id = Uuid::nil();
        assert!(told(&format!("{{\"seats\":[{{\"seat_id\":\"{id}\",\"version\":1}}]}}")).is_empty());
        assert_eq!(told("[]"), [": must be an object"]);
        assert_eq!(told("{}"), ["seats: is missing"]);
        let many: Vec<String> = (0..1_000).map(|n| format!("\"m{n}\":0")).collect();
        assert_eq!(told(&format!("{{{}}}", many.join(","))).len(), TOLD);
        assert_eq!(
            told(
                "{\"seats\":[{\"seat_id\":7,\"version\":\"1\"},{\"seat_id\":\"x\",\"version\":9999999999,\"a/b\":1}]}"
            ),
            [
                "seats/0/seat_id: must be a text",
                "seats/0/version: must be a whole number",
                "seats/1/a~1b: is not known here; known are seat_id, version",
                "seats/1/seat_id: must be a UUID",
                "seats/1/version: must be -2147483648 to 2147483647",
            ]
        );
    }
}
