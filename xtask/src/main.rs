//! The workspace's own commands, run as `cargo xtask <command>`.

mod bench;
mod capacity;
mod check_imports;
mod ci;
mod event_table;
mod load;
mod page;
mod setup;
mod sh;
mod soak;
mod test;
mod up;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask <command>

  setup                  install what the tests and checks need (Debian, Ubuntu); safe to repeat
  test [args]            setup, then `cargo test --workspace --all-features [args]`
  ci                     everything a change must pass, cheapest first
  bench [NAME]           the criterion benches, all or one, beside the raw driver: `redis_presence`, `memory`, ...
  bench --peers [--write]  ours beside the seeds on node-redis and the raw driver; --write keeps it in docs/PEERS.md
  bench growth [--write] how costs grow with members, rooms, users and messages; --write: docs/GROWTH.md, docs/SCALING.md
  capacity [options]     what 1 000 000 and 100 000 000 users need, from what was measured; --write, --check: docs/SCALING.md
  soak [minutes]         two servers and their backends are harmed for 10 minutes while people talk; target/soak.json
  load [options] [names] chat-server beside a plain Socket.IO server on Node, under the same load; --write: docs/LOAD.md
  up [options]           a Redis, a MongoDB, and two servers on them which are one chat, until Ctrl-C
  check-imports          who may import whom, between crates and inside chat-core
  event-table [--check]  write, or only compare, the table of events in docs/EVENTS.md
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = sh::enter_root().and_then(|()| match args.as_slice() {
        ["setup"] => setup::run(),
        ["test", rest @ ..] => test::run(rest),
        ["ci"] => ci::run(),
        ["bench", "--peers", rest @ ..] => bench::peers(rest),
        ["bench", "growth", rest @ ..] => bench::growth(rest),
        ["bench", rest @ ..] => bench::run(rest),
        ["capacity", "--write"] => capacity::write(),
        ["capacity", "--check"] => capacity::check(),
        ["capacity", rest @ ..] => capacity::run(rest),
        ["soak"] => soak::run("10"),
        ["soak", minutes] => soak::run(minutes),
        ["load", rest @ ..] => load::run(rest),
        ["up", rest @ ..] => up::run(rest),
        ["check-imports"] => check_imports::run(),
        ["event-table"] => event_table::write(),
        ["event-table", "--check"] => event_table::check(),
        ["help" | "-h" | "--help"] => {
            print!("{USAGE}");
            Ok(())
        }
        _ => {
            eprint!("{USAGE}");
            std::process::exit(2)
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
