//! Documents that must stay true.

use std::{collections::BTreeSet, path::Path, process::Command};

use onsale_domain::{concert::SaleState, queue::QueuePolicy};
use onsale_http_api::{
    problem::Code,
    routes::{Access, GROUPS, ROUTES},
};
use onsale_test_support::World;
use serde_json::Value;

fn project_file(path: &str) -> String {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../");
    std::fs::read_to_string(format!("{root}{path}")).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn the_kept_openapi_document_is_current() {
    let current = onsale_http_api::openapi::text();
    assert!(project_file("docs/openapi.json") == current, "docs/openapi.json is old: run script/openapi");
}

#[test]
fn every_code_is_documented() {
    let api = project_file("docs/API.md");
    for code in Code::ALL {
        let row = format!("| `{}` | {} | {} |", code.as_str(), code.status(), code.title());
        assert!(api.contains(&row), "docs/API.md does not have: {row}");
    }
}

fn with_commas(number: i32) -> String {
    let digits = number.to_string();
    let parts: Vec<&str> = digits.as_bytes().rchunks(3).rev().map(|part| std::str::from_utf8(part).unwrap()).collect();
    parts.join(",")
}

#[test]
fn every_setting_of_a_line_is_documented_with_its_range_default_and_text() {
    let api = project_file("docs/API.md");
    for setting in QueuePolicy::SETTINGS {
        let (low, high) = setting.range;
        let (range, default) = if setting.is_switch {
            ("true, false".to_owned(), (setting.default == 1).to_string())
        } else {
            (format!("{} to {}", with_commas(low), with_commas(high)), with_commas(setting.default))
        };
        let row = format!("| `{}` | {range} | {default} | {} |", setting.name, setting.text);
        assert!(api.contains(&row), "docs/API.md does not have: {row}");
    }
}

/// The table of routes in API.md says of each route who may call it, with which headers, what succeeds, and which problems are
/// its own, as the OpenAPI document has it.
#[test]
fn api_md_and_the_openapi_document_have_the_same_routes() {
    let api = project_file("docs/API.md");
    let document = onsale_http_api::openapi::document();
    let mut expected = BTreeSet::new();
    for route in ROUTES {
        let operation = &document["paths"][route.path][route.method.to_ascii_lowercase()];
        let who = match route.access {
            Access::Public => "everybody",
            Access::SignedIn => "signed in",
            Access::Follower => "signed in, or a pass",
            Access::BehindTheLine => "active turn",
            Access::Operator => "operator",
        };
        let security = operation["security"].as_array().unwrap();
        let shows_token = |one: &Value| one["queue_token"].is_array();
        let mut headers = vec![];
        if route.access != Access::BehindTheLine && security.iter().any(shows_token) {
            headers.push(
                if security.iter().all(shows_token) { "`Queue-Token`, required" } else { "`Queue-Token`" }.to_owned(),
            );
        }
        for parameter in operation["parameters"].as_array().into_iter().flatten().filter(|one| one["in"] == "header") {
            let required = if parameter["required"] == true { ", required" } else { "" };
            headers.push(format!("`{}`{required}", parameter["name"].as_str().unwrap()));
        }
        let statuses = operation["responses"].as_object().unwrap().keys();
        let good: Vec<_> = statuses.filter(|status| status.starts_with(['2', '3'])).cloned().collect();
        let own: Vec<_> = route.own.iter().map(|code| format!("`{}`", code.as_str())).collect();
        let path = route.path.strip_prefix("/api/v1").unwrap_or(route.path);
        let (headers, good, own) = (headers.join(", "), good.join(", "), own.join(", "));
        expected.insert(format!("{} `{path}` | {who} | {headers} | {good} | {own} | {}", route.method, route.group));
    }
    let (mut told, mut group) = (BTreeSet::new(), "");
    for line in api.lines() {
        if let Some(title) = line.strip_prefix("### ") {
            group = title;
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if let ["", method @ ("GET" | "POST" | "PUT" | "PATCH" | "DELETE"), path, who, headers, good, .., own, ""] =
            cells[..]
        {
            told.insert(format!("{method} {path} | {who} | {headers} | {good} | {own} | {group}"));
        }
    }
    let missing: Vec<_> = expected.difference(&told).collect();
    let wrong: Vec<_> = told.difference(&expected).collect();
    assert!(missing.is_empty() && wrong.is_empty(), "docs/API.md misses {missing:#?} and says {wrong:#?}");
}

/// Whoever reads the page sees short titles, the order of work, and one way to show each token.
#[test]
fn every_operation_has_a_short_title_a_group_and_the_queue_token_by_its_scheme() {
    let text = onsale_http_api::openapi::text();
    let document: Value = serde_json::from_str(&text).unwrap();
    let groups: Vec<_> = document["tags"].as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap()).collect();
    assert_eq!(groups, GROUPS.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    for route in ROUTES {
        let operation = &document["paths"][route.path][route.method.to_ascii_lowercase()];
        let summary = operation["summary"].as_str().unwrap();
        assert!(summary.len() <= 50 && !summary.ends_with('.'), "{summary}");
        assert_eq!(operation["tags"], serde_json::json!([route.group]));
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        assert!(parameters.iter().all(|parameter| parameter["name"] != "Queue-Token"), "{}", route.path);
    }
    // Paths come in the order of the table.
    let mut order: Vec<&str> = ROUTES.iter().map(|route| route.path).collect();
    let mut seen = BTreeSet::new();
    order.retain(|path| seen.insert(*path));
    let at: Vec<_> = order.iter().map(|path| text.find(&format!("    \"{path}\": {{")).unwrap()).collect();
    assert!(at.is_sorted(), "{order:?}");
}

#[test]
fn every_defect_that_must_never_come_back_has_its_row_and_its_test() {
    let table = project_file("docs/NEVER-AGAIN.md");
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it");
    let tests: String =
        std::fs::read_dir(folder).unwrap().map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    let named = |text: &str| -> BTreeSet<String> {
        let parts = text.split("never_again_").skip(1);
        let names =
            parts.map(|part| part.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap().to_owned());
        names.filter(|name| name.starts_with(|c: char| c.is_ascii_digit()) && name.contains('_')).collect()
    };
    assert_eq!(named(&table), named(&tests));
}

/// The rows of all tables of a page that have this head, cell by cell.
fn rows_below<'a>(page: &'a str, head: &str) -> Vec<Vec<&'a str>> {
    let mut rows = vec![];
    let mut lines = page.lines();
    while lines.any(|line| line == head) {
        let table = lines.by_ref().skip(1).take_while(|line| line.starts_with('|'));
        rows.extend(table.map(|line| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>()));
    }
    rows
}

