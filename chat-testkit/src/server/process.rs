//! A spawned server: its folder, its life and its end.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;
use rand::Rng;

use crate::Absent;
use crate::wait::until;

/// Ports of servers lie below the range the system takes the client side of connections from, so that nobody takes the
/// port of a server which is down for a while; and ten thousand more is a port too, for a cluster's bus.
const PORTS: std::ops::Range<u16> = 11_000..21_000;

/// Writes down its own process id, then becomes the server: there is no moment in which a server runs unknown.
const BECOME: &str = r#"echo $$ >pid && exec "$@""#;

/// Waits until the test process is gone, then ends what it left.
const GUARD: &str = r#"trap '' HUP INT TERM
read -r _
for pid in "$1"/*/pid; do kill -9 "$(cat "$pid")"; done
rm -rf "$1""#;

/// The folder of everything this test process spawns, and the guard, whose input stays open while we live.
#[derive(Debug)]
struct Nursery {
    folder: PathBuf,
    _guard: Child,
}

fn nursery() -> &'static Nursery {
    static NURSERY: OnceLock<Nursery> = OnceLock::new();
    NURSERY.get_or_init(|| {
        let name = format!("chat-testkit-{}-{:08x}", std::process::id(), rand::random::<u32>());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).expect("a temporary folder");
        let guard = Command::new("sh")
            .args(["-c", GUARD, "chat-testkit"])
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("a shell");
        Nursery { folder, _guard: guard }
    })
}

/// Spawns until one is ready: another process may have taken the port meanwhile.
///
/// # Errors
/// [`Absent`] when there is no such program.
///
/// # Panics
/// When none of five is ready, with its last words.
pub(super) fn first_ready<S>(
    spawn: impl Fn(u16) -> Result<S, Absent>,
    ready: impl Fn(&S) -> Result<(), String>,
) -> Result<S, Absent> {
    let mut last_words = String::new();
    for _ in 0..5 {
        let server = spawn(free_port())?;
        match ready(&server) {
            Ok(()) => return Ok(server),
            Err(words) => last_words = words,
        }
    }
    panic!("the server does not start: {last_words}");
}

/// What a server is started from.
#[derive(Debug, Clone)]
pub struct Program {
    /// Its name among the [installed](installed) ones, or on the `PATH`.
    pub name: &'static str,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Files it finds in its folder, by name.
    pub files: Vec<(&'static str, String)>,
    /// What to say where it is not installed.
    pub missing: &'static str,
}

/// A server process in a temporary folder of its own, which is its current folder.
///
/// It is killed, and its folder removed, when this is dropped, so also when the test panics. When the test process ends
/// without dropping it (a `static`, an abort, `SIGKILL`), a guard does it: a shell that waits for the end of a pipe which
/// only the test process holds open. Limit: who kills that shell too keeps the servers.
///
/// Unix only.
#[derive(Debug)]
pub struct Process {
    program: Program,
    folder: PathBuf,
    child: Mutex<Child>,
}

impl Process {
    /// Starts `program`, with what it prints going to a file. It need not be ready when this returns.
    ///
    /// # Errors
    /// [`Absent`] when there is no such program.
    ///
    /// # Panics
    /// When it is there and cannot be started.
    pub fn spawn(program: Program) -> Result<Self, Absent> {
        static COUNT: AtomicU32 = AtomicU32::new(0);

        if find(program.name).is_none() {
            return Err(Absent(program.missing.to_owned()));
        }
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = nursery().folder.join(format!("{number}-{}", program.name));
        furnish(&folder, &program);
        let child = Mutex::new(start(&program, &folder));
        Ok(Self { program, folder, child })
    }

    /// The folder it runs in.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.lock().id()
    }

    /// Whether it has neither ended nor been killed. A hung one is alive.
    ///
    /// # Panics
    /// When the system does not tell.
    pub fn is_alive(&self) -> bool {
        let is_alive = self.child.lock().try_wait().expect("the state of a child").is_none();
        if !is_alive {
            let _ = fs::remove_file(self.folder.join("pid"));
        }
        is_alive
    }

    /// Ends it at once, as `kill -9` does. When this returns, it is gone and its port is free.
    ///
    /// # Panics
    /// When the system refuses.
    pub fn kill(&self) {
        let mut child = self.child.lock();
        if child.try_wait().expect("the state of a child").is_none() {
            child.kill().expect("a child may be killed");
        }
        // First the file: the number is ours until the child is waited for.
        let _ = fs::remove_file(self.folder.join("pid"));
        child.wait().expect("a killed child ends");
    }

    /// Stops it in its tracks (`SIGSTOP`): connections stay open, new ones are accepted by the system, nothing answers.
    ///
    /// # Panics
    /// When it is not alive.
    pub fn hang(&self) {
        self.signal("STOP");
        until("a process to stop", || self.is_stopped());
    }

    /// Lets a hung one go on (`SIGCONT`). It does whatever was asked of it meanwhile.
    ///
    /// # Panics
    /// When it is not alive.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// Kills it if it is alive and starts it again, with the same arguments in the same folder. It need not be ready when
    /// this returns.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn restart(&self) {
        self.kill();
        *self.child.lock() = start(&self.program, &self.folder);
    }

    /// As [`restart`](Self::restart), without what it left in its folder.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn restart_empty(&self) {
        self.kill();
        fs::remove_dir_all(&self.folder).expect("a server's folder can be removed");
        furnish(&self.folder, &self.program);
        *self.child.lock() = start(&self.program, &self.folder);
    }

    /// Waits until it is so, as long as it lives.
    ///
    /// # Errors
    /// Its last words, when it ended before.
    ///
    /// # Panics
    /// When it lives and it never becomes so.
    pub(super) fn until_ready(&self, mut is_ready: impl FnMut() -> bool) -> Result<(), String> {
        let mut was_ready = false;
        until("a server to be ready", || {
            was_ready = is_ready();
            was_ready || !self.is_alive()
        });
        if was_ready { Ok(()) } else { Err(self.last_words()) }
    }

    /// The last lines it printed, for people.
    pub fn last_words(&self) -> String {
        let log = fs::read(self.folder.join("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Sends a signal by the shell's `kill`: the standard library knows `SIGKILL` only.
    fn signal(&self, name: &str) {
        assert!(self.is_alive(), "{} is not alive", self.program.name);
        let id = self.id().to_string();
        let sent = Command::new("sh").args(["-c", r#"kill -s "$1" "$2""#, "kill", name, &id]).status();
        assert!(sent.expect("a shell").success(), "{} does not take a signal", self.program.name);
    }

    /// Whether the system has seen a stop signal through; where it does not tell, sending was enough.
    fn is_stopped(&self) -> bool {
        let state = fs::read_to_string(format!("/proc/{}/stat", self.id()));
        // The state follows the program's name, which is in parentheses.
        state.map_or(true, |state| state.rsplit(") ").next().is_some_and(|rest| rest.starts_with(['T', 't'])))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The folder of the programs that `cargo xtask setup` installs for tests alone: `chat-testkit/bin` in the user's cache
/// folder.
pub fn installed() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")))?;
    Some(cache.join("chat-testkit/bin"))
}

/// Where a program is, if it is anywhere.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = installed().into_iter().chain(std::env::split_paths(&path));
    folders.map(|folder| folder.join(program)).find(|path| path.is_file())
}

fn furnish(folder: &Path, program: &Program) {
    fs::create_dir(folder).expect("a folder for a server");
    for (name, text) in &program.files {
        fs::write(folder.join(name), text).expect("a file for a server");
    }
}

fn start(program: &Program, folder: &Path) -> Child {
    let log = File::options().create(true).append(true).open(folder.join("log")).expect("a file for its log");
    let errors = log.try_clone().expect("a file for its log");
    Command::new("sh")
        .args(["-c", BECOME, "sh"])
        .arg(find(program.name).unwrap_or_else(|| program.name.into()))
        .args(&program.arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        // Ctrl-C is for the test process; its end is theirs.
        .process_group(0)
        .spawn()
        .expect("a shell")
}

/// A loopback port nobody listens on, neither there nor ten thousand above it, and never the same twice: whoever had it may
/// be down for a while. Another process may take it first: who spawns a server looks whether it is the one that answers, and
/// tries another port if not.
///
/// # Panics
/// When there is none.
pub fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    (0..1000)
        .map(|_| rand::rng().random_range(PORTS))
        .find(|port| GIVEN.lock().insert(*port) && is_free(*port) && is_free(*port + 10_000))
        .expect("a free port")
}
