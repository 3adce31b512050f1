//! One whole example of each success answer in the document. Texts come from what writes them, beside their endpoints; what
//! is JSON is put together here from the examples of its members, so that it has what the schemas say.

use serde_json::{Map, Value, json};

/// Where an answer is another than the examples of its members make it: the operation, the member, its value.
fn particulars() -> [(&'static str, &'static str, Value); 8] {
    let row = |position: i64, low: i64, high: i64| {
        let eta = json!({ "low": low, "high": high });
        json!({ "position": position, "now": eta, "then": eta })
    };
    [
        // All seats are of the one section that is shown.
        ("readQueue", "/stock", json!({ "available": 1_204, "held": 37, "sold": 259 })),
        ("createConcert", "/sale_state", json!("draft")),
        ("createConcert", "/next_show_at", Value::Null),
        ("createConcert", "/version", json!(1)),
        ("pauseQueue", "/sale_state", json!("paused")),
        ("drainQueue", "/sale_state", json!("draining")),
        ("closeQueue", "/sale_state", json!("closed")),
        // The settings of the example of the request, in a line that has them already.
        (
            "forecastQueue",
            "/positions",
            json!([row(1, 0, 960), row(21_000, 2_940, 9_060), row(37_800, 5_340, 16_260), row(42_000, 5_940, 18_060)]),
        ),
    ]
}

/// Gives an example to each success answer of an operation that is JSON and has none.
pub(crate) fn give(operation: &mut Map<String, Value>, schemas: &Value) {
    let id = operation.get("operationId").and_then(Value::as_str).unwrap_or_default().to_owned();
    let responses = operation.get_mut("responses").and_then(Value::as_object_mut).into_iter().flatten();
    for (_, response) in responses.filter(|(status, _)| status.starts_with('2')) {
        let answer = response.pointer_mut("/content/application~1json").and_then(Value::as_object_mut);
        let Some(answer) = answer.filter(|answer| !answer.contains_key("example")) else { continue };
        let mut whole = answer.get("schema").map_or(Value::Null, |schema| example_of(schema, schemas));
        for (_, member, value) in particulars().into_iter().filter(|(operation, ..)| *operation == id) {
            if let Some(member) = whole.pointer_mut(member) {
                *member = value;
            }
        }
        answer.insert("example".to_owned(), whole);
    }
}

/// An example of a schema: of an object one of each of its members, of a list one item. Null where the schema says nothing,
/// which is right for what may be null.
fn example_of(schema: &Value, schemas: &Value) -> Value {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let name = reference.rsplit('/').next().unwrap_or_default();
        return schemas.get(name).map_or(Value::Null, |schema| example_of(schema, schemas));
    }
    if let Some(members) = schema.get("properties").and_then(Value::as_object) {
        return members.iter().map(|(name, member)| (name.clone(), example_of(member, schemas))).collect();
    }
    if let Some(example) = schema.get("example").or_else(|| schema.pointer("/examples/0")) {
        return example.clone();
    }
    // What it is, or null.
    if let Some(choice) = schema.pointer("/oneOf/0") {
        return example_of(choice, schemas);
    }
    match schema.get("items") {
        Some(items) => Value::Array(vec![example_of(items, schemas)]),
        None => Value::Null,
    }
}
