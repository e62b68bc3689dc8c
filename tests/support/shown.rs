//! What the other end of TLS shows.

use rustls::pki_types::CertificateDer;

use crate::secure::Stream;

/// The certificate that the other end shows.
pub fn shown(mut stream: Stream) -> CertificateDer<'static> {
    stream.conn.complete_io(&mut stream.sock).unwrap();
    stream.conn.peer_certificates().unwrap()[0].clone().into_owned()
}
