//! Whether the server kept its promises: what fans were told is held against what it and its database say afterwards.

use std::collections::HashMap;

use onsale_infrastructure::postgres::load_runs::{SeatCount, ToldReservation};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    Failure,
    prepare::Job,
    recorded::{Recorded, Success, real},
    target::Target,
};
use crate::line_checks;

/// Places read at once.
const PLACES_AT_ONCE: i64 = 20_000;

/// Reservations looked up at once.
const RESERVATIONS_AT_ONCE: usize = 5_000;

/// Most examples of what is wrong in one sentence.
const EXAMPLES: usize = 3;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is.
    pub name: String,
    /// Whether it is as it should be.
    pub holds: bool,
    /// What was found.
    pub detail: String,
}

/// Whether something holds, and what was found.
type Found = Result<(bool, String), Failure>;

/// What cannot be looked at does not hold.
fn finding(name: &str, found: Found) -> Finding {
    let (holds, detail) = found.unwrap_or_else(|error| (false, format!("could not be checked: {error}")));
    Finding { name: name.to_owned(), holds, detail }
}

/// Everything that can be said of a run afterwards. Names that start with `p95` or `unanswered` are about speed.
pub async fn verdict(target: &Target, job: &Job, recorded: &Recorded) -> Result<Vec<Finding>, Failure> {
    let mut findings = vec![
        finding("order and limit", order_and_limit(target, job).await),
        finding("published log", published_log(target, job).await),
        finding("nobody lost", nobody_lost(target, job, recorded).await),
        finding("no seat twice", no_seat_twice(target, job).await),
        finding("ledger", ledger(target).await),
        finding("reservations and payments", reservations_and_payments(target, job, recorded).await),
    ];
    findings.extend(generator(job, recorded));
    Ok(findings)
}

/// What of the fairness report is judged.
#[derive(Deserialize)]
struct Fairness {
    admitted: i64,
    inversions: i64,
    highest_active: i64,
    above_limit: i64,
}

/// Nobody was admitted before a lower number, nor beyond the limit.
async fn order_and_limit(target: &Target, job: &Job) -> Found {
    let path = format!("admin/concerts/{}/queue/report", job.concert);
    let Fairness { admitted, inversions, highest_active, above_limit } = target.get(&path).await?;
    let detail = format!(
        "{admitted} admitted, {inversions} of them after a higher number, {above_limit} above the limit; {highest_active} active \
         at most"
    );
    Ok((inversions == 0 && above_limit == 0, detail))
}

/// Each entry of the published log seals all before it. The log stays in the folder of the run.
async fn published_log(target: &Target, job: &Job) -> Found {
    let file = job.folder.join("line-log.ndjson");
    target.download(&format!("concerts/{}/queue/log", job.concert), &file).await?;
    let found = tokio::task::spawn_blocking(move || line_checks::verify_log(&file, None)).await??;
    Ok((true, found.join(" ")))
}

/// What fans were told has been done, of one kind: each with its fan.
fn told<'a>(job: &'a Job, recorded: &'a Recorded, what: &'a str) -> impl Iterator<Item = (Option<Uuid>, &'a str)> {
    let of_kind = move |success: &&Success| success.what == what;
    let fan = move |success: &'a Success| (job.fans.get(success.fan).map(|fan| fan.user_id), success.id.as_str());
    recorded.successes.iter().filter(of_kind).map(fan)
}

/// The first few of many, for people.
fn examples(all: &[String]) -> String {
    if all.is_empty() {
        return String::new();
    }
    let more = if all.len() > EXAMPLES { ", ..." } else { "" };
    format!(": {}{more}", all.iter().take(EXAMPLES).cloned().collect::<Vec<_>>().join(", "))
}

/// Every join that a fan saw is a place of that fan with that number, and numbers are 1, 2, 3 and so on.
async fn nobody_lost(target: &Target, job: &Job, recorded: &Recorded) -> Found {
    let mut places: HashMap<i64, Uuid> = HashMap::new();
    let (mut last, mut left_out) = (0, 0);
    loop {
        let part = target.postgres.line_numbers(job.concert, last, PLACES_AT_ONCE).await?;
        if part.is_empty() {
            break;
        }
        for (number, fan) in part {
            left_out += number - last - 1;
            last = number;
            places.insert(number, fan);
        }
    }
    let mut joins = 0;
    let mut lost = vec![];
    for (fan, id) in told(job, recorded, "join") {
        joins += 1;
        let place = id.parse::<i64>().ok().and_then(|number| places.get(&number)).copied();
        if place.is_none() || place != fan {
            lost.push(format!("number {id}"));
        }
    }
    let detail = format!(
        "fans were told of {joins} joins, {} of them are not in the database{}; numbers 1 to {last} with {left_out} left out",
        lost.len(),
        examples(&lost),
    );
    Ok((lost.is_empty() && left_out == 0, detail))
}

/// Each seat, its reservation and its ticket agree.
async fn no_seat_twice(target: &Target, job: &Job) -> Found {
    let (faults, figures): (Vec<_>, Vec<_>) =
        target.postgres.seat_counts(job.concert).await?.into_iter().partition(|counted| counted.is_fault);
    let text = |counted: &SeatCount| format!("{} {}", counted.count, counted.what);
    let broken: Vec<String> = faults.iter().filter(|fault| fault.count > 0).map(text).collect();
    let figures: Vec<String> = figures.iter().map(text).collect();
    let said = if broken.is_empty() { "all agree".to_owned() } else { broken.join(", ") };
    Ok((broken.is_empty(), format!("{said}; {}", figures.join(", "))))
}

