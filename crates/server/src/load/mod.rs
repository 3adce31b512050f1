//! Load runs: fans come to a server as a scenario says, and afterwards the server and its database are asked whether every promise
//! was kept. `loadtest/run SCENARIO` starts one. A run that broke a promise has no speed.

pub mod clean;
pub mod crowd;
pub mod fault;
pub mod k6;
pub mod prepare;
pub mod recorded;
pub mod report;
pub mod scenario;
pub mod target;
pub mod verdict;
pub mod watch;

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Args, Subcommand};
use onsale_application::context::Clock;
use onsale_infrastructure::{postgres::Postgres, system::System};
use uuid::Uuid;

pub use prepare::{Fan, Job};

use fault::Fault;
use prepare::Asked;
use report::{Machine, Run};
use scenario::{Changes, Generator, Scenario};
use target::{Place, Target};
use watch::Watch;

/// Whatever goes wrong in a run.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Where runs are kept that are not told where.
const RUNS: &str = "loadtest/runs";

/// For so long beyond a run its tokens are good: what is judged afterwards takes a while.
const TOKENS_OUTLIVE_SECS: i64 = 3_600;

/// Time between the last answer to a fan and the verdict: lines write down what happened at their next tick.
const LAST_TICK: Duration = Duration::from_secs(3);

/// `onsale load`.
#[derive(Debug, Subcommand)]
pub enum LoadCommand {
    /// Send the fans of a scenario to a server and judge what it did. `loadtest/run` is this, with everything it needs.
    Run(Box<RunOptions>),
    /// Remove the fans and concerts that runs made, with everything that hangs on them; say how much that was.
    Clean(Place),
}

/// Options of `onsale load run`.
#[derive(Debug, Clone, Args)]
pub struct RunOptions {
    /// The name of a file in loadtest/scenarios, or a file that ends in .json.
    pub scenario: String,
    /// Which server.
    #[command(flatten)]
    pub place: Place,
    /// How many fans come, instead of what the scenario says; at the same rates.
    #[arg(long)]
    pub fans: Option<usize>,
    /// How many fans come each second at the highest rate; the shape of the arrivals stays.
    #[arg(long)]
    pub rate: Option<f64>,
    /// How many seats each show has.
    #[arg(long)]
    pub seats: Option<usize>,
    /// A concert on sale to use instead of making one.
    #[arg(long)]
    pub concert: Option<Uuid>,
    /// The show of that concert; its first one to come when not given.
    #[arg(long, requires = "concert")]
    pub show: Option<Uuid>,
    /// Who sends the fans, instead of what the scenario says.
    #[arg(long, value_enum)]
    pub generator: Option<Generator>,
    /// Kill a process of the server's machine so many seconds after the start, as NAME@SECONDS; may be given several times, in order.
    /// Known are server, postgres and redis of `script/server`, which starts its stores again. The run then says how long it took
    /// until 0.9 of the right answers came again; missing answers and slow ones are not judged.
    #[arg(long = "fault", value_name = "NAME@SECONDS")]
    pub faults: Vec<Fault>,
    /// The folder for everything that the run writes; loadtest/runs/DATE-SCENARIO when not given.
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Remove afterwards what this and earlier runs made.
    #[arg(long)]
    pub clean: bool,
}

