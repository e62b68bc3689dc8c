//! The queue through which everything goes: one descriptor for systemd, however many clients there are.
//!
//! Owns how the state and the sockets lie in it (unix(7), `SOCK_SEQPACKET` and `SCM_RIGHTS`). systemd needs time that grows
//! with the square of the descriptors that it is given. It deliberately does not know what the state says.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
    sockopt,
};

/// The most descriptors in a message (unix(7), `SCM_MAX_FD`).
const MOST: usize = 253;

/// What the sending end may hold, in bytes: by default 278 messages, with 70,334 descriptors.
const BUFFER: usize = 1024 * 1024;

/// What a message of the state says, and how it begins in each version.
const STATE: &[u8] = b"openstudio-signaling 1\n";
const ANY_STATE: &[u8] = b"openstudio-signaling ";

/// How a message with the sockets of clients begins, which then has the place of the first one; and what one with others
/// says. It is so in each version: nobody but a client is told goodbye.
const CLIENTS: &str = "clients ";
const OTHERS: &[u8] = b"others\n";

/// The largest state that is read, in bytes: 4 KiB for each of 200,000 clients.
const MOST_STATE: u64 = 1024 * 1024 * 1024;

/// The most clients that there may be: a place beyond them is none.
const MOST_CLIENTS: usize = 1_000_000;

/// The sending end.
#[derive(Debug)]
pub struct Sender(OwnedFd);

/// The receiving end, which is what is stored.
#[derive(Debug)]
pub struct Receiver(OwnedFd);

/// One message of it.
struct Message {
    text: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

/// What is put into the queue.
#[derive(Debug)]
pub struct Contents<S> {
    /// The state.
    pub state: Vec<u8>,
    /// The sockets of clients, in the order in which the state has them.
    pub clients: Vec<S>,
    /// Those that are not to be missed either.
    pub others: Vec<OwnedFd>,
    /// Those of connections without a request. Where there is no room for all, they end.
    pub connected: Vec<OwnedFd>,
}

/// What lies in the queue.
#[derive(Debug, Default)]
pub struct Received {
    /// The state, where it was not read before.
    pub state: Vec<u8>,
    /// The sockets of clients, each at its place: one that did not come is missing.
    pub clients: Vec<Option<OwnedFd>>,
    /// All others.
    pub others: Vec<OwnedFd>,
}

/// An empty queue.
///
/// # Errors
///
/// What socketpair(2) says.
pub fn queue() -> io::Result<(Sender, Receiver)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (sender, receiver) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    // Where the system gives less, it says when it is full.
    let _ = sockopt::set_socket_send_buffer_size(&sender, BUFFER);
    Ok((Sender(sender), Receiver(receiver)))
}

impl Sender {
    /// Puts the state and the sockets into the queue.
    ///
    /// # Errors
    ///
    /// What memfd_create(2) and sendmsg(2) say.
    pub fn put(&self, contents: &Contents<impl AsFd>) -> io::Result<()> {
        let mut file = File::from(memfd_create("openstudio-signaling", MemfdFlags::CLOEXEC)?);
        file.write_all(&contents.state)?;
        self.send(STATE, &[file.as_fd()])?;
        for some in contents.others.chunks(MOST) {
            self.send(OTHERS, &some.iter().map(AsFd::as_fd).collect::<Vec<_>>())?;
        }
        for (number, some) in contents.clients.chunks(MOST).enumerate() {
            let text = format!("{CLIENTS}{}\n", number * MOST);
            self.send(text.as_bytes(), &some.iter().map(AsFd::as_fd).collect::<Vec<_>>())?;
        }
        for some in contents.connected.chunks(MOST) {
            if self.send(OTHERS, &some.iter().map(AsFd::as_fd).collect::<Vec<_>>()).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Puts one message into it, of 64 bytes and 253 descriptors at most.
    ///
    /// # Errors
    ///
    /// What sendmsg(2) says.
    pub fn send(&self, text: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::Error::other("too many descriptors for a message"));
        }
        sendmsg(&self.0, &[IoSlice::new(text)], &mut ancillary, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Whether somebody has the other end.
    pub fn is_held(&self) -> bool {
        let mut polled = [PollFd::new(&self.0, PollFlags::OUT)];
        let now = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
        let is_polled = poll(&mut polled, Some(&now)).is_ok();
        is_polled && !polled[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
    }
}

impl AsFd for Receiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for Receiver {
    fn from(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }
}

impl Receiver {
    /// Takes the first message out: what it says, and its descriptors.
    ///
    /// # Errors
    ///
    /// What recvmsg(2) says, or that there is none.
    pub fn first(&self) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
        let message = self.receive(RecvFlags::empty())?;
        let Message { text, descriptors } = message.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok((text, descriptors))
    }

    /// The state, which stays in the queue; `None` where that is empty.
    ///
    /// # Errors
    ///
    /// What recvmsg(2) says, or that it is no state that can be read here.
    pub fn peek(&self) -> io::Result<Option<Vec<u8>>> {
        match self.receive(RecvFlags::PEEK)? {
            None => Ok(None),
            Some(Message { text, descriptors, .. }) if text == STATE => read(descriptors).map(Some),
            Some(_) => Err(io::Error::other("it is of another version")),
        }
    }

    /// Takes everything out, whatever its version; the state as well, unless it was read before.
    pub fn take(&self, state: Option<Vec<u8>>) -> Received {
        let is_read = state.is_some();
        let mut received = Received { state: state.unwrap_or_default(), ..Received::default() };
        while let Ok(Some(Message { text, descriptors, .. })) = self.receive(RecvFlags::empty()) {
            if let Some(first) = first_client(&text) {
                let clients = &mut received.clients;
                clients.resize_with(clients.len().max(first + descriptors.len()), || None);
                for (place, descriptor) in clients[first..].iter_mut().zip(descriptors) {
                    *place = Some(descriptor);
                }
            } else if text.starts_with(ANY_STATE) {
                if !is_read {
                    received.state = read(descriptors).unwrap_or_default();
                }
            } else {
                received.others.extend(descriptors);
            }
        }
        received
    }

    /// The next message. Where there are not enough descriptors in this process, some of its own are missing.
    fn receive(&self, flags: RecvFlags) -> io::Result<Option<Message>> {
        let mut text = [0; 64];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = flags | RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let received = recvmsg(&self.0, &mut [IoSliceMut::new(&mut text)], &mut ancillary, flags);
        let received = match received {
            Err(Errno::AGAIN) => return Ok(None),
            received => received?,
        };
        let mut descriptors = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(some) = message {
                descriptors.extend(some);
            }
        }
        if received.bytes == 0 && descriptors.is_empty() {
            // The sending end is closed, and all has been taken.
            return Ok(None);
        }
        Ok(Some(Message { text: text[..received.bytes].to_vec(), descriptors }))
    }
}

/// The place of the first client in a message.
fn first_client(text: &[u8]) -> Option<usize> {
    let place = std::str::from_utf8(text).ok()?.strip_prefix(CLIENTS)?.strip_suffix('\n')?;
    place.parse().ok().filter(|place| *place < MOST_CLIENTS)
}

/// The state that a message carries.
fn read(descriptors: Vec<OwnedFd>) -> io::Result<Vec<u8>> {
    let first = descriptors.into_iter().next();
    let first = first.ok_or_else(|| io::Error::other("it has no state"))?;
    let mut file = File::from(first);
    file.rewind()?;
    let length = file.metadata()?.len().min(MOST_STATE);
    let mut state = Vec::with_capacity(length as usize + 1);
    file.take(MOST_STATE).read_to_end(&mut state)?;
    Ok(state)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn cookies<'s>(sockets: impl IntoIterator<Item = &'s OwnedFd>) -> Vec<u64> {
        sockets.into_iter().map(|socket| sockopt::socket_cookie(socket).unwrap()).collect()
    }

