//! Native jobs: plain executables that get the listener, as under Upstart, or one connection each,
//! as under inetd.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Barrier};
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::PidfdFlags;
use support::{Client, Host, verb};

/// An executable script in `dir`.
fn program(dir: &Path, name: &str, text: &str) {
    // Written beside and renamed: a script that is still open for writing cannot be started.
    let (new, path) = (dir.join(format!("{name}.new")), dir.join(name));
    fs::write(&new, text).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(new, path).unwrap();
}

/// `NAME=value` lines.
fn variables(text: &[u8]) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(text);
    let lines = text.lines().filter_map(|line| line.split_once('='));
    lines
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// How many runs or connections of `trigger` have ended so far.
fn ends(host: &Host, trigger: &str) -> usize {
    let log = host.log();
    log.iter()
        .filter(|line| verb(line) == "end" && line["trigger"] == trigger)
        .count()
}

/// Waits until a process has ended, whether its parent has noticed or not.
fn has_ended(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    // One that is reaped already has no descriptor any more.
    if let Ok(process) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
        let mut watched = [PollFd::new(&process, PollFlags::IN)];
        let patience = Timespec::try_from(support::PATIENCE).unwrap();
        assert_eq!(
            poll(&mut watched, Some(&patience)),
            Ok(1),
            "process {pid:?} goes on"
        );
    }
}

#[test]
fn a_script_that_only_records_upstart_variables_runs_once_a_connection_and_never_again() {
    let host = Host::start(
        r#"
        [trigger.record]
        listen = "127.0.0.1:0"
        script = "{ printenv | grep ^UPSTART_ | sort; echo; } >> {dir}/record"
        [trigger.other]
        listen = "127.0.0.1:0"
        script = "true"
        "#,
    );
    let mut clients: Vec<_> = (0..3).map(|_| host.connect("record")).collect();
    for client in &mut clients {
        // Closed by the host, with a reset or with an end.
        let mut nothing = Vec::new();
        let _ = std::io::Read::read_to_end(client, &mut nothing);
        assert_eq!(nothing, b"");
    }
    host.logged_times(3, "three runs", |l| {
        verb(l) == "end" && l["trigger"] == "record"
    });
    // Whatever would start it again had the time in which another trigger was served.
    drop(host.connect("other"));
    host.ended("other");
    assert_eq!(ends(&host, "record"), 3);
    let record = fs::read_to_string(host.dir.path().join("record")).unwrap();
    let one = "UPSTART_EVENTS=socket\nUPSTART_FDS=3\nUPSTART_INSTANCE=\nUPSTART_JOB=record\n\n";
    assert_eq!(record, one.repeat(3));
}

#[test]
fn the_python_and_the_c_service_answer_over_every_family() {
    let host = Host::start(
        r#"
        [trigger.python]
        listen = ["127.0.0.1:0", "[::1]:0", "unix:{dir}/python", "unix:@portcullis-python"]
        exec = "python3 {repo}/guests/native/message.py"
        [trigger.c]
        listen = ["127.0.0.1:0", "[::1]:0", "unix:{dir}/c", "unix:@portcullis-c"]
        exec = "{native:message}"
        "#,
    );
    for trigger in ["python", "c"] {
        for address in host.addresses(trigger) {
            let mut client = Client::to(address);
            client.write_all(b"Hello, World!").unwrap();
            assert_eq!(
                client.rest(),
                b"I got your message: Hello, World!",
                "{trigger} {address}"
            );
        }
        // Once more, with another process.
        let mut client = host.connect(trigger);
        client.write_all(b"again").unwrap();
        assert_eq!(client.rest(), b"I got your message: again");
    }
}

#[test]
fn nc_gets_the_answer_of_the_c_service() {
    let host = Host::start(
        r#"
        [trigger.c]
        listen = ["127.0.0.1:0", "unix:{dir}/c"]
        exec = "{native:message}"
        "#,
    );
    let (inet, unix) = (&host.addresses("c")[0], &host.addresses("c")[1]);
    let (address, port) = inet.split_once(':').unwrap();
    for arguments in [
        vec!["-N", address, port],
        vec!["-NU", unix.strip_prefix("unix:").unwrap()],
    ] {
        let mut nc = Command::new("nc")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("nc of the Debian package netcat-openbsd is installed");
        nc.stdin
            .take()
            .unwrap()
            .write_all(b"Hello, World!")
            .unwrap();
        let answer = nc.wait_with_output().unwrap().stdout;
        assert_eq!(answer, b"I got your message: Hello, World!");
    }
}

