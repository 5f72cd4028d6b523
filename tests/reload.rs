//! Reloading: what is new is loaded and bound before anything is closed, what stays goes on, and a plan that
//! cannot be had changes nothing.

mod support;

use std::fs;
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{AtTheEnd, Client, Host, PATIENCE, Said, Usage, guest, portcullis, verb};

const ECHO: &str = r#"
    [trigger.echo]
    listen = "127.0.0.1:0"
    wasm = "{guest:echo}"
"#;

const HELLO: &str = r#"
    [trigger.hello]
    listen = ["127.0.0.1:0", "unix:{dir}/hello"]
    script = "echo hello"
    accept = true
"#;

/// The log line of the first reload that was asked for.
fn reloaded(host: &Host) -> serde_json::Value {
    host.logged("the reload", |line| verb(line) == "reload")
}

#[test]
fn what_is_new_is_served_what_stays_goes_on_and_the_rest_is_closed() {
    let mut host = Host::start(ECHO);
    let mut held = host.connect("echo");
    held.echo(b"before");

    let said = host.reload(&format!("{ECHO}{HELLO}"));
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert_eq!(
        said.stdout,
        "triggers: 1 added, 0 changed, 0 removed, 1 as before\n"
    );
    host.hear(2);
    assert_eq!(host.ask("hello", b""), b"hello\n");
    assert_eq!(Client::to(&host.addresses("hello")[1]).ask(b""), b"hello\n");
    held.echo(b"meanwhile");
    let line = reloaded(&host);
    assert_eq!((&line["added"], &line["kept"]), (&1.into(), &1.into()));

    let said = host.reload(HELLO);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(TcpStream::connect(&host.addresses("echo")[0]).is_err());
    held.echo(b"after its trigger is gone");
    held.shutdown(Shutdown::Write);
    assert_eq!(held.rest(), b"");
    assert_eq!(host.outcome("echo"), "done");

    let said = host.reload(ECHO);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(!host.dir.path().join("hello").exists());
    host.hear(1);
    assert_eq!(Client::to(&host.addresses("echo")[1]).ask(b"new"), b"new");
    assert_eq!(host.stop().code(), Some(0));
}

#[test]
fn a_bad_file_changes_nothing_and_says_why() {
    let host = Host::start(ECHO);
    for (triggers, code, why) in [
        (
            "[trigger.echo]\nlisten = 7\n",
            100,
            "a string or a list of strings",
        ),
        (
            "[trigger.echo]\nlisten = \"127.0.0.1:0\"\nwasm = \"missing.wasm\"\n",
            100,
            "cannot load",
        ),
        (
            &format!("{ECHO}[trigger.other]\nlisten = \"192.0.2.1:1\"\nscript = \"true\"\n"),
            111,
            "cannot listen on 192.0.2.1:1",
        ),
    ] {
        let said = host.reload(triggers);
        assert_eq!(said.code, Some(code), "{}", said.stderr);
        assert!(said.stderr.contains(why), "{}", said.stderr);
        assert_eq!(said.stdout, "");
        assert_eq!(host.ask("echo", b"as before"), b"as before");
    }
    let told = host.logged_times(3, "the refused ones", |line| verb(line) == "reload");
    assert!(told.iter().all(|line| line["level"] == "WARN"));
    assert!(told[1]["reason"].as_str().unwrap().contains("missing.wasm"));
}

#[test]
fn what_is_asked_of_a_host_while_it_loads_is_done_when_it_serves() {
    let dir = tempfile::tempdir().unwrap();
    let (pid, file) = (dir.path().join("pid"), dir.path().join("triggers.toml"));
    let folder = dir.path().to_owned();
    let asked = thread::spawn(move || {
        // It is there before anything is loaded, and signals are held back before that.
        let is_control = |entry: fs::DirEntry| entry.path().extension() == Some("control".as_ref());
        let patient = Instant::now() + PATIENCE;
        while !fs::read_dir(&folder)
            .unwrap()
            .any(|entry| is_control(entry.unwrap()))
        {
            assert!(Instant::now() < patient, "there is no control socket");
            thread::yield_now();
        }
        let pid = fs::read_to_string(pid).unwrap().trim().parse().unwrap();
        kill(Pid::from_raw(pid), Signal::SIGHUP).unwrap();
        let mut command = portcullis();
        Said::by(
            command
                .arg("reload")
                .arg(file)
                .env("RUNTIME_DIRECTORY", folder),
        )
    });
    let plan = format!("[host]\ncache = false\n{ECHO}");
    let host = Host::start_in(dir, &plan, |command| {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", "echo $$ >\"$PID\"; exec \"$0\" \"$@\""])
            .arg(command.get_program())
            .args(command.get_args())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        let folder = shell
            .get_envs()
            .find(|(name, _)| *name == "RUNTIME_DIRECTORY");
        let pid = Path::new(folder.unwrap().1.unwrap()).join("pid");
        shell.env("PID", pid);
        *command = shell;
    });
    let said = asked.join().unwrap();
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    reloaded(&host);
    assert_eq!(host.ask("echo", b"hi"), b"hi");
}

