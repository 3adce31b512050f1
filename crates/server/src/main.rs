//! `onsale`: serve, develop, operate.
#![expect(clippy::print_stdout, reason = "a command line prints its results")]

use std::{
    io::{BufRead, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::{Args, Parser, Subcommand};
use onsale_domain::{account::Role, ids::ConcertId};
use onsale_infrastructure::postgres::{Postgres, migrations};
use onsale_local_stack::{Stack, StackConfig};
use onsale_server::{config::Config, demo, dev, line_checks, load, mint, plan, reporting, serve, telemetry, wiring};

/// Requests allocate many small things and free them on the same thread.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Concert ticketing that survives the minute tickets go on sale.
#[derive(Parser)]
#[command(name = "onsale", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Args, Clone)]
struct ConfigFile {
    /// A TOML file; the environment goes before it.
    #[arg(long, env = "ONSALE_CONFIG")]
    config: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the API; needs PostgreSQL, Redis and secrets.
    Serve(ConfigFile),
    /// Serve with a private PostgreSQL and Redis, demo data and generated secrets.
    Dev {
        /// Where everything is kept.
        #[arg(long, default_value = ".onsale")]
        data_dir: PathBuf,
        /// Where to listen.
        #[arg(long, default_value = "127.0.0.1:8080")]
        bind: String,
    },
    /// A private PostgreSQL and Redis for other programs.
    Stack {
        #[command(subcommand)]
        command: StackCommand,
    },
    /// Apply the schema to `DATABASE_URL`, or revert it.
    Migrate {
        /// up or down.
        #[arg(default_value = "up", value_parser = ["up", "down"])]
        direction: String,
    },
    /// Operators.
    Operator {
        #[command(subcommand)]
        command: OperatorCommand,
    },
    /// Access tokens for load tests.
    Token {
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// Lines: check what one has published, report on one.
    Line {
        #[command(subcommand)]
        command: LineCommand,
    },
    /// A sale before it happens: waits, when it sells out, the settings to use, and what machines it takes.
    Plan(Box<plan::Arguments>),
    /// Load runs: send fans to a server and judge what it did; remove what runs made.
    Load {
        #[command(subcommand)]
        command: load::LoadCommand,
    },
    /// Print the OpenAPI document.
    Openapi,
}

#[derive(Subcommand)]
enum StackCommand {
    /// Run a command with `DATABASE_URL` and `REDIS_URL` of a throw-away stack.
    Exec {
        /// Where the stack is kept while it runs; a temporary folder when not given.
        #[arg(long)]
        data_dir: Option<PathBuf>,
        /// PostgreSQL with fsync and Redis with its append-only file, as in production; without, neither writes to disk in time.
        #[arg(long)]
        durable: bool,
        /// The command.
        #[arg(trailing_var_arg = true, required = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
}

#[derive(Subcommand)]
enum OperatorCommand {
    /// Make an operator; the password comes from `ONSALE_OPERATOR_PASSWORD` or from standard input.
    Create {
        /// E-mail address.
        #[arg(long)]
        email: String,
        /// Name.
        #[arg(long, default_value = "Operator")]
        name: String,
        #[command(flatten)]
        config: ConfigFile,
    },
}

#[derive(Subcommand)]
enum TokenCommand {
    /// Make fans with wallets and print a token for each, as JSON lines; `onsale load clean` removes them.
    Mint {
        /// How many.
        #[arg(long)]
        fans: usize,
        /// What each wallet holds, in minor units.
        #[arg(long, default_value_t = 0)]
        balance: i64,
        /// Start of the fans' addresses.
        #[arg(long, default_value = "load")]
        prefix: String,
        #[command(flatten)]
        config: ConfigFile,
    },
}

#[derive(Subcommand)]
enum LineCommand {
    /// Check the published draw and log of a line, from files; needs no store. See docs/ACCOUNTABLE.md.
    Verify {
        /// What GET /api/v1/concerts/{id}/queue/draw answered.
        #[arg(long)]
        draw: Option<PathBuf>,
        /// What GET /api/v1/concerts/{id}/queue/log answered.
        #[arg(long)]
        log: Option<PathBuf>,
        /// A receipt, to be found in them.
        #[arg(long, requires = "keys")]
        receipt: Option<PathBuf>,
        /// What GET /.well-known/jwks.json answered, to check the receipt's signature.
        #[arg(long)]
        keys: Option<PathBuf>,
    },
    /// Whether a line was fair, from the database.
    Report {
        /// The concert's id.
        #[arg(long)]
        concert: uuid::Uuid,
        #[command(flatten)]
        config: ConfigFile,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("onsale: the runtime does not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(cli.command)) {
        Ok(code) => code,
        Err(error) => {
            let mut text = error.to_string();
            let mut source = error.source();
            while let Some(next) = source {
                text = format!("{text}: {next}");
                source = next.source();
            }
            eprintln!("onsale: {text}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Serve(file) => {
            let config = Config::load(file.config.as_deref())?;
            telemetry::start_logs(config.log_format, &config.log_filter);
            let listener = serve::listen(&config)?;
            serve::serve(&config, listener, serve::stop_on_signals()).await?;
        }
        Command::Dev { data_dir, bind } => develop(data_dir, &bind).await?,
        Command::Stack { command: StackCommand::Exec { data_dir, durable, command } } => {
            return stack_exec(data_dir, durable, &command).await;
        }
        Command::Migrate { direction } => {
            let url = std::env::var("ONSALE_DATABASE_URL")
                .or_else(|_| std::env::var("DATABASE_URL"))
                .map_err(|_| "DATABASE_URL is missing")?;
            let (word, versions) = if direction == "down" {
                ("reverted", migrations::down(&url).await?)
            } else {
                ("applied", migrations::up(&url).await?)
            };
            println!("{} migrations {word}", versions.len());
        }
        Command::Operator { command: OperatorCommand::Create { email, name, config } } => {
            let config = Config::load(config.config.as_deref())?;
            let password = operator_password()?;
            let instance = wiring::instance(&config, &tokio::runtime::Handle::current())?;
            let user = instance.api.facades.accounts.create(&email, &password, &name, Role::Operator).await?;
            println!("operator {} has id {}", user.email, user.id);
        }
        Command::Token { command: TokenCommand::Mint { fans, balance, prefix, config } } => {
            let config = Config::load(config.config.as_deref())?;
            let postgres = Postgres::new(&config.database, &tokio::runtime::Handle::current())?;
            let mut out = std::io::stdout().lock();
            let ttl_secs = config.access_ttl_secs;
            for token in mint::mint(&config, &postgres, fans, balance, &prefix, ttl_secs).await? {
                writeln!(out, "{}", serde_json::to_string(&token)?)?;
            }
        }
        Command::Line { command: LineCommand::Verify { draw, log, receipt, keys } } => {
            let receipt = match receipt.zip(keys) {
                Some((receipt, keys)) => {
                    let claims = line_checks::verify_receipt(&receipt, &keys)?;
                    println!("The receipt is genuine: number {}.", claims.number);
                    Some(claims)
                }
                None => None,
            };
            if let Some(draw) = &draw {
                print_lines(&line_checks::verify_draw(draw, receipt.as_ref())?);
            }
            if let Some(log) = &log {
                print_lines(&line_checks::verify_log(log, receipt.as_ref())?);
            }
            if draw.is_none() && log.is_none() && receipt.is_none() {
                return Err("give --draw, --log or --receipt with --keys".into());
            }
        }
        Command::Line { command: LineCommand::Report { concert, config } } => {
            let config = Config::load(config.config.as_deref())?;
            let instance = wiring::instance(&config, &tokio::runtime::Handle::current())?;
            let report = instance.api.facades.line.report(ConcertId(concert)).await?;
            print_lines(&reporting::lines(&report));
        }
        Command::Plan(arguments) => print!("{}", plan::run(&arguments).await?),
        Command::Load { command } => return Box::pin(load::command(command)).await,
        Command::Openapi => print!("{}", onsale_http_api::openapi::text()),
    }
    Ok(ExitCode::SUCCESS)
}

fn print_lines(lines: &[String]) {
    for line in lines {
        println!("{line}");
    }
}

/// Never as an argument: arguments show in the list of processes.
fn operator_password() -> Result<String, Failure> {
    if let Ok(password) = std::env::var("ONSALE_OPERATOR_PASSWORD") {
        return Ok(password);
    }
    eprint!("Password: ");
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

async fn seed(config: &Config) -> Result<bool, Failure> {
    let instance = wiring::instance(config, &tokio::runtime::Handle::current())?;
    Ok(demo::seed(&instance).await?)
}

async fn develop(data_dir: PathBuf, bind: &str) -> Result<(), Failure> {
    std::fs::create_dir_all(&data_dir)?;
    let secrets = dev::secrets(&data_dir)?;
    // First, so that what becomes of the stores is heard.
    let (format, filter) = Config::logs(&secrets, &|name| std::env::var(name).ok())?;
    telemetry::start_logs(format, &filter);
    let stop = serve::stop_on_signals();
    let given = std::env::var("DATABASE_URL").ok().zip(std::env::var("REDIS_URL").ok());
    let (mut stack, database_url, redis_url) = match given {
        Some((database_url, redis_url)) => (None, database_url, redis_url),
        None => {
            let config = StackConfig { data_dir: data_dir.clone(), durable: true, max_connections: 100 };
            let stack = Stack::start(config).await?;
            let urls = (stack.database_url().to_owned(), stack.redis_url().to_owned());
            (Some(stack), urls.0, urls.1)
        }
    };
    let environment = |name: &str| match name {
        "DATABASE_URL" => Some(database_url.clone()),
        "REDIS_URL" => Some(redis_url.clone()),
        "ONSALE_HTTP_BIND" => Some(bind.to_owned()),
        // The stack's own servers, whatever else is set.
        "ONSALE_DATABASE_URL" | "ONSALE_REDIS_URL" => None,
        // Demo money is worth nothing.
        "ONSALE_MONEY_FREE_TOP_UP" => std::env::var(name).ok().or_else(|| Some("true".to_owned())),
        _ => std::env::var(name).ok(),
    };
    // Whatever goes wrong from here on, the stack is stopped in order.
    let served = async {
        let config = Config::parse(&secrets, &environment)?;
        let listener = serve::listen(&config)?;
        migrations::up(&database_url).await?;
        if seed(&config).await? {
            tracing::info!("demo data added");
        }
        // For as long as it serves.
        let _running = dev::note_running(&data_dir, &config, &listener.local_addr()?.to_string())?;
        println!("API           http://{bind}/api/v1");
        println!("Swagger UI    http://{bind}/docs/");
        println!("Metrics       http://{bind}/metrics");
        println!("PostgreSQL    {database_url}");
        println!("Redis         {redis_url}");
        println!("Demo fan      {} / {}", demo::FAN.0, demo::FAN.1);
        println!("Demo operator {} / {}", demo::OPERATOR.0, demo::OPERATOR.1);
        println!("Ctrl-C stops everything; the data stay.");
        serve::serve(&config, listener, stop).await?;
        Ok::<(), Failure>(())
    };
    // A store that ends by itself is started again, for as long as the server runs.
    let tended = async {
        let Some(stack) = &mut stack else { return std::future::pending().await };
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            if let Err(error) = stack.tend().await {
                tracing::error!(%error, "a store does not start again; the next try follows");
            }
        }
    };
    let served = tokio::select! {
        served = served => served,
        () = tended => Ok(()),
    };
    if let Some(stack) = stack {
        stack.stop().await?;
    }
    served
}

async fn stack_exec(data_dir: Option<PathBuf>, durable: bool, command: &[String]) -> Result<ExitCode, Failure> {
    let [program, arguments @ ..] = command else { return Err("no command".into()) };
    let temporary = data_dir.is_none();
    let data_dir =
        data_dir.unwrap_or_else(|| std::env::temp_dir().join(format!("onsale-stack-{}", std::process::id())));
    std::fs::create_dir_all(&data_dir)?;
    let stack = Stack::start(StackConfig { data_dir: data_dir.clone(), durable, max_connections: 300 }).await?;
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .env("DATABASE_URL", stack.database_url())
        .env("REDIS_URL", stack.redis_url())
        .spawn()
        .map_err(|error| format!("{program} does not start: {error}"))?;
    let stop = serve::stop_on_signals();
    let status = tokio::select! {
        status = child.wait() => status,
        () = stop.cancelled() => {
            // The terminal has told the child too; if not, it ends with us.
            child.kill().await?;
            child.wait().await
        }
    };
    stack.stop().await?;
    if temporary {
        drop(std::fs::remove_dir_all(&data_dir));
    }
    let code = status?.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Ok(ExitCode::from(code))
}
