//! Admission: who is let in, decided before anything is started. Rules of access, rates and their
//! bursts, what refused clients hear, and that no burst ever ends a trigger. Among these are the
//! behaviours that NetBSD's inetd and systemd publish as tests of theirs.

mod support;

use std::io::{ErrorKind, Write as _};
use std::net::Shutdown;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::sys::signal::Signal;
use nix::unistd::{Group, User, getegid, geteuid};
use serde_json::Value;
use support::{Client, Host, verb};

const OTHER: &str = r#"
    [trigger.other]
    listen = "127.0.0.1:0"
    wasm = "{guest:echo}"
"#;

/// How the drain of a trigger tells what came to it.
fn numbers(host: &Host, trigger: &str) -> Value {
    host.signal(Signal::SIGTERM);
    host.logged("its numbers", |line| {
        verb(line) == "drain" && line["trigger"] == trigger
    })
}

/// Lines of a trigger with this verb, so far.
fn lines(host: &Host, what: &str, trigger: &str) -> Vec<Value> {
    let log = host.log().into_iter();
    log.filter(|line| verb(line) == what && line["trigger"] == trigger)
        .collect()
}

/// Waits until a client of another trigger was served and that is in the log: the host has had its turn.
fn a_turn_later(host: &Host) {
    let served = lines(host, "end", "other").len();
    assert_eq!(host.ask("other", b"alive"), b"alive");
    host.logged_times(served + 1, "the newcomer's end", |line| {
        verb(line) == "end" && line["trigger"] == "other"
    });
}

