//! A client that does not notice what goes wrong measures nothing.
#![allow(clippy::float_cmp, reason = "nothing and all are exact")]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use super::{Client, Dialogue, Fault, Faults, bulk, conns, idle, rtt};
use crate::run::{Figure, Pace, Run};

const PACE: Pace = Pace {
    warm_up: Duration::ZERO,
    window: Duration::from_millis(200),
    hold: Duration::ZERO,
    fewer: 1,
};

/// A server that has this done to each connection.
fn serve(handle: impl Fn(TcpStream) + Copy + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || handle(stream.unwrap()));
        }
    });
    address
}

/// An echo that hands each piece, and how much came before it, through `spoil`; without a piece it closes.
fn echo(spoil: impl Fn(Vec<u8>, usize) -> Option<Vec<u8>> + Copy + Send + 'static) -> SocketAddr {
    serve(move |mut stream| {
        let (mut buffer, mut before) = ([0; 8192], 0);
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            let Some(piece) = spoil(buffer[..length].to_vec(), before) else {
                return;
            };
            before += length;
            if stream.write_all(&piece).is_err() {
                return;
            }
        }
    })
}

/// Every byte that comes after so many is another.
fn wrong_after(right: usize) -> SocketAddr {
    echo(move |piece, before| {
        let flip = |(at, byte)| byte ^ u8::from(before + at >= right);
        Some(piece.into_iter().enumerate().map(flip).collect())
    })
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(future)
}

fn answer(address: SocketAddr, dialogue: Dialogue) -> Result<(), Fault> {
    block_on(async { Client::new(address, dialogue).open().await.map(drop) })
}

#[test]
fn an_echo_is_right_when_every_byte_is() {
    assert_eq!(answer(echo(|piece, _| Some(piece)), Dialogue::Echo), Ok(()));
    assert_eq!(answer(wrong_after(63), Dialogue::Echo), Err(Fault::Wrong));
    let longer = echo(|piece, _| Some([piece, vec![0]].concat()));
    assert_eq!(answer(longer, Dialogue::Echo), Err(Fault::Wrong));
}

#[test]
fn an_answer_that_ends_early_is_short() {
    let short = serve(|mut stream| {
        let mut message = [0; 64];
        stream.read_exact(&mut message).unwrap();
        stream.write_all(&message[..63]).unwrap();
    });
    assert_eq!(answer(short, Dialogue::Echo), Err(Fault::Short));
}

