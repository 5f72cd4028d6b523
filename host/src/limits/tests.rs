//! What is promised of admission, without a network and without a clock.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use ipnet::{IpNet, Ipv4Net};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use nix::unistd::{Gid, Uid};
use proptest::prelude::*;

use super::access::Timetable;
use super::source::Key;
use super::*;
use crate::plan::{Admission, Bucket, Hours, Identity, Rate, Rule, Rules};

fn count(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

fn bucket(number: u32, per: Duration, burst: u32) -> Bucket {
    Bucket {
        rate: Rate {
            count: count(number),
            per,
        },
        burst: count(burst),
    }
}

/// Far longer than any test.
const HOUR: Duration = Duration::from_hours(1);

fn open() -> Admission {
    Admission {
        connections: count(10),
        per_source: None,
        rate: None,
        rules: Rules::default(),
        hours: Vec::new(),
        banner: None,
        defer: false,
    }
}

fn one_source(connections: u32) -> PerSource {
    PerSource {
        connections: count(connections),
        rate: None,
        inet: 32,
        inet6: 64,
        local: true,
    }
}

fn limits(admission: &Admission) -> Limits {
    let host = HostLimit::new(count(1000), 0);
    Limits::new(&Door::of(admission).unwrap(), 0, host, None)
}

fn inet(address: &str) -> Source {
    Source::inet(address.parse().unwrap())
}

fn try_at_once(limits: &Limits, source: Source) -> Result<Permits, Refusal> {
    limits.admit(limits.place_at_once().unwrap(), source)
}

#[tokio::test]
async fn a_place_comes_back_when_the_connection_is_dropped() {
    let limits = limits(&open());
    let held = [limits.place().await, limits.place().await];
    assert_eq!((limits.trigger.held(), limits.host.open()), (2, 2));
    drop(held);
    assert_eq!((limits.trigger.held(), limits.host.open()), (0, 0));
}

#[tokio::test]
async fn fewer_places_are_fewer_when_those_above_come_back() {
    let ceiling = Ceiling::new(3);
    let held = [(); 3].map(|()| ceiling.take_at_once(1).unwrap());
    ceiling.resize(1).await;
    assert_eq!(ceiling.held(), 3);
    let [first, second, third] = held;
    drop((first, second));
    tokio::task::yield_now().await;
    assert!(ceiling.take_at_once(1).is_none());
    drop(third);
    assert!(ceiling.take_at_once(1).is_some());
    ceiling.resize(2).await;
    let both = (ceiling.take(1).await, ceiling.take_at_once(1).unwrap());
    assert_eq!(ceiling.held(), 2);
    drop(both);
}

#[test]
fn an_ipv6_source_is_its_64_bit_prefix_and_leaves_no_trace() {
    let limits = limits(&Admission {
        per_source: Some(one_source(1)),
        ..open()
    });
    let held = try_at_once(&limits, inet("2001:db8::1")).unwrap();
    let same = try_at_once(&limits, inet("2001:db8::2"));
    assert_eq!(same.unwrap_err(), Refusal::PerSource);
    let other = try_at_once(&limits, inet("2001:db8:0:1::1")).unwrap();
    let places = &limits.source.as_ref().unwrap().places;
    assert_eq!(places.len(), 2);
    drop((held, other));
    assert_eq!(places.len(), 0);
}

#[test]
fn prefixes_are_as_long_as_the_trigger_says() {
    let limits = limits(&Admission {
        per_source: Some(PerSource {
            inet: 24,
            inet6: 48,
            ..one_source(1)
        }),
        ..open()
    });
    let _held = [
        try_at_once(&limits, inet("192.0.2.1")).unwrap(),
        try_at_once(&limits, inet("192.0.3.1")).unwrap(),
        try_at_once(&limits, inet("2001:db8:1::1")).unwrap(),
        try_at_once(&limits, inet("2001:db8:2::1")).unwrap(),
    ];
    for same in ["192.0.2.255", "::ffff:192.0.2.7", "2001:db8:1:ffff::"] {
        let refused = try_at_once(&limits, inet(same)).unwrap_err();
        assert_eq!(refused, Refusal::PerSource, "{same}");
    }
}

#[test]
fn clients_of_this_machine_are_bounded_only_when_the_trigger_says_so() {
    let admission = |local| Admission {
        per_source: Some(PerSource {
            local,
            ..one_source(1)
        }),
        ..open()
    };
    let user = Source::Unix { uid: 1, gid: 1 };
    for (local, bounded) in [(false, false), (true, true)] {
        let limits = limits(&admission(local));
        for source in [
            inet("127.0.0.1"),
            inet("::1"),
            inet("::ffff:127.0.0.9"),
            user,
        ] {
            let _held = try_at_once(&limits, source).unwrap();
            let second = try_at_once(&limits, source);
            assert_eq!(second.is_err(), bounded, "{source:?}");
        }
        let _held = try_at_once(&limits, inet("192.0.2.1")).unwrap();
        assert!(try_at_once(&limits, inet("192.0.2.1")).is_err());
    }
}

#[test]
fn what_is_refused_gives_back_its_place_and_its_turn() {
    let waits = RateLimit {
        bucket: bucket(1, HOUR, 1),
        over: Over::Wait,
    };
    let limits = limits(&Admission {
        rate: Some(waits),
        rules: Rules {
            allow: Vec::new(),
            deny: vec![Rule::Net("192.0.2.0/24".parse().unwrap())],
        },
        ..open()
    });
    for _ in 0..100 {
        let refused = try_at_once(&limits, inet("192.0.2.1")).unwrap_err();
        assert_eq!(refused, Refusal::Denied);
    }
    let _held = try_at_once(&limits, inet("198.51.100.1")).unwrap();
    assert_eq!(limits.place_at_once().unwrap_err(), Shortage::Rate);
    assert_eq!(limits.trigger.held(), 1);
}

#[tokio::test]
async fn who_waits_for_a_turn_has_the_one_that_is_given_back() {
    let waits = RateLimit {
        bucket: bucket(1, HOUR, 1),
        over: Over::Wait,
    };
    let limits = limits(&Admission {
        rate: Some(waits),
        ..open()
    });
    let taken = limits.place_at_once().unwrap();
    let waiting = limits.place();
    tokio::pin!(waiting);
    let at_once = tokio::time::timeout(Duration::ZERO, waiting.as_mut());
    assert!(at_once.await.is_err());
    drop(taken);
    // Not in an hour: now.
    waiting.await;
}

#[test]
fn a_rate_that_refuses_lets_a_burst_in_and_then_so_many_in_each_time() {
    let refuses = |number, per, burst| {
        limits(&Admission {
            rate: Some(RateLimit {
                bucket: bucket(number, per, burst),
                over: Over::Refuse,
            }),
            ..open()
        })
    };
    let limits = refuses(1, HOUR, 5);
    for _ in 0..5 {
        try_at_once(&limits, inet("192.0.2.1")).unwrap();
    }
    let sixth = try_at_once(&limits, inet("192.0.2.2"));
    assert_eq!(sixth.unwrap_err(), Refusal::Rate);

    let each = Duration::from_millis(1);
    let began = Instant::now();
    let limits = refuses(1, each, 5);
    for number in 1..=50_u32 {
        while let Err(why) = try_at_once(&limits, inet("192.0.2.1")) {
            assert_eq!(why, Refusal::Rate);
            assert!(began.elapsed() < HOUR / 60, "none comes after {number}");
            std::thread::yield_now();
        }
        // However slow this is, and never sooner.
        assert!(
            began.elapsed() >= each * number.saturating_sub(5),
            "{number}"
        );
    }
}

#[test]
fn a_bucket_is_full_again_after_its_time_and_never_holds_more_than_its_burst() {
    let second = 1_000_000_000;
    let bucket = bucket::Bucket::new(bucket(2, Duration::from_secs(1), 3));
    let take = |full: &mut u64, now| match bucket.take(*full, now) {
        Ok(after) => {
            *full = after;
            Duration::ZERO
        }
        Err(early) => early,
    };
    let mut full = 0;
    for now in [0, 1000 * second] {
        for _ in 0..3 {
            assert_eq!(take(&mut full, now), Duration::ZERO);
        }
        assert_eq!(take(&mut full, now), Duration::from_millis(500));
        assert_eq!(take(&mut full, now + second / 2), Duration::ZERO);
        assert_eq!(
            take(&mut full, now + second / 2),
            Duration::from_millis(500)
        );
    }
}

#[test]
fn the_most_special_rule_decides_and_deny_wins_between_equals() {
    let net = |text: &str| Rule::Net(text.parse::<IpNet>().unwrap());
    let user = |id| Rule::User(Identity::Number(Uid::from_raw(id)));
    let group = |id| Rule::Group(Identity::Number(Gid::from_raw(id)));
    let unix = |uid, gid| Source::Unix { uid, gid };
    let admits = |allow: Vec<Rule>, deny: Vec<Rule>, source: Source| {
        let rules = Rules { allow, deny };
        try_at_once(&limits(&Admission { rules, ..open() }), source).is_ok()
    };
    // With `allow` alone all others are refused, with `deny` alone they are let in.
    assert!(admits(
        vec![net("10.0.0.0/8")],
        vec![],
        inet("10.255.255.255")
    ));
    assert!(!admits(vec![net("10.0.0.0/8")], vec![], inet("11.0.0.0")));
    assert!(!admits(vec![net("10.0.0.0/8")], vec![], inet("fd00::1")));
    assert!(!admits(vec![net("10.0.0.0/8")], vec![], unix(0, 0)));
    assert!(!admits(vec![], vec![net("10.0.0.0/8")], inet("10.0.0.0")));
    assert!(admits(
        vec![],
        vec![net("10.0.0.0/8")],
        inet("9.255.255.255")
    ));
    assert!(admits(vec![], vec![net("10.0.0.0/8")], unix(0, 0)));
    // With both, whoever no rule fits is refused.
    let both = || {
        (
            vec![net("10.0.0.0/8"), net("10.1.2.3/32")],
            vec![net("10.1.0.0/16")],
        )
    };
    for (source, admitted) in [
        ("10.0.0.1", true),
        ("10.1.0.1", false),
        ("10.1.2.3", true),
        ("10.2.0.0", true),
        ("::ffff:10.1.2.3", true),
        ("192.0.2.1", false),
    ] {
        let (allow, deny) = both();
        assert_eq!(admits(allow, deny, inet(source)), admitted, "{source}");
    }
    assert!(!admits(vec![net("::/0")], vec![], inet("192.0.2.1")));
    assert!(admits(
        vec![net("::/0")],
        vec![],
        inet("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")
    ));
    assert!(!admits(
        vec![net("0.0.0.0/0")],
        vec![net("0.0.0.0/0")],
        inet("255.255.255.255")
    ));
    // A user is more special than a group.
    assert!(admits(vec![user(7)], vec![group(1)], unix(7, 1)));
    assert!(!admits(vec![group(1)], vec![user(7)], unix(7, 1)));
    assert!(admits(vec![group(1)], vec![user(7)], unix(8, 1)));
    assert!(!admits(vec![user(7)], vec![user(7)], unix(7, 1)));
}

proptest! {
    #[test]
    fn rules_are_found_as_if_each_was_looked_at(
        nets in proptest::collection::vec((any::<u32>(), 0u8..=32, any::<bool>()), 0..40),
        addresses in proptest::collection::vec(any::<u32>(), 20),
    ) {
        let nets: Vec<(Ipv4Net, bool)> = nets
            .into_iter()
            // Few addresses, so that networks are within each other.
            .map(|(ip, bits, admits)| (Ipv4Net::new((ip & 0xF000_00FF).into(), bits).unwrap().trunc(), admits))
            .collect();
        let listed = |wanted| {
            let rules = nets.iter().filter(move |(_, admits)| *admits == wanted);
            rules.map(|(net, _)| Rule::Net((*net).into())).collect::<Vec<_>>()
        };
        let (allow, deny) = (listed(true), listed(false));
        let others = allow.is_empty();
        let limits = limits(&Admission { rules: Rules { allow, deny }, ..open() });
        let edges = nets.iter().flat_map(|(net, _)| [u32::from(net.network()), u32::from(net.broadcast())]);
        let near = edges.flat_map(|ip| [ip, ip.wrapping_sub(1), ip.wrapping_add(1)]);
        for ip in near.chain(addresses) {
            let ip = Ipv4Addr::from(ip);
            let fitting = nets.iter().filter(|(net, _)| net.contains(&ip));
            // The longest one; of those that are as long, one that denies.
            let best = fitting.max_by_key(|(net, admits)| (net.prefix_len(), !admits));
            let wanted = best.map_or(others, |(_, admits)| *admits);
            prop_assert_eq!(try_at_once(&limits, Source::inet(ip.into())).is_ok(), wanted, "{}", ip);
        }
    }

    #[test]
    fn a_bounded_table_refuses_nobody_whom_a_table_without_bounds_would_let_in(
        visits in proptest::collection::vec((0u32..200_000, 0u64..50_000_000), 1..2000),
    ) {
        let rate = bucket(1, Duration::from_secs(1), 2);
        let table = Visitors::new(rate);
        let (bucket, mut model, mut now) = (bucket::Bucket::new(rate), HashMap::new(), 0);
        for (source, later) in visits {
            now += later;
            // Half of the visits are of a few sources.
            let source = if source.is_multiple_of(2) { source % 16 } else { source };
            let full = model.entry(source).or_insert(0);
            let wanted = bucket.take(*full, now).map(|after| *full = after).is_ok();
            let let_in = table.take_at(Key::User(source), now);
            prop_assert!(let_in || !wanted);
        }
    }
}

#[test]
fn millions_of_sources_take_no_more_memory_lock_nobody_out_and_free_nobody_from_its_rate() {
    const FLOOD: u128 = 2_000_000;
    let table = Visitors::new(bucket(1, HOUR, 10));
    let before = table.size();
    assert!(before < 2 << 20, "{before} bytes");
    let glutton = Key::User(1);
    assert_eq!((0..100).filter(|_| table.take_at(glutton, 0)).count(), 10);
    for source in 0..FLOOD {
        // Nobody who comes for the first time is refused, however full it is.
        assert!(table.take_at(Key::Inet6((source << 64).into()), 0));
        if source.is_multiple_of(10_000) {
            assert!(!table.take_at(glutton, 0), "forgotten after {source}");
        }
    }
    assert_eq!(table.size(), before);
    assert!(table.take_at(Key::User(2), 0), "an honest one");

    // The table of places has an entry for each connection that is open, and for no other.
    let sources = Arc::new(Sources::default());
    let held: Vec<_> = (0..1000)
        .filter_map(|user| Sources::take(&sources, Key::User(user), count(1)))
        .collect();
    for source in 0..FLOOD {
        drop(Sources::take(
            &sources,
            Key::Inet6((source << 64).into()),
            count(1),
        ));
        assert!(sources.len() <= 1001);
    }
    drop(held);
    assert_eq!(sources.len(), 0);
}

#[test]
fn hours_are_those_of_the_wall_clock_whatever_becomes_of_it() {
    let every_day = 0x7f;
    let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
    let is_open = |from: u16, to: u16, at: &str| {
        let hours = Hours {
            days: every_day,
            from: from * 60,
            to: to * 60,
        };
        let at: Timestamp = at.parse().unwrap();
        Timetable::new(berlin.clone(), &[hours]).is_open(at)
    };
    // In winter and in summer.
    assert!(!is_open(8, 18, "2026-01-15T06:59:59Z"));
    assert!(is_open(8, 18, "2026-01-15T07:00:00Z"));
    assert!(is_open(8, 18, "2026-07-15T06:00:00Z"));
    assert!(!is_open(8, 18, "2026-07-15T16:00:00Z"));
    // The hour from 2 to 3 does not come on the last Sunday of March, and twice on that of October.
    assert!(!is_open(2, 3, "2026-03-29T00:59:59Z"));
    assert!(!is_open(2, 3, "2026-03-29T01:00:00Z"));
    assert!(is_open(2, 3, "2026-10-25T00:30:00Z"));
    assert!(is_open(2, 3, "2026-10-25T01:30:00Z"));
    assert!(!is_open(2, 3, "2026-10-25T02:00:00Z"));
    // A day is one of the place, too: Sunday, 23:30 there.
    let sunday = Hours {
        days: 1 << 6,
        from: 23 * 60,
        to: 24 * 60,
    };
    let table = Timetable::new(berlin.clone(), &[sunday]);
    assert!(table.is_open("2026-07-19T21:30:00Z".parse().unwrap()));
    assert!(!table.is_open("2026-07-20T21:30:00Z".parse().unwrap()));
}

#[test]
fn a_user_that_nobody_is_makes_no_door() {
    let rules = Rules {
        allow: vec![Rule::User(Identity::Name(
            "nobody-has-this-name".to_owned(),
        ))],
        deny: Vec::new(),
    };
    let error = Door::of(&Admission { rules, ..open() }).unwrap_err();
    assert!(
        error.to_string().contains("nobody-has-this-name"),
        "{error}"
    );
}

#[test]
fn an_address_is_never_taken_for_a_user() {
    let prefixes = Prefixes {
        inet: 32,
        inet6: 128,
    };
    let keys = [
        Source::inet(IpAddr::V4(Ipv4Addr::from(7))),
        Source::inet(IpAddr::V6(Ipv6Addr::from(7))),
        Source::Unix { uid: 7, gid: 0 },
    ]
    .map(|source| prefixes.key(source));
    assert!(keys[0] != keys[1] && keys[1] != keys[2] && keys[0] != keys[2]);
}

#[test]
fn turns_that_threads_take_and_give_back_are_neither_lost_nor_made() {
    const BURST: u32 = 1000;
    let turns = Arc::new(Turns::new(bucket(1, HOUR, BURST)));
    let spent: u32 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let turns = &turns;
                scope.spawn(move || {
                    let mut spent = 0;
                    for round in 0..10_000 {
                        match Turns::take(turns) {
                            Ok(turn) if (round + thread) % 7 == 0 => {
                                turn.spend();
                                spent += 1;
                            }
                            // Given back, now or later.
                            Ok(_) | Err(_) => {}
                        }
                    }
                    spent
                })
            })
            .collect();
        threads.into_iter().map(|it| it.join().unwrap()).sum()
    });
    assert!(spent <= BURST, "{spent}");
    let left = std::iter::from_fn(|| Turns::take(&turns).ok().map(Turn::spend));
    assert_eq!(spent + u32::try_from(left.count()).unwrap(), BURST);
}

