//! The reverse proxies of packaging/ as running programs, and clients that come to them over TLS.
//!
//! Owns what a test has to change in a shipped configuration: ports, paths, and how long an idle timeout is.
//! It deliberately does not know what a proxy is expected to do.

use std::fs;
use std::io::Write;
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use crate::running::Running;
use crate::secure::certificate_for;
use crate::support::{Answer, Client, PATIENCE, UPGRADE, connect, head};

/// The name in the shipped files.
pub const NAME: &str = "studio.example.org";

/// How a proxy is made to run a shipped file here, and what in the file has to be others' for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Nginx,
    Haproxy,
    Caddy,
}

impl Kind {
    pub fn shipped(self) -> String {
        let name = match self {
            Self::Nginx => "nginx.conf",
            Self::Haproxy => "haproxy.cfg",
            Self::Caddy => "Caddyfile",
        };
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The line that cuts a silent WebSocket, where there is one.
    fn idle_timeout(self) -> Option<&'static str> {
        match self {
            Self::Nginx => Some("proxy_read_timeout 60s;"),
            Self::Haproxy => Some("timeout tunnel  60s"),
            Self::Caddy => None,
        }
    }

    /// Writes the shipped file to `site`, and to `main` what it needs around it here.
    fn write(self, dir: &Path, [http, https]: [u16; 2], upstream: u16, idle: &str) {
        let path = |name| dir.join(name).into_os_string().into_string().unwrap();
        let mut changes = vec![("127.0.0.1:3000", format!("127.0.0.1:{upstream}"))];
        if let Some(timeout) = self.idle_timeout() {
            changes.push((timeout, timeout.replace("60s", idle)));
        }
        let mut main = match self {
            Self::Nginx => {
                let live = "/etc/letsencrypt/live/studio.example.org";
                changes.extend([
                    ("listen 80;", format!("listen {http};")),
                    ("listen [::]:80;", format!("listen [::]:{http};")),
                    ("listen 443 ssl;", format!("listen {https} ssl;")),
                    ("listen [::]:443 ssl;", format!("listen [::]:{https} ssl;")),
                    (live, dir.to_str().unwrap().to_owned()),
                ]);
                // One process, which is the child and is gone with it. Relative paths begin at the prefix.
                let scratch = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                    .map(|name| format!("{name}_temp_path {name};"));
                format!(
                    "daemon off;\nmaster_process off;\npid pid;\nevents {{}}\n\
                     http {{\naccess_log off;\n{}\ninclude site;\n}}\n",
                    scratch.join("\n")
                )
            }
            Self::Haproxy => {
                changes.extend([
                    ("bind :::80 v4v6", format!("bind :::{http} v4v6")),
                    ("bind :::443 v4v6", format!("bind :::{https} v4v6")),
                    ("/etc/haproxy/studio.example.org.pem", path("both.pem")),
                ]);
                String::new()
            }
            // Its own authority instead of one on the internet, and nothing that outlives it.
            Self::Caddy => format!(
                "{{\n\tadmin off\n\tlocal_certs\n\tskip_install_trust\n\thttp_port {http}\n\
                 \thttps_port {https}\n\tservers {{\n\t\tprotocols h1 h2\n\t}}\n}}\n\n"
            ),
        };
        let mut site = self.shipped();
        for (expected, instead) in changes {
            assert!(site.contains(expected), "no {expected:?} in the file shipped for {self:?}");
            site = site.replace(expected, &instead);
        }
        // In the same file, where caddy has an eye on its layout, too.
        if self == Self::Caddy {
            main += &site;
        }
        fs::write(path("site"), site).unwrap();
        fs::write(path("main"), main).unwrap();
    }

    /// The proxy as a command: to serve in the foreground, or to check what it would serve.
    fn command(self, dir: &Path, check: bool) -> Command {
        let (program, run, check_only): (_, &[_], &[_]) = match self {
            Self::Nginx => (
                "/usr/sbin/nginx",
                &["-e", "stderr", "-c", "main"],
                &["-t", "-e", "stderr", "-c", "main"],
            ),
            // It is added to what Debian ships, and needs nothing of that to run.
            Self::Haproxy => (
                "/usr/sbin/haproxy",
                &["-db", "-f", "site"],
                &["-c", "-f", "/etc/haproxy/haproxy.cfg", "-f", "site"],
            ),
            Self::Caddy => (
                "/usr/bin/caddy",
                &["run", "--adapter", "caddyfile", "--config", "main"],
                &["validate", "--adapter", "caddyfile", "--config", "main"],
            ),
        };
        let mut command = Command::new(program);
        if self == Self::Nginx {
            command.arg("-p").arg(dir);
        }
        command.args(if check { check_only } else { run });
        command.current_dir(dir).env_clear().env("HOME", dir).stdin(Stdio::null());
        command
    }

