//! What a hostile client can do to an HTTP trigger, and what a hostile guest can do to the host: it costs
//! its own connection, and a bounded part of the host's memory. (What HTTP is like otherwise is told in
//! `http`.)

mod support;
#[path = "support/http.rs"]
mod web;

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use support::{Client, Host, verb};
use web::Web;

const WORLDS: [&str; 2] = ["two", "three"];

/// How many attack at once.
const CROWD: usize = 4;

/// A host with guests of both worlds under attack, in `two` and `three`, and a neighbour in `web`.
fn host(limits: &str) -> Host {
    Host::start(&format!(
        r#"
        [host]
        limits = {{ connections = 50 }}
        [trigger.web]
        listen = "127.0.0.1:0"
        wasm = "{{guest:http-echo.component}}"
        [trigger.two]
        listen = "127.0.0.1:0"
        wasm = "{{guest:unruly-http.component}}"
        limits = {{ connections = 20, {limits} }}
        [trigger.three]
        listen = "127.0.0.1:0"
        wasm = "{{guest:unruly-http-async.component}}"
        limits = {{ connections = 20, {limits} }}
        "#
    ))
}

/// The most memory that the host has ever had, in KiB.
fn peak(host: &Host) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", host.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let count = line.unwrap().split_whitespace().next();
    count.unwrap().parse().unwrap()
}

/// Has a crowd do `attack` to each world, while a neighbour is served; the memory of the host may grow by
/// `mib` for each of them. Gives how their connections ended, for each world.
fn besieged(limits: &str, mib: usize, attack: impl Fn(Client) + Sync) -> [Vec<Value>; 2] {
    let host = host(limits);
    let mut neighbour = Web::to(&host.addresses("web")[0]);
    assert_eq!(neighbour.get("/hello").status, 200);
    let ends = WORLDS.map(|world| {
        // What an instance takes once and for all.
        let mut first = Web::to(&host.addresses(world)[0]);
        assert_eq!(first.get("/url").status, 200);
        drop(first);
        let before = peak(&host);
        let ends = thread::scope(|scope| {
            for _ in 0..CROWD {
                scope.spawn(|| attack(host.connect(world)));
            }
            // At once with them.
            assert_eq!(neighbour.get("/hello").status, 200);
            host.logged_times(CROWD + 1, "the crowd's end", |line| {
                verb(line) == "end" && line["trigger"] == world
            })
        });
        let after = peak(&host);
        assert!(
            after < before + CROWD * (mib << 10),
            "{world}: {after} KiB, and {before} before"
        );
        assert_eq!(neighbour.get("/hello").status, 200);
        assert_eq!(Web::to(&host.addresses(world)[0]).get("/url").status, 200);
        ends[1..].to_vec()
    });
    assert!(host.stop().success());
    ends
}

/// Expects each of the crowds to have ended so.
fn all(ends: &[Vec<Value>; 2], outcome: &str) {
    for end in ends.iter().flatten() {
        assert_eq!(end["outcome"], outcome, "{end}");
    }
}

/// Sends the same again and again, until the other end wants no more of it.
fn flood(client: &mut Client, bytes: &[u8]) {
    while client.write_all(bytes).is_ok() {}
}

#[test]
fn what_is_no_http_is_a_400_and_the_log_has_one_tidy_line() {
    let host = host("");
    let said: [&[u8]; 6] = [
        b"hello, is anybody there?\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: test\r\n\r\n",
        b"GET  HTTP/1.1\r\nHost: test\r\n\r\n",
        b"\r\n\r\n\0\0\0\0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
    ];
    for world in WORLDS {
        for (said, count) in said.iter().zip(1..) {
            let mut client = Web::to(&host.addresses(world)[0]);
            client.send(said);
            let answer = client.answer();
            assert_eq!(answer.status, 400, "{said:?}");
            client.half_close();
            assert!(client.is_over(), "{said:?}");
            let ends = host.logged_times(count, "its end", |line| {
                verb(line) == "end" && line["trigger"] == world
            });
            let end = &ends[count - 1];
            assert_eq!(end["outcome"], "done", "{end}");
            assert!(end["rx"].as_u64().unwrap() > 0, "{end}");
        }
        assert_eq!(host.said(world), []);
    }
}

