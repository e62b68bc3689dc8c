//! The accept loop.
//!
//! Owns whom the server accepts, and what it does without descriptors or memory. It deliberately does not know what a
//! connection says.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use crate::server::connection::connection;
use crate::server::handover::collection::GivenConnection;
use crate::server::http::routes::routes;
use crate::server::limits::pending::{Pending, Place};
use crate::server::shutdown::Phase;
use crate::server::state::State;
use crate::server::systemd::Probe;
use crate::signaling::conversation::Conversation;
use crate::telemetry::events::Event;
use crate::telemetry::journal::Journal;

/// How long the accept loop waits before it tries again without descriptors or memory.
const TROUBLE_PAUSE: Duration = Duration::from_millis(100);

/// For how many room is made at once, where too many connections are pending, and where descriptors are wanted.
const ROOM_FOR_MANY: usize = 1024;

const ROOM_FOR_SOME: usize = 64;

/// Closes up to `most` connections so that others are accepted.
fn make_room(state: &State, most: usize) {
    let closed = state.pending.make_room(most);
    if closed > 0 {
        state.studio.journal.log(Event::PendingClosed { closed });
    }
}

/// Logs what accept(2) failed with.
fn failed(error: &io::Error, sorted: AcceptError, file_limit: u64, journal: &Journal) {
    let error = error.to_string();
    journal.log(match sorted {
        AcceptError::Exhausted => Event::FilesExhausted { error, limit: file_limit },
        _ => Event::AcceptFailed { error },
    });
}

/// Accepts connections until the drain begins, and answers the watchdog until everything closes. Those of another process
/// come first. The limit of open files is for the log.
pub async fn accept<C: Conversation>(
    listener: TcpListener,
    state: Arc<State>,
    mut probe: Probe,
    carried: Vec<GivenConnection>,
    file_limit: u64,
) {
    accept_until_drain::<C>(listener, &state, &mut probe, carried, file_limit).await;
    tokio::select! {
        never = probe.answer_always(|| ()) => match never {},
        () = state.shutdown.reached(Phase::Closing) => {}
    }
}

async fn accept_until_drain<C: Conversation>(
    listener: TcpListener,
    state: &Arc<State>,
    probe: &mut Probe,
    carried: Vec<GivenConnection>,
    file_limit: u64,
) {
    let filters = TowerToHyperService::new(warp::service(routes::<C>(Arc::clone(state))));
    let mut draining = pin!(state.shutdown.reached(Phase::Settling));
    let pending = &state.pending;
    let begin = |place: Place, stream: TcpStream, known: (IpAddr, Vec<u8>, bool)| {
        let mut connected = pending.enter(place);
        let (state, filters) = (Arc::clone(state), filters.clone());
        let tasks = state.shutdown.tasks.clone();
        tasks.spawn(async move {
            // Until it is dropped, what is carried is not all there.
            let busy = state.collection.work();
            let (shared, progress) = (Arc::clone(&state), connected.progress());
            let mut connection = pin!(connection(stream, known, shared, filters, progress));
            tokio::select! {
                biased;
                () = &mut connection => return,
                () = connected.sent_away() => return,
                () = state.shutdown.within(Phase::HandingOver) => {}
            }
            // It can't be carried.
            drop(busy);
            connection.await;
        });
    };
    for GivenConnection { ip, socket, head, is_kept } in carried {
        // One that is broken has gone.
        if let Ok(stream) = TcpStream::from_std(socket) {
            begin(pending.place().await, stream, (ip, head, is_kept));
        }
    }
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut draining => return,
            () = probe.asked() => {
                probe.answer();
                continue;
            }
            // The kernel keeps those who come meanwhile.
            () = sleep(TROUBLE_PAUSE), if pending.are_too_many() => {
                // Who waits for the server is not the one to go.
                if state.fairness.are_free() {
                    make_room(state, ROOM_FOR_MANY);
                }
                continue;
            }
            accepted = accept_one(&listener, pending) => accepted,
        };
        let error = match accepted {
            Ok((place, stream, address)) => {
                begin(place, stream, (address.ip().to_canonical(), Vec::new(), false));
                continue;
            }
            Err(error) => error,
        };
        let sorted = sort(&error);
        if sorted == AcceptError::Theirs {
            continue;
        }
        failed(&error, sorted, file_limit, &state.studio.journal);
        if sorted == AcceptError::Exhausted {
            make_room(state, ROOM_FOR_SOME);
        }
        sleep(TROUBLE_PAUSE).await;
    }
}

/// Accepts a connection once there is room for one.
async fn accept_one(
    listener: &TcpListener,
    pending: &Pending,
) -> io::Result<(Place, TcpStream, SocketAddr)> {
    let place = pending.place().await;
    let (stream, address) = listener.accept().await?;
    Ok((place, stream, address))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AcceptError {
    /// The client gave up while it waited.
    Theirs,
    /// No descriptors or no memory now.
    Exhausted,
    /// Anything else.
    Unknown,
}

/// Sorts what accept(2) can fail with. Linux passes errors of the new connection on as well.
fn sort(error: &io::Error) -> AcceptError {
    use rustix::io::Errno;

    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => AcceptError::Exhausted,
        Some(
            Errno::CONNABORTED
            | Errno::CONNRESET
            | Errno::INTR
            | Errno::PERM
            | Errno::PROTO
            | Errno::NETDOWN
            | Errno::NETUNREACH
            | Errno::HOSTDOWN
            | Errno::HOSTUNREACH
            | Errno::NOPROTOOPT
            | Errno::OPNOTSUPP
            | Errno::NONET
            | Errno::TIMEDOUT,
        ) => AcceptError::Theirs,
        _ => AcceptError::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener as StdListener;

    use tokio::task::yield_now;
    use tokio::time::timeout;

    use super::*;
    use crate::server::listen::prepare;
    use crate::server::systemd::Watchdog;
    use crate::signaling::handler::Signaling;

    #[tokio::test]
    async fn all_listeners_share_one_bound() {
        // Each accept loop holds the place of whoever comes next.
        const MOST: usize = 3;
        let pending = Pending::new(MOST);
        let state = Arc::new(State { pending, ..State::without_settings() });
        let mut watchdog = Watchdog::default();
        let mut clients = Vec::new();
        for _ in 0..2 {
            let listener = prepare(StdListener::bind("127.0.0.1:0").unwrap()).unwrap();
            let address = listener.local_addr().unwrap();
            clients.extend((0..MOST).map(|_| std::net::TcpStream::connect(address).unwrap()));
            let probe = watchdog.watch("a test");
            tokio::spawn(accept::<Signaling>(listener, Arc::clone(&state), probe, Vec::new(), 0));
        }
        let connections = || state.shutdown.tasks.len();
        let all_places_taken = async {
            while connections() < MOST {
                yield_now().await;
            }
        };
        timeout(Duration::from_secs(30), all_places_taken).await.unwrap();
        // Each listener has some left in its queue, and is asked often enough to give them away.
        for _ in 0..1_000 {
            yield_now().await;
            assert!(connections() <= MOST, "{} of at most {MOST}", connections());
        }
    }

    #[test]
    fn accept_errors_are_sorted() {
        use rustix::io::Errno;
        let sorted = |errno: Errno| sort(&errno.into());
        assert_eq!(sorted(Errno::CONNABORTED), AcceptError::Theirs);
        assert_eq!(sorted(Errno::MFILE), AcceptError::Exhausted);
        assert_eq!(sorted(Errno::NFILE), AcceptError::Exhausted);
        assert_eq!(sorted(Errno::INVAL), AcceptError::Unknown);
    }
}
