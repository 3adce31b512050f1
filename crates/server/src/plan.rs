//! `onsale plan`: a sale before it happens. The model is [`onsale_domain::plan`]; see docs/PLANNING.md.

mod report;

use std::{
    io::BufRead,
    path::{Path, PathBuf},
};

use clap::Args;
use onsale_application::{
    catalogue::{CatalogueStore, ForSale},
    context::Clock,
    line::StockQueries,
};
use onsale_domain::{
    ids::ConcertId,
    plan::{
        Advice, ArrivalPart, Capacity, Costs, Crowd, Curve, Machines, Outcome, PastSale, Sale, Sizing, Spread, advise,
        simulate, size,
    },
    queue::{LogKind, QueuePolicy},
    show::{HOLD_SECS_DEFAULT, SEATS_PER_FAN_DEFAULT},
};
use onsale_infrastructure::{postgres::Postgres, system::System};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::config::Config;

/// Why a plan could not be made.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A sale before it happens: waits, when it sells out, the settings to use, and what machines it takes. See docs/PLANNING.md.
///
/// Times are given as two numbers of seconds with a comma between: the median, and within what nine of ten are done. What is not
/// given is as in the log, or as the concert has it, or as assumed.
#[derive(Debug, Clone, Default, Args)]
pub struct Arguments {
    /// Fans who come: 1 to 10,000,000. Needed without --log.
    #[arg(long)]
    pub fans: Option<u32>,
    /// Seats of all shows: 1 to 10,000,000. Needed without --concert.
    #[arg(long)]
    pub seats: Option<u32>,
    /// When the sale opens, as 20:00 or 20:00:30; only told, not simulated.
    #[arg(long, value_parser = clock)]
    pub open: Option<u32>,

    /// A concert, also a draft: its settings, seats and holds are read from the database.
    #[arg(long)]
    pub concert: Option<Uuid>,
    /// A TOML file with the settings of the server, for --concert; the environment goes before it.
    #[arg(long, env = "ONSALE_CONFIG")]
    pub config: Option<PathBuf>,
    /// The published log of a past sale (GET /api/v1/concerts/{id}/queue/log): how many came, when, and how long they took. With
    /// the settings and seats of that sale, the plan is held against what happened.
    #[arg(long)]
    pub log: Option<PathBuf>,

    /// Share of the fans who register before the opening, 0 to 1 [assumed: 0.4].
    #[arg(long)]
    pub before_share: Option<f64>,
    /// Seconds over which they register [assumed: 1800].
    #[arg(long)]
    pub before_secs: Option<u32>,
    /// The others come most at once and then fewer and fewer: half of them within so many seconds, 1 to 86400 [assumed: 120].
    #[arg(long, conflicts_with = "arrivals")]
    pub half_life_secs: Option<f64>,
    /// Or part after part, as SECOND:WEIGHT with commas between: 10:3,600:1 is three of four in the first ten seconds.
    #[arg(long, value_parser = curve)]
    pub arrivals: Option<Curve>,
    /// How long a waiting fan waits before giving up, seconds, or never [assumed: 3600,14400].
    #[arg(long, value_parser = patience)]
    pub patience: Option<Patience>,
    /// Share of those who give up who leave the line; the others close the page, 0 to 1 [assumed: 0.2].
    #[arg(long)]
    pub says_goodbye_share: Option<f64>,
    /// Share that never comes when called, 0 to 1 [assumed: 0.08].
    #[arg(long)]
    pub no_show_share: Option<f64>,
    /// Share of robots, which hold seats and never pay, 0 to 1 [assumed: 0.02].
    #[arg(long)]
    pub robots_share: Option<f64>,
    /// Share that looks at the seats and goes, 0 to 1 [assumed: 0.1].
    #[arg(long)]
    pub looks_only_share: Option<f64>,
    /// From the call to the first use of the turn, seconds [assumed: 5,25].
    #[arg(long, value_parser = spread)]
    pub notice: Option<Spread>,
    /// From seeing the seats to choosing some, seconds [assumed: 30,90].
    #[arg(long, value_parser = spread)]
    pub read: Option<Spread>,
    /// From the reservation to the wish to pay, seconds [assumed: 25,80].
    #[arg(long, value_parser = spread)]
    pub decide: Option<Spread>,
    /// From the wish to pay to the payment, seconds [assumed: 20,60].
    #[arg(long, value_parser = spread)]
    pub pay: Option<Spread>,
    /// How long a fan who finds no seat goes on looking, seconds [assumed: 60,240].
    #[arg(long, value_parser = spread)]
    pub search: Option<Spread>,
    /// How many want one seat, two, three and so on, against each other [assumed: 0.2,0.5,0.1,0.2].
    #[arg(long, value_delimiter = ',')]
    pub seats_wanted: Option<Vec<f64>>,
    /// How many times likelier than by chance two fans want the same seat, 0 to 1000 [assumed: 3].
    #[arg(long)]
    pub crowding: Option<f64>,
    /// A page asks for the seats so often, seconds, 1 to 3600 [assumed: 5].
    #[arg(long)]
    pub look_every_secs: Option<u32>,

