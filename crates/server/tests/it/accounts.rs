use onsale_application::housekeeping::Sweeper;
use onsale_test_support::World;
use serde_json::json;

use crate::{at_once, tally};

#[tokio::test(flavor = "multi_thread")]
async fn never_again_13_a_newcomer_signs_up_logs_in_and_is_known() {
    World::with(async |world| {
        let app = world.app().await;
        let nobody = app.nobody();
        let body = json!({ "email": "Mina@Example.org", "password": "correct horse battery", "display_name": "Mina" });
        let signed_up = nobody.post("auth/signup", body.clone()).await.expect(201);
        assert_eq!(signed_up.json["user"]["email"], "mina@example.org");
        assert_eq!(signed_up.json["user"]["role"], "fan");
        assert_eq!(signed_up.json["expires_in"], 900);
        nobody.post("auth/signup", body).await.expect_problem(409, "email_taken");
        let login = json!({ "email": "mina@example.ORG", "password": "correct horse battery" });
        let mut mina = app.nobody();
        mina.access_token =
            nobody.post("auth/login", login).await.expect(200).json["access_token"].as_str().map(str::to_owned);
        assert_eq!(mina.get("me").await.expect(200).json["display_name"], "Mina");
        for (email, password) in
            [("mina@example.org", "wrong horse battery"), ("nobody@example.org", "correct horse battery")]
        {
            let answer = nobody.post("auth/login", json!({ "email": email, "password": password })).await;
            answer.expect_problem(401, "bad_credentials");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn never_again_22_a_used_refresh_token_revokes_its_whole_session() {
    World::with(async |world| {
        let app = world.app().await;
        let nobody = app.nobody();
        let body = json!({ "email": "a@example.org", "password": "correct horse battery", "display_name": "A" });
        let first = nobody.post("auth/signup", body).await.expect(201).json["refresh_token"].clone();
        let second =
            nobody.post("auth/refresh", json!({ "refresh_token": first })).await.expect(200).json["refresh_token"]
                .clone();
        assert_ne!(first, second);
        nobody.post("auth/refresh", json!({ "refresh_token": first })).await.expect_problem(401, "refresh_reused");
        let revoked = nobody.post("auth/refresh", json!({ "refresh_token": second })).await;
        revoked.expect_problem(401, "refresh_invalid");
        nobody.post("auth/refresh", json!({ "refresh_token": "made up" })).await.expect_problem(401, "refresh_invalid");
        // What is stored is a hash.
        let token = first.as_str().unwrap();
        let stored =
            format!("SELECT count(*) AS n FROM refresh_tokens WHERE encode(token_hash, 'escape') LIKE '%{token}%'");
        assert_eq!(world.sql().await.number(&stored).await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_simultaneous_refreshes_wins_and_the_session_ends() {
    World::with(async |world| {
        let app = world.app().await;
        let nobody = app.nobody();
        let body = json!({ "email": "a@example.org", "password": "correct horse battery", "display_name": "A" });
        let token = nobody.post("auth/signup", body).await.expect(201).json["refresh_token"].clone();
        let answers = at_once((0..20).map(|_| {
            let (nobody, token) = (nobody.clone(), token.clone());
            async move { nobody.post("auth/refresh", json!({ "refresh_token": token })).await }
        }))
        .await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1, "{:?}", tally(&answers));
        let winner = answers.iter().find(|answer| answer.status == 200).unwrap().json["refresh_token"].clone();
        let after = nobody.post("auth/refresh", json!({ "refresh_token": winner })).await;
        after.expect_problem(401, "refresh_invalid");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logging_out_ends_the_session_and_nobody_elses() {
    World::with(async |world| {
        let app = world.app().await;
        let nobody = app.nobody();
        let sign_up = |email: &str| json!({ "email": email, "password": "correct horse battery", "display_name": "A" });
        let a = nobody.post("auth/signup", sign_up("a@example.org")).await.expect(201).json;
        let b = nobody.post("auth/signup", sign_up("b@example.org")).await.expect(201).json;
        let mut client = app.nobody();
        client.access_token = a["access_token"].as_str().map(str::to_owned);
        // Another fan's refresh token is not ended.
        client.post("auth/logout", json!({ "refresh_token": b["refresh_token"] })).await.expect(204);
        nobody.post("auth/refresh", json!({ "refresh_token": b["refresh_token"] })).await.expect(200);
        client.post("auth/logout", json!({ "refresh_token": a["refresh_token"] })).await.expect(204);
        let ended = nobody.post("auth/refresh", json!({ "refresh_token": a["refresh_token"] })).await;
        ended.expect_problem(401, "refresh_invalid");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn never_again_14_roles_are_given_by_operators_alone() {
    World::with(async |world| {
        let app = world.app().await;
        let (email, password) = ("x@example.org", "correct horse battery");
        let body = json!({ "email": email, "password": password, "display_name": "X", "role": "operator" });
        app.nobody().post("auth/signup", body).await.expect_problem(400, "malformed_request");
        let fan = app.fan("fan").await;
        fan.post("admin/concerts", json!({ "title": "Mine" })).await.expect_problem(403, "forbidden");
        app.nobody().post("admin/concerts", json!({ "title": "Mine" })).await.expect_problem(401, "unauthenticated");
        assert_eq!(world.sql().await.number("SELECT count(*) AS n FROM concerts").await, 0);
        app.operator().await.post("admin/concerts", json!({ "title": "Ours" })).await.expect(201);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_for_one_address_are_limited_whoever_tries() {
    World::with(async |world| {
        world.set("ONSALE_HTTP_LOGINS_PER_MIN", "5");
        let app = world.app().await;
        let answers =
            at_once((0..12).map(|_| {
                let nobody = app.nobody();
                async move {
                    nobody.post("auth/login", json!({ "email": "v@example.org", "password": "guess guess" })).await
                }
            }))
            .await;
        let limited: Vec<_> = answers.iter().filter(|answer| answer.status == 429).collect();
        assert!(limited.len() >= 6, "{:?}", tally(&answers));
        assert!(limited.iter().all(|answer| answer.header("retry-after").parse::<u32>().is_ok_and(|secs| secs >= 1)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_user_cannot_ask_without_end() {
    World::with(async |world| {
        world.set("ONSALE_HTTP_USER_REQUESTS_PER_SEC", "5");
        let app = world.app().await;
        let fans = app.fans(2, 0).await;
        let answers = at_once((0..60).map(|_| {
            let fan = fans[0].clone();
            async move { fan.get("me").await }
        }))
        .await;
        assert!(answers.iter().any(|answer| answer.status == 429), "{:?}", tally(&answers));
        assert!(answers.iter().all(|answer| answer.status == 200 || answer.code() == "too_many_requests"));
        fans[1].get("me").await.expect(200);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_minted_only_where_that_is_switched_on() {
    World::with(async |world| {
        world.set("ONSALE_AUTH_ALLOW_TOKEN_MINT", "false");
        let app = world.app().await;
        let refused = onsale_server::mint::mint(&app.config, &app.instance.postgres, 1, 0, "t", 900).await;
        assert!(matches!(refused, Err(onsale_server::mint::MintError::SwitchedOff)));
        assert_eq!(world.sql().await.number("SELECT count(*) AS n FROM users").await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refresh_tokens_that_ended_are_swept_in_batches_and_younger_ones_still_work() {
    World::with(async |world| {
        let app = world.app().await;
        let nobody = app.nobody();
        let mut tokens = vec![];
        for name in ["first", "second", "third", "young"] {
            let email = format!("{name}@example.org");
            let body = json!({ "email": email, "password": "correct horse battery", "display_name": name });
            tokens.push(nobody.post("auth/signup", body).await.expect(201).json["refresh_token"].clone());
        }
        let mut sql = world.sql().await;
        sql.run(
            "UPDATE refresh_tokens t SET expires_at = now() - interval '1 s' FROM users u
             WHERE u.id = t.user_id AND u.display_name <> 'young'",
        )
        .await
        .unwrap();
        let sweep = async || app.instance.postgres.sweep_leftovers(2).await.unwrap();
        assert_eq!(sweep().await, 2, "a batch");
        assert_eq!((sweep().await, sweep().await), (1, 0));
        assert_eq!(sql.number("SELECT count(*) AS n FROM refresh_tokens").await, 1);
        let young = tokens.pop().unwrap();
        nobody.post("auth/refresh", json!({ "refresh_token": young })).await.expect(200);
        for ended in tokens {
            let refused = nobody.post("auth/refresh", json!({ "refresh_token": ended })).await;
            refused.expect_problem(401, "refresh_invalid");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_refresh_token_is_not_swept_before_its_end_so_its_reuse_still_shows() {
    World::with(async |world| {
        let app = world.app().await;
        let nobody = app.nobody();
        let body = json!({ "email": "a@example.org", "password": "correct horse battery", "display_name": "A" });
        let used = nobody.post("auth/signup", body).await.expect(201).json["refresh_token"].clone();
        let refresh = async || nobody.post("auth/refresh", json!({ "refresh_token": used })).await;
        refresh().await.expect(200);
        assert_eq!(app.instance.postgres.sweep_leftovers(10).await.unwrap(), 0);
        refresh().await.expect_problem(401, "refresh_reused");
    })
    .await;
}
