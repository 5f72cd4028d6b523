//! Tries what the crate for guests offers in the clothes of WASI 0.3, by the word that is its first argument:
//!
//! - `lines` answers each line with its number and itself, by the traits of futures-io;
//! - `all` reads to the end and answers how many bytes there were;
//! - `small` echoes through a buffer of three bytes;
//! - `copy` echoes by what others have made for those traits, reading and writing by the two halves, and closes;
//! - `tasks` writes three lines in one task and reads in another, which says in the log how much; both outlive the handler;
//! - `fickle` echoes, but gives up waiting for each chunk once before it waits for it in earnest;
//! - `half` says `bye`, ends its direction, and reads on; what it read and how a late write fails, it says in the log;
//! - `deaf` ends the other direction, and answers;
//! - `wait` says `ready` and reads to the end; how reading fails, it says in the log;
//! - `push` sends the letter x until that fails, and says in the log how;
//! - `debug` answers what the connection looks like to a programmer.

use std::error::Error;
use std::io;

use futures_lite::future::poll_once;
use futures_lite::io::copy;
use futures_lite::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, StreamExt};
use portcullis_guest::asynchronous::{Connection, Reader, spawn};

portcullis_guest::async_handler!(probe);

async fn probe(mut connection: Connection) -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1).as_deref() {
        Some("lines") => {
            let (reader, writer) = connection.halves();
            let mut lines = reader.lines();
            let mut number = 0;
            while let Some(line) = lines.next().await {
                number += 1;
                let answer = format!("{number} {}\n", line?);
                writer.write_all(answer.as_bytes()).await?;
            }
        }
        Some("all") => {
            let mut all = Vec::new();
            let length = connection.read_to_end(&mut all).await?;
            let answer = format!("{length} {}\n", all.len());
            connection.write_all(answer.as_bytes()).await?;
            connection.flush().await?;
        }
        Some("small") => {
            let mut buffer = [0; 3];
            loop {
                match connection.read(&mut buffer).await? {
                    0 => break,
                    length => connection.write_all(&buffer[..length]).await?,
                }
            }
        }
        Some("copy") => {
            let (reader, mut writer) = connection.into_split();
            let copied = copy(reader, &mut writer).await?;
            writer.close().await?;
            eprintln!("copied {copied}");
        }
        Some("tasks") => tasks(connection),
        Some("fickle") => loop {
            let chunk = match poll_once(connection.chunk()).await {
                Some(chunk) => chunk?,
                None => connection.chunk().await?,
            };
            let Some(chunk) = chunk else { break };
            connection.send(chunk).await?;
        },
        Some("half") => {
            connection.send(b"bye\n".to_vec()).await?;
            connection.finish().await?;
            let (reader, _) = connection.halves();
            let read = count(reader).await?;
            let late = connection.send(b"late".to_vec()).await;
            eprintln!(
                "read {read}, wrote {:?}",
                late.map_err(|error| error.kind())
            );
        }
        Some("deaf") => {
            let (reader, mut writer) = connection.into_split();
            drop(reader);
            writer.send(b"deaf\n".to_vec()).await?;
        }
        Some("wait") => {
            connection.send(b"ready\n".to_vec()).await?;
            let (mut reader, _writer) = connection.into_split();
            let read = count(&mut reader).await;
            eprintln!("read {:?}", read.map_err(|error| error.kind()));
        }
        Some("push") => loop {
            if let Err(error) = connection.write_all(&[b'x'; 64 * 1024]).await {
                eprintln!("wrote {:?}", error.kind());
                break;
            }
        },
        Some("debug") => {
            let answer = format!("{connection:?}\n");
            connection.send(answer.into_bytes()).await?;
        }
        other => return Err(format!("no way to try {other:?}").into()),
    }
    Ok(())
}

async fn count(reader: &mut Reader) -> io::Result<usize> {
    let mut read = 0;
    while let Some(chunk) = reader.chunk().await? {
        read += chunk.len();
    }
    Ok(read)
}

/// One task reads, another writes, and the handler waits for neither.
fn tasks(connection: Connection) {
    let (mut reader, mut writer) = connection.into_split();
    spawn(async move { eprintln!("read {:?}", count(&mut reader).await) });
    spawn(async move {
        for line in ["one\n", "two\n", "three\n"] {
            if let Err(error) = writer.send(line.into()).await {
                eprintln!("wrote {error}");
            }
        }
    });
}