    /// Seconds between two promotions, 1 to 3600 [default: the concert's, or 60].
    #[arg(long)]
    pub interval_secs: Option<i32>,
    /// Most fans that one promotion calls, 1 to 100000 [default: the concert's, or 420].
    #[arg(long)]
    pub batch: Option<i32>,
    /// Most fans who have a turn at once, 1 to 100000 [default: the concert's, or 2100].
    #[arg(long)]
    pub active_limit: Option<i32>,
    /// Seconds in which a turn must be used, 5 to 3600 [default: the concert's, or 60].
    #[arg(long)]
    pub claim_secs: Option<i32>,
    /// Seconds after a lapse in which a fan may come back, 0 to 86400 [default: the concert's, or 900].
    #[arg(long)]
    pub return_secs: Option<i32>,
    /// Seconds that a turn lives without being used, 10 to 86400 [default: the concert's, or 300].
    #[arg(long)]
    pub active_sliding_secs: Option<i32>,
    /// Seconds that a turn lives at most, 10 to 86400 [default: the concert's, or 900].
    #[arg(long)]
    pub active_absolute_secs: Option<i32>,
    /// Whether a fan who joins an empty line is called at once, true or false [default: the concert's, or true].
    #[arg(long)]
    pub idle_admission: Option<bool>,
    /// Most fans waiting, 1 to 10000000 [default: the concert's, or 1000000].
    #[arg(long)]
    pub waiting_limit: Option<i32>,
    /// Seconds that a reservation is held, 10 to 3600 [default: the concert's longest, or 300].
    #[arg(long)]
    pub hold_secs: Option<u32>,
    /// Most seats of one fan, 1 to 20 [default: the concert's, or 4].
    #[arg(long)]
    pub seats_per_fan: Option<u32>,

    /// What each request costs: a JSON file, as a calibration writes it; docs/PLANNING.md has its members.
    #[arg(long)]
    pub costs: Option<PathBuf>,
    /// Cores of one server instance.
    #[arg(long, default_value_t = 2.0)]
    pub cores: f64,
    /// Cores of PostgreSQL.
    #[arg(long, default_value_t = 4.0)]
    pub postgres_cores: f64,
    /// How busy a core may be, above 0 and up to 1.
    #[arg(long, default_value_t = 0.6)]
    pub busy_share: f64,
    /// Most reservations per second [default: what PostgreSQL's cores can do by the costs].
    #[arg(long)]
    pub reserve_per_sec: Option<f64>,
    /// Most payments per second [default: the same].
    #[arg(long)]
    pub pay_per_sec: Option<f64>,