#[test]
fn a_request_that_can_be_read_in_two_ways_is_a_400() {
    let host = host("");
    let chunked = "Transfer-Encoding: chunked\r\n";
    let heads = [
        // For whom.
        "Accept: */*\r\n".to_owned(),
        "Host: one\r\nHost: other\r\n".to_owned(),
        "Host: with spaces\r\n".to_owned(),
        "Host: what/ever\r\n".to_owned(),
        "Host: \u{fc}ber\r\n".to_owned(),
        "Host:\r\n".to_owned(),
        "Host : test\r\n".to_owned(),
        // How long.
        "Host: test\r\nContent-Length: 5\r\nContent-Length: 6\r\n".to_owned(),
        "Host: test\r\nContent-Length: +5\r\n".to_owned(),
        "Host: test\r\nContent-Length: -5\r\n".to_owned(),
        "Host: test\r\nContent-Length: 5, 6\r\n".to_owned(),
        "Host: test\r\nContent-Length: 0x5\r\n".to_owned(),
        "Host: test\r\nContent-Length: 99999999999999999999\r\n".to_owned(),
        "Host: test\r\nTransfer-Encoding: identity\r\n".to_owned(),
        "Host: test\r\nTransfer-Encoding: chunked, identity\r\n".to_owned(),
        "Host: test\r\nTransfer-Encoding: xchunked\r\n".to_owned(),
        format!("Host: test\r\nTransfer-Encoding : chunked\r\n{chunked}"),
        format!("Host: test\r\n{chunked} folded\r\n"),
        // What a proxy in front may not have seen.
        "Host: test\r\nsplit: a\rb\r\n".to_owned(),
        "Host: test\r\nsplit: a\0b\r\n".to_owned(),
        "Host: test\r\n: no name\r\n".to_owned(),
    ];
    for world in WORLDS {
        for head in &heads {
            let mut client = Web::to(&host.addresses(world)[0]);
            client.send(format!("POST /url HTTP/1.1\r\n{head}\r\n"));
            assert_eq!(client.answer().status, 400, "{world} {head:?}");
        }
        let mut client = Web::to(&host.addresses(world)[0]);
        client.send(format!("POST /url HTTP/1.0\r\n{chunked}\r\n"));
        assert_eq!(client.answer().status, 400, "{world}");
    }
}

#[test]
fn a_body_with_a_length_and_in_chunks_is_in_chunks_and_the_last_of_its_connection() {
    let host = host("");
    for head in [
        "Content-Length: 30\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 30\r\n",
    ] {
        let ask = |request: &str| {
            let mut client = Web::to(&host.addresses("web")[0]);
            // What comes behind it may have been meant as a part of it.
            let behind = "GET /count HTTP/1.1\r\nHost: test\r\n\r\n";
            client.send(format!("{request} HTTP/1.1\r\nHost: test\r\n{head}\r\n"));
            client.send(format!("4\r\nbody\r\n0\r\n\r\n{behind}"));
            let answer = client.answer();
            assert!(answer.is_last(), "{answer:?}");
            assert!(client.is_over());
            answer
        };
        assert_eq!(ask("POST /echo").text(), "body");
        let headers = ask("GET /headers");
        assert!(!headers.text().contains("content-length"), "{headers:?}");
    }
}

#[test]
fn a_head_without_measure_is_refused_by_its_kind() {
    let host = host("");
    let long = "x".repeat(70_000);
    let many = "many: x\r\n".repeat(1000);
    for world in WORLDS {
        for (request, status) in [
            (
                format!("GET / HTTP/1.1\r\nHost: test\r\nlong: {long}\r\n\r\n"),
                431,
            ),
            (format!("GET / HTTP/1.1\r\nHost: test\r\n{many}\r\n"), 431),
            (format!("GET /{long} HTTP/1.1\r\nHost: test\r\n\r\n"), 414),
            (format!("{long} / HTTP/1.1\r\nHost: test\r\n\r\n"), 431),
        ] {
            let mut client = Web::to(&host.addresses(world)[0]);
            // It may be refused before it is sent.
            client.try_send(request.as_bytes());
            let answer = client.heard().map(|answer| answer.status);
            assert!(
                answer.is_none() || answer == Some(status) || answer == Some(431),
                "{world}: {answer:?} for {}",
                &request[..30]
            );
            assert!(client.is_over());
        }
    }
}

