//! The sockets of WASI 0.3, whose bytes are streams.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use wasip3::http::types::Response;
use wasip3::sockets::ip_name_lookup::{self, resolve_addresses};
use wasip3::sockets::types::{
    ErrorCode, IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress,
    TcpSocket, UdpSocket,
};
use wasip3::wit_bindgen::{FutureReader, StreamReader};
use wasip3::{spawn_local, wit_stream};

/// Bytes from a peer, and how they ended.
type Received = (StreamReader<u8>, FutureReader<Result<(), ErrorCode>>);

/// What is kept open.
#[derive(Default)]
pub struct Kept {
    connections: Vec<TcpSocket>,
    streams: Vec<Received>,
    sockets: Vec<UdpSocket>,
    answers: Vec<Response>,
}

impl Kept {
    /// Closes all, and waits until it is.
    pub async fn close(self) {
        drop((self.connections, self.sockets, self.answers));
        for (bytes, received) in self.streams {
            drop(bytes);
            let _ = received.await;
        }
    }

    /// Connects until it is refused, at most `count` times.
    pub async fn connect(&mut self, count: usize, address: &str) -> Result<String, ErrorCode> {
        for opened in 0..count {
            match connected(address).await {
                Ok(socket) => self.connections.push(socket),
                Err(error) => return Ok(format!("{opened} then Some({error:?})")),
            }
        }
        Ok(format!("{count} then None"))
    }

    pub async fn streams(&mut self, count: usize, address: &str) -> Result<String, ErrorCode> {
        for opened in 0..count {
            match connected(address).await {
                Ok(socket) => self.streams.push(socket.receive()),
                Err(error) => return Ok(format!("{opened} then Some({error:?})")),
            }
        }
        Ok(format!("{count} then None"))
    }

    pub fn udp(&mut self, count: usize) -> Result<String, ErrorCode> {
        for opened in 0..count {
            match UdpSocket::create(IpAddressFamily::Ipv4) {
                Ok(socket) => self.sockets.push(socket),
                Err(error) => return Ok(format!("{opened} then Some({error:?})")),
            }
        }
        Ok(format!("{count} then None"))
    }

    /// Asks until it is refused, and reads no answer.
    pub async fn get(&mut self, count: usize, url: &str) -> Result<String, ErrorCode> {
        for opened in 0..count {
            match super::http::send("GET", url, None, 0).await {
                Ok(answer) => self.answers.push(answer),
                Err(error) => return Ok(format!("{opened} then Some({error:?})")),
            }
        }
        Ok(format!("{count} then None"))
    }
}

/// Connects, says `ping`, and gives what is answered.
pub async fn tcp(address: &str) -> Result<String, ErrorCode> {
    talk(connected(address).await?).await
}

pub async fn tcp_from(local: &str, address: &str) -> Result<String, ErrorCode> {
    let socket = TcpSocket::create(family(parsed(local)))?;
    socket.bind(ip_socket_address(parsed(local)))?;
    socket.connect(ip_socket_address(parsed(address))).await?;
    talk(socket).await
}

pub fn listen(local: &str) -> Result<String, ErrorCode> {
    let socket = TcpSocket::create(family(parsed(local)))?;
    // Without a word on where, which is anywhere.
    if !parsed(local).ip().is_unspecified() {
        socket.bind(ip_socket_address(parsed(local)))?;
    }
    socket.listen()?;
    Ok("listening".to_owned())
}

pub async fn udp(address: &str, other: Option<&str>) -> Result<String, ErrorCode> {
    let socket = UdpSocket::create(family(parsed(address)))?;
    if other.is_some() {
        socket.connect(ip_socket_address(parsed(address)))?;
    }
    let to = parsed(other.unwrap_or(address));
    socket
        .send(b"ping".to_vec(), Some(ip_socket_address(to)))
        .await?;
    let (received, _) = socket.receive().await?;
    Ok(text(&received))
}

pub async fn udp_connected(address: &str) -> Result<String, ErrorCode> {
    let socket = UdpSocket::create(family(parsed(address)))?;
    socket.connect(ip_socket_address(parsed(address)))?;
    socket.send(b"ping".to_vec(), None).await?;
    let (received, _) = socket.receive().await?;
    Ok(text(&received))
}

pub fn udp_from(local: &str) -> Result<String, ErrorCode> {
    let socket = UdpSocket::create(family(parsed(local)))?;
    socket.bind(ip_socket_address(parsed(local)))?;
    Ok("bound".to_owned())
}

pub async fn resolve(name: &str) -> Result<String, ip_name_lookup::ErrorCode> {
    let found = resolve_addresses(name.to_owned()).await?;
    let mut addresses: Vec<String> = found
        .into_iter()
        .map(|found| ip(found).to_string())
        .collect();
    addresses.sort();
    Ok(addresses.join(" "))
}

async fn connected(address: &str) -> Result<TcpSocket, ErrorCode> {
    let socket = TcpSocket::create(family(parsed(address)))?;
    socket.connect(ip_socket_address(parsed(address))).await?;
    Ok(socket)
}

async fn talk(socket: TcpSocket) -> Result<String, ErrorCode> {
    let (to, data) = wit_stream::new();
    let sent = socket.send(data);
    let (mut input, received) = socket.receive();
    // What is sent and received outlives the socket.
    drop(socket);
    spawn_local(super::give(to, b"ping\n".to_vec()));
    let (_, heard) = input.read(Vec::with_capacity(64)).await;
    drop(input);
    received.await?;
    sent.await?;
    Ok(text(&heard))
}

fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

fn parsed(address: &str) -> SocketAddr {
    address.parse().expect("an address is written ADDR:PORT")
}

fn family(address: SocketAddr) -> IpAddressFamily {
    if address.is_ipv4() {
        IpAddressFamily::Ipv4
    } else {
        IpAddressFamily::Ipv6
    }
}

fn ip_socket_address(address: SocketAddr) -> IpSocketAddress {
    match address {
        SocketAddr::V4(address) => IpSocketAddress::Ipv4(Ipv4SocketAddress {
            port: address.port(),
            address: address.ip().octets().into(),
        }),
        SocketAddr::V6(address) => IpSocketAddress::Ipv6(Ipv6SocketAddress {
            port: address.port(),
            flow_info: 0,
            address: address.ip().segments().into(),
            scope_id: 0,
        }),
    }
}

fn ip(address: IpAddress) -> IpAddr {
    match address {
        IpAddress::Ipv4((a, b, c, d)) => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
        IpAddress::Ipv6((a, b, c, d, e, f, g, h)) => {
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, e, f, g, h))
        }
    }
}
