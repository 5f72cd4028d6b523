//! Servers for guests to reach, on addresses of this machine; each counts who comes.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::support::PATIENCE;

/// A server with its address, and how many have come to it.
pub struct Server {
    pub address: SocketAddr,
    seen: Arc<AtomicUsize>,
    gone: mpsc::Receiver<()>,
}

impl Server {
    /// Connections, or datagrams, so far.
    pub fn seen(&self) -> usize {
        self.seen.load(Ordering::SeqCst)
    }

    /// Waits until `count` more connections have come to their end.
    pub fn left(&self, count: usize) {
        for _ in 0..count {
            self.gone.recv_timeout(PATIENCE).expect("they end");
        }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }
}

/// Answers `pong` and a line's end to whatever it is told.
pub fn pong(ip: &str) -> Server {
    pong_at(SocketAddr::new(ip.parse().unwrap(), 0)).unwrap()
}

/// The same at the port of another server, if it is free there.
pub fn pong_at(address: SocketAddr) -> io::Result<Server> {
    serve(TcpListener::bind(address)?, |mut stream| {
        let mut told = [0; 64];
        while let Ok(1..) = stream.read(&mut told) {
            if stream.write_all(b"pong\n").is_err() {
                break;
            }
        }
    })
}

/// Answers `pong` to every datagram.
pub fn udp(ip: &str) -> Server {
    let ip: IpAddr = ip.parse().unwrap();
    let socket = UdpSocket::bind((ip, 0)).unwrap();
    let address = socket.local_addr().unwrap();
    let seen = Arc::new(AtomicUsize::new(0));
    let count = seen.clone();
    thread::spawn(move || {
        while let Ok((_, from)) = socket.recv_from(&mut [0; 64]) {
            count.fetch_add(1, Ordering::SeqCst);
            let _ = socket.send_to(b"pong", from);
        }
    });
    let (_, gone) = mpsc::channel();
    Server {
        address,
        seen,
        gone,
    }
}

/// An HTTP server whose answers depend on the path (see `answer`), and what it has sent of endless answers.
pub fn http(ip: &str) -> (Server, mpsc::Receiver<usize>) {
    let (tell, told) = mpsc::channel();
    let listener = TcpListener::bind((ip.parse::<IpAddr>().unwrap(), 0)).unwrap();
    let server = serve(listener, move |mut stream| answer(&mut stream, &tell)).unwrap();
    (server, told)
}

/// The same, encrypted, for `localhost`, 127.0.0.1 and `::1`.
pub fn https(ip: &str) -> Server {
    let certificate = CertificateDer::from_pem_file(tls("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(tls("server.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let config = Arc::new(config);
    let (tell, _) = mpsc::channel();
    let listener = TcpListener::bind((ip.parse::<IpAddr>().unwrap(), 0)).unwrap();
    serve(listener, move |stream| {
        let session = ServerConnection::new(config.clone()).unwrap();
        answer(&mut StreamOwned::new(session, stream), &tell);
    })
    .unwrap()
}

/// A file for encryption.
pub fn tls(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/network/tls")
        .join(name)
}

fn serve(
    listener: TcpListener,
    each: impl Fn(TcpStream) + Send + Sync + 'static,
) -> io::Result<Server> {
    let address = listener.local_addr()?;
    let seen = Arc::new(AtomicUsize::new(0));
    let (count, each) = (seen.clone(), Arc::new(each));
    let (tell, gone) = mpsc::channel();
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            count.fetch_add(1, Ordering::SeqCst);
            let (each, tell) = (each.clone(), tell.clone());
            thread::spawn(move || {
                each(stream);
                // Not every test wants to know.
                let _ = tell.send(());
            });
        }
    });
    Ok(Server {
        address,
        seen,
        gone,
    })
}

/// Bytes of `/large`.
pub const LARGE: usize = 128 << 20;

/// Answers one request. Whoever is left waiting is so until it goes away.
fn answer(stream: &mut (impl Read + Write), endless: &mpsc::Sender<usize>) {
    let mut stream = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        match stream.read_line(&mut line) {
            Ok(1..) if line.trim_end().is_empty() => break,
            Ok(1..) => lines.push(line.trim_end().to_owned()),
            Ok(0) | Err(_) => return,
        }
    }
    let header = |name: &str| {
        let mut found = lines.iter().filter_map(|line| line.split_once(": "));
        found
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.to_owned())
    };
    let path = lines[0].split(' ').nth(1).unwrap_or_default().to_owned();
    let text = |text: &str| {
        format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}",
            text.len()
        )
        .into_bytes()
    };
    let (answer, then_waits) = match path.as_str() {
        "/host" => (text(&header("host").unwrap_or_default()), false),
        "/head" => (text(&lines.join("|")), false),
        "/count" => {
            let length = header("content-length").and_then(|length| length.parse().ok());
            let body = match length {
                Some(length) => length,
                None => chunks(&mut stream).unwrap_or(usize::MAX),
            };
            let mut rest = vec![0; length.unwrap_or_default()];
            let _ = stream.read_exact(&mut rest);
            (text(&body.to_string()), false)
        }
        "/chunked" => {
            let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n";
            (answer.into(), false)
        }
        "/elsewhere" => {
            let answer =
                "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
            (answer.into(), false)
        }
        "/never" => (Vec::new(), true),
        "/close" => (Vec::new(), false),
        "/no-http" => (b"220 mail.example ready\r\n".into(), true),
        "/long-head" => {
            let long = "x".repeat(1 << 20);
            (
                format!("HTTP/1.1 200 OK\r\nlong: {long}\r\n\r\n").into_bytes(),
                true,
            )
        }
        "/half" => (
            b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf".into(),
            true,
        ),
        "/cut" => (
            b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf".into(),
            false,
        ),
        "/large" => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {LARGE}\r\n\r\n");
            (head.into_bytes(), false)
        }
        "/endless" => (b"HTTP/1.1 200 OK\r\n\r\n".into(), false),
        _ => (text(&path), false),
    };
    let wire = stream.get_mut();
    if wire.write_all(&answer).and_then(|()| wire.flush()).is_err() {
        return;
    }
    let part = vec![b'x'; 64 * 1024];
    match path.as_str() {
        "/large" => {
            for _ in 0..LARGE / part.len() {
                if wire.write_all(&part).is_err() {
                    return;
                }
            }
        }
        "/endless" => {
            let mut sent = 0;
            while wire.write_all(&part).is_ok() {
                sent += part.len();
            }
            let _ = endless.send(sent);
        }
        _ => {}
    }
    if then_waits {
        let _ = stream.read(&mut [0; 1]);
        let _ = endless.send(0);
    }
}

/// The size of a chunked body.
fn chunks(stream: &mut impl io::BufRead) -> io::Result<usize> {
    let mut size = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let length = usize::from_str_radix(line.trim_end(), 16).map_err(io::Error::other)?;
        let mut chunk = vec![0; length + 2];
        stream.read_exact(&mut chunk)?;
        if length == 0 {
            return Ok(size);
        }
        size += length;
    }
}