#[test]
fn a_head_that_never_ends_is_read_up_to_a_bound() {
    for begin in ["GET / HTTP/1.1\r\nlong: ", "GET /", "GET / HTTP/1.1\r\n"] {
        let ends = besieged("", 2, |mut client| {
            client.write_all(begin.as_bytes()).unwrap();
            flood(&mut client, &[b'x'; 4096]);
            client.heard();
        });
        for end in ends.iter().flatten() {
            assert!(end["rx"].as_u64().unwrap() <= 256 << 10, "{end}");
        }
    }
    let ends = besieged("", 2, |mut client| {
        client.write_all(b"GET / HTTP/1.1\r\n").unwrap();
        flood(&mut client, "many: x\r\n".repeat(400).as_bytes());
        client.heard();
    });
    for end in ends.iter().flatten() {
        assert!(end["rx"].as_u64().unwrap() <= 256 << 10, "{end}");
    }
}

#[test]
fn a_head_that_comes_byte_by_byte_for_ever_ends_as_idle() {
    let ends = besieged(r#"idle = "300ms""#, 1, |mut client| {
        let Client::Tcp(stream) = &mut client else {
            panic!("TCP")
        };
        stream
            .set_read_timeout(Some(Duration::from_millis(10)))
            .unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nlong: ").unwrap();
        // As slow as can be without being idle.
        while matches!(stream.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock) {
            if stream.write_all(b"x").is_err() {
                return;
            }
        }
    });
    all(&ends, "idle");
    for end in ends.iter().flatten() {
        assert!(end["rx"].as_u64().unwrap() > 25, "{end}");
    }
}

#[test]
fn chunks_that_are_none_end_their_connection() {
    let giant = format!("4;{}\r\nbody\r\n0\r\n\r\n", "x".repeat(1 << 20));
    let trailers = format!("0\r\n{}\r\n", "trailer: x\r\n".repeat(100_000));
    let bodies = [
        "zz\r\nbody\r\n0\r\n\r\n",
        "FFFFFFFFFFFFFFFFF\r\nbody\r\n",
        "-1\r\nbody\r\n0\r\n\r\n",
        "4\r\nbodies\r\n0\r\n\r\n",
        "4\nbody\r\n0\r\n\r\n",
        &giant,
        &trailers,
    ];
    let host = host("");
    for body in bodies {
        let mut client = Web::to(&host.addresses("web")[0]);
        client.send("POST /sum HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
        // It may be refused before it is sent.
        client.try_send(body);
        let name = &body[..body.len().min(20)];
        if let Some(answer) = client.heard() {
            assert_ne!(answer.status, 200, "{name:?}");
        }
        assert!(client.is_over(), "{name:?}");
    }
}

#[test]
fn a_body_that_never_comes_ends_as_idle() {
    let ends = besieged(r#"idle = "300ms""#, 1, |mut client| {
        client
            .write_all(b"POST /wait HTTP/1.1\r\nHost: test\r\nContent-Length: 1000\r\n\r\n")
            .unwrap();
        client.heard();
    });
    all(&ends, "idle");
}

#[test]
fn requests_without_end_whose_answers_nobody_reads_are_no_longer_read() {
    let ends = besieged(r#"idle = "500ms""#, 2, |mut client| {
        flood(
            &mut client,
            "GET /forbidden HTTP/1.1\r\nHost: test\r\n\r\n"
                .repeat(100)
                .as_bytes(),
        );
    });
    all(&ends, "idle");
}

