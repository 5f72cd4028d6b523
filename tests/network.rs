//! What a guest may reach: the addresses, names and sites that its trigger allows, and nothing beside them; in
//! WASI 0.2 and in 0.3 alike. Every server is one of this machine, and knows who has come.

mod support;

#[path = "network/servers.rs"]
mod servers;

use std::collections::HashSet;
use std::fs;
use std::io::Write as _;
use std::net::{Shutdown, SocketAddr};
use std::process::Command;
use std::time::Instant;

use servers::{LARGE, Server};
use support::{Client, Host, PATIENCE, command, verb};

/// The guests that do what they are told, with the WASI they speak.
const GUESTS: [&str; 2] = ["reach", "reach-async"];

/// A host with a trigger for each of them, named like it, with the same `network`; `more` is added to each.
fn host(network: &str, more: &str) -> Host {
    Host::start_with(&triggers(network, more), trusting)
}

fn triggers(network: &str, more: &str) -> String {
    let trigger = |guest: &str| {
        format!(
            "[trigger.{guest}]\nlisten = \"127.0.0.1:0\"\nwasm = \"{{guest:{guest}.component}}\"\n\
             network = {network}\n{more}\n"
        )
    };
    GUESTS.map(trigger).concat()
}

/// Has the host trust the authority of the tests, and nobody else.
fn trusting(host: &mut Command) {
    host.env("SSL_CERT_FILE", servers::tls("authority.pem"))
        .env_remove("SSL_CERT_DIR");
}

/// What a guest says to each of the commands: what it got, or `denied: ` and the code in WASI's spelling.
fn told(host: &Host, guest: &str, commands: &[String]) -> Vec<String> {
    let request = commands.join("\n") + "\n";
    let report = String::from_utf8(host.ask(guest, request.as_bytes())).unwrap();
    let lines: Vec<String> = report
        .lines()
        .zip(commands)
        .map(|(line, command)| {
            let answer = line.strip_prefix(&format!("{command}: ")).unwrap_or(line);
            match answer.strip_prefix("denied: ") {
                Some(error) => format!("denied: {}", code(error)),
                None => answer.strip_prefix("GOT ").unwrap_or(answer).to_owned(),
            }
        })
        .collect();
    assert_eq!(lines.len(), commands.len(), "{guest}: {report}");
    lines
}

/// The code of an error as its WASI spells it: `access-denied`.
fn code(error: &str) -> String {
    if let Some((_, rest)) = error.split_once("name: \"") {
        return rest.split('"').next().unwrap().to_owned();
    }
    let name = error.split("::").last().unwrap_or(error);
    let mut code = String::new();
    for c in name.chars().take_while(|c| c.is_alphanumeric()) {
        if c.is_uppercase() && !code.is_empty() {
            code.push('-');
        }
        code.push(c.to_ascii_lowercase());
    }
    code
}

/// Asks both guests, and checks what each command is answered.
fn both(host: &Host, story: &[(String, &str)]) {
    let commands: Vec<String> = story.iter().map(|(command, _)| command.clone()).collect();
    for guest in GUESTS {
        let answers = told(host, guest, &commands);
        for ((command, wanted), answer) in story.iter().zip(answers) {
            assert_eq!(answer, *wanted, "{guest}: {command}");
        }
    }
}

const DENIED: &str = "denied: access-denied";

/// Two servers at one port of two addresses.
fn pair(first: &str, second: &str) -> (Server, Server) {
    loop {
        let one = servers::pong(first);
        let address = SocketAddr::new(second.parse().unwrap(), one.port());
        if let Ok(other) = servers::pong_at(address) {
            return (one, other);
        }
    }
}

#[test]
fn an_address_is_reached_at_its_port_and_no_other_address_or_port() {
    let (allowed, neighbour) = pair("127.0.0.1", "127.0.0.2");
    let (other_port, six) = (servers::pong("127.0.0.1"), servers::pong("::1"));
    let host = host(
        &format!(
            r#"["tcp:{}", "tcp:[::1]:*", "udp:{}"]"#,
            allowed.address, other_port.address
        ),
        "",
    );
    both(
        &host,
        &[
            (format!("tcp {}", allowed.address), "pong\\n"),
            (format!("tcp {}", six.address), "pong\\n"),
            (format!("tcp {}", neighbour.address), DENIED),
            (format!("tcp {}", other_port.address), DENIED),
            (
                format!("tcp [::ffff:127.0.0.1]:{}", allowed.port()),
                "denied: invalid-argument",
            ),
            (
                format!("get http://{}/", allowed.address),
                "denied: http-request-denied",
            ),
            ("resolve localhost".to_owned(), DENIED),
        ],
    );
    assert_eq!((neighbour.seen(), other_port.seen()), (0, 0));
    assert_eq!(allowed.seen(), 2);
}

