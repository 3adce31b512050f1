//! The simulation against what must hold of every sale, and against sales whose outcome is known without it.

use super::{
    simulation::{Run, Scope},
    *,
};
use crate::queue::QueuePolicy;

/// Everybody is there at the opening, comes at once, and takes exactly 1 + 10 + 20 + 29 = 60 seconds from call to payment.
fn even(fans: u32) -> Crowd {
    Crowd {
        arrivals: Arrivals { before_share: 1.0, before_secs: 600, after: Curve::HalfLifeSecs(60.0) },
        patience: None,
        no_show_share: 0.0,
        robots_share: 0.0,
        looks_only_share: 0.0,
        notice: Spread::fixed(1.0),
        read: Spread::fixed(10.0),
        decide: Spread::fixed(20.0),
        pay: Spread::fixed(29.0),
        seats_wanted: vec![1.0],
        crowding: 0.0,
        ..Crowd::assumed(fans)
    }
}

fn sale(crowd: Crowd, seats: u32) -> Sale {
    let policy = QueuePolicy { interval_secs: 5, batch: 50, active_limit: 1_000, ..QueuePolicy::default() };
    Sale { crowd, policy, seats, hold_secs: 300, seats_per_fan: 4 }
}

#[test]
fn a_line_with_room_moves_a_batch_each_interval_as_reckoned_by_hand() {
    let outcome = simulate(&sale(even(1_000), 10_000), 1);
    // Batches of 50 at 0, 5, 10, ... 95 s: number 500 is in the tenth, 900 in the eighteenth.
    assert_eq!(outcome.waits, Waits { called: 1_000, p50_secs: 45, p90_secs: 85, p99_secs: 95 });
    assert_eq!((outcome.fates.bought, outcome.sold, outcome.ended_at_secs), (1_000, 1_000, 155));
    assert_eq!(outcome.last_paid_at_secs, Some(155));
    assert_eq!(outcome.peak_active, 600, "a batch each 5 s, for 60 s each");
    assert!((outcome.slot_secs - 60.0).abs() < 1e-9);
    assert_eq!((outcome.peak.reserve, outcome.peak.pay), (50.0, 50.0));
}

#[test]
fn a_line_at_its_limit_moves_as_turns_end() {
    let mut sale = sale(even(1_000), 10_000);
    sale.policy = QueuePolicy { interval_secs: 1, batch: 1_000, active_limit: 100, ..sale.policy };
    let outcome = simulate(&sale, 1);
    // A hundred at a time, 60 s each: the fifth hundred is called at 240 s.
    assert_eq!(outcome.waits, Waits { called: 1_000, p50_secs: 240, p90_secs: 480, p99_secs: 540 });
    assert_eq!((outcome.peak_active, outcome.ended_at_secs), (100, 600));
}

#[test]
fn seats_are_sold_once_and_the_line_ends_with_them() {
    let outcome = simulate(&sale(even(1_000), 120), 1);
    assert_eq!((outcome.sold, outcome.fates.bought, outcome.sold_out_at_secs), (120, 120, Some(70)));
    assert_eq!(outcome.fates.total(), 1_000);
    assert_eq!(outcome.fates.without_seats, outcome.waits.called - 120);
}

#[test]
fn turns_that_lapse_go_on_at_once_and_their_fans_come_back_first() {
    let mut sale = sale(even(300), 10_000);
    sale.crowd.notice = Spread::fixed(100.0);
    sale.policy = QueuePolicy { interval_secs: 3_600, batch: 100, active_limit: 100, ..sale.policy };
    let outcome = simulate(&sale, 1);
    // The first hundred lapse at 60 s, so the second hundred are called then, and the third at 120 s. The first hundred show up
    // at 100 s and are called at 120 s, before the third hundred; they are late again and forfeit.
    assert_eq!((outcome.returned, outcome.lapsed, outcome.fates.no_shows), (300, 600, 300));
    assert_eq!(outcome.waits, Waits { called: 300, p50_secs: 60, p90_secs: 240, p99_secs: 240 });
    assert_eq!(outcome.peak_active, 100);
}

#[test]
fn robots_hold_and_let_go_until_their_turns_end() {
    let mut sale = sale(even(100), 1_000);
    sale.crowd.robots_share = 1.0;
    let outcome = simulate(&sale, 1);
    assert_eq!((outcome.fates.robots, outcome.sold, outcome.waits.called), (100, 0, 100));
    assert_eq!(outcome.holds_ended, 300, "three holds of 300 s begin within a turn of 900 s");
}

#[test]
fn the_same_seed_gives_the_same_sale_and_another_one_another() {
    let sale = sale(Crowd::assumed(20_000), 3_000);
    assert_eq!(simulate(&sale, 7), simulate(&sale, 7));
    assert_ne!(simulate(&sale, 7), simulate(&sale, 8));
}

