//! Components that are given HTTP requests: of WASI 0.2, an instance for each request, and of WASI 0.3,
//! an instance for each connection. Both are served HTTP/1.1 with keep-alive and HTTP/2 with prior
//! knowledge. (What a hostile client or guest can do is told in `hostile_http`.)

mod support;
#[path = "support/http.rs"]
mod web;

use std::collections::HashSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::process;
use std::thread;

use futures_util::future::join_all;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Request};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use nix::sys::signal::Signal;
use nix::unistd::getuid;
use serde_json::Value;
use support::{Client, Host, noise, verb};
use tokio::sync::mpsc;
use web::{Web, Web2, soon};

/// The trigger of each world, and the guest that serves it as it should.
const WORLDS: [(&str, &str); 2] = [
    ("two", "http-echo.component"),
    ("three", "http-async.component"),
];

/// The same with guests that misbehave in the way that the path names.
const UNRULY: [(&str, &str); 2] = [
    ("two", "unruly-http.component"),
    ("three", "unruly-http-async.component"),
];

/// A host that serves these over TCP and a unix socket, with these limits.
fn host(worlds: [(&str, &str); 2], limits: &str) -> Host {
    let triggers = worlds.map(|(world, guest)| {
        format!(
            r#"
            [trigger.{world}]
            listen = ["127.0.0.1:0", "unix:{{dir}}/{world}"]
            wasm = "{{guest:{guest}}}"
            limits = {{ connections = 20, {limits} }}
            "#
        )
    });
    Host::start(&format!(
        "[host]\nlimits = {{ connections = 20 }}\n{}",
        triggers.concat()
    ))
}

/// The most memory that the host has ever had, in KiB.
fn peak(host: &Host) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", host.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let count = line.unwrap().split_whitespace().next();
    count.unwrap().parse().unwrap()
}

/// Waits for the end of connection number `count` of `trigger`, and gives its line.
fn end(host: &Host, trigger: &str, count: usize) -> Value {
    let mut ends = host.logged_times(count, "its end", |line| {
        verb(line) == "end" && line["trigger"] == trigger
    });
    ends.remove(count - 1)
}

fn chunked(path: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n")
}