    /// Another seed, other fans of the same kind.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Simulate the settings as they are, without a search for better ones.
    #[arg(long)]
    pub no_advice: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Write a page with charts to this file.
    #[arg(long)]
    pub html: Option<PathBuf>,
}

/// How long fans wait; `None` when nobody gives up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Patience(pub Option<Spread>);

/// Two numbers of seconds.
fn spread(text: &str) -> Result<Spread, String> {
    let wrong =
        || "must be two numbers of seconds, as 30,90: the median, and within what nine of ten are done".to_owned();
    let (median, p90) = text.split_once(',').ok_or_else(wrong)?;
    let secs = |text: &str| text.trim().parse::<f64>().map_err(|_| wrong());
    Ok(Spread::new(secs(median)?, secs(p90)?))
}

fn patience(text: &str) -> Result<Patience, String> {
    if text == "never" { Ok(Patience(None)) } else { spread(text).map(|spread| Patience(Some(spread))) }
}

/// Seconds of a day.
fn clock(text: &str) -> Result<u32, String> {
    let wrong = || "must be a time of day, as 20:00 or 20:00:30".to_owned();
    let parts: Vec<u32> = text.split(':').map(|part| part.parse().map_err(|_| wrong())).collect::<Result<_, _>>()?;
    match *parts.as_slice() {
        [hours @ ..24, minutes @ ..60] => Ok(hours * 3_600 + minutes * 60),
        [hours @ ..24, minutes @ ..60, secs @ ..60] => Ok(hours * 3_600 + minutes * 60 + secs),
        _ => Err(wrong()),
    }
}

/// Parts of an arrival curve.
fn curve(text: &str) -> Result<Curve, String> {
    let wrong = || "must be SECOND:WEIGHT with commas between, as 10:3,600:1".to_owned();
    let part = |text: &str| {
        let (until, weight) = text.split_once(':').ok_or_else(wrong)?;
        let (until_secs, weight) = (until.trim().parse().ok(), weight.trim().parse().ok());
        Ok(ArrivalPart { until_secs: until_secs.ok_or_else(wrong)?, weight: weight.ok_or_else(wrong)? })
    };
    text.split(',').map(part).collect::<Result<_, String>>().map(Curve::Parts)
}

/// Everything that a plan says.
#[derive(Debug, Serialize)]
pub struct Plan {
    /// Second of the day at which the sale opens.
    pub opens_at_secs: Option<u32>,
    /// What was simulated.
    pub sale: Sale,
    /// What comes of it.
    pub outcome: Outcome,
    /// What it takes.
    pub sizing: Sizing,
    /// From what costs.
    pub costs: Costs,
    /// On what machines.
    pub machines: Machines,
    /// Settings to use instead.
    pub advice: Option<Advised>,
    /// The sale that the log was of.
    pub past: Option<PastSale>,
}

/// Settings to use, and what they take.
#[derive(Debug, Serialize)]
pub struct Advised {
    /// The settings, and what comes of them.
    #[serde(flatten)]
    pub advice: Advice,
    /// What that takes.
    pub sizing: Sizing,
}

/// Makes the plan, writes the page if one is asked for, and answers what is to be printed.
pub async fn run(arguments: &Arguments) -> Result<String, Failure> {
    let concert = match arguments.concert {
        Some(id) => {
            let config = Config::load(arguments.config.as_deref())?;
            let postgres = Postgres::new(&config.database, &tokio::runtime::Handle::current())?;
            Some(read_concert(&postgres, ConcertId(id)).await?)
        }
        None => None,
    };
    let past = arguments.log.as_deref().map(read_log).transpose()?;
    let costs = arguments.costs.as_deref().map(read_costs).transpose()?.unwrap_or_default();
    let plan = make(arguments, concert.as_ref(), past, costs)?;
    if let Some(path) = &arguments.html {
        std::fs::write(path, report::page(&plan)).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    if arguments.json { Ok(serde_json::to_string_pretty(&plan)? + "\n") } else { Ok(report::text(&plan)) }
}

/// What is known of a concert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OfConcert {
    /// The settings of its line.
    pub policy: QueuePolicy,
    /// Seats of its shows to come that are not kept back.
    pub seats: u32,
    /// Most seats of one fan at one show.
    pub seats_per_fan: u32,
    /// The longest hold of its shows.
    pub hold_secs: Option<u32>,
}

