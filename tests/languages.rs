//! Guests in languages whose tools take Node.js and time to install, and whose guests take time to compile:
//! `guests/build --languages` builds them, `scripts/test --languages` runs this. Guests in other languages are in
//! `guests`.

mod support;

use std::fs;
use std::io::Write as _;
use std::net::Shutdown;
use std::path::Path;
use std::process::Command;
use std::thread;

use support::{Client, Host, noise, verb};
use tempfile::TempDir;

/// More than all the buffers hold between a client and a guest and back, and than a guest may have of memory.
const MUCH: usize = 100 << 20;

#[test]
#[ignore = "wants guests/build --languages: scripts/test --languages"]
fn echoes_in_python_javascript_and_assemblyscript_give_back_every_byte_over_every_family() {
    let guests = [
        ("python", "python-echo.component"),
        ("javascript", "js-echo.component"),
        ("assemblyscript", "assemblyscript-echo"),
    ];
    let pid = std::process::id();
    let triggers = guests.map(|(name, guest)| {
        format!(
            r#"
            [trigger.{name}]
            listen = ["127.0.0.1:0", "[::1]:0", "unix:{{dir}}/{name}", "unix:@portcullis-{name}-{pid}"]
            wasm = "{{guest:{guest}}}"
            "#
        )
    });
    let host = Host::start_slowly(&triggers.concat());
    let data = noise(1 << 20);
    for (name, _) in guests {
        for address in host.addresses(name) {
            let mut client = Client::to(address);
            client.echo(b"Hello, World!");
            client.echo(&[0, 255, 13, 10, 26, 4]);
            assert!(client.exchange(&data) == data, "{name} at {address}");
        }
        let mut last = host.connect(name);
        last.write_all(b"last word").unwrap();
        last.shutdown(Shutdown::Write);
        assert_eq!(last.rest(), b"last word", "{name}");
        let much = noise(MUCH);
        assert!(host.connect(name).exchange(&much) == much, "{name}");

        let ends = host.logged_times(6, "six ends", |line| {
            verb(line) == "end" && line["trigger"] == name
        });
        for end in ends {
            assert_eq!(end["outcome"], "done", "{end}");
            assert_eq!(end["rx"], end["tx"], "{end}");
        }
        assert_eq!(host.said(name), [], "an echo has nothing to complain of");
    }
    assert!(host.stop().success());
}

/// What curl hears; it has to be content.
fn curl(dir: &Path, args: &[&str]) -> String {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--noproxy", "*"])
        .args(["--max-time", "300", "--write-out", " %{http_code}"])
        .args(args)
        .current_dir(dir);
    let heard = curl.output().expect("curl has to be installed");
    assert!(heard.status.success(), "curl {args:?}: {heard:?}");
    String::from_utf8(heard.stdout).unwrap()
}

/// A folder with files of three sizes.
fn uploads() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("large"), noise(MUCH)).unwrap();
    fs::write(dir.path().join("medium"), noise(6 << 20)).unwrap();
    fs::write(dir.path().join("small"), noise(300_000)).unwrap();
    dir
}