/// Whether nothing has come yet, not even an end.
fn is_waiting(client: &Client) -> bool {
    let looked = match client {
        Client::Tcp(stream) => {
            stream.set_nonblocking(true).unwrap();
            let looked = stream.peek(&mut [0]);
            stream.set_nonblocking(false).unwrap();
            looked
        }
        Client::Unix(stream) => {
            stream.set_nonblocking(true).unwrap();
            let looked = rustix::net::recv(stream, &mut [0], rustix::net::RecvFlags::PEEK);
            stream.set_nonblocking(false).unwrap();
            looked.map(|(count, _)| count).map_err(Into::into)
        }
    };
    looked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

#[test]
fn the_longest_prefix_says_who_is_let_in() {
    let host = Host::start(
        r#"
        [trigger.rules]
        listen = ["127.0.0.1:0", "[::1]:0", "unix:{dir}/rules"]
        wasm = "{guest:echo}"
        allow = ["127.0.0.0/8", "127.1.2.3"]
        deny = ["127.1.0.0/16"]
        "#,
    );
    let [inet, inet6, unix] = host.addresses("rules") else {
        panic!("three addresses")
    };
    for admitted in [[127, 0, 0, 1], [127, 1, 2, 3], [127, 255, 255, 254]] {
        Client::from(admitted, inet).echo(b"let in");
    }
    for refused in [[127, 1, 0, 1], [127, 1, 2, 2], [127, 1, 255, 255]] {
        assert!(Client::from(refused, inet).is_over(), "{refused:?}");
    }
    // Whoever no rule fits is refused where something is allowed.
    assert!(Client::to(inet6).is_over());
    assert!(Client::to(unix).is_over());
    let rejects = host.logged_times(5, "five rejects", |line| verb(line) == "reject");
    assert!(rejects.iter().all(|line| line["reason"] == "denied"));
    assert!(
        rejects[0]["peer"]
            .as_str()
            .unwrap()
            .starts_with("127.1.0.1:")
    );
    let numbers = numbers(&host, "rules");
    assert_eq!(
        (&numbers["accepted"], &numbers["denied"]),
        (&3.into(), &5.into())
    );
}

#[test]
fn only_who_is_denied_is_refused_when_nothing_is_allowed_in_so_many_words() {
    let host = Host::start(
        r#"
        [trigger.rules]
        listen = ["127.0.0.1:0", "[::1]:0", "unix:{dir}/rules"]
        script = "exec cat"
        accept = true
        deny = ["127.0.0.2", "::/0"]
        "#,
    );
    let [inet, inet6, unix] = host.addresses("rules") else {
        panic!("three addresses")
    };
    assert!(Client::from([127, 0, 0, 2], inet).is_over());
    assert!(Client::to(inet6).is_over());
    Client::from([127, 0, 0, 3], inet).echo(b"let in");
    Client::to(unix).echo(b"let in, too");
}

#[test]
fn clients_over_unix_are_told_by_their_user_and_their_primary_group() {
    let uid = geteuid();
    let user = User::from_uid(uid)
        .unwrap()
        .expect("whoever tests has a name")
        .name;
    let group = Group::from_gid(getegid()).unwrap().expect("likewise").name;
    let gid = getegid();
    let trigger = |name: &str, rules: &str| {
        format!(
            "[trigger.{name}]\nlisten = \"unix:{{dir}}/{name}\"\nwasm = \"{{guest:echo}}\"\n{rules}\n"
        )
    };
    let host = Host::start(
        &[
            trigger("uid", &format!("allow = 'uid:{uid}'")),
            trigger("user", &format!("allow = 'user:{user}'")),
            trigger("gid", &format!("allow = 'gid:{gid}'")),
            trigger("group", &format!("allow = 'group:{group}'")),
            trigger(
                "user-before-group",
                &format!("allow = 'uid:{uid}'\ndeny = 'gid:{gid}'"),
            ),
            trigger("others", "deny = ['uid:4242', 'gid:4242']"),
            trigger("not-uid", &format!("deny = 'uid:{uid}'")),
            trigger(
                "not-user",
                &format!("allow = 'gid:{gid}'\ndeny = 'user:{user}'"),
            ),
            trigger("not-gid", &format!("deny = 'gid:{gid}'")),
            trigger("not-others", "allow = ['uid:4242', 'gid:4242']"),
            trigger(
                "deny-wins",
                &format!("allow = 'uid:{uid}'\ndeny = 'user:{user}'"),
            ),
        ]
        .concat(),
    );
    for admits in ["uid", "user", "gid", "group", "user-before-group", "others"] {
        assert_eq!(host.ask(admits, admits.as_bytes()), admits.as_bytes());
    }
    for refuses in ["not-uid", "not-user", "not-gid", "not-others", "deny-wins"] {
        assert!(host.connect(refuses).is_over(), "{refuses}");
    }
}

#[test]
fn a_user_or_group_that_nobody_is_is_told_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    for (rule, reason) in [
        (
            "user:nobody-has-this-name",
            "there is no user `nobody-has-this-name`",
        ),
        (
            "group:nor-has-a-group",
            "there is no group `nor-has-a-group`",
        ),
    ] {
        let triggers = format!(
            "[trigger.who]\nlisten = 'unix:{{dir}}/who'\nwasm = '{{guest:echo}}'\nallow = '{rule}'\n"
        );
        for does in ["check", "run"] {
            let said = support::command(does, &triggers, dir.path());
            assert_eq!(said.code, Some(100), "{}", said.stderr);
            let wanted = format!("trigger `who`: cannot say who is let in: {reason}");
            assert!(said.stderr.contains(&wanted), "{}", said.stderr);
        }
    }
}

#[test]
fn hours_are_those_of_the_hosts_own_place() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let minute = now.as_secs() / 60;
    // Hours are so far from each other that the test may take some.
    let clock = |hours: u64| {
        let minute = (minute + hours * 60) % (24 * 60);
        format!("{:02}:{:02}", minute / 60, minute % 60)
    };
    let triggers = format!(
        r#"
        [trigger.now]
        listen = "127.0.0.1:0"
        wasm = "{{guest:echo}}"
        access_times = ["{}-{}", "mon-sun {}-{}"]
        [trigger.then]
        listen = "127.0.0.1:0"
        wasm = "{{guest:echo}}"
        access_times = "{}-{}"
        banner = "we are closed\n"
        "#,
        clock(12),
        clock(13),
        clock(24 - 3),
        clock(3),
        clock(24 - 12),
        clock(24 - 6),
    );
    let in_place = |zone: &'static str| {
        Host::start_with(&triggers, |host| {
            host.env("TZ", zone);
        })
    };
    let here = in_place("UTC");
    assert_eq!(here.ask("now", b"open"), b"open");
    assert_eq!(here.connect("then").heard(), b"we are closed\n");
    let reject = here.logged("a reject", |line| verb(line) == "reject");
    assert_eq!(
        (&reject["trigger"], &reject["reason"]),
        (&"then".into(), &"time".into())
    );
    // Nine hours to the west, where it is earlier.
    let there = in_place("WEST9");
    assert!(there.connect("now").is_over());
    assert_eq!(there.ask("then", b"open"), b"open");
}

