//! What a guest cannot do: read a file, a variable or a socket that its trigger has not given, or
//! lead the host anywhere by the addresses it hands over. Each is tried.

mod support;

use std::io::Write as _;
use std::net::{Shutdown, TcpListener, UdpSocket};

use support::{Client, Host, verb};

/// Starts a host that has something to hide: a secret in its environment.
fn host_with_a_secret(triggers: &str) -> Host {
    Host::start_with(triggers, |command| {
        command.env("PORTCULLIS_SECRET", "hidden");
    })
}

#[test]
fn a_guest_cannot_open_a_file_it_was_not_given() {
    let host = host_with_a_secret(
        r#"
        [trigger.read]
        listen = "127.0.0.1:0"
        wasm = "{guest:read-file}"
        "#,
    );
    let report = String::from_utf8(host.connect("read").rest()).unwrap();
    assert_eq!(report.lines().count(), 6 * 2 + 6 * 16, "{report}");
    for line in report.lines() {
        assert!(line.contains(": denied: "), "{line}");
    }
    assert_eq!(host.outcome("read"), "done");
}

#[test]
fn neither_a_module_nor_a_component_gets_a_file_a_socket_or_a_name_with_the_standard_library() {
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    target.set_nonblocking(true).unwrap();
    let address = target.local_addr().unwrap();
    let datagrams = UdpSocket::bind(address).unwrap();
    datagrams.set_nonblocking(true).unwrap();
    let host = host_with_a_secret(&format!(
        r#"
        [trigger.module]
        listen = "127.0.0.1:0"
        wasm = "{{guest:pry}}"
        args = ["{address}"]
        [trigger.component]
        listen = "127.0.0.1:0"
        wasm = "{{guest:pry.component}}"
        args = ["{address}"]
        "#
    ));
    for trigger in ["module", "component"] {
        let report = String::from_utf8(host.connect(trigger).rest()).unwrap();
        let attempts = report.lines().filter(|line| !line.starts_with("variable "));
        assert_eq!(attempts.clone().count(), 6 + 6 * 3 + 2, "{report}");
        for line in attempts {
            assert!(line.contains(": denied: "), "{trigger}: {line}");
        }
        assert!(report.contains("variable UPSTART_JOB: GOT"), "{report}");
        assert!(
            !report.contains("SECRET") && !report.contains("variable PATH:"),
            "{report}"
        );
        assert_eq!(host.outcome(trigger), "done");
    }
    assert!(target.accept().is_err(), "somebody has connected");
    assert!(datagrams.recv(&mut [0; 16]).is_err(), "somebody has sent");
}

#[test]
fn a_guest_has_no_descriptors_but_the_standard_ones_the_listener_and_its_connection() {
    let host = Host::start(
        r#"
        [trigger.open]
        listen = ["127.0.0.1:0", "unix:{dir}/open"]
        wasm = "{guest:open-socket}"
        "#,
    );
    let no_socket = "accept=NOTSOCK recv=NOTSOCK send=NOTSOCK shutdown=NOTSOCK";
    let mut wanted = format!(
        "fd 0: {no_socket} read=ok filestat=ok prestat=BADF\n\
         fd 1: {no_socket} read=BADF filestat=ok prestat=BADF\n\
         fd 2: {no_socket} read=BADF filestat=ok prestat=BADF\n\
         fd 3: accept=AGAIN recv=NOTCONN send=NOTCONN shutdown=NOTCONN read=NOTCONN filestat=ok prestat=ok\n\
         fd 4: read=AGAIN filestat=ok prestat=BADF\n"
    );
    for fd in 5..=20 {
        let all =
            "accept=BADF recv=BADF send=BADF shutdown=BADF read=BADF filestat=BADF prestat=BADF";
        wanted.extend(["fd ", &fd.to_string(), ": ", all, "\n"]);
    }
    for address in host.addresses("open") {
        assert_eq!(
            String::from_utf8(Client::to(address).rest()).unwrap(),
            wanted
        );
    }
}

