//! The real binary under test: started with a trigger file on free ports, known to be ready by what
//! it tells its service manager, its log read as it comes, ended by its pid. Everything that waits
//! gives up after `PATIENCE`, which is for a hung test and not a measure of speed.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::HashMap;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Read, Write as _};
use std::mem;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::PidfdFlags;
use serde_json::Value;
use socket2::{Domain, SockRef, Socket, Type};
use tempfile::TempDir;

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// A running host.
pub struct Host {
    child: Child,
    /// The folder of its trigger file.
    pub dir: Arc<TempDir>,
    addresses: HashMap<String, Vec<String>>,
    stdout: BufReader<ChildStdout>,
    log: Arc<Log>,
    manager: Arc<Log>,
}

#[derive(Default)]
struct Log {
    lines: Mutex<Vec<Value>>,
    news: Condvar,
    /// Set when everybody who could write to it has gone.
    ended: AtomicBool,
}

/// A guest of this repository, as `guests/build --all` makes it.
pub fn guest(name: &str) -> String {
    built("wasm")
        .join(format!("{name}.wasm"))
        .display()
        .to_string()
}

/// A native program of this repository, likewise.
pub fn native(name: &str) -> String {
    built("native").join(name).display().to_string()
}

fn built(kind: &str) -> PathBuf {
    let built = repository().join("guests/target").join(kind);
    assert!(
        built.is_dir(),
        "the guests are not built: run guests/build --all"
    );
    built
}

/// What the command says to a trigger file that it is to run or check, and how it ends.
pub struct Said {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Said {
    /// Waits for the end of a command.
    pub fn by(command: &mut Command) -> Self {
        let ended = command.stdin(Stdio::null()).output().unwrap();
        Self {
            code: ended.status.code(),
            stdout: String::from_utf8(ended.stdout).unwrap(),
            stderr: String::from_utf8(ended.stderr).unwrap(),
        }
    }
}

/// Whether these tests are run by root. Where they are not, it says that this is left out; in CI nothing may be.
pub fn as_root(what: &str) -> bool {
    let root = geteuid().is_root();
    if !root {
        let ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
        assert!(!ci, "CI tries everything, and only root can try {what}");
        untried(&format!("{what}, since only root can"));
    }
    root
}

/// Says that something is left out, past what keeps back the words of tests that pass.
pub fn untried(what: &str) {
    let _ = writeln!(io::stderr(), "not tried: {what}");
}

/// Sets a flag at the end, be it that of a test which fails: threads that go on until then would hold it up.
pub struct AtTheEnd<'a>(pub &'a AtomicBool);

impl Drop for AtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Has the command `run` or `check` a trigger file (see `with_paths`), and waits for its end.
pub fn command(verb: &str, triggers: &str, dir: &Path) -> Said {
    let file = dir.join("triggers.toml");
    fs::write(&file, with_paths(triggers, dir)).unwrap();
    Said::by(portcullis().arg(verb).arg(&file))
}

/// The child of a host that has this name.
pub fn child(host: i32, name: &str) -> i32 {
    let children = fs::read_to_string(format!("/proc/{host}/task/{host}/children")).unwrap();
    let named = |pid: &&str| {
        fs::read_to_string(format!("/proc/{pid}/comm"))
            .unwrap()
            .trim()
            == name
    };
    let found = children.split_whitespace().find(named);
    found
        .unwrap_or_else(|| panic!("{name} is not among {children}"))
        .parse()
        .unwrap()
}

/// The root of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The command, without a trigger file.
pub fn portcullis() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.env_remove("RUST_BACKTRACE");
    // Not the home of whoever runs the tests; and each guest is compiled once for all of them.
    command.env(
        "CACHE_DIRECTORY",
        concat!(env!("CARGO_TARGET_TMPDIR"), "/cache"),
    );
    command.env("RUNTIME_DIRECTORY", std::env::temp_dir());
    command
}

