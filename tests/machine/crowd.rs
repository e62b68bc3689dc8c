//! Ten thousand clients that talk while the service is restarted, on a real systemd: each message is heard once, in its
//! order. It prints what a client waited and what process 1 needed, and deliberately judges no time.

use std::time::{Duration, Instant};

use futures_util::future::{join_all, try_join_all};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::booted::{Machine, SERVICE};
use crate::file_limit::raise_file_limit;
use crate::restart::{SETTINGS, offer, register};
use crate::support::{UPGRADE, head};
use crate::talk::frame;

const CLIENTS: usize = 10_000;
const RESTARTS: usize = 10;

/// How many shake hands at the same time.
const AT_ONCE: usize = 250;

/// How long a client waits between the two pieces of a frame, and from one message to the next, in ms at most.
const GAP: u64 = 100;
const PAUSE: u64 = 2_000;

/// A client that reads without holding a thread.
struct Peer {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Peer {
    async fn connect() -> std::io::Result<Self> {
        let mut stream = TcpStream::connect(("127.0.0.1", 3000)).await?;
        stream.set_nodelay(true)?;
        stream.write_all(&head(UPGRADE)).await?;
        let mut peer = Self { stream, unread: Vec::new() };
        let end = loop {
            let end = peer.unread.windows(4).position(|window| window == b"\r\n\r\n");
            match end {
                Some(end) => break end + 4,
                None => peer.more().await?,
            }
        };
        peer.unread.drain(..end);
        peer.text().await?;
        Ok(peer)
    }

