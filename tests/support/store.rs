//! A stand-in for systemd's descriptor store (systemd.service(5), `FileDescriptorStoreMax=`).

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::process::Signal;

use crate::support::{PATIENCE, Server};

/// The most descriptors in a message (unix(7), `SCM_MAX_FD`).
const MOST: usize = 253;

/// The next message, and its descriptors.
fn received(socket: impl AsFd, flags: RecvFlags) -> (Vec<u8>, Vec<OwnedFd>) {
    let mut text = vec![0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut pieces = [IoSliceMut::new(&mut text)];
    let flags = flags | RecvFlags::CMSG_CLOEXEC;
    let bytes = match recvmsg(&socket, &mut pieces, &mut ancillary, flags) {
        Ok(received) => received.bytes,
        Err(rustix::io::Errno::AGAIN) if flags.contains(RecvFlags::DONTWAIT) => 0,
        Err(error) => panic!("{error}"),
    };
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(some) = message {
            descriptors.extend(some);
        }
    }
    text.truncate(bytes);
    (text, descriptors)
}

/// What systemd does for a unit with a descriptor store.
pub struct Systemd {
    notifications: UnixDatagram,
    directory: tempfile::TempDir,
    pub listener: TcpListener,
    pub stored: Option<OwnedFd>,
    /// By which name it passes what was stored.
    pub name: &'static str,
    /// What a shell does before it executes the service.
    pub before: &'static str,
    /// Whether it takes what it is given.
    pub stores: bool,
}

impl Systemd {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let notifications = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        notifications.set_read_timeout(Some(PATIENCE)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        rustix::io::fcntl_setfd(&listener, rustix::io::FdFlags::empty()).unwrap();
        Self {
            notifications,
            directory,
            listener,
            stored: None,
            name: "handover",
            before: "",
            stores: true,
        }
    }

    /// The service with the listening socket, and with what was stored.
    pub fn command(&mut self, environment: &[(&str, &str)]) -> Command {
        // By numbers that nobody has: 3 and 4 may be the ones that are to be passed.
        let mut script = format!("exec 100<&{}", self.listener.as_raw_fd());
        let (mut count, mut names) = (1, "openstudio-signaling.socket".to_owned());
        if let Some(stored) = &self.stored {
            rustix::io::fcntl_setfd(stored, rustix::io::FdFlags::empty()).unwrap();
            script += &format!(" 101<&{} 4<&101 101<&-", stored.as_raw_fd());
            (count, names) = (2, format!("{names}:{}", self.name));
        }
        let before = self.before;
        script += &format!(
            r#" 3<&100 100<&-; {before} LISTEN_PID=$$ LISTEN_FDS={count} LISTEN_FDNAMES={names} exec "$0""#
        );
        let mut command = Command::new("bash");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_openstudio-signaling")]).env_clear();
        command.env("NOTIFY_SOCKET", self.directory.path().join("notify"));
        command.envs(environment.iter().copied());
        command
    }

    /// Starts it.
    pub fn start(&mut self, environment: &[(&str, &str)]) -> Server {
        let server = Server::spawn(&mut self.command(environment));
        self.stored = None;
        self.wait_for("READY=1");
        server
    }

    /// Takes out what is stored: the text of each message, and its descriptors.
    pub fn messages(&mut self) -> Vec<(Vec<u8>, Vec<OwnedFd>)> {
        let stored = self.stored.take().unwrap();
        let mut messages = Vec::new();
        loop {
            let (text, descriptors) = received(&stored, RecvFlags::DONTWAIT);
            if text.is_empty() {
                return messages;
            }
            messages.push((text, descriptors));
        }
    }

    /// Stores these messages.
    pub fn store(&mut self, messages: Vec<(Vec<u8>, Vec<OwnedFd>)>) {
        let flags = SocketFlags::CLOEXEC;
        let (sender, receiver) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        for (text, descriptors) in messages {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
            assert!(ancillary.push(SendAncillaryMessage::ScmRights(&borrowed)));
            let text = [IoSlice::new(&text)];
            sendmsg(&sender, &text, &mut ancillary, SendFlags::empty()).unwrap();
        }
        self.stored = Some(receiver);
    }

    /// The next notification, and its descriptor.
    pub fn next(&self) -> (String, Option<OwnedFd>) {
        let (text, descriptors) = received(&self.notifications, RecvFlags::empty());
        (String::from_utf8(text).unwrap(), descriptors.into_iter().next())
    }

    pub fn wait_for(&self, text: &str) {
        while !self.next().0.contains(text) {}
    }

    /// Ends the process as a restart does, and keeps what it stores.
    pub fn stop(&mut self, server: &mut Server) {
        server.signal(Signal::WINCH);
        server.signal(Signal::TERM);
        loop {
            let (text, descriptor) = self.next();
            if text.contains("FDSTORE=1") {
                assert!(text.contains("FDNAME=handover") && text.contains("FDPOLL=0"), "{text}");
                self.stored = descriptor.filter(|_| self.stores);
            } else if text.contains("BARRIER=1") {
                break;
            }
        }
    }

    pub fn restart(&mut self, mut server: Server, environment: &[(&str, &str)]) -> Server {
        self.stop(&mut server);
        assert_eq!(server.wait().code(), Some(0));
        server.log.wait_for("Handed over ");
        self.start(environment)
    }
}