/// Many kinds of sales, from nobody to a storm.
fn many() -> impl Iterator<Item = Sale> {
    let crowds = [even(2_000), Crowd::assumed(1), Crowd::assumed(12_000)].into_iter().flat_map(|crowd| {
        let impatient = Crowd { patience: Some(Spread::new(60.0, 300.0)), ..crowd.clone() };
        let late = Crowd { notice: Spread::new(40.0, 200.0), decide: Spread::new(100.0, 500.0), ..crowd.clone() };
        let parts = vec![ArrivalPart { until_secs: 5, weight: 3.0 }, ArrivalPart { until_secs: 2_000, weight: 1.0 }];
        let waves = Crowd {
            arrivals: Arrivals { before_share: 0.1, before_secs: 60, after: Curve::Parts(parts) },
            says_goodbye_share: 1.0,
            ..impatient.clone()
        };
        [crowd, impatient, late, waves]
    });
    let policies = [(1, 1, 1), (1, 100, 50), (60, 420, 2_100), (7, 100_000, 100_000)];
    crowds.flat_map(move |crowd| {
        policies.into_iter().flat_map(move |(interval_secs, batch, active_limit)| {
            let crowd = crowd.clone();
            [1, 700, 100_000].map(move |seats| {
                let policy = QueuePolicy { interval_secs, batch, active_limit, ..QueuePolicy::default() };
                let policy = QueuePolicy { idle_admission: seats != 700, waiting_limit: 8_000, ..policy };
                Sale { crowd: crowd.clone(), policy, seats, hold_secs: 120, seats_per_fan: 3 }
            })
        })
    })
}

#[test]
fn nobody_is_lost_no_seat_is_sold_twice_and_the_limit_holds() {
    let mut sold_out = 0;
    for sale in many() {
        let outcome = simulate(&sale, 3);
        let told = format!("{sale:?} {:?}", outcome.fates);
        assert_eq!(outcome.fates.total(), sale.crowd.fans, "{told}");
        assert!(outcome.sold <= sale.seats && outcome.fates.bought <= outcome.sold, "{told}");
        let limit = u32::try_from(sale.policy.active_limit).unwrap();
        assert!(outcome.peak_active <= limit, "{told}");
        for moment in &outcome.course {
            assert!(moment.active <= limit && moment.held + moment.sold <= sale.seats, "{told}");
        }
        assert!(outcome.course.is_sorted_by(|one, next| one.sold <= next.sold && one.at_secs < next.at_secs));
        assert!(outcome.course.len() <= 600);
        let groups = outcome.groups;
        let all = [groups.before, groups.first_minute, groups.ten_minutes, groups.later];
        assert_eq!(all.iter().map(|group| group.bought).sum::<u32>(), outcome.fates.bought);
        let called = all.iter().map(|group| group.called).sum::<u32>();
        assert!(outcome.waits.called <= called && (sale.crowd.patience.is_some() || outcome.waits.called == called));
        let joined: u32 = all.iter().map(|group| group.joined).sum();
        assert_eq!(joined + outcome.fates.refused + outcome.fates.too_late, sale.crowd.fans);
        sold_out += u32::from(outcome.sold_out_at_secs.is_some());
    }
    assert!(sold_out > 30, "only {sold_out} sold out");
}

#[test]
fn twice_the_batch_shortens_waits_while_the_limit_allows_it() {
    let mut sale = sale(Crowd::assumed(20_000), 100_000);
    sale.policy = QueuePolicy { active_limit: 100_000, ..sale.policy };
    let once = simulate(&sale, 1).waits;
    sale.policy.batch *= 2;
    let twice = simulate(&sale, 1).waits;
    assert!(twice.p50_secs * 10 < once.p50_secs * 6 && twice.p99_secs < once.p99_secs, "{once:?} {twice:?}");
    // At the limit a larger batch changes nothing.
    sale.policy.active_limit = 200;
    let at_the_limit = simulate(&sale, 1).waits;
    sale.policy.batch *= 2;
    let still = simulate(&sale, 1).waits;
    assert!(still.p50_secs * 100 > at_the_limit.p50_secs * 97, "{at_the_limit:?} {still:?}");
}

#[test]
fn fans_who_find_the_line_empty_are_called_at_once_up_to_the_limit() {
    let mut sale = sale(even(1_000), 10_000);
    sale.crowd.arrivals =
        Arrivals { before_share: 0.0, ..Arrivals { after: Curve::HalfLifeSecs(1.0), ..sale.crowd.arrivals } };
    sale.policy = QueuePolicy { interval_secs: 3_600, batch: 1, active_limit: 300, ..sale.policy };
    let idle = simulate(&sale, 1);
    assert!(idle.course[0].active >= 300 && idle.course[0].waiting > 100, "{:?}", idle.course[0]);
    sale.policy.idle_admission = false;
    assert_eq!(simulate(&sale, 1).course[0].active, 1);
}

#[test]
fn what_is_left_out_for_speed_changes_nothing_else() {
    let sale = sale(Crowd::assumed(20_000), 3_000);
    let whole = simulate(&sale, 7);
    let mut run = Run::new(&sale, 7, Scope { course: false, ..Scope::WHOLE });
    run.finish();
    let fast = run.outcome();
    assert_eq!((fast.waits, fast.fates, fast.sold_out_at_secs), (whole.waits, whole.fates, whole.sold_out_at_secs));
    assert_eq!((fast.peak.reserve, fast.peak.pay), (whole.peak.reserve, whole.peak.pay));
}