#[test]
fn an_answer_without_end_waits_for_its_client_and_is_not_kept() {
    let open = Mutex::new(Vec::new());
    let ends = besieged(r#"idle = "500ms""#, 2, |mut client| {
        client
            .write_all(b"GET /endless HTTP/1.1\r\nHost: test\r\n\r\n")
            .unwrap();
        let mut first = [0; 1];
        client.read_exact(&mut first).unwrap();
        // Kept open, and not read.
        open.lock().unwrap().push(client);
    });
    all(&ends, "idle");
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// What a client of HTTP/2 begins with.
fn preface() -> Vec<u8> {
    [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
        &frame(SETTINGS, 0, 0, &[]),
    ]
    .concat()
}

/// The fields of a request: GET, http, the path, and a host.
fn fields(path: &str) -> Vec<u8> {
    let length = u8::try_from(path.len()).unwrap();
    [
        &[0x82, 0x86, 0x04, length],
        path.as_bytes(),
        b"\x01\x04test",
    ]
    .concat()
}

/// A whole request.
fn request(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &fields(path))
}

/// The next frame: its kind, its stream and what is in it.
fn next_frame(client: &mut Client) -> Option<(u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    client.read_exact(&mut head).ok()?;
    let [a, b, c, kind, _, stream @ ..] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    client.read_exact(&mut payload).ok()?;
    Some((kind, u32::from_be_bytes(stream), payload))
}

/// Why the server says goodbye, once it does.
fn goodbye(client: &mut Client) -> Option<u32> {
    while let Some((kind, _, payload)) = next_frame(client) {
        if kind == GOAWAY {
            return Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
        }
    }
    None
}

const PROTOCOL_ERROR: u32 = 1;
const REFUSED_STREAM: u32 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;

/// Sends the same again and again while it reads, until the other end closes; gives why it says it does.
fn flooded(client: Client, begin: &[u8], mut again: impl FnMut() -> Vec<u8> + Send) -> Option<u32> {
    let mut reader = client.try_clone();
    let mut client = client;
    thread::scope(|scope| {
        let reader = scope.spawn(move || goodbye(&mut reader));
        if client.write_all(begin).is_ok() {
            while client.write_all(&again()).is_ok() {}
        }
        reader.join().unwrap()
    })
}

#[test]
fn streams_that_are_opened_and_reset_at_once_end_the_connection() {
    for path in ["/url", "/wait", "/endless"] {
        let ends = besieged("", 8, |client| {
            let mut stream = 1;
            let why = flooded(client, &preface(), || {
                let mut frames = Vec::new();
                for _ in 0..100 {
                    frames.extend(request(stream, path));
                    frames.extend(frame(RESET, 0, stream, &8_u32.to_be_bytes()));
                    stream += 2;
                }
                frames
            });
            // If it comes before the reset.
            assert!(why.is_none_or(|why| why == ENHANCE_YOUR_CALM), "{why:?}");
        });
        for end in ends.iter().flatten() {
            assert!(
                ["done", "hangup"].contains(&end["outcome"].as_str().unwrap()),
                "{end}"
            );
        }
    }
}

#[test]
fn a_head_that_is_continued_without_end_is_read_up_to_a_bound() {
    let begin = [preface(), frame(HEADERS, END_STREAM, 1, &fields("/url"))].concat();
    // One field, cut in pieces that are empty, small, and as large as can be.
    for size in [0, 1, 16_384] {
        let ends = besieged("", 2, |client| {
            let piece = frame(CONTINUATION, 0, 1, &vec![0; size]);
            let why = flooded(client, &begin, || piece.repeat(1000));
            let expected = [PROTOCOL_ERROR, ENHANCE_YOUR_CALM, 9];
            assert!(why.is_none_or(|why| expected.contains(&why)), "{why:?}");
        });
        for end in ends.iter().flatten() {
            assert!(
                ["done", "hangup"].contains(&end["outcome"].as_str().unwrap()),
                "{end}"
            );
        }
    }
}

