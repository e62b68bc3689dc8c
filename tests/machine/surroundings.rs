//! The installed service where something around it is another, or is not there: drop-ins, a blocked system call, IPv6,
//! D-Bus, a /usr that can be written to.

use std::io::{Read, Write};
use std::net::TcpListener;

use crate::alive::is_alive;
use crate::booted::{Disk, Machine, SERVICE, SERVICE_UNIT, SOCKET_UNIT};
use crate::docs::{commands, part};

const OPERATE: &str = include_str!("../../docs/operate.md");

pub fn the_drop_in_examples_work(suite: &str) {
    let machine = Machine::with_package(suite);
    let examples = "/usr/share/doc/openstudio-signaling/examples";
    let install = |unit: &str, example: &str| {
        let directory = format!("/etc/systemd/system/{unit}.d");
        machine.ok(&["mkdir", "-p", &directory]);
        machine.ok(&["cp", &format!("{examples}/{example}"), &directory]);
        machine.ok(&["systemctl", "daemon-reload"]);
        machine.ok(&["systemctl", "restart", SOCKET_UNIT, SERVICE_UNIT]);
    };
    machine.ok(&["sh", "-c", "echo PORT=8080 >> /etc/default/openstudio-signaling"]);
    machine.ok(&["systemctl", "restart", SERVICE]);
    machine.wait_for_log("PORT=8080 (/etc/default/openstudio-signaling line ");
    machine.wait_for_log("has no effect: systemd passed a socket that listens on [::]:3000");

    // The log's explanation has the commands that put it right.
    let catalog = include_str!("../../systemd/openstudio-signaling.catalog");
    let entry =
        catalog.split("\n-- ").find(|entry| entry.contains("has no effect, because systemd"));
    let commands = entry.unwrap().lines().filter_map(|line| line.strip_prefix("    "));
    let commands = commands.collect::<Vec<_>>().join("\n");
    assert!(commands.contains("restart"), "{commands}");
    machine.ok(&["sh", "-ec", &commands]);
    machine.ok(&["openstudio-signaling", "check", "ws://localhost:8080/"]);
    assert!(std::net::TcpStream::connect(("127.0.0.1", 3000)).is_err());
    install(SOCKET_UNIT, "privileged-port.conf");
    machine.ok(&["openstudio-signaling", "check", "ws://localhost:80/"]);
    install(SERVICE_UNIT, "direct-network.conf");
    machine.ok(&["openstudio-signaling", "check", "ws://localhost:80/"]);
    assert_eq!(machine.property("PrivateNetwork"), "no");
}

pub fn it_starts_where_unshare_is_blocked(suite: &str) {
    let machine = Machine::boot(suite, &["--system-call-filter=~unshare"]);
    machine.install();
    let unshare = ["systemd-run", "--quiet", "--wait", "unshare", "--mount", "true"];
    assert!(!machine.run(&unshare).status.success(), "unshare is blocked");
    assert_eq!(machine.property("ActiveState"), "active");
    machine.ok(&["openstudio-signaling", "check"]);
    restart_below(&machine);
}

/// A container manager may let systemd make a namespace and then refuse what it does in it: the start ends with 226. The
/// drop-in takes away all that needs one, also for the ways to Icecast and to NATS.
pub fn a_container_without_namespaces_has_its_drop_in(suite: &str) {
    let machine = Machine::boot(suite, &["--system-call-filter=~chroot pivot_root"]);
    machine.install();
    // systemd tries again every second: between two tries the status has the last one's end.
    let status = || {
        let shown = machine.run(&["systemctl", "status", "--no-pager", SERVICE]).stdout;
        String::from_utf8_lossy(&shown).into_owned()
    };
    let has_failed = |shown: &str| {
        shown.contains("status=226/NAMESPACE") && shown.contains("man:openstudio-signaling(8)")
    };
    machine.wait_until("226 in the status", || has_failed(&status()));
    // Where an operator looks first: the status names the man page, and both the row of the docs.
    let manual = machine.ok(&["sh", "-c", "man 8 openstudio-signaling | cat"]);
    assert!(manual.contains(" 226 ") && manual.contains("no-namespaces.conf"), "{manual}");
    machine.wait_for_log("Failed to set up mount namespacing");
    assert!(OPERATE.contains("| `Failed to set up mount namespacing`"));
    let ways = [("icecast", 8000), ("nats", 4222)].map(|(name, port)| {
        let way = format!("{SERVICE}-{name}");
        machine.ok(&["systemctl", "enable", "--now", &format!("{way}.socket")]);
        assert!(!machine.run(&["systemctl", "start", &way]).status.success());
        let status = ["systemctl", "show", "--value", "-p", "ExecMainStatus", &way];
        assert_eq!(machine.ok(&status), "226\n");
        (way, port)
    });

    // What the archive needs elsewhere would bring the namespace back.
    let archive = "/etc/systemd/system/openstudio-signaling.service.d/archive.conf";
    let write = format!(
        "install -D /dev/null {archive}; printf '[Service]\nReadWritePaths=-/srv\n' >{archive}"
    );
    machine.ok(&["sh", "-ec", &write]);
    let page = part(OPERATE, "Status 226 in a container");
    let page = page.split("\n### ").next().unwrap();
    let blocks: Vec<_> = commands(page).into_iter().filter(|block| block.contains('\n')).collect();
    assert_eq!(blocks.len(), 2, "{blocks:#?}");
    for block in blocks {
        machine.ok(&["sh", "-ec", &block]);
    }
    let of = |process: &str| {
        let kinds = ["mnt", "net", "ipc", "uts", "user"];
        kinds.map(|kind| machine.ok(&["readlink", &format!("/proc/{process}/ns/{kind}")]))
    };
    assert_eq!(of(&machine.property("MainPID")), of("1"));
    machine.ok(&["openstudio-signaling", "check"]);
    let exposure = |unit: &str, figure: &str| {
        let security = machine.ok(&["systemd-analyze", "security", "--no-pager", unit]);
        assert!(security.contains(&format!(": {figure} OK")), "{security}");
    };
    exposure(SERVICE, "2.7");
    restart_below(&machine);
    for (way, port) in ways {
        // This thread is in the machine's network.
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let socket = format!("/run/{way}/socket");
        let asks = ["curl", "-sS", "--max-time", "20", "--unix-socket", &socket, "http://way/"];
        let answers = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut [0; 4]).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhere").unwrap();
        });
        assert_eq!(machine.ok(&asks), "here");
        answers.join().unwrap();
        exposure(&way, "3.0");
    }
}

