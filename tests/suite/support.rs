//! A server that stops when it is dropped, and a client that can misbehave.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take before a test gives up. Nothing waits that long when all is well, however busy the machine
/// is: this only ends a test that has failed.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A command for the built binary with an empty environment.
pub fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_openstudio-signaling"));
    command.env_clear();
    command
}

/// The lines that a process has written so far.
#[derive(Clone, Default)]
pub struct Log(Arc<(Mutex<Vec<String>>, Condvar)>);

impl Log {
    /// Collects what `source` says until it ends.
    pub fn follow(source: impl Read + Send + 'static) -> Self {
        let log = Self::default();
        let writer = log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(source).lines().map_while(Result::ok) {
                writer.0.0.lock().unwrap().push(line);
                writer.0.1.notify_all();
            }
        });
        log
    }

    /// Waits for a line that contains `text`.
    pub fn wait_for(&self, text: &str) -> String {
        self.wait_for_any(&[text])
    }

    /// Waits for a line that contains one of these texts: the first that does.
    pub fn wait_for_any(&self, texts: &[&str]) -> String {
        let fits = |line: &&String| texts.iter().any(|text| line.contains(text));
        let find = |lines: &Vec<String>| lines.iter().find(fits).cloned();
        let lines = self.0.0.lock().unwrap();
        let (lines, _) =
            self.0.1.wait_timeout_while(lines, PATIENCE, |lines| find(lines).is_none()).unwrap();
        find(&lines).unwrap_or_else(|| panic!("no {texts:?} in {lines:#?}"))
    }

    /// Waits until more lines than `before` contain `text`.
    pub fn wait_for_another(&self, text: &str, before: usize) {
        let count = |lines: &Vec<String>| lines.iter().filter(|line| line.contains(text)).count();
        let lines = self.0.0.lock().unwrap();
        let few = |lines: &mut Vec<String>| count(lines) <= before;
        let (lines, waited) = self.0.1.wait_timeout_while(lines, PATIENCE, few).unwrap();
        assert!(!waited.timed_out(), "{before} {text:?} and no more in {lines:#?}");
    }

    /// How many lines so far contain `text`.
    pub fn count(&self, text: &str) -> usize {
        self.0.0.lock().unwrap().iter().filter(|line| line.contains(text)).count()
    }
}

/// A running server on a port of its own.
pub struct Server {
    pub child: Child,
    pub port: u16,
    pub log: Log,
}

impl Server {
    pub fn start(environment: &[(&str, &str)]) -> Self {
        // However long a test takes, no heartbeat comes in between, and nobody who takes leave is cut off.
        let usual = [("PORT", "0"), ("HEARTBEAT_MS", "3600000"), ("SHUTDOWN_GRACE_MS", "3600000")];
        Self::spawn(binary().envs(usual).envs(environment.iter().copied()))
    }

    /// Starts a command that ends up as a server, and waits until it serves.
    pub fn spawn(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
        let log = Log::follow(child.stderr.take().unwrap());
        Self::started(child, log)
    }

    /// Waits until a process serves; one that never does is not left behind.
    pub fn started(child: Child, log: Log) -> Self {
        let mut server = Self { child, port: 0, log };
        let line = server.log.wait_for("Listening on ");
        let address = line.split("Listening on ").nth(1).unwrap();
        let port = address.split(' ').next().unwrap().rsplit(':').next().unwrap();
        server.port = port.parse().unwrap();
        server.log.wait_for(" started: ");
        server
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id() as i32).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits for the end of the process.
    pub fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "the server does not end");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

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

    /// SIGTERM, and the exit code.
    pub fn stop(&mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        self.wait().code()
    }

    pub fn connect(&self) -> TcpStream {
        connect(self.port)
    }

    /// A client that has had its welcome.
    pub fn client(&self) -> Client {
        let mut client = Client::open(self.port);
        assert_eq!(client.text(), WELCOME);
        client
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub const WELCOME: &str =
    r#"{"type":"welcome","message":"Connected to OpenStudio signaling server"}"#;

/// The handshake of RFC 6455 section 1.2, as lines.
pub const UPGRADE: &[&str] = &[
    "GET / HTTP/1.1",
    "Host: localhost",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];

pub fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Whether nothing has come that is not read yet, not even the end of TCP.
pub fn is_silent(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let came = stream.peek(&mut [0]);
    stream.set_nonblocking(false).unwrap();
    came.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

pub fn head(lines: &[impl AsRef<str>]) -> Vec<u8> {
    let lines: Vec<_> = lines.iter().map(AsRef::as_ref).collect();
    format!("{}\r\n\r\n", lines.join("\r\n")).into_bytes()
}

/// An HTTP answer: the head in lower case, and the body that its content-length announces.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn read(stream: &mut impl Read, has_body: bool) -> Self {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length = length.map_or(0, |length| length.trim().parse().unwrap());
        let mut body = vec![0; if has_body { length } else { 0 }];
        stream.read_exact(&mut body).unwrap();
        Self { status, head, body: String::from_utf8(body).unwrap() }
    }

    pub fn has(&self, header: &str) -> bool {
        self.head.lines().any(|line| line == header)
    }
}

