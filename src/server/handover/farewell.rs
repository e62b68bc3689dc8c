//! Clients that no process goes on with.
//!
//! Owns what they still get: what they had not taken, a close frame, and time to take both. It deliberately does not know why
//! they have to go.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::server::handover::pack::records_of;
use crate::server::handover::queue::Received;
use crate::server::handover::records::Record;
use crate::wire::codes::CloseCode;
use crate::wire::frame::encode_close;

/// How long they may take for everything and for their own end of TCP: without that, what they had sent meanwhile would
/// reset the connection, and the reset could overtake the close frame.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often it is looked whether they have.
const LOOK: Duration = Duration::from_millis(5);

/// A client that has to go.
#[derive(Debug)]
pub struct Leaver {
    socket: TcpStream,
    /// What it has not taken, up to its close frame; none where that has been sent.
    unsent: Option<Vec<u8>>,
}

impl Leaver {
    /// One that has not taken this, and goes for this reason.
    pub fn new(socket: TcpStream, mut unsent: Vec<u8>, code: CloseCode) -> Self {
        encode_close(&mut unsent, Some(code.0), code.reason(), None);
        Self { socket, unsent: Some(unsent) }
    }

    /// Whether nothing more is to be done for it.
    fn has_gone(&mut self) -> bool {
        let gone = self.go_on();
        gone.unwrap_or_else(|error| error.kind() != ErrorKind::WouldBlock)
    }

    fn go_on(&mut self) -> io::Result<bool> {
        while let Some(unsent) = self.unsent.as_mut() {
            let written = self.socket.write(unsent)?;
            unsent.drain(..written);
            if unsent.is_empty() {
                self.unsent = None;
                self.socket.shutdown(Shutdown::Write)?;
            }
        }
        while self.socket.read(&mut [0; 4096])? > 0 {}
        Ok(true)
    }
}

/// All clients in there, who go for this reason. What else is in there ends here.
pub fn leavers(received: Received, code: CloseCode) -> Vec<Leaver> {
    // Where not even that can be read, a frame may be cut.
    let records = records_of(&received.state);
    let unsent = |place: usize| records.get(place).map_or_else(Vec::new, Record::unsent);
    let clients = received.clients.into_iter().enumerate();
    let clients = clients
        .filter_map(|(place, socket)| Some(Leaver::new(socket?.into(), unsent(place), code)));
    clients.collect()
}

/// Gives them what they have to get. Waits for those who do not take it, for a second at most.
pub fn say_goodbye(mut leavers: Vec<Leaver>) {
    leavers.retain(|leaver| leaver.socket.set_nonblocking(true).is_ok());
    let end = Instant::now() + PATIENCE;
    loop {
        leavers.retain_mut(|leaver| !leaver.has_gone());
        if leavers.is_empty() || Instant::now() > end {
            return;
        }
        sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::server::handover::records::tests::of_another_version;

    fn connected() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    fn heard(mut client: TcpStream) -> Vec<u8> {
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).unwrap();
        heard
    }

    #[test]
    fn a_close_frame_comes_behind_what_was_not_sent() {
        let (client, server) = connected();
        let (stranger, unknown) = connected();
        // It has said something that nobody reads any longer.
        (&client).write_all(b"hello").unwrap();
        let unsent = vec![b'x'; 3_000_000];
        // Two parts that nobody can read, and one client.
        let part = [&3_u32.to_le_bytes()[..], b"???"].concat();
        let state = [&part[..], &part, &of_another_version(7, &unsent)].concat();
        let reader = std::thread::spawn(move || heard(client));
        let stranger = std::thread::spawn(move || heard(stranger));
        let clients = vec![Some(server.into()), None, Some(unknown.into())];
        let received = Received { state, clients, others: Vec::new() };
        say_goodbye(leavers(received, CloseCode::RESTARTED));
        let (heard, stranger) = (reader.join().unwrap(), stranger.join().unwrap());
        let (before, close) = heard.split_at(unsent.len());
        assert!(before == unsent);
        assert_eq!((close[0], &close[2..4]), (0x88, &1012_u16.to_be_bytes()[..]));
        assert_eq!(close, stranger);
    }

    #[test]
    fn who_takes_nothing_is_waited_for_a_second() {
        let (_client, server) = connected();
        let begun = Instant::now();
        say_goodbye(vec![Leaver::new(server, vec![0; 10_000_000], CloseCode::RESTARTED)]);
        assert!(begun.elapsed() >= PATIENCE);
    }
}
