//! Reaches out as each line of its standard input tells it, and answers each with a line: `COMMAND: GOT …` or `COMMAND: denied: CODE`; as `reach`
//! does, in the clothes of WASI 0.3. `imports` tries whatever may lead out of an instance.

mod http;
mod imports;
mod sockets;

use std::fmt::{Debug, Display};
use std::mem;

use wasip3::cli::{stdin, stdout};
use wasip3::wit_bindgen::{StreamReader, StreamResult, StreamWriter};
use wasip3::wit_stream;

use sockets::Kept;

wasip3::cli::command::export!(Reach);

struct Reach;

impl wasip3::exports::cli::run::Guest for Reach {
    async fn run() -> Result<(), ()> {
        let (mut input, _) = stdin::read_via_stream();
        let (mut output, data) = wit_stream::new();
        let sent = stdout::write_via_stream(data);
        let mut kept = Kept::default();
        let mut typed = Vec::new();
        while let Some(line) = next_line(&mut input, &mut typed).await {
            let answer = obey(&line, &mut kept).await;
            output.write_all(answer.into_bytes()).await;
        }
        drop(output);
        sent.await.map_err(|error| eprintln!("reach: {error:?}"))
    }
}

async fn obey(line: &str, kept: &mut Kept) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let number = |text: &str| text.parse().unwrap_or_default();
    match words[..] {
        ["tcp", address] => report(line, sockets::tcp(address).await),
        ["tcp-from", local, address] => report(line, sockets::tcp_from(local, address).await),
        ["listen", local] => report(line, sockets::listen(local)),
        ["udp", address] => report(line, sockets::udp(address, None).await),
        ["udp", address, other] => report(line, sockets::udp(address, Some(other)).await),
        ["udp-connected", address] => report(line, sockets::udp_connected(address).await),
        ["udp-from", local] => report(line, sockets::udp_from(local)),
        ["resolve", name] => report(line, sockets::resolve(name).await),
        ["get", url] => report(line, http::get(url, None).await),
        ["get", url, patience] => report(line, http::get(url, patience.parse().ok()).await),
        ["method", method, url] => report(line, http::with_method(method, url).await),
        ["post", size, url] => report(line, http::post(url, number(size)).await),
        ["keep", count, address] => report(line, kept.connect(number(count), address).await),
        // The bytes of each connection, without its socket.
        ["keep-streams", count, address] => {
            report(line, kept.streams(number(count), address).await)
        }
        ["keep-udp", count] => report(line, kept.udp(number(count))),
        ["keep-get", count, url] => report(line, kept.get(number(count), url).await),
        ["drop"] => {
            mem::take(kept).close().await;
            report::<_, ()>(line, Ok("all"))
        }
        ["imports"] => imports::try_all().await,
        _ => format!("{line}: no such command\n"),
    }
}

fn report<T: Display, E: Debug>(command: &str, result: Result<T, E>) -> String {
    match result {
        Ok(got) => format!("{command}: GOT {got}\n"),
        Err(error) => format!("{command}: denied: {error:?}\n"),
    }
}

async fn next_line(input: &mut StreamReader<u8>, typed: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(end) = typed.iter().position(|byte| *byte == b'\n') {
            let line = typed.drain(..=end).collect::<Vec<_>>();
            return Some(String::from_utf8_lossy(&line[..end]).into_owned());
        }
        let (result, more) = input.read(Vec::with_capacity(1024)).await;
        typed.extend(more);
        if result == StreamResult::Dropped {
            return None;
        }
    }
}

/// Writes all, however it goes.
async fn give(mut to: StreamWriter<u8>, bytes: Vec<u8>) {
    to.write_all(bytes).await;
}
