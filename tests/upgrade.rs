//! Upgrading in place: a new host takes the listeners of the one that runs, over its control socket or from the
//! service manager, and nobody who connects meanwhile is refused.

mod support;

use std::cell::RefCell;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::io::FdFlags;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, recvmsg,
};
use support::{AtTheEnd, Client, Host, PATIENCE, Said, portcullis, verb};

const ECHO: &str = r#"
    [trigger.echo]
    listen = ["127.0.0.1:0", "unix:{dir}/echo"]
    wasm = "{guest:echo}"
    [trigger.job]
    listen = "127.0.0.1:0"
    exec = ["python3", "-c", "import socket; c = socket.socket(fileno=3).accept()[0]; c.sendall(c.recv(64))"]
"#;

#[test]
fn twenty_upgrades_under_load_refuse_and_lose_nothing() {
    let mut host = Host::start(ECHO);
    let address = host.addresses("echo")[0].clone();
    let path = host.dir.path().join("echo");
    let inode = fs::metadata(&path).unwrap().ino();
    let stop = AtomicBool::new(false);
    let (serve, served) = mpsc::channel();
    thread::scope(|scope| {
        let _stop = AtTheEnd(&stop);
        for address in [address.clone(), host.addresses("echo")[1].clone()] {
            let (stop, serve) = (&stop, serve.clone());
            scope.spawn(move || {
                while !stop.load(Relaxed) {
                    assert_eq!(Client::to(&address).ask(b"hello"), b"hello");
                    // Nobody counts the last ones.
                    let _ = serve.send(());
                }
            });
        }
        for _ in 0..20 {
            let mut held = host.connect("echo");
            held.echo(b"before");
            while served.try_recv().is_ok() {}
            let next = host.upgrade(ECHO);
            assert_eq!(next.addresses("echo"), host.addresses("echo"));
            assert_eq!(next.addresses("job"), host.addresses("job"));
            host.logged("the drain", |line| {
                verb(line) == "drain" && line["reason"] == "upgrade" && line["grace_ms"] == 30_000
            });
            assert!(served.try_iter().count() > 0, "none during an upgrade");
            // Each of the two may have been served before; a third comes while the old host drains.
            for _ in 0..3 {
                served.recv_timeout(PATIENCE).unwrap();
            }
            held.echo(b"after");
            held.shutdown(Shutdown::Write);
            assert_eq!(held.rest(), b"");
            assert_eq!(host.wait().code(), Some(0));
            assert_eq!(next.ask("job", b"job"), b"job");
            host = next;
        }
    });
    assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
    assert_eq!(host.stop().code(), Some(0));
    assert!(!path.exists(), "the last one removes it");
}

#[test]
fn a_new_host_that_cannot_serve_leaves_the_old_one_alone() {
    let host = Host::start(ECHO);
    let old = fs::read_to_string(host.file()).unwrap();
    host.rewrite("[trigger.echo]\nlisten = \"unix:{dir}/echo\"\nwasm = \"missing.wasm\"\n");
    let mut command = portcullis();
    command
        .args(["run", "--upgrade"])
        .arg(host.file())
        .env("RUNTIME_DIRECTORY", host.dir.path());
    let said = Said::by(&mut command);
    assert_eq!(said.code, Some(100), "{}", said.stderr);
    for address in host.addresses("echo") {
        assert_eq!(Client::to(address).ask(b"still here"), b"still here");
    }
    fs::write(host.file(), &old).unwrap();
    assert_eq!(host.reload(&old).code, Some(0));
}

#[test]
fn an_upgrade_of_a_host_that_cannot_be_told_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let plan = format!("[host]\ncontrol = false\n{ECHO}");
    let file = dir.path().join("triggers.toml");
    fs::write(&file, support::with_paths(&plan, dir.path())).unwrap();
    let said = Said::by(portcullis().args(["run", "--upgrade"]).arg(&file));
    assert_eq!(said.code, Some(100));
    assert!(
        said.stderr
            .contains("cannot upgrade: this trigger file has no control socket"),
        "{}",
        said.stderr
    );
}

