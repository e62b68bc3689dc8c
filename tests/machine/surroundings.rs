//! The installed service where something around it is another: drop-ins, a blocked system call, a network.

use crate::booted::{Machine, SERVICE, SERVICE_UNIT, SOCKET_UNIT};
use crate::docs::{commands, part};

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

/// With the drop-in for a container that allows no namespaces, the service has none.
pub fn a_container_without_namespaces_has_its_drop_in(suite: &str) {
    let machine = Machine::with_package(suite);
    let of = |process: &str| {
        let kinds = ["mnt", "net", "ipc", "uts"];
        kinds.map(|kind| machine.ok(&["readlink", &format!("/proc/{process}/ns/{kind}")]))
    };
    let namespaces = || {
        let own = of(&machine.property("MainPID"));
        of("1").iter().zip(&own).filter(|(init, own)| init != own).count()
    };
    assert_eq!(namespaces(), 4);
    let page = part(include_str!("../../docs/operate.md"), "Status 226 in a container");
    let page = page.split("\n### ").next().unwrap();
    machine.ok(&["sh", "-ec", commands(page).last().unwrap()]);
    assert_eq!(namespaces(), 0);
    machine.ok(&["openstudio-signaling", "check"]);
    let security = machine.ok(&["systemd-analyze", "security", "--no-pager", SERVICE]);
    assert!(security.contains(": 2.7 OK"), "{security}");
    restart_below(&machine);
}

/// A client does not notice that the service is restarted.
fn restart_below(machine: &Machine) {
    let mut client = machine.client();
    let before = machine.property("MainPID");
    machine.ok(&["systemctl", "restart", SERVICE]);
    assert_ne!(machine.property("MainPID"), before);
    assert!(client.ask(r#"{"type":"ping"}"#).contains("pong"));
    machine.wait_for_log("Took over 1 clients");
}

pub fn a_restart_needs_no_dbus(suite: &str) {
    let machine = Machine::with_package(suite);
    machine.ok(&["systemctl", "mask", "--now", "dbus.socket", "dbus.service"]);
    machine.ok(&["rm", "--force", "/run/dbus/system_bus_socket"]);
    assert!(!machine.run(&["systemctl", "is-active", "dbus.service"]).status.success());
    restart_below(&machine);
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