#[test]
fn the_requests_of_one_connection_meet_an_instance_each_in_02_and_the_same_one_in_03() {
    let host = host(WORLDS, "");
    for (world, counts) in [("two", ["1\n"; 3]), ("three", ["1\n", "2\n", "3\n"])] {
        for (address, ended) in host.addresses(world).iter().zip(1..) {
            let mut client = Web::to(address);
            for count in counts {
                let answer = client.get("/count");
                assert_eq!((answer.status, answer.text()), (200, count), "{address}");
            }
            // The next connection begins anew.
            let mut other = Web::to(address);
            assert_eq!(other.get("/count").text(), "1\n");
            client.half_close();
            assert!(client.is_over());
            drop(other);
            let end = end(&host, world, 2 * ended);
            assert_eq!(end["outcome"], "done", "{end}");
            assert!(
                end["rx"].as_u64() > Some(0) && end["tx"].as_u64() > Some(0),
                "{end}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_streams_of_one_http_2_connection_are_served_side_by_side() {
    let host = host(WORLDS, "");
    for (world, _) in WORLDS {
        for address in host.addresses(world) {
            let client = Web2::to(address).await;
            // A request that goes on for as long as its client does.
            let (more, body) = mpsc::channel(1);
            let body = stream::unfold(body, |mut body| async { Some((body.recv().await?, body)) });
            let request = Request::post("http://test/echo").body(StreamBody::new(body).boxed());
            let going_on = client.begin(request.unwrap()).await.unwrap();
            // And many beside it: more than are served at once.
            let bodies: Vec<_> = (1..40_usize).map(|n| noise(n * 1000)).collect();
            let answers = bodies.iter().map(|body| client.post("/echo", body.clone()));
            for (answer, body) in join_all(answers).await.into_iter().zip(&bodies) {
                assert!(answer.unwrap().body == *body, "{world}");
            }
            let counts = join_all((0..20).map(|_| client.get("/count"))).await;
            let counts: HashSet<_> = counts
                .into_iter()
                .map(|count| count.unwrap().body)
                .collect();
            assert_eq!(
                counts.len(),
                if world == "two" { 1 } else { 20 },
                "{counts:?}"
            );
            more.send(Ok(Frame::data("at last".into()))).await.unwrap();
            drop(more);
            let answer = soon(going_on.into_body().collect()).await.unwrap();
            assert_eq!(answer.to_bytes(), "at last");
        }
    }
}

#[test]
fn chunked_bodies_pass_both_ways_with_their_trailers() {
    let host = host(WORLDS, "");
    for (world, _) in WORLDS {
        let mut client = Web::to(&host.addresses(world)[0]);
        // Those who want trailers say so, and those who send them say which.
        client.send("POST /echo HTTP/1.1\r\nHost: test\r\nTE: trailers\r\nTrailer: sum\r\n");
        client.send("Transfer-Encoding: chunked\r\n\r\n");
        let data = noise(300_000);
        for chunk in data.chunks(99_991) {
            client.send(format!("{:x};an=extension\r\n", chunk.len()));
            client.send(chunk);
            client.send("\r\n");
        }
        client.send("0\r\nsum: 42\r\nother: nobody spoke of it\r\n\r\n");
        let answer = client.answer();
        assert_eq!(
            answer.header("transfer-encoding"),
            Some("chunked"),
            "{world}"
        );
        assert!(answer.body == data, "{world}");
        assert_eq!(
            answer.trailers,
            [("sum".to_owned(), "42".to_owned())],
            "{world}"
        );

        let answer = client.get("/stream");
        let lines: Vec<_> = (1..=10).map(|n| format!("chunk {n}\n")).collect();
        assert_eq!(answer.text(), lines.concat(), "{world}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_pass_both_ways_over_http_2() {
    let host = host(WORLDS, "");
    for (world, _) in WORLDS {
        let client = Web2::to(&host.addresses(world)[0]).await;
        let trailers = HeaderMap::from_iter([(
            http::HeaderName::from_static("sum"),
            HeaderValue::from_static("42"),
        )]);
        let frames = [Frame::data("data".into()), Frame::trailers(trailers)].map(Ok);
        let body = StreamBody::new(stream::iter(frames)).boxed();
        let request = Request::post("http://test/echo")
            .header("trailer", "sum")
            .body(body);
        let answer = client.request(request.unwrap()).await.unwrap();
        assert_eq!(answer.text(), "data", "{world}");
        assert_eq!(
            answer.trailers,
            [("sum".to_owned(), "42".to_owned())],
            "{world}"
        );
    }
}

#[test]
fn a_hundred_mib_go_up_and_down_and_take_no_memory_of_the_host() {
    let host = host(WORLDS, "");
    let much: usize = 100 << 20;
    let piece = noise(1 << 20);
    for (world, _) in WORLDS {
        let address = &host.addresses(world)[0];
        let mut client = Web::to(address);
        client.post("/sum", &piece);
        client.post("/echo", &piece);
        let before = peak(&host);

        client.send(format!(
            "POST /sum HTTP/1.1\r\nHost: test\r\nContent-Length: {much}\r\n\r\n"
        ));
        for _ in 0..100 {
            client.send(&piece);
        }
        assert_eq!(client.answer().text(), format!("{much}\n"), "{world}");

        client.send(chunked("/sum"));
        for _ in 0..100 {
            client.send(format!("{:x}\r\n", piece.len()));
            client.send(&piece);
            client.send("\r\n");
        }
        client.send("0\r\n\r\n");
        assert_eq!(client.answer().text(), format!("{much}\n"), "{world}");

        // Up and down at the same time.
        let mut sender = Client::to(address);
        let mut receiver = Web::over(sender.try_clone());
        thread::scope(|scope| {
            scope.spawn(|| {
                sender.write_all(chunked("/echo").as_bytes()).unwrap();
                for _ in 0..100 {
                    write!(sender, "{:x}\r\n", piece.len()).unwrap();
                    sender.write_all(&piece).unwrap();
                    sender.write_all(b"\r\n").unwrap();
                }
                sender.write_all(b"0\r\n\r\n").unwrap();
            });
            let mut echoed = receiver.answer().body;
            assert_eq!(echoed.len(), much);
            assert!(
                echoed.chunks(piece.len()).all(|echoed| echoed == piece),
                "{world}"
            );
            echoed.clear();
        });
        let after = peak(&host);
        assert!(
            after < before + (8 << 10),
            "{world}: {after} KiB, and {before} before"
        );
    }
}

#[test]
fn a_client_that_sends_and_reads_byte_by_byte_is_served() {
    let host = host(WORLDS, "");
    for (world, _) in WORLDS {
        let mut client = host.connect(world);
        let request = chunked("/echo") + "3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n";
        for byte in request.as_bytes().chunks(1) {
            client.write_all(byte).unwrap();
        }
        let mut heard = Vec::new();
        while !heard.ends_with(b"\r\n0\r\n\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte).unwrap();
            heard.extend(byte);
        }
        assert!(heard.starts_with(b"HTTP/1.1 200 OK\r\n"), "{world}");
    }
}

#[test]
fn a_guest_is_told_who_its_client_is_by_the_host_and_not_by_the_client() {
    let host = host(WORLDS, "");
    let by_unix = format!("unix:uid={},pid={}", getuid(), process::id());
    for (world, _) in WORLDS {
        for address in host.addresses(world) {
            let client = Client::to(address);
            let remote = match &client {
                Client::Tcp(stream) => Some(stream.local_addr().unwrap()),
                Client::Unix(_) => None,
            };
            let mut client = Web::over(client);
            client.send("GET /headers HTTP/1.1\r\nHost: test\r\nPortcullis-Peer: 10.0.0.1:1\r\n");
            client.send("PORTCULLIS-PEER: 10.0.0.2:2\r\nx-real: kept\r\nTE: trailers\r\n\r\n");
            let answer = client.answer();
            let told: Vec<_> = answer
                .text()
                .lines()
                .filter_map(|line| line.strip_prefix("portcullis-peer: "))
                .collect();
            let peer = remote.map_or(by_unix.clone(), |remote| remote.to_string());
            assert_eq!(told, [&*peer], "{address}");
            assert!(answer.text().contains("x-real: kept\n"), "{answer:?}");

            let answer = client.get("/env");
            let variable = |name: &str| {
                let mut lines = answer.text().lines();
                lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            };
            let ip = remote.map(|remote| remote.ip().to_string());
            let port = remote.map(|remote| remote.port().to_string());
            assert_eq!(variable("REMOTE_ADDR"), ip.as_deref(), "{address}");
            assert_eq!(variable("REMOTE_PORT"), port.as_deref(), "{address}");
            assert_eq!(variable("UPSTART_JOB"), Some(world));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_is_told_what_was_asked_for() {
    let host = host(UNRULY, "");
    for (world, _) in UNRULY {
        let address = &host.addresses(world)[0];
        let mut client = Web::to(address);
        let mut asked = |request: &str| {
            client.send(request);
            client.answer().text().to_owned()
        };
        let url = "Method::Get Some(Scheme::Http) example.org:8080 /url\n";
        assert_eq!(
            asked("GET /url HTTP/1.1\r\nHost: example.org:8080\r\n\r\n"),
            url,
            "{world}"
        );
        // What a proxy is asked: the header says nothing then.
        let request = "GET http://example.org:8080/url HTTP/1.1\r\nHost: other\r\n\r\n";
        assert_eq!(asked(request), url, "{world}");
        let ping = "PING /url HTTP/1.1\r\nHost: [::1]\r\n\r\n";
        assert_eq!(
            asked(ping),
            "Method::Other(\"PING\") Some(Scheme::Http) [::1] /url\n",
            "{world}"
        );
        assert_eq!(
            asked("OPTIONS * HTTP/1.1\r\nHost: test\r\n\r\n"),
            "what?\n",
            "{world}"
        );

        let client = Web2::to(address).await;
        let answer = client.get("/url").await.unwrap();
        assert_eq!(
            answer.text(),
            "Method::Get Some(Scheme::Http) test /url\n",
            "{world}"
        );
    }
}

#[test]
fn http_1_0_is_answered_without_a_host_and_its_connection_is_closed() {
    let host = host(UNRULY, "");
    for (world, _) in UNRULY {
        let address = &host.addresses(world)[0];
        let mut client = Web::to(address);
        client.send("GET /url HTTP/1.0\r\n\r\n");
        let head = client.head().unwrap();
        assert_eq!((head.status, head.header("transfer-encoding")), (200, None));
        let url = format!("Method::Get Some(Scheme::Http) {address} /url\n");
        assert_eq!(String::from_utf8(client.rest()).unwrap(), url, "{world}");
        assert_eq!(end(&host, world, 1)["outcome"], "done");
    }
}

#[test]
fn a_client_that_expects_a_100_is_told_to_continue_when_its_body_is_wanted() {
    let host = host(WORLDS, "");
    for (world, _) in WORLDS {
        let mut client = Web::to(&host.addresses(world)[0]);
        client.send("POST /sum HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\n");
        client.send("Content-Length: 4\r\n\r\n");
        assert_eq!(client.head().unwrap().status, 100, "{world}");
        client.send("body");
        assert_eq!(client.answer().text(), "4\n", "{world}");

        // Who does not want the body does not have it sent.
        client.send("POST /nowhere HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\n");
        client.send("Content-Length: 4\r\n\r\n");
        assert_eq!(client.answer().status, 404, "{world}");
    }
}

#[test]
fn requests_that_come_all_at_once_are_answered_in_their_order() {
    let host = host(WORLDS, "");
    for (world, _) in WORLDS {
        let mut client = Web::to(&host.addresses(world)[0]);
        let requests: Vec<_> = (0..50)
            .map(|n| {
                let body = format!("request {n}");
                let length = body.len();
                format!(
                    "POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n{body}"
                )
            })
            .collect();
        client.send(requests.concat());
        for n in 0..50 {
            assert_eq!(client.answer().text(), format!("request {n}"), "{world}");
        }
    }
}

#[test]
fn a_head_request_is_answered_without_a_body_and_the_connection_goes_on() {
    let host = host(UNRULY, "");
    for (world, _) in UNRULY {
        let mut client = Web::to(&host.addresses(world)[0]);
        client.send("HEAD /url HTTP/1.1\r\nHost: test\r\n\r\n");
        assert_eq!(client.head().unwrap().status, 200, "{world}");
        assert_eq!(client.get("/count").status, 200, "{world}");
    }
}

/// What a client hears of a guest that fails, and what the log says.
fn fails(ways: &[(&str, u16, &str)], limits: &str) {
    let host = host(UNRULY, limits);
    for (world, _) in UNRULY {
        for ((way, status, outcome), count) in ways.iter().zip(1..) {
            let mut client = Web::to(&host.addresses(world)[0]);
            assert_eq!(client.get("/count").text(), "1\n");
            let answer = client.get(way);
            assert_eq!(
                (answer.status, answer.text()),
                (*status, ""),
                "{world} {way}"
            );
            if world == "two" {
                // Its place is taken by a fresh one.
                assert_eq!(client.get("/count").text(), "1\n", "{way}");
                client.half_close();
            } else {
                // Who could answer once more is gone.
                assert!(answer.is_last(), "{way}: {answer:?}");
            }
            assert!(client.is_over(), "{world} {way}");
            let end = end(&host, world, count);
            assert_eq!(end["outcome"], *outcome, "{world} {way}: {end}");
        }
    }
}

#[test]
fn a_guest_that_fails_before_it_answers_is_a_500_and_a_word_in_the_log() {
    fails(
        &[
            ("/trap", 500, "trap"),
            ("/panic", 500, "trap"),
            ("/exit", 500, "exit(1)"),
        ],
        "",
    );
    fails(&[("/spin", 500, "cpu")], r#"cpu = "200ms""#);
}

#[test]
fn a_guest_that_answers_with_an_error_is_a_502_and_goes_on() {
    let host = host(UNRULY, "");
    for (world, _) in UNRULY {
        let mut client = Web::to(&host.addresses(world)[0]);
        let answer = client.get("/error");
        assert_eq!((answer.status, answer.text()), (502, ""), "{world}");
        assert_eq!(client.get("/url").status, 200);
        client.half_close();
        assert!(client.is_over());
        assert_eq!(end(&host, world, 1)["outcome"], "done");
    }
}

#[test]
fn a_guest_that_ends_without_an_answer_is_a_500() {
    let host = host(UNRULY, "");
    let mut client = Web::to(&host.addresses("two")[0]);
    assert_eq!(client.get("/silent").status, 500);
    assert_eq!(client.get("/url").status, 200);
    client.half_close();
    assert!(client.is_over());
    assert_eq!(end(&host, "two", 1)["outcome"], "done");
}

#[test]
fn a_guest_that_runs_out_of_memory_is_a_500() {
    let host = host(UNRULY, r#"memory = "16MiB""#);
    let mut client = Web::to(&host.addresses("two")[0]);
    assert_eq!(client.get("/grow").status, 500);
    client.half_close();
    assert!(client.is_over());
    assert_eq!(end(&host, "two", 1)["outcome"], "memory");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_does_not_look_whole() {
    let host = host(UNRULY, "");
    for (world, _) in UNRULY {
        for (way, outcome) in [
            ("/late-trap", "trap"),
            ("/unfinished", "done"),
            ("/short", "done"),
        ] {
            for address in host.addresses(world) {
                let mut client = Web::to(address);
                client.send(format!("GET {way} HTTP/1.1\r\nHost: test\r\n\r\n"));
                assert!(client.heard().is_none(), "{world} {way}");
                let client = Web2::to(address).await;
                assert!(client.get(way).await.is_err(), "{world} {way}");
            }
            let ends = host.logged_times(1, "its end", |line| {
                verb(line) == "end" && line["trigger"] == world && line["outcome"] == outcome
            });
            assert_eq!(ends[0]["outcome"], outcome, "{world} {way}");
        }
    }
}

#[test]
fn a_guest_that_never_answers_is_ended_by_the_deadline_or_for_idleness() {
    for (limits, outcome) in [
        (r#"deadline = "300ms""#, "deadline"),
        (r#"idle = "300ms""#, "idle"),
    ] {
        let host = host(UNRULY, limits);
        for (world, _) in UNRULY {
            for (way, count) in [("/wait", 1), ("/late-wait", 2)] {
                let mut client = Web::to(&host.addresses(world)[0]);
                client.send(format!("GET {way} HTTP/1.1\r\nHost: test\r\n\r\n"));
                assert!(client.heard().is_none(), "{world} {way}");
                assert_eq!(
                    end(&host, world, count)["outcome"],
                    outcome,
                    "{world} {way}"
                );
            }
        }
    }
}

#[test]
fn a_connection_that_is_kept_alive_for_nothing_ends_as_idle() {
    let host = host(WORLDS, r#"idle = "300ms""#);
    for (world, _) in WORLDS {
        let mut client = Web::to(&host.addresses(world)[0]);
        assert_eq!(client.get("/hello").status, 200);
        assert!(client.is_over());
        assert_eq!(end(&host, world, 1)["outcome"], "idle");
        // Nor need a client say anything at all.
        assert!(Web::to(&host.addresses(world)[0]).is_over());
        assert_eq!(end(&host, world, 2)["outcome"], "idle");
    }
}

#[test]
fn a_guest_may_go_on_when_its_client_has_the_answer() {
    let host = host(UNRULY, "");
    for (world, _) in UNRULY {
        let mut client = Web::to(&host.addresses(world)[0]);
        assert_eq!(client.get("/after").text(), "that is all\n");
        host.logged("what it says then", |line| {
            line["trigger"] == world && line["line"] == "after the answer"
        });
    }
}

#[test]
fn a_client_of_03_is_sent_on_to_a_new_connection_before_the_time_of_its_instance_runs_out() {
    let host = host(UNRULY, r#"cpu = "400ms""#);
    let mut served = 0;
    for connection in 1..=3 {
        let mut client = Web::to(&host.addresses("three")[0]);
        loop {
            // A twentieth of a second of work.
            let answer = client.get("/work");
            assert_eq!(answer.status, 200);
            served += 1;
            if answer.is_last() {
                break;
            }
            assert!(served < 30, "never sent on");
        }
        assert!(client.is_over());
        let end = end(&host, "three", connection);
        assert_eq!(end["outcome"], "done", "{end}");
    }
    assert!(served >= 6, "{served} requests of three connections");
}

#[test]
fn the_instances_of_one_connection_may_say_no_more_than_one_together() {
    let host = host(UNRULY, "");
    let mut client = Web::to(&host.addresses("two")[0]);
    for _ in 0..3 {
        // Each says 200 KB.
        assert_eq!(client.get("/log").text(), "logged\n");
    }
    let said = host.said("two");
    let bytes: usize = said.iter().map(|(_, line)| line.len()).sum();
    assert!((200_000..=256 * 1024).contains(&bytes), "{bytes}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_lets_requests_finish_and_closes_what_is_kept_alive() {
    let host = host(WORLDS, "");
    let mut idle = Vec::new();
    let mut busy = Vec::new();
    for (world, _) in WORLDS {
        let address = &host.addresses(world)[0];
        let mut client = Web::to(address);
        assert_eq!(client.get("/hello").status, 200);
        idle.push(client);
        // One that has not said a word yet.
        idle.push(Web::to(address));
        let mut client = Web::to(address);
        client.send(chunked("/echo") + "4\r\nhere\r\n");
        assert_eq!(client.head().unwrap().status, 200);
        assert_eq!(client.line().as_deref(), Some("4"));
        busy.push(client);
    }
    let (more, body) = mpsc::channel(1);
    let body = stream::unfold(body, |mut body| async { Some((body.recv().await?, body)) });
    let request = Request::post("http://test/echo").body(StreamBody::new(body).boxed());
    let two = Web2::to(&host.addresses("two")[0]).await;
    let going_on = two.begin(request.unwrap()).await.unwrap();
    // So that all of them are accepted.
    host.logged_times(7, "seven clients", |line| verb(line) == "accept");

    host.signal(Signal::SIGTERM);
    host.logged("the drain", |line| verb(line) == "drain");
    for mut client in idle {
        assert!(client.is_over());
    }
    for mut client in busy {
        client.send("4\r\nover\r\n0\r\n\r\n");
        let rest = String::from_utf8(client.rest()).unwrap();
        assert_eq!(rest, "here\r\n4\r\nover\r\n0\r\n\r\n");
    }
    more.send(Ok(Frame::data("at last".into()))).await.unwrap();
    drop(more);
    let answer = soon(going_on.into_body().collect()).await.unwrap();
    assert_eq!(answer.to_bytes(), "at last");
    two.is_over().await;
    let mut host = host;
    assert_eq!(host.wait().code(), Some(0));
    let ends = host.logged_times(7, "seven ends", |line| verb(line) == "end");
    assert!(ends.iter().all(|end| end["outcome"] == "done"), "{ends:#?}");
}

#[test]
fn what_outlives_the_grace_period_is_cut() {
    let host = Host::start(
        r#"
        [host]
        grace = "100ms"
        [trigger.two]
        listen = "127.0.0.1:0"
        wasm = "{guest:unruly-http.component}"
        "#,
    );
    let mut client = Web::to(&host.addresses("two")[0]);
    client.send("GET /late-wait HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.head().unwrap().status, 200);
    host.signal(Signal::SIGTERM);
    assert_eq!(client.rest(), b"6\r\nso far\r\n");
    let mut host = host;
    assert_eq!(host.wait().code(), Some(0));
    assert_eq!(end(&host, "two", 1)["outcome"], "drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_over_http_2_takes_no_memory_of_the_host() {
    let host = host(WORLDS, "");
    let piece = bytes::Bytes::from(noise(1 << 20));
    for (world, _) in WORLDS {
        let client = Web2::to(&host.addresses(world)[0]).await;
        let whole = Full::new(piece.clone()).boxed();
        client
            .request(Request::post("http://test/sum").body(whole).unwrap())
            .await
            .unwrap();
        let before = peak(&host);
        let pieces = vec![piece.clone(); 100];
        let body = StreamBody::new(stream::iter(pieces.into_iter().map(|p| Ok(Frame::data(p)))));
        let request = Request::post("http://test/sum").body(body.boxed()).unwrap();
        let answer = client.request(request).await.unwrap();
        assert_eq!(answer.text(), format!("{}\n", 100 << 20), "{world}");
        let after = peak(&host);
        assert!(
            after < before + (8 << 10),
            "{world}: {after} KiB, and {before} before"
        );
    }
}