#[test]
fn an_upgrade_may_change_the_plan_and_without_a_host_it_is_a_start() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::start_in(dir, ECHO, |command| {
        command.arg("--upgrade");
    });
    let (kept, closed) = (
        host.addresses("echo")[0].clone(),
        host.addresses("job")[0].clone(),
    );
    let next = host.upgrade(
        "[trigger.echo]\nlisten = \"127.0.0.1:0\"\nscript = \"echo new\"\naccept = true\n",
    );
    let mut host = host;
    assert_eq!(host.wait().code(), Some(0));
    assert_eq!(Client::to(&kept).ask(b""), b"new\n");
    assert!(TcpStream::connect(closed).is_err());
    assert_eq!(next.stop().code(), Some(0));
}

#[test]
fn what_a_trigger_says_of_its_socket_holds_after_an_upgrade_and_each_port_stays_one() {
    let plan = |mode: &str| {
        format!(
            "[trigger.echo]\nlisten = [\"127.0.0.1:0\", \"127.0.0.1:0\", \"unix:{{dir}}/echo\"]\n\
             wasm = \"{{guest:echo}}\"\nsocket.mode = \"{mode}\"\n"
        )
    };
    let mut host = Host::start(&plan("0666"));
    let path = host.dir.path().join("echo");
    for mode in ["0600", "0640"] {
        let next = host.upgrade(&plan(mode));
        assert_eq!(host.wait().code(), Some(0));
        assert_eq!(next.addresses("echo"), host.addresses("echo"));
        let now = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(format!("{:04o}", now & 0o777), mode);
        host = next;
    }
    for address in host.addresses("echo") {
        assert_eq!(Client::to(address).ask(b"hi"), b"hi");
    }
}

const NOBODY: u32 = 65534;

