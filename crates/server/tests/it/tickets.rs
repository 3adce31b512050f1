use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::{Signature, Verifier, VerifyingKey};
use onsale_test_support::{App, World};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_verifies_a_ticket_with_the_public_key_alone() {
    World::with(async |world| {
        let app = world.app().await;
        let sale = app.sale(4, 100).await;
        let mut fans = app.fans(2, 1_000).await;
        let mut fan = fans.remove(0);
        app.join(&mut fan, &sale).await;
        let seats = app.seats(&fan, &sale).await;
        let reserved =
            fan.post(&format!("shows/{}/reservations", sale.show), App::choice(&seats[..2])).await.expect(201);
        let path = format!("reservations/{}/payment", reserved.json["id"].as_str().unwrap());
        let paid = fan.post_empty(&path).await.expect(201);
        assert_eq!(paid.json["tickets"].as_array().unwrap().len(), 2);
        let listed = fan.get("me/tickets").await.expect(200);
        assert_eq!(listed.json["items"].as_array().unwrap().len(), 2);
        let ticket = &listed.json["items"][0];
        let id = ticket["id"].as_str().unwrap();
        assert_eq!(fan.get(&format!("tickets/{id}")).await.expect(200).json["code"], ticket["code"]);
        // It says what it is for, whose it is, and what it cost.
        let show = app.operator().await.get(&format!("admin/shows/{}", sale.show)).await.expect(200).json;
        let me = fan.get("me").await.expect(200).json;
        for (member, expected) in [
            ("concert_id", &json!(sale.concert)),
            ("venue", &show["venue"]),
            ("starts_at", &show["starts_at"]),
            ("currency", &show["currency"]),
            ("holder_name", &me["display_name"]),
            ("price_minor", &json!(100)),
        ] {
            assert_eq!(&ticket[member], expected, "{member}");
        }
        assert!(ticket["concert_title"].as_str().is_some_and(|title| !title.is_empty()));
        fans[0].get(&format!("tickets/{id}")).await.expect_problem(404, "not_found");
        fans[0].get(&format!("tickets/{id}/qr")).await.expect_problem(404, "not_found");

        // And on a page to print, where nothing that people wrote becomes a part of the page.
        let page = fan.get(&format!("tickets/{id}/page")).await.expect(200);
        let page = String::from_utf8_lossy(&page.bytes).into_owned();
        for part in ["Test concert", "Test hall", "2100-01-01 10:00 UTC", "section A, row 1", "100 KRW", "<svg"] {
            assert!(page.contains(part), "{part} is not on {page}");
        }
        fans[0].get(&format!("tickets/{id}/page")).await.expect_problem(404, "not_found");

        let keys = app.nobody().get("/.well-known/jwks.json").await.expect(200);
        let x = URL_SAFE_NO_PAD.decode(keys.json["keys"][0]["x"].as_str().unwrap()).unwrap();
        let key = VerifyingKey::from_bytes(&x.try_into().unwrap()).unwrap();
        let code = ticket["code"].as_str().unwrap();
        let (signed, signature) = code.rsplit_once('.').unwrap();
        let signature = Signature::from_slice(&URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
        key.verify(signed.as_bytes(), &signature).expect("genuine");
        let read = |part: &str| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
        let claims = read(signed.split_once('.').unwrap().1);
        // Never again 38: receipts are signed with the same key, and say that they are something else.
        let kind = |jws: &str| {
            let (head, rest) = jws.split_once('.').unwrap();
            (read(head)["typ"].clone(), read(rest.split_once('.').unwrap().0)["aud"].clone())
        };
        assert_eq!(kind(code), ("onsale-ticket+jwt".into(), "onsale-gate".into()));
        fans[0].post_empty(&format!("concerts/{}/queue/tokens", sale.concert)).await.expect(201);
        let receipt = fans[0].get(&format!("concerts/{}/queue/tokens/me/receipt", sale.concert)).await.expect(200);
        assert_eq!(
            kind(receipt.json["receipt"].as_str().unwrap()),
            ("onsale-receipt+jwt".into(), "onsale-line".into())
        );
        assert_eq!((claims["sub"].as_str(), claims["show"].as_str()), (Some(id), Some(sale.show.as_str())));

        let svg = fan.get(&format!("tickets/{id}/qr")).await.expect(200);
        assert_eq!(svg.header("content-type"), "image/svg+xml");
        assert!(String::from_utf8_lossy(&svg.bytes).contains("<svg"));
        let png = fan.get(&format!("tickets/{id}/qr?format=png")).await.expect(200);
        assert_eq!(png.bytes[..8], *b"\x89PNG\r\n\x1a\n");
        fan.get(&format!("tickets/{id}/qr?format=gif")).await.expect_problem(400, "malformed_request");
    })
    .await;
}
