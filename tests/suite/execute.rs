//! SIGUSR2: the program on the disk takes the place of the one that runs, in its process, and clients notice nothing.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::alive::is_alive;
use crate::fetch::get;
use crate::handover::{enter, offer};
use crate::metrics::metric;
use crate::peers::{A, peer, resume_of};
use crate::process::binary;
use crate::rooms::{B, C};
use crate::support::{Server, wait_until};

/// How many descriptors the process has.
fn descriptors(server: &Server) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", server.child.id())).unwrap().count()
}

fn input(server: &Server) -> String {
    let path = std::fs::read_link(format!("/proc/{}/fd/0", server.child.id()));
    path.unwrap().display().to_string()
}

fn execute(server: &Server, times: usize) {
    server.signal(Signal::USR2);
    wait_until(|| server.log.count("Took over ") == times, || "it does not take over".into());
    wait_until(|| server.log.count(" started: ") == times + 1, || "it does not start".into());
}

#[test]
fn clients_notice_nothing_of_it() {
    let server = Server::start(&[]);
    let mut host = peer(&server, A);
    assert!(enter(&mut host, "host").contains("room-created"));
    let mut guest = peer(&server, B);
    assert!(enter(&mut guest, "guest").contains("room-joined"));
    assert!(host.text().contains("peer-joined"));
    is_alive(&mut guest);
    let (before, began) = (descriptors(&server), get(server.port, "/health"));
    for times in 1..=3 {
        execute(&server, times);
        host.say(&offer(A, B, "x"));
        assert_eq!(guest.text(), offer(A, B, "x"));
        assert_eq!(get(server.port, "/ready").status, 200, "on the same port");
        assert_eq!(input(&server), "/dev/null", "as before");
    }
    wait_until(
        || descriptors(&server) <= before,
        || format!("{} descriptors, and {before} before", descriptors(&server)),
    );
    let now = get(server.port, "/health");
    assert_ne!(now.head, began.head, "another program began");
    assert_eq!(metric(&server, "clients_taken_over_total"), 6.0);
    let mut server = server;
    drop((host, guest));
    assert_eq!(server.stop(), Some(0), "the same process");
}

