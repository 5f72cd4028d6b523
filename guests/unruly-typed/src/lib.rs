//! Misbehaves in the typed world of WASI 0.2, in the way its first argument names. It is written without the crate for guests, which would
//! not let it. Each way that goes on says `ready` first, so that a client knows it is under way; what it learns it says after that.

use std::hint;
use std::mem;
use std::process;

wit_bindgen::generate!({ path: "../sdk/wit", world: "service", generate_all });

use portcullis::bridge::connection::{Connection, Direction};
use wasi::io::streams::{InputStream, OutputStream};

struct Unruly;

export!(Unruly);

impl exports::portcullis::bridge::handler::Guest for Unruly {
    fn handle(connection: Connection) -> Result<(), ()> {
        let way = std::env::args().nth(1).unwrap_or_default();
        let output = connection.output();
        say(&output, "ready\n");
        match way.as_str() {
            "trap" => process::abort(),
            "panic" => panic!("as it was told to"),
            "err" => {
                eprintln!("as it was told to");
                return Err(());
            }
            // Through WASI, with the connection still open and unread.
            "exit" => process::exit(1),
            "return" => {}
            "spin" => loop {
                hint::spin_loop();
            },
            "grow" => {
                let mut taken: Vec<Vec<u8>> = Vec::new();
                loop {
                    taken.push(vec![1; 1 << 20]);
                    hint::black_box(&taken);
                }
            }
            // Reads nothing, and writes as fast as it may.
            "flood" => loop {
                say(&output, &"x".repeat(64 * 1024));
            },
            // Echoes without the resource.
            "drop" => {
                let input = connection.input();
                drop(connection);
                echo(&input, &output);
            }
            // Returns what it should own to nobody.
            "forget" => {
                let input = connection.input();
                mem::forget(input.subscribe());
                mem::forget((input, output));
                mem::forget(connection);
                return Ok(());
            }
            // Takes handle after handle, until it is stopped.
            "handles" => loop {
                mem::forget(connection.input());
            },
            // A write of more than is permitted.
            "beyond" => {
                let permitted = output.check_write().expect("the client reads");
                let too_much = vec![b'x'; usize::try_from(permitted).expect("a size") + 1];
                let _ = output.write(&too_much);
                eprintln!("the host took {} bytes", too_much.len());
            }
            // More than fits, without asking.
            "unasked" => {
                let _ = output.write(&vec![b'x'; 1 << 24]);
                eprintln!("the host took 16 MiB");
            }
            // A stream that goes before its pollable does.
            "orphan" => {
                let input = connection.input();
                let pollable = input.subscribe();
                drop(input);
                pollable.block();
            }
            // Two handles to the same bytes: every byte is read once.
            "share" => {
                let (one, other) = (connection.input(), connection.input());
                while let (Ok(first), Ok(second)) = (one.blocking_read(1), other.blocking_read(1)) {
                    say(&output, &format!("{first:?} {second:?}\n"));
                }
            }
            // Goes on as if it had not ended both directions.
            "shutdown" => {
                connection.shutdown(Direction::Both);
                connection.shutdown(Direction::Both);
                eprintln!("read: {:?}", connection.input().blocking_read(1));
                eprintln!("check: {:?}", output.check_write());
                eprintln!("write: {:?}", output.blocking_write_and_flush(b"late"));
            }
            // Says that it is done, and reads on.
            "finish" => {
                connection.shutdown(Direction::Send);
                let input = connection.input();
                let mut received = 0;
                while let Ok(bytes) = input.blocking_read(64 * 1024) {
                    received += bytes.len();
                }
                eprintln!("received {received} bytes");
            }
            // Receives no more, and answers nevertheless.
            "deaf" => {
                connection.shutdown(Direction::Receive);
                let read = connection.input().blocking_read(1);
                say(&output, &format!("{read:?}\n"));
            }
            other => say(&output, &format!("{other}?\n")),
        }
        Ok(())
    }
}

fn echo(input: &InputStream, output: &OutputStream) {
    while let Ok(bytes) = input.blocking_read(64 * 1024) {
        for piece in bytes.chunks(4096) {
            output
                .blocking_write_and_flush(piece)
                .expect("the client reads");
        }
    }
}

fn say(output: &OutputStream, text: &str) {
    for piece in text.as_bytes().chunks(4096) {
        output
            .blocking_write_and_flush(piece)
            .expect("the client reads");
    }
}