#[test]
fn a_network_is_reached_but_for_what_is_denied_of_it() {
    let (allowed, denied) = pair("127.1.0.1", "127.2.0.1");
    let (site, _) = servers::http("127.2.0.2");
    let host = host(
        r#"{ allow = ["tcp:127.0.0.0/8:*", "http://127.1.0.9"], deny = ["127.2.0.0/16", "tcp:127.1.0.0/16:1"] }"#,
        "",
    );
    both(
        &host,
        &[
            (format!("tcp {}", allowed.address), "pong\\n"),
            (format!("tcp {}", denied.address), DENIED),
            ("tcp 127.1.0.1:1".to_owned(), DENIED),
            ("tcp 127.3.0.1:1".to_owned(), "denied: connection-refused"),
            (
                format!("get http://{}/", site.address),
                "denied: http-request-denied",
            ),
        ],
    );
    assert_eq!((denied.seen(), site.seen()), (0, 0));
}

#[test]
fn a_name_is_known_and_reached_by_the_addresses_it_had_and_no_other_name_is_known() {
    let server = servers::pong("127.0.0.1");
    let host = host(&format!(r#"["tcp:localhost:{}"]"#, server.port()), "");
    let ask = |name: &str| (format!("resolve {name}"), "");
    for guest in GUESTS {
        let commands = [ask("localhost").0, ask("LocalHost").0];
        for found in told(&host, guest, &commands) {
            let addresses: Vec<&str> = found.split(' ').collect();
            assert!(addresses.contains(&"127.0.0.1"), "{guest}: {found}");
            assert!(
                addresses.iter().all(|a| ["127.0.0.1", "::1"].contains(a)),
                "{found}"
            );
        }
    }
    both(
        &host,
        &[
            (format!("tcp {}", server.address), "pong\\n"),
            (format!("tcp 127.0.0.2:{}", server.port()), DENIED),
            ("resolve localhost.".to_owned(), DENIED),
            ("resolve example.com".to_owned(), DENIED),
            ("resolve metadata.google.internal".to_owned(), DENIED),
            ("resolve 127.1".to_owned(), DENIED),
            // What is an address is no question.
            ("resolve 192.0.2.1".to_owned(), "192.0.2.1"),
            ("resolve ::ffff:192.0.2.1".to_owned(), "192.0.2.1"),
            (
                format!("get http://localhost:{}/", server.port()),
                "denied: http-request-denied",
            ),
        ],
    );
}

#[test]
fn datagrams_go_to_whom_they_may_and_come_from_there() {
    let (allowed, denied, six) = (
        servers::udp("127.0.0.1"),
        servers::udp("127.0.0.1"),
        servers::udp("::1"),
    );
    let host = host(
        &format!(r#"["udp:{}", "udp:[::1]:*"]"#, allowed.address),
        "",
    );
    both(
        &host,
        &[
            (format!("udp {}", allowed.address), "pong"),
            (format!("udp-connected {}", allowed.address), "pong"),
            (format!("udp {}", six.address), "pong"),
            (format!("udp {}", denied.address), DENIED),
            (format!("udp-connected {}", denied.address), DENIED),
            // Connected to one and sending to the other.
            (
                format!("udp {} {}", allowed.address, denied.address),
                "denied: invalid-argument",
            ),
            (
                format!("udp {} {}", denied.address, allowed.address),
                DENIED,
            ),
            ("udp-from 127.0.0.1:0".to_owned(), DENIED),
            (format!("udp-from 0.0.0.0:{}", denied.port()), DENIED),
            (format!("tcp {}", allowed.address), DENIED),
        ],
    );
    assert_eq!(denied.seen(), 0);
}

#[test]
fn no_guest_listens_or_chooses_the_end_it_speaks_from() {
    let server = servers::pong("127.0.0.1");
    let host = host(
        r#"["tcp:0.0.0.0/0:*", "tcp:[::/0]:*", "udp:0.0.0.0/0:*", "udp:[::/0]:*"]"#,
        "",
    );
    both(
        &host,
        &[
            ("listen 127.0.0.1:0".to_owned(), DENIED),
            ("listen 0.0.0.0:0".to_owned(), DENIED),
            ("listen [::]:0".to_owned(), DENIED),
            ("listen [::1]:7".to_owned(), DENIED),
            ("udp-from 127.0.0.1:0".to_owned(), DENIED),
            ("udp-from [::]:7".to_owned(), DENIED),
            (format!("tcp-from 127.0.0.1:0 {}", server.address), DENIED),
            (format!("tcp-from 0.0.0.0:7 {}", server.address), DENIED),
            (format!("tcp-from 0.0.0.0:0 {}", server.address), "pong\\n"),
            ("tcp 0.0.0.0:80".to_owned(), "denied: invalid-argument"),
        ],
    );
}

#[test]
fn a_program_of_the_standard_library_connects_where_it_may() {
    let (tcp, other) = (servers::pong("127.0.0.1"), servers::pong("127.0.0.1"));
    let host = Host::start(&format!(
        r#"
        [trigger.pry]
        listen = "127.0.0.1:0"
        wasm = "{{guest:pry.component}}"
        args = ["{0}", "{1}"]
        network = ["tcp:{0}", "udp:{0}"]
        "#,
        tcp.address, other.address
    ));
    let report = String::from_utf8(host.connect("pry").rest()).unwrap();
    for (attempt, got) in [
        (format!("connect {}", tcp.address), "GOT TcpStream"),
        (format!("send {}", tcp.address), "GOT 3"),
        (format!("connect {}", other.address), "denied: "),
        (format!("send {}", other.address), "denied: "),
        ("listen".to_owned(), "denied: "),
        ("listen to all".to_owned(), "denied: "),
        ("receive".to_owned(), "denied: "),
        ("resolve localhost".to_owned(), "denied: "),
    ] {
        assert!(
            report.contains(&format!("{attempt}: {got}")),
            "{attempt}: {report}"
        );
    }
}

/// The sockets that a host has open to other machines: not those of unix, by which it is ready and starts
/// jobs.
fn sockets(host: &Host) -> usize {
    let process = format!("/proc/{}", host.pid());
    let unix = fs::read_to_string(format!("{process}/net/unix")).unwrap();
    let unix: HashSet<&str> = unix
        .lines()
        .filter_map(|line| line.split_whitespace().nth(6))
        .collect();
    let open = fs::read_dir(format!("{process}/fd")).unwrap();
    let links = open.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
    links
        .filter(|to| {
            let socket = to.to_str().and_then(|to| to.strip_prefix("socket:["));
            socket.is_some_and(|inode| !unix.contains(inode.trim_end_matches(']')))
        })
        .count()
}

/// A guest that is told one thing after the other.
struct Session(Client);

impl Session {
    fn begin(host: &Host, guest: &str) -> Self {
        let mut session = Self(host.connect(guest));
        // Answered, so its own connection is open and counted.
        assert_eq!(session.tell("resolve nobody.example"), DENIED);
        session
    }

    fn tell(&mut self, command: &str) -> String {
        self.0.write_all(format!("{command}\n").as_bytes()).unwrap();
        let line = self.0.line();
        let answer = line.strip_prefix(&format!("{command}: ")).unwrap();
        match answer.strip_prefix("denied: ") {
            Some(error) => format!("denied: {}", code(error)),
            None => answer.strip_prefix("GOT ").unwrap().to_owned(),
        }
    }

    /// How many were opened until no more were.
    fn opened(&mut self, command: &str) -> usize {
        let answer = self.tell(command);
        let (count, refused) = answer.split_once(" then ").unwrap();
        assert!(
            [
                "NewSocketLimit",
                "new-socket-limit",
                "as many sockets",
                "ConnectionLimitReached"
            ]
            .iter()
            .any(|word| refused.contains(word)),
            "{command}: {answer}"
        );
        count.parse().unwrap()
    }

    /// Opens sixteen. Those that were closed before give their places back a moment after their peers
    /// have seen them end, and nobody tells of that; the guest asks for them until they are there.
    fn open_all(&mut self, command: &str) {
        let patience = Instant::now() + PATIENCE;
        let mut opened = self.opened(command);
        while opened < 16 {
            assert!(Instant::now() < patience, "{command}: {opened}, not 16");
            opened += self.opened(command);
        }
        assert_eq!(opened, 16, "{command}");
    }
}

#[test]
fn a_guest_without_a_network_takes_no_descriptor_of_the_host() {
    let host = host("[]", "");
    for guest in GUESTS {
        let mut session = Session::begin(&host, guest);
        let before = sockets(&host);
        for command in ["keep 100 127.0.0.1:80", "keep-udp 100"] {
            let answer = session.tell(command);
            assert!(answer.starts_with("0 then"), "{guest}: {command}: {answer}");
        }
        let answer = session.tell("keep-get 100 http://127.0.0.1:80/");
        assert!(answer.starts_with("0 then"), "{guest}: {answer}");
        assert_eq!(sockets(&host), before, "{guest}");
    }
}

#[test]
fn a_kind_of_socket_that_nothing_is_allowed_for_is_never_made() {
    let host = host(r#"["udp:127.0.0.1:53", "http://127.0.0.1:80"]"#, "");
    both(&host, &[("tcp 127.0.0.1:80".to_owned(), DENIED)]);
    let other = self::host(r#"["tcp:127.0.0.1:80"]"#, "");
    both(&other, &[("udp 127.0.0.1:80".to_owned(), DENIED)]);
}

#[test]
fn a_connection_has_sixteen_sockets_at_once_of_whatever_kind_and_gets_them_back() {
    let server = servers::pong("127.0.0.1");
    let (site, _) = servers::http("127.0.0.1");
    let kinds = [
        format!("keep 100 {}", server.address),
        format!("keep-get 100 http://{}/half", site.address),
        "keep-udp 100".to_owned(),
    ];
    for guest in GUESTS {
        // One of its own: what the last guest had may not all be closed yet.
        let host = host(
            &format!(
                r#"["tcp:{}", "udp:127.0.0.1:53", "http://{}"]"#,
                server.address, site.address
            ),
            "",
        );
        let mut session = Session::begin(&host, guest);
        let mut other = Session::begin(&host, guest);
        let before = sockets(&host);
        for kind in &kinds {
            session.open_all(kind);
            assert_eq!(sockets(&host), before + 16, "{guest}: {kind}");
            for kind in &kinds {
                assert_eq!(session.opened(kind), 0, "{guest}: {kind}");
            }
            // Each connection has its own.
            assert_eq!(other.tell(&format!("tcp {}", server.address)), "pong\\n");
            server.left(1);
            assert_eq!(session.tell("drop"), "all");
            match kind.split(' ').next() {
                Some("keep") => server.left(16),
                Some("keep-get") => site.left(16),
                _ => {}
            }
        }
        if guest == "reach-async" {
            // The bytes of a connection count without its socket.
            let streams = format!("keep-streams 100 {}", server.address);
            for _ in 0..2 {
                session.open_all(&streams);
                assert_eq!(sockets(&host), before + 16);
                assert_eq!(session.tell("drop"), "all");
                server.left(16);
            }
        }
        session.open_all(&kinds[0]);
        assert_eq!(sockets(&host), before + 16, "{guest}: all were given back");
        drop(session);
        host.logged_times(1, "the end of the one that kept them", |line| {
            verb(line) == "end" && line["trigger"] == guest
        });
        server.left(16);
        assert_eq!(
            sockets(&host),
            before - 1,
            "{guest}: its own is closed, too"
        );
    }
}

#[test]
fn what_a_guest_says_to_others_is_not_counted_as_said_to_its_client() {
    let server = servers::pong("127.0.0.1");
    let host = host(&format!(r#"["tcp:{}"]"#, server.address), "");
    for guest in GUESTS {
        let command = format!("tcp {}\n", server.address);
        let answer = host.ask(guest, command.as_bytes());
        let end = host.ended(guest);
        assert_eq!(
            (&end["outcome"], &end["rx"], &end["tx"]),
            (&"done".into(), &command.len().into(), &answer.len().into())
        );
    }
}

#[test]
fn requests_go_to_the_sites_that_are_allowed_and_say_whom_they_are_for() {
    let (site, _) = servers::http("127.0.0.1");
    let (other, _) = servers::http("127.0.0.1");
    let (address, port) = (site.address, site.port());
    let host = host(
        &format!(
            r#"["http://{address}", "http://localhost:{port}", "tcp:{}"]"#,
            other.address
        ),
        "",
    );
    let denied = "denied: http-request-denied";
    both(
        &host,
        &[
            (
                format!("get http://{address}/path?query"),
                "200 /path?query",
            ),
            (
                format!("get http://{address}/host"),
                &format!("200 {address}"),
            ),
            (
                format!("get http://LOCALHOST:{port}/host"),
                &format!("200 localhost:{port}"),
            ),
            (format!("get http://{address}/chunked"), "200 abcdef"),
            // It is told of a redirection, and not led by it.
            (format!("get http://{address}/elsewhere"), "302 "),
            (format!("post 1 http://{address}/count"), "200 1"),
            (format!("post 300000 http://{address}/count"), "200 300000"),
            (format!("method PURGE http://{address}/"), "200 /"),
            (
                format!("method CONNECT http://{address}/"),
                "denied: http-request-method-invalid",
            ),
            (format!("get https://{address}/"), denied),
            (format!("get http://127.0.0.2:{port}/"), denied),
            ("get http://127.0.0.1/".to_owned(), denied),
            (format!("get http://{}/", other.address), denied),
            (format!("get http://localhost.:{port}/"), denied),
            (
                format!("get ftp://{address}/"),
                "denied: http-protocol-error",
            ),
        ],
    );
    assert_eq!(other.seen(), 0);
    let head = told(&host, "reach", &[format!("get http://{address}/head")]).remove(0);
    assert_eq!(head, format!("200 GET /head HTTP/1.1|host: {address}"));
}

#[test]
fn a_site_that_misbehaves_is_an_error_of_its_request_and_of_nothing_else() {
    let (site, _) = servers::http("127.0.0.1");
    let at = site.address;
    let host = host(&format!(r#"["http://{at}", "http://127.0.0.9:1"]"#), "");
    both(
        &host,
        &[
            (
                format!("get http://{at}/never 200"),
                "denied: connection-read-timeout",
            ),
            (
                format!("get http://{at}/close"),
                "denied: http-response-incomplete",
            ),
            (
                format!("get http://{at}/no-http"),
                "denied: http-protocol-error",
            ),
            (
                format!("get http://{at}/long-head"),
                "denied: http-response-header-section-size",
            ),
            (
                "get http://127.0.0.9:1/".to_owned(),
                "denied: connection-refused",
            ),
            (format!("get http://{at}/fine"), "200 /fine"),
        ],
    );
    // wasmtime's WASI 0.2 does not tell what went wrong with a body, only that something did.
    let commands = ["half 200", "cut"].map(|path| format!("get http://{at}/{path}"));
    assert_eq!(
        told(&host, "reach", &commands),
        ["denied: internal-error"; 2]
    );
    assert_eq!(
        told(&host, "reach-async", &commands),
        [
            "denied: connection-read-timeout",
            "denied: http-response-incomplete"
        ]
    );
}

#[test]
fn encrypted_requests_trust_whom_the_system_trusts() {
    let (site, stranger) = (servers::https("127.0.0.1"), servers::https("127.0.0.3"));
    let (plain, _) = servers::http("127.0.0.1");
    let port = site.port();
    let network = format!(
        r#"["https://localhost:{port}", "https://127.0.0.1:{port}", "https://{}", "https://127.0.0.1:{}"]"#,
        stranger.address,
        plain.port()
    );
    let host = host(&network, "");
    both(
        &host,
        &[
            (
                format!("get https://localhost:{port}/host"),
                &format!("200 localhost:{port}"),
            ),
            (
                format!("get https://{}/host", site.address),
                &format!("200 {}", site.address),
            ),
            (
                format!("post 100000 https://{}/count", site.address),
                "200 100000",
            ),
            // Its certificate is for other names.
            (
                format!("get https://{}/", stranger.address),
                "denied: tls-certificate-error",
            ),
            (
                format!("get https://{}/no-http 5000", plain.address),
                "denied: connection-terminated",
            ),
            (
                format!("get http://{}/", site.address),
                "denied: http-request-denied",
            ),
        ],
    );
    // With another authority the same site is nobody.
    let other = Host::start_with(&triggers(&network, ""), |command| {
        command.env("SSL_CERT_FILE", servers::tls("server.pem"));
    });
    both(
        &other,
        &[(
            format!("get https://{}/", site.address),
            "denied: tls-certificate-error",
        )],
    );
}

#[test]
fn a_guest_that_waits_for_a_site_ends_at_its_deadline_and_its_connection_with_it() {
    let (site, closed) = servers::http("127.0.0.1");
    let host = host(
        &format!(r#"["http://{}"]"#, site.address),
        r#"limits = { deadline = "500ms" }"#,
    );
    for guest in GUESTS {
        let mut client = host.connect(guest);
        client
            .write_all(format!("get http://{}/never\n", site.address).as_bytes())
            .unwrap();
        assert_eq!(client.heard(), b"");
        assert_eq!(host.outcome(guest), "deadline");
        closed
            .recv_timeout(PATIENCE)
            .expect("the site's connection is closed");
    }
}

fn fetching(network: &str, more: &str) -> Host {
    let trigger = |guest: &str| {
        format!(
            "[trigger.{guest}]\nlisten = \"127.0.0.1:0\"\nwasm = \"{{guest:{guest}.component}}\"\n\
             network = {network}\n{more}\n"
        )
    };
    Host::start(&["fetch", "fetch-async"].map(trigger).concat())
}

/// The most memory that a host has had, in bytes.
fn peak(host: &Host) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", host.pid())).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim()
        .strip_suffix(" kB")
        .unwrap()
        .parse::<usize>()
        .unwrap()
        * 1024
}

/// Asks an HTTP guest to fetch `url`.
fn fetch(client: &mut Client, url: &str) {
    let request = format!("GET /?{url} HTTP/1.1\r\nhost: a\r\n\r\n");
    client.write_all(request.as_bytes()).unwrap();
}

/// The status and the length of the body of one answer.
fn fetched(client: &mut Client) -> (String, usize) {
    let status = client.line();
    let mut length = None;
    loop {
        let line = client.line();
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = Some(value.parse::<usize>().unwrap());
        }
    }
    let mut size = 0;
    if let Some(length) = length {
        client.bytes(length);
        return (status, length);
    }
    loop {
        let chunk = usize::from_str_radix(client.line().trim_end(), 16).unwrap();
        client.bytes(chunk + 2);
        if chunk == 0 {
            return (status, size);
        }
        size += chunk;
    }
}

#[test]
fn a_large_answer_passes_through_an_http_guest_without_filling_the_host() {
    let (site, _) = servers::http("127.0.0.1");
    let host = fetching(&format!(r#"["http://{}"]"#, site.address), "");
    for guest in ["fetch", "fetch-async"] {
        let mut client = host.connect(guest);
        fetch(&mut client, &format!("http://{}/warm", site.address));
        assert_eq!(fetched(&mut client).1, 5, "{guest}");
        let before = peak(&host);
        fetch(&mut client, &format!("http://{}/large", site.address));
        let (status, length) = fetched(&mut client);
        assert_eq!(
            (status.trim_end(), length),
            ("HTTP/1.1 200 OK", LARGE),
            "{guest}"
        );
        let grown = peak(&host) - before;
        assert!(grown < LARGE / 4, "{guest}: {grown} bytes");
    }
}

#[test]
fn a_site_waits_for_a_guest_whose_client_does_not_read() {
    let (site, sent) = servers::http("127.0.0.1");
    let host = fetching(
        &format!(r#"["http://{}"]"#, site.address),
        r#"limits = { idle = "1s" }"#,
    );
    for guest in ["fetch", "fetch-async"] {
        let mut client = host.connect(guest);
        fetch(&mut client, &format!("http://{}/endless", site.address));
        assert_eq!(client.line().trim_end(), "HTTP/1.1 200 OK");
        assert_eq!(host.outcome(guest), "idle");
        let sent = sent
            .recv_timeout(PATIENCE)
            .expect("the site's connection is closed");
        assert!(
            sent < 64 << 20,
            "{guest}: {sent} bytes are more than the kernel's buffers hold"
        );
    }
}

#[test]
fn an_http_guest_gets_its_sockets_back_request_by_request() {
    let (site, _) = servers::http("127.0.0.1");
    let host = fetching(&format!(r#"["http://{}"]"#, site.address), "");
    for guest in ["fetch", "fetch-async"] {
        let mut client = host.connect(guest);
        for number in 0..50 {
            fetch(&mut client, &format!("http://{}/{number:03}", site.address));
            let (status, length) = fetched(&mut client);
            assert_eq!(
                (status.trim_end(), length),
                ("HTTP/1.1 200 OK", 4),
                "{guest}: {number}"
            );
        }
        fetch(&mut client, "http://127.0.0.1:1/");
        assert_eq!(
            fetched(&mut client).0.trim_end(),
            "HTTP/1.1 502 Bad Gateway",
            "{guest}"
        );
        client.shutdown(Shutdown::Write);
        assert_eq!(host.outcome(guest), "done");
    }
    assert_eq!(site.seen(), 100);
}

#[test]
fn a_component_finds_the_settings_of_its_trigger() {
    let host = Host::start(
        r#"
        [trigger.with]
        listen = "127.0.0.1:0"
        wasm = "{guest:reach.component}"
        config = { greeting = "good day", "empty.one" = "" }
        [trigger.without]
        listen = "127.0.0.1:0"
        wasm = "{guest:reach.component}"
        "#,
    );
    let ask = |trigger, command: &str| told(&host, trigger, &[command.to_owned()]).remove(0);
    assert_eq!(ask("with", "config greeting"), r#"Some("good day")"#);
    assert_eq!(ask("with", "config empty.one"), r#"Some("")"#);
    assert_eq!(ask("with", "config other"), "None");
    assert_eq!(
        ask("with", "config"),
        r#"[("empty.one", ""), ("greeting", "good day")]"#
    );
    assert_eq!(ask("without", "config"), "[]");
}

/// What the command says of a trigger for `guest` that it will not serve.
fn refused(guest: &str, more: &str, adjust: impl FnOnce(&mut Command)) -> String {
    let dir = tempfile::tempdir().unwrap();
    let triggers =
        format!("[trigger.t]\nlisten = \"127.0.0.1:0\"\nwasm = \"{{guest:{guest}}}\"\n{more}\n");
    let file = dir.path().join("triggers.toml");
    fs::write(&file, support::with_paths(&triggers, dir.path())).unwrap();
    let mut command = support::portcullis();
    command.arg("run").arg(&file);
    adjust(&mut command);
    let ended = command.output().unwrap();
    assert_eq!(ended.status.code(), Some(100));
    String::from_utf8(ended.stderr).unwrap()
}

#[test]
fn what_can_never_be_reached_is_told_at_the_start() {
    let said = refused(
        "reach.component",
        r#"network = ["tcp:nowhere.invalid:80"]"#,
        |_| {},
    );
    assert!(said.contains("trigger `t`: cannot load"), "{said}");
    assert!(
        said.contains("network: cannot look up `nowhere.invalid`: "),
        "{said}"
    );

    let more = r#"network = { allow = ["http://localhost"], deny = ["127.0.0.0/8", "::1"] }"#;
    let said = refused("reach.component", more, |_| {});
    assert!(
        said.contains("network: every address of `http://localhost` is denied"),
        "{said}"
    );

    let said = refused(
        "reach.component",
        r#"network = ["https://127.0.0.1"]"#,
        |command| {
            command
                .env("SSL_CERT_FILE", "/nowhere/authority.pem")
                .env_remove("SSL_CERT_DIR");
        },
    );
    assert!(
        said.contains("no certificate is found: ") && said.contains("/nowhere"),
        "{said}"
    );
    // Without encryption nobody has to be trusted.
    let dir = tempfile::tempdir().unwrap();
    let plain = "[trigger.t]\nlisten = \"127.0.0.1:0\"\nwasm = \"{guest:reach.component}\"\nnetwork = [\"http://127.0.0.1\"]\n";
    assert_eq!(command("check", plain, dir.path()).code, Some(0));
}

#[test]
fn a_core_module_is_not_given_what_it_could_not_use() {
    for more in [
        r#"network = ["tcp:127.0.0.1:80"]"#,
        r#"config = { a = "b" }"#,
    ] {
        let said = refused("echo", more, |_| {});
        let key = more.split(' ').next().unwrap();
        let why = format!("it is a core module, and WASI preview 1 has no way to use `{key}`");
        assert!(said.contains(&why), "{said}");
    }
}
