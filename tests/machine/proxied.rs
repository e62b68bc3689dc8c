//! From 0.1.0 to this version and back, and over a boot, of a station behind a proxy whose TLS comes as credentials.
//!
//! Owns what the clients of the proxy notice, and what the next boot finds. It deliberately does not know the rest of
//! what an operator has set up: upgrade.rs has that.

use std::net::{IpAddr, SocketAddr};

use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use crate::booted::{Disk, Machine, SERVICE};
use crate::goodbye::goodbye;
use crate::published::Published;
use crate::repository::installed;
use crate::secure::{Stream, secure};
use crate::support::{Client, PATIENCE};
use crate::tls::{LINEAGE, obtain};

/// HAProxy by the example of 0.1.0, and behind it the service with a certificate by that version's example. HAProxy speaks
/// TLS to it, too.
const SET_UP: &str = r#"
    examples=/usr/share/doc/openstudio-signaling/examples
    lineage=/etc/letsencrypt/live/localhost
    drop_ins=/etc/systemd/system/openstudio-signaling.service.d
    mkdir -p $drop_ins
    sed '/^Environment/d; s/^#LoadCredential/LoadCredential/; s/NAME/localhost/' $examples/tls.conf > $drop_ins/tls.conf
    echo TRUSTED_PROXIES=127.0.0.1,::1 >> /etc/default/openstudio-signaling
    (umask 077; cat $lineage/fullchain.pem $lineage/privkey.pem > /etc/haproxy/studio.example.org.pem)
    cp $lineage/fullchain.pem /etc/haproxy/service.pem
    sed 's|^    server .*|& ssl verify required ca-file /etc/haproxy/service.pem verifyhost localhost|' \
        $examples/haproxy.cfg >> /etc/haproxy/haproxy.cfg
    haproxy -c -f /etc/haproxy/haproxy.cfg
    systemctl daemon-reload
    systemctl restart openstudio-signaling.service
    systemctl restart haproxy"#;

/// What has to stay as it is, with owner and mode.
const FILES: &str = r"
    find /etc/default/openstudio-signaling /etc/haproxy /etc/letsencrypt /etc/systemd/system \
        /var/lib/openstudio-signaling/jwt-secret -type f -printf '%p %m %u:%g ' -exec sha256sum {} \; | sort";

/// Where clients come from: not from the address that the proxy has.
const CLIENT_IP: [u8; 4] = [127, 0, 0, 9];

/// A client on the way through the proxy that has had its welcome.
fn client(trusted: &TempDir) -> Client<Stream> {
    let trusted = trusted.path().join("fullchain.pem");
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((CLIENT_IP, 0)).into()).unwrap();
    socket.connect(&SocketAddr::from(([127, 0, 0, 1], 443)).into()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut client = Client::over(secure(socket.into(), &trusted, rustls::DEFAULT_VERSIONS));
    client.text();
    client
}

/// The version is installed and serves through the proxy; nothing has failed, and no file is another.
fn is_well(machine: &Machine, version: &str, files: &str) {
    assert_eq!(installed(machine), version);
    assert_eq!(machine.ok(&["sh", "-ec", FILES]), files);
    assert_eq!(machine.ok(&["systemctl", "list-units", "--failed", "--no-legend"]), "");
    assert_eq!(machine.property("ActiveState"), "active");
    assert_eq!(machine.property("NRestarts"), "0");
    let errors = ["journalctl", "-b", "-u", "openstudio-signaling*", "-p", "err", "-q"];
    assert_eq!(machine.ok(&errors), "");
    // Through HAProxy, and past it.
    for port in [443, 3000] {
        let check = format!(
            "SSL_CERT_FILE={LINEAGE}/fullchain.pem openstudio-signaling check wss://localhost:{port}/ --call"
        );
        machine.ok(&["sh", "-c", &check]);
    }
}

/// A client through the proxy, whose address the log has.
fn known(machine: &Machine, trusted: &TempDir) -> Client<Stream> {
    let address = IpAddr::from(CLIENT_IP).to_string();
    let connected = || {
        let log = machine.log();
        log.matches(&format!("WebSocket client connected: {address}")).count()
    };
    let before = connected();
    let mut client = client(trusted);
    assert!(client.ask(r#"{"type":"ping"}"#).contains("pong"));
    machine.wait_until(&address, || connected() > before);
    client
}

pub fn behind_a_proxy_it_is_kept_and_comes_back_after_a_boot(suite: &str) {
    let disk = Disk::new();
    let machine = disk.boot(suite);
    // As long as the machine knows Debian.
    machine.apt("install haproxy");
    let published = Published::with_0_1_0(&machine, suite);
    let dir = obtain(&machine, LINEAGE);
    machine.ok(&["sh", "-ec", SET_UP]);
    let files = machine.ok(&["sh", "-ec", FILES]);
    is_well(&machine, "0.1.0", &files);

    let leaves = goodbye(known(&machine, &dir));
    let version = published.publish(&machine, "deb");
    machine.apt("upgrade");
    assert_eq!(leaves.join().unwrap(), Some(1001));
    is_well(&machine, &version, &files);

    let leaves = goodbye(known(&machine, &dir));
    machine.apt(&format!("install --allow-downgrades {SERVICE}=0.1.0"));
    assert_eq!(leaves.join().unwrap(), Some(1001));
    is_well(&machine, "0.1.0", &files);

    machine.power_off();
    let machine = disk.boot(suite);
    is_well(&machine, "0.1.0", &files);
    known(&machine, &dir).leave(1000);
}