    fn sockets(count: usize) -> Vec<OwnedFd> {
        (0..count).map(|_| UnixStream::pair().unwrap().0.into()).collect()
    }

    #[test]
    fn a_state_and_sockets_come_out_as_they_went_in() {
        let (clients, others) = (sockets(2 * MOST + 1), sockets(2));
        let contents = Contents { state: vec![7; 100_000], clients, others, connected: Vec::new() };
        let before = (cookies(&contents.clients), cookies(&contents.others));
        let (sender, receiver) = queue().unwrap();
        assert_eq!(receiver.peek().unwrap(), None);
        sender.put(&contents).unwrap();
        drop((sender, contents));
        // However often it is looked at.
        for _ in 0..2 {
            assert_eq!(receiver.peek().unwrap().unwrap().len(), 100_000);
        }
        let Received { state, clients, others } = receiver.take(None);
        assert_eq!(state, vec![7; 100_000]);
        assert_eq!((cookies(clients.iter().flatten()), cookies(&others)), before);
        assert_eq!(receiver.peek().unwrap(), None);
        assert!(receiver.take(None).clients.is_empty());
    }

    #[test]
    fn where_some_are_missing_the_others_have_their_places() {
        let (sender, receiver) = queue().unwrap();
        let [first, second] = [sockets(1), sockets(1)];
        for (text, sockets) in [("clients 3\n", &first), ("clients 253\n", &second)] {
            sender.send(text.as_bytes(), &[sockets[0].as_fd()]).unwrap();
        }
        sender.send(b"clients 1000000\n", &[first[0].as_fd()]).unwrap();
        let Received { clients, others, .. } = receiver.take(None);
        let places: Vec<_> = (0..clients.len()).filter(|place| clients[*place].is_some()).collect();
        assert_eq!((places, others.len()), (vec![3, 253], 1));
    }

    #[test]
    fn whether_it_is_stored_is_known() {
        let (sender, receiver) = queue().unwrap();
        let nothing = Contents::<OwnedFd> {
            state: Vec::new(),
            clients: Vec::new(),
            others: Vec::new(),
            connected: Vec::new(),
        };
        sender.put(&nothing).unwrap();
        assert!(sender.is_held());
        drop(receiver);
        assert!(!sender.is_held());
    }

    #[test]
    fn what_is_of_another_version_is_taken_all_the_same() {
        let (sender, receiver) = queue().unwrap();
        let file = File::from(memfd_create("test", MemfdFlags::CLOEXEC).unwrap());
        (&file).write_all(b"{}").unwrap();
        sender.send(b"openstudio-signaling 2\n", &[file.as_fd()]).unwrap();
        sender.send(b"a new kind\n", &[sockets(1)[0].as_fd()]).unwrap();
        sender.send(b"clients 0\n", &[sockets(1)[0].as_fd()]).unwrap();
        assert!(receiver.peek().unwrap_err().to_string().contains("another version"));
        let Received { state, clients, others } = receiver.take(None);
        assert_eq!((&state[..], clients.len(), others.len()), (&b"{}"[..], 1, 1));
    }

    #[test]
    fn a_state_without_a_file_is_refused() {
        let (sender, receiver) = queue().unwrap();
        sender.send(STATE, &[]).unwrap();
        assert!(receiver.peek().is_err());
    }
}