#[test]
fn who_is_refused_hears_the_banner_and_an_end() {
    let host = Host::start(
        r#"
        [trigger.busy]
        listen = ["127.0.0.1:0", "unix:{dir}/busy"]
        wasm = "{guest:echo}"
        limits = { per_source = 1 }
        banner = "busy, come back later\r\n"
        "#,
    );
    for address in host.addresses("busy") {
        let mut first = Client::to(address);
        first.echo(b"first");
        let banner = b"busy, come back later\r\n";
        for _ in 0..100 {
            // In order, with an end and not with a reset.
            assert_eq!(Client::to(address).rest(), banner);
            let mut speaks = Client::to(address);
            let _ = speaks.write_all(b"let me in");
            assert_eq!(speaks.heard(), banner);
        }
        first.echo(b"the first has noticed nothing");
    }
    let numbers = numbers(&host, "busy");
    assert_eq!(
        (&numbers["accepted"], &numbers["per_source"]),
        (&2.into(), &400.into())
    );
}

#[test]
fn a_source_over_its_rate_is_refused_and_others_are_served() {
    let host = Host::start(
        r#"
        [trigger.rate]
        listen = ["127.0.0.1:0", "unix:{dir}/rate"]
        wasm = "{guest:echo}"
        [trigger.rate.limits]
        per_source = { rate = { limit = "1/h", burst = 3 }, inet = 24 }
        "#,
    );
    let [inet, unix] = host.addresses("rate") else {
        panic!("two addresses")
    };
    // A /24 is one source here.
    for last in 1..=3 {
        Client::from([127, 0, 0, last], inet).echo(b"a burst");
    }
    for last in 1..=9 {
        assert!(Client::from([127, 0, 0, last], inet).is_over());
    }
    Client::from([127, 0, 1, 1], inet).echo(b"another source");
    for _ in 0..3 {
        Client::to(unix).echo(b"a user is a source, too");
    }
    assert!(Client::to(unix).is_over());
    let reject = host.logged("a reject", |line| verb(line) == "reject");
    assert_eq!(reject["reason"], "source_rate");
    let numbers = numbers(&host, "rate");
    assert_eq!(
        (&numbers["accepted"], &numbers["source_rate"]),
        (&7.into(), &10.into())
    );
}

#[test]
fn a_flood_over_a_rate_that_refuses_lets_a_burst_in_and_not_one_more() {
    let host = Host::start(&format!(
        r#"{OTHER}
        [trigger.flood]
        listen = "127.0.0.1:0"
        wasm = "{{guest:echo}}"
        limits.rate = {{ limit = "3/h", over = "refuse" }}
        "#
    ));
    let mut served = 0;
    for _ in 0..100 {
        let mut client = host.connect("flood");
        let _ = client.write_all(b"in?");
        client.shutdown(Shutdown::Write);
        served += usize::from(client.heard() == b"in?");
    }
    assert_eq!(served, 3);
    a_turn_later(&host);
    let numbers = numbers(&host, "flood");
    assert_eq!(
        (&numbers["accepted"], &numbers["rate"]),
        (&3.into(), &97.into())
    );
    assert_eq!(numbers["pauses"], Value::Null);
}

