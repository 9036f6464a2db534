//! The client's end of a connection: octets in pieces, lines back, in clear text or under TLS. Fails by saying why.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use socket2::{Domain, Socket, Type};

use crate::harness::PATIENCE;

/// One connection.
pub(super) struct Wire {
    stream: Stream,
    got: Vec<u8>,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    /// While it changes from one to the other.
    None,
}

/// An address of this host to connect from, before anybody is connected to.
pub(super) struct Unconnected {
    socket: Socket,
    /// What the server will see.
    pub(super) address: SocketAddr,
}

impl Unconnected {
    /// Takes a port of this address.
    pub(super) fn from(ip: IpAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(ip, 0).into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        Self { socket, address }
    }

    /// Goes on to the server. Nothing was read.
    pub(super) fn connect(self, server: SocketAddr) -> Result<Wire, String> {
        self.socket.connect(&server.into()).map_err(|error| format!("not connected: {error}"))?;
        let stream: TcpStream = self.socket.into();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Ok(Wire { stream: Stream::Plain(stream), got: Vec::new() })
    }
}

impl Wire {
    /// The handshake.
    pub(super) fn start_tls(&mut self, config: &Arc<ClientConfig>) -> Result<(), String> {
        if !self.got.is_empty() {
            return Err(format!("clear text before the handshake: {:?}", self.got));
        }
        let Stream::Plain(mut stream) = std::mem::replace(&mut self.stream, Stream::None) else {
            return Err("TLS is on already".into());
        };
        let name = ServerName::try_from("mx.example.net").unwrap();
        let mut connection = ClientConnection::new(Arc::clone(config), name).unwrap();
        while connection.is_handshaking() {
            connection.complete_io(&mut stream).map_err(|error| format!("no TLS: {error}"))?;
        }
        self.stream = Stream::Tls(Box::new(StreamOwned::new(connection, stream)));
        Ok(())
    }

    /// Sends in pieces. A server that has closed need not take them all.
    pub(super) fn send(&mut self, octets: &[u8], piece: usize) {
        for piece in octets.chunks(piece.min(octets.len().max(1))) {
            let written = match &mut self.stream {
                Stream::Plain(stream) => stream.write_all(piece),
                Stream::Tls(stream) => stream.write_all(piece).and_then(|()| stream.flush()),
                Stream::None => return,
            };
            if written.is_err() {
                return;
            }
        }
    }

    /// The next line, without its end; none after the server's last.
    pub(super) fn line(&mut self) -> Result<Option<String>, String> {
        loop {
            if let Some(end) = self.got.iter().position(|octet| *octet == b'\n') {
                let line: Vec<u8> = self.got.drain(..=end).collect();
                let line = line.strip_suffix(b"\r\n").ok_or("a reply ends without CRLF")?;
                return String::from_utf8(line.into()).map(Some).map_err(|error| error.to_string());
            }
            if self.fill()? == 0 {
                return if self.got.is_empty() { Ok(None) } else { Err(format!("half a line: {:?}", self.got)) };
            }
        }
    }

    /// Everything up to the end that the server makes, or that our own makes it make.
    pub(super) fn rest(&mut self, closed_by_server: bool) -> Result<String, String> {
        if !closed_by_server {
            match &mut self.stream {
                Stream::Plain(stream) => drop(stream.shutdown(std::net::Shutdown::Write)),
                Stream::Tls(stream) => {
                    stream.conn.send_close_notify();
                    let _ = stream.flush();
                    drop(stream.sock.shutdown(std::net::Shutdown::Write));
                }
                Stream::None => {}
            }
        }
        while self.fill()? > 0 {}
        Ok(String::from_utf8_lossy(&self.got).into_owned())
    }

    fn fill(&mut self) -> Result<usize, String> {
        let mut octets = [0; 4096];
        let read = match &mut self.stream {
            Stream::Plain(stream) => stream.read(&mut octets),
            Stream::Tls(stream) => stream.read(&mut octets),
            Stream::None => Ok(0),
        };
        match read {
            Ok(count) => {
                self.got.extend_from_slice(&octets[..count]);
                Ok(count)
            }
            // With octets of ours that it had not read, the server's end is a reset; under TLS without a farewell.
            Err(error) => match error.kind() {
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof => Ok(0),
                ErrorKind::WouldBlock | ErrorKind::TimedOut => Err(format!("nothing came within {PATIENCE:?}")),
                _ => Err(error.to_string()),
            },
        }
    }
}