#[test]
fn a_guest_finds_the_variables_of_the_contract_and_no_other() {
    let name = format!("portcullis-env-{}", std::process::id());
    let listen = format!(r#"["127.0.0.1:0", "[::1]:0", "unix:{{dir}}/env", "unix:@{name}"]"#);
    let host = host_with_a_secret(&format!(
        r#"
        [trigger.socket]
        listen = {listen}
        wasm = "{{guest:getenv}}"
        args = ["--greeting", "good day"]
        env = {{ GREETING = "good day", EMPTY = "" }}
        [trigger.stdio]
        listen = {}
        wasm = "{{guest:getenv-stdio}}"
        "#,
        listen.replace("env", "stdio")
    ));
    for (trigger, path) in [("socket", "env"), ("stdio", "stdio")] {
        for (family, address) in host.addresses(trigger).iter().enumerate() {
            let mut client = Client::to(address);
            let remote = match &client {
                Client::Tcp(stream) => Some(stream.local_addr().unwrap()),
                Client::Unix(_) => None,
            };
            let mut wanted = vec![
                "UPSTART_EVENTS=socket".to_owned(),
                format!("UPSTART_JOB={trigger}"),
                "UPSTART_INSTANCE=".to_owned(),
            ];
            match address.rsplit_once(':').unwrap() {
                ("unix", path) => {
                    wanted.extend(["PROTO=unix".to_owned(), format!("SOCKET_PATH={path}")]);
                }
                (ip, port) => wanted.extend([
                    format!("PROTO={}", ["inet", "inet6"][family]),
                    format!("ADDR={}", ip.trim_matches(['[', ']'])),
                    format!("PORT={port}"),
                ]),
            }
            if let Some(remote) = remote {
                wanted.push(format!("REMOTE_ADDR={}", remote.ip()));
                wanted.push(format!("REMOTE_PORT={}", remote.port()));
            }
            let mut args =
                vec![format!("arg 0 get{path}.wasm").replace("getstdio", "getenv-stdio")];
            if trigger == "socket" {
                wanted.extend(
                    [
                        "EMPTY=",
                        "FD_COUNT=4",
                        "FD_NAMES=stdin:stdout:stderr:socket",
                        "GREETING=good day",
                        "LISTEN_FDNAMES=socket",
                        "LISTEN_FDS=1",
                        "UPSTART_FDS=3",
                    ]
                    .map(str::to_owned),
                );
                args.extend(["arg 1 --greeting", "arg 2 good day"].map(str::to_owned));
            }
            let mut wanted: Vec<_> = wanted.iter().map(|line| format!("env {line}")).collect();
            wanted.sort();
            wanted.extend(args);
            let found = String::from_utf8(client.rest()).unwrap();
            assert_eq!(found.lines().collect::<Vec<_>>(), wanted, "at {address}");
        }
    }
}

#[test]
fn addresses_and_lengths_that_are_not_there_are_refused_or_end_their_own_guest_only() {
    let host = Host::start(
        r#"
        [trigger.badptr]
        listen = ["127.0.0.1:0", "unix:{dir}/badptr"]
        wasm = "{guest:badptr}"
        [trigger.accept]
        listen = "127.0.0.1:0"
        wasm = "{guest:badptr}"
        args = ["accept"]
        [trigger.echo]
        listen = "127.0.0.1:0"
        wasm = "{guest:echo}"
        "#,
    );
    let mut neighbour = host.connect("echo");
    neighbour.echo(b"here first");
    let (mut id, mut traps) = (2, 0);
    for address in host.addresses("badptr") {
        for case in 0.. {
            let mut client = Client::to(address);
            // At once: the guest may have come to its end before a second write.
            client
                .write_all(&[format!("{case}\n").as_bytes(), &[0; 600]].concat())
                .unwrap();
            client.shutdown(Shutdown::Write);
            let answer = String::from_utf8(client.heard()).unwrap();
            let end = host.logged("its end", |line| verb(line) == "end" && line["id"] == id);
            id += 1;
            neighbour.echo(b"still here");
            match end["outcome"].as_str().unwrap() {
                "done" if answer.is_empty() => {
                    assert!(case > 50, "there are more cases than {case}");
                    break;
                }
                "done" => {
                    let errno = answer
                        .rsplit_once(": ")
                        .and_then(|(_, e)| e.trim().parse::<u16>().ok());
                    assert!(
                        answer.starts_with(&case.to_string()) && errno.is_some(),
                        "{answer}"
                    );
                }
                "trap" => traps += 1,
                other => panic!("{answer} gave {other}"),
            }
        }
    }
    assert!(
        traps > 30,
        "an address that is not there is a trap, as in any host: {traps}"
    );

    let mut client = host.connect("accept");
    client.shutdown(Shutdown::Write);
    assert_eq!(client.heard(), b"");
    assert_eq!(host.outcome("accept"), "trap");
    neighbour.echo(b"still here");
}

#[test]
fn a_fifo_in_a_given_folder_is_refused_and_holds_nothing_up() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("dev")).unwrap();
    let fifo = dir.path().join("dev/null");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let host = Host::start_in(
        dir,
        r#"
        [trigger.module]
        listen = "127.0.0.1:0"
        wasm = "{guest:pry}"
        dirs = { "/dev" = "dev" }
        [trigger.component]
        listen = "127.0.0.1:0"
        wasm = "{guest:pry.component}"
        dirs = { "/dev" = "dev" }
        "#,
        |_| {},
    );
    for trigger in ["module", "component"] {
        let report = String::from_utf8(host.ask(trigger, b"")).unwrap();
        let opened = report
            .lines()
            .find(|line| line.starts_with("open /dev/null:"));
        assert!(
            opened.unwrap().contains("denied: Not supported"),
            "{report}"
        );
        assert!(report.contains("stat /dev/null: GOT"), "{report}");
    }
    assert!(host.stop().success());
}