/// `source` with `{guest:NAME}`, `{native:NAME}`, `{repo}` and `{dir}` replaced by paths.
pub fn with_paths(source: &str, dir: &Path) -> String {
    let mut out = String::new();
    let mut rest = source;
    while let Some(start) = rest.find('{') {
        let Some(end) = rest[start..].find('}').map(|end| start + end) else {
            break;
        };
        let path = match rest[start + 1..end].split_once(':') {
            Some(("guest", name)) => guest(name),
            Some(("native", name)) => native(name),
            _ if &rest[start + 1..end] == "repo" => repository().display().to_string(),
            _ if &rest[start + 1..end] == "dir" => dir.display().to_string(),
            _ => rest[start..=end].to_owned(),
        };
        out += &rest[..start];
        out += &path;
        rest = &rest[end + 1..];
    }
    out + rest
}

impl Host {
    /// Starts a host with this trigger file (see `with_paths`) and waits until it is ready.
    pub fn start(triggers: &str) -> Self {
        Self::start_with(triggers, |_| {})
    }

    /// The same, after `adjust` has had a look at the command.
    pub fn start_with(triggers: &str, adjust: impl FnOnce(&mut Command)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::start_in(dir, triggers, adjust)
    }

    /// The same, for guests that take a minute each to compile.
    pub fn start_slowly(triggers: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::start_within(15 * PATIENCE, dir.into(), triggers, |_| {})
    }

    /// The same, in a folder that is prepared already.
    pub fn start_in(
        dir: impl Into<Arc<TempDir>>,
        triggers: &str,
        adjust: impl FnOnce(&mut Command),
    ) -> Self {
        Self::start_within(PATIENCE, dir.into(), triggers, adjust)
    }

    /// Starts a host that finds `socket` under the name `web`, by systemd's protocol.
    pub fn inheriting(socket: OwnedFd, triggers: &str) -> Self {
        Self::start_with(triggers, |command| {
            let mut shell = Command::new("sh");
            shell
                .arg("-c")
                .arg(
                    "exec 3<&0 </dev/null
                    export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web
                    exec \"$0\" \"$@\"",
                )
                .arg(command.get_program())
                .args(command.get_args())
                .stdin(socket)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            for (name, value) in command.get_envs() {
                match value {
                    Some(value) => shell.env(name, value),
                    None => shell.env_remove(name),
                };
            }
            *command = shell;
        })
    }

    /// Starts a host with this trigger file in the same place, which is to take that of this one.
    pub fn upgrade(&self, triggers: &str) -> Self {
        Self::start_within(PATIENCE, self.dir.clone(), triggers, |command| {
            command.arg("--upgrade");
        })
    }

    fn start_within(
        patience: Duration,
        dir: Arc<TempDir>,
        triggers: &str,
        adjust: impl FnOnce(&mut Command),
    ) -> Self {
        static HOSTS: AtomicUsize = AtomicUsize::new(0);
        let file = dir.path().join("triggers.toml");
        fs::write(&file, with_paths(triggers, dir.path())).unwrap();
        let notify = format!("notify-{}", HOSTS.fetch_add(1, Ordering::Relaxed));
        let notify = dir.path().join(notify);
        let manager = UnixDatagram::bind(&notify).unwrap();
        // Whoever the host becomes.
        fs::set_permissions(&notify, fs::Permissions::from_mode(0o666)).unwrap();
        manager.set_read_timeout(Some(patience)).unwrap();
        let mut command = portcullis();
        command
            .args(["--log-format", "json", "--log-level", "debug", "run"])
            .arg(&file)
            .env("NOTIFY_SOCKET", notify)
            .env("RUNTIME_DIRECTORY", dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        adjust(&mut command);
        let mut child = command.spawn().unwrap();

        let log = Arc::new(Log::default());
        // A test may have its log go elsewhere.
        if let Some(stderr) = child.stderr.take() {
            let log = log.clone();
            thread::spawn(move || log.follow(stderr));
        } else {
            log.ended.store(true, Ordering::Release);
        }
        let mut told = [0; 256];
        let told = match manager.recv(&mut told) {
            Ok(count) => String::from_utf8_lossy(&told[..count]).into_owned(),
            Err(error) => {
                let _ = child.kill();
                panic!(
                    "the host is not ready: {error}; log: {:#?}",
                    log.lines.lock().unwrap()
                );
            }
        };
        assert!(
            told.contains("READY=1"),
            "the host told its manager {told:?}"
        );
        let heard = Arc::new(Log::default());
        thread::spawn({
            let heard = heard.clone();
            move || heard.listen(&manager)
        });

        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut host = Self {
            child,
            dir,
            addresses: HashMap::new(),
            stdout,
            log,
            manager: heard,
        };
        // The lines came before the message, so what is in the pipe is all of them.
        let plan = fs::read_to_string(&file).unwrap();
        host.hear(listeners(&plan));
        host
    }

    /// Reads so many ready lines.
    pub fn hear(&mut self, count: usize) {
        for _ in 0..count {
            let mut line = String::new();
            self.stdout.read_line(&mut line).unwrap();
            let words: Vec<_> = line.split_whitespace().collect();
            let ["listening", name, address] = words[..] else {
                panic!("not a ready line: {line:?}")
            };
            self.addresses
                .entry(name.to_owned())
                .or_default()
                .push(address.to_owned());
        }
    }

    /// Its trigger file.
    pub fn file(&self) -> PathBuf {
        self.dir.path().join("triggers.toml")
    }

    /// Writes its trigger file anew, all at once.
    pub fn rewrite(&self, triggers: &str) {
        let new = self.dir.path().join("new");
        fs::write(&new, with_paths(triggers, self.dir.path())).unwrap();
        fs::rename(new, self.file()).unwrap();
    }

    /// Writes its trigger file anew, and says `portcullis reload`.
    pub fn reload(&self, triggers: &str) -> Said {
        self.rewrite(triggers);
        let mut command = portcullis();
        command
            .arg("reload")
            .arg(self.file())
            .env("RUNTIME_DIRECTORY", self.dir.path());
        Said::by(&mut command)
    }

    /// Waits until the host has told its service manager something like this.
    pub fn told(&self, what: &str) -> String {
        self.manager.wait(what, |told| {
            let mut told = told.iter().filter_map(Value::as_str);
            told.find(|told| told.contains(what)).map(str::to_owned)
        })
    }

    /// Where a trigger listens, as its ready lines say.
    pub fn addresses(&self, trigger: &str) -> &[String] {
        &self.addresses[trigger]
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().unwrap())
    }

