//! The line on disk: grouped joins, numbers without gaps, nobody overtaken when a process dies or stalls between the database
//! and the line's store, and loading.

use std::collections::BTreeMap;

use deadpool_redis::redis;
use onsale_application::{
    error::StoreError,
    housekeeping::Sweeper,
    line::{
        Entrant, Entrants, Entry, Found, Intent, Joiner, LineJournal, LinePlaces, LineStore, Loading, News, Promoted,
        Stand, Taken, Tick, Written,
    },
};
use onsale_domain::{
    ids::{ConcertId, UserId},
    queue::{LogKind, batch_hash, check_log},
};
use onsale_local_stack::{Stack, StackConfig};
use onsale_test_support::{App, World};
use serde_json::json;
use uuid::Uuid;

use crate::{
    at_once,
    crash::Server,
    lane::{Lane, key, policy, redis},
    tally,
};

fn user() -> UserId {
    UserId(Uuid::new_v4())
}

/// Commits joins and stops before the line's store hears of them. Answers what it would have told the store.
async fn commit_only(app: &App, concert: ConcertId, users: &[UserId]) -> Entrants {
    let joiners: Vec<Joiner> = users.iter().map(|user_id| Joiner { user_id: *user_id, id: Uuid::now_v7() }).collect();
    let ids: BTreeMap<UserId, Uuid> = joiners.iter().map(|joiner| (joiner.user_id, joiner.id)).collect();
    let taken = app.instance.postgres.join(concert, &joiners).await.unwrap();
    let mut places: Vec<Entrant> = taken
        .into_iter()
        .map(|(user_id, taken)| {
            let Taken::New(number) = taken else { panic!("{taken:?}") };
            Entrant { user_id, number, token_id: Some(ids[&user_id]), moved: false }
        })
        .collect();
    places.sort_by_key(|place| place.number);
    let range = places.first().zip(places.last()).map(|(first, last)| (first.number, last.number));
    Entrants { why: Entry::Joined(range), places }
}

/// A tick of the store alone: nobody fills gaps from the database, and who is called is not written down.
async fn call_only(lane: &Lane<'_>, admit: i64) {
    let concert = &lane.concert;
    let tick = Tick {
        state: concert.sale_state,
        policy: concert.policy,
        message: String::new(),
        version: concert.version,
        sold_out: None,
        admit,
    };
    let Promoted::Done(_) = lane.app.instance.lines.promote(concert.id, &tick).await.unwrap() else { panic!("lost") };
}

/// The same, and who is called is written down. Answers how many became active.
async fn promote_only(lane: &Lane<'_>, admit: i64) -> i64 {
    call_only(lane, admit).await;
    lane.app.instance.keeper.write_news(&lane.concert).await.unwrap()
}