/// systemd's `TEST-07-PID1.poll-limit`: of a flood of a hundred as many are accepted as the limit has
/// room for, and nothing is broken.
#[test]
fn of_a_hundred_that_flood_a_few_are_accepted_and_the_others_wait() {
    let host = Host::start(&format!(
        r#"{OTHER}
        [trigger.flood]
        listen = "unix:{{dir}}/flood"
        script = "exec cat"
        accept = true
        limits.rate = "3/h"
        "#
    ));
    let clients: Vec<_> = (0..100).map(|_| host.connect("flood")).collect();
    let begins = host.logged("the pause", |line| {
        verb(line) == "pause" && line["trigger"] == "flood"
    });
    assert_eq!(begins["reason"], "rate");
    assert_eq!(begins["ms"], Value::Null, "it has not ended");
    a_turn_later(&host);
    assert_eq!(lines(&host, "accept", "flood").len(), 3);
    let waiting = clients.iter().filter(|client| is_waiting(client)).count();
    assert_eq!(
        waiting, 100,
        "three that are served and hear nothing, and all others"
    );
    assert_eq!(lines(&host, "pause", "flood").len(), 1);
    assert_eq!(lines(&host, "reject", "flood").len(), 0);
    let numbers = numbers(&host, "flood");
    assert_eq!(
        (&numbers["accepted"], &numbers["pauses"]),
        (&3.into(), &1.into())
    );
}

/// systemd's trigger limit disables a unit for good; here a burst is spread over time, and then all
/// is as it was.
#[test]
fn a_burst_pauses_and_recovers_and_never_ends_a_trigger() {
    let host = Host::start(
        r#"
        [trigger.burst]
        listen = "127.0.0.1:0"
        wasm = "{guest:echo}"
        limits.rate = { limit = "1/20ms", burst = 3 }
        "#,
    );
    for round in 1..=3 {
        let clients: Vec<_> = (0..30).map(|_| host.connect("burst")).collect();
        for client in clients {
            assert_eq!(client.ask(b"in the end"), b"in the end");
        }
        let ended = |line: &Value| verb(line) == "pause" && line["ms"].is_u64();
        let over = host.logged_times(round, "the end of the pause", ended);
        let over = &over[round - 1];
        assert_eq!(over["reason"], "rate");
        let queued = over["queued"].as_u64().unwrap();
        assert!((1..=30).contains(&queued), "{over}");
    }
    assert_eq!(host.ask("burst", b"as ever"), b"as ever");
    assert_eq!(lines(&host, "reject", "burst").len(), 0);
    assert_eq!(numbers(&host, "burst")["accepted"], 91);
}

/// systemd's `TEST-07-PID1.issue-2467`: what cannot start does not do so again and again.
#[test]
fn a_job_that_fails_does_not_spin_and_its_trigger_lives() {
    let host = Host::start(&format!(
        r#"{OTHER}
        [trigger.fails]
        listen = "unix:{{dir}}/fails"
        script = "exit 1"
        respawn = {{ limit = 3, interval = "1h" }}
        [trigger.fails-each]
        listen = "unix:{{dir}}/fails-each"
        script = "exit 1"
        accept = true
        "#
    ));
    // Whoever comes is told, and the job was started for each of them once.
    for started in 1..=2 {
        assert!(host.connect("fails").is_over());
        host.logged_times(started, "a run", |line| {
            verb(line) == "end" && line["trigger"] == "fails"
        });
        assert!(host.connect("fails-each").is_over());
    }
    let _waiting: Vec<_> = (0..20).map(|_| host.connect("fails")).collect();
    host.logged("the pause", |line| {
        verb(line) == "pause" && line["trigger"] == "fails"
    });
    a_turn_later(&host);
    assert_eq!(lines(&host, "end", "fails").len(), 3);
    assert!(host.connect("fails-each").is_over(), "it lives");
    host.logged_times(3, "a run for each connection", |line| {
        verb(line) == "end" && line["trigger"] == "fails-each"
    });
}

