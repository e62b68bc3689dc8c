//! What lies between a browser and what it talks to: an address translation, and a proxy that knows no
//! WebSocket. It deliberately does not know what passes through it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpStream, UdpSocket};

use crate::listener;

/// The largest datagram there is.
const DATAGRAM: usize = 65_536;

/// Passes datagrams on to a port of the loopback, those of each sender from a port of their own: a port.
pub async fn translation(server: u16) -> u16 {
    let inside = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let port = inside.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut outsides = HashMap::new();
        let mut buffer = vec![0; DATAGRAM];
        loop {
            let (length, sender) = inside.recv_from(&mut buffer).await.unwrap();
            let outside = match outsides.get(&sender) {
                Some(outside) => Arc::clone(outside),
                None => {
                    let outside = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
                    outside.connect(("127.0.0.1", server)).await.unwrap();
                    tokio::spawn(answer(Arc::clone(&outside), Arc::clone(&inside), sender));
                    outsides.insert(sender, Arc::clone(&outside));
                    outside
                }
            };
            let _ = outside.send(&buffer[..length]).await;
        }
    });
    port
}

/// Passes what comes from outside back to whom it is for.
async fn answer(outside: Arc<UdpSocket>, inside: Arc<UdpSocket>, sender: SocketAddr) {
    let mut buffer = vec![0; DATAGRAM];
    while let Ok(length) = outside.recv(&mut buffer).await {
        let _ = inside.send_to(&buffer[..length], sender).await;
    }
}

/// What a proxy does with `Upgrade` and `Connection`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Upgrade {
    Passes,
    /// As nginx does that was not told otherwise.
    Stripped,
}

/// Passes one request a connection on to a port of the loopback, and says 502 where nothing answers: a port.
pub async fn proxy(server: u16, upgrade: Upgrade) -> u16 {
    listener::each(move |client| async move {
        let _ = pass(client, server, upgrade).await;
    })
    .await
}

async fn pass(mut client: TcpStream, server: u16, upgrade: Upgrade) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let is_upgrade = head.to_ascii_lowercase().contains("\r\nupgrade:");
    let is_hop = |line: &str| {
        let line = line.to_ascii_lowercase();
        line.starts_with("upgrade:") || line.starts_with("connection:")
    };
    let head = if is_upgrade && upgrade == Upgrade::Passes {
        head
    } else {
        let lines = head.trim_end().split("\r\n").filter(|line| !is_hop(line));
        lines.chain(["Connection: close", "", ""]).collect::<Vec<_>>().join("\r\n")
    };
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", server)).await else {
        let answer = "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        return client.write_all(answer.as_bytes()).await.ok();
    };
    server.write_all(head.as_bytes()).await.ok()?;
    copy_bidirectional(&mut client, &mut server).await.ok()?;
    Some(())
}