    /// Connects to the first address of a trigger.
    pub fn connect(&self, trigger: &str) -> Client {
        Client::to(&self.addresses(trigger)[0])
    }

    /// Sends `request`, then end of input, and gives all that comes back.
    pub fn ask(&self, trigger: &str, request: &[u8]) -> Vec<u8> {
        self.connect(trigger).ask(request)
    }

    /// Waits for a log line that fits, from the beginning of the log.
    pub fn logged(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        self.logged_times(1, what, fits).swap_remove(0)
    }

    /// Waits until `count` log lines fit, and gives them.
    pub fn logged_times(
        &self,
        count: usize,
        what: &str,
        fits: impl Fn(&Value) -> bool,
    ) -> Vec<Value> {
        let (mut found, mut seen) = (Vec::new(), 0);
        self.log.wait(what, |lines| {
            found.extend(lines[seen..].iter().filter(|line| fits(line)).cloned());
            seen = lines.len();
            (found.len() >= count).then(|| mem::take(&mut found))
        })
    }

    /// The lines so far.
    pub fn log(&self) -> Vec<Value> {
        self.log.lines().clone()
    }

    /// Waits for the first connection of `trigger` to end, and gives its log line.
    pub fn ended(&self, trigger: &str) -> Value {
        self.logged(&format!("the end of a connection of {trigger}"), |line| {
            verb(line) == "end" && line["trigger"] == trigger
        })
    }