/// Ticks until the line is loaded, by this or by whoever else has noticed. Answers how many became active.
async fn tick_until_loaded(lane: &Lane<'_>) -> i64 {
    loop {
        match lane.app.instance.keeper.tick(&lane.concert).await {
            Ok(ticked) => return ticked.promoted,
            Err(StoreError::Unavailable(_)) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Numbers in the order in which they were first called.
async fn called(app: &App, concert: ConcertId) -> Vec<i64> {
    let log = app.instance.api.facades.line_records.log(concert, 0, 1_000_000).await.unwrap();
    check_log(log.iter().cloned()).unwrap();
    log.into_iter().filter(|(entry, _)| entry.kind == LogKind::Admitted).map(|(entry, _)| entry.number).collect()
}

/// Live places of the database that the line's store does not have.
async fn missing(app: &App, concert: ConcertId) -> Vec<i64> {
    let mut missing = vec![];
    for place in app.instance.postgres.places(concert, 0, i64::MAX, i64::MAX, 100_000).await.unwrap() {
        let found = app.instance.lines.place(concert, place.user_id, None, Intent::Looks).await.unwrap();
        if !matches!(found, Found::Here(held) if held.claims.number == place.number) {
            missing.push(place.number);
        }
    }
    missing
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_have_no_gaps_and_the_log_seals_every_batch() {
    const FANS: usize = 150;
    World::with(async |world| {
        let apps = [world.app().await, world.app().await];
        let lane = Lane::new(world, &apps[0], policy(3600, 1, 1, false)).await;
        let concert = lane.concert.id;
        // Everybody joins three times at once, on two instances.
        let users: Vec<UserId> = (0..FANS).map(|_| user()).collect();
        at_once((0..FANS * 3).map(|index| {
            let (keeper, user) = (apps[index % 2].instance.keeper.clone(), users[index / 3]);
            async move { keeper.join(concert, user).await.unwrap() }
        }))
        .await;
        let places = apps[0].instance.postgres.places(concert, 0, i64::MAX, 0, 100_000).await.unwrap();
        assert!(places.iter().map(|place| place.number).eq(1..=FANS as i64));
        assert_eq!(missing(&apps[0], concert).await, [0; 0]);
        let log = apps[0].instance.api.facades.line_records.log(concert, 0, 100_000).await.unwrap();
        check_log(log.iter().cloned()).unwrap();
        let mut last = 0;
        for (entry, _) in log {
            assert_eq!(entry.kind, LogKind::Joined);
            let batch = places.iter().filter(|place| (last + 1..=entry.number).contains(&place.number));
            assert_eq!(entry.place, Some(batch_hash(batch.map(|place| place.place_id))), "up to {}", entry.number);
            last = entry.number;
        }
        assert_eq!(last, FANS as i64);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_overtakes_a_place_whose_process_died_before_the_store_heard_of_it() {
    World::with(async |world| {
        let apps = [world.app().await, world.app().await];
        let lane = Lane::new(world, &apps[0], policy(3600, 1, 100, false)).await;
        let concert = lane.concert.id;
        let (first, lost, later): (Vec<_>, Vec<_>, Vec<_>) =
            ((0..2).map(|_| user()).collect(), (0..3).map(|_| user()).collect(), (0..4).map(|_| user()).collect());
        for user in &first {
            lane.join(*user).await;
        }
        // The process dies here: numbers 3 to 5 are on disk and nowhere else.
        commit_only(&apps[1], concert, &lost).await;
        for (index, user) in later.iter().enumerate() {
            assert_eq!(lane.join(*user).await.1.claims.number, 6 + index as i64);
        }
        // A store that is not told calls nobody beyond the gap, whatever room there is.
        assert_eq!(promote_only(&lane, 50).await, 2);
        assert_eq!(promote_only(&lane, 50).await, 0);
        assert_eq!(missing(&apps[0], concert).await, [3, 4, 5]);
        // Whoever ticks fills it; who stood there is called first.
        assert_eq!(lane.admit(4).await, 4);
        assert_eq!(called(&apps[0], concert).await, [1, 2, 3, 4, 5, 6]);
        assert_eq!(lane.admit(50).await, 3);
        assert_eq!(called(&apps[0], concert).await, (1..=9).collect::<Vec<_>>());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_stalls_before_the_store_and_goes_on_later_changes_nothing() {
    World::with(async |world| {
        let app = world.app().await;
        let lane = Lane::new(world, &app, policy(3600, 1, 100, false)).await;
        let (concert, lines) = (lane.concert.id, &app.instance.lines);
        let users: Vec<UserId> = (0..6).map(|_| user()).collect();
        let stalled = commit_only(&app, concert, &users[..4]).await;
        lane.join(users[4]).await;
        // A tick fills the gap; one is called, one leaves, one takes the place over on another device.
        assert_eq!(lane.admit(1).await, 1);
        assert!(lane.leave(users[1]).await);
        let (_, taken_over) = lane.join(users[2]).await;
        // Now the stalled process goes on.
        let entered = lines.enter(concert, &stalled).await.unwrap().unwrap();
        assert_eq!(entered.len(), 4);
        assert_eq!(entered[1], None, "who has left is not there again");
        let snapshot = app.instance.keeper.snapshots.renewed(concert).await.unwrap().unwrap();
        assert_eq!((snapshot.stats.waiting, snapshot.stats.active), (3, 1));
        assert_eq!(lane.place(users[2]).await.claims, taken_over.claims, "the newer token holds");
        assert_eq!((snapshot.position(3), snapshot.position(5)), (1, 3));
        assert_eq!(lane.admit(50).await, 3);
        assert_eq!(called(&app, concert).await, [1, 3, 4, 5]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_left_before_the_store_heard_of_the_place_is_never_called() {
    World::with(async |world| {
        let app = world.app().await;
        let lane = Lane::new(world, &app, policy(3600, 1, 100, false)).await;
        let concert = lane.concert.id;
        let users: Vec<UserId> = (0..3).map(|_| user()).collect();
        let stalled = commit_only(&app, concert, &users).await;
        app.instance.postgres.leave(concert, users[0], None).await.unwrap();
        // What was read before the fan left is entered after it: the database refuses the call.
        let read_before = Entrants { why: Entry::Filled(1, 3), ..stalled };
        app.instance.lines.enter(concert, &read_before).await.unwrap().unwrap();
        assert_eq!(lane.admit(50).await, 2);
        assert_eq!(called(&app, concert).await, [2, 3]);
        assert_eq!(lane.stats().await.active, 2, "and keeps no slot");
        // The fan may join again, at the end.
        assert_eq!(lane.join(users[0]).await.1.claims.number, 4);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_active_who_is_not_in_the_admission_log() {
    World::with(async |world| {
        let apps = [world.app().await, world.app().await];
        let sale = apps[0].sale_with(2, 100, policy(3600, 1, 100, false)).await;
        let mut fans = apps[0].fans(3, 0).await;
        for fan in &mut fans {
            apps[0].join(fan, &sale).await;
        }
        let mut lane = Lane::of(world, &apps[0], &sale).await;
        let concert = lane.concert.id;
        // Two are called. No admission can be written, so nobody is let in, whoever tries to.
        let mut sql = world.sql().await;
        let no_more = "ALTER TABLE line_log ADD CONSTRAINT no_more CHECK (kind <> 'admitted') NOT VALID";
        sql.run(no_more).await.unwrap();
        call_only(&lane, 2).await;
        for app in &apps {
            assert!(app.instance.keeper.write_news(&lane.concert).await.is_err());
            assert!(app.instance.keeper.tick(&lane.concert).await.is_err());
        }
        let (me, seats) = (format!("concerts/{}/queue/tokens/me", sale.concert), format!("shows/{}/seats", sale.show));
        for fan in &fans {
            assert_eq!(fan.get(&me).await.expect(200).json["state"], "waiting");
            fan.get(&seats).await.expect_problem(403, "queue_token_waiting");
        }
        let (calls, act) = (key(&apps[0], concert, "call"), key(&apps[0], concert, "act"));
        for (key, expected) in [(calls, 2), (act, 0)] {
            let many: i64 = redis::cmd("ZCARD").arg(&key).query_async(&mut lane.redis).await.unwrap();
            assert_eq!(many, expected, "{key}");
        }
        assert_eq!(called(&apps[0], concert).await, [0; 0]);
        // Another process than the one that called them writes it down: then they are in, and in the log.
        sql.run("ALTER TABLE line_log DROP CONSTRAINT no_more").await.unwrap();
        assert_eq!(apps[1].instance.keeper.write_news(&lane.concert).await.unwrap(), 2);
        assert_eq!(called(&apps[0], concert).await, [1, 2]);
        for fan in &fans[..2] {
            fan.get(&seats).await.expect(200);
        }
        fans[2].get(&seats).await.expect_problem(403, "queue_token_waiting");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_store_says_of_an_earlier_life_changes_nothing_in_the_database() {
    World::with(async |world| {
        let app = world.app().await;
        let lane = Lane::new(world, &app, policy(3600, 1, 100, false)).await;
        let (concert, postgres) = (lane.concert.id, &app.instance.postgres);
        for _ in 0..2 {
            lane.join(user()).await;
        }
        call_only(&lane, 2).await;
        let news = app.instance.lines.news(concert, 100, false).await.unwrap().unwrap();
        assert_eq!(news.calls.len(), 2);
        // Before they are written, the line begins another life elsewhere.
        let life = postgres.begin_life(concert).await.unwrap().life;
        assert!(life > news.life);
        assert_eq!(postgres.write(concert, &news, 60_000).await.unwrap(), Written::OtherLife);
        assert_eq!(called(&app, concert).await, [0; 0]);
        let stands = async || -> Vec<Stand> {
            let places = postgres.places(concert, 0, i64::MAX, 0, 100).await.unwrap();
            places.into_iter().map(|place| place.at).collect()
        };
        assert_eq!(stands().await, [Stand::Waiting; 2]);
        // Said of the life of now, the same is written.
        let news = News { life, ..news };
        assert_eq!(postgres.write(concert, &news, 60_000).await.unwrap(), Written::Done(vec![]));
        assert_eq!(called(&app, concert).await, [1, 2]);
        assert!(stands().await.iter().all(|at| matches!(at, Stand::Active { used: false, .. })));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn negative_controls_a_promotion_that_ignores_gaps_and_a_loader_that_forgets_are_found_out() {
    World::with(async |world| {
        let app = world.app().await;
        let mut lane = Lane::new(world, &app, policy(3600, 1, 100, false)).await;
        let concert = lane.concert.id;
        lane.join(user()).await;
        commit_only(&app, concert, &[user()]).await;
        lane.join(user()).await;
        // The store is made to believe that everybody is there.
        lane.set("st", "entered", 3).await;
        assert_eq!(promote_only(&lane, 50).await, 2);
        lane.set("st", "entered", 1).await;
        lane.admit(50).await;
        assert_eq!(called(&app, concert).await, [1, 3, 2], "overtaken");
        let report = app.instance.api.facades.line.report(concert).await.unwrap();
        assert_eq!(report.fairness.inversions, 1, "the report says so");
        // One row is forgotten in loading.
        let forgotten = user();
        for user in [user(), forgotten, user()] {
            lane.join(user).await;
        }
        assert_eq!(missing(&app, concert).await, [0; 0]);
        for name in ["wait", "tok"] {
            let key = crate::lane::key(&app, concert, name);
            let command = if name == "wait" { "ZREM" } else { "HDEL" };
            let _: () =
                redis::cmd(command).arg(key).arg(forgotten.0.as_bytes()).query_async(&mut lane.redis).await.unwrap();
        }
        assert_eq!(missing(&app, concert).await, [5]);
        // Its fan is not shut out for it: joining again brings the place back.
        let (new, view) = app.instance.api.facades.line.join(concert, forgotten, None).await.unwrap();
        assert_eq!((new, view.number), (false, 5));
        assert_eq!(missing(&app, concert).await, [0; 0]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_load_one_does_and_a_loader_that_stalls_is_too_late() {
    World::with(async |world| {
        let app = world.app().await;
        let mut lane = Lane::new(world, &app, policy(3600, 1, 1, true)).await;
        let (concert, lines, postgres) = (lane.concert.id, &app.instance.lines, &app.instance.postgres);
        for _ in 0..20 {
            lane.join(user()).await;
        }
        lane.tick().await;
        let mut redis = redis(world).await;
        let _: () = redis::cmd("DEL").arg(lines.keys(concert).as_slice()).query_async(&mut redis).await.unwrap();
        // One begins and stalls.
        let slow = postgres.begin_life(concert).await.unwrap();
        let places = postgres.places(concert, 0, i64::MAX, 0, 100).await.unwrap();
        assert!(lines.begin_load(&lane.concert, &slow).await.unwrap());
        assert!(lines.load_places(concert, slow.life, &places[..5]).await.unwrap());
        // Others let it, for six seconds; nobody is called, and joins go on.
        assert_eq!(lines.loading(concert).await.unwrap(), Loading::UnderWay);
        assert!(app.instance.keeper.tick(&lane.concert).await.is_err());
        assert_eq!(lane.join(user()).await.1.claims.number, 21);
        // Then another one does it, wholly.
        lane.set("st", "loading_at", 1).await;
        assert_eq!(tick_until_loaded(&lane).await, 0);
        assert_eq!(lines.loading(concert).await.unwrap(), Loading::Done);
        assert_eq!(missing(&app, concert).await, [0; 0]);
        let stats = lane.stats().await;
        assert_eq!((stats.waiting, stats.active, stats.joined_total, stats.promoted_total), (20, 1, 21, 1));
        // The first one wakes up.
        assert!(!lines.load_places(concert, slow.life, &places[5..]).await.unwrap());
        assert!(!lines.end_load(concert, &slow, 20).await.unwrap());
        assert!(!lines.begin_load(&lane.concert, &slow).await.unwrap());
        assert_eq!(missing(&app, concert).await, [0; 0]);
        // The store is emptied while somebody loads.
        let third = postgres.begin_life(concert).await.unwrap();
        lane.set("st", "life", 0).await;
        assert!(lines.begin_load(&lane.concert, &third).await.unwrap());
        let _: () = redis::cmd("DEL").arg(lines.keys(concert).as_slice()).query_async(&mut redis).await.unwrap();
        assert!(!lines.load_places(concert, third.life, &places).await.unwrap(), "it must begin anew");
        assert_eq!(tick_until_loaded(&lane).await, 0);
        assert_eq!(missing(&app, concert).await, [0; 0]);
    })
    .await;
}

/// Loading is done with what a process knows of the concert, which may be older than what was applied.
#[tokio::test(flavor = "multi_thread")]
async fn loading_brings_no_older_settings_back_and_ticks_that_know_older_ones_neither() {
    World::with(async |world| {
        let app = world.app().await;
        let mut lane = Lane::new(world, &app, policy(3600, 1, 1, true)).await;
        let (concert, lines, postgres) = (lane.concert.id, &app.instance.lines, &app.instance.postgres);
        lane.tick().await;
        let oldest = lane.concert.clone();
        lane.edit(|concert| concert.policy.batch = 2);
        let older = lane.concert.clone();
        lane.edit(|concert| concert.policy.batch = 3);
        lane.tick().await;
        // Loaded twice by a process that has missed both edits; a third one, which has missed the last, ticks.
        for _ in 0..2 {
            let life = postgres.begin_life(concert).await.unwrap();
            assert!(lines.begin_load(&oldest, &life).await.unwrap());
            assert!(lines.end_load(concert, &life, 0).await.unwrap());
            assert_eq!(lines.snapshot(concert, 0).await.unwrap().unwrap().snapshot.policy.batch, 3);
        }
        app.instance.keeper.tick(&older).await.unwrap();
        assert_eq!(lines.snapshot(concert, 0).await.unwrap().unwrap().snapshot.policy.batch, 3);
        // Where nothing is left, the loader's settings hold until somebody knows better.
        let _: () = redis::cmd("DEL").arg(lines.keys(concert).as_slice()).query_async(&mut lane.redis).await.unwrap();
        let life = postgres.begin_life(concert).await.unwrap();
        assert!(lines.begin_load(&older, &life).await.unwrap());
        assert!(lines.end_load(concert, &life, 0).await.unwrap());
        lane.tick().await;
        assert_eq!(lines.snapshot(concert, 0).await.unwrap().unwrap().snapshot.policy.batch, 3);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_waiting_limit_is_exact_however_many_join_at_once_and_who_leaves_makes_room() {
    World::with(async |world| {
        let apps = [world.app().await, world.app().await];
        let mut small = policy(3600, 1, 1, false);
        small["waiting_limit"] = json!(50);
        let sale = apps[0].sale_with(1, 100, small).await;
        let fans = apps[0].fans(120, 0).await;
        let (joins, me) =
            (format!("concerts/{}/queue/tokens", sale.concert), format!("concerts/{}/queue/tokens/me", sale.concert));
        let answers = at_once(fans.iter().enumerate().map(|(index, fan)| {
            let (fan, joins) = (fan.at(&apps[index % 2].base), joins.clone());
            async move { fan.post_empty(&joins).await }
        }))
        .await;
        let tally = tally(&answers);
        assert_eq!((answers.iter().filter(|answer| answer.status == 201).count(), tally["queue_full"]), (50, 70));
        // Two leave in the middle: two more fit, and no more.
        let mut left = 0;
        for fan in &fans {
            if left < 2 && fan.delete(&me).await.status == 204 {
                left += 1;
            }
        }
        let again = at_once(fans.iter().map(|fan| {
            let (fan, joins) = (fan.clone(), joins.clone());
            async move { fan.post_empty(&joins).await }
        }))
        .await;
        assert_eq!(again.iter().filter(|answer| answer.status == 201).count(), 2);
        assert_eq!(again.iter().filter(|answer| answer.status == 200).count(), 48, "who has a place has it");
        let last = world.sql().await.number("SELECT seq AS n FROM lines").await;
        assert_eq!(last, 52, "a refusal uses no number");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn places_of_a_sale_that_is_long_closed_move_and_what_may_be_read_of_them_stays() {
    World::with(async |world| {
        let app = world.app().await;
        let (sale, other) = (app.sale_with(2, 100, policy(3600, 1, 2, true)).await, app.sale(1, 100).await);
        let mut fans = app.fans(4, 0).await;
        for fan in &mut fans {
            app.join(fan, &sale).await;
        }
        app.join(&mut fans[0].clone(), &other).await;
        let receipt = format!("concerts/{}/queue/tokens/me/receipt", sale.concert);
        let (operator, report) = (app.operator().await, format!("admin/concerts/{}/queue/report", sale.concert));
        let read = async || {
            let mut texts = vec![operator.get(&report).await.expect(200).json.to_string()];
            for fan in &fans {
                texts.push(fan.get(&receipt).await.expect(200).json.to_string());
            }
            texts
        };
        app.close_sale(&operator, &sale).await;
        let before = read().await;
        let mut sql = world.sql().await;
        let left = format!("SELECT count(*) AS n FROM line_places WHERE concert_id = '{}'", sale.concert);
        while app.instance.postgres.sweep_leftovers(3).await.unwrap() > 0 {}
        assert_eq!(sql.number(&left).await, 4, "a sale that has just closed stays");
        sql.run("UPDATE concerts SET updated_at = now() - interval '3 days' WHERE sale_state = 'closed'")
            .await
            .unwrap();
        while app.instance.postgres.sweep_leftovers(3).await.unwrap() > 0 {}
        assert_eq!(sql.number(&left).await, 0);
        assert_eq!(sql.number("SELECT count(*) AS n FROM line_places").await, 1, "other lines are not touched");
        assert_eq!(read().await, before);
    })
    .await;
}

/// PostgreSQL is killed while fans join, and a server: whoever was told of a place has it, whoever was not finds it or gets the
/// next one.
#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_was_answered_is_on_disk_whatever_is_killed() {
    const FANS: usize = 60;
    let folder = tempfile::tempdir().unwrap();
    let config = StackConfig { data_dir: folder.path().to_owned(), durable: true, max_connections: 120 };
    let mut stack = Stack::start(config).await.unwrap();
    World::on(stack.database_url(), stack.redis_url())
        .await
        .run(async |world| {
            world.set("ONSALE_DATABASE_ACQUIRE_TIMEOUT_MS", "500");
            world.set("ONSALE_REDIS_TIMEOUT_MS", "1000");
            let app = world.app().await;
            let sale = app.sale_with(1, 100, policy(3600, 1, 1, false)).await;
            let fans = app.fans(FANS, 0).await;
            let joins = format!("concerts/{}/queue/tokens", sale.concert);
            let mut told: BTreeMap<usize, i64> = BTreeMap::new();
            for round in 0..3 {
                let server = Server::start(world);
                let mut tasks = tokio::task::JoinSet::new();
                for (index, fan) in fans.iter().enumerate().skip(round * 20).take(20) {
                    let (fan, joins) = (fan.at(&server.base), joins.clone());
                    tasks.spawn(async move { (index, fan.try_raw("POST", &joins, &[], None).await.ok()) });
                }
                // One answer has come; the others are wherever they are.
                let mut answers = vec![tasks.join_next().await.unwrap().unwrap()];
                match round {
                    0 => server.kill(),
                    1 => {
                        stack.kill_postgres().await;
                        answers.extend(tasks.join_all().await);
                        stack.start_postgres().await.unwrap();
                    }
                    _ => {
                        stack.kill_redis().await;
                        answers.extend(tasks.join_all().await);
                        stack.start_redis(false).await.unwrap();
                    }
                }
                for (index, answer) in answers {
                    match answer {
                        Some(answer) if answer.status == 201 => {
                            told.insert(index, answer.json["number"].as_i64().unwrap());
                        }
                        Some(answer) => assert_eq!(answer.status, 503, "{}", answer.code()),
                        None => {}
                    }
                }
                app.nobody().get("/readyz").await.expect(200);
            }
            assert!(!told.is_empty());
            let mut numbers = BTreeMap::new();
            for (index, fan) in fans.iter().enumerate() {
                let answer = loop {
                    let answer = fan.post_empty(&joins).await;
                    if answer.status != 503 {
                        break answer;
                    }
                    tokio::task::yield_now().await;
                };
                let number = answer.json["number"].as_i64().unwrap();
                if let Some(known) = told.get(&index) {
                    assert_eq!((answer.status, number), (200, *known), "fan {index}");
                }
                assert_eq!(numbers.insert(number, index), None, "number {number} twice");
            }
            assert!(numbers.keys().copied().eq(1..=FANS as i64), "{numbers:?}");
            let lane = Lane::at(stack.redis_url(), &app, &sale).await;
            tick_until_loaded(&lane).await;
            assert_eq!(missing(&app, lane.concert.id).await, [0; 0]);
        })
        .await;
    stack.stop().await.unwrap();
}