    /// Waits for more bytes.
    async fn more(&mut self) -> std::io::Result<()> {
        match self.stream.read_buf(&mut self.unread).await? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// The next text. Pings are answered.
    async fn text(&mut self) -> std::io::Result<String> {
        loop {
            let (start, length) = match self.unread[..] {
                [_, 126, high, low, ..] => (4, usize::from(u16::from_be_bytes([high, low]))),
                [_, short @ ..126, ..] => (2, usize::from(short)),
                _ => (2, usize::MAX - 2),
            };
            if self.unread.len() < start + length {
                self.more().await?;
                continue;
            }
            let bytes: Vec<_> = self.unread.drain(..start + length).collect();
            match bytes[0] {
                0x81 => return Ok(String::from_utf8(bytes[start..].to_vec()).unwrap()),
                0x89 => self.stream.write_all(&frame(0x8A, &bytes[start..])).await?,
                other => return Err(std::io::Error::other(format!("{other:#x}: {bytes:?}"))),
            }
        }
    }

    async fn ask(&mut self, text: &str) -> std::io::Result<String> {
        self.stream.write_all(&frame(0x81, text.as_bytes())).await?;
        self.text().await
    }

    async fn registered(number: usize) -> std::io::Result<Self> {
        let mut peer = Self::connect().await?;
        let answer = peer.ask(&register(number)).await?;
        assert!(answer.contains("registered"), "{answer}");
        Ok(peer)
    }
}

/// Two peers in a room of their own.
struct Pair {
    number: usize,
    peers: (Peer, Peer),
    /// Where the next frame is cut.
    random: u64,
    messages: usize,
    longest: Duration,
}

impl Pair {
    async fn meet(number: usize) -> std::io::Result<Self> {
        let mut first = Peer::registered(2 * number).await?;
        let mut second = Peer::registered(2 * number + 1).await?;
        let room = format!(r#"{{"type":"create-or-join-room","roomId":"{number}"}}"#);
        assert!(first.ask(&room).await?.contains("room-created"));
        assert!(second.ask(&room).await?.contains("room-joined"));
        assert!(first.text().await?.contains("peer-joined"));
        let random = number as u64 + 1;
        Ok(Self { number, peers: (first, second), random, messages: 0, longest: Duration::ZERO })
    }

    /// A number below `bound` (xorshift: G. Marsaglia, 2003).
    fn random(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % bound
    }

    /// The one says a number, in two pieces, and the other hears it.
    async fn say(&mut self) -> std::io::Result<()> {
        let text = offer(2 * self.number, 2 * self.number + 1, self.messages);
        let bytes = frame(0x81, text.as_bytes());
        let cut = 1 + self.random(bytes.len() as u64 - 1) as usize;
        let gap = Duration::from_millis(self.random(GAP));
        let (from, to) = &mut self.peers;
        from.stream.write_all(&bytes[..cut]).await?;
        sleep(gap).await;
        from.stream.write_all(&bytes[cut..]).await?;
        let said = Instant::now();
        assert_eq!(to.text().await?, text);
        self.longest = self.longest.max(said.elapsed());
        self.messages += 1;
        Ok(())
    }

    /// Talks until it is to stop; both live then.
    async fn talk(&mut self, stop: watch::Receiver<bool>) -> std::io::Result<()> {
        while !*stop.borrow() {
            self.say().await?;
            let pause = Duration::from_millis(self.random(PAUSE));
            sleep(pause).await;
        }
        let (first, second) = &mut self.peers;
        for peer in [first, second] {
            assert!(peer.ask(r#"{"type":"ping"}"#).await?.contains("pong"));
        }
        Ok(())
    }
}

/// What process 1 of the machine has used up to now, in ms (proc_pid_stat(5): in ticks of 10 ms).
fn process_1_ms(machine: &Machine) -> u64 {
    let stat = machine.ok(&["cat", "/proc/1/stat"]);
    let fields: Vec<_> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap() * 10).sum()
}

pub fn a_crowd_notices_no_restart(suite: &str) {
    raise_file_limit();
    let machine = Machine::with_package(suite);
    // All of them are at one address.
    let limits = format!("printf 'RATE_LIMIT=0\\nMAX_CONNECTIONS_PER_IP=0\\n' >> {SETTINGS}");
    machine.ok(&["sh", "-c", &limits]);
    machine.ok(&["systemctl", "restart", SERVICE]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut pairs = Vec::new();
    runtime.block_on(async {
        for first in (0..CLIENTS / 2).step_by(AT_ONCE) {
            pairs.extend(try_join_all((first..first + AT_ONCE).map(Pair::meet)).await.unwrap());
        }
    });
    let before = process_1_ms(&machine);
    let (stop, stopped) = watch::channel(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Whatever happens, those who talk come to their end.
            let _stop = Stop(stop);
            for _ in 0..RESTARTS {
                machine.ok(&["systemctl", "restart", SERVICE]);
            }
        });
        let talks = pairs.iter_mut().map(|pair| pair.talk(stopped.clone()));
        let ended = runtime.block_on(join_all(talks));
        let lost: Vec<_> = ended.into_iter().filter_map(Result::err).collect();
        assert!(lost.is_empty(), "{} pairs, the first: {:?}", lost.len(), lost.first());
    });
    let used = process_1_ms(&machine) - before;
    let messages: usize = pairs.iter().map(|pair| pair.messages).sum();
    let longest = pairs.iter().map(|pair| pair.longest).max().unwrap_or_default();
    let log = machine.log();
    let silences = log.lines().filter(|line| line.contains("Took over "));
    let silences = silences.filter_map(|line| line.split("silent for ").nth(1)?.split(' ').next());
    let silences: Vec<_> = silences.collect();
    println!(
        "{suite}: {RESTARTS} restarts below {CLIENTS} clients, {messages} messages, the longest wait {} ms; \
         process 1: {} ms of CPU each; silent for {silences:?} ms by the log",
        longest.as_millis(),
        used / RESTARTS as u64,
    );
    assert!(messages > CLIENTS, "{messages}");
    let rooms = CLIENTS / 2;
    for line in ["Handed over", "Took over"] {
        let line = format!("{line} {CLIENTS} clients in {rooms} rooms");
        assert_eq!(log.matches(&line).count(), RESTARTS, "{line}: {log}");
    }
    assert_eq!(log.matches("(0 clients could not go on)").count(), RESTARTS + 1, "{log}");
}

struct Stop(watch::Sender<bool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}
