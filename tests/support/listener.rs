//! Listening for connections on the loopback. It deliberately does not know what is done with them.

use tokio::net::{TcpListener, TcpStream};

/// Does this with each connection to a port of its own, for as long as the runtime lives: the port.
pub async fn each<Work: Future<Output = ()> + Send + 'static>(
    mut work: impl FnMut(TcpStream) -> Work + Send + 'static,
) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            tokio::spawn(work(client));
        }
    });
    port
}