#[test]
fn fields_that_grow_when_they_are_unpacked_are_counted_as_they_are_then() {
    // A field of 4000 bytes is put in the table, and named by one byte many times over.
    let ends = besieged("", 4, |mut client| {
        let mut bomb = fields("/url");
        bomb.extend([0x40, 1, b'a', 0x7f, 0xa1, 0x1e]);
        bomb.extend([b'x'; 4000]);
        bomb.extend([0xbe; 10_000]);
        client.write_all(&preface()).unwrap();
        for stream in (1..=99).step_by(2) {
            let bomb = frame(HEADERS, END_STREAM | END_HEADERS, stream, &bomb);
            if client.write_all(&bomb).is_err() {
                break;
            }
        }
        let mut refused = 0;
        while let Some((kind, _, _)) = next_frame(&mut client) {
            refused += usize::from([HEADERS, RESET, GOAWAY].contains(&kind));
            if refused == 50 || kind == GOAWAY {
                break;
            }
        }
        assert!(refused > 0);
    });
    for end in ends.iter().flatten() {
        assert!(
            ["done", "hangup"].contains(&end["outcome"].as_str().unwrap()),
            "{end}"
        );
    }
}

#[test]
fn streams_beyond_the_bound_are_refused_and_those_within_are_served() {
    let host = host("");
    for world in WORLDS {
        let mut client = host.connect(world);
        let mut frames = preface();
        for stream in (1..=99).step_by(2) {
            frames.extend(request(stream, "/wait"));
        }
        client.write_all(&frames).unwrap();
        for _ in 16..50 {
            let refused = loop {
                match next_frame(&mut client).unwrap() {
                    (RESET, _, why) => break why,
                    (kind, ..) => assert!([SETTINGS, WINDOW].contains(&kind), "{kind}"),
                }
            };
            assert_eq!(refused, REFUSED_STREAM.to_be_bytes(), "{world}");
        }
        // One that is given up makes room.
        client
            .write_all(&frame(RESET, 0, 1, &8_u32.to_be_bytes()))
            .unwrap();
        client.write_all(&request(101, "/wait")).unwrap();
        let ping = frame(PING, 0, 0, b"and then");
        client.write_all(&ping).unwrap();
        let back = loop {
            match next_frame(&mut client).unwrap() {
                (PING, _, back) => break back,
                (kind, ..) => assert_eq!(kind, WINDOW),
            }
        };
        assert_eq!(back, b"and then");
    }
}

#[test]
fn many_answers_without_end_that_nobody_reads_take_little_of_the_host() {
    let open = Mutex::new(Vec::new());
    let ends = besieged(r#"idle = "500ms""#, 12, |mut client| {
        let most = (u32::MAX >> 1).to_be_bytes();
        let mut frames = preface();
        // As much as there can be, for each and for all.
        frames.extend(frame(SETTINGS, 0, 0, &[&[0, 4], &most[..]].concat()));
        frames.extend(frame(WINDOW, 0, 0, &(u32::MAX >> 2).to_be_bytes()));
        for stream in (1..=31).step_by(2) {
            frames.extend(request(stream, "/endless"));
        }
        client.write_all(&frames).unwrap();
        open.lock().unwrap().push(client);
    });
    all(&ends, "idle");
}

#[test]
fn bodies_that_no_guest_reads_are_taken_up_to_a_bound() {
    let ends = besieged(r#"idle = "500ms""#, 4, |mut client| {
        client.write_all(&preface()).unwrap();
        for stream in (1..=31).step_by(2) {
            let head = frame(HEADERS, END_HEADERS, stream, &fields("/wait"));
            client.write_all(&head).unwrap();
        }
        // Without regard for what it may.
        let mut stream = 1;
        while client
            .write_all(&frame(DATA, 0, stream, &[0; 16_384]))
            .is_ok()
        {
            stream = (stream + 2) % 32;
        }
    });
    for end in ends.iter().flatten() {
        // As idle, if its guests had begun to wait before it was told that this is no way.
        let outcome = end["outcome"].as_str().unwrap();
        assert!(["done", "hangup", "idle"].contains(&outcome), "{end}");
        // What came before its client heard that is read and dropped.
        assert!(end["rx"].as_u64().unwrap() < 16 << 20, "{end}");
    }
}

