//! The package from an apt repository on a plain web server, as `packaging/build-repo` makes it.
//!
//! Owns the keys, the repository and the server in front of it. It deliberately looks into no file of the
//! repository: apt does.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::booted::{Machine, SERVICE};
use crate::load::ConnectLoop;
use crate::running::Running;

/// Where the machine finds the repository, in a network that nobody else is in.
const ADDRESS: &str = "127.0.0.1:8090";

/// gpg's keys and its agent, which end with the test.
pub struct Keys(TempDir);

impl Keys {
    pub fn make() -> Self {
        let keys = Self(tempfile::tempdir().unwrap());
        let make = ["--batch", "--quiet", "--passphrase", "", "--quick-generate-key"];
        let key = ["Radio North packages <apt@radio-north.example>", "ed25519", "sign", "never"];
        let made = keys.command("gpg").args(make).args(key).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        keys
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env("GNUPGHOME", self.0.path()).stdin(Stdio::null());
        command
    }

    /// Runs `packaging/build-repo`, which must succeed.
    pub fn publish(&self, repository: &Path, deb: &Path) {
        let output = self.build_repo(repository, deb);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn build_repo(&self, repository: &Path, deb: &Path) -> Output {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/build-repo");
        let mut command = self.command(program);
        command.arg(repository).arg(format!("http://{ADDRESS}/")).arg(deb);
        command.env_remove("KEY").env_remove("SUITES").output().unwrap()
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        let _ = self.command("gpgconf").args(["--kill", "all"]).status();
    }
}

/// A plain web server on the machine's loopback.
pub struct WebServer {
    _process: Running,
}

impl WebServer {
    pub fn start(machine: &Machine, root: &Path) -> Self {
        let mut command = Command::new("caddy");
        command.args(["file-server", "--listen", ADDRESS, "--root"]).arg(root);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = Running::start(command.env_clear().env("HOME", root));
        machine.wait_until("the web server", || TcpStream::connect(ADDRESS).is_ok());
        Self { _process: process }
    }
}

/// The package in a folder below target/.
pub fn package(folder: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target").join(folder);
    let files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let mut debs = files.filter(|path| path.extension().is_some_and(|end| end == "deb"));
    debs.next().unwrap_or_else(|| panic!("no package in {}", folder.display()))
}

pub fn installed(machine: &Machine) -> String {
    machine.ok(&["dpkg-query", "-W", "-f", "${Version}", SERVICE])
}

/// Makes the repository the only one that apt knows: Debian's own mirrors are out of reach here, and apt would say so.
pub fn add_repository(machine: &Machine, suite: &str) {
    machine.ok(&["sh", "-c", "rm -f /etc/apt/sources.list /etc/apt/sources.list.d/*"]);
    let sources = format!("http://{ADDRESS}/openstudio-signaling-{suite}.sources");
    let here = "/etc/apt/sources.list.d/openstudio-signaling.sources";
    machine.ok(&["curl", "-sSfo", here, &sources]);
}

pub fn it_is_installed_and_upgraded_from_a_repository(suite: &str) {
    let machine = Machine::boot(suite, &[]);
    let directory = tempfile::tempdir().unwrap();
    let repository = directory.path().join("repository");
    let keys = Keys::make();
    keys.publish(&repository, &package("deb"));
    let server = WebServer::start(&machine, &repository);
    add_repository(&machine, suite);
    let update = "update --error-on=any";
    machine.apt(update);
    machine.apt(&format!("install {SERVICE}"));
    let first = installed(&machine);
    assert_eq!(machine.property("ActiveState"), "active");
    machine.ok(&["openstudio-signaling", "check"]);

    // A new version is published, and comes with everything else that is upgraded.
    keys.publish(&repository, &package("deb-upgrade"));
    machine.apt(update);
    let process = machine.property("MainPID");
    let load = ConnectLoop::start();
    machine.apt("upgrade");
    let tally = load.finish();
    println!("{suite}: upgrade from a repository: {tally:?}");
    assert!(tally.served >= 20, "{tally:?}");
    assert_eq!((tally.refused, tally.broken), (0, 0), "{tally:?}");
    assert_eq!(installed(&machine), "9.9.9");
    assert_ne!(machine.property("MainPID"), process, "the service runs the new program");
    // The version from before is still there.
    machine.apt(&format!("install --allow-downgrades {SERVICE}={first}"));
    assert_eq!(installed(&machine), first);
    machine.ok(&["openstudio-signaling", "check"]);

    // What was published does not change any more.
    let other = directory.path().join("other.deb");
    let repacked = Command::new("dpkg-deb")
        .args([
            "-R".as_ref(),
            package("deb-upgrade").as_os_str(),
            directory.path().join("other").as_os_str(),
        ])
        .status();
    assert!(repacked.unwrap().success());
    fs::write(directory.path().join("other/usr/another-file"), "").unwrap();
    let packed = Command::new("dpkg-deb")
        .args(["-b".as_ref(), directory.path().join("other").as_os_str(), other.as_os_str()])
        .output();
    assert!(packed.unwrap().status.success());
    let refused = keys.build_repo(&repository, &other);
    assert!(!refused.status.success());
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("raise the version"), "{said}");

    // Somebody else's key, in the same place: apt takes nothing from it, not even the news.
    drop(server);
    let forged = directory.path().join("forged");
    Keys::make().publish(&forged, &package("deb-upgrade"));
    let _server = WebServer::start(&machine, &forged);
    let update = machine.run(&["apt-get", "update", "--error-on=any"]);
    assert!(!update.status.success(), "apt trusts anybody");
    let said = [update.stdout, update.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains("NO_PUBKEY") || said.contains("Missing key"), "{said}");
}
