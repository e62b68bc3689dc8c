//! Ports for servers of others, which can't be given a socket. It deliberately does not know them.

use std::net::{TcpListener, UdpSocket};

/// A port of the loopback that is free for UDP and TCP. Port 0 means its default to coturn.
pub fn free_port() -> u16 {
    loop {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = udp.local_addr().unwrap().port();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