/// Runs a command. A run that did not pass is a failure.
pub async fn command(command: LoadCommand) -> Result<ExitCode, Failure> {
    match command {
        LoadCommand::Run(options) => {
            let passed = Box::pin(run(&options)).await?;
            Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        LoadCommand::Clean(place) => {
            let config = place.find()?.config;
            let postgres = Postgres::new(&config.database, &tokio::runtime::Handle::current())?;
            print_lines(&Box::pin(clean::clean(&config, &postgres)).await?.lines())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn print_lines(lines: &[String]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    lines.iter().try_for_each(|line| writeln!(out, "{line}"))
}

/// Runs a scenario from start to end. Answers whether it passed.
pub async fn run(options: &RunOptions) -> Result<bool, Failure> {
    let (name, scenario) = Scenario::read(&options.scenario)?;
    let RunOptions { fans, rate, seats, generator, .. } = *options;
    let mut scenario = scenario.with(Changes { fans, rate, seats, generator })?;
    if !options.faults.is_empty() {
        scenario.limits.unanswered_share = 1.0;
        scenario.limits.p95_ms.clear();
    }
    let ttl_secs = scenario.longest_secs().saturating_add(TOKENS_OUTLIVE_SECS);
    let target = Target::find(&options.place, ttl_secs).await?;
    let folder = folder(options.out.as_deref(), &name)?;
    std::fs::write(folder.join("scenario.json"), serde_json::to_vec_pretty(&scenario)?)?;

    let longest_secs = scenario.longest_secs();
    eprintln!(
        "{}: {} fans for {}, {longest_secs} s at most",
        scenario.title,
        scenario.fans,
        target.base_urls.join(", ")
    );
    let asked = options.concert.map(|concert| Asked { concert, show: options.show });
    let job = Box::pin(prepare::prepare(&target, &name, scenario, asked, folder, ttl_secs)).await?;
    let concert = job.concert;
    let judged = Box::pin(drive(options, &target, job, name)).await;

    // Whatever came of it, the sale is over.
    if asked.is_none()
        && let Err(error) = prepare::close_sale(&target, concert).await
    {
        eprintln!("The sale of this run could not be closed: {error}");
    }
    if options.clean {
        print_lines(&Box::pin(clean::clean(&target.config, &target.postgres)).await?.lines())?;
    }
    judged
}

/// Sends the fans, asks what came of it, and writes it down. Answers whether the run passed.
async fn drive(options: &RunOptions, target: &Target, job: Job, name: String) -> Result<bool, Failure> {
    let watch = Watch::start(target, target.processes.clone(), job.concert);
    let place = options.place.clone();
    let processes = move || place.find().map(|found| found.processes).unwrap_or_default();
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let faults = tokio::spawn(fault::strike(options.faults.clone(), processes, tell));
    let recorded = match job.scenario.generator {
        Generator::K6 => Box::pin(k6::drive(&job)).await,
        Generator::Crowd => Box::pin(crowd::drive(&job)).await,
    };
    let samples = watch.stop().await;
    let recorded = recorded?;
    // One that was still to come has come to nothing.
    faults.abort();
    let struck: Vec<_> = std::iter::from_fn(|| told.try_recv().ok()).collect();

    eprintln!("The fans have gone. What they were told is held against the database.");
    tokio::time::sleep(LAST_TICK).await;
    let mut findings = Box::pin(verdict::verdict(target, &job, &recorded)).await?;
    findings.extend(fault::findings(&options.faults, &struck, &recorded));
    let run = Run {
        name,
        scenario: job.scenario,
        command: command_line(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        same_machine: target.base_urls.iter().all(|url| target::is_here(url)),
        base_urls: job.base_urls,
        machine: Machine::here(),
        recorded,
        samples,
        findings,
    };
    report::write(&job.folder, &run)?;
    Ok(run.passed())
}

/// The folder of a run, which is there then. Its path is a whole one, as k6 works in it.
fn folder(out: Option<&Path>, name: &str) -> Result<PathBuf, Failure> {
    let folder = match out {
        Some(out) => out.to_owned(),
        None => Path::new(RUNS).join(format!("{}-{name}", System.now().format("%Y-%m-%d-%H%M%S"))),
    };
    std::fs::create_dir_all(&folder).map_err(|error| format!("{} cannot be made: {error}", folder.display()))?;
    Ok(folder.canonicalize()?)
}

/// The command as it can be repeated anywhere.
fn command_line() -> String {
    std::iter::once("onsale".to_owned()).chain(std::env::args().skip(1)).collect::<Vec<_>>().join(" ")
}
