//! Misbehaves in the typed world of WASI 0.3, in the way its first argument names. It is written without the crate for guests, which would
//! not let it. Each way that goes on says `ready` first, so that a client knows it is under way; what it learns it says after that.

use std::hint;
use std::mem;
use std::process;

use wit_bindgen::{StreamReader, StreamResult, StreamWriter, spawn_local};

wit_bindgen::generate!({ path: "../sdk/wit", world: "async-service", generate_all });

use portcullis::bridge::async_connection::Connection;

struct Unruly;

export!(Unruly);

impl exports::portcullis::bridge::async_handler::Guest for Unruly {
    async fn handle(connection: Connection) -> Result<(), ()> {
        let way = std::env::args().nth(1).unwrap_or_default();
        // Before anything was received or sent.
        match way.as_str() {
            "return" => return Ok(()),
            // The client's own bytes go back without the guest.
            "loop" => {
                let (bytes, received) = connection.receive();
                let sent = connection.send(bytes).await;
                eprintln!("sent: {sent:?}, received: {:?}", received.await);
                return Ok(());
            }
            _ => {}
        }
        let (mut output, data) = wit_stream::new();
        let sent = connection.send(data);
        say(&mut output, "ready\n").await;
        match way.as_str() {
            "trap" => process::abort(),
            "panic" => panic!("as it was told to"),
            "err" => {
                eprintln!("as it was told to");
                return Err(());
            }
            // Through WASI, with the connection still open and unread.
            "exit" => process::exit(1),
            "spin" => loop {
                hint::spin_loop();
            },
            // Reads nothing, and writes as fast as it may.
            "flood" => loop {
                say(&mut output, &"x".repeat(64 * 1024)).await;
            },
            // Returns, and goes on to echo in a task of its own.
            "linger" => {
                let (input, _) = connection.receive();
                spawn_local(echo(input, output));
            }
            // Returns, and goes on for ever without need of the connection.
            "haunt" => spawn_local(async {
                loop {
                    wit_bindgen::yield_async().await;
                }
            }),
            // Echoes without the resource.
            "drop" => {
                let (input, _) = connection.receive();
                drop(connection);
                echo(input, output).await;
            }
            // Returns what it should own to nobody.
            "forget" => {
                mem::forget(connection.receive());
                mem::forget(output);
                mem::forget(sent);
                mem::forget(connection);
            }
            // Takes stream after stream, until it is stopped.
            "handles" => loop {
                mem::forget(connection.receive());
            },
            // A second stream to send: it says how that ended over the first.
            "twice" => {
                let (mut second, data) = wit_stream::new();
                let refused = connection.send(data).await;
                let left = second.write_all(b"never".to_vec()).await.len();
                say(&mut output, &format!("{refused:?}, {left} bytes left\n")).await;
            }
            // Says that it is done, and reads on.
            "finish" => {
                drop(output);
                let (mut input, received) = connection.receive();
                let mut count = 0;
                loop {
                    let (result, bytes) = input.read(Vec::with_capacity(64 * 1024)).await;
                    count += bytes.len();
                    if result == StreamResult::Dropped {
                        break;
                    }
                }
                let (sent, received) = (sent.await, received.await);
                eprintln!("sent: {sent:?}, received {count} bytes: {received:?}");
            }
            // Receives no more, and answers nevertheless.
            "deaf" => {
                let (input, received) = connection.receive();
                drop(input);
                let received = received.await;
                say(&mut output, &format!("{received:?}\n")).await;
            }
            // Asks how it ended, and reads nothing.
            "ending" => {
                let (input, received) = connection.receive();
                let received = received.await;
                say(&mut output, &format!("{received:?}\n")).await;
                drop(input);
            }
            other => say(&mut output, &format!("{other}?\n")).await,
        }
        Ok(())
    }
}

async fn echo(mut input: StreamReader<u8>, mut output: StreamWriter<u8>) {
    loop {
        let (result, bytes) = input.read(Vec::with_capacity(64 * 1024)).await;
        if result == StreamResult::Dropped {
            return;
        }
        assert!(output.write_all(bytes).await.is_empty(), "the client reads");
    }
}

async fn say(output: &mut StreamWriter<u8>, text: &str) {
    let left = output.write_all(text.as_bytes().to_vec()).await;
    assert!(left.is_empty(), "the client reads");
}