/// Sends a request without a body on a connection of its own.
pub fn request(port: u16, lines: &[impl AsRef<str>]) -> Answer {
    let mut stream = connect(port);
    stream.write_all(&head(lines)).unwrap();
    Answer::read(&mut stream, !lines[0].as_ref().starts_with("HEAD"))
}

pub fn get(port: u16, path: &str) -> Answer {
    request(port, &[format!("GET {path} HTTP/1.1").as_str(), "Host: localhost"])
}

/// A WebSocket client made by hand, over TCP or what is on it.
pub struct Client<S = TcpStream> {
    pub stream: S,
}

/// A frame from the server.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    pub opcode: u8,
    pub payload: Vec<u8>,
}

impl Client {
    /// Shakes hands, and leaves the welcome to be read.
    pub fn open(port: u16) -> Self {
        Self::over(connect(port))
    }

    pub fn shutdown_write(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }
}

impl<S: Read + Write> Client<S> {
    /// Shakes hands on a connection, and leaves the welcome to be read.
    pub fn over(mut stream: S) -> Self {
        stream.write_all(&head(UPGRADE)).unwrap();
        let answer = Answer::read(&mut stream, true);
        assert_eq!(answer.status, 101, "{answer:?}");
        Self { stream }
    }

    pub fn send(&mut self, first: u8, payload: &[u8]) {
        self.stream.write_all(&frame(first, payload)).unwrap();
    }

    pub fn say(&mut self, text: &str) {
        self.send(0x81, text.as_bytes());
    }

    /// The next frame, or `None` at the end of TCP.
    pub fn frame(&mut self) -> Option<Frame> {
        let mut head = [0; 2];
        match self.stream.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return None,
            Err(error) => panic!("the connection broke: {error}"),
        }
        assert_eq!(head[0] & 0xF0, 0x80, "the server sends whole frames");
        let length = match head[1] {
            126 => {
                let mut bytes = [0; 2];
                self.stream.read_exact(&mut bytes).unwrap();
                usize::from(u16::from_be_bytes(bytes))
            }
            short if short < 126 => usize::from(short),
            _ => panic!("masked or too long"),
        };
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).unwrap();
        Some(Frame { opcode: head[0] & 0x0F, payload })
    }

    pub fn text(&mut self) -> String {
        let frame = self.frame().expect("a text frame");
        assert_eq!(frame.opcode, 1, "{frame:?}");
        String::from_utf8(frame.payload).unwrap()
    }

    pub fn ask(&mut self, text: &str) -> String {
        self.say(text);
        self.text()
    }

    /// Reads up to the close frame: its code, `None` where it has none. Panics where TCP ends without.
    pub fn close_code(&mut self) -> Option<u16> {
        loop {
            let frame = self.frame().expect("a close frame before the end of TCP");
            if frame.opcode == 8 {
                return frame.payload.first_chunk().map(|code| u16::from_be_bytes(*code));
            }
        }
    }

    /// Whether TCP ends now, without a further frame.
    pub fn ends(&mut self) -> bool {
        self.frame().is_none()
    }

    /// Says goodbye, or answers the server's, and waits for the end of TCP.
    pub fn leave(mut self, code: u16) {
        self.send(0x88, &code.to_be_bytes());
        while let Some(frame) = self.frame() {
            assert_eq!(frame.opcode, 8, "{frame:?}");
        }
    }
}

/// A masked frame; `first` has FIN, the reserved bits and the opcode.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0xA1, 0xB2, 0xC3, 0xD4];
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..126 => bytes.push(0x80 | length as u8),
        length @ 126..65_536 => {
            bytes.push(0xFE);
            bytes.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            bytes.push(0xFF);
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// Lets this process have as many descriptors as the system allows.
pub fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
}

/// Where Debian's libfaketime is: between a program and the C library, where the time of day is asked for.
pub fn libfaketime() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
    let mut libraries = folders.map(|folder| folder.join("faketime/libfaketime.so.1"));
    libraries.find(|library| library.exists()).expect("apt install faketime")
}
