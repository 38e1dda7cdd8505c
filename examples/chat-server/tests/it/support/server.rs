//! The program itself: started on a free port, heard out, ended.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock};

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
        Self::announced(Process::of_ours(env!("CARGO_BIN_EXE_conformance"), &[], &listen))
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
        self.process.pid
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.process.ended.borrow().is_some()
    }

    /// Everything it has written so far.
    pub(crate) fn log(&self) -> String {
        self.process.text()
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: &str) {
        self.process.signal(signal);
    }

    /// Kills it, as a power cut would.
    pub(crate) async fn kill(&self) {
        self.process.child.lock().unwrap().kill().unwrap();
        self.ended().await;
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(&self) -> ExitStatus {
        within("the server to end", self.process.ended()).await
    }

    /// Ends it in order, and looks at what it leaves behind.
    pub(crate) async fn stop(self) {
        if self.process.ended.borrow().is_none() {
            self.terminate();
        }
        let status = self.ended().await;
        assert_eq!(status.code(), Some(0), "{status}; it said:\n{}", self.log());
        self.process.output.check().unwrap();
    }
}

/// What a server that must not start said, and how it ended.
pub(crate) async fn refused(arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let process = Process::server(arguments, variables);
    let status = within("the server to end", process.ended()).await;
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
#[derive(Debug, Default)]
struct Output(Mutex<String>);

impl Output {
    /// Takes in one of the streams; the first line goes to whoever waits for it.
    fn hear(&self, stream: impl Read, mut first: Option<SyncSender<String>>) {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            let mut text = self.0.lock().unwrap();
            text.push_str(&line);
            text.push('\n');
            drop(text);
            if let Some(first) = first.take() {
                // Nobody waits any more.
                let _ = first.try_send(line);
            }
        }
    }

    fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }

    /// What no server may ever have written, whatever it went through. A JSON Web Token begins with `eyJ`.
    fn check(&self) -> Result<(), String> {
        let text = self.text();
        match ["panicked", "eyJ", SECRET].into_iter().find(|word| text.contains(word)) {
            None => Ok(()),
            Some(word) => Err(format!("a server wrote {word:?}:\n{text}")),
        }
    }
}

/// A running program that is heard out, and ends with its owner.
#[derive(Debug)]
pub(crate) struct Process {
    pid: u32,
    child: Arc<Mutex<Child>>,
    output: Arc<Output>,
    first_line: Mutex<Receiver<String>>,
    ended: watch::Receiver<Option<ExitStatus>>,
}

impl Process {
    /// The program with these arguments, whatever it is to do.
    pub(crate) fn server(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::of_ours(env!("CARGO_BIN_EXE_chat-server"), arguments, variables)
    }

    /// A program of this package. Nothing of the environment reaches it, and everything it logs is looked at.
    fn of_ours(program: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CHAT_")) {
            command.env_remove(name);
        }
        let process =
            Self::spawn(command.args(arguments).env("RUST_LOG", "debug").envs(variables.iter().copied()));
        OUTPUTS.lock().unwrap().push(Arc::clone(&process.output));
        process
    }

    /// Starts any program.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (pid, output) = (child.id(), Arc::new(Output::default()));
        let (first, first_line) = sync_channel(1);
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let child = Arc::new(Mutex::new(child));
        let hearing = Arc::clone(&output);
        let hearing = std::thread::spawn(move || hearing.hear(stdout, Some(first)));
        let (end, ended) = watch::channel(None);
        let (rest, dying) = (Arc::clone(&output), Arc::clone(&child));
        std::thread::spawn(move || {
            rest.hear(stderr, None);
            // Both streams end with the process. Whoever looks for it must not find it dead but unburied.
            let _ = hearing.join();
            end.send_replace(dying.lock().unwrap().wait().ok());
        });
        Self { pid, child, output, first_line: Mutex::new(first_line), ended }
    }

    /// The first line it writes to its standard output.
    pub(crate) fn first_line(&self) -> String {
        let line = self.first_line.lock().unwrap().recv_timeout(DEADLINE);
        line.unwrap_or_else(|_| panic!("nothing on standard output; it said:\n{}", self.text()))
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("sh").args(["-c", &format!("kill -{signal} {}", self.pid)]).status();
        assert!(sent.is_ok_and(|status| status.success()), "{signal} could not be sent");
    }

    /// Everything it has written so far.
    pub(crate) fn text(&self) -> String {
        self.output.text()
    }

    /// Waits for its end, as long as that may take.
    pub(crate) async fn ended(&self) -> ExitStatus {
        let mut ended = self.ended.clone();
        let status = ended.wait_for(Option::is_some).await.map(|status| *status);
        status.ok().flatten().expect("the end of a process")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended.borrow().is_none()
            && let Ok(mut child) = self.child.lock()
        {
            // It may have ended just now.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A folder of this package.
pub(crate) fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}