/// NetBSD inetd's `t_accept_max`: over unix and TCP, with a concurrency of two, the third client is
/// queued, and served promptly when one of the first two is done.
#[test]
fn the_third_of_two_is_queued_and_served_when_the_first_is_done() {
    let host = Host::start(&format!(
        r#"{OTHER}
        [trigger.two]
        listen = ["unix:{{dir}}/two", "127.0.0.1:0"]
        script = "while read -r client; do echo $client; done"
        accept = true
        limits.connections = 2
        "#
    ));
    for (round, address) in host.addresses("two").iter().enumerate() {
        let mut first = Client::to(address);
        first.write_all(b"1\n").unwrap();
        assert_eq!(first.line(), "1");
        let mut second = Client::to(address);
        second.write_all(b"2\n").unwrap();
        assert_eq!(second.line(), "2");
        let mut third = Client::to(address);
        third.write_all(b"3\n").unwrap();
        let begins = |line: &Value| verb(line) == "pause" && line["ms"].is_null();
        let pause = host.logged_times(round + 1, "the pause", begins);
        assert_eq!(pause[round]["reason"], "connections");
        a_turn_later(&host);
        assert!(is_waiting(&third));
        drop(first);
        assert_eq!(third.line(), "3");
        second.write_all(b"2 again\n").unwrap();
        assert_eq!(second.line(), "2 again");
        drop((second, third));
        let over = host.logged_times(round + 1, "the end of the pause", |line| {
            verb(line) == "pause" && line["ms"].is_u64()
        });
        assert_eq!(over[round]["queued"], 1);
        // Both places are free for the next address.
        host.logged_times(3 * (round + 1), "their ends", |line| {
            verb(line) == "end" && line["trigger"] == "two"
        });
    }
    let numbers = numbers(&host, "two");
    assert_eq!(
        (&numbers["accepted"], &numbers["pauses"]),
        (&6.into(), &2.into())
    );
}

/// NetBSD inetd's `t_inetd`, for streams: `ip_max` and `service_max` of a nowait service. A wait service
/// accepts by itself, and is bounded by `respawn`.
#[test]
fn so_many_of_an_address_and_of_a_service_are_served_and_no_more() {
    let host = Host::start(&format!(
        r#"{OTHER}
        [trigger.ip-max]
        listen = "127.0.0.1:0"
        script = "exec cat"
        accept = true
        limits = {{ rate = {{ limit = "5/h", over = "refuse" }}, per_source = {{ rate = "3/h" }} }}
        [trigger.service-max]
        listen = "127.0.0.1:0"
        script = "exec cat"
        accept = true
        limits.rate = "2/h"
        "#
    ));
    let ip_max = &host.addresses("ip-max")[0];
    for _ in 0..3 {
        assert_eq!(host.ask("ip-max", b"test"), b"test");
    }
    assert!(host.connect("ip-max").is_over());
    // Refused connections have not used up the rate of the service, which has room for two more.
    for _ in 0..2 {
        Client::from([127, 0, 0, 2], ip_max).echo(b"test");
    }
    assert!(Client::from([127, 0, 0, 3], ip_max).is_over());

    for _ in 0..2 {
        assert_eq!(host.ask("service-max", b"test"), b"test");
    }
    let third = host.connect("service-max");
    let pause = host.logged("a pause", |line| verb(line) == "pause");
    assert_eq!(pause["trigger"], "service-max");
    a_turn_later(&host);
    assert!(is_waiting(&third));
    assert_eq!(lines(&host, "accept", "service-max").len(), 2);
}

/// The rest of it: a limit of 0 serves nobody there. Here it is refused, since it is never what was
/// meant, and a rule says the same.
#[test]
fn a_limit_of_0_is_refused_with_a_word_and_a_rule_serves_nobody() {
    let dir = tempfile::tempdir().unwrap();
    for limit in [
        "rate = '0/m'",
        "per_source = { rate = '0/m' }",
        "per_source = 0",
    ] {
        let triggers = format!(
            "[trigger.none]\nlisten = '0'\nwasm = '{{guest:echo}}'\nlimits = {{ {limit} }}\n"
        );
        let said = support::command("check", &triggers, dir.path());
        assert_eq!(said.code, Some(100));
        assert!(
            said.stderr.contains("0 would refuse everybody"),
            "{}",
            said.stderr
        );
    }
    let host = Host::start(
        r#"
        [trigger.none]
        listen = "127.0.0.1:0"
        wasm = "{guest:echo}"
        deny = "0.0.0.0/0"
        "#,
    );
    assert!(host.connect("none").is_over());
}