#[test]
#[ignore = "wants guests/build --languages: scripts/test --languages"]
fn web_services_in_python_and_javascript_answer_curl_and_pass_bodies_on_as_they_come() {
    let guests = [
        ("Python", "python-web.component"),
        ("JavaScript", "js-web.component"),
    ];
    // The default is all the memory they have: what they are sent is more.
    let triggers = guests.map(|(name, guest)| {
        format!(
            r#"
            [trigger.{name}]
            listen = "127.0.0.1:0"
            wasm = "{{guest:{guest}}}"
            limits = {{ memory = "64MiB" }}
            "#
        )
    });
    let host = Host::start_slowly(&triggers.concat());
    let uploads = uploads();
    let dir = uploads.path();
    for (name, _) in guests {
        let base = format!("http://{}", host.addresses(name)[0]);
        let (hello, echo, sum) = (
            format!("{base}/hello"),
            format!("{base}/echo"),
            format!("{base}/sum"),
        );
        assert_eq!(curl(dir, &[&hello]), format!("hello from {name}\n 200"));
        // One connection, three requests; and the older client, and the newer one.
        assert_eq!(
            curl(dir, &[&hello, &hello, &hello]),
            format!("hello from {name}\n 200").repeat(3)
        );
        for version in ["--http1.0", "--http2-prior-knowledge"] {
            assert_eq!(
                curl(dir, &[version, &hello]),
                format!("hello from {name}\n 200")
            );
        }
        assert!(curl(dir, &[&base]).ends_with(" 404"));
        let send = |file: &str, more: &[&str], to: &str| {
            let upload = format!("@{file}");
            let mut args = vec!["--data-binary", &*upload, "--header", "Expect:"];
            args.extend(more);
            args.push(to);
            curl(dir, &args)
        };
        let chunked = ["--header", "Transfer-Encoding: chunked"];
        for more in [&[][..], &chunked, &["--http2-prior-knowledge"]] {
            assert_eq!(
                send("small", more, &sum),
                "300000\n 200",
                "{name}: {more:?}"
            );
            let back = [more, &["--output", "back"]].concat();
            assert_eq!(send("small", &back, &echo), " 200", "{name}: {more:?}");
            assert!(same(dir, "small", "back"), "{name}: {more:?}");
        }
        // The engine of JavaScript keeps a handle for every 8 KiB that a program itself reads of a body.
        let read = if name == "JavaScript" {
            "medium"
        } else {
            "large"
        };
        let length = fs::metadata(dir.join(read)).unwrap().len();
        assert_eq!(send(read, &[], &sum), format!("{length}\n 200"), "{name}");
        let back = ["--output", "back"];
        assert_eq!(send("large", &back, &echo), " 200", "{name}");
        assert!(same(dir, "large", "back"), "{name}");

        answers_while_it_listens(&host, name);
        several_at_once(&host, name);
        let ends = host.log();
        for end in ends
            .iter()
            .filter(|line| verb(line) == "end" && line["trigger"] == name)
        {
            assert_eq!(end["outcome"], "done", "{end}");
        }
    }
    assert!(host.stop().success());
}

fn same(dir: &Path, one: &str, other: &str) -> bool {
    fs::read(dir.join(one)).unwrap() == fs::read(dir.join(other)).unwrap()
}

/// The echo of a body comes before the body has ended.
fn answers_while_it_listens(host: &Host, name: &str) {
    let mut client = host.connect(name);
    client
        .write_all(b"POST /echo HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
        .unwrap();
    client.write_all(b"7\r\nfirst, \r\n").unwrap();
    assert_eq!(client.line(), "HTTP/1.1 200 OK\r", "{name}");
    while client.line() != "\r" {}
    assert_eq!(chunk(&mut client), b"first, ", "{name}");
    client.write_all(b"4\r\nlast\r\n0\r\n\r\n").unwrap();
    assert_eq!(chunk(&mut client), b"last", "{name}");
    assert_eq!(chunk(&mut client), b"", "{name}");
    assert!(client.is_over(), "{name}");
}

/// The next chunk of a body.
fn chunk(client: &mut Client) -> Vec<u8> {
    let length = usize::from_str_radix(client.line().trim_end(), 16).unwrap();
    let mut chunk = client.bytes(length + 2);
    chunk.truncate(length);
    chunk
}

/// Each request has a guest of its own, also when there are many.
fn several_at_once(host: &Host, name: &str) {
    let address = &host.addresses(name)[0];
    thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                let hello = format!("http://{address}/hello");
                let heard = curl(Path::new("/"), &[&hello]);
                assert_eq!(heard, format!("hello from {name}\n 200"));
            });
        }
    });
}
