//! A TCP path to the server that can be cut without either end hearing of it. It deliberately does not know
//! what passes through it.

use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::listener;

/// Passes connections on to a port of the loopback, for as long as its runtime lives.
pub struct Forwarder {
    pub port: u16,
    cut: watch::Sender<()>,
}

impl Forwarder {
    pub async fn to(server: u16) -> Self {
        let cut = watch::Sender::new(());
        let cuts = cut.clone();
        let port = listener::each(move |client| pass(client, server, cuts.subscribe())).await;
        Self { port, cut }
    }

    /// Passes nothing more on, neither bytes nor the end, on the connections that there are; later ones pass.
    pub fn cut(&self) {
        self.cut.send(()).unwrap();
    }
}

async fn pass(mut client: TcpStream, server: u16, mut cut: watch::Receiver<()>) {
    let mut server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => {}
        // Both sockets stay open, and nobody reads them.
        _ = cut.changed() => std::future::pending().await,
    }
}
