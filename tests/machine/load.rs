//! Clients that come and go, and what happened to each.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crate::support::{PATIENCE, UPGRADE, head};

/// What became of the attempts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Connected, shook hands and got the welcome.
    pub served: usize,
    /// Could not connect.
    pub refused: usize,
    /// Connected, and got no welcome.
    pub broken: usize,
}

/// A loop of clients, one after the other, on a thread in the network of the thread that starts it.
pub struct ConnectLoop {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Tally>,
}

impl ConnectLoop {
    pub fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        // A new thread is in the namespaces of its maker.
        let thread = std::thread::spawn(move || {
            let mut tally = Tally::default();
            while !stopped.load(Ordering::Relaxed) {
                match attempt() {
                    Ok(true) => tally.served += 1,
                    Ok(false) => tally.broken += 1,
                    Err(_) => tally.refused += 1,
                }
            }
            tally
        });
        Self { stop, thread }
    }

    pub fn finish(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// One client: an error where it cannot connect, else whether it got its welcome.
fn attempt() -> std::io::Result<bool> {
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", 3000))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let served = stream.write_all(&head(UPGRADE)).is_ok() && read_welcome(&mut stream);
    Ok(served)
}

fn read_welcome(stream: &mut impl std::io::Read) -> bool {
    let mut all = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        all.extend_from_slice(&buffer[..read]);
        if all.windows(9).any(|window| window == b"signaling") {
            return true;
        }
    }
    false
}