/// Descriptors that a host has open of its folder `data` and what lies in it.
fn descriptors(host: &Host) -> usize {
    let data = host.dir.path().canonicalize().unwrap().join("data");
    let open = std::fs::read_dir(format!("/proc/{}/fd", host.pid())).unwrap();
    let links = open.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok());
    links.filter(|to| to.starts_with(&data)).count()
}

/// A host for `triggers` with a folder `data` of three entries.
fn host_with_data(triggers: &str) -> Host {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    std::fs::create_dir_all(data.join("folder")).unwrap();
    std::fs::write(data.join("file"), "what it says").unwrap();
    std::os::unix::fs::symlink("file", data.join("link")).unwrap();
    Host::start_in(dir, triggers, |_| {})
}

#[test]
fn a_guest_that_opens_too_many_files_is_told_so() {
    let host = host_with_data(
        r#"
        [trigger.module]
        listen = "127.0.0.1:0"
        wasm = "{guest:hoard}"
        dirs = { "/data" = "data" }
        [trigger.component]
        listen = "127.0.0.1:0"
        wasm = "{guest:hoard.component}"
        dirs = { "/data" = "data" }
        "#,
    );
    for (trigger, told) in [
        // Its standard streams and its directory are among them.
        (
            "module",
            "60 then No file descriptors available (os error 33)\n",
        ),
        ("component", "64 then Out of memory (os error 48)\n"),
    ] {
        let report = String::from_utf8(host.ask(trigger, b"")).unwrap();
        assert_eq!(report, told, "{trigger}");
        assert_eq!(host.outcome(trigger), "done");
    }
}

#[test]
fn a_guest_has_64_files_open_however_it_keeps_them() {
    let host = host_with_data(
        r#"
        [trigger.hoard]
        listen = "127.0.0.1:0"
        wasm = "{guest:hoard-async.component}"
        dirs = { "/data" = { path = "data", access = "rw" } }
        "#,
    );
    let mut client = host.connect("hoard");
    let mut tell = |line: &str| {
        client.write_all(format!("{line}\n").as_bytes()).unwrap();
        let answer = client.line();
        answer
            .strip_prefix(&format!("{line}: "))
            .unwrap()
            .to_owned()
    };
    let refused = r#"then ErrorCode::Other(Some("as many files are open as may be"))"#;
    let refused_at_once =
        r#"then Some(ErrorCode::Other(Some("as many files are open as may be")))"#;
    assert_eq!(tell("drop"), "all");
    let before = descriptors(&host);
    for (way, kept) in [
        ("handles", 64),
        ("reads", 64),
        ("writes", 64),
        ("appends", 64),
        ("lists", 64),
        // The last one is opened, and cannot be read.
        ("folders", 63),
    ] {
        assert_eq!(tell(way), format!("{kept} {refused}"), "{way}");
        assert_eq!(descriptors(&host), before + kept, "{way}");
        if kept == 64 {
            for way in ["handles", "reads", "lists"] {
                assert_eq!(tell(way), format!("0 {refused}"));
            }
        }
        assert_eq!(tell("drop"), "all");
        assert_eq!(descriptors(&host), before, "{way}");
    }
    assert_eq!(tell("at-once"), format!("64 {refused_at_once}"));
    assert_eq!(descriptors(&host), before + 64);
}

#[test]
fn a_guest_that_lists_a_folder_finds_all_that_lies_in_it() {
    let host = host_with_data(
        r#"
        [trigger.hoard]
        listen = "127.0.0.1:0"
        wasm = "{guest:hoard-async.component}"
        dirs = { "/data" = "data" }
        "#,
    );
    let list = || String::from_utf8(host.ask("hoard", b"list")).unwrap();
    let few = "file DescriptorType::RegularFile, folder DescriptorType::Directory, \
               link DescriptorType::SymbolicLink";
    assert_eq!(list(), format!("list: Ok(()), {few}\n"));
    let many = (1000..2000).map(|number| {
        std::fs::write(host.dir.path().join(format!("data/{number}")), "").unwrap();
        format!("{number} DescriptorType::RegularFile, ")
    });
    let many = many.collect::<Vec<_>>().concat();
    assert_eq!(list(), format!("list: Ok(()), {many}{few}\n"));
}