#[test]
fn a_reset_and_a_refusal_are_told_apart() {
    let reset = serve(|mut stream| {
        stream.read_exact(&mut [0; 64]).unwrap();
        SockRef::from(&stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    });
    assert_eq!(answer(reset, Dialogue::Echo), Err(Fault::Reset));
    let gone = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    assert_eq!(answer(gone, Dialogue::Echo), Err(Fault::Refused));
}

#[test]
fn a_message_is_acknowledged_in_the_words_of_the_service() {
    let right = echo(|piece, _| Some([&b"I got your message: "[..], &piece].concat()));
    assert_eq!(answer(right, Dialogue::Message), Ok(()));
    let other = echo(|piece, _| Some([&b"I got your massage: "[..], &piece].concat()));
    assert_eq!(answer(other, Dialogue::Message), Err(Fault::Wrong));
}

#[test]
fn an_http_answer_is_whole_in_either_form() {
    fn http(said: &'static str) -> Result<(), Fault> {
        let server = serve(move |mut stream| {
            stream.read_exact(&mut [0; super::REQUEST.len()]).unwrap();
            stream.write_all(said.as_bytes()).unwrap();
        });
        answer(server, Dialogue::Http)
    }
    assert_eq!(
        http("HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\nhello from WASI 0.2\n"),
        Ok(())
    );
    let chunked = "HTTP/1.1 200 OK\r\n\r\n14\r\nhello from WASI 0.2\n\r\n0\r\n\r\n";
    assert_eq!(http(chunked), Ok(()));
    assert_eq!(
        http(chunked.strip_suffix("0\r\n\r\n").unwrap()),
        Err(Fault::Short)
    );
    assert_eq!(
        http("HTTP/1.1 200 OK\r\n\r\nhello from WASI 0.1\n"),
        Err(Fault::Wrong)
    );
    assert_eq!(
        http("HTTP/1.1 404 Not Found\r\n\r\nhello from WASI 0.2\n"),
        Err(Fault::Wrong)
    );
    assert_eq!(http(""), Err(Fault::Short));
}

/// This process stands for the server where its cost is read.
fn load(
    server: SocketAddr,
    run: &impl AsyncFn(&Client, u32) -> anyhow::Result<Run>,
) -> anyhow::Result<Run> {
    block_on(async { run(&Client::new(server, Dialogue::Echo), std::process::id()).await })
}

#[test]
fn connections_are_counted_when_they_were_right_and_faults_when_not() {
    let conns = async |client: &Client, pid| conns::run(client, pid, 4, &PACE).await;
    let run = load(echo(|piece, _| Some(piece)), &conns).unwrap();
    assert!(
        run.faults.is_empty() && run.figures[&Figure::Rate] > 0.0,
        "{run}"
    );
    assert!(
        run.figures[&Figure::P50] <= run.figures[&Figure::P99],
        "{run}"
    );
    let run = load(wrong_after(0), &conns).unwrap();
    assert!(
        run.faults[&Fault::Wrong] > 0 && run.figures[&Figure::Rate] == 0.0,
        "{run}"
    );
}

#[test]
fn round_trips_end_on_a_connection_that_is_wrong() {
    let rtt = async |client: &Client, pid| rtt::run(client, pid, 3, &PACE).await;
    let run = load(echo(|piece, _| Some(piece)), &rtt).unwrap();
    assert!(
        run.faults.is_empty() && run.figures[&Figure::Rate] > 0.0,
        "{run}"
    );
    // The first answer came before the clock ran.
    let run = load(wrong_after(64), &rtt).unwrap();
    assert_eq!(run.faults, Faults::from([(Fault::Wrong, 3)]));
    assert!(run.figures[&Figure::Rate] == 0.0, "{run}");
}

#[test]
fn bulk_is_compared_to_its_last_byte() {
    let bulk = async |client: &Client, pid| bulk::run(client, pid, 2, &PACE).await;
    let run = load(echo(|piece, _| Some(piece)), &bulk).unwrap();
    assert!(
        run.faults.is_empty() && run.figures[&Figure::Rate] > 0.0,
        "{run}"
    );
    let lost = echo(|piece, before| Some(piece[usize::from(before > 10_000)..].to_vec()));
    let ended = serve(|mut stream| {
        let mut bytes = vec![0; 10_000];
        stream
            .read_exact(&mut bytes)
            .and_then(|()| stream.write_all(&bytes))
            .unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
    });
    let spoilt = [
        (wrong_after(10_000), Fault::Wrong),
        (lost, Fault::Wrong),
        (ended, Fault::Short),
    ];
    for (server, fault) in spoilt {
        assert_eq!(
            load(server, &bulk).unwrap().faults,
            Faults::from([(fault, 2)])
        );
    }
}

#[test]
fn who_waited_is_asked_again() {
    let idle = async |client: &Client, pid| idle::run(client, pid, 40, &PACE).await;
    let run = load(echo(|piece, _| Some(piece)), &idle).unwrap();
    assert!(
        run.faults.is_empty() && run.figures[&Figure::Answering] == 1.0,
        "{run}"
    );
    let one_answer = echo(|piece, before| (before == 0).then_some(piece));
    let run = load(one_answer, &idle).unwrap();
    assert!(run.figures[&Figure::Answering] == 0.0, "{run}");
    assert_eq!(run.faults, Faults::from([(Fault::Short, 40)]));
    // A server that cannot hold them all is not measured with those that it can.
    let none = load(echo(|_, _| None), &idle).unwrap_err();
    assert_eq!(none.to_string(), "0 of 32 connections: short");
}
