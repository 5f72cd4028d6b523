//! Echo in stdio style, in the clothes of WASI 0.3: the component exports `wasi:cli/run`, and standard input and output are streams that
//! are awaited.

use wasip3::cli::types::ErrorCode;
use wasip3::cli::{stdin, stdout};
use wasip3::wit_bindgen::StreamResult;
use wasip3::wit_stream;

wasip3::cli::command::export!(Echo);

struct Echo;

impl wasip3::exports::cli::run::Guest for Echo {
    async fn run() -> Result<(), ()> {
        echo().await.map_err(|error| eprintln!("echo: {error:?}"))
    }
}

async fn echo() -> Result<(), ErrorCode> {
    let (mut input, received) = stdin::read_via_stream();
    let (mut output, data) = wit_stream::new();
    let sent = stdout::write_via_stream(data);
    let mut buffer = Vec::with_capacity(64 * 1024);
    loop {
        let (result, filled) = input.read(buffer).await;
        if result == StreamResult::Dropped {
            break;
        }
        buffer = output.write_all(filled).await;
        if !buffer.is_empty() {
            break;
        }
    }
    drop((input, output));
    received.await?;
    sent.await
}
