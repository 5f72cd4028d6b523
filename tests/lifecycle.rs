//! From binding to the end: listeners, readiness, signals and drains.

mod support;

use std::fs;
use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::process::{Child, ChildStderr, Command, Stdio};

use nix::sys::signal::Signal;
use rustix::process::{Resource, prlimit};
use support::{Client, Host, verb};

const ECHO: &str = r#"
    [trigger.echo]
    listen = ["127.0.0.1:0", "unix:{dir}/echo"]
    wasm = "{guest:echo}"
"#;

/// What `portcullis run` says and how it ends, for a trigger file that it refuses.
fn refused(triggers: &str, dir: &std::path::Path) -> (Option<i32>, String) {
    let file = dir.join("triggers.toml");
    fs::write(&file, support::with_paths(triggers, dir)).unwrap();
    let done = support::portcullis()
        .arg("run")
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&done.stdout),
        "",
        "nothing may be announced"
    );
    (done.status.code(), String::from_utf8(done.stderr).unwrap())
}

#[test]
fn a_drain_closes_the_listeners_lets_connections_finish_and_ends_with_0() {
    let host = Host::start(ECHO);
    let mut client = host.connect("echo");
    client.echo(b"before");
    let path = host.dir.path().join("echo");
    assert!(path.exists());
    host.signal(Signal::SIGTERM);
    host.logged("the drain", |line| verb(line) == "drain");
    client.echo(b"during");
    client.shutdown(std::net::Shutdown::Write);
    assert_eq!(client.rest(), b"");
    let mut host = host;
    assert_eq!(host.wait().code(), Some(0));
    assert!(!path.exists(), "the unix path is removed");
    assert!(std::net::TcpStream::connect(&host.addresses("echo")[0]).is_err());
    assert_eq!(host.outcome("echo"), "done");
}

#[test]
fn what_outlives_the_grace_period_is_ended_as_drained() {
    let host = Host::start(&format!(
        "[host]\ngrace = \"100ms\"\n{ECHO}\n\
         [trigger.sleep]\nlisten = \"127.0.0.1:0\"\nscript = \"echo up; exec sleep 1000\"\naccept = true\n\
         [trigger.listener]\nlisten = \"127.0.0.1:0\"\nscript = \"echo up; exec sleep 1000\"\n"
    ));
    let mut echo = host.connect("echo");
    echo.echo(b"here");
    let mut sleep = host.connect("sleep");
    assert_eq!(sleep.line(), "up");
    let _waiting = host.connect("listener");
    host.logged("the listener job", |line| verb(line) == "output");
    host.signal(Signal::SIGINT);
    assert_eq!(echo.rest(), b"");
    assert_eq!(sleep.rest(), b"");
    let mut host = host;
    assert_eq!(host.wait().code(), Some(0));
    for trigger in ["echo", "sleep", "listener"] {
        assert_eq!(host.outcome(trigger), "drained", "{trigger}");
    }
    assert_eq!(
        host.logged("the exit", |line| verb(line) == "exit")["cut"],
        true
    );
}

#[test]
fn a_second_signal_ends_everything_at_once() {
    let host = Host::start(ECHO);
    let mut client = host.connect("echo");
    client.echo(b"here");
    host.signal(Signal::SIGTERM);
    host.logged("the drain", |line| verb(line) == "drain");
    host.signal(Signal::SIGTERM);
    assert_eq!(client.rest(), b"");
    let mut host = host;
    assert_eq!(host.wait().code(), Some(0));
    assert_eq!(host.outcome("echo"), "drained");
}

#[test]
fn a_stale_unix_path_is_replaced_and_a_live_one_refused() {
    let dir = tempfile::tempdir().unwrap();
    // Dropped without being unlinked, as a killed host leaves it.
    drop(UnixListener::bind(dir.path().join("echo")).unwrap());
    let host = Host::start_in(dir, ECHO, |_| {});
    assert_eq!(Client::to(&host.addresses("echo")[1]).ask(b"hi"), b"hi");

    let second = tempfile::tempdir().unwrap();
    let live = ECHO.replace("{dir}", &host.dir.path().display().to_string());
    let (code, error) = refused(&live, second.path());
    assert_eq!(code, Some(111));
    assert!(error.contains("another process listens there"), "{error}");
    assert_eq!(
        Client::to(&host.addresses("echo")[1]).ask(b"still"),
        b"still"
    );
}

#[test]
fn a_file_in_the_place_of_a_unix_path_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("echo"), "precious").unwrap();
    let (code, error) = refused(ECHO, dir.path());
    assert_eq!(code, Some(111));
    assert!(error.contains("not a socket"), "{error}");
    assert_eq!(
        fs::read_to_string(dir.path().join("echo")).unwrap(),
        "precious"
    );
}

