//! Where the server listens.
//!
//! Owns the listener's options and how many clients the limit of open files allows. It deliberately does not know who connects.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdListener};
use std::os::fd::{AsFd, RawFd};

use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::TcpListener;

use crate::config::config::Config;

/// The accept queue; the kernel caps it at net.core.somaxconn, 4096 by default (listen(2)).
const BACKLOG: i32 = 4096;

/// What the kernel may hold for a client that reads slowly, in bytes; it doubles that for its own books
/// (socket(7)). Enough for a burst of messages. With the megabytes that it takes by itself, room in the
/// socket would be news only every megabyte, and a slow reader could not be told from one that is gone.
const SEND_BUFFER: usize = 64 * 1024;

/// Binds where the configuration says: both families by default, IPv4 on a machine without IPv6.
///
/// # Errors
///
/// What socket(2), bind(2) or listen(2) say.
pub fn bind(config: &Config) -> io::Result<StdListener> {
    let any = IpAddr::from(Ipv6Addr::UNSPECIFIED);
    match bind_to(SocketAddr::new(config.host.unwrap_or(any), config.port)) {
        Err(error) if config.host.is_none() && lacks_ipv6(&error) => {
            bind_to(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), config.port))
        }
        result => result,
    }
}

/// Whether a socket that was bound before listens where the configuration says.
pub fn listens_as_set(listener: &StdListener, config: &Config) -> bool {
    let host = |ip: IpAddr| config.host.map_or(ip.is_unspecified(), |host| host == ip);
    let port = |port: u16| config.port == 0 || config.port == port;
    listener.local_addr().is_ok_and(|address| host(address.ip()) && port(address.port()))
}

fn bind_to(address: SocketAddr) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn lacks_ipv6(error: &io::Error) -> bool {
    use rustix::io::Errno;

    [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Raises the file limit as far as it goes and returns it.
pub fn raise_file_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    // Where that is forbidden, the limit stays what it is, and that is what counts.
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => raised,
        Err(_) => limit,
    };
    limit.current.unwrap_or(u64::MAX)
}

/// How many descriptors there is room for before there are threads.
const ROOM: u64 = 16 * 1024;

/// Makes room for the descriptors of clients, while the process has one thread: with more, the kernel waits for all of them
/// each time that it makes twice the room (`expand_fdtable` of Linux), which took 90 ms with 10,000 clients. Where the limit
/// of open files is lower, there is room up to that.
pub fn make_room_for_descriptors(any: impl AsFd) {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let highest = limit.min(ROOM).saturating_sub(1) as RawFd;
    // Where that fails, it only takes longer.
    let _ = fcntl_dupfd_cloexec(any, highest);
}

/// How many clients a limit of open files allows. What is left is for the listener, the log, the runtime, and for
/// connections that are told that the server is full.
pub fn clients_for(file_limit: u64) -> usize {
    let reserve = (file_limit / 4).min(64);
    usize::try_from(file_limit - reserve).unwrap_or(usize::MAX).clamp(1, 1_000_000)
}

/// How many listeners to the programme there may be where so many clients are carried, and how many clients then: each
/// listener has two descriptors. They have a half of all at most.
pub fn listeners_beside(clients: usize, most: u32) -> (usize, usize) {
    let listeners = (most as usize).min(clients / 4);
    (listeners, clients - 2 * listeners)
}

/// Makes a listener, bound here or passed, ready for [`accept`](crate::server::accept::accept).
///
/// # Errors
///
/// When the system does not take the options.
pub fn prepare(listener: StdListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    // Accepted sockets inherit it.
    SockRef::from(&listener).set_send_buffer_size(SEND_BUFFER)?;
    TcpListener::from_std(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_descriptors_are_kept_back() {
        assert_eq!(clients_for(1), 1);
        assert_eq!(clients_for(64), 48);
        assert_eq!(clients_for(1024), 960);
        assert_eq!(clients_for(u64::MAX), 1_000_000);
    }

    #[test]
    fn listeners_leave_clients_a_half() {
        assert_eq!(listeners_beside(960, 100), (100, 760));
        assert_eq!(listeners_beside(960, 240), (240, 480));
        assert_eq!(listeners_beside(960, 241), (240, 480));
        assert_eq!(listeners_beside(1, 100), (0, 1));
    }
}
