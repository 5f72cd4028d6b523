//! The sockets of WASI 0.2, which are there to be waited for step by step.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use wasip2::http::types::IncomingResponse;
use wasip2::io::streams::{InputStream, OutputStream};
use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::ip_name_lookup::resolve_addresses;
use wasip2::sockets::network::{
    ErrorCode, IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress,
};
use wasip2::sockets::tcp::TcpSocket;
use wasip2::sockets::tcp_create_socket::create_tcp_socket;
use wasip2::sockets::udp::{OutgoingDatagram, UdpSocket};
use wasip2::sockets::udp_create_socket::create_udp_socket;

/// What is kept open. Its streams go before their sockets.
#[derive(Default)]
pub struct Kept {
    connections: Vec<(InputStream, OutputStream, TcpSocket)>,
    sockets: Vec<UdpSocket>,
    answers: Vec<IncomingResponse>,
}

impl Kept {
    /// Connects until it is refused, at most `count` times.
    pub fn connect(&mut self, count: usize, address: &str) -> Result<String, ErrorCode> {
        Ok(counted(count, || {
            self.connections.push(connected(socket(address)?, address)?);
            Ok(())
        }))
    }

    pub fn udp(&mut self, count: usize) -> Result<String, ErrorCode> {
        Ok(counted(count, || {
            self.sockets.push(create_udp_socket(IpAddressFamily::Ipv4)?);
            Ok(())
        }))
    }

    /// Asks until it is refused, and reads no answer.
    pub fn get(&mut self, count: usize, url: &str) -> Result<String, ErrorCode> {
        for opened in 0..count {
            match super::http::send("GET", url, None, 0) {
                Ok(answer) => self.answers.push(answer),
                Err(error) => return Ok(format!("{opened} then Some({error:?})")),
            }
        }
        Ok(format!("{count} then None"))
    }
}

fn counted(count: usize, mut open: impl FnMut() -> Result<(), ErrorCode>) -> String {
    for opened in 0..count {
        if let Err(error) = open() {
            return format!("{opened} then Some({error:?})");
        }
    }
    format!("{count} then None")
}

/// Connects, says `ping`, and gives what is answered.
pub fn tcp(address: &str) -> Result<String, ErrorCode> {
    talk(connected(socket(address)?, address)?)
}

pub fn tcp_from(local: &str, address: &str) -> Result<String, ErrorCode> {
    let socket = bound(local)?;
    talk(connected(socket, address)?)
}

pub fn listen(local: &str) -> Result<String, ErrorCode> {
    let socket = bound(local)?;
    socket.start_listen()?;
    socket.finish_listen()?;
    Ok("listening".to_owned())
}

pub fn udp(address: &str, other: Option<&str>) -> Result<String, ErrorCode> {
    let network = instance_network();
    let socket = create_udp_socket(family(parsed(address)))?;
    socket.start_bind(&network, any(parsed(address)))?;
    socket.finish_bind()?;
    let remote = other.map(|_| ip_socket_address(parsed(address)));
    let (incoming, outgoing) = socket.stream(remote)?;
    outgoing.subscribe().block();
    outgoing.check_send()?;
    let to = parsed(other.unwrap_or(address));
    let sent = outgoing.send(&[OutgoingDatagram {
        data: b"ping".to_vec(),
        remote_address: Some(ip_socket_address(to)),
    }])?;
    assert_eq!(sent, 1, "one datagram");
    let received = loop {
        if let Some(received) = incoming.receive(1)?.pop() {
            break received;
        }
        incoming.subscribe().block();
    };
    Ok(text(&received.data))
}

pub fn udp_connected(address: &str) -> Result<String, ErrorCode> {
    let network = instance_network();
    let socket = create_udp_socket(family(parsed(address)))?;
    socket.start_bind(&network, any(parsed(address)))?;
    socket.finish_bind()?;
    let (incoming, outgoing) = socket.stream(Some(ip_socket_address(parsed(address))))?;
    outgoing.subscribe().block();
    outgoing.check_send()?;
    outgoing.send(&[OutgoingDatagram {
        data: b"ping".to_vec(),
        remote_address: None,
    }])?;
    let received = loop {
        if let Some(received) = incoming.receive(1)?.pop() {
            break received;
        }
        incoming.subscribe().block();
    };
    Ok(text(&received.data))
}

pub fn udp_from(local: &str) -> Result<String, ErrorCode> {
    let socket = create_udp_socket(family(parsed(local)))?;
    socket.start_bind(&instance_network(), ip_socket_address(parsed(local)))?;
    socket.finish_bind()?;
    Ok("bound".to_owned())
}

pub fn resolve(name: &str) -> Result<String, ErrorCode> {
    let found = resolve_addresses(&instance_network(), name)?;
    found.subscribe().block();
    let mut addresses = Vec::new();
    while let Some(address) = found.resolve_next_address()? {
        addresses.push(ip(address).to_string());
    }
    addresses.sort();
    Ok(addresses.join(" "))
}

fn socket(address: &str) -> Result<TcpSocket, ErrorCode> {
    create_tcp_socket(family(parsed(address)))
}

fn bound(local: &str) -> Result<TcpSocket, ErrorCode> {
    let socket = socket(local)?;
    socket.start_bind(&instance_network(), ip_socket_address(parsed(local)))?;
    socket.finish_bind()?;
    Ok(socket)
}

fn connected(
    socket: TcpSocket,
    address: &str,
) -> Result<(InputStream, OutputStream, TcpSocket), ErrorCode> {
    socket.start_connect(&instance_network(), ip_socket_address(parsed(address)))?;
    loop {
        match socket.finish_connect() {
            Ok((input, output)) => return Ok((input, output, socket)),
            Err(ErrorCode::WouldBlock) => socket.subscribe().block(),
            Err(error) => return Err(error),
        }
    }
}

fn talk(
    (input, output, socket): (InputStream, OutputStream, TcpSocket),
) -> Result<String, ErrorCode> {
    let told = output.blocking_write_and_flush(b"ping\n");
    let heard = told.and_then(|()| input.blocking_read(64));
    drop((input, output, socket));
    heard
        .map(|bytes| text(&bytes))
        .map_err(|_| ErrorCode::ConnectionReset)
}

fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

fn parsed(address: &str) -> SocketAddr {
    address.parse().expect("an address is written ADDR:PORT")
}

pub fn family(address: SocketAddr) -> IpAddressFamily {
    if address.is_ipv4() {
        IpAddressFamily::Ipv4
    } else {
        IpAddressFamily::Ipv6
    }
}

fn any(like: SocketAddr) -> IpSocketAddress {
    let ip: IpAddr = if like.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    ip_socket_address(SocketAddr::new(ip, 0))
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
        IpAddress::Ipv4((a, b, c, d)) => [a, b, c, d].into(),
        IpAddress::Ipv6((a, b, c, d, e, f, g, h)) => [a, b, c, d, e, f, g, h].into(),
    }
}