/// The names of all tests in a folder: `module::name` of those that run on real stores, the name alone of those beside a rule.
fn tests_below(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests_below(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let module = folder.ends_with("server/tests/it").then(|| path.file_stem().unwrap().to_str().unwrap());
            let mut is_test = false;
            for line in text.lines().map(str::trim) {
                if line == "#[test]" || line.starts_with("#[tokio::test") {
                    is_test = true;
                } else if let Some((_, name)) = line.split_once("fn ").filter(|_| is_test) {
                    let name = name.split('(').next().unwrap();
                    names.insert(module.map_or_else(|| name.to_owned(), |module| format!("{module}::{name}")));
                    is_test = false;
                }
            }
        }
    }
}

#[test]
fn every_guarantee_names_the_tests_that_fail_when_it_breaks() {
    let page = project_file("docs/GUARANTEES.md");
    let guarantees = rows_below(&page, "| guarantee | carried by | where |");
    let tested = rows_below(&page, "| guarantee | tests |");
    let first = |rows: &[Vec<&str>]| rows.iter().map(|row| row[0].to_owned()).collect::<Vec<_>>();
    assert!(!guarantees.is_empty(), "docs/GUARANTEES.md has no guarantees");
    assert_eq!(first(&tested), first(&guarantees), "both lists in docs/GUARANTEES.md name the same, in the same order");
    let mut tests = BTreeSet::new();
    tests_below(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")), &mut tests);
    let mut faults = vec![];
    for row in &tested {
        let names: Vec<&str> = row[1].split('`').skip(1).step_by(2).collect();
        if names.is_empty() {
            faults.push(format!("{}: no test is named", row[0]));
        }
        let unknown = names.iter().filter(|name| !tests.contains(**name));
        faults.extend(unknown.map(|name| format!("{}: there is no test {name}", row[0])));
    }
    assert!(faults.is_empty(), "docs/GUARANTEES.md: {faults:#?}");
}

/// Names of the schemas that this value refers to.
fn referred(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            if let Some(name) = members.get("$ref").and_then(Value::as_str) {
                found.extend(name.rsplit('/').next().map(str::to_owned));
            }
            members.values().for_each(|member| referred(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| referred(item, found)),
        _ => {}
    }
}

/// One thing has one name in every body: money in minor units with its currency beside it, seats and their counts, stages, moments.
#[test]
fn the_api_speaks_one_vocabulary() {
    let document = onsale_http_api::openapi::document();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let mut requests = BTreeSet::new();
    for operation in document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values())
    {
        referred(&operation["requestBody"], &mut requests);
    }
    let no_members = serde_json::Map::new();
    let members_of = |name: &str| schemas[name]["properties"].as_object().unwrap_or(&no_members);
    let containers = |inner: &str| {
        let holds = |schema: &Value| {
            let mut found = BTreeSet::new();
            referred(schema, &mut found);
            found.contains(inner)
        };
        schemas.iter().filter(|(_, schema)| holds(schema)).map(|(name, _)| name.as_str()).collect::<Vec<_>>()
    };
    let mut faults = vec![];
    for name in schemas.keys() {
        let members = members_of(name);
        let has = |member: &str| members.contains_key(member);
        for (member, schema) in members {
            let mut fault = |what: &str| faults.push(format!("{name}.{member} {what}"));
            let words: Vec<&str> = member.split('_').collect();
            if words.iter().any(|word| ["price", "amount", "balance", "revenue", "cost"].contains(word))
                && !member.ends_with("_minor")
            {
                fault("is money, in minor units: `..._minor`");
            }
            let bound = words.iter().any(|word| ["low", "high"].contains(word)) && member.ends_with("_minor");
            if bound || ["left", "free", "remaining", "taken"].contains(&member.as_str()) {
                fault("has another name: `price_min_minor`, `price_max_minor`; `available`, `held`, `sold`");
            }
            if schema["format"] == "date-time" && !member.ends_with("_at") {
                fault("is a moment: `..._at`");
            }
            let stage =
                schema["example"].as_str().and_then(SaleState::parse).is_some_and(|stage| stage != SaleState::PreQueue);
            if stage && member != "sale_state" || member == "sale_state" && !stage && !schema["example"].is_null() {
                fault("and `sale_state` are the same");
            }
        }
        if name.ends_with("Dto") {
            faults.push(format!("{name} is no word of the API"));
        }
        let money = members.keys().any(|member| member.ends_with("_minor"));
        let beside = has("currency") || {
            let around = containers(name);
            !around.is_empty() && around.iter().all(|container| members_of(container).contains_key("currency"))
        };
        if money && !beside && !requests.contains(name) && name != "SeatBlock" && name != "NewSeat" {
            faults.push(format!("{name} has money without its `currency`"));
        }
        if has("row") && !(has("section") && has("number") && (has("seat_id") || name == "NewSeat")) {
            faults.push(format!("{name} is a seat: `seat_id`, `section`, `row`, `number`"));
        }
        if has("version") && has("section") && has("id") {
            faults.push(format!("{name}.id is a seat's: `seat_id`"));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

/// The whole example of what a path answers to GET as text of this kind.
fn text_example(path: &str, kind: &str) -> String {
    let document = onsale_http_api::openapi::document();
    let answer = &document["paths"][path]["get"]["responses"]["200"]["content"][kind];
    answer["example"].as_str().unwrap_or_else(|| panic!("{path} has no example of {kind}")).to_owned()
}

#[test]
fn the_examples_of_the_log_and_the_draw_are_those_of_accountable_md_and_hold() {
    let accountable = project_file("docs/ACCOUNTABLE.md");
    let folder = tempfile::tempdir().unwrap();
    let mut arguments = vec!["line".to_owned(), "verify".to_owned()];
    for (list, sealed) in [("log", "hash"), ("draw", "ballot")] {
        let text = text_example(&format!("/api/v1/concerts/{{id}}/queue/{list}"), "application/x-ndjson");
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(lines.len() > 3, "{text}");
        for line in lines {
            assert!(line[sealed].as_str().is_none_or(|told| accountable.contains(told)), "{line}");
        }
        let file = folder.path().join(list);
        std::fs::write(&file, text).unwrap();
        arguments.extend([format!("--{list}"), file.to_str().unwrap().to_owned()]);
    }
    let output = Command::new(env!("CARGO_BIN_EXE_onsale")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn the_example_of_a_stream_has_a_place_as_the_schema_says() {
    let document = onsale_http_api::openapi::document();
    let stream = text_example("/api/v1/concerts/{id}/queue/tokens/me/events", "text/event-stream");
    let data = stream.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    let place: Value = serde_json::from_str(data).unwrap();
    let members: Vec<_> = place.as_object().unwrap().keys().collect();
    let schema = &document["components"]["schemas"]["QueuePlace"]["properties"];
    assert_eq!(members, schema.as_object().unwrap().keys().collect::<Vec<_>>());
    assert_eq!(place["odds"], schema["odds"]["example"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_swagger_page_works_without_a_network_and_health_and_metrics_answer() {
    World::with(async |world| {
        let app = world.app().await;
        let nobody = app.nobody();
        let page = nobody.get("/docs/").await.expect(200);
        let page = String::from_utf8_lossy(&page.bytes).into_owned();
        assert!(page.contains("<title>Onsale</title>"), "{page}");
        assert!(!page.contains("https://") && !page.contains("http://"), "the page loads from elsewhere: {page}");
        for file in ["/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css", "/docs/swagger-initializer.js"] {
            nobody.get(file).await.expect(200);
        }
        let settings = nobody.get("/docs/swagger-initializer.js").await.expect(200);
        let settings = String::from_utf8_lossy(&settings.bytes).into_owned();
        for setting in ["\"persistAuthorization\": true", "\"validatorUrl\": \"none\""] {
            assert!(settings.contains(setting), "{setting} is not in {settings}");
        }
        nobody.get("/docs/nothing.js").await.expect_problem(404, "not_found");
        let document = nobody.get("/openapi.json").await.expect(200);
        assert_eq!(document.json["openapi"], "3.1.0");
        // Each code has a page, where the `type` of its problems leads.
        for code in Code::ALL {
            let page = nobody.get(&format!("/problems/{}", code.as_str())).await.expect(200);
            let page = String::from_utf8_lossy(&page.bytes).into_owned();
            assert!(page.contains(code.title()) && page.contains("What to do") && !page.contains('`'), "{page}");
        }
        nobody.get("/problems/invented").await.expect_problem(404, "not_found");
        nobody.get("/livez").await.expect(200);
        nobody.get("/readyz").await.expect(200);
        let sale = app.sale(1, 100).await;
        nobody.get(&format!("concerts/{}", sale.concert)).await.expect(200);
        nobody.raw("INVENTED", "/livez", &[], None).await.expect(405);
        let metrics = nobody.get("/metrics").await.expect(200);
        let text = String::from_utf8_lossy(&metrics.bytes).into_owned();
        assert!(text.contains("onsale_http_request_duration_seconds_bucket"), "{text}");
        assert!(text.contains("route=\"/api/v1/concerts/{id}\""), "{text}");
        assert!(text.contains("onsale_pool_connections"), "{text}");
        assert!(!text.contains("INVENTED"), "a client made a time series: {text}");
    })
    .await;
}
