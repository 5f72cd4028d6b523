//! The load: connections to one server on the loopback, every byte of every answer compared.

pub mod bulk;
pub mod conns;
pub mod idle;
pub mod rtt;
pub mod tally;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use std::{fmt, io};

use fastrand::Rng;
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Source addresses, from 127.0.0.2 on: each has 28,000 ports towards a server, and a port that the
/// client closed is not free for a while.
const SOURCES: u8 = 16;

const MESSAGE: usize = 64;
const ACKNOWLEDGED: &[u8] = b"I got your message: ";
const REQUEST: &[u8] = b"GET /hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
const HELLO: &str = "hello from WASI 0.2\n";

/// What a client and a server say to each other.
#[derive(Clone, Copy, PartialEq)]
pub enum Dialogue {
    /// Random bytes come back.
    Echo,
    /// They come back behind some words.
    Message,
    /// One request, answered by `guests/http-echo`; the server closes.
    Http,
}

/// Why an answer was not the expected one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    Refused,
    Reset,
    /// Not whole in time.
    Late,
    /// Ended before it was whole.
    Short,
    /// Other bytes than were expected.
    Wrong,
    /// The client had no port or descriptor left: the measurement is at fault, not the server.
    Exhausted,
    Other,
}

/// How often each occurred.
pub type Faults = BTreeMap<Fault, u32>;

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{self:?}").to_lowercase())
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        use Errno::{EADDRINUSE, EADDRNOTAVAIL, EMFILE, ENFILE};
        match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ECONNREFUSED) => Self::Refused,
            Some(Errno::ECONNRESET | Errno::ECONNABORTED | Errno::EPIPE) => Self::Reset,
            Some(EADDRNOTAVAIL | EADDRINUSE | EMFILE | ENFILE) => Self::Exhausted,
            _ => Self::Other,
        }
    }
}

/// Opens connections to one server and knows what it is to answer.
pub struct Client {
    to: SocketAddr,
    dialogue: Dialogue,
    opened: Cell<u8>,
    random: RefCell<Rng>,
}

impl Client {
    pub fn new(to: SocketAddr, dialogue: Dialogue) -> Self {
        let (opened, random) = Default::default();
        Self {
            to,
            dialogue,
            opened,
            random,
        }
    }

    pub async fn connect(&self) -> Result<TcpStream, Fault> {
        let source = Ipv4Addr::new(127, 0, 0, 2 + self.opened.get() % SOURCES);
        self.opened.set(self.opened.get().wrapping_add(1));
        let socket = TcpSocket::new_v4()?;
        socket.set_nodelay(true)?;
        // The port is chosen when it is known where to: one may serve for several servers.
        setsockopt(&socket, IpBindAddressNoPort, &true).map_err(io::Error::from)?;
        socket.bind((source, 0).into())?;
        Ok(socket.connect(self.to).await?)
    }

    /// A connection that has had one answer.
    pub async fn open(&self) -> Result<TcpStream, Fault> {
        let opening = async {
            let mut stream = self.connect().await?;
            self.say(&mut stream).await.map(|()| stream)
        };
        timeout(PATIENCE, opening).await.unwrap_or(Err(Fault::Late))
    }

    /// One question and its answer.
    pub async fn ask(&self, stream: &mut TcpStream) -> Result<(), Fault> {
        timeout(PATIENCE, self.say(stream))
            .await
            .unwrap_or(Err(Fault::Late))
    }

    async fn say(&self, stream: &mut TcpStream) -> Result<(), Fault> {
        let mut message = [0; MESSAGE];
        self.random.borrow_mut().fill(&mut message);
        match self.dialogue {
            Dialogue::Http => request(stream).await,
            Dialogue::Echo => {
                stream.write_all(&message).await?;
                expect(stream, &message).await
            }
            Dialogue::Message => {
                // The service is written in C: a message is a string, and has no NUL.
                message = message.map(|byte| byte | 1);
                stream.write_all(&message).await?;
                expect(stream, &[ACKNOWLEDGED, &message].concat()).await
            }
        }
    }
}

/// Reads what is expected, and notices a byte more if it comes along.
async fn expect(stream: &mut TcpStream, expected: &[u8]) -> Result<(), Fault> {
    let mut answer = [0; ACKNOWLEDGED.len() + MESSAGE + 1];
    let mut length = 0;
    while length < expected.len() {
        length += match stream.read(&mut answer[length..=expected.len()]).await? {
            0 => return Err(Fault::Short),
            more => more,
        };
        if !expected.starts_with(&answer[..length]) {
            return Err(Fault::Wrong);
        }
    }
    Ok(())
}

/// The answer ends with the connection. Its head is the server's but for the status; the body may be
/// chunked.
async fn request(stream: &mut TcpStream) -> Result<(), Fault> {
    stream.write_all(REQUEST).await?;
    let mut answer = Vec::with_capacity(1024);
    stream.read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(Fault::Short)?;
    let chunked = format!("{:x}\r\n{HELLO}\r\n0\r\n\r\n", HELLO.len());
    match body {
        _ if !head.starts_with("HTTP/1.1 200 OK") => Err(Fault::Wrong),
        body if body == HELLO || body == chunked => Ok(()),
        body if HELLO.starts_with(body) || chunked.starts_with(body) => Err(Fault::Short),
        _ => Err(Fault::Wrong),
    }
}

#[cfg(test)]
mod tests;
