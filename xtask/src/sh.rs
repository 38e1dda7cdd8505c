//! Running other programs, always from the workspace's root.

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Makes the workspace's root the current folder, so every path here is relative to it.
pub(crate) fn enter_root() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent folder")?;
    env::set_current_dir(root).with_context(|| format!("cannot enter {}", root.display()))
}

/// `program` with the arguments of a plain command line: words between spaces, no quoting.
pub(crate) fn cmd(program: &str, args: &str) -> Command {
    let mut command = Command::new(program);
    command.args(args.split_whitespace()).stdin(Stdio::null());
    command
}

/// The cargo which runs this program, without what `cargo run` told us about our own package:
/// build scripts which watch those variables would rebuild at every other call.
pub(crate) fn cargo(args: &str) -> Command {
    let mut command = cmd(&env::var("CARGO").unwrap_or_else(|_| "cargo".into()), args);
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(|n| n.starts_with("CARGO_PKG_") || n.starts_with("CARGO_MANIFEST_")) {
            command.env_remove(name);
        }
    }
    command
}

/// A program of the workspace, `quickstart` or `examples/event_table`, built with the features that the tests are built with: by
/// itself it would have others, and so compile every dependency a second time.
pub(crate) fn built(program: &str) -> Result<Command> {
    let target = match program.strip_prefix("examples/") {
        Some(example) => format!("--example {example}"),
        None => format!("--bin {program}"),
    };
    run(&mut cargo(&format!("build --quiet --workspace --all-features {target}")))?;
    let here = env::current_exe().context("this program has no path")?;
    Ok(cmd(&here.with_file_name(program).to_string_lossy(), ""))
}

/// Prints the command, runs it, and fails unless it succeeds.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = line(command);
    eprintln!("$ {line}");
    let status = command.status().with_context(|| format!("cannot run `{line}`"))?;
    ensure!(status.success(), "`{line}` failed ({status})");
    Ok(())
}

/// What the command prints on standard output; fails unless it succeeds.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let line = line(command);
    let output = command.stderr(Stdio::inherit()).output().with_context(|| format!("cannot run `{line}`"))?;
    ensure!(output.status.success(), "`{line}` failed ({})", output.status);
    String::from_utf8(output.stdout).with_context(|| format!("`{line}` printed no UTF-8"))
}

/// Whether the command runs and succeeds; says nothing.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Whether a program of this name is on the PATH.
pub(crate) fn finds(program: &str) -> bool {
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

/// The command as a person would type it.
fn line(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let program = program.file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
