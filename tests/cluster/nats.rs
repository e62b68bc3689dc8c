//! Real NATS servers on the loopback, which end with the test that started them. It deliberately does not know who
//! connects to them.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::fetch::get;
use crate::support::{wait_every, wait_until};

/// The versions of Debian 12 and 13.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Bookworm,
    Trixie,
}

impl Version {
    fn program(self) -> PathBuf {
        let folder =
            std::env::var("NATS").expect("tests/run sets NATS, and installs what is there");
        let name = match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
        };
        Path::new(&folder).join(name).join("usr/sbin/nats-server")
    }
}

/// Servers that are one by routes, or a single one.
pub struct Nats {
    version: Version,
    folder: TempDir,
    servers: Vec<Server>,
}

struct Server {
    process: Option<Child>,
    port: u16,
    http: u16,
}

/// Ports of the loopback that are free, three for each server. A server that is started again has to have the same ones.
fn free_ports(count: usize) -> Vec<[u16; 3]> {
    // All of them are held until the last one is found: the next one could be the same.
    let held: Vec<[TcpListener; 3]> = (0..count)
        .map(|_| std::array::from_fn(|_| TcpListener::bind(("127.0.0.1", 0)).unwrap()))
        .collect();
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    held.iter().map(|three| three.each_ref().map(port)).collect()
}

impl Nats {
    /// A single server. `more` is more of its configuration.
    pub fn single(version: Version, more: &str) -> Self {
        Self::start(version, 1, more)
    }

    /// A single server that keeps no streams.
    pub fn without_jetstream(version: Version) -> Self {
        let nats = Self::prepare(version, 1, "", "");
        nats.begin()
    }

    /// Three servers with routes.
    pub fn three() -> Self {
        Self::start(Version::Trixie, 3, "")
    }

    /// One less than keep a log.
    pub fn two() -> Self {
        Self::start(Version::Trixie, 2, "")
    }

    fn start(version: Version, count: usize, more: &str) -> Self {
        let jetstream = "jetstream { store_dir: \"STORE\", max_mem: 64M, max_file: 1G }";
        Self::prepare(version, count, more, jetstream).begin()
    }

    fn prepare(version: Version, count: usize, more: &str, jetstream: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ports = free_ports(count);
        let routes: Vec<_> =
            ports.iter().map(|[_, _, route]| format!("nats://127.0.0.1:{route}")).collect();
        for (index, [port, http, route]) in ports.iter().enumerate() {
            let store = folder.path().join(format!("js{index}"));
            let mut text = format!(
                "server_name: s{index}\nlisten: 127.0.0.1:{port}\nhttp: 127.0.0.1:{http}\n\
                 {}\n{more}\n",
                jetstream.replace("STORE", store.to_str().unwrap())
            );
            if count > 1 {
                text += &format!(
                    "cluster {{ name: c, listen: 127.0.0.1:{route}, routes: [ {} ] }}\n",
                    routes.join(", ")
                );
            }
            fs::write(folder.path().join(format!("{index}.conf")), text).unwrap();
        }
        let server =
            |[port, http, _]: &[u16; 3]| Server { process: None, port: *port, http: *http };
        let servers = ports.iter().map(server).collect();
        Self { version, folder, servers }
    }

    fn begin(mut self) -> Self {
        for index in 0..self.servers.len() {
            self.run(index);
        }
        for index in 0..self.servers.len() {
            self.wait_for(index);
        }
        self.all_know_each_other();
        self
    }

    /// Servers that start at once may form a group without one of them, until that one is restarted.
    fn all_know_each_other(&mut self) {
        let count = self.servers.len();
        for index in 0..=count {
            for _ in 0..60 {
                if count == 1 || self.servers.iter().any(|one| Self::known_by(one.http) == count) {
                    return;
                }
                // The servers are other programs: there is nothing to be woken by.
                std::thread::sleep(Duration::from_millis(50));
            }
            if index < count {
                self.kill(index);
                self.bring_back(index);
            }
        }
        panic!("the servers do not know each other: {}", self.log(0));
    }