#[tokio::test]
async fn a_reload_frees_nobody_from_a_limit() {
    let rate = bucket(1, HOUR, 3);
    let admission = |connections, one| Admission {
        connections: count(connections),
        per_source: Some(PerSource {
            rate: Some(rate),
            ..one_source(one)
        }),
        rate: Some(RateLimit {
            bucket: bucket(1, HOUR, 4),
            over: Over::Refuse,
        }),
        ..open()
    };
    let host = HostLimit::new(count(1000), 0);
    let door = |connections, one| Door::of(&admission(connections, one)).unwrap();
    let first = Limits::new(&door(10, 2), 0, host.clone(), None);
    let _held = [inet("192.0.2.1"), inet("192.0.2.1")].map(|it| try_at_once(&first, it).unwrap());
    let second = Limits::new(&door(3, 2), 0, host.clone(), Some(&first));
    second.resize(count(3)).await;
    assert_eq!(second.trigger.held(), 2);
    let full = try_at_once(&second, inet("192.0.2.1"));
    assert_eq!(full.unwrap_err(), Refusal::PerSource);
    // One more place for each source, which has a turn left; and then there is none.
    let third = Limits::new(&door(4, 3), 0, host.clone(), Some(&second));
    drop(try_at_once(&third, inet("192.0.2.1")).unwrap());
    let fourth = Limits::new(&door(4, 3), 0, host.clone(), Some(&third));
    let early = try_at_once(&fourth, inet("192.0.2.1"));
    assert_eq!(early.unwrap_err(), Refusal::SourceRate);
    // What is refused for its own rate has used up nothing of that of all, and the other way round.
    let stranger = inet("192.0.2.2");
    drop(try_at_once(&fourth, stranger).unwrap());
    for _ in 0..3 {
        let early = try_at_once(&fourth, stranger);
        assert_eq!(early.unwrap_err(), Refusal::Rate);
    }
    let fifth = Admission {
        rate: Some(RateLimit {
            bucket: bucket(1, HOUR, 100),
            over: Over::Refuse,
        }),
        ..admission(4, 3)
    };
    let fifth = Limits::new(&Door::of(&fifth).unwrap(), 0, host, Some(&fourth));
    for _ in 0..2 {
        drop(try_at_once(&fifth, stranger).unwrap());
    }
    let early = try_at_once(&fifth, stranger);
    assert_eq!(early.unwrap_err(), Refusal::SourceRate);
    assert_eq!(first.trigger.held(), 2);
}
