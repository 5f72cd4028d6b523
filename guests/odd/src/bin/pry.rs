//! Tries what a program of the standard library would try to get out, in stdio style, and sends a line on each: `WHAT: denied: WHY` or
//! `WHAT: GOT …`. Its arguments are addresses (`connect ADDRESS`, `send ADDRESS`), then it binds and resolves, opens and lists files, and
//! looks for variables, each of which is a line of its own: `variable NAME: GOT`. Built as a module and as a component: the same program
//! with WASI preview 1 and with all of WASI 0.2 at its hands.

use std::env;
use std::fmt::{Debug, Display};
use std::fs::{self, File};
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};

const PATHS: [&str; 6] = [
    "/etc/passwd",
    "/proc/self/environ",
    "../etc/passwd",
    "/",
    ".",
    "/dev/null",
];

fn main() {
    for address in env::args().skip(1) {
        report(&format!("connect {address}"), TcpStream::connect(&address));
        let sent = UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.send_to(b"out", &address));
        report(&format!("send {address}"), sent);
    }
    report("listen", TcpListener::bind("127.0.0.1:0"));
    report("listen to all", TcpListener::bind("[::]:0"));
    report("receive", UdpSocket::bind("127.0.0.1:0"));
    report("resolve localhost", "localhost:80".to_socket_addrs());
    for path in PATHS {
        report(&format!("open {path}"), File::open(path));
        report(&format!("list {path}"), fs::read_dir(path));
        report(&format!("stat {path}"), fs::metadata(path));
    }
    report("create", File::create("/tmp/pry"));
    report("make", fs::create_dir("/tmp/pry"));
    for (name, value) in env::vars() {
        report::<_, &str>(&format!("variable {name}"), Ok(value));
    }
}

fn report<T: Debug, E: Display>(attempt: &str, result: Result<T, E>) {
    match result {
        Ok(got) => println!("{attempt}: GOT {got:?}"),
        Err(error) => println!("{attempt}: denied: {error}"),
    }
}