/// Reads a concert in any stage, also a draft.
pub async fn read_concert(postgres: &Postgres, id: ConcertId) -> Result<OfConcert, Failure> {
    let concert = postgres.concert(id, System.now()).await?.ok_or("there is no such concert")?;
    let ForSale { seats, longest_hold_secs, .. } = postgres.for_sale(id).await?;
    let stock = postgres.concert_stock(id).await?;
    let count = |number: i64| u32::try_from(number).unwrap_or(0);
    Ok(OfConcert {
        policy: concert.policy,
        seats: count(seats),
        seats_per_fan: count(stock.seats_per_fan),
        hold_secs: longest_hold_secs.map(|secs| count(secs.into())),
    })
}

/// An entry of the log, as far as it matters here.
#[derive(Deserialize)]
struct LogLine {
    kind: String,
    number: i64,
    at_ms: i64,
}

/// Reads a published log.
pub fn read_log(path: &Path) -> Result<PastSale, Failure> {
    let file = std::fs::File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut entries = vec![];
    for (index, line) in std::io::BufReader::new(file).lines().enumerate() {
        let broken = |what: String| format!("{}, line {}: {what}", path.display(), index + 1);
        let line = line.map_err(|error| broken(error.to_string()))?;
        let LogLine { kind, number, at_ms } = serde_json::from_str(&line).map_err(|error| broken(error.to_string()))?;
        let kind = LogKind::parse(&kind).ok_or_else(|| broken("the kind is unknown".to_owned()))?;
        entries.push((kind, number, at_ms));
    }
    Ok(PastSale::of(entries)?)
}

