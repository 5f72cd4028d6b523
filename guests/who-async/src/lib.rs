//! What `who-typed` says, in the clothes of WASI 0.3. It writes by the traits of futures-io and waits for nothing: what was written is
//! sent although the handler has returned.

#[path = "../../who-typed/src/line.rs"]
mod line;

use std::io;

use futures_lite::AsyncWriteExt;
use portcullis_guest::asynchronous::Connection;

portcullis_guest::async_handler!(who);

async fn who(mut connection: Connection) -> io::Result<()> {
    let line = line::line(
        &connection.peer(),
        &connection.local(),
        &connection.trigger(),
    );
    connection.write_all(line.as_bytes()).await
}