#[test]
fn a_unix_path_gets_its_mode_and_owner() {
    let root = support::as_root("a unix path that belongs to somebody else");
    let owner = if root {
        "owner = \"nobody\"\ngroup = 4"
    } else {
        ""
    };
    let host = Host::start(&format!(
        r#"
        [trigger.echo]
        listen = "unix:{{dir}}/echo"
        wasm = "{{guest:echo}}"
        [trigger.echo.socket]
        mode = "0666"
        {owner}
        "#
    ));
    let made = fs::metadata(host.dir.path().join("echo")).unwrap();
    assert_eq!(made.permissions().mode() & 0o777, 0o666);
    if root {
        let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
        assert_eq!((made.uid(), made.gid()), (nobody.uid.as_raw(), 4));
    }
}

#[test]
fn a_host_without_descriptors_pauses_and_serves_when_it_has_some_again() {
    let host = Host::start(ECHO);
    assert_eq!(host.ask("echo", b"before"), b"before");
    host.ended("echo");
    let pid = rustix::process::Pid::from_raw(host.pid().as_raw());
    // The limit is on the number that a new one would get, and these three are always taken.
    let standard = 3;
    let full = |current| rustix::process::Rlimit {
        current: Some(current),
        ..rustix::process::getrlimit(Resource::Nofile)
    };
    let before = prlimit(pid, Resource::Nofile, full(standard)).unwrap();
    let client = host.connect("echo");
    let paused = host.logged("a pause", |line| verb(line) == "pause");
    assert!(
        paused["reason"]
            .as_str()
            .unwrap()
            .contains("Too many open files")
    );
    prlimit(pid, Resource::Nofile, before).unwrap();
    assert_eq!(client.ask(b"after"), b"after");
}

#[test]
fn all_listeners_are_bound_or_none() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (code, error) = refused(
        &format!(
            "[trigger.free]\nlisten = [\"{free}\", \"unix:{{dir}}/free\"]\nwasm = \"{{guest:echo}}\"\n\
             [trigger.taken]\nlisten = \"{}\"\nwasm = \"{{guest:echo}}\"\n",
            taken.local_addr().unwrap()
        ),
        dir.path(),
    );
    assert_eq!(code, Some(111));
    assert!(
        error.contains("trigger `taken`") && error.contains("in use"),
        "{error}"
    );
    assert!(!dir.path().join("free").exists());
    assert!(std::net::TcpStream::connect(free).is_err());
}

#[test]
fn a_second_host_on_the_same_port_is_refused_and_the_first_serves_on() {
    let host = Host::start(&ECHO.replace("\"127.0.0.1:0\"", "\"127.0.0.1:0\", \"[::1]:0\""));
    let inet = host
        .addresses("echo")
        .iter()
        .filter(|address| !address.starts_with("unix:"));
    for address in inet {
        let dir = tempfile::tempdir().unwrap();
        let same = ECHO.replace("127.0.0.1:0", address);
        let (code, error) = refused(&same, dir.path());
        assert_eq!(code, Some(111));
        assert!(error.contains("Address already in use"), "{error}");
        assert!(!dir.path().join("echo").exists());
        // Every one of many: none has gone astray to somebody who is no more.
        for _ in 0..20 {
            assert_eq!(Client::to(address).ask(b"hi"), b"hi");
        }
    }
}

#[test]
fn a_wrong_trigger_file_ends_with_100_and_a_wrong_command_line_too() {
    let dir = tempfile::tempdir().unwrap();
    let (code, error) = refused("[trigger.x]\nlissen = \"127.0.0.1:0\"\n", dir.path());
    assert_eq!(code, Some(100));
    assert!(
        error.contains("triggers.toml:2:1") && error.contains("did you mean `listen`"),
        "{error}"
    );
    let done = support::portcullis().args(["run"]).output().unwrap();
    assert_eq!(done.status.code(), Some(100));
    let done = support::portcullis()
        .args(["run", "/no/such/file"])
        .output()
        .unwrap();
    assert_eq!(done.status.code(), Some(100));
    let done = support::portcullis().arg("--version").output().unwrap();
    assert!(done.status.success());
    assert_eq!(
        done.stdout,
        format!("portcullis {}\n", env!("CARGO_PKG_VERSION")).into_bytes()
    );
}

/// A host that systemd's own tool starts at the first connection, with a socket named `web`, and the
/// address of that.
fn activated(file: &std::path::Path) -> Activated {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let mut activate = Command::new("systemd-socket-activate")
        .args(["-l", &address, "--fdname=web"])
        .arg(env!("CARGO_BIN_EXE_portcullis"))
        .arg("run")
        .arg(file)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("systemd-socket-activate of the Debian package systemd is installed");
    let mut said = BufReader::new(activate.stderr.take().unwrap()).lines();
    while !said.next().unwrap().unwrap().contains("Listening on") {}
    Activated {
        child: activate,
        _said: said,
        address,
    }
}

/// Ended with the test, however that ends.
struct Activated {
    child: Child,
    /// It goes on talking, and dies when nobody listens.
    _said: Lines<BufReader<ChildStderr>>,
    address: String,
}

