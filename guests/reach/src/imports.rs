//! Whatever may lead out of an instance, each import that makes or gives something tried once, and a line on each: `IMPORT: WHAT IT SAID`.

use std::fmt::Debug;

use wasip2::cli::{environment, terminal_stderr, terminal_stdin, terminal_stdout};
use wasip2::filesystem::preopens;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{Fields, OutgoingRequest, Scheme};
use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::network::IpAddressFamily;
use wasip2::sockets::{ip_name_lookup, tcp_create_socket, udp_create_socket};

pub fn try_all() {
    let names: Vec<String> = environment::get_environment()
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    say("wasi:cli/environment.get-environment", names.join(" "));
    say(
        "wasi:cli/environment.get-arguments",
        environment::get_arguments(),
    );
    say(
        "wasi:cli/environment.initial-cwd",
        environment::initial_cwd(),
    );
    say(
        "wasi:cli/terminal-stdin.get-terminal-stdin",
        terminal_stdin::get_terminal_stdin(),
    );
    say(
        "wasi:cli/terminal-stdout.get-terminal-stdout",
        terminal_stdout::get_terminal_stdout(),
    );
    say(
        "wasi:cli/terminal-stderr.get-terminal-stderr",
        terminal_stderr::get_terminal_stderr(),
    );
    say(
        "wasi:filesystem/preopens.get-directories",
        preopens::get_directories(),
    );
    let network = instance_network();
    for family in [IpAddressFamily::Ipv4, IpAddressFamily::Ipv6] {
        say(
            "wasi:sockets/tcp-create-socket.create-tcp-socket",
            tcp_create_socket::create_tcp_socket(family),
        );
        say(
            "wasi:sockets/udp-create-socket.create-udp-socket",
            udp_create_socket::create_udp_socket(family),
        );
    }
    for name in ["localhost", "example.com", "127.0.0.1", "::1", ""] {
        say(
            "wasi:sockets/ip-name-lookup.resolve-addresses",
            ip_name_lookup::resolve_addresses(&network, name),
        );
    }
    for (scheme, authority) in [
        (Scheme::Http, "127.0.0.1:80"),
        (Scheme::Https, "example.com"),
    ] {
        let request = OutgoingRequest::new(Fields::new());
        request.set_scheme(Some(&scheme)).expect("it is a scheme");
        request
            .set_authority(Some(authority))
            .expect("it is an authority");
        request
            .set_path_with_query(Some("/"))
            .expect("it is a path");
        let answer = outgoing_handler::handle(request, None).and_then(|answer| {
            answer.subscribe().block();
            answer
                .get()
                .expect("it is ready")
                .expect("it is taken once")
        });
        say("wasi:http/types.future-incoming-response.get", answer);
    }
}

fn say(import: &str, said: impl Debug) {
    println!("{import}: {said:?}");
}
