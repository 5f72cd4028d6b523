//! Permits and drain in many orders of steps, as chance finds them: no place is lost or had twice, and a drain is over when the last
//! connection is, and not before.
#![cfg(test)]

#[path = "../../../host/src/limits/ceiling.rs"]
mod ceiling;
#[path = "../../../host/src/shutdown.rs"]
#[allow(dead_code, reason = "a host uses more of it")]
mod shutdown;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use ceiling::Ceiling;
use shutdown::{Drained, Shutdown};
use shuttle::future::block_on;
use tokio::sync::oneshot;
use tokio::task::yield_now;

/// Orders that are tried.
const ORDERS: usize = 20_000;

fn many_orders(story: impl Fn() + Send + Sync + 'static) {
    shuttle::check_random(story, ORDERS);
}

#[test]
fn places_are_as_many_as_there_are_to_be_whenever_that_changes() {
    many_orders(|| {
        block_on(async {
            let ceiling = Arc::new(Ceiling::new(2));
            let (held, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
            let clients: Vec<_> = (0..6)
                .map(|_| {
                    let (ceiling, held, most) = (ceiling.clone(), held.clone(), most.clone());
                    tokio::spawn(async move {
                        let place = ceiling.take(1).await;
                        most.fetch_max(held.fetch_add(1, SeqCst) + 1, SeqCst);
                        yield_now().await;
                        held.fetch_sub(1, SeqCst);
                        drop(place);
                    })
                })
                .collect();
            ceiling.resize(1).await;
            yield_now().await;
            ceiling.resize(3).await;
            for client in clients {
                client.await.unwrap();
            }
            let most = most.load(SeqCst);
            assert!((1..=3).contains(&most), "{most}");
            // All are there again, however the changes met those who waited.
            let all = ceiling.take(3).await;
            assert!(ceiling.take_at_once(1).is_none());
            drop(all);
            // What was above the ceiling is counted until whoever takes it away has had a turn.
            while ceiling.held() != 0 {
                yield_now().await;
            }
        });
    });
}

#[test]
fn a_drain_is_over_when_the_last_connection_is_and_not_before() {
    many_orders(|| {
        block_on(async {
            let shutdown = Shutdown::new();
            let running = Arc::new(AtomicU32::new(0));
            let (drain, count) = (shutdown.drain(), running.clone());
            // A listener: it accepts until it is told, and each connection takes some steps.
            let listener = tokio::spawn(async move {
                for _ in 0..3 {
                    tokio::select! {
                        biased;
                        () = drain.begun() => return,
                        () = yield_now() => {}
                    }
                    count.fetch_add(1, SeqCst);
                    let (drain, count) = (drain.clone(), count.clone());
                    tokio::spawn(async move {
                        yield_now().await;
                        count.fetch_sub(1, SeqCst);
                        drop(drain);
                    });
                }
                drain.begun().await;
            });
            yield_now().await;
            let never = async || std::future::pending().await;
            let day = Duration::from_secs(400 * 86_400);
            let drained = shutdown.stop(day, day, never).await;
            assert_eq!(drained, Drained::Finished);
            assert_eq!(running.load(SeqCst), 0);
            listener.await.unwrap();
        });
    });
}

#[test]
fn who_is_asked_again_ends_what_would_not_end_and_every_connection_hears_of_it() {
    many_orders(|| {
        block_on(async {
            let shutdown = Shutdown::new();
            let connections: Vec<_> = (0..3)
                .map(|_| {
                    let drain = shutdown.drain();
                    tokio::spawn(async move { drain.over().await })
                })
                .collect();
            let (asks, asked) = oneshot::channel::<()>();
            let mut asked = Some(asked);
            let again = async || match asked.take() {
                Some(asked) => drop(asked.await),
                None => std::future::pending().await,
            };
            tokio::spawn(async move { asks.send(()) });
            let day = Duration::from_secs(400 * 86_400);
            assert_eq!(shutdown.stop(day, day, again).await, Drained::Cut);
            for connection in connections {
                connection.await.unwrap();
            }
        });
    });
}