impl Drop for Activated {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn sockets_of_systemd_serve_by_their_name() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("triggers.toml");
    let triggers = "[trigger.echo]\nlisten = \"fd:web\"\nwasm = \"{guest:echo}\"\n";
    fs::write(&file, support::with_paths(triggers, dir.path())).unwrap();
    let mut host = activated(&file);
    assert_eq!(Client::to(&host.address).ask(b"hi"), b"hi");
    let mut ready = String::new();
    BufReader::new(host.child.stdout.take().unwrap())
        .read_line(&mut ready)
        .unwrap();
    assert_eq!(ready, format!("listening echo {}\n", host.address));
}

#[test]
fn the_path_of_an_inherited_socket_is_not_the_hosts_to_remove() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.sock");
    let socket = UnixListener::bind(&path).unwrap();
    let kept = socket.try_clone().unwrap();
    let host = Host::inheriting(
        socket.into(),
        "[host]\nsandbox = \"off\"\n[trigger.echo]\nlisten = \"fd:web\"\nwasm = \"{guest:echo}\"\n",
    );
    assert_eq!(host.ask("echo", b"hi"), b"hi");
    assert_eq!(host.stop().code(), Some(0));
    assert!(path.exists());
    drop(kept);
}

#[test]
fn what_a_trigger_says_of_its_socket_holds_for_an_inherited_one_too() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("triggers.toml");
    let triggers = r#"
        [trigger.options]
        listen = "fd:web"
        exec = ["python3", "-c", "import socket as s; c = s.socket(fileno=3); c.sendall(b'%d %d' % (c.getsockopt(s.SOL_SOCKET, s.SO_KEEPALIVE), c.getsockopt(s.IPPROTO_TCP, s.TCP_NODELAY)))"]
        accept = true
        socket = { keepalive = true }
    "#;
    fs::write(&file, triggers).unwrap();
    let host = activated(&file);
    // The connection that started the host was there before the host was.
    Client::to(&host.address).ask(b"");
    assert_eq!(Client::to(&host.address).ask(b""), b"1 1");
}

#[test]
fn an_inherited_socket_that_is_not_there_is_refused_with_the_names_that_are() {
    let dir = tempfile::tempdir().unwrap();
    let (code, error) = refused(
        "[trigger.echo]\nlisten = \"fd:web\"\nwasm = \"{guest:echo}\"\n",
        dir.path(),
    );
    assert_eq!(code, Some(111));
    assert!(
        error.contains("no inherited socket is named `web` (inherited: none)"),
        "{error}"
    );
}

#[test]
fn a_folder_of_trigger_files_is_one_plan() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a", "b"] {
        let text = format!("[trigger.{name}]\nlisten = \"127.0.0.1:0\"\nscript = \"true\"\n");
        fs::write(dir.path().join(format!("{name}.toml")), text).unwrap();
    }
    let done = support::portcullis()
        .arg("check")
        .arg(dir.path())
        .output()
        .unwrap();
    let plan = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success());
    assert!(plan.contains("\na\n") && plan.contains("\nb\n"), "{plan}");
    fs::copy(dir.path().join("a.toml"), dir.path().join("c.toml")).unwrap();
    let done = support::portcullis()
        .arg("check")
        .arg(dir.path())
        .output()
        .unwrap();
    assert_eq!(done.status.code(), Some(100));
}

#[test]
fn try_runs_a_guest_with_the_terminal_as_its_connection() {
    let run = |guest: &str, arguments: &[&str], input: &str| {
        let mut child = support::portcullis()
            .args(["try", &support::guest(guest)])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        let done = child.wait_with_output().unwrap();
        (
            done.status.code().unwrap(),
            String::from_utf8_lossy(&done.stdout).into_owned(),
        )
    };
    assert_eq!(run("echo", &[], "hello"), (0, "hello".to_owned()));
    assert_eq!(
        run("echo-stdio.component", &[], "hello"),
        (0, "hello".to_owned())
    );
    let (_, said) = run("hello", &["--env", "GREETING=Good day"], "you\n");
    assert!(
        said.starts_with("Good day, who is there?\nGood day, you from"),
        "{said}"
    );
    let (_, said) = run("getenv-stdio", &["--", "--flag"], "");
    assert!(said.contains("arg 1 --flag"), "{said}");
    assert_eq!(run("exit7", &[], "").0, 7);
    assert_eq!(run("trap", &[], "x").0, 111);
}

#[test]
fn inspect_tells_what_a_guest_is_and_gives_a_trigger_that_serves_it() {
    for (guest, told) in [
        ("echo", "core module"),
        ("hello", "stdio: its stdin and stdout"),
        ("echo-stdio.component", "wasi:cli/run"),
    ] {
        let path = support::guest(guest);
        let done = support::portcullis()
            .args(["inspect", &path])
            .output()
            .unwrap();
        let report = String::from_utf8(done.stdout).unwrap();
        assert!(done.status.success() && report.contains(told), "{report}");
        let start = report.find("[trigger.").unwrap();
        let trigger = report[start..].replace("34567", "0");
        let name = trigger[9..trigger.find(']').unwrap()].to_owned();
        let host = Host::start(&trigger);
        let answer = host.ask(&name, b"hi\n");
        assert!(
            String::from_utf8_lossy(&answer).contains("hi"),
            "{guest}: {answer:?}"
        );
    }
}
