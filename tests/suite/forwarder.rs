//! A port in front of a server, with TLS if there is a certificate, that stays when the server changes.
//!
//! Owns the bytes on their way. It deliberately does not know what they say.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use crate::listener;

/// Passes connections on for as long as it lives.
pub struct Forwarder {
    pub port: u16,
    /// The server's port on this machine. Where nobody listens, a connection ends after the first that is said on it.
    server: Arc<AtomicU16>,
    /// Its end ends the forwarder.
    _alive: oneshot::Sender<()>,
}

impl Forwarder {
    pub fn plain(server: u16) -> Self {
        Self::start(server, None)
    }

    /// Shows the certificates in `chain`, the server's first.
    pub fn with_tls(server: u16, chain: &Path, key: &Path) -> Self {
        let chain = CertificateDer::pem_file_iter(chain).unwrap().map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(key).unwrap();
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key);
        Self::start(server, Some(TlsAcceptor::from(Arc::new(config.unwrap()))))
    }

    /// Where connections lead from now on.
    pub fn lead_to(&self, server: u16) {
        self.server.store(server, Ordering::SeqCst);
    }

    fn start(server: u16, tls: Option<TlsAcceptor>) -> Self {
        let server = Arc::new(AtomicU16::new(server));
        let leads_to = Arc::clone(&server);
        let (alive, ended) = oneshot::channel();
        let (say, said) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let pass =
                    move |client| forward(client, leads_to.load(Ordering::SeqCst), tls.clone());
                say.send(listener::each(pass).await).unwrap();
                let _ = ended.await;
            });
        });
        Self { port: said.recv().unwrap(), server, _alive: alive }
    }
}

async fn forward(client: TcpStream, server: u16, tls: Option<TlsAcceptor>) {
    match tls {
        None => pass(client, server).await,
        Some(tls) => {
            // A client that does not trust the certificate does not come this far.
            if let Ok(client) = tls.accept(client).await {
                pass(client, server).await;
            }
        }
    }
}

async fn pass(mut client: impl AsyncRead + AsyncWrite + Unpin, server: u16) {
    match TcpStream::connect(("127.0.0.1", server)).await {
        // How it ends is what the two ends of the test look at.
        Ok(mut server) => drop(copy_bidirectional(&mut client, &mut server).await),
        // What is not read would be a reset, or not, as the two ends happen to run.
        Err(_) => drop(client.read(&mut [0; 4096]).await),
    }
}
