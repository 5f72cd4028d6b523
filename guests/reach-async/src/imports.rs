//! Whatever may lead out of an instance, each import that makes or gives something tried once, and a line on each: `IMPORT: WHAT IT SAID`.

use std::fmt::{Debug, Write};

use wasip3::cli::{environment, terminal_stderr, terminal_stdin, terminal_stdout};
use wasip3::filesystem::preopens;
use wasip3::sockets::ip_name_lookup;
use wasip3::sockets::types::{IpAddressFamily, TcpSocket, UdpSocket};

pub async fn try_all() -> String {
    let mut said = String::new();
    let mut say = |import: &str, answer: &dyn Debug| {
        writeln!(said, "{import}: {answer:?}").expect("a string takes it");
    };
    let names: Vec<String> = environment::get_environment()
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    say("wasi:cli/environment.get-environment", &names.join(" "));
    say(
        "wasi:cli/environment.get-arguments",
        &environment::get_arguments(),
    );
    say(
        "wasi:cli/environment.get-initial-cwd",
        &environment::get_initial_cwd(),
    );
    say(
        "wasi:cli/terminal-stdin.get-terminal-stdin",
        &terminal_stdin::get_terminal_stdin(),
    );
    say(
        "wasi:cli/terminal-stdout.get-terminal-stdout",
        &terminal_stdout::get_terminal_stdout(),
    );
    say(
        "wasi:cli/terminal-stderr.get-terminal-stderr",
        &terminal_stderr::get_terminal_stderr(),
    );
    say(
        "wasi:filesystem/preopens.get-directories",
        &preopens::get_directories(),
    );
    for family in [IpAddressFamily::Ipv4, IpAddressFamily::Ipv6] {
        say(
            "wasi:sockets/types.tcp-socket.create",
            &TcpSocket::create(family),
        );
        say(
            "wasi:sockets/types.udp-socket.create",
            &UdpSocket::create(family),
        );
    }
    for name in ["localhost", "example.com", "127.0.0.1", "::1", ""] {
        let answer = ip_name_lookup::resolve_addresses(name.to_owned()).await;
        say("wasi:sockets/ip-name-lookup.resolve-addresses", &answer);
    }
    for url in ["http://127.0.0.1:80/", "https://example.com/"] {
        let answer = super::http::send("GET", url, None, 0).await;
        say("wasi:http/client.send", &answer);
    }
    said
}
