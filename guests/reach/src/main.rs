//! Reaches out as each line of its standard input tells it, and answers each with a line: `COMMAND: GOT …` or `COMMAND: denied: CODE`. It calls
//! WASI 0.2 itself, so that what is told is what the host said. `imports` tries whatever may lead out of an instance.

mod http;
mod imports;
mod settings;
mod sockets;

use std::fmt::{Debug, Display};
use std::io::{self, BufRead};

use sockets::Kept;
use wasip2::random::random::get_random_bytes;

fn main() {
    let mut kept = Kept::default();
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["tcp", address] => report(&line, sockets::tcp(address)),
            ["tcp-from", local, address] => report(&line, sockets::tcp_from(local, address)),
            ["listen", local] => report(&line, sockets::listen(local)),
            ["udp", address] => report(&line, sockets::udp(address, None)),
            // A socket that is connected to one, and told to send to another.
            ["udp", address, other] => report(&line, sockets::udp(address, Some(other))),
            ["udp-connected", address] => report(&line, sockets::udp_connected(address)),
            ["udp-from", local] => report(&line, sockets::udp_from(local)),
            ["resolve", name] => report(&line, sockets::resolve(name)),
            ["get", url] => report(&line, http::get(url, None)),
            // With a time in milliseconds for each step.
            ["get", url, patience] => report(&line, http::get(url, patience.parse().ok())),
            ["method", method, url] => report(&line, http::with_method(method, url)),
            ["post", size, url] => report(&line, http::post(url, size.parse().unwrap_or_default())),
            // Open as many as that, and keep them until they are dropped.
            ["keep", count, address] => {
                report(
                    &line,
                    kept.connect(count.parse().unwrap_or_default(), address),
                );
            }
            ["keep-udp", count] => report(&line, kept.udp(count.parse().unwrap_or_default())),
            ["keep-get", count, url] => {
                report(&line, kept.get(count.parse().unwrap_or_default(), url));
            }
            ["drop"] => {
                kept = Kept::default();
                println!("drop: GOT all");
            }
            ["config"] => report(&line, settings::all()),
            ["config", name] => report(&line, settings::one(name)),
            ["random", length] => {
                let bytes = get_random_bytes(length.parse().unwrap_or_default());
                report::<_, ()>(&line, Ok(bytes.len()));
            }
            ["imports"] => imports::try_all(),
            _ => println!("{line}: no such command"),
        }
    }
}

fn report<T: Display, E: Debug>(command: &str, result: Result<T, E>) {
    match result {
        Ok(got) => println!("{command}: GOT {got}"),
        Err(error) => println!("{command}: denied: {error:?}"),
    }
}