#[test]
fn what_was_signed_before_holds_where_no_file_has_the_secret() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let registered = client.ask(&format!(r#"{{"type":"register","peerId":"{A}"}}"#));
    let resume = resume_of(&registered, A);
    let register = format!(r#"{{"type":"register","peerId":"{A}","resume":"{resume}"}}"#);
    execute(&server, 1);
    let mut again = server.client();
    let answer = again.ask(&register);
    assert!(answer.contains("registered"), "{answer}");
    assert_eq!(client.close_code(), Some(4010), "its earlier connection");
}

#[test]
fn signals_in_a_row_end_nobody() {
    let server = Server::start(&[]);
    let mut client = peer(&server, A);
    for _ in 0..20 {
        for signal in [Signal::USR2, Signal::HUP, Signal::WINCH] {
            server.signal(signal);
        }
        is_alive(&mut client);
    }
    let mut server = server;
    assert!(server.runs());
    drop(client);
    // One more may be under way.
    server.signal(Signal::USR2);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
}

/// A settings file that a test changes.
struct Settings(tempfile::NamedTempFile);

impl Settings {
    fn new(text: &str) -> Self {
        let settings = Self(tempfile::NamedTempFile::new().unwrap());
        settings.write(text);
        settings
    }

    fn write(&self, text: &str) {
        std::fs::write(self.0.path(), text).unwrap();
    }

    fn server(&self) -> Server {
        let flag = format!("--settings-file={}", self.0.path().display());
        Server::spawn(binary().arg(flag).env_remove("PORT"))
    }
}

#[test]
fn settings_that_are_invalid_change_nothing() {
    let settings = Settings::new("PORT=0\n");
    let server = settings.server();
    let mut client = peer(&server, A);
    settings.write("PORT=0\nRATE_LIMIT=many\n");
    server.signal(Signal::USR2);
    let line = server.log.wait_for("SIGUSR2: the program on the disk can't go on");
    assert!(line.contains("RATE_LIMIT"), "{line}");
    is_alive(&mut client);
    settings.write("PORT=0\nRATE_LIMIT=7\n");
    execute(&server, 1);
    is_alive(&mut client);
}

#[test]
fn another_port_is_listened_on_by_the_next_program() {
    let settings = Settings::new("PORT=0\nHOST=127.0.0.1\n");
    let server = settings.server();
    let mut client = peer(&server, A);
    settings.write("PORT=0\nHOST=127.0.0.2\n");
    execute(&server, 1);
    is_alive(&mut client);
    server.log.wait_for("Listening on 127.0.0.2:");
    assert!(std::net::TcpStream::connect(("127.0.0.1", server.port)).is_err(), "nobody is there");
}

/// A program at `path` that does this.
fn script(path: &Path, text: &str) {
    std::fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// A server whose program is at `path`, as far as it knows.
fn start_as(path: &Path) -> Server {
    let mut command = Command::new(env!("CARGO_BIN_EXE_openstudio-signaling"));
    Server::spawn(command.arg0(path).env_clear().env("PORT", "0"))
}

#[test]
fn a_program_that_is_not_there_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("openstudio-signaling");
    let server = start_as(&path);
    let mut client = peer(&server, A);
    server.signal(Signal::USR2);
    let line = server.log.wait_for("SIGUSR2: the program on the disk can't go on");
    assert!(line.contains(&format!("the program {} can't be run", path.display())), "{line}");
    is_alive(&mut client);
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_openstudio-signaling"), &path).unwrap();
    execute(&server, 1);
    is_alive(&mut client);
}

#[test]
fn a_program_that_can_not_go_on_or_hangs_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("openstudio-signaling");
    let server = start_as(&path);
    let mut client = peer(&server, A);
    for (program, reason) in [
        ("echo unexpected argument >&2; exit 2", "of a version that can't go on with clients"),
        ("exec sleep 100", "needs more than 3 s"),
    ] {
        script(&path, program);
        server.signal(Signal::USR2);
        server.log.wait_for(reason);
        is_alive(&mut client);
    }
}

#[test]
fn where_the_next_program_can_not_listen_it_listens_as_before() {
    let settings = Settings::new("PORT=0\nHOST=127.0.0.1\n");
    let server = settings.server();
    let mut client = peer(&server, A);
    // An address of no machine here (RFC 5737).
    settings.write("PORT=0\nHOST=203.0.113.1\n");
    execute(&server, 1);
    let line = server.log.wait_for("the service goes on listening on 127.0.0.1:");
    assert!(line.contains("HOST=203.0.113.1"), "{line}");
    is_alive(&mut client);
    is_alive(&mut server.client());
}

#[test]
fn one_that_goes_in_the_last_moment_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("openstudio-signaling");
    script(&path, r#"[ "$1" = config ] && rm "$0""#);
    let server = start_as(&path);
    let mut host = peer(&server, A);
    assert!(enter(&mut host, "host").contains("room-created"));
    execute(&server, 1);
    let line = server.log.wait_for("SIGUSR2: the program on the disk can't go on");
    let reason = format!("the program {} can't be run: No such file", path.display());
    assert!(line.contains(&reason), "{line}");
    is_alive(&mut host);
    // Whoever breaks off a download must not end the process (signal(7), SIGPIPE).
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).unwrap();
    let ignored = u64::from_str_radix(ignored, 16).unwrap();
    assert_ne!(ignored & 1 << (Signal::PIPE.as_raw() - 1), 0, "{ignored:x}");
    let mut guest = peer(&server, B);
    assert!(enter(&mut guest, "guest").contains("room-joined"));
    assert_eq!(input(&server), "/dev/null", "as before");
    // And it can be tried again.
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_openstudio-signaling"), &path).unwrap();
    execute(&server, 2);
    is_alive(&mut guest);
    let mut third = peer(&server, C);
    assert!(enter(&mut third, "guest").contains("room-joined"));
}