fn read_costs(path: &Path) -> Result<Costs, Failure> {
    let named = |error: String| format!("{}: {error}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| named(error.to_string()))?;
    Ok(serde_json::from_str(&text).map_err(|error| named(error.to_string()))?)
}

/// Simulates the sale, and searches better settings unless that is not wanted.
pub fn make(
    arguments: &Arguments,
    concert: Option<&OfConcert>,
    past: Option<PastSale>,
    costs: Costs,
) -> Result<Plan, Failure> {
    let machines = Machines {
        cores_per_instance: arguments.cores,
        postgres_cores: arguments.postgres_cores,
        busy_share: arguments.busy_share,
    };
    let usable = [machines.cores_per_instance, machines.postgres_cores, machines.busy_share];
    if usable.iter().any(|number| !(0.001..=100_000.0).contains(number)) || machines.busy_share > 1.0 {
        return Err("cores must be above 0, and --busy-share at most 1".into());
    }
    let crowd = arguments.crowd(past.as_ref())?;
    let seats = arguments.seats.or(concert.map(|concert| concert.seats)).ok_or("give --seats or --concert")?;
    let count = |number: i32| u32::try_from(number).unwrap_or(1);
    let sale = Sale {
        crowd,
        policy: arguments.policy(concert.map_or_else(QueuePolicy::default, |concert| concert.policy)),
        seats,
        hold_secs: arguments
            .hold_secs
            .or(concert.and_then(|concert| concert.hold_secs))
            .unwrap_or(count(HOLD_SECS_DEFAULT)),
        seats_per_fan: arguments
            .seats_per_fan
            .or(concert.map(|concert| concert.seats_per_fan).filter(|seats| *seats > 0))
            .unwrap_or(count(SEATS_PER_FAN_DEFAULT)),
    };
    sale.check()?;
    let outcome = simulate(&sale, arguments.seed);
    let sizing = size(&outcome, &sale.policy, sale.crowd.fans, &costs, &machines);
    let fits = Capacity::of(&costs, &machines);
    let capacity = Capacity {
        reserve_per_sec: arguments.reserve_per_sec.unwrap_or(fits.reserve_per_sec),
        pay_per_sec: arguments.pay_per_sec.unwrap_or(fits.pay_per_sec),
    };
    let advice = (!arguments.no_advice).then(|| {
        let advice = advise(&sale, &capacity, arguments.seed);
        let sizing = size(&advice.outcome, &advice.sale.policy, sale.crowd.fans, &costs, &machines);
        Advised { advice, sizing }
    });
    Ok(Plan { opens_at_secs: arguments.open, sale, outcome, sizing, costs, machines, advice, past })
}

impl Arguments {
    /// Who comes: as assumed, then as the log says, then as these say.
    fn crowd(&self, past: Option<&PastSale>) -> Result<Crowd, Failure> {
        let assumed = Crowd::assumed(self.fans.unwrap_or(1));
        let mut crowd = past.map_or_else(|| assumed.clone(), |past| past.crowd(&assumed));
        match (self.fans, past) {
            (Some(fans), _) => crowd.fans = fans,
            (None, Some(_)) => {}
            (None, None) => return Err("give --fans or --log".into()),
        }
        let given = self.clone();
        let arrivals = &mut crowd.arrivals;
        set(&mut arrivals.before_share, given.before_share);
        set(&mut arrivals.before_secs, given.before_secs);
        set(&mut arrivals.after, given.half_life_secs.map(Curve::HalfLifeSecs).or(given.arrivals));
        set(&mut crowd.patience, given.patience.map(|Patience(patience)| patience));
        set(&mut crowd.says_goodbye_share, given.says_goodbye_share);
        set(&mut crowd.no_show_share, given.no_show_share);
        set(&mut crowd.robots_share, given.robots_share);
        set(&mut crowd.looks_only_share, given.looks_only_share);
        set(&mut crowd.notice, given.notice);
        set(&mut crowd.read, given.read);
        set(&mut crowd.decide, given.decide);
        set(&mut crowd.pay, given.pay);
        set(&mut crowd.search, given.search);
        set(&mut crowd.seats_wanted, given.seats_wanted);
        set(&mut crowd.crowding, given.crowding);
        set(&mut crowd.look_every_secs, given.look_every_secs);
        Ok(crowd)
    }

    fn policy(&self, mut policy: QueuePolicy) -> QueuePolicy {
        set(&mut policy.interval_secs, self.interval_secs);
        set(&mut policy.batch, self.batch);
        set(&mut policy.active_limit, self.active_limit);
        set(&mut policy.claim_secs, self.claim_secs);
        set(&mut policy.return_secs, self.return_secs);
        set(&mut policy.active_sliding_secs, self.active_sliding_secs);
        set(&mut policy.active_absolute_secs, self.active_absolute_secs);
        set(&mut policy.idle_admission, self.idle_admission);
        set(&mut policy.waiting_limit, self.waiting_limit);
        policy
    }
}

fn set<T>(setting: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *setting = given;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments() -> Arguments {
        Arguments {
            fans: Some(2_000),
            seats: Some(300),
            cores: 2.0,
            postgres_cores: 4.0,
            busy_share: 0.6,
            seed: 1,
            no_advice: true,
            ..Arguments::default()
        }
    }

    fn plan(arguments: &Arguments) -> Result<Plan, Failure> {
        make(arguments, None, None, Costs::default())
    }

    #[test]
    fn arguments_go_before_the_log_and_the_log_before_what_is_assumed() {
        let made =
            plan(&Arguments { read: Some(Spread::new(1.0, 2.0)), batch: Some(7), ..arguments() }).expect("a plan");
        assert_eq!((made.sale.crowd.fans, made.sale.policy.batch, made.sale.hold_secs), (2_000, 7, 300));
        assert_eq!((made.sale.crowd.read, made.sale.crowd.pay), (Spread::new(1.0, 2.0), Spread::new(20.0, 60.0)));
        let entries = (1..=40).flat_map(|number| {
            let at_ms = number * 1_000;
            [
                (LogKind::Joined, number, at_ms),
                (LogKind::Admitted, number, at_ms + 500),
                (LogKind::Arrived, number, at_ms + 2_500),
                (LogKind::Paid, number, at_ms + 62_500),
            ]
        });
        let past = PastSale::of(entries).expect("a sale");
        let given = Arguments { fans: None, no_show_share: Some(0.5), ..arguments() };
        let made = make(&given, None, Some(past), Costs::default()).expect("a plan");
        assert_eq!((made.sale.crowd.fans, made.sale.crowd.notice), (40, Spread::new(2.0, 2.0)));
        assert!((made.sale.crowd.no_show_share - 0.5).abs() < 1e-9);
    }

    #[test]
    fn what_is_missing_or_makes_no_sense_is_named() {
        let told = |arguments: Arguments| plan(&arguments).expect_err("wrong").to_string();
        assert!(told(Arguments { fans: None, ..arguments() }).contains("--fans"));
        assert!(told(Arguments { seats: None, ..arguments() }).contains("--seats"));
        assert!(told(Arguments { busy_share: 1.5, ..arguments() }).contains("--busy-share"));
        let both = told(Arguments { batch: Some(0), no_show_share: Some(2.0), ..arguments() });
        assert!(both.contains("batch") && both.contains("no_show_share"), "{both}");
    }

    #[test]
    fn values_are_read_as_people_write_them() {
        assert_eq!(spread("30, 90"), Ok(Spread::new(30.0, 90.0)));
        assert!(spread("30").is_err() && spread("a,b").is_err());
        assert_eq!(patience("never"), Ok(Patience(None)));
        assert_eq!((clock("20:00"), clock("20:00:30")), (Ok(72_000), Ok(72_030)));
        assert!(["24:00", "20", "20:60", "x:y"].iter().all(|text| clock(text).is_err()));
        let parts = vec![ArrivalPart { until_secs: 10, weight: 3.0 }, ArrivalPart { until_secs: 600, weight: 1.0 }];
        assert_eq!(curve("10:3,600:1"), Ok(Curve::Parts(parts)));
        assert!(curve("10").is_err());
    }

    #[test]
    fn costs_may_name_only_what_was_measured() {
        let text = r#"{ "source": "here", "poll": { "server_us": 9, "redis_us": 1, "postgres_us": 0 } }"#;
        let costs: Costs = serde_json::from_str(text).expect("costs");
        assert_eq!((costs.source.as_str(), costs.join), ("here", Costs::default().join));
        assert!((costs.poll.server_us - 9.0).abs() < 1e-9);
        assert!(serde_json::from_str::<Costs>(r#"{ "pol": 1 }"#).is_err());
    }

    #[test]
    fn text_page_and_json_say_the_same_sale() {
        let made = plan(&Arguments { open: Some(72_000), no_advice: false, ..arguments() }).expect("a plan");
        let text = report::text(&made);
        for part in ["2,000 fans", "opens at 20:00", "Settings to use", "interval_secs", "server cores"] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        let page = report::page(&made);
        assert!(page.matches("<svg").count() >= 6 && page.contains("Settings to use"), "{page}");
        let json: serde_json::Value = serde_json::from_str(&serde_json::to_string(&made).expect("JSON")).expect("JSON");
        assert_eq!(json["sale"]["crowd"]["fans"], 2_000);
        assert!(json["advice"]["reasons"].is_array() && json["outcome"]["course"].is_array(), "{json}");
    }
}
