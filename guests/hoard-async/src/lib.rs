//! Opens what lies in its first directory in the way that each line of its standard input names, and keeps it, until it is refused; it
//! answers with how many it has opened, and why no more. `drop` lets go of all; `list` names what lies in the directory.

use std::future::{Future, poll_fn};
use std::mem;
use std::pin::Pin;
use std::task::Poll;

use wasip3::cli::{stdin, stdout};
use wasip3::filesystem::preopens::get_directories;
use wasip3::filesystem::types::{
    Descriptor, DescriptorFlags, DirectoryEntry, ErrorCode, OpenFlags, PathFlags,
};
use wasip3::wit_bindgen::{FutureReader, StreamReader, StreamResult, StreamWriter};
use wasip3::wit_stream;

wasip3::cli::command::export!(Hoard);

struct Hoard;

/// How a stream has ended.
type Ended = FutureReader<Result<(), ErrorCode>>;

/// What is kept of a file or a directory: its handle, or a stream without it.
enum Kept {
    Handle(#[allow(dead_code)] Descriptor),
    Bytes(StreamReader<u8>, Ended),
    Entries(StreamReader<DirectoryEntry>, Ended),
    Sink(StreamWriter<u8>, Ended),
}

impl wasip3::exports::cli::run::Guest for Hoard {
    async fn run() -> Result<(), ()> {
        let (dir, _) = get_directories().remove(0);
        let (mut input, _) = stdin::read_via_stream();
        let (mut output, data) = wit_stream::new();
        let sent = stdout::write_via_stream(data);
        let mut kept = Vec::new();
        loop {
            // A client that says one line and waits is heard one line at a time.
            let (result, line) = input.read(Vec::with_capacity(1024)).await;
            if result == StreamResult::Dropped {
                break;
            }
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            let answer = match line.as_str() {
                "drop" => {
                    for each in mem::take(&mut kept) {
                        let_go(each).await;
                    }
                    "all".to_owned()
                }
                "list" => list(&dir).await,
                // Not one after the other: all are begun before any is there.
                "at-once" => {
                    let begun = (0..200).map(|_| keep(&dir, "handles"));
                    let done = all(begun.collect()).await;
                    let before = kept.len();
                    let mut refused = None;
                    for each in done {
                        match each {
                            Ok(each) => kept.push(each),
                            Err(error) => refused = Some(error),
                        }
                    }
                    format!("{} then {refused:?}", kept.len() - before)
                }
                way => {
                    let before = kept.len();
                    let refused = loop {
                        match keep(&dir, way).await {
                            Ok(each) => kept.push(each),
                            Err(error) => break error,
                        }
                    };
                    format!("{} then {refused:?}", kept.len() - before)
                }
            };
            output
                .write_all(format!("{line}: {answer}\n").into_bytes())
                .await;
        }
        drop(output);
        sent.await.map_err(|error| eprintln!("hoard: {error:?}"))
    }
}

/// One more, in one of the ways.
async fn keep(dir: &Descriptor, way: &str) -> Result<Kept, ErrorCode> {
    match way {
        "handles" => open(dir, "file", DescriptorFlags::READ)
            .await
            .map(Kept::Handle),
        "reads" => {
            let file = open(dir, "file", DescriptorFlags::READ).await?;
            let (mut bytes, ended) = file.read_via_stream(0);
            bytes.read(Vec::with_capacity(1)).await;
            Ok(Kept::Bytes(bytes, ended))
        }
        "writes" => {
            let file = open(dir, "written", DescriptorFlags::WRITE).await?;
            let (mut sink, data) = wit_stream::new();
            let ended = file.write_via_stream(data, 0);
            sink.write_all(b"x".to_vec()).await;
            Ok(Kept::Sink(sink, ended))
        }
        "appends" => {
            let file = open(dir, "written", DescriptorFlags::WRITE).await?;
            let (sink, data) = wit_stream::new();
            let ended = file.append_via_stream(data);
            Ok(Kept::Sink(sink, ended))
        }
        // The directory has one handle, and a descriptor for each who reads it.
        "lists" => entries(dir).await,
        // The same of one that is opened for it.
        "folders" => {
            let flags = (OpenFlags::DIRECTORY, DescriptorFlags::READ);
            let dir = dir
                .open_at(PathFlags::empty(), ".".to_owned(), flags.0, flags.1)
                .await?;
            entries(&dir).await
        }
        _ => Err(ErrorCode::Unsupported),
    }
}

async fn open(
    dir: &Descriptor,
    name: &str,
    flags: DescriptorFlags,
) -> Result<Descriptor, ErrorCode> {
    dir.open_at(
        PathFlags::empty(),
        name.to_owned(),
        OpenFlags::CREATE,
        flags,
    )
    .await
}

/// The entries after the first.
async fn entries(dir: &Descriptor) -> Result<Kept, ErrorCode> {
    let (mut entries, ended) = dir.read_directory();
    let (_, first) = entries.read(Vec::with_capacity(1)).await;
    if first.is_empty() {
        return Err(ended.await.expect_err("it is not empty"));
    }
    Ok(Kept::Entries(entries, ended))
}

/// Closes it, and waits until it is.
async fn let_go(kept: Kept) {
    let ended = match kept {
        Kept::Handle(_) => return,
        Kept::Bytes(stream, ended) => {
            drop(stream);
            ended
        }
        Kept::Entries(stream, ended) => {
            drop(stream);
            ended
        }
        Kept::Sink(stream, ended) => {
            drop(stream);
            ended
        }
    };
    let _ = ended.await;
}

/// Names and kinds, in the order of the names.
async fn list(dir: &Descriptor) -> String {
    let (entries, ended) = dir.read_directory();
    let entries = entries.collect().await;
    let mut names: Vec<_> = entries
        .into_iter()
        .map(|entry| format!("{} {:?}", entry.name, entry.type_))
        .collect();
    names.sort();
    format!("{:?}, {}", ended.await, names.join(", "))
}

/// What becomes of all of these, which go on side by side.
async fn all<T>(futures: Vec<impl Future<Output = T>>) -> Vec<T> {
    let mut under_way: Vec<Pin<Box<_>>> = futures.into_iter().map(Box::pin).collect();
    let mut done = Vec::new();
    poll_fn(|cx| {
        under_way.retain_mut(|future| match future.as_mut().poll(cx) {
            Poll::Ready(result) => {
                done.push(result);
                false
            }
            Poll::Pending => true,
        });
        if under_way.is_empty() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    done
}
