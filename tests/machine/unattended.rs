//! Upgrades that nobody looks at, by Debian's unattended-upgrades and needrestart, while clients talk.
//!
//! Owns that both are set up by the commands of docs/operate.md, and restart what they have to. It deliberately does
//! not wait for their timers.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::alive::is_alive;
use crate::booted::{Machine, SERVICE, base};
use crate::docs::{commands, part, run};
use crate::repository::{Keys, WebServer, add_repository, installed, package};
use crate::restart::{Talk, peer, set_no_limits};

/// A library that the server has mapped, which comes as a package of its own.
const LIBRARY: &str = "libgcc-s1";

/// Debian's package of a library in the next version.
fn newer_library(suite: &str, folder: &Path) -> PathBuf {
    let cache = base(suite).join("var/cache/apt/archives");
    let files = fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().path());
    let is_it = |path: &PathBuf| path.to_string_lossy().contains(&format!("/{LIBRARY}_"));
    let deb = files.into_iter().find(is_it).unwrap_or_else(|| panic!("{LIBRARY} in {cache:?}"));
    let dpkg_deb = |arguments: &[&Path]| {
        let output = Command::new("dpkg-deb").args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let (tree, newer) = (folder.join("library"), folder.join("library.deb"));
    dpkg_deb(&["-R".as_ref(), &deb, &tree]);
    let control = fs::read_to_string(tree.join("DEBIAN/control")).unwrap();
    let version = control.lines().find(|line| line.starts_with("Version: ")).unwrap();
    let control = control.replace(version, &format!("{version}+newer"));
    fs::write(tree.join("DEBIAN/control"), control).unwrap();
    dpkg_deb(&["--root-owner-group".as_ref(), "-b".as_ref(), &tree, &newer]);
    newer
}

/// Whether a process of a service runs with a file that is not there any more, such as a library before its upgrade.
fn is_outdated(machine: &Machine, service: &str) -> bool {
    let process = machine.ok(&["systemctl", "show", "--value", "-p", "MainPID", service]);
    let maps = machine.ok(&["cat", &format!("/proc/{}/maps", process.trim())]);
    maps.lines().any(|file| file.contains(".so.") && file.ends_with(" (deleted)"))
}

/// A connection on the way to Icecast.
struct Programme {
    source: UnixStream,
    icecast: TcpStream,
}

impl Programme {
    fn start(machine: &Machine) -> Self {
        let icecast = TcpListener::bind("127.0.0.1:8000").unwrap();
        machine.ok(&["systemctl", "start", "openstudio-signaling-icecast.socket"]);
        let socket = "run/openstudio-signaling-icecast/socket";
        let source = UnixStream::connect(format!("/proc/{}/root/{socket}", machine.init()));
        Self { source: source.unwrap(), icecast: icecast.accept().unwrap().0 }
    }

    fn goes_on(&mut self) {
        self.source.write_all(b"audio").unwrap();
        let mut heard = [0; 5];
        self.icecast.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"audio");
    }
}

pub fn automatic_upgrades_keep_clients(suite: &str) {
    let machine = Machine::with_package(suite);
    for command in commands(part(include_str!("../../docs/operate.md"), "Automatic upgrades")) {
        run(&machine, &command);
    }
    // All that needrestart sees of a service is its name, and the files of its processes.
    for service in ["coturn", "icecast2"] {
        machine.ok(&["systemd-run", "--quiet", "--unit", service, "sleep", "infinity"]);
    }
    let mut programme = Programme::start(&machine);
    let left_alone = ["coturn", "icecast2", "openstudio-signaling-icecast"];
    set_no_limits(&machine);
    let talk = Talk::start(peer(&machine, 0), peer(&machine, 1));
    let mut silent = machine.client();
    let mut process = machine.property("MainPID");
    let mut restarts = 0;
    let mut was_restarted = |why: &str| {
        let before = std::mem::replace(&mut process, machine.property("MainPID"));
        assert_ne!(process, before, "{why}");
        restarts += 1;
        is_alive(&mut silent);
        let is_told = || machine.log().matches("Took over 3 clients").count() == restarts;
        machine.wait_until(&format!("{why}: restart {restarts} in the log"), is_told);
    };

    // By hand: needrestart lists the services first, and then restarts those that it may.
    let reinstall = "NEEDRESTART_MODE=l DEBIAN_FRONTEND=noninteractive apt-get -y reinstall libc6";
    let listed = machine.ok(&["sh", "-c", reinstall]);
    assert!(listed.contains("systemctl restart openstudio-signaling.service"), "{listed}");
    let said = machine.ok(&["needrestart", "-r", "a"]);
    println!("{suite}: needrestart -r a: {said}");
    was_restarted("a library was replaced");

    // By what the timers start: the new version of the server.
    let directory = tempfile::tempdir().unwrap();
    let repository = directory.path().join("repository");
    let keys = Keys::make();
    keys.publish(&repository, &package("deb-upgrade"));
    let _server = WebServer::start(&machine, &repository);
    add_repository(&machine, suite);
    machine.ok(&["systemctl", "start", "apt-daily.service"]);
    machine.ok(&["systemctl", "start", "apt-daily-upgrade.service"]);
    let log = "cat /var/log/unattended-upgrades/*.log";
    assert_eq!(installed(&machine), "9.9.9", "{}", machine.ok(&["sh", "-c", log]));
    was_restarted("the server was upgraded");

    // Both together: the new version of a library.
    keys.publish(&repository, &newer_library(suite, directory.path()));
    machine.apt("update --error-on=any");
    let said = machine.ok(&["unattended-upgrade", "-v"]);
    println!("{suite}: unattended-upgrade -v: {said}");
    let version = machine.ok(&["dpkg-query", "-W", "-f", "${Version}", LIBRARY]);
    assert!(version.ends_with("+newer"), "{version}: {said}");
    was_restarted("a library was upgraded");
    assert!(!is_outdated(&machine, SERVICE));
    for service in left_alone {
        assert!(is_outdated(&machine, service), "{service} is left alone");
    }
    programme.goes_on();

    let messages = talk.finish();
    println!("{suite}: {messages} messages");
    assert!(messages > 100, "{messages}");
}
