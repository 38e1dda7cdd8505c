//! `chat-server`: see `--help`.

use std::future::Future;
use std::process::ExitCode;

use chat_core::error::Error;
use chat_core::prewarm::PrewarmEnd;
use chat_server::config::{ByHand, Config, HELP, Task};
use chat_server::wiring::{self, Places};
use chat_server::{Options, Server, logs, prewarm};
use tokio::net::TcpListener;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    for argument in &arguments {
        match argument.as_str() {
            "--help" | "-h" => return say(HELP),
            "--version" | "-V" => return say(concat!("chat-server ", env!("CARGO_PKG_VERSION"))),
            _ => {}
        }
    }
    logs::start();
    let variables = std::env::vars_os();
    let variables =
        variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    match Config::read(arguments, variables) {
        Ok(config) => run(config),
        Err(error) => refuse(&error),
    }
}

#[tokio::main]
async fn run(config: Config) -> ExitCode {
    let ended = match &config.task {
        Task::Prewarm(task) => prewarm_by_hand(task, &config.places).await,
        Task::Serve => serve(config).await.map(|()| ExitCode::SUCCESS),
    };
    ended.unwrap_or_else(|error| {
        tracing::error!(%error, "it could not go on");
        ExitCode::FAILURE
    })
}

async fn prewarm_by_hand(task: &ByHand, places: &Places) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let report = prewarm::by_hand(task, places, told_to_stop()?).await?;
    println!("{}", serde_json::to_string(&report)?);
    let is_done = matches!(report.end, PrewarmEnd::Finished | PrewarmEnd::Budget);
    Ok(if is_done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn serve(config: Config) -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::default().with_dev(config.dev).with_prewarm(config.prewarm);
    let listener = TcpListener::bind(config.listen).await?;
    let address = listener.local_addr()?;
    let wired = wiring::chat(config.settings, &config.places).await?;
    let server = Server::start_on(wired.chat.clone(), wired.backends.clone(), config.auth, options).await?;
    if config.dev {
        let secret = if config.made_up_secret { ", with a secret made up for this run" } else { "" };
        tracing::warn!("running in --dev: anybody who reaches this address signs in as anybody{secret}");
    }
    // Before anybody knows that there is something to stop.
    let stop = told_to_stop()?;
    println!("http://{address}");
    server.serve(listener, stop).await?;
    wired.end().await;
    Ok(())
}

/// Listens for SIGTERM and Ctrl-C from now on; the future ends with the first of them.
#[cfg(unix)]
fn told_to_stop() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminated, mut interrupted) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminated.recv() => {}
            _ = interrupted.recv() => {}
        }
    })
}

/// Listens for Ctrl-C; the future ends with it.
#[cfg(not(unix))]
fn told_to_stop() -> std::io::Result<impl Future<Output = ()>> {
    Ok(async { drop(tokio::signal::ctrl_c().await) })
}

fn say(text: &str) -> ExitCode {
    println!("{text}");
    ExitCode::SUCCESS
}

/// Every problem on a line of its own.
fn refuse(error: &Error) -> ExitCode {
    eprintln!("chat-server cannot start:");
    for problem in error.detail("reason").unwrap_or("unknown reason").split("; ") {
        eprintln!("  {problem}");
    }
    eprintln!("See --help. Each --option is also a variable: --jwt-secret is CHAT_JWT_SECRET.");
    ExitCode::from(2)
}