    /// What the proxy's own checker says about the shipped file.
    pub fn check(self) -> (bool, String) {
        let dir = tempfile::tempdir().unwrap();
        certificate(dir.path());
        let ports = [Port::free(), Port::free()];
        self.write(dir.path(), [ports[0].number, ports[1].number], 3000, "60s");
        let output = self.command(dir.path(), true).output().expect("it is installed by tests/run");
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    }
}

/// A port that nobody is given while this is held, but that a proxy can listen on: Linux lets sockets with
/// SO_REUSEADDR share a port of which only one listens, and does not pick such a port by itself.
struct Port {
    number: u16,
    _held: Socket,
}

impl Port {
    fn free() -> Self {
        let socket = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
        socket.set_only_v6(false).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)).into()).unwrap();
        let number = socket.local_addr().unwrap().as_socket().unwrap().port();
        Self { number, _held: socket }
    }
}

/// A certificate for the name in the files, under the names that certbot gives, and both parts in one file.
fn certificate(dir: &Path) {
    certificate_for(NAME, dir, "fullchain.pem", "privkey.pem");
    let part = |name| fs::read(dir.join(name)).unwrap();
    fs::write(dir.join("both.pem"), [part("fullchain.pem"), part("privkey.pem")].concat()).unwrap();
}

/// A running proxy on ports of its own.
pub struct Proxy {
    kind: Kind,
    process: Running,
    http: Port,
    https: Port,
    dir: TempDir,
}

impl Proxy {
    /// Starts a proxy in front of the server on port `upstream`, and waits until it serves.
    pub fn start(kind: Kind, upstream: u16, idle: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        certificate(dir.path());
        let (http, https) = (Port::free(), Port::free());
        kind.write(dir.path(), [http.number, https.number], upstream, idle);
        let mut command = kind.command(dir.path(), false);
        let said = dir.path().join("said");
        command.stdout(Stdio::null()).stderr(fs::File::create(&said).unwrap());
        let process = Running::start(&mut command);
        let mut proxy = Self { kind, process, http, https, dir };
        // Each try is a process and a handshake, so this does not spin.
        let start = Instant::now();
        while !proxy.openssl("127.0.0.1").stdin(Stdio::null()).output().unwrap().status.success() {
            let ended = proxy.process.0.try_wait().unwrap().is_some();
            let said = fs::read_to_string(&said).unwrap();
            assert!(!ended && start.elapsed() < PATIENCE, "{kind:?} does not serve: {said}");
        }
        proxy
    }

    pub fn http_port(&self) -> u16 {
        self.http.number
    }

    pub fn https_port(&self) -> u16 {
        self.https.number
    }

    /// A TLS client that comes from `source` and accepts no other name and no other certificate.
    fn openssl(&self, source: &str) -> Command {
        let authority = match self.kind {
            Kind::Caddy => ".local/share/caddy/pki/authorities/local/root.crt",
            _ => "fullchain.pem",
        };
        let mut command = Command::new("openssl");
        command
            .args(["s_client", "-servername", NAME, "-verify_hostname", NAME])
            .args(["-verify_return_error", "-bind", &format!("{source}:0")])
            .args(["-connect", &format!("127.0.0.1:{}", self.https.number), "-CAfile"])
            .arg(self.dir.path().join(authority));
        command
    }

    /// A connection through TLS. What openssl reads and writes is the other end of the client's stream.
    fn connect(&self, source: &str) -> Tunnel {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = connect(listener.local_addr().unwrap().port());
        let far = OwnedFd::from(listener.accept().unwrap().0);
        let mut command = self.openssl(source);
        command.arg("-quiet").stdin(far.try_clone().unwrap()).stdout(far).stderr(Stdio::null());
        Tunnel { client: Client { stream }, _openssl: Running::start(&mut command) }
    }

    /// A WebSocket client that has sent `headers` with its handshake. The welcome is left to be read.
    pub fn open(&self, source: &str, headers: &[&str]) -> Tunnel {
        let host = format!("Host: {NAME}");
        let rest = UPGRADE.iter().filter(|line| !line.starts_with("Host: "));
        let lines: Vec<_> = rest.chain([&host.as_str()]).chain(headers).copied().collect();
        let (answer, tunnel) = self.ask(source, &lines);
        assert_eq!(answer.status, 101, "{:?}: {answer:?}", self.kind);
        tunnel
    }

    /// The answer to a request, and the connection that it came on.
    pub fn ask(&self, source: &str, lines: &[&str]) -> (Answer, Tunnel) {
        let mut tunnel = self.connect(source);
        tunnel.client.stream.write_all(&head(lines)).unwrap();
        (Answer::read(&mut tunnel.client.stream, true), tunnel)
    }
}

/// A client at the end of a TLS connection.
pub struct Tunnel {
    pub client: Client,
    _openssl: Running,
}
