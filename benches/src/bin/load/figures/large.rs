//! A large cluster: what many peers elsewhere cost a node, one that joins when all are there, and one that dies.
//!
//! Owns the processes that hold the clients: one may not have as many descriptors as there are clients. It deliberately
//! does not know how nodes find each other.

use std::io::{self, BufRead, BufReader, Read};
use std::net::SocketAddrV4;
use std::ops::Range;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::cluster::{Node, get, offer, send_offer, wait_for_nodes};
use super::start::Running;
use super::{ask_each, peer_id, register};
use crate::client::Event;
use crate::measure::percentile;
use crate::pool::{Pool, unexpected};
use crate::say;

/// How long all clients may take to come, a node to know them, and those of a node that died to be gone.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long a client waits for an answer while all others come.
const BUSY: Duration = Duration::from_secs(60);
/// What a node may still be doing after the last peer came.
const SETTLE: Duration = Duration::from_secs(5);
/// How often a node is asked how many peers it knows, which costs it 0.1 ms.
const LOOK: Duration = Duration::from_millis(250);
/// How many clients are in a room, where they are in rooms.
const ROOM: usize = 10;
/// Numbers for clients of this process, which talk to each other.
const OWN: usize = 100;

/// All figures, with `clients` on each node but the last one, which only knows them. `command` starts another node.
pub fn large(
    pool: &mut Pool,
    nodes: &[Node],
    clients: usize,
    time: Duration,
    (pid_file, command): (&str, &[String]),
) -> Result<()> {
    let [lost, _, _, .., last] = nodes else { bail!("a large cluster has four nodes or more") };
    for (address, _) in nodes {
        wait_for_nodes(*address, nodes.len())?;
    }
    let before = last.1.resident()?;
    let elsewhere = (nodes.len() - 1) * clients;
    let key = |name: &str| format!("large_{name}/{elsewhere}");
    let began = Instant::now();
    let mut holders = Vec::new();
    for (index, (address, _)) in nodes[..nodes.len() - 1].iter().enumerate() {
        holders.push(Holder::new(*address, OWN + index * clients, clients, index == 0)?);
    }
    for holder in &mut holders {
        holder.wait()?;
    }
    for (address, _) in nodes {
        wait_for_peers(*address, elsewhere)?;
    }
    // Those of the first node have come into rooms, too.
    let changes = (elsewhere + clients) as f64;
    say(&key("changes"), changes / began.elapsed().as_secs_f64());
    thread::sleep(SETTLE);
    let each = |memory: u64| memory.saturating_sub(before) as f64 / elsewhere as f64;
    say(&key("peer_kib"), each(last.1.resident()?));
    let late = join_late(pid_file, command, nodes, elsewhere)?;
    say(&key("late_ms"), late.time.as_secs_f64() * 1e3);
    say(&key("late_cpu_ms"), late.cpu as f64 / 1e6);
    say(&key("late_giver_cpu_ms"), late.giver_cpu as f64 / 1e6);
    say(&key("late_kib"), each(late.memory));
    // None on the last one, which is measured.
    let own = nodes.len() - 2;
    for (id, (address, _)) in nodes[1..=own].iter().enumerate() {
        pool.connect_to(*address);
        register(pool, id, id + 1)?;
    }
    let (times, ()) = talk(pool, 1..own, || {
        thread::sleep(time);
        Ok(())
    })?;
    say(&key("far_p99_us"), percentile(&times, 0.99));
    // A node dies, and its clients do not come back.
    let (cpu, began) = (last.1.cpu()?, Instant::now());
    lost.1.kill()?;
    drop(holders.remove(0));
    let left = elsewhere - clients + own;
    let (times, (gone, cpu)) = talk(pool, 1..own, || {
        wait_for_peers(last.0, left)?;
        Ok((began.elapsed(), last.1.cpu()? - cpu))
    })?;
    say(&key("gone_ms"), gone.as_secs_f64() * 1e3);
    say(&key("gone_cpu_ms"), cpu as f64 / 1e6);
    say(&key("gone_p99_us"), percentile(&times, 0.99));
    say(&key("gone_longest_ms"), percentile(&times, 1.0) / 1e3);
    // Nobody else has heard of it. Then all of them go at once.
    let (held, before, began) = (elsewhere - clients, position(last.0)?, Instant::now());
    let (_, left) = talk(pool, 1..own, || {
        holders.into_iter().try_for_each(Holder::end)?;
        wait_for_peers(last.0, own)?;
        Ok(began.elapsed())
    })?;
    say(&key("left_ms"), left.as_secs_f64() * 1e3);
    thread::sleep(SETTLE);
    say(&key("left_entries"), (position(last.0)? - before) as f64 / held as f64);
    for (address, _) in &nodes[1..] {
        wait_for_nodes(*address, nodes.len() - 1)?;
    }
    Ok(())
}

