//! A booted machine: systemd-nspawn on a base that stays as it is.

use std::fs::{self, File};
use std::io::{Read, Seek};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tempfile::TempDir;

use crate::support::{Client, PATIENCE, wait_every};

/// The package, the unit and the command are all called so.
pub const SERVICE: &str = "openstudio-signaling";
pub const SERVICE_UNIT: &str = "openstudio-signaling.service";
pub const SOCKET_UNIT: &str = "openstudio-signaling.socket";

/// How many machines this process has booted.
static BOOTED: AtomicU32 = AtomicU32::new(0);

/// Moves itself into the control groups before `--`, and becomes the command behind it.
const IN_GROUPS: &str = r#"
    while [ "$1" != -- ]; do echo $$ >"$1/cgroup.procs" || exit; shift; done
    shift
    exec "$@""#;

/// A machine that ends when it is dropped. The thread that booted it is in its network.
pub struct Machine {
    nspawn: Child,
    init: u32,
    _groups: ControlGroups,
}

/// A machine's control groups, which are removed when it has ended. Machines that shared them would remove each
/// other's: systemd-nspawn makes its own below those that it is started in (`--keep-unit`).
struct ControlGroups(Vec<PathBuf>);

impl ControlGroups {
    /// One below the current one in each hierarchy that systemd works with (cgroups(7), /proc/PID/cgroup): version 2,
    /// and the named one of version 1 where the host has it.
    fn new(name: &str) -> Self {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let current = fs::read_to_string("/proc/self/cgroup").unwrap();
        let groups = current.lines().filter_map(|line| {
            let (hierarchy, path) = line.rsplit_once(':').unwrap();
            let is_here = |mount: &[&str]| match hierarchy {
                "0:" => mount[2] == "cgroup2",
                _ => hierarchy.ends_with(":name=systemd") && mount[3].contains("name=systemd"),
            };
            let mut mounts = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
            let mount = mounts.find(|mount| is_here(mount))?;
            Some(Path::new(mount[1]).join(path.trim_start_matches('/')).join(name))
        });
        let groups = Self(groups.collect());
        for group in &groups.0 {
            fs::create_dir(group).unwrap();
        }
        groups
    }
}

impl Drop for ControlGroups {
    fn drop(&mut self) {
        let start = Instant::now();
        // What the machine ran has been killed, and may not have ended yet.
        while self.0.iter().any(|group| !remove(group)) && start.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Removes a control group with those in it: whether it is gone.
fn remove(group: &Path) -> bool {
    let entries = fs::read_dir(group).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove(&entry.path());
    }
    fs::remove_dir(group).is_ok() || !group.exists()
}

/// Whether a process is number 1 in a namespace below ours (proc_pid_status(5), NSpid).
fn is_init(process: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    let numbers: Vec<_> = numbers.unwrap_or_default().split_whitespace().collect();
    numbers.len() > 1 && numbers.last() == Some(&"1")
}

/// The folder that machines of a release are booted from. It is not to be changed.
pub fn base(suite: &str) -> PathBuf {
    let cache = std::env::var_os("MACHINES").expect("tests/run says where the bases are");
    Path::new(&cache).join(suite)
}

/// What machines write to /usr, /etc and /var, from one boot to the next.
pub struct Disk(TempDir);

impl Disk {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn boot(&self, suite: &str) -> Machine {
        self.boot_with(suite, "overlay")
    }

    pub fn boot_with_read_only_usr(&self, suite: &str) -> Machine {
        self.boot_with(suite, "overlay-ro")
    }

    /// Boots with an option of systemd-nspawn that makes /usr.
    fn boot_with(&self, suite: &str, usr: &str) -> Machine {
        let folders = [(usr, "usr"), ("overlay", "etc"), ("overlay", "var")];
        let [usr, etc, var] = folders.map(|(option, folder)| {
            let (below, written) = (base(suite).join(folder), self.0.path().join(folder));
            fs::create_dir_all(&written).unwrap();
            format!("--{option}={}:{}:/{folder}", below.display(), written.display())
        });
        Machine::boot(suite, &[&usr, &etc, &var])
    }
}

impl Machine {
    pub fn with_package(suite: &str) -> Self {
        let machine = Self::boot(suite, &[]);
        machine.install();
        machine
    }

