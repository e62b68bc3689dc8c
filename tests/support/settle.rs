//! Whether a server has come to rest, and what brings it there.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::{PATIENCE, Server};

/// Whether nothing has come that is not read yet, not even the end of TCP.
pub fn is_silent(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let came = stream.peek(&mut [0]);
    stream.set_nonblocking(false).unwrap();
    came.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

impl Server {
    /// Whether it has not ended.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until nothing is left for it to do: all of its threads sleep whenever they are looked at.
    pub fn settle(&self) {
        let start = Instant::now();
        let mut asleep = 0;
        while asleep < 5 {
            assert!(start.elapsed() < PATIENCE, "it does not come to rest");
            std::thread::sleep(Duration::from_millis(1));
            asleep = if self.sleeps() { asleep + 1 } else { 0 };
        }
    }

    /// Whether all of its threads sleep (proc_pid_stat(5): what is behind the name in parentheses).
    fn sleeps(&self) -> bool {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        tasks.map(|task| task.unwrap().path().join("stat")).all(|stat| {
            // A thread that has ended meanwhile does nothing, either.
            let text = std::fs::read_to_string(stat).unwrap_or_default();
            text.rsplit_once(") ").is_none_or(|(_, state)| state.starts_with('S'))
        })
    }

    /// Sends the same bytes again and again on all streams, until neither the server nor the kernel takes any more.
    /// The streams do not block afterwards.
    pub fn fill(&self, streams: &[&TcpStream], bytes: &[u8]) {
        let mut sent = vec![0; streams.len()];
        let mut in_vain = 0;
        streams.iter().for_each(|stream| stream.set_nonblocking(true).unwrap());
        while in_vain < 3 {
            in_vain += 1;
            for (&(mut stream), sent) in streams.iter().zip(&mut sent) {
                // Each time where it left off: nothing is torn.
                while let Ok(written) = stream.write(&bytes[*sent..]) {
                    *sent = (*sent + written) % bytes.len();
                    in_vain = 0;
                }
            }
            self.settle();
        }
    }
}