/// The last entry of the log, as a node shows it.
fn position(node: SocketAddrV4) -> Result<u64> {
    let answer = get(node, "/health")?;
    let text = answer.split(r#""position":"#).nth(1).and_then(|rest| rest.split(',').next());
    text.and_then(|text| text.parse().ok()).with_context(|| format!("no position: {answer}"))
}

/// While that is done, client 0 sends offers to these clients in turn: how long each takes, in order.
fn talk<T: Send>(
    pool: &mut Pool,
    to: Range<usize>,
    done: impl FnOnce() -> Result<T> + Send,
) -> Result<(Vec<Duration>, T)> {
    let offers: Vec<_> = to.map(|to| (to, offer(to))).collect();
    thread::scope(|scope| {
        let (done, mut times) = (scope.spawn(done), Vec::new());
        while !done.is_finished() {
            for (to, offer) in &offers {
                times.push(send_offer(pool, *to, offer)?);
            }
        }
        times.sort_unstable();
        let done = done.join().map_err(|_| anyhow::anyhow!("what was done has panicked"))?;
        Ok((times, done?))
    })
}

/// A node that joined.
struct Late {
    /// From its start until it was ready.
    time: Duration,
    /// ns of it until then.
    cpu: u64,
    /// ns of that node until then which needed most: it has given its peers and rooms.
    giver_cpu: u64,
    /// Its resident memory in KiB.
    memory: u64,
}

/// Another node joins these, which know so many peers, and goes again.
fn join_late(pid_file: &str, command: &[String], nodes: &[Node], peers: usize) -> Result<Late> {
    let cpu = || nodes.iter().map(|(_, node)| node.cpu()).collect::<Result<Vec<_>>>();
    let before = cpu()?;
    let [program, arguments @ ..] = command else { bail!("start what?") };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let began = Instant::now();
    let mut node = Running::new(&mut command, pid_file)?;
    let mut log = BufReader::new(node.log()?);
    let mut line = String::new();
    let address = loop {
        line.clear();
        ensure!(log.read_line(&mut line)? > 0, "it has ended");
        if let Some((_, address)) = line.split_once("Listening on ") {
            break address.split_whitespace().next().context("where?")?.parse()?;
        }
    };
    // Until it ends.
    thread::spawn(move || io::copy(&mut log, &mut io::sink()));
    while !get(address, "/ready")?.starts_with("HTTP/1.1 200 ") {
        ensure!(began.elapsed() < PATIENCE, "it is not ready after {PATIENCE:?}");
        thread::sleep(LOOK / 10);
    }
    let (time, own_cpu, after) = (began.elapsed(), node.process()?.cpu()?, cpu()?);
    let giver_cpu = after.iter().zip(&before).map(|(after, before)| after - before).max();
    wait_for_peers(address, peers)?;
    thread::sleep(SETTLE);
    let memory = node.process()?.resident()?;
    node.stop()?;
    Ok(Late { time, cpu: own_cpu, giver_cpu: giver_cpu.unwrap_or_default(), memory })
}

/// Waits until a node knows so many peers.
fn wait_for_peers(address: SocketAddrV4, peers: usize) -> Result<()> {
    let (began, name) = (Instant::now(), "openstudio_signaling_cluster_peers ");
    loop {
        let answer = get(address, "/metrics")?;
        let count = answer.lines().find_map(|line| line.strip_prefix(name));
        if count.context("no count of peers")?.parse() == Ok(peers) {
            return Ok(());
        }
        ensure!(began.elapsed() < PATIENCE, "{peers} peers are to be known, and {count:?} are");
        thread::sleep(LOOK);
    }
}

/// A process that holds clients of a node.
struct Holder(Child, BufReader<ChildStdout>);

impl Holder {
    fn new(node: SocketAddrV4, first: usize, clients: usize, has_rooms: bool) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let (port, first, clients) = (node.port(), first.to_string(), clients.to_string());
        command.args([
            "hold",
            "--port",
            &port.to_string(),
            "--first",
            &first,
            "--clients",
            &clients,
        ]);
        command.args(has_rooms.then_some("--rooms")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("a process that holds clients")?;
        let output = BufReader::new(child.stdout.take().context("its output is piped")?);
        Ok(Self(child, output))
    }

    /// Waits until all are there.
    fn wait(&mut self) -> Result<()> {
        let length = self.1.read_line(&mut String::new())?;
        ensure!(length > 0, "some clients could not come");
        Ok(())
    }

    /// Lets them go, to whom nothing has happened.
    fn end(mut self) -> Result<()> {
        drop(self.0.stdin.take());
        ensure!(self.0.wait()?.success(), "something has happened to clients of a node that lives");
        Ok(())
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // Both fail where it has ended.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Holds clients with numbers from `first` on, as long as there is an input, and says when all are there.
pub fn hold(pool: &mut Pool, first: usize, clients: usize, has_rooms: bool) -> Result<()> {
    pool.wait_up_to(BUSY);
    pool.open(clients)?;
    ask_each(pool, 0..clients, |id| {
        let id = peer_id(first + id);
        let answer = format!(r#"{{"type":"registered","peerId":"{id}""#);
        (format!(r#"{{"type":"register","peerId":"{id}"}}"#), answer)
    })?;
    if has_rooms {
        ask_each(pool, 0..clients, |id| {
            let (kind, room) = ("create-or-join-room", id / ROOM);
            let enter = format!(r#"{{"type":"{kind}","roomId":"room-{room}","role":"guest"}}"#);
            (enter, r#"{"type":"room-"#.to_owned())
        })?;
    }
    println!("they are there");
    let input = thread::spawn(|| io::stdin().read(&mut [0]));
    while !input.is_finished() {
        pool.turn(LOOK, |_, id, event| match event {
            Event::Ping => Ok(()),
            Event::Text(text) if text.starts_with(br#"{"type":"peer-joined""#) => Ok(()),
            other => unexpected(id, other),
        })?;
    }
    Ok(())
}
