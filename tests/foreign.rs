//! HTTP components that nobody here wrote: examples of published crates, as they were published. What
//! `wasmtime serve` serves, a trigger serves unchanged.

mod support;
#[path = "support/http.rs"]
mod web;

use std::fs;
use std::path::Path;
use std::process::Command;

use support::{Host, noise};
use tempfile::TempDir;
use web::{Web, Web2};

/// The example server of the crate wstd, in WASI 0.2, and the one of the crate wasip3, in WASI 0.3.
fn host() -> Host {
    Host::start(
        r#"
        [trigger.wstd]
        listen = ["127.0.0.1:0", "unix:{dir}/wstd"]
        wasm = "{guest:foreign-http-02.component}"
        [trigger.wasip3]
        listen = ["127.0.0.1:0", "unix:{dir}/wasip3"]
        wasm = "{guest:foreign-http-03.component}"
        "#,
    )
}

/// What curl hears; it has to be content.
fn curl(dir: &Path, args: &[&str]) -> String {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--noproxy", "*"])
        .args(["--max-time", "60"])
        .args(args)
        .current_dir(dir);
    let heard = curl.output().expect("curl has to be installed");
    assert!(heard.status.success(), "curl {args:?}: {heard:?}");
    String::from_utf8(heard.stdout).unwrap()
}

/// A folder with a file of this size to send.
fn upload(size: usize) -> (TempDir, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let data = noise(size);
    fs::write(dir.path().join("up"), &data).unwrap();
    (dir, data)
}

#[test]
fn curl_hears_them_over_one_connection_over_http_2_and_over_a_unix_socket() {
    let host = host();
    let dir = host.dir.path();
    for (trigger, said) in [
        ("wstd", "Hello, wasi:http/proxy world!\n"),
        ("wasip3", "Hello, WASI!"),
    ] {
        let [inet, unix] = host.addresses(trigger) else {
            panic!("two addresses")
        };
        let url = format!("http://{inet}/");
        // How many connections each took, and which version it spoke.
        let write = ["--write-out", "[%{num_connects} %{http_version}]"];
        let again = [&write[..], &[&url, &url, &url]].concat();
        let heard = format!("{said}[1 1.1]{said}[0 1.1]{said}[0 1.1]");
        assert_eq!(curl(dir, &again), heard);
        let second = [&write[..], &["--http2-prior-knowledge", &url]].concat();
        assert_eq!(curl(dir, &second), format!("{said}[1 2]"));
        let path = unix.strip_prefix("unix:").unwrap();
        assert_eq!(curl(dir, &["--unix-socket", path, "http://any/"]), said);
        assert_eq!(curl(dir, &["--http1.0", &url]), said);
    }
}

#[test]
fn what_curl_sends_in_chunks_comes_back_in_chunks_bit_for_bit() {
    let host = host();
    let (dir, data) = upload(3 << 20);
    let dir = dir.path();
    let url = format!("http://{}/echo", host.addresses("wstd")[0]);
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let chunks = ["--header", "Transfer-Encoding: chunked"];
        let body = [
            "--data-binary",
            "@up",
            "--output",
            "down",
            "--dump-header",
            "-",
        ];
        let heads = curl(dir, &[&[version][..], &chunks, &body, &[&url]].concat());
        assert_eq!(
            heads.contains("transfer-encoding: chunked"),
            version == "--http1.1",
            "{heads}"
        );
        assert!(fs::read(dir.join("down")).unwrap() == data, "{version}");
    }
}

#[test]
fn a_hundred_mib_go_up_and_down_at_once() {
    let host = host();
    let (dir, data) = upload(100 << 20);
    let url = format!("http://{}/echo", host.addresses("wstd")[0]);
    curl(
        dir.path(),
        &[
            "--upload-file",
            "up",
            "--request",
            "POST",
            "--output",
            "down",
            &url,
        ],
    );
    assert!(fs::read(dir.path().join("down")).unwrap() == data);
}

#[test]
fn a_slow_curl_is_served() {
    let host = host();
    let (dir, data) = upload(1 << 20);
    let url = format!("http://{}/echo", host.addresses("wstd")[0]);
    let slowly = [
        "--limit-rate",
        "2M",
        "--data-binary",
        "@up",
        "--output",
        "down",
        &url,
    ];
    curl(dir.path(), &slowly);
    assert!(fs::read(dir.path().join("down")).unwrap() == data);
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_statuses_and_trailers_are_what_they_were_where_it_was_written() {
    let host = host();
    let address = &host.addresses("wstd")[0];
    let mut client = Web::to(address);
    client.send("GET /echo-headers HTTP/1.1\r\nHost: test\r\nx-red: 1\r\nx-red: 2\r\n\r\n");
    let answer = client.answer();
    let red: Vec<_> = answer
        .headers
        .iter()
        .filter(|(name, _)| name == "x-red")
        .collect();
    assert_eq!(red.len(), 2, "{answer:?}");
    client.send("GET /response-status HTTP/1.1\r\nHost: test\r\nx-response-status: 302\r\n\r\n");
    let answer = client.answer();
    assert_eq!(
        (answer.status, answer.header("location").is_some()),
        (302, true)
    );
    assert_eq!(client.get("/response-fail").status, 502);
    assert_eq!(client.get("/nowhere").status, 404);

    let client = Web2::to(address).await;
    let answer = client.post("/echo-trailers", "no trailers").await.unwrap();
    assert_eq!(
        answer.trailers,
        [("x-no-trailers".to_owned(), "1".to_owned())]
    );
    assert!(client.get("/response-body-fail").await.is_err());
    // What it prints is in the log.
    host.logged("its output", |line| {
        line["line"] == "serving /echo-trailers"
    });
}