    /// How many servers keep streams together, as the one that leads says it.
    fn known_by(http: u16) -> usize {
        let group = get(http, "/jsz").body;
        let others = group.split(r#""replicas": ["#).nth(1).map(|rest| rest.split(']').next());
        others.flatten().map_or(0, |others| 1 + others.matches(r#""name""#).count())
    }

    fn run(&mut self, index: usize) {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join(format!("{index}.log")))
            .unwrap();
        let child = Command::new(self.version.program())
            .arg("-c")
            .arg(self.folder.path().join(format!("{index}.conf")))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.servers[index].process = Some(child.expect("tests/run installs nats-server"));
    }

    /// Waits until a server is healthy, with JetStream.
    pub fn wait_for(&self, index: usize) {
        // Each look is a line of its log.
        wait_every(Duration::from_millis(50), || self.is_healthy(index), || self.log(index));
    }

    fn is_healthy(&self, index: usize) -> bool {
        let http = self.servers[index].http;
        std::net::TcpStream::connect(("127.0.0.1", http)).is_ok()
            && get(http, "/healthz").status == 200
    }

    /// Starts a server again, and waits until it is healthy. Version 2.10 may say for minutes that its copy of the stream
    /// is not current ("group node unhealthy"): it is restarted then, as an operator does.
    pub fn bring_back(&mut self, index: usize) {
        for _ in 0..3 {
            self.start_again(index);
            for _ in 0..600 {
                if self.is_healthy(index) {
                    return;
                }
                // The server is another program: there is nothing to be woken by.
                std::thread::sleep(Duration::from_millis(50));
            }
            self.kill(index);
        }
        panic!("the server is not healthy: {}", self.log(index));
    }

    /// What a server has logged.
    pub fn log(&self, index: usize) -> String {
        fs::read_to_string(self.folder.path().join(format!("{index}.log"))).unwrap()
    }

    /// All addresses, beginning with that of a server.
    pub fn urls(&self, first: usize) -> String {
        let count = self.servers.len();
        let urls = (0..count).map(|index| self.url((first + index) % count));
        urls.collect::<Vec<_>>().join(",")
    }

    /// The ports of all servers.
    pub fn ports(&self) -> Vec<u16> {
        self.servers.iter().map(|server| server.port).collect()
    }

    /// The address of a server.
    pub fn url(&self, index: usize) -> String {
        format!("nats://127.0.0.1:{}", self.servers[index].port)
    }

    pub fn signal(&self, index: usize, signal: Signal) {
        let process = self.servers[index].process.as_ref().unwrap();
        kill_process(Pid::from_raw(process.id() as i32).unwrap(), signal).unwrap();
        if signal == Signal::STOP {
            // Each of its threads stops when it is its turn.
            let tasks = || fs::read_dir(format!("/proc/{}/task", process.id())).unwrap();
            let status = |task: io::Result<fs::DirEntry>| {
                fs::read_to_string(task.unwrap().path().join("status")).unwrap_or_default()
            };
            let stands = || tasks().map(status).all(|status| status.contains("State:\tT"));
            wait_until(stands, || "it does not stand still".into());
        }
    }

    /// Ends a server at once.
    pub fn kill(&mut self, index: usize) {
        let mut process = self.servers[index].process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Starts a server again.
    pub fn start_again(&mut self, index: usize) {
        self.run(index);
    }

    /// Forgets all that a server that does not run has stored.
    pub fn wipe(&self, index: usize) {
        let _ = fs::remove_dir_all(self.folder.path().join(format!("js{index}")));
    }

    /// Keeps what a server that does not run has stored.
    pub fn keep(&self, index: usize) {
        self.copy(&format!("js{index}"), &format!("kept{index}"));
    }

    /// A server that does not run has what was kept, and nothing else.
    pub fn restore(&self, index: usize) {
        self.wipe(index);
        self.copy(&format!("kept{index}"), &format!("js{index}"));
    }

    fn copy(&self, from: &str, to: &str) {
        let path = |name| self.folder.path().join(name);
        let status = Command::new("cp").arg("-a").args([path(from), path(to)]).status();
        assert!(status.unwrap().success());
    }

    /// Which server leads the log of the cluster.
    pub fn leader(&self) -> Option<usize> {
        let mut running = self.servers.iter().filter(|server| server.process.is_some());
        running.find_map(|server| Self::leader_by(server.http))
    }

    fn leader_by(http: u16) -> Option<usize> {
        let text = get(http, "/jsz?streams=true&accounts=true").body;
        let leader = text.split(r#""leader": "s"#).nth(1)?;
        leader.split('"').next()?.parse().ok()
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        for process in self.servers.iter_mut().filter_map(|server| server.process.as_mut()) {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
