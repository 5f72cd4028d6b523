//! The main job: a connection, a fresh sandbox, an echo.

mod support;

use support::Host;

#[test]
fn what_a_client_sends_to_an_echo_guest_comes_back_over_every_family() {
    let host = Host::start(
        r#"
        [trigger.echo]
        listen = ["127.0.0.1:0", "[::1]:0", "unix:{dir}/echo", "unix:@portcullis-echo"]
        wasm = "{guest:echo}"
        "#,
    );
    for address in host.addresses("echo") {
        assert_eq!(
            support::Client::to(address).ask(b"Hello, World!"),
            b"Hello, World!"
        );
    }
    let ends = host.logged_times(4, "four ends", |line| support::verb(line) == "end");
    for end in ends {
        assert_eq!(
            (&end["outcome"], &end["rx"], &end["tx"]),
            (&"done".into(), &13.into(), &13.into())
        );
    }
    assert!(host.stop().success());
}