    /// The outcome of the first connection of `trigger`.
    pub fn outcome(&self, trigger: &str) -> String {
        self.ended(trigger)["outcome"].as_str().unwrap().to_owned()
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// The lines that the guests and jobs of `trigger` have written so far, with their streams.
    pub fn said(&self, trigger: &str) -> Vec<(String, String)> {
        let mut said = self.output(trigger);
        said.retain(|(stream, _)| stream != "backtrace");
        said
    }

    /// The backtraces that they have left so far.
    pub fn backtrace(&self, trigger: &str) -> Vec<String> {
        let left = self.output(trigger).into_iter();
        left.filter(|(stream, _)| stream == "backtrace")
            .map(|(_, line)| line)
            .collect()
    }

    fn output(&self, trigger: &str) -> Vec<(String, String)> {
        let text = |line: &Value, key: &str| line[key].as_str().unwrap_or_default().to_owned();
        let log = self.log();
        let said = log
            .iter()
            .filter(|line| verb(line) == "output" && line["trigger"] == trigger);
        said.map(|line| (text(line, "stream"), text(line, "line")))
            .collect()
    }

    /// Asks it to drain, and waits for its end.
    pub fn stop(mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait()
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let pid = rustix::process::Pid::from_child(&self.child);
        let process = rustix::process::pidfd_open(pid, PidfdFlags::empty()).unwrap();
        let mut watched = [PollFd::new(&process, PollFlags::IN)];
        let patience = Timespec::try_from(PATIENCE).unwrap();
        assert_eq!(
            poll(&mut watched, Some(&patience)),
            Ok(1),
            "the host does not end"
        );
        self.child.wait().unwrap()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if thread::panicking() {
            for line in self.log() {
                eprintln!("{line}");
            }
            return;
        }
        for line in self.log.whole() {
            let failed = match &line {
                Value::String(text) => text.contains("panicked"),
                line => line["reason"]
                    .as_str()
                    .is_some_and(|why| why.contains("this is a bug")),
            };
            assert!(!failed, "the host failed: {line}");
        }
    }
}

/// What the system says that a host uses.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    pub descriptors: usize,
    pub threads: usize,
    pub maps: usize,
    /// KiB of memory that is there.
    pub resident: usize,
}

impl Usage {
    pub fn of(host: &Host) -> Self {
        let proc = format!("/proc/{}", host.pid());
        let status = fs::read_to_string(format!("{proc}/status")).unwrap();
        let number = |key: &str| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(key))
                .unwrap();
            line.split_whitespace().next().unwrap().parse().unwrap()
        };
        Self {
            descriptors: fs::read_dir(format!("{proc}/fd")).unwrap().count(),
            threads: number("Threads:"),
            maps: fs::read_to_string(format!("{proc}/maps"))
                .unwrap()
                .lines()
                .count(),
            resident: number("VmRSS:"),
        }
    }
}

/// Bytes without a pattern, the same ones every time.
pub fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut noise: Vec<u8> = std::iter::repeat_with(&mut next)
        .take(count.div_ceil(8))
        .flatten()
        .collect();
    noise.truncate(count);
    noise
}

/// The verb of a log line.
pub fn verb(line: &Value) -> &str {
    line["message"].as_str().unwrap_or_default()
}

/// How many addresses a trigger file names.
fn listeners(plan: &str) -> usize {
    let plan: toml::Table = plan.parse().unwrap();
    let triggers = plan["trigger"].as_table().unwrap();
    triggers
        .values()
        .map(|t| t["listen"].as_array().map_or(1, Vec::len))
        .sum()
}

impl Log {
    /// A test that gave up waiting has left them as they are.
    fn lines(&self) -> MutexGuard<'_, Vec<Value>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn follow(&self, stderr: impl Read) {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
            self.lines().push(line);
            self.news.notify_all();
        }
        self.ended.store(true, Ordering::Release);
        // Whoever waits looks at the flag with the lock held, so none misses this.
        drop(self.lines());
        self.news.notify_all();
    }

    /// What a service manager hears; until the end of the test.
    fn listen(&self, manager: &UnixDatagram) {
        manager.set_read_timeout(None).unwrap();
        let mut told = [0; 1024];
        while let Ok(count) = manager.recv(&mut told) {
            let told = String::from_utf8_lossy(&told[..count]).into_owned();
            self.lines().push(Value::String(told));
            self.news.notify_all();
        }
    }

    /// All lines, once the host has ended. A job that outlives it may hold the log open; that is
    /// not waited for long.
    fn whole(&self) -> Vec<Value> {
        let lines = self.lines();
        let ended = |_: &mut Vec<Value>| !self.ended.load(Ordering::Acquire);
        self.news
            .wait_timeout_while(lines, Duration::from_secs(5), ended)
            .unwrap()
            .0
            .clone()
    }

    fn wait<T>(&self, what: &str, mut find: impl FnMut(&[Value]) -> Option<T>) -> T {
        let patience = Instant::now() + PATIENCE;
        let mut lines = self.lines();
        loop {
            if let Some(found) = find(&lines) {
                return found;
            }
            let left = patience.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "never logged: {what}; the log: {:#?}",
                *lines
            );
            lines = self.news.wait_timeout(lines, left).unwrap().0;
        }
    }
}

