//! The package when dpkg is killed at its work, and when it comes back after a removal or a purge.
//!
//! Owns that the service runs in each of dpkg's states. It deliberately does not know what debhelper's scripts do.

use crate::booted::{Disk, Machine, SERVICE};
use crate::goodbye::goodbye;
use crate::restart::{SETTINGS, offer, peer, set_no_limits};

/// How dpkg is killed, by what is changed in a package that is unpacked below /tmp/killed; its state then, and what
/// puts it right.
const KILLED: [(&str, &str, &str); 3] = [
    // Before it unpacks the files.
    (
        r#"printf '#!/bin/sh\nkill -KILL $PPID\n' >preinst; chmod 755 preinst; pack; ! dpkg -i /tmp/killed.deb"#,
        "install reinstreq half-installed",
        REINSTALL,
    ),
    // While it unpacks the files: the last of them is large.
    (
        r#"truncate -s 200M ../usr/share/zz-large; pack; dpkg -i /tmp/killed.deb & dpkg=$!
           until [ -e /usr/share/zz-large.dpkg-new ]; do :; done
           kill -KILL $dpkg; ! wait $dpkg; rm /usr/share/zz-large.dpkg-new"#,
        "install reinstreq half-installed",
        REINSTALL,
    ),
    // While it configures the package, before the script does anything.
    (
        r#"sed -i '1a [ -e /tmp/configured ] || { touch /tmp/configured; kill -KILL $PPID; exit 1; }' postinst
           pack; ! dpkg -i /tmp/killed.deb"#,
        "install ok half-configured",
        "dpkg --configure -a",
    ),
];

const REINSTALL: &str =
    "dpkg --configure -a; apt-get -y install --reinstall /upgrade/openstudio-signaling_*.deb";

const UNPACK: &str = r#"
    rm -rf /tmp/killed
    dpkg-deb -R /upgrade/openstudio-signaling_*.deb /tmp/killed
    pack() { dpkg-deb -Znone -b --root-owner-group /tmp/killed /tmp/killed.deb; }
    cd /tmp/killed/DEBIAN"#;

fn state(machine: &Machine) -> String {
    machine.ok(&["dpkg-query", "-W", "-f", "${Status} ${Version}", SERVICE])
}

fn shell(machine: &Machine, script: &str) {
    machine.ok(&["sh", "-ec", &format!("export DEBIAN_FRONTEND=noninteractive\n{script}")]);
}

/// No unit of the package is in trouble.
fn none_failed(machine: &Machine) {
    let failed = ["systemctl", "list-units", "--failed", "--no-legend", "openstudio*"];
    assert_eq!(machine.ok(&failed), "");
}

pub fn clients_stay_while_dpkg_is_interrupted(suite: &str) {
    let machine = Machine::with_package(suite);
    let first = state(&machine);
    set_no_limits(&machine);
    let (mut from, mut to) = (peer(&machine, 0), peer(&machine, 1));
    let mut restarts = 0;
    let mut were_taken_over = |what: &str| {
        restarts += 1;
        from.say(&offer(0, 1, restarts));
        assert_eq!(to.text(), offer(0, 1, restarts), "{what}");
        let is_told = || machine.log().matches("Took over 2 clients").count() == restarts;
        machine.wait_until(&format!("{what}: restart {restarts} in the log"), is_told);
    };
    let killed = KILLED.map(|(kill, state, repair)| (format!("{UNPACK}\n{kill}"), state, repair));
    let unpack = "dpkg --unpack /upgrade/openstudio-signaling_*.deb".to_owned();
    let unpacked = (unpack, "install ok unpacked", "dpkg --configure -a");
    for (interrupt, expected, repair) in killed.into_iter().chain([unpacked]) {
        let process = machine.property("MainPID");
        shell(&machine, &interrupt);
        let found = state(&machine);
        println!("{suite}: {found}");
        assert!(found.starts_with(expected), "{interrupt}: {found}");
        assert_ne!(machine.ok(&["dpkg", "--audit"]), "");
        assert_eq!(machine.property("MainPID"), process, "{found}");
        // systemd finds the files in this state.
        machine.ok(&["systemctl", "daemon-reload"]);
        machine.ok(&["systemctl", "restart", SERVICE]);
        were_taken_over(&found);
        shell(&machine, repair);
        assert_eq!(state(&machine), "install ok installed 9.9.9", "after {found}");
        assert_eq!(machine.ok(&["dpkg", "--audit"]), "", "after {found}");
        were_taken_over(repair);
        shell(&machine, "apt-get -y --allow-downgrades install /debs/openstudio-signaling_*.deb");
        assert_eq!(state(&machine), first);
        were_taken_over("the way back");
    }
    none_failed(&machine);
    machine.ok(&["openstudio-signaling", "check"]);
}