#[test]
fn sighup_reloads_and_the_service_manager_is_told() {
    let mut host = Host::start(ECHO);
    host.rewrite(&format!("{ECHO}{HELLO}"));
    host.signal(Signal::SIGHUP);
    assert_eq!(reloaded(&host)["added"], 1);
    let told = host.told("RELOADING=1");
    assert!(told.contains("MONOTONIC_USEC="), "{told}");
    host.told("READY=1");
    host.hear(2);
    assert_eq!(host.ask("hello", b""), b"hello\n");
}

#[test]
fn a_guest_that_was_replaced_is_picked_up_and_who_is_served_finishes_with_the_old_one() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("guest.wasm");
    fs::copy(guest("echo"), &file).unwrap();
    let triggers = "[trigger.guest]\nlisten = \"127.0.0.1:0\"\nwasm = \"{dir}/guest.wasm\"\n";
    let host = Host::start_in(dir, triggers, |_| {});
    let mut held = host.connect("guest");
    held.echo(b"before");

    fs::copy(guest("hello"), host.dir.path().join("new.wasm")).unwrap();
    fs::rename(host.dir.path().join("new.wasm"), &file).unwrap();
    assert_eq!(host.ask("guest", b"not yet"), b"not yet");
    let said = host.reload(triggers);
    assert_eq!(
        said.stdout, "triggers: 0 added, 1 changed, 0 removed, 0 as before\n",
        "{}",
        said.stderr
    );
    assert!(!host.ask("guest", b"").is_empty(), "the new one greets");
    held.echo(b"after");
    held.shutdown(Shutdown::Write);
    assert_eq!(held.rest(), b"");
}

#[test]
fn an_address_may_move_to_another_trigger_and_a_socket_may_get_other_options() {
    let unix = |name: &str, job: &str, mode: &str| {
        format!(
            "[trigger.{name}]\nlisten = \"unix:{{dir}}/x\"\n{job}\n\
             [trigger.{name}.socket]\nmode = \"{mode}\"\n"
        )
    };
    let host = Host::start(&unix("one", "wasm = \"{guest:echo}\"", "0600"));
    let path = host.dir.path().join("x");
    let before = fs::metadata(&path).unwrap();
    assert_eq!(host.ask("one", b"hi"), b"hi");
    let said = host.reload(&unix("two", "script = \"echo two\"\naccept = true", "0666"));
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert_eq!(host.ask("one", b""), b"two\n");
    let after = fs::metadata(&path).unwrap();
    assert_eq!(
        std::os::unix::fs::MetadataExt::ino(&before),
        std::os::unix::fs::MetadataExt::ino(&after)
    );
    assert_eq!(after.permissions().mode() & 0o777, 0o666);
}

#[test]
fn a_job_that_has_its_listener_keeps_it_until_it_ends_and_the_new_one_comes_after_it() {
    let job = |word: &str| {
        format!(
            r#"
            [trigger.job]
            listen = "127.0.0.1:0"
            exec = ["python3", "-c", "import socket; c = socket.socket(fileno=3).accept()[0]; c.sendall(b'{word}'); c.recv(1)"]
            "#
        )
    };
    let host = Host::start(&job("old"));
    let mut held = host.connect("job");
    assert_eq!(held.bytes(3), b"old");
    let said = host.reload(&job("new"));
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let mut next = host.connect("job");
    held.shutdown(Shutdown::Write);
    assert_eq!(held.rest(), b"");
    assert_eq!(next.bytes(3), b"new");
    next.shutdown(Shutdown::Write);
    host.logged_times(2, "the ends", |line| verb(line) == "end");

    // One that shuts its listener down at its end leaves it to be opened again.
    let shuts = r#"
        [trigger.job]
        listen = "127.0.0.1:0"
        exec = ["python3", "-c", "import socket; l = socket.socket(fileno=3); c = l.accept()[0]; c.sendall(b'shuts'); c.recv(1); l.shutdown(2)"]
    "#;
    assert_eq!(host.reload(shuts).code, Some(0));
    let mut held = host.connect("job");
    assert_eq!(held.bytes(5), b"shuts");
    assert_eq!(host.reload(&job("new")).code, Some(0));
    held.shutdown(Shutdown::Write);
    assert_eq!(held.rest(), b"");
    let address = &host.addresses("job")[0];
    // At the start, after each reload, and when it is open again.
    host.logged_times(5, "that it listens again", |line| {
        verb(line) == "listen" && line["address"] == address.as_str()
    });

    // And a guest comes after it likewise, and it after a guest.
    let guest = "[trigger.job]\nlisten = \"127.0.0.1:0\"\nwasm = \"echo.wasm\"\n";
    fs::copy(support::guest("echo"), host.dir.path().join("echo.wasm")).unwrap();
    assert_eq!(host.reload(guest).code, Some(0));
    assert_eq!(host.ask("job", b"echo"), b"echo");
    assert_eq!(host.reload(&job("old")).code, Some(0));
    assert_eq!(host.connect("job").bytes(3), b"old");
}