/// What the server says of its books.
#[derive(Deserialize)]
struct Reconciliation {
    balanced: bool,
    entries_sum_minor: i64,
    unbalanced_transactions: i64,
    wallets_differing: i64,
    payments_less_revenue_minor: i64,
    half_paid_reservations: i64,
}

/// Money and seats add up.
async fn ledger(target: &Target) -> Found {
    let books: Reconciliation = target.get("admin/ledger/reconciliation").await?;
    let detail = format!(
        "all entries sum up to {}; {} postings do not, {} wallets differ, payments less revenue are {}, {} reservations are half \
         paid",
        books.entries_sum_minor,
        books.unbalanced_transactions,
        books.wallets_differing,
        books.payments_less_revenue_minor,
        books.half_paid_reservations,
    );
    Ok((books.balanced, detail))
}

/// Every reservation that a fan saw is that fan's, and every one that a fan saw paid is paid, with a ticket for each seat.
async fn reservations_and_payments(target: &Target, job: &Job, recorded: &Recorded) -> Found {
    let all: Vec<(bool, Option<Uuid>, &str)> = told(job, recorded, "reserve")
        .map(|(fan, id)| (false, fan, id))
        .chain(told(job, recorded, "pay").map(|(fan, id)| (true, fan, id)))
        .collect();
    let paid = all.iter().filter(|(is_paid, ..)| *is_paid).count();
    let mut broken = vec![];
    for part in all.chunks(RESERVATIONS_AT_ONCE) {
        let ids: Vec<Uuid> = part.iter().filter_map(|(.., id)| id.parse::<Uuid>().ok()).collect();
        let found = target.postgres.told_reservations(&ids).await?;
        let found: HashMap<Uuid, ToldReservation> = found.into_iter().map(|there| (there.id, there)).collect();
        for (is_paid, fan, id) in part {
            let there = id.parse::<Uuid>().ok().and_then(|id| found.get(&id));
            if !there.is_some_and(|there| is_as_told(there, *fan, *is_paid)) {
                broken.push(format!("{} {id}", if *is_paid { "payment of" } else { "reservation" }));
            }
        }
    }
    let detail = format!(
        "fans were told of {} reservations and {paid} payments, {} of them are not so in the database{}",
        all.len() - paid,
        broken.len(),
        examples(&broken),
    );
    Ok((broken.is_empty(), detail))
}

/// A reservation may have run out since it was made; what was paid stays paid.
fn is_as_told(there: &ToldReservation, fan: Option<Uuid>, is_paid: bool) -> bool {
    let is_whole = there.state == "paid" && there.payments == 1 && there.tickets == there.seats;
    Some(there.user_id) == fan && there.seats > 0 && (is_whole || !is_paid)
}

/// What fans saw themselves.
fn generator(job: &Job, recorded: &Recorded) -> Vec<Finding> {
    let limits = &job.scenario.limits;
    let counts = recorded.counts();
    let mut findings = vec![finding(
        "wrong answers",
        Ok((counts.wrong <= limits.wrong, format!("{}, and {} is the limit", counts.wrong, limits.wrong))),
    )];
    // A share without a division.
    let most = limits.unanswered_share * real(counts.all());
    let is_within = real(counts.unanswered) <= most;
    let detail = format!(
        "{} of {} requests, and a share of {} is the limit",
        counts.unanswered,
        counts.all(),
        limits.unanswered_share
    );
    findings.push(finding("unanswered requests", Ok((is_within, detail))));
    let steps = recorded.steps();
    for (step, limit_ms) in &limits.p95_ms {
        let times = steps.iter().find(|totals| totals.step == *step).and_then(|totals| totals.times);
        // A limit on what never happened was not kept.
        let found = match times {
            Some(times) => {
                (times.p95_ms <= *limit_ms, format!("{:.1} ms, and {limit_ms} ms is the limit", times.p95_ms))
            }
            None => (false, format!("no right answer, and {limit_ms} ms is the limit")),
        };
        findings.push(finding(&format!("p95 of {step}"), Ok(found)));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reservation(state: &str, payments: i64, tickets: i64) -> ToldReservation {
        let (id, user_id) = (Uuid::from_u128(1), Uuid::from_u128(2));
        ToldReservation { id, user_id, state: state.to_owned(), seats: 2, payments, tickets }
    }

    #[test]
    fn what_is_told_as_paid_is_paid_whole() {
        let fan = Some(Uuid::from_u128(2));
        let paid = reservation("paid", 1, 2);
        assert!(is_as_told(&paid, fan, true) && is_as_told(&paid, fan, false));
        assert!(!is_as_told(&paid, Some(Uuid::from_u128(3)), true) && !is_as_told(&paid, None, false));
        for half in [reservation("held", 0, 0), reservation("paid", 0, 2), reservation("paid", 1, 1)] {
            assert!(!is_as_told(&half, fan, true), "{half:?}");
        }
        assert!(is_as_told(&reservation("expired", 0, 0), fan, false), "it ran out");
    }

    #[test]
    fn what_cannot_be_checked_does_not_hold() {
        let found = finding("ledger", Err("nobody answers".into()));
        assert_eq!((found.holds, found.detail.as_str()), (false, "could not be checked: nobody answers"));
    }

    #[test]
    fn a_few_examples_are_enough() {
        let all: Vec<String> = (1..=5).map(|n| format!("number {n}")).collect();
        assert_eq!(examples(&all), ": number 1, number 2, number 3, ...");
        assert_eq!((examples(&all[..1]), examples(&[])), (": number 1".to_owned(), String::new()));
    }
}