#[test]
fn questions_without_end_whose_answers_nobody_reads_are_no_longer_read() {
    for question in [frame(PING, 0, 0, b"and then"), frame(SETTINGS, 0, 0, &[])] {
        let ends = besieged(r#"idle = "500ms""#, 4, |mut client| {
            client.write_all(&preface()).unwrap();
            flood(&mut client, &question.repeat(1000));
        });
        for end in ends.iter().flatten() {
            let outcome = end["outcome"].as_str().unwrap();
            assert!(["done", "hangup", "idle"].contains(&outcome), "{end}");
        }
    }
}

#[test]
fn frames_that_are_none_end_their_connection() {
    let host = host("");
    for world in WORLDS {
        for bad in [
            frame(DATA, 0, 0, b"for nobody"),
            frame(HEADERS, END_HEADERS, 2, &fields("/url")),
            frame(HEADERS, END_HEADERS, 1, &[0xff; 10]),
            frame(PING, 0, 0, b"short"),
            frame(SETTINGS, 0, 0, b"short"),
            frame(WINDOW, 0, 0, &[0; 4]),
            frame(CONTINUATION, 0, 1, &[]),
            frame(DATA, 0, 1, &vec![0; 16_385]),
        ] {
            let mut client = host.connect(world);
            client
                .write_all(&[preface(), bad.clone()].concat())
                .unwrap();
            let why = goodbye(&mut client);
            assert!(why.is_some_and(|why| why > 0), "{world} {bad:?}: {why:?}");
            assert!(client.heard().is_empty());
        }
    }
}

#[test]
fn a_guest_cannot_speak_of_the_connection_or_break_out_of_a_header() {
    let host = host("");
    for world in WORLDS {
        let mut client = Web::to(&host.addresses(world)[0]);
        let answer = client.get("/forbidden");
        let expected = [
            "connection: Err(HeaderError::Forbidden)",
            "transfer-encoding: Err(HeaderError::Forbidden)",
            "upgrade: Err(HeaderError::Forbidden)",
            "keep-alive: Err(HeaderError::Forbidden)",
            "host: Err(HeaderError::Forbidden)",
            "bad name: Err(HeaderError::InvalidSyntax)",
            "fine: Ok(())",
            "split: Err(HeaderError::InvalidSyntax)",
        ];
        assert!(answer.text().lines().eq(expected), "{answer:?}");
    }
}

#[test]
fn a_guest_that_has_the_host_keep_headers_and_words_for_it_is_bounded() {
    let host = host(r#"memory = "32MiB""#);
    for world in WORLDS {
        let address = &host.addresses(world)[0];
        assert_eq!(Web::to(address).get("/count").status, 200);
        let before = peak(&host);
        let ask = |path: &str| Web::to(address).get(path);
        for path in ["/methods", "/authorities"] {
            // A hundred of a MiB each.
            assert_eq!(ask(path).text(), "100 refused\n", "{world} {path}");
        }
        let after = peak(&host);
        assert!(
            after < before + (16 << 10),
            "{world}: {after} KiB, and {before} before"
        );
        // A thousand of 64 KiB each, and no more.
        for path in ["/fields", "/handles"] {
            assert_eq!(ask(path).status, 500, "{world} {path}");
        }
        // What is too much for one answer.
        let [headers, huge] = ["/headers", "/huge-header"].map(ask);
        if world == "two" {
            assert_eq!((headers.status, huge.status), (500, 500));
        } else {
            assert!(headers.headers.len() > 100, "{headers:?}");
            assert_eq!(huge.text(), "Err(HeaderError::SizeExceeded)\n");
        }
        let after = peak(&host);
        assert!(
            after < before + (110 << 10),
            "{world}: {after} KiB, and {before} before"
        );
        let count = if world == "two" { 4 } else { 2 };
        let ends = host.logged_times(count, "their ends", |line| {
            verb(line) == "end" && line["trigger"] == world && line["outcome"] != "done"
        });
        let known = [
            "resource table has no free keys",
            "total size of fields exceeds limit",
        ];
        for end in ends {
            assert_eq!(end["outcome"], "trap", "{end}");
            assert!(known.contains(&end["reason"].as_str().unwrap()), "{end}");
        }
    }
}