#[test]
fn ten_clients_at_the_same_moment_all_get_the_reply_of_a_job_that_accepts_once() {
    let host = Host::start(
        r#"
        [trigger.python]
        listen = "127.0.0.1:0"
        exec = "python3 {repo}/guests/native/message.py"
        "#,
    );
    let address = Arc::new(host.addresses("python")[0].clone());
    let together = Arc::new(Barrier::new(10));
    let clients: Vec<_> = (0..10)
        .map(|number| {
            let (address, together) = (address.clone(), together.clone());
            thread::spawn(move || {
                together.wait();
                let mut client = Client::to(&address);
                client.write_all(format!("{number}").as_bytes()).unwrap();
                assert_eq!(
                    client.rest(),
                    format!("I got your message: {number}").as_bytes()
                );
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    let ends = host.logged_times(10, "ten runs", |line| verb(line) == "end");
    assert!(ends.iter().all(|end| end["outcome"] == "done"));
}

#[test]
fn a_job_that_keeps_failing_is_slowed_and_serves_again_once_it_is_mended() {
    let dir = tempfile::tempdir().unwrap();
    program(dir.path(), "job", "#!/bin/sh\nexit 3\n");
    let host = Host::start_in(
        dir,
        r#"
        [trigger.job]
        listen = "127.0.0.1:0"
        exec = "{dir}/job"
        respawn = { limit = 3, interval = "500ms" }
        "#,
        |_| {},
    );
    let clients: Vec<_> = (0..3).map(|_| host.connect("job")).collect();
    host.logged("a pause", |line| {
        verb(line) == "pause" && line["ms"].is_u64()
    });
    let failures = host
        .log()
        .iter()
        .filter(|l| l["outcome"] == "exit(3)")
        .count();
    assert_eq!(failures, 3);
    drop(clients);
    program(
        host.dir.path(),
        "job",
        "#!/bin/sh\nexec python3 {repo}/guests/native/message.py\n"
            .replace("{repo}", &support::repository().display().to_string())
            .as_str(),
    );
    // Those that come during the pause wait in the backlog and are served after it.
    let mut client = host.connect("job");
    client.write_all(b"mended?").unwrap();
    assert_eq!(client.rest(), b"I got your message: mended?");
}

#[test]
fn a_job_that_gets_the_connection_finds_it_as_stdin_stdout_and_descriptor_3_and_no_other() {
    let host = Host::start(
        r#"
        [trigger.fds]
        listen = "127.0.0.1:0"
        exec = ["/bin/sh", "-c", "exec 2>/dev/null; readlink /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/3; ls /proc/$$/fd; :"]
        accept = true
        "#,
    );
    let answer = String::from_utf8(host.ask("fds", b"")).unwrap();
    let lines: Vec<_> = answer.lines().collect();
    let [stdin, stdout, socket, ref open @ ..] = lines[..] else {
        panic!("{answer:?}")
    };
    assert!(
        stdin.starts_with("socket:[") && stdin == stdout && stdin == socket,
        "{answer}"
    );
    assert_eq!(open, ["0", "1", "2", "3"]);
}

#[test]
fn a_job_that_gets_the_listener_has_no_other_descriptor_of_the_host() {
    let host = Host::start(
        r#"
        [trigger.fds]
        listen = "127.0.0.1:0"
        exec = ["/bin/sh", "-c", "ls /proc/$$/fd; readlink /proc/$$/fd/0 /proc/$$/fd/3"]
        "#,
    );
    drop(host.connect("fds"));
    let said = host.logged_times(6, "what it prints", |line| verb(line) == "output");
    let said: Vec<_> = said.iter().map(|l| l["line"].as_str().unwrap()).collect();
    assert_eq!(said[..5], ["0", "1", "2", "3", "/dev/null"]);
    assert!(said[5].starts_with("socket:["), "{said:?}");
}

#[test]
fn a_job_finds_the_variables_of_the_contract_and_none_of_the_hosts_but_path_and_term() {
    let printenv = r#"
        [trigger.connection]
        listen = ["127.0.0.1:0", "unix:{dir}/sock"]
        exec = "/usr/bin/env"
        accept = true
        env = { GREETING = "hi", TERM = "mine" }
        [trigger.listener]
        listen = "[::1]:0"
        exec = ["/bin/sh", "-c", "env > {dir}/env"]
    "#;
    let host = Host::start_with(printenv, |command| {
        command.env("SECRET", "of the host").env("TERM", "dumb");
    });
    let client = host.connect("connection");
    let Client::Tcp(stream) = &client else {
        unreachable!()
    };
    let (local, peer) = (stream.peer_addr().unwrap(), stream.local_addr().unwrap());
    let mut found = variables(&client.ask(b""));
    assert!(
        found
            .remove("LISTEN_PID")
            .is_some_and(|pid| pid.parse::<u32>().is_ok())
    );
    assert!(found.remove("PATH").is_some());
    let wanted = [
        ("GREETING", "hi"),
        ("TERM", "mine"),
        ("UPSTART_EVENTS", "socket"),
        ("UPSTART_JOB", "connection"),
        ("UPSTART_INSTANCE", ""),
        ("PROTO", "inet"),
        ("ADDR", "127.0.0.1"),
        ("PORT", &local.port().to_string()),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("REMOTE_PORT", &peer.port().to_string()),
        ("LISTEN_FDS", "1"),
        ("LISTEN_FDNAMES", "connection"),
    ];
    let wanted: BTreeMap<_, _> = wanted
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    assert_eq!(found, wanted);

    let unix = variables(&Client::to(&host.addresses("connection")[1]).ask(b""));
    assert_eq!(unix["PROTO"], "unix");
    assert_eq!(
        unix["SOCKET_PATH"],
        host.dir.path().join("sock").display().to_string()
    );
    assert!(!unix.contains_key("REMOTE_ADDR") && !unix.contains_key("PORT"));

    drop(host.connect("listener"));
    host.ended("listener");
    let found = variables(&fs::read(host.dir.path().join("env")).unwrap());
    assert_eq!(found["UPSTART_FDS"], "3");
    assert_eq!(found["PROTO"], "inet6");
    assert_eq!(found["ADDR"], "::1");
    assert!(!found.contains_key("SECRET") && !found.contains_key("REMOTE_ADDR"));
}

#[test]
fn half_close_works_both_ways_and_16_mib_pass_bit_for_bit() {
    let host = Host::start(
        r#"
        [trigger.cat]
        listen = "127.0.0.1:0"
        exec = "cat"
        accept = true
        [trigger.first]
        listen = "127.0.0.1:0"
        exec = ["python3", "-c", "import socket; s = socket.socket(fileno=3); s.sendall(b'bye'); s.shutdown(1); n = 0\nwhile (b := s.recv(65536)): n += len(b)\nprint(n, file=__import__('sys').stderr)"]
        accept = true
        "#,
    );
    let data: Vec<u8> = (0..16_u32 << 20)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let mut client = host.connect("cat");
    let mut writer = client.try_clone();
    let sent = data.clone();
    let writing = thread::spawn(move || {
        writer.write_all(&sent).unwrap();
        writer.shutdown(Shutdown::Write);
    });
    assert!(client.rest() == data);
    writing.join().unwrap();

    let mut client = host.connect("first");
    assert_eq!(client.rest(), b"bye");
    client.write_all(b"still heard").unwrap();
    client.shutdown(Shutdown::Write);
    host.logged("the count", |line| {
        line["trigger"] == "first" && line["line"] == "11"
    });
}

#[test]
fn a_job_is_set_up_as_its_trigger_says() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("home")).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let root = support::as_root("a job of another user and of other groups");
    let identity = if root {
        "setuid = \"nobody\"\nsetgid = \"nogroup\"\ngroups = [\"daemon\", 4]"
    } else {
        ""
    };
    let host = Host::start_in(
        dir,
        &format!(
            r#"
            [trigger.setup]
            listen = "127.0.0.1:0"
            script = "pwd; umask; nice; ulimit -Sn; ulimit -Hn; id -un; id -gn; id -Gn; echo $(ps -o sid= -p $$) $$"
            accept = true
            chdir = "home"
            umask = "027"
            nice = 5
            limit = {{ nofile = [64, 128] }}
            {identity}
            "#
        ),
        |_| {},
    );
    let answer = String::from_utf8(host.ask("setup", b"")).unwrap();
    let lines: Vec<_> = answer.lines().collect();
    assert_eq!(lines[0], host.dir.path().join("home").display().to_string());
    assert_eq!(lines[1..5], ["0027", "5", "64", "128"]);
    if root {
        assert_eq!(lines[5..8], ["nobody", "nogroup", "nogroup daemon adm"]);
    }
    let (session, own) = lines[8].split_once(' ').unwrap();
    assert_eq!(session, own, "a job leads its own session");
}

#[test]
fn a_process_group_ends_with_its_deadline_down_to_the_child_that_ignores_term() {
    let host = Host::start(
        r#"
        [trigger.stubborn]
        listen = "127.0.0.1:0"
        script = "trap '' TERM; sh -c 'trap \"\" TERM; echo $$; while :; do sleep 1000; done' & echo $$; wait"
        accept = true
        limits = { deadline = "300ms" }
        kill_timeout = "200ms"
        "#,
    );
    let mut client = host.connect("stubborn");
    let pids: Vec<i32> = (0..2).map(|_| client.line().parse().unwrap()).collect();
    assert_eq!(host.outcome("stubborn"), "deadline");
    assert_eq!(client.rest(), b"", "nobody holds the connection any more");
    for pid in pids {
        has_ended(pid);
    }
}

#[test]
fn killed_jobs_leave_no_zombie_and_are_reported_by_their_signal() {
    let host = Host::start(
        r#"
        [trigger.sleep]
        listen = "127.0.0.1:0"
        script = "echo $$; exec sleep 1000"
        accept = true
        "#,
    );
    let mut clients: Vec<_> = (0..20).map(|_| host.connect("sleep")).collect();
    let pids: Vec<i32> = clients
        .iter_mut()
        .map(|client| client.line().parse().unwrap())
        .collect();
    for pid in &pids {
        kill(Pid::from_raw(*pid), Signal::SIGKILL).unwrap();
    }
    let ends = host.logged_times(20, "twenty ends", |line| verb(line) == "end");
    assert!(
        ends.iter().all(|end| end["outcome"] == "signal(9)"),
        "{ends:?}"
    );
    for pid in pids {
        let there = kill(Pid::from_raw(pid), None).is_ok();
        assert!(!there, "{pid} is still there, if only as a zombie");
    }
}

#[test]
fn a_real_time_signal_is_an_outcome_and_hinders_neither_a_neighbour_nor_the_stop() {
    let host = Host::start(
        r#"
        [trigger.odd]
        listen = "127.0.0.1:0"
        script = "(sh -c 'sleep 0.05; kill -40 $$' &); kill -40 $$"
        accept = true
        [trigger.cat]
        listen = "127.0.0.1:0"
        exec = "cat"
        accept = true
        "#,
    );
    // The orphan has the connection too: it ends with the orphan.
    assert_eq!(host.connect("odd").rest(), b"");
    assert_eq!(host.outcome("odd"), "signal(40)");
    assert_eq!(host.ask("cat", b"meow"), b"meow");
    assert_eq!(host.outcome("cat"), "done");
    assert!(host.stop().success());
}

#[test]
fn what_a_script_has_started_can_tidy_up_after_the_deadline() {
    let host = Host::start(
        r#"
        [trigger.tidy]
        listen = "127.0.0.1:0"
        script = """
        sh -c 'trap "sleep 0.3; echo tidied up; exit" TERM; echo ready; while :; do sleep 0.05; done' &
        wait
        """
        accept = true
        limits = { deadline = "300ms" }
        "#,
    );
    assert_eq!(host.connect("tidy").rest(), b"ready\ntidied up\n");
    assert_eq!(host.outcome("tidy"), "deadline");
}

#[test]
fn jobs_end_when_the_host_is_killed() {
    let host = Host::start(
        r#"
        [trigger.sleep]
        listen = "127.0.0.1:0"
        script = "echo $$; exec sleep 1000"
        accept = true
        "#,
    );
    let mut client = host.connect("sleep");
    let pid: i32 = client.line().parse().unwrap();
    host.signal(Signal::SIGKILL);
    // The job holds the other end: it has ended when this one ends.
    assert_eq!(client.rest(), b"");
    has_ended(pid);
}

#[test]
fn what_a_job_prints_is_in_the_log_line_by_line() {
    let host = Host::start(
        r#"
        [trigger.talk]
        listen = "127.0.0.1:0"
        script = "echo one; echo two >&2; printf three"
        "#,
    );
    drop(host.connect("talk"));
    let said = host.logged_times(3, "three lines", |line| verb(line) == "output");
    let mut said: Vec<_> = said
        .iter()
        .map(|l| (l["stream"].as_str().unwrap(), l["line"].as_str().unwrap()))
        .collect();
    said.sort_unstable();
    assert_eq!(
        said,
        [("stderr", "two"), ("stdout", "one"), ("stdout", "three")]
    );
}

#[test]
fn a_job_with_two_instances_runs_twice_at_once() {
    let host = Host::start(
        r#"
        [trigger.pair]
        listen = "127.0.0.1:0"
        exec = ["python3", "-c", "import socket; c = socket.socket(fileno=3).accept()[0]; c.sendall(b'here'); c.recv(1)"]
        instances = 2
        "#,
    );
    let mut clients: Vec<_> = (0..2).map(|_| host.connect("pair")).collect();
    // Each waits for its client, so both answers mean two processes.
    for client in &mut clients {
        assert_eq!(client.bytes(4), b"here");
    }
    for client in &mut clients {
        client.write_all(b"x").unwrap();
    }
    host.logged_times(2, "two ends", |line| {
        verb(line) == "end" && line["outcome"] == "done"
    });
}

#[test]
fn what_cannot_be_started_is_refused_at_start_and_not_at_the_first_connection() {
    let cases = [
        ("exec = \"/no/such/program\"", "/no/such/program"),
        ("exec = \"no-such-program-anywhere\"", "not found in PATH"),
        ("exec = \"/etc/passwd\"", "not executable"),
        ("exec = \"/usr\"", "/usr"),
        (
            "exec = \"/bin/true\"\nsetuid = \"nobody-of-that-name\"",
            "nobody-of-that-name",
        ),
        (
            "exec = \"/bin/true\"\nsetgid = \"no-group-of-that-name\"",
            "no-group-of-that-name",
        ),
        (
            "exec = \"/bin/true\"\nchdir = \"/no/such/folder\"",
            "/no/such/folder",
        ),
    ];
    for (keys, told) in cases {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("triggers.toml");
        fs::write(
            &file,
            format!("[trigger.job]\nlisten = \"127.0.0.1:0\"\n{keys}\n"),
        )
        .unwrap();
        for command in ["run", "check"] {
            let done = support::portcullis()
                .arg(command)
                .arg(&file)
                .output()
                .unwrap();
            let error = String::from_utf8_lossy(&done.stderr);
            assert_eq!(done.status.code(), Some(100), "{command} {keys}: {error}");
            assert!(
                error.contains(told) && error.contains("trigger `job`"),
                "{keys}: {error}"
            );
            assert!(!String::from_utf8_lossy(&done.stdout).contains("listening"));
        }
    }
}

#[test]
fn a_unix_listener_that_its_job_has_shut_down_is_bound_anew() {
    let host = Host::start(
        r#"
        [trigger.once]
        listen = "unix:{dir}/sock"
        exec = ["python3", "-c", """
import os, socket, sys
listener = socket.socket(fileno=3)
if not os.path.exists("shut"):
    open("shut", "w").close()
    listener.shutdown(socket.SHUT_RDWR)
    sys.exit(1)
listener.accept()[0].sendall(b"here")
"""]
        chdir = "."
        "#,
    );
    drop(host.connect("once"));
    let again = |line: &serde_json::Value| verb(line) == "listen" && line["trigger"] == "once";
    host.logged_times(2, "a second listener", again);
    assert_eq!(host.connect("once").rest(), b"here");
}