    pub fn boot(suite: &str, arguments: &[&str]) -> Self {
        let top = Path::new(env!("CARGO_MANIFEST_DIR"));
        let bind = |from: &str, to: &str| format!("--bind-ro={}:{to}", top.join(from).display());
        let console = tempfile::tempfile().unwrap();
        // Two at a time must not share a name: systemd-nspawn keeps things of a machine under it.
        let number = BOOTED.fetch_add(1, Ordering::Relaxed);
        let name = format!("{suite}-{}-{number}", std::process::id());
        let groups = ControlGroups::new(&name);
        let nspawn = Command::new("sh")
            .args(["-c", IN_GROUPS, "sh"])
            .args(&groups.0)
            .args(["--", "systemd-nspawn"])
            .env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1")
            .args(["--register=no", "--keep-unit", "--volatile=overlay", "--private-network", "-b"])
            .arg(format!("--machine={name}"))
            .arg("--directory")
            .arg(base(suite))
            .arg(bind("target/deb", "/debs"))
            .arg(bind("target/deb-upgrade", "/upgrade"))
            .arg(bind("debian", "/source/debian"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(console.try_clone().unwrap())
            .stderr(console.try_clone().unwrap())
            .spawn()
            .unwrap();
        let mut machine = Self { nspawn, init: 0, _groups: groups };
        machine.init = machine.find_init(console);
        machine.wait_until("the boot", || {
            let state = machine.run(&["systemctl", "is-system-running"]).stdout;
            state == b"running\n" || state == b"degraded\n"
        });
        let network = File::open(format!("/proc/{}/ns/net", machine.init)).unwrap();
        move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        machine
    }

    /// Waits for the machine's init: the child of systemd-nspawn that is process 1 where it lives. Another
    /// one, which makes it, comes first and goes.
    fn find_init(&mut self, mut console: File) -> u32 {
        let children = format!("/proc/{0}/task/{0}/children", self.nspawn.id());
        let start = Instant::now();
        loop {
            let children = fs::read_to_string(&children).unwrap_or_default();
            let mut children = children.split_whitespace();
            if let Some(init) = children.find(|child| is_init(child)) {
                return init.parse().unwrap();
            }
            if self.nspawn.try_wait().unwrap().is_some() || start.elapsed() > PATIENCE {
                let mut said = String::new();
                console.rewind().unwrap();
                console.read_to_string(&mut said).unwrap();
                panic!("systemd-nspawn does not boot: {said}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The process that is its process 1.
    pub fn init(&self) -> u32 {
        self.init
    }

    pub fn install(&self) {
        self.apt("install /debs/openstudio-signaling_*.deb");
    }

    /// Shuts it down, as an operator does.
    pub fn power_off(mut self) {
        self.run(&["systemctl", "--no-block", "poweroff"]);
        let has_ended = || self.nspawn.try_wait().unwrap().is_some();
        wait_every(Duration::from_millis(50), has_ended, || "it does not go off".to_owned());
        // Its number may be another process's by now.
        self.init = 0;
    }

    /// Runs apt-get by way of a shell, which knows the package's architecture by its pattern.
    pub fn apt(&self, arguments: &str) -> String {
        self.ok(&["sh", "-c", &format!("DEBIAN_FRONTEND=noninteractive apt-get -y {arguments}")])
    }

    pub fn run(&self, command: &[&str]) -> Output {
        Command::new("nsenter")
            .args(["-t", &self.init.to_string(), "-m", "-u", "-i", "-n", "-p", "-C", "--"])
            .args(command)
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LANG", "C.UTF-8")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Runs a command that must succeed: its standard output.
    pub fn ok(&self, command: &[&str]) -> String {
        let output = self.run(command);
        let stdout = String::from_utf8(output.stdout).unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {stdout}{stderr}{}", self.log());
        stdout
    }

    /// A property of the service.
    pub fn property(&self, name: &str) -> String {
        self.ok(&["systemctl", "show", "--value", "-p", name, SERVICE]).trim().to_owned()
    }

    pub fn log(&self) -> String {
        // By identifier as well: journald may look up the unit of a last line when its process has gone.
        let unit = "_SYSTEMD_UNIT=openstudio-signaling.service";
        let manager = "UNIT=openstudio-signaling.service";
        let identifier = "SYSLOG_IDENTIFIER=openstudio-signaling";
        let output = self.run(&["journalctl", "--no-pager", unit, "+", manager, "+", identifier]);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub fn wait_for_property(&self, name: &str, value: &str) {
        self.wait_until(value, || self.property(name) == value);
    }

    /// Waits for a line of the service's log that contains `text`.
    pub fn wait_for_log(&self, text: &str) {
        self.wait_until(text, || self.log().contains(text));
    }

    /// Waits for an entry that matches and contains `text`: all that match, as JSON.
    pub fn wait_for_log_with(&self, matches: &str, text: &str) -> String {
        let find = || self.ok(&["journalctl", "--no-pager", "-u", SERVICE, matches, "-o", "json"]);
        // In JSON, quotes have a backslash.
        let text = text.replace('"', "\\\"");
        self.wait_until(&text, || find().contains(&text));
        find()
    }

    pub fn wait_until(&self, what: &str, done: impl FnMut() -> bool) {
        // The machine is another system: there is nothing to be woken by.
        wait_every(Duration::from_millis(50), done, || {
            let [units, log] = [
                &[
                    "systemctl",
                    "--no-pager",
                    "list-units",
                    "--state=failed,activating,deactivating",
                ][..],
                &["journalctl", "--no-pager", "-n", "30"],
            ]
            .map(|command| String::from_utf8_lossy(&self.run(command).stdout).into_owned());
            format!("{what}\n{units}\n{log}")
        });
    }

    /// A client on the machine's loopback that has had its welcome.
    pub fn client(&self) -> Client {
        let mut client = Client::open(3000);
        client.text();
        client
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // The end of a namespace's init is the end of everything in it.
        if let Some(init) = Pid::from_raw(self.init as i32) {
            let _ = kill_process(init, Signal::KILL);
        } else {
            let _ = self.nspawn.kill();
        }
        let _ = self.nspawn.wait();
    }
}
