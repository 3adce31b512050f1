//! Documents that must stay true.

use onsale_http_api::problem::Code;
use onsale_test_support::World;

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
        assert!(api.contains(&format!("`{}`", code.as_str())), "docs/API.md does not name {}", code.as_str());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_swagger_page_works_without_a_network_and_health_and_metrics_answer() {
    let world = World::new().await;
    let app = world.app().await;
    let nobody = app.nobody();
    let page = nobody.get("/docs/").await.expect(200);
    let page = String::from_utf8_lossy(&page.bytes).into_owned();
    assert!(!page.contains("https://") && !page.contains("http://"), "the page loads from elsewhere: {page}");
    for file in ["/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css", "/docs/swagger-initializer.js"] {
        nobody.get(file).await.expect(200);
    }
    let document = nobody.get("/openapi.json").await.expect(200);
    assert_eq!(document.json["openapi"], "3.1.0");
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
    app.stop().await;
    world.close().await;
}
