//! Echo as a tokio server: it accepts in a loop and gives each connection a task, as it would anywhere else. Here there is only ever
//! one connection; once that is closed and nothing but the listener could wake the program, the host knows that it has finished.

use std::env;
use std::io;
use std::os::fd::FromRawFd;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let listener = listener()?;
    loop {
        let (connection, _) = listener.accept().await?;
        tokio::spawn(async move {
            if let Err(error) = echo(connection).await {
                eprintln!("echo: {error}");
            }
        });
    }
}

async fn echo(mut connection: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        match connection.read(&mut buffer).await? {
            0 => return Ok(()),
            length => connection.write_all(&buffer[..length]).await?,
        }
    }
}

fn listener() -> io::Result<TcpListener> {
    let fd = env::var("UPSTART_FDS").unwrap_or_else(|_| "3".into());
    let fd = fd.parse().map_err(io::Error::other)?;
    // SAFETY: the host opened this descriptor for us, and nothing else in the program owns it.
    let listener = unsafe { std::net::TcpListener::from_raw_fd(fd) };
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}