/// A client over TCP or a unix socket.
pub enum Client {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Client {
    /// Connects to an address as a ready line has it.
    pub fn to(address: &str) -> Self {
        let client = match address.strip_prefix("unix:") {
            Some(path) => Self::Unix(match path.strip_prefix('@') {
                Some(name) => {
                    use std::os::linux::net::SocketAddrExt as _;
                    let name = std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap();
                    UnixStream::connect_addr(&name).unwrap()
                }
                None => UnixStream::connect(path).unwrap(),
            }),
            None => Self::Tcp(TcpStream::connect(address).unwrap()),
        };
        client.patient()
    }

    fn patient(self) -> Self {
        match &self {
            Self::Tcp(stream) => {
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream.set_write_timeout(Some(PATIENCE)).unwrap();
            }
            Self::Unix(stream) => {
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream.set_write_timeout(Some(PATIENCE)).unwrap();
            }
        }
        self
    }

    pub fn try_clone(&self) -> Self {
        match self {
            Self::Tcp(stream) => Self::Tcp(stream.try_clone().unwrap()),
            Self::Unix(stream) => Self::Unix(stream.try_clone().unwrap()),
        }
    }

    /// Ends a direction. A connection that is gone already has none to end.
    pub fn shutdown(&self, how: Shutdown) {
        let ended = match self {
            Self::Tcp(stream) => stream.shutdown(how),
            Self::Unix(stream) => stream.shutdown(how),
        };
        if let Err(error) = ended {
            assert_eq!(error.kind(), io::ErrorKind::NotConnected, "{error}");
        }
    }

    /// Sends `request`, then end of input, and gives all that comes back.
    pub fn ask(mut self, request: &[u8]) -> Vec<u8> {
        self.write_all(request).unwrap();
        self.shutdown(Shutdown::Write);
        self.rest()
    }

    /// What comes until the end.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut answer = Vec::new();
        self.read_to_end(&mut answer).unwrap();
        answer
    }

    /// What comes until the end, be it a reset: what a socket gives that is closed while something
    /// it was sent is unread.
    pub fn heard(&mut self) -> Vec<u8> {
        let mut answer = Vec::new();
        match self.read_to_end(&mut answer) {
            Err(error) if error.kind() != io::ErrorKind::ConnectionReset => panic!("{error}"),
            _ => answer,
        }
    }

    /// The next `count` bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut answer = vec![0; count];
        self.read_exact(&mut answer).unwrap();
        answer
    }

    /// The next line, without its end.
    pub fn line(&mut self) -> String {
        let mut line = Vec::new();
        loop {
            match &self.bytes(1)[..] {
                b"\n" => return String::from_utf8(line).unwrap(),
                byte => line.extend_from_slice(byte),
            }
        }
    }

    /// Sends `data`, then end of input, while it reads; gives all that comes back.
    pub fn exchange(mut self, data: &[u8]) -> Vec<u8> {
        let mut sender = self.try_clone();
        thread::scope(|scope| {
            scope.spawn(move || {
                sender.write_all(data).unwrap();
                sender.shutdown(Shutdown::Write);
            });
            self.rest()
        })
    }

    /// Connects over TCP from an address of one's own choice.
    pub fn from(source: [u8; 4], address: &str) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
        let address: SocketAddr = address.parse().unwrap();
        socket.connect(&address.into()).unwrap();
        Self::Tcp(socket.into()).patient()
    }

    /// Abandons the connection, as a client does that crashes: with a reset.
    pub fn reset(self) {
        if let Self::Tcp(stream) = &self {
            SockRef::from(stream)
                .set_linger(Some(Duration::ZERO))
                .unwrap();
        }
    }

    /// Whether the connection ends, one way or the other, without another byte.
    pub fn is_over(&mut self) -> bool {
        match self.read(&mut [0; 1]) {
            Ok(count) => count == 0,
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }

    /// Sends `request` and checks that it comes back.
    pub fn echo(&mut self, request: &[u8]) {
        self.write_all(request).unwrap();
        assert_eq!(self.bytes(request.len()), request);
    }
}

impl Read for Client {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(into),
            Self::Unix(stream) => stream.read(into),
        }
    }
}

impl io::Write for Client {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(from),
            Self::Unix(stream) => stream.write(from),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