#[test]
fn what_a_confined_host_can_no_longer_touch_is_refused_and_changes_nothing() {
    let guest = "[trigger.echo]\nlisten = \"127.0.0.1:0\"\nwasm = \"{guest:echo}\"\n";
    let elsewhere = format!("{guest}dirs = {{ \"/data\" = \"/var/tmp\" }}\n");
    let host = Host::start(guest);
    let said = host.reload(&elsewhere);
    assert_eq!(said.code, Some(111), "{}", said.stderr);
    let wanted = "cannot read /var/tmp: this host has confined itself to what its first plan names";
    assert!(said.stderr.contains(wanted), "{}", said.stderr);
    assert_eq!(host.ask("echo", b"still here"), b"still here");
    // Without a sandbox it has given up nothing.
    let host = Host::start(&format!("[host]\nsandbox = \"off\"\n{guest}"));
    let said = host.reload(&format!("[host]\nsandbox = \"off\"\n{elsewhere}"));
    assert_eq!(said.code, Some(0), "{}", said.stderr);
}

#[test]
fn a_host_whose_ready_lines_nobody_reads_goes_on() {
    let job = "[trigger.job]\nlisten = \"127.0.0.1:0\"\nscript = \"echo here\"\naccept = true\n";
    let many = "\"127.0.0.1:0\", ".repeat(100);
    let more = format!("{job}[trigger.many]\nlisten = [{many}]\nscript = \"true\"\n");
    let host = Host::start(job);
    // More lines than a pipe holds.
    for _ in 0..30 {
        assert_eq!(host.reload(&more).code, Some(0));
        assert_eq!(host.reload(job).code, Some(0));
    }
    assert_eq!(host.ask("job", b""), b"here\n");
    assert_eq!(host.stop().code(), Some(0));
}

#[test]
fn a_thousand_reloads_under_load_refuse_lose_and_leak_nothing() {
    let two = [
        format!("{ECHO}limits = {{ deadline = \"1m\" }}\n{HELLO}"),
        format!("{ECHO}limits = {{ deadline = \"2m\" }}\n"),
    ];
    let host = Host::start(&two[1]);
    let address = host.addresses("echo")[0].clone();
    let (stop, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    let round = |count: usize| {
        for number in 0..count {
            let said = host.reload(&two[number % 2]);
            assert_eq!(said.code, Some(0), "{}", said.stderr);
        }
    };
    thread::scope(|scope| {
        let _stop = AtTheEnd(&stop);
        for client in 0..4u8 {
            let (stop, served, address) = (&stop, &served, &address);
            scope.spawn(move || {
                let request = [client; 64];
                while !stop.load(Relaxed) {
                    assert_eq!(Client::to(address).ask(&request), request);
                    served.fetch_add(1, Relaxed);
                }
            });
        }
        // What a host has after the first ones it keeps: pools, threads, arenas.
        round(100);
        let (before, first) = (Usage::of(&host), served.load(Relaxed));
        round(900);
        let (after, all) = (Usage::of(&host), served.load(Relaxed));
        eprintln!("after 100 reloads {before:?}, after 1000 {after:?}");
        assert!(first > 0 && all > first, "{first} and then {all} served");
        assert!(after.descriptors <= before.descriptors + 8, "{after:?}");
        assert!(after.threads <= before.threads + 2, "{after:?}");
        assert!(after.maps <= before.maps + 64, "{after:?}");
        assert!(after.resident <= before.resident + (16 << 10), "{after:?}");
    });
    assert_eq!(host.stop().code(), Some(0));
}
