//! Echo, typed, in the clothes of WASI 0.3: what the client sends is awaited chunk by chunk, and so is what goes back.

use std::io;

use portcullis_guest::asynchronous::Connection;

portcullis_guest::async_handler!(echo);

async fn echo(mut connection: Connection) -> io::Result<()> {
    while let Some(chunk) = connection.chunk().await? {
        connection.send(chunk).await?;
    }
    Ok(())
}
