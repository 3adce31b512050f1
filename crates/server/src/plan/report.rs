//! A plan as text and as a page.

use std::fmt::Write as _;

use onsale_domain::plan::{
    Group, Moment, Outcome, PastSale, Reason, Sale, Sizing, Waits,
    words::{count, time},
};

use super::{Advised, Plan};
use crate::{
    charts::{Chart, Series},
    html::{self, escape},
};

/// Two columns.
type Rows = Vec<(String, String)>;

fn row(rows: &mut Rows, what: &str, value: String) {
    rows.push((what.to_owned(), value));
}

fn number(number: u32) -> String {
    count(f64::from(number))
}

fn percent(part: u32, whole: u32) -> String {
    format!("{:.1} %", f64::from(part) * 100.0 / f64::from(whole.max(1)))
}

/// So many seconds after the opening, and what a clock shows then.
fn moment(secs: u32, opens_at_secs: Option<u32>) -> String {
    let after = time(secs);
    match opens_at_secs {
        Some(opens) => {
            let at = (opens + secs) % 86_400;
            format!("{:02}:{:02}:{:02}, {after} after the opening", at / 3_600, at % 3_600 / 60, at % 60)
        }
        None => format!("{after} after the opening"),
    }
}

fn waits(waits: &Waits) -> String {
    let Waits { p50_secs, p90_secs, p99_secs, .. } = *waits;
    format!("p50 {}, p90 {}, p99 {}", time(p50_secs), time(p90_secs), time(p99_secs))
}

/// What was simulated.
fn head(sale: &Sale, opens_at_secs: Option<u32>) -> Rows {
    let (mut rows, policy) = (vec![], &sale.policy);
    let opens =
        opens_at_secs.map_or_else(String::new, |at| format!("; opens at {:02}:{:02}", at / 3_600, at % 3_600 / 60));
    let sold =
        format!("{} fans, {} seats, at most {} each", number(sale.crowd.fans), number(sale.seats), sale.seats_per_fan);
    row(&mut rows, "sale", sold + &opens);
    let called = |setting: i32| count(f64::from(setting));
    row(
        &mut rows,
        "settings",
        format!(
            "{} fans each {} s, at most {} with a turn; claim {} s, turn {} to {} s, hold {} s",
            called(policy.batch),
            policy.interval_secs,
            called(policy.active_limit),
            policy.claim_secs,
            policy.active_sliding_secs,
            policy.active_absolute_secs,
            sale.hold_secs
        ),
    );
    rows
}

/// What came of it.
fn facts(outcome: &Outcome, seats: u32, opens_at_secs: Option<u32>) -> Rows {
    let Outcome { fates, groups, peak, .. } = outcome;
    let mut rows = vec![];
    row(&mut rows, "waiting", format!("{} ({} fans called)", waits(&outcome.waits), number(outcome.waits.called)));
    let when = |at: Option<u32>| at.map_or_else(|| "never".to_owned(), |at| moment(at, opens_at_secs));
    row(&mut rows, "seats sold", format!("{} of {}", number(outcome.sold), number(seats)));
    row(&mut rows, "95 of 100 sold", when(outcome.sold_95_at_secs));
    row(&mut rows, "sold out", when(outcome.sold_out_at_secs));
    row(&mut rows, "most in line", number(outcome.peak_waiting));
    row(&mut rows, "most with a turn", number(outcome.peak_active));
    row(&mut rows, "a slot is taken for", format!("{:.0} s on average", outcome.slot_secs));
    let came = |group: &Group| {
        format!("{} of {} ({})", number(group.bought), number(group.joined), percent(group.bought, group.joined))
    };
    row(&mut rows, "bought, came before", came(&groups.before));
    row(&mut rows, "bought, first minute", came(&groups.first_minute));
    row(&mut rows, "bought, to ten minutes", came(&groups.ten_minutes));
    row(&mut rows, "bought, later", came(&groups.later));
    let parts = [
        ("no seats", fates.without_seats),
        ("only looked", fates.looked_only),
        ("did not come", fates.no_shows),
        ("robots", fates.robots),
        ("gave up", fates.gave_up),
        ("still waited", fates.left_waiting),
        ("unfinished", fates.unfinished),
        ("refused", fates.refused),
        ("came later", fates.too_late),
    ];
    let parts = parts.into_iter().filter(|(_, many)| *many > 0);
    let parts: Vec<String> = parts.map(|(what, many)| format!("{what} {}", number(many))).collect();
    row(&mut rows, "the others", parts.join(", "));
    let lapses = format!("{}, of whom {} came back", number(outcome.lapsed), number(outcome.returned));
    row(&mut rows, "turns that lapsed", lapses);
    let ended = format!("{}; holds that ended unpaid: {}", number(outcome.lost_races), number(outcome.holds_ended));
    row(&mut rows, "lost races for seats", ended);
    let rates = |kinds: [(&str, f64); 6]| {
        let shown = kinds.into_iter().filter(|(_, per_sec)| *per_sec >= 0.5);
        shown.map(|(kind, per_sec)| format!("{kind} {}", count(per_sec))).collect::<Vec<_>>().join(", ")
    };
    row(&mut rows, "highest a second", rates(peak.kinds()));
    row(&mut rows, "before the opening", rates(outcome.before.kinds()));
    rows
}

fn sums(sizing: &Sizing) -> Rows {
    sizing.sums.iter().map(|sum| (sum.what.to_owned(), sum.how.clone())).collect()
}

fn reasons(reasons: &[Reason]) -> Rows {
    reasons
        .iter()
        .map(|reason| (format!("{} {}", reason.setting, count(f64::from(reason.value))), reason.why.clone()))
        .collect()
}

