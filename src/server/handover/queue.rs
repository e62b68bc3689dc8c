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
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair, sockopt,
};

/// The most descriptors in a message (unix(7), `SCM_MAX_FD`).
const MOST: usize = 253;

/// What the sending end may hold, in bytes: by default 278 messages, with 70,334 descriptors.
const BUFFER: usize = 1024 * 1024;

/// What a message of the state says, and what one of sockets does.
const STATE: &[u8] = b"openstudio-signaling 1\n";
const SOCKETS: &[u8] = b"sockets\n";

/// The largest state that is read, in bytes: 4 KiB for each of 200,000 clients.
const MOST_STATE: u64 = 1024 * 1024 * 1024;

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
    /// Whether descriptors are missing.
    is_cut: bool,
}

/// What lies in the queue.
#[derive(Debug, Default)]
pub struct Contents {
    /// The state.
    pub state: Vec<u8>,
    /// The sockets, in the order in which they were sent.
    pub sockets: Vec<OwnedFd>,
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
    pub fn put(&self, state: &[u8], sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut file = File::from(memfd_create("openstudio-signaling", MemfdFlags::CLOEXEC)?);
        file.write_all(state)?;
        self.send(STATE, &[file.as_fd()])?;
        for some in sockets.chunks(MOST) {
            self.send(SOCKETS, some)?;
        }
        Ok(())
    }

    fn send(&self, text: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
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
    /// The state, which stays in the queue; `None` where that is empty.
    ///
    /// # Errors
    ///
    /// What recvmsg(2) says, or that it is no state.
    pub fn peek(&self) -> io::Result<Option<Vec<u8>>> {
        match self.receive(RecvFlags::PEEK)? {
            None => Ok(None),
            Some((true, descriptors)) => read(descriptors).map(Some),
            Some((false, _)) => Err(io::Error::other("it does not begin with a state")),
        }
    }

    /// Takes everything out.
    ///
    /// # Errors
    ///
    /// What recvmsg(2) says, or that sockets are missing: those that were received are closed.
    pub fn take(&self) -> io::Result<Contents> {
        let mut contents = Contents::default();
        while let Some((is_state, descriptors)) = self.receive(RecvFlags::empty())? {
            match is_state {
                true => contents.state = read(descriptors)?,
                false => contents.sockets.extend(descriptors),
            }
        }
        Ok(contents)
    }

    /// Takes all sockets out, whatever lies beside them: for a goodbye.
    pub fn drain(&self) -> Vec<OwnedFd> {
        let mut all = Vec::new();
        while let Ok(Some(message)) = self.receive_any(RecvFlags::empty()) {
            let is_socket = |found: &OwnedFd| sockopt::socket_cookie(found).is_ok();
            all.extend(message.descriptors.into_iter().filter(is_socket));
        }
        all
    }

    /// The next message: whether it has the state, and its descriptors.
    fn receive(&self, flags: RecvFlags) -> io::Result<Option<(bool, Vec<OwnedFd>)>> {
        let Some(message) = self.receive_any(flags)? else { return Ok(None) };
        let Message { text, descriptors, is_cut } = message;
        if is_cut {
            return Err(io::Error::other("the limit of open files is too low for all sockets"));
        }
        match &text[..] {
            STATE => Ok(Some((true, descriptors))),
            SOCKETS => Ok(Some((false, descriptors))),
            _ => Err(io::Error::other("it is of another version")),
        }
    }

    /// The next message: its text, its descriptors, and whether some of these are missing.
    fn receive_any(&self, flags: RecvFlags) -> io::Result<Option<Message>> {
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
        let is_cut = received.flags.contains(ReturnFlags::CTRUNC);
        let text = text[..received.bytes].to_vec();
        Ok(Some(Message { text, descriptors, is_cut }))
    }
}

/// The state that a message carries.
fn read(descriptors: Vec<OwnedFd>) -> io::Result<Vec<u8>> {
    let first = descriptors.into_iter().next();
    let first = first.ok_or_else(|| io::Error::other("it has no state"))?;
    let mut file = File::from(first);
    file.rewind()?;
    let mut state = Vec::new();
    file.take(MOST_STATE).read_to_end(&mut state)?;
    Ok(state)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_state_and_sockets_come_out_as_they_went_in() {
        let pair = |_| UnixStream::pair().unwrap().0;
        let sockets: Vec<_> = (0..2 * MOST + 1).map(pair).collect();
        let cookies = |sockets: &[BorrowedFd<'_>]| -> Vec<_> {
            sockets.iter().map(|socket| sockopt::socket_cookie(socket).unwrap()).collect()
        };
        let borrowed: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
        let before = cookies(&borrowed);
        let (sender, receiver) = queue().unwrap();
        assert_eq!(receiver.peek().unwrap(), None);
        sender.put(&vec![7; 100_000], &borrowed).unwrap();
        drop((sender, sockets));
        // However often it is looked at.
        for _ in 0..2 {
            assert_eq!(receiver.peek().unwrap().unwrap().len(), 100_000);
        }
        let Contents { state, sockets } = receiver.take().unwrap();
        assert_eq!(state, vec![7; 100_000]);
        let borrowed: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
        assert_eq!(cookies(&borrowed), before);
        assert_eq!(receiver.peek().unwrap(), None);
        assert!(receiver.take().unwrap().sockets.is_empty());
    }

    #[test]
    fn whether_it_is_stored_is_known() {
        let (sender, receiver) = queue().unwrap();
        sender.put(b"x", &[]).unwrap();
        assert!(sender.is_held());
        drop(receiver);
        assert!(!sender.is_held());
    }

    #[test]
    fn what_is_no_state_is_refused() {
        let (sender, receiver) = queue().unwrap();
        sender.send(SOCKETS, &[]).unwrap();
        assert!(receiver.peek().is_err());
        let (sender, receiver) = queue().unwrap();
        sender.send(b"openstudio-signaling 2\n", &[]).unwrap();
        sender.send(SOCKETS, &[UnixStream::pair().unwrap().0.as_fd()]).unwrap();
        assert!(receiver.peek().unwrap_err().to_string().contains("another version"));
        assert_eq!(receiver.drain().len(), 1, "its clients hear a goodbye all the same");
        let (sender, receiver) = queue().unwrap();
        sender.send(STATE, &[]).unwrap();
        assert!(receiver.peek().is_err());
    }
}
