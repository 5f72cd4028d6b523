//! The stages of a connection, each by itself and without a network: to be let in, to start an
//! instance that ends at once, and to serve an echo whole, from the first byte to the last. By
//! criterion: `cargo bench --bench stages`. Needs `guests/build --all`.
#![expect(missing_docs, reason = "criterion's macro makes a public function")]

#[path = "support/echo.rs"]
mod echo;

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::num::NonZeroU32;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use portcullis::connection::Local;
use portcullis::limits::{Door, HostLimit, Limits, Source};
use portcullis::outcome::Outcome;
use portcullis::plan::Admission;
use portcullis::shutdown::Shutdown as Stop;
use tokio::runtime::Builder;

criterion_main!(stages);
criterion_group!(stages, admit, instances);

fn admit(criterion: &mut Criterion) {
    let many = NonZeroU32::new(1000).expect("it is not 0");
    let admission = Admission {
        connections: many,
        ..Admission::default()
    };
    let door = Door::of(&admission).expect("it names nobody");
    let limits = Limits::new(&door, 0, HostLimit::new(many, 0), None);
    // A remote one, which is counted.
    let source = Source::inet(Ipv4Addr::new(192, 0, 2, 1).into());
    criterion.bench_function("admit", |bench| {
        bench.iter(|| {
            let places = limits.place_at_once().expect("there is room");
            black_box(limits.admit(places, source))
        });
    });
}

fn instances(criterion: &mut Criterion) {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime starts");
    let stop = Stop::new();
    let stages = [
        ("start and end a module", "exit7", Outcome::Exit(7)),
        ("echo: module, C", "c-echo", Outcome::Done),
        ("echo: module, Rust", "echo", Outcome::Done),
        (
            "echo: component, stdio",
            "echo-stdio.component",
            Outcome::Done,
        ),
        (
            "echo: component, typed",
            "echo-typed.component",
            Outcome::Done,
        ),
    ];
    for (stage, guest, outcome) in stages {
        let handler = echo::handler(guest);
        let facts = Arc::new(handler.facts(&Local::Unnamed));
        criterion.bench_function(stage, |bench| {
            bench.iter_batched(
                echo::connection,
                |(client, connection)| {
                    let run = handler.run(connection, facts.clone(), stop.drain());
                    assert_eq!(runtime.block_on(run), outcome);
                    client
                },
                BatchSize::SmallInput,
            );
        });
    }
}