/// A client does not notice that the service is restarted.
fn restart_below(machine: &Machine) {
    let mut client = machine.client();
    let before = machine.property("MainPID");
    machine.ok(&["systemctl", "restart", SERVICE]);
    assert_ne!(machine.property("MainPID"), before);
    assert!(client.ask(r#"{"type":"ping"}"#).contains("pong"));
    machine.wait_for_log("Took over 1 client ");
}

pub fn it_is_installed_without_dbus(suite: &str) {
    let machine = Machine::boot(suite, &[]);
    machine.apt("purge dbus");
    machine.ok(&["rm", "--recursive", "--force", "/run/dbus"]);
    machine.install();
    assert_eq!(machine.property("ActiveState"), "active");
    machine.ok(&["openstudio-signaling", "check"]);
    restart_below(&machine);
    machine.ok(&["systemctl", "reload", SERVICE]);
    machine.apt("purge openstudio-signaling");
}

pub fn it_is_installed_without_ipv6(suite: &str) {
    let machine = Machine::boot(suite, &[]);
    // As on many rented machines: the kernel knows IPv6, and no interface has an address of it.
    for interface in ["all", "default", "lo"] {
        // This thread is in the machine's network.
        let setting = format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6");
        std::fs::write(setting, "1").unwrap();
    }
    assert!(std::net::TcpListener::bind("[::1]:0").is_err(), "there is IPv6");
    machine.install();
    machine.ok(&["openstudio-signaling", "check"]);
    restart_below(&machine);
    // What systemd looks at where the kernel does not know it either (socket-util.c, socket_ipv6_is_supported).
    machine.ok(&["mount", "--types=tmpfs", "tmpfs", "/proc/1/net"]);
    machine.ok(&["systemctl", "daemon-reexec"]);
    machine.ok(&["systemctl", "restart", SOCKET_UNIT, SERVICE_UNIT]);
    machine.wait_for_log("Listening on 0.0.0.0:3000 (socket passed by systemd)");
    machine.ok(&["openstudio-signaling", "check"]);
    restart_below(&machine);
}

/// The machine is installed with /usr writable, and then boots with it read-only.
pub fn it_runs_where_usr_is_read_only(suite: &str) {
    let disk = Disk::new();
    disk.boot(suite).install();
    let machine = disk.boot_with_read_only_usr(suite);
    assert!(!machine.run(&["touch", "/usr/bin/openstudio-signaling"]).status.success());
    assert_eq!(machine.property("ActiveState"), "active");
    machine.ok(&["openstudio-signaling", "check"]);
    restart_below(&machine);

    // It can't be removed or upgraded, and goes on.
    let mut client = machine.client();
    let process = machine.property("MainPID");
    for (apt, reason) in [
        ("purge openstudio-signaling", "/usr is read-only, so the service goes on"),
        ("install /upgrade/openstudio-signaling_*.deb", "Read-only file system"),
    ] {
        let output = machine.run(&["sh", "-c", &format!("apt-get -y {apt} 2>&1")]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!output.status.success() && said.contains(reason), "{said}");
        is_alive(&mut client);
        assert_eq!(machine.property("MainPID"), process, "{said}");
    }
}

pub fn it_serves_ipv4_where_there_is_no_ipv6(suite: &str) {
    let machine = Machine::with_package(suite);
    let unit = "--unit=without-ipv6";
    let families = "--property=RestrictAddressFamilies=AF_INET AF_UNIX";
    machine.ok(&["systemd-run", "--quiet", unit, families, "openstudio-signaling", "--port=4000"]);
    let log = || machine.ok(&["journalctl", "--no-pager", "-u", "without-ipv6"]);
    machine.wait_until("the port", || log().contains("Listening on 0.0.0.0:4000"));
    machine.ok(&["openstudio-signaling", "check", "ws://127.0.0.1:4000/"]);
}