#[test]
fn a_host_that_has_become_somebody_else_is_told_what_to_do_and_upgraded() {
    if !support::as_root("a host that becomes somebody else") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // One that it can bind in later, and one in which only root can.
    let run = dir.path().join("run");
    fs::create_dir(&run).unwrap();
    chown(&run, Some(NOBODY), Some(NOBODY)).unwrap();
    let plan = r#"
        [host]
        user = 65534
        group = 65534
        cache = false
        [trigger.echo]
        listen = ["127.0.0.1:0", "unix:{dir}/echo", "unix:{dir}/run/echo"]
        wasm = "{guest:echo}"
    "#;
    let mut host = Host::start_in(dir, plan, |_| {});
    for _ in 0..2 {
        let next = host.upgrade(plan);
        assert_eq!(next.addresses("echo"), host.addresses("echo"));
        assert_eq!(host.wait().code(), Some(0));
        // Not even to see whether somebody listens there.
        let came = |line: &&serde_json::Value| verb(line) == "end";
        assert_eq!(host.log().iter().filter(came).count(), 0);
        host = next;
    }
    // Nothing stays root but what removes the paths, and that has nothing else.
    let pid = host.pid().as_raw();
    let [spawner, remover] =
        ["portcullis-spwn", "portcullis-path"].map(|name| support::child(pid, name));
    for (pid, user) in [(spawner, NOBODY), (remover, 0)] {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        assert!(
            status.contains(&format!("\nUid:\t{user}\t{user}\t{user}\t{user}\n")),
            "{status}"
        );
    }
    let open = fs::read_dir(format!("/proc/{remover}/fd")).unwrap().count();
    // The folder of each path and its socket, and what it waits for.
    assert_eq!(open, 2 * 3 + 1);
    // Who comes too much, or cannot serve, takes nothing away.
    let too_much = portcullis()
        .arg("run")
        .arg(host.file())
        .env("RUNTIME_DIRECTORY", host.dir.path())
        .output()
        .unwrap();
    assert_eq!(too_much.status.code(), Some(111));
    host.rewrite(&plan.replace("{guest:echo}", "missing.wasm"));
    let unable = portcullis()
        .args(["run", "--upgrade"])
        .arg(host.file())
        .env("RUNTIME_DIRECTORY", host.dir.path())
        .output()
        .unwrap();
    assert_eq!(unable.status.code(), Some(100));
    let added = "[trigger.more]\nlisten = \"unix:{dir}/run/more\"\nwasm = \"{guest:echo}\"\n\
                socket.mode = \"0666\"\n";
    let said = host.reload(&format!("{plan}{added}"));
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let mode = fs::metadata(run_of(&host).join("more"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o666);
    let address = format!("unix:{}", run_of(&host).join("more").display());
    for address in host.addresses("echo").iter().chain([&address]) {
        assert_eq!(Client::to(address).ask(b"hi"), b"hi");
    }
    // Nor does the end of its spawner.
    kill(Pid::from_raw(spawner), Signal::SIGKILL).unwrap();
    host.logged("the end of the spawner", |line| {
        verb(line) == "end" && line["pid"] == spawner
    });
    assert_eq!(Client::to(&address).ask(b"hi"), b"hi");
    let left = host.dir.clone();
    assert_eq!(host.stop().code(), Some(0));
    let sockets = [left.path(), &left.path().join("run")].map(|folder| {
        let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
        let sockets = entries.filter(|entry| entry.file_type().unwrap().is_socket());
        let names = sockets.map(|entry| entry.file_name().into_string().unwrap());
        names
            .filter(|name| !name.starts_with("notify-"))
            .collect::<Vec<_>>()
    });
    assert_eq!(sockets, [const { Vec::<String>::new() }; 2]);
}

fn run_of(host: &Host) -> PathBuf {
    host.dir.path().join("run")
}

#[test]
fn a_job_that_has_its_listener_keeps_it_and_the_next_host_waits_for_it() {
    let job = |word: &str| {
        format!(
            r#"
            [trigger.job]
            listen = "127.0.0.1:0"
            exec = ["python3", "-c", "import socket; c = socket.socket(fileno=3).accept()[0]; c.sendall(b'{word}'); c.recv(1)"]
            "#
        )
    };
    let mut host = Host::start(&job("old"));
    let mut held = host.connect("job");
    assert_eq!(held.bytes(3), b"old");
    let mut next = host.upgrade(&job("new"));
    let mut waiting = next.connect("job");
    held.shutdown(Shutdown::Write);
    assert_eq!(held.rest(), b"");
    assert_eq!(host.wait().code(), Some(0));
    assert_eq!(waiting.bytes(3), b"new");
    waiting.shutdown(Shutdown::Write);
    assert_eq!(waiting.rest(), b"");
    assert_eq!(next.outcome("job"), "done");
    let starts = next
        .log()
        .iter()
        .filter(|line| !line["pid"].is_null())
        .count();
    assert_eq!(starts, 1, "it is started for one connection once");
    // A guest comes after a job likewise.
    let mut held = next.connect("job");
    assert_eq!(held.bytes(3), b"new");
    let last = next.upgrade("[trigger.job]\nlisten = \"127.0.0.1:0\"\nwasm = \"{guest:echo}\"\n");
    let echo = last.connect("job");
    held.shutdown(Shutdown::Write);
    assert_eq!(held.rest(), b"");
    assert_eq!(next.wait().code(), Some(0));
    assert_eq!(echo.ask(b"echo"), b"echo");
}

#[test]
fn of_two_hosts_that_would_take_the_same_place_one_has_it() {
    let mut host = Host::start(ECHO);
    let control = fs::read_dir(host.dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|end| end == "control"))
        .unwrap();
    // As far as a host comes that is slow to load.
    let flags = SocketFlags::CLOEXEC;
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    let slow = rustix::net::socket_with(family, kind, flags, None).unwrap();
    rustix::net::connect(&slow, &SocketAddrUnix::new(&control).unwrap()).unwrap();
    let send = |text: &[u8]| rustix::net::send(&slow, text, SendFlags::NOSIGNAL);
    send(b"share").unwrap();
    let mut packet = [0; 64];
    loop {
        let (count, _) = rustix::net::recv(&slow, &mut packet, RecvFlags::empty()).unwrap();
        if &packet[..count] == b"end" {
            break;
        }
        assert!(packet.starts_with(b"socket portcullis-"));
    }
    let next = host.upgrade(ECHO);
    host.logged("the drain", |line| verb(line) == "drain");
    // It is not told that the place is free.
    let _ = send(b"leave");
    let heard = rustix::net::recv(&slow, &mut packet, RecvFlags::empty());
    assert!(heard.is_err() || heard.unwrap().1 == 0);
    assert_eq!(host.wait().code(), Some(0));
    assert_eq!(Client::to(&next.addresses("echo")[0]).ask(b"next"), b"next");
}

/// A message to a service manager, with the descriptors it carries.
fn heard(manager: &UnixDatagram) -> (String, Vec<OwnedFd>) {
    let mut text = [0; 1024];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(
        manager,
        &mut [IoSliceMut::new(&mut text)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    );
    let count = received.unwrap().bytes;
    let sockets = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(sockets) => Some(sockets),
        _ => None,
    });
    let sockets = sockets.flatten().collect();
    (String::from_utf8(text[..count].to_vec()).unwrap(), sockets)
}

