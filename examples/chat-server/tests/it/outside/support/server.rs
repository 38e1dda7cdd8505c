//! The program itself: started on a free port, heard out, ended.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tokio::sync::watch;

use super::run::{DEADLINE, within};

/// What tokens are signed with.
pub(crate) const SECRET: &str = "a secret only these tests know";

/// A process started by a trial. It does not outlive it.
#[derive(Debug)]
pub(crate) struct Server {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    process: Process,
}

impl Server {
    /// The server with the known secret, under `--dev`, on a free port.
    pub(crate) fn start() -> Self {
        Self::with(&["--dev"])
    }

    /// The server with the known secret and other arguments.
    pub(crate) fn with(arguments: &[&str]) -> Self {
        Self::spawn(&["--listen", "127.0.0.1:0"], arguments, &[("CHAT_JWT_SECRET", SECRET)])
    }

    /// The server with the known secret, where another one has been before.
    pub(crate) fn at(address: SocketAddr) -> Self {
        Self::spawn(&["--listen", &address.to_string(), "--dev"], &[], &[("CHAT_JWT_SECRET", SECRET)])
    }

    /// The server as told, without a secret.
    pub(crate) fn bare(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::spawn(arguments, &[], variables)
    }

    /// The fixture server of the protocol suites.
    pub(crate) fn conformance() -> Self {
        let listen = [("CHAT_CONFORMANCE_LISTEN", "127.0.0.1:0")];
        Self::announced(Process::spawn(env!("CARGO_BIN_EXE_conformance"), &[], &listen))
    }

    fn spawn(arguments: &[&str], more: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::announced(Process::server(&[arguments, more].concat(), variables))
    }

    /// Waits until it says where it listens.
    fn announced(process: Process) -> Self {
        let line = process.first_line.lock().unwrap().recv_timeout(DEADLINE);
        let address = line.ok().and_then(|line| line.trim().strip_prefix("http://")?.parse().ok());
        match address {
            Some(address) => Self { address, process },
            None => panic!("no address from the server; it said:\n{}", process.text()),
        }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.child.lock().unwrap().id()
    }

    /// Everything it has written so far.
    pub(crate) fn log(&self) -> String {
        self.process.text()
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        let sent = Command::new("sh").args(["-c", &format!("kill -TERM {}", self.pid())]).status();
        assert!(sent.is_ok_and(|status| status.success()), "SIGTERM could not be sent");
    }

    /// Kills it, as a power cut would.
    pub(crate) async fn kill(&self) {
        self.process.child.lock().unwrap().kill().unwrap();
        self.process.ended().await;
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(&self) -> ExitStatus {
        self.process.ended().await
    }

    /// Ends it in order, and looks at what it leaves behind.
    pub(crate) async fn stop(self) {
        self.terminate();
        let status = self.ended().await;
        assert_eq!(status.code(), Some(0), "{status}; it said:\n{}", self.log());
        self.process.output.check().unwrap();
    }
}

/// What a server that must not start said, and how it ended.
pub(crate) async fn refused(arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let process = Process::server(arguments, variables);
    let status = process.ended().await;
    (status.code(), process.text())
}

/// The one server that trials share which do it no harm.
pub(crate) fn shared() -> &'static Server {
    SHARED.get_or_init(Server::start)
}

static SHARED: OnceLock<Server> = OnceLock::new();
static OUTPUTS: Mutex<Vec<Arc<Output>>> = Mutex::new(Vec::new());

/// Ends the shared server, and looks through what every server of this run has written.
pub(crate) fn end_of_all() -> Result<(), String> {
    let mut problems = Vec::new();
    if let Some(server) = SHARED.get() {
        server.terminate();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let status = runtime.block_on(server.ended());
        if status.code() != Some(0) {
            problems.push(format!("the shared server ended with {status}"));
        }
    }
    let outputs = OUTPUTS.lock().unwrap();
    problems.extend(outputs.iter().filter_map(|output| output.check().err()));
    if problems.is_empty() { Ok(()) } else { Err(problems.join("\n")) }
}

/// What a process has written.
#[derive(Debug)]
struct Output {
    text: Mutex<String>,
    /// How many of its two streams have ended.
    ended: watch::Sender<usize>,
}

impl Output {
    /// Takes in one of the streams; the first line goes to whoever waits for it.
    fn hear(self: Arc<Self>, stream: impl Read, mut first: Option<SyncSender<String>>) {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            let mut text = self.text.lock().unwrap();
            text.push_str(&line);
            text.push('\n');
            drop(text);
            if let Some(first) = first.take() {
                // Nobody waits any more.
                let _ = first.try_send(line);
            }
        }
        self.ended.send_modify(|ended| *ended += 1);
    }

    /// What no server may ever have written, whatever it went through. A JSON Web Token begins with `eyJ`.
    fn check(&self) -> Result<(), String> {
        let text = self.text.lock().unwrap();
        match ["panicked", "eyJ", SECRET].into_iter().find(|word| text.contains(word)) {
            None => Ok(()),
            Some(word) => Err(format!("a server wrote {word:?}:\n{text}")),
        }
    }
}

#[derive(Debug)]
struct Process {
    child: Mutex<Child>,
    output: Arc<Output>,
    first_line: Mutex<Receiver<String>>,
}

impl Process {
    fn server(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::spawn(env!("CARGO_BIN_EXE_chat-server"), arguments, variables)
    }

    fn spawn(program: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CHAT_")) {
            command.env_remove(name);
        }
        // Every trial is a trial of what is logged, too.
        command.args(arguments).env("RUST_LOG", "debug").envs(variables.iter().copied());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let output = Arc::new(Output { text: Mutex::default(), ended: watch::Sender::new(0) });
        OUTPUTS.lock().unwrap().push(Arc::clone(&output));
        let (first, first_line) = sync_channel(1);
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (one, other) = (Arc::clone(&output), Arc::clone(&output));
        std::thread::spawn(move || one.hear(stdout, Some(first)));
        std::thread::spawn(move || other.hear(stderr, None));
        Self { child: Mutex::new(child), output, first_line: Mutex::new(first_line) }
    }

    fn text(&self) -> String {
        self.output.text.lock().unwrap().clone()
    }

    /// Waits for its end, which both its streams tell.
    async fn ended(&self) -> ExitStatus {
        let mut streams = self.output.ended.subscribe();
        within("the process to end", streams.wait_for(|ended| *ended == 2)).await.unwrap();
        self.child.lock().unwrap().wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap_or_else(|broken| broken.into_inner());
        // It may have ended already.
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// A folder of this package.
pub(crate) fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Runs a program to its end: how it ended, and everything it wrote.
pub(crate) fn run(command: &mut Command, patience: Duration) -> (bool, String) {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let output = Arc::new(Output { text: Mutex::default(), ended: watch::Sender::new(0) });
    let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let (one, other) = (Arc::clone(&output), Arc::clone(&output));
    std::thread::spawn(move || one.hear(stdout, None));
    std::thread::spawn(move || other.hear(stderr, None));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut streams = output.ended.subscribe();
    let ended = runtime.block_on(async { tokio::time::timeout(patience, streams.wait_for(|ended| *ended == 2)).await.is_ok() });
    if !ended {
        let _ = child.kill();
    }
    let status = child.wait().unwrap();
    let mut text = output.text.lock().unwrap().clone();
    if !ended {
        text.push_str(&format!("\nno end after {patience:?}\n"));
    }
    (ended && status.success(), text)
}
