//! The log as people read it: each line whole, none lost, and nothing in it that a terminal would obey.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::Client;

/// Starts a host that logs for people, with one listener, and gives that one's address.
fn start(triggers: &str, dir: &Path) -> (Child, String) {
    let file = dir.join("triggers.toml");
    fs::write(&file, support::with_paths(triggers, dir)).unwrap();
    let mut host = support::portcullis()
        .args(["--log-level", "debug", "run"])
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = String::new();
    BufReader::new(host.stdout.take().unwrap())
        .read_line(&mut ready)
        .unwrap();
    let address = ready.split_whitespace().nth(2).unwrap().to_owned();
    (host, address)
}

/// Asks the host to drain, and gives all it has logged.
fn log_of(mut host: Child) -> String {
    let mut stderr = host.stderr.take().unwrap();
    let log = thread::spawn(move || {
        let mut log = Vec::new();
        stderr.read_to_end(&mut log).unwrap();
        String::from_utf8(log).unwrap()
    });
    kill(Pid::from_raw(host.id().cast_signed()), Signal::SIGTERM).unwrap();
    assert!(host.wait().unwrap().success());
    log.join().unwrap()
}

/// The verb of a line, which has to be whole, and its fields.
fn parts(line: &str) -> (&str, Vec<(&str, &str)>) {
    let (time, rest) = line.split_at(27);
    assert!(
        time.starts_with("20") && time.ends_with('Z') && &time[10..11] == "T",
        "{line}"
    );
    let mut words = rest.split_whitespace();
    let level = words.next().unwrap();
    assert!(["DEBUG", "INFO", "WARN"].contains(&level), "{line}");
    let verb = words.next().unwrap();
    let fields = words.filter_map(|word| word.split_once('='));
    (verb, fields.collect())
}

#[test]
fn lines_of_connections_at_once_are_whole_and_none_is_lost_at_the_end() {
    const THREADS: usize = 8;
    const EACH: usize = 100;
    let dir = tempfile::tempdir().unwrap();
    let triggers = r#"
        [trigger.echo]
        listen = "127.0.0.1:0"
        wasm = "{guest:echo}"
    "#;
    let (host, address) = start(triggers, dir.path());
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..EACH {
                    assert_eq!(Client::to(&address).ask(b"hi"), b"hi");
                }
            });
        }
    });
    let log = log_of(host);
    let (mut accepted, mut ended) = (BTreeSet::new(), BTreeSet::new());
    for line in log.lines() {
        let (verb, fields) = parts(line);
        let id = fields.iter().find(|(name, _)| *name == "id");
        let new = match (verb, id) {
            ("accept", Some((_, id))) => accepted.insert(*id),
            ("end", Some((_, id))) => {
                let names: Vec<_> = fields.iter().map(|(name, _)| *name).collect();
                let wanted = [
                    "trigger", "id", "peer", "outcome", "ms", "cpu_ms", "rx", "tx",
                ];
                assert_eq!(names, wanted, "{line}");
                assert!(line.ends_with(" rx=2 tx=2"), "{line}");
                ended.insert(*id)
            }
            ("start" | "listen" | "drain" | "exit", None) => true,
            _ => panic!("{line}"),
        };
        assert!(new, "twice: {line}");
    }
    assert_eq!(accepted.len(), THREADS * EACH);
    assert_eq!(accepted, ended);
    let last = log.lines().last().unwrap();
    assert_eq!(parts(last).0, "exit", "{last}");
    assert!(log.ends_with('\n'));
}

#[test]
fn what_a_handler_says_is_shown_and_not_obeyed() {
    let dir = tempfile::tempdir().unwrap();
    let triggers = r#"
        [trigger.says]
        listen = "127.0.0.1:0"
        script = '''printf 'a\033[2J\302\233b\rc "quoted" \\ e\314\201\n' >&2'''
        accept = true
    "#;
    let (host, address) = start(triggers, dir.path());
    assert_eq!(Client::to(&address).ask(b""), b"");
    let log = log_of(host);
    assert!(!log.chars().any(|c| c.is_control() && c != '\n'), "{log:?}");
    let line = log.lines().find(|line| parts(line).0 == "output").unwrap();
    assert!(line.contains(r"a\u{1b}[2J\u{9b}b\rc"), "{line}");
}