#[test]
fn a_service_manager_keeps_the_listeners_from_one_host_to_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let manager = UnixDatagram::bind(dir.path().join("manager")).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let file = dir.path().join("triggers.toml");
    fs::write(&file, support::with_paths(ECHO, dir.path())).unwrap();
    let passed = RefCell::new(Vec::new());
    let run = |kept: &[(String, OwnedFd)]| {
        // Its own process id is in LISTEN_PID, and the sockets are its descriptors from 3 on.
        let mut script = "export LISTEN_PID=$$".to_owned();
        for (number, (_, socket)) in (3..).zip(kept) {
            // Far from the ones it is to have. Whoever else is started meanwhile gets it, too, and does no harm.
            let socket = socket.as_fd().try_clone_to_owned().unwrap();
            let far = rustix::io::fcntl_dupfd_cloexec(&socket, 100 + number).unwrap();
            rustix::io::fcntl_setfd(&far, FdFlags::empty()).unwrap();
            write!(script, "; exec {number}<&{0} {0}<&-", far.as_raw_fd()).unwrap();
            passed.borrow_mut().push(far);
        }
        let names: Vec<_> = kept.iter().map(|(name, _)| &**name).collect();
        let host = portcullis();
        let mut command = Command::new("bash");
        command
            .args(["-c", &format!("{script}; exec \"$@\""), "bash"])
            .arg(host.get_program())
            .args(["--log-format", "json", "run"])
            .arg(&file)
            .envs(
                host.get_envs()
                    .filter_map(|(key, value)| Some((key, value?))),
            )
            .env_remove("RUST_BACKTRACE")
            .env("RUNTIME_DIRECTORY", dir.path())
            .env("NOTIFY_SOCKET", dir.path().join("manager"))
            .env("FDSTORE", "16")
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        if !kept.is_empty() {
            command
                .env("LISTEN_FDS", kept.len().to_string())
                .env("LISTEN_FDNAMES", names.join(":"));
        }
        let mut child = command.spawn().unwrap();
        let mut stored = Vec::new();
        loop {
            let (text, sockets) = heard(&manager);
            if text.contains("READY=1") {
                break;
            }
            assert!(text.contains("FDSTORE=1"), "{text}");
            let name = text.lines().find_map(|line| line.strip_prefix("FDNAME="));
            let name = name.unwrap().to_owned();
            stored.extend(sockets.into_iter().map(|socket| (name.clone(), socket)));
        }
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let ready: Vec<_> = stdout.lines().take(3).map(Result::unwrap).collect();
        (child, stored, ready)
    };
    let (mut first, stored, ready) = run(&[]);
    assert_eq!(stored.len(), 3);
    let address = ready[0].split_whitespace().last().unwrap().to_owned();
    assert_eq!(Client::to(&address).ask(b"first"), b"first");
    let pid = Pid::from_raw(first.id().try_into().unwrap());
    kill(pid, Signal::SIGTERM).unwrap();
    assert_eq!(first.wait().unwrap().code(), Some(0));
    while !heard(&manager).0.contains("STOPPING=1") {}

    // Nobody serves, and nobody is refused.
    let waiting = Client::to(&address);
    let path = format!("unix:{}", dir.path().join("echo").display());
    let waiting_too = Client::to(&path);
    let (mut second, stored_again, ready_again) = run(&stored);
    assert_eq!(ready_again, ready);
    assert_eq!(stored_again.len(), 3);
    assert_eq!(waiting.ask(b"second"), b"second");
    assert_eq!(waiting_too.ask(b"second"), b"second");
    // What no trigger has any more is not kept for ever.
    let less = ECHO.split("[trigger.job]").next().unwrap();
    fs::write(&file, support::with_paths(less, dir.path())).unwrap();
    let pid = Pid::from_raw(second.id().try_into().unwrap());
    kill(pid, Signal::SIGHUP).unwrap();
    loop {
        let (text, _) = heard(&manager);
        if text.contains("FDSTOREREMOVE=1") {
            let name = text.lines().find_map(|line| line.strip_prefix("FDNAME="));
            assert_eq!(name, Some(&*stored[2].0));
            break;
        }
    }
    second.kill().unwrap();
    second.wait().unwrap();
}