/// The log against the plan.
fn compared(past: &PastSale, plan: &Plan) -> Rows {
    let mut rows = vec![];
    let mut compare = |what: &str, was: u32, planned: u32, unit: &str| {
        let off = (f64::from(planned) - f64::from(was)) * 100.0 / f64::from(was.max(1));
        row(&mut rows, what, format!("was {}{unit}, planned {}{unit}: {off:+.0} %", number(was), number(planned)));
    };
    let (was, planned) = (&past.waits, &plan.outcome.waits);
    compare("called", was.called, planned.called, "");
    compare("waiting, p50", was.p50_secs, planned.p50_secs, " s");
    compare("waiting, p90", was.p90_secs, planned.p90_secs, " s");
    compare("waiting, p99", was.p99_secs, planned.p99_secs, " s");
    compare("turns paid", past.bought, plan.outcome.fates.bought, "");
    let sold_for = plan.outcome.last_paid_at_secs.unwrap_or(plan.outcome.ended_at_secs);
    compare("sold for", past.sold_for_secs, sold_for, " s");
    rows
}

/// Title and rows of each part of a plan, in order.
fn parts(plan: &Plan) -> Vec<(String, Rows)> {
    let opens = plan.opens_at_secs;
    let mut first = head(&plan.sale, opens);
    first.extend(facts(&plan.outcome, plan.sale.seats, opens));
    let mut parts = vec![("The sale as it is set".to_owned(), first)];
    if let Some(past) = &plan.past {
        let title = "Against the sale of the log (with its settings and seats, this is the error of the model)";
        parts.push((title.to_owned(), compared(past, plan)));
    }
    let costs = format!(" (costs from {})", plan.costs.source);
    parts.push((format!("What it takes{costs}"), sums(&plan.sizing)));
    if let Some(Advised { advice, sizing }) = &plan.advice {
        parts.push(("Settings to use".to_owned(), reasons(&advice.reasons)));
        let mut then = head(&advice.sale, opens);
        then.extend(facts(&advice.outcome, advice.sale.seats, opens));
        parts.push(("The sale with them".to_owned(), then));
        parts.push((format!("What that takes{costs}"), sums(sizing)));
    }
    parts
}

/// What does not fit, each once.
fn warnings(plan: &Plan) -> Vec<String> {
    let with = |sizing: &Sizing, which: &str| -> Vec<String> {
        sizing.warnings.iter().map(|warning| format!("{which}: {warning}")).collect()
    };
    let mut all = with(&plan.sizing, "As it is set");
    if let Some(advised) = &plan.advice {
        all.extend(with(&advised.sizing, "With the settings to use"));
    }
    all
}

/// For people at a terminal.
pub(super) fn text(plan: &Plan) -> String {
    let mut text = String::new();
    for (title, rows) in parts(plan) {
        let width = rows.iter().map(|(what, _)| what.len()).max().unwrap_or(0);
        // Writing to a string never fails.
        let _ = writeln!(text, "{title}");
        for (what, value) in rows {
            let _ = writeln!(text, "  {what:<width$}  {value}");
        }
        text.push('\n');
    }
    for warning in warnings(plan) {
        let _ = writeln!(text, "! {warning}");
    }
    text
}

/// For browsers, with charts.
pub(super) fn page(plan: &Plan) -> String {
    let mut body = String::new();
    for warning in warnings(plan) {
        let _ = writeln!(body, "<p class=\"warn\">{}</p>", escape(&warning));
    }
    for (title, rows) in parts(plan) {
        let _ = writeln!(body, "<h2>{}</h2>\n<table>", escape(&title));
        for (what, value) in rows {
            let _ = writeln!(body, "<tr><th>{}</th><td>{}</td></tr>", escape(&what), escape(&value));
        }
        body.push_str("</table>\n");
    }
    body.push_str("<h2>The sale as it is set, over time</h2>\n");
    charts(&mut body, &plan.outcome.course);
    if let Some(Advised { advice, .. }) = &plan.advice {
        body.push_str("<h2>The sale with the settings to use, over time</h2>\n");
        charts(&mut body, &advice.outcome.course);
    }
    html::page("Plan of a sale", &body)
}

/// One line of a chart: its name, and what it shows of a moment.
type Line = (&'static str, fn(&Moment) -> f64);

fn charts(body: &mut String, course: &[Moment]) {
    let waiting: [Line; 1] = [("in line", |moment| f64::from(moment.waiting))];
    let seats: [Line; 3] = [
        ("sold", |moment| f64::from(moment.sold)),
        ("held", |moment| f64::from(moment.held)),
        ("fans with a turn", |moment| f64::from(moment.active)),
    ];
    let asking: [Line; 2] = [("poll", |moment| moment.load.poll), ("join", |moment| moment.load.join)];
    let selling: [Line; 4] = [
        ("seats", |moment| moment.load.seats),
        ("reserve", |moment| moment.load.reserve),
        ("lost", |moment| moment.load.lost),
        ("pay", |moment| moment.load.pay),
    ];
    let all: [(&str, &str, &[Line]); 4] = [
        ("Fans in line", "fans", &waiting),
        ("Seats and turns", "seats, fans", &seats),
        ("Joins and polls", "requests a second", &asking),
        ("Requests of those who have a turn", "requests a second", &selling),
    ];
    for (title, y, lines) in all {
        let series = lines.iter().map(|(name, of)| Series {
            name: (*name).to_owned(),
            points: course.iter().map(|moment| (f64::from(moment.at_secs) / 60.0, of(moment))).collect(),
        });
        let x = "minutes after the opening".to_owned();
        let chart = Chart { title: title.to_owned(), x, y: y.to_owned(), series: series.collect() };
        let _ = writeln!(body, "<figure>{}</figure>", chart.svg());
    }
}