#[test]
fn what_is_refused_uses_up_neither_the_rate_nor_the_places_of_others() {
    let host = Host::start(
        r#"
        [trigger.few]
        listen = "127.0.0.1:0"
        wasm = "{guest:echo}"
        deny = "127.66.0.0/16"
        limits = { connections = 1, rate = "2/h", per_source = 1 }
        "#,
    );
    let address = &host.addresses("few")[0];
    let flood = || {
        for last in 1..=100 {
            assert!(Client::from([127, 66, 0, last], address).is_over());
        }
    };
    flood();
    let mut honest = Client::from([127, 0, 0, 1], address);
    honest.echo(b"the first of two");
    drop(honest);
    host.logged("its end", |line| verb(line) == "end");
    flood();
    Client::from([127, 0, 0, 1], address).echo(b"the second");
}

#[test]
fn one_source_that_comes_too_fast_does_not_delay_the_others() {
    let host = Host::start(
        r#"
        [trigger.shared]
        listen = "127.0.0.1:0"
        wasm = "{guest:echo}"
        limits = { per_source = { connections = 2, rate = "4/h" } }
        "#,
    );
    let address = &host.addresses("shared")[0];
    let others = |third: u8| {
        for last in 1..=50 {
            Client::from([127, 0, third, last], address).echo(b"at once");
        }
    };
    let come = || Client::from([127, 0, 0, 66], address);
    let of_glutton = |line: &Value| {
        let peer = line["peer"].as_str().unwrap_or_default();
        verb(line) == "end" && peer.starts_with("127.0.0.66:")
    };
    // Two have its places, and hold them.
    let glutton: Vec<_> = (0..200).map(|_| come()).collect();
    others(0);
    drop(glutton);
    host.logged_times(2, "the ends of the two", of_glutton);
    // Two more are within its rate, one after the other.
    for ended in 3..=4 {
        come().echo(b"a turn");
        host.logged_times(ended, "its end", of_glutton);
    }
    let glutton: Vec<_> = (0..200).map(|_| come()).collect();
    others(1);
    drop(glutton);
    let numbers = numbers(&host, "shared");
    let refused = (&numbers["per_source"], &numbers["source_rate"]);
    assert_eq!(refused, (&198.into(), &200.into()));
    assert_eq!(numbers["accepted"], 104);
}

#[test]
fn clients_of_this_machine_have_all_places_when_the_trigger_says_nothing() {
    let host = Host::start(
        r#"
        [trigger.proxied]
        listen = ["127.0.0.1:0", "[::1]:0", "unix:{dir}/proxied"]
        wasm = "{guest:hold}"
        limits.connections = 60
        "#,
    );
    let mut clients = Vec::new();
    for address in host.addresses("proxied") {
        clients.extend((0..20).map(|_| Client::to(address)));
    }
    for client in &mut clients {
        client.echo(b"a tenth would be ten");
    }
}

#[test]
fn a_reload_frees_nobody_from_a_limit() {
    let triggers = |greeting: &str| {
        format!(
            r#"
            [trigger.few]
            listen = "127.0.0.1:0"
            wasm = "{{guest:echo}}"
            env = {{ GREETING = "{greeting}" }}
            limits = {{ connections = 20, per_source = 1, rate = {{ limit = "3/h", over = "refuse" }} }}
            "#
        )
    };
    let host = Host::start(&triggers("before"));
    let address = &host.addresses("few")[0];
    let mut held = Client::from([127, 0, 0, 1], address);
    held.echo(b"the place of its source, and a turn");
    assert!(Client::from([127, 0, 0, 1], address).is_over());
    let said = host.reload(&triggers("after"));
    assert_eq!(
        said.stdout,
        "triggers: 0 added, 1 changed, 0 removed, 0 as before\n"
    );
    assert!(Client::from([127, 0, 0, 1], address).is_over());
    for last in 2..=3 {
        Client::from([127, 0, 0, last], address).echo(b"two turns are left");
    }
    assert!(Client::from([127, 0, 0, 4], address).is_over());
    held.echo(b"as ever");
    let numbers = numbers(&host, "few");
    assert_eq!(
        (&numbers["accepted"], &numbers["per_source"]),
        (&3.into(), &2.into())
    );
    assert_eq!(numbers["rate"], 1);
}