pub fn it_starts_after_a_boot_in_an_upgrade(suite: &str) {
    let disk = Disk::new();
    let machine = disk.boot(suite);
    machine.install();
    shell(&machine, "dpkg --unpack /upgrade/openstudio-signaling_*.deb");
    drop(machine);
    let machine = disk.boot(suite);
    assert_eq!(state(&machine), "install ok unpacked 9.9.9");
    assert_eq!(machine.property("ActiveState"), "active");
    machine.ok(&["openstudio-signaling", "check"]);
    shell(&machine, "dpkg --configure -a");
    assert_eq!(state(&machine), "install ok installed 9.9.9");
    machine.ok(&["openstudio-signaling", "check"]);
    none_failed(&machine);
}

pub fn it_comes_back_after_remove_and_purge(suite: &str) {
    let machine = Machine::with_package(suite);
    let home = "/var/lib/openstudio-signaling";
    let secret = || machine.ok(&["cat", &format!("{home}/jwt-secret")]);
    let config = || machine.ok(&["openstudio-signaling", "config"]);
    let is_well = || {
        assert_eq!(machine.property("ActiveState"), "active");
        none_failed(&machine);
        machine.ok(&["openstudio-signaling", "check"]);
        let owners = ["stat", "-c", "%U:%G %a", home, &format!("{home}/jwt-secret")];
        let owned = |mode| format!("{SERVICE}:{SERVICE} {mode}\n");
        assert_eq!(machine.ok(&owners), owned("700") + &owned("600"));
    };
    is_well();
    shell(&machine, &format!("echo RATE_LIMIT=77 >> {SETTINGS}"));
    shell(&machine, "echo kept >/etc/openstudio-signaling/note");
    let first = secret();

    // After a removal, what was set is there. Somebody has cleaned up its user, whose number another one has got.
    let ways = ["icecast", "nats"].map(|name| format!("{SERVICE}-{name}.socket"));
    let enabled = [&["systemctl", "enable", "--now"], &[ways[0].as_str()][..]].concat();
    machine.ok(&enabled);
    let goodbye = goodbye(machine.client());
    let said = machine.ok(&["sh", "-c", &format!("apt-get -y remove {SERVICE} 2>&1")]);
    assert_eq!(goodbye.join().unwrap(), Some(1001));
    // systemctl does not warn of a socket that starts again what it stops, and none is left.
    for warning in ["triggering", "activated"] {
        assert!(!said.contains(warning), "{said}");
    }
    let units = ["systemctl", "list-units", "--state=active", "--no-legend", "openstudio*"];
    assert_eq!(machine.ok(&units), "", "{said}");
    none_failed(&machine);
    let give_away = format!("uid=$(id -u {SERVICE}); userdel {SERVICE}; useradd -r -u $uid other");
    shell(&machine, &give_away);
    machine.install();
    is_well();
    let are_active = ways
        .each_ref()
        .map(|way| machine.run(&["systemctl", "is-active", "--quiet", way]).status.success());
    assert_eq!(are_active, [true, false], "what was enabled, and nothing else");
    assert_eq!(secret(), first);
    assert!(config().contains("RATE_LIMIT=77 "), "{}", config());

    // After a purge, all begins anew, but for what the operator wrote.
    machine.apt(&format!("purge {SERVICE}"));
    none_failed(&machine);
    for gone in [home, SETTINGS] {
        machine.ok(&["test", "!", "-e", gone]);
    }
    machine.install();
    is_well();
    assert_ne!(secret(), first);
    assert!(!config().contains("RATE_LIMIT=77 "), "{}", config());
    assert_eq!(machine.ok(&["cat", "/etc/openstudio-signaling/note"]), "kept\n");
}
