//! From 0.1.0 to this version by `apt-get upgrade` from a repository, and back.
//!
//! Owns what an operator of 0.1.0 has set up, by the examples of that package. It deliberately knows nothing of what is
//! in those files: each has to stay as it was.

use std::io::Write;

use serde_json::Value;
use tempfile::TempDir;

use crate::booted::{Machine, SERVICE};
use crate::goodbye::goodbye;
use crate::published::Published;
use crate::repository::installed;
use crate::secure::{Stream, secure};
use crate::shown::shown;
use crate::support::{Answer, Client, UPGRADE, connect, head};
use crate::tls::{LINEAGE, obtain, renew};

const HOST: &str = "f47ac10b-58cc-4372-a567-0e02b2c3d4aa";
const CALLER: &str = "f47ac10b-58cc-4372-a567-0e02b2c3d4bb";

/// What their browsers send with each handshake. 0.1.0 does not know it, and they keep it.
const HOSTS_COOKIE: &str = "Cookie: __Host-openstudio-id=aaaaaaaaaaaaaaaaaaaaag";
const CALLERS_COOKIE: &str = "Cookie: __Host-openstudio-id=bbbbbbbbbbbbbbbbbbbbbg";

/// The port in 0.1.0's example of a drop-in for the socket.
const PORT: u16 = 8080;

/// What an operator of 0.1.0 does: settings, manifest, a secret, the studio's page, another port, and TLS by certbot.
const SET_UP: &str = r#"
    examples=/usr/share/doc/openstudio-signaling/examples
    units=/etc/systemd/system/openstudio-signaling
    cd /etc/openstudio-signaling
    turn='"turn": [{"urls": "turn:localhost:3478"}], "stun"'
    sed "s/openstudio-sample/radio-north/; s/\"stun\"/$turn/" $examples/station-manifest.sample.json > station-manifest.json
    install -d -m 700 secrets
    (umask 077; echo north > secrets/turn-secret)
    mkdir -p $units.service.d $units.socket.d /srv/studio
    grep -v jwt-secret $examples/secrets.conf > $units.service.d/secrets.conf
    echo '<title>The studio</title>' > /srv/studio/index.html
    sed -i 's/^#RATE_LIMIT=100$/RATE_LIMIT=1000/' /etc/default/openstudio-signaling
    echo WEB_ROOT=/srv/studio >> /etc/default/openstudio-signaling
    sed -n 's/^#   //p' $examples/tls.conf | sed 's/NAME/localhost/' > /root/tls
    sh -e /root/tls
    cp $examples/port.conf $units.socket.d/
    systemctl daemon-reload
    systemctl restart openstudio-signaling.socket openstudio-signaling.service"#;

/// Each file of the operator's and the secret that the service made, with owner, mode and contents.
const FILES: &str = r"
    find /etc/default/openstudio-signaling* /etc/openstudio-signaling /etc/systemd/system /etc/letsencrypt /srv/studio \
        /var/lib/openstudio-signaling/jwt-secret \
        \( -type f -printf '%p %m %u:%g ' -exec sha256sum {} \; \) -o \( -type l -printf '%p -> %l\n' \) | sort";

struct Station {
    published: Published,
    machine: Machine,
    certificate: TempDir,
}

impl Station {
    fn connect(&self, cookie: &str) -> Client<Stream> {
        let mut stream = self.stream();
        stream.write_all(&head(&[UPGRADE, &[cookie]].concat())).unwrap();
        let answer = Answer::read(&mut stream, true);
        assert_eq!(answer.status, 101, "{answer:?}");
        let mut client = Client { stream };
        client.text();
        client
    }

    fn stream(&self) -> Stream {
        let trusted = self.certificate.path().join("fullchain.pem");
        secure(connect(PORT), &trusted, rustls::DEFAULT_VERSIONS)
    }

    /// A registered client in the room, and what it was told of it.
    fn enter(&self, id: &str, cookie: &str, fields: &str) -> (Client<Stream>, Value) {
        let mut client = self.connect(cookie);
        let registered = client.ask(&format!(r#"{{"type":"register","peerId":"{id}"}}"#));
        assert!(registered.contains(r#""type":"registered""#), "{registered}");
        let room = format!(r#"{{"type":"create-or-join-room","roomId":"show"{fields}}}"#);
        let entered = serde_json::from_str(&client.ask(&room)).unwrap();
        (client, entered)
    }

    /// A show with a host and a caller, who comes by an invite where there is one: both, and an invite of this version.
    fn show(&self, invite: Option<&str>) -> (Vec<Client<Stream>>, String) {
        let (mut host, created) = self.enter(HOST, HOSTS_COOKIE, r#","role":"host""#);
        assert_eq!((&created["type"], &created["role"]), (&"room-created".into(), &"host".into()));
        let turn = &created["ice"]["turn"][0];
        assert!(turn["username"].as_str().unwrap().ends_with(HOST), "by the secret: {created}");
        let field = invite.map(|invite| format!(r#","inviteToken":"{invite}""#));
        let field = field.unwrap_or_default();
        let (mut caller, joined) = self.enter(CALLER, CALLERS_COOKIE, &field);
        assert_eq!(joined["role"], if invite.is_some() { "ops" } else { "guest" }, "{joined}");
        assert!(host.text().contains(r#""type":"peer-joined""#));
        let offer = format!(r#"{{"type":"offer","from":"{HOST}","to":"{CALLER}","sdp":"v=0"}}"#);
        host.say(&offer);
        assert_eq!(caller.text(), offer);
        let made = host.ask(r#"{"type":"request-invite","inviteRole":"ops"}"#);
        let made: Value = serde_json::from_str(&made).unwrap();
        (vec![host, caller], made["inviteToken"].as_str().unwrap().to_owned())
    }

    fn files(&self) -> String {
        self.machine.ok(&["sh", "-ec", FILES])
    }

    /// It runs, as it was set up, and nothing has failed.
    fn is_well(&self, version: &str, files: &str) {
        let machine = &self.machine;
        assert_eq!(installed(machine), version);
        let program = machine.ok(&["openstudio-signaling", "--version"]);
        assert!(version.starts_with(program.trim().rsplit(' ').next().unwrap()), "{program}");
        assert_eq!(self.files(), files);
        assert_eq!(machine.ok(&["systemctl", "list-units", "--failed", "--no-legend"]), "");
        assert_eq!(machine.property("ActiveState"), "active");
        assert_eq!(machine.property("NRestarts"), "0");
        assert_eq!(machine.property("NeedDaemonReload"), "no");
        let errors = ["journalctl", "-u", "openstudio-signaling*", "-p", "err", "-q"];
        assert_eq!(machine.ok(&errors), "");
        let config = machine.ok(&["openstudio-signaling", "config"]);
        for line in ["RATE_LIMIT=1000 ", "WEB_ROOT=/srv/studio "] {
            assert!(config.contains(line), "{config}");
        }
        let check = format!(
            "SSL_CERT_FILE={LINEAGE}/fullchain.pem openstudio-signaling check wss://localhost:{PORT}/ --call"
        );
        let checked = machine.ok(&["sh", "-c", &check]);
        assert!(checked.contains("1 STUN, 1 TURN, 1 of them with a credential"), "{checked}");
        let curl = |path: &str| {
            let url = format!("https://localhost:{PORT}/{path}");
            machine.ok(&["curl", "-sS", "--cacert", &format!("{LINEAGE}/fullchain.pem"), &url])
        };
        assert_eq!(curl(""), "<title>The studio</title>\n");
        assert!(curl("api/station").contains(r#""stationId":"radio-north""#));
    }

    /// certbot renews, and nobody leaves: the files as they are then.
    fn renew(&self) -> String {
        let mut client = self.connect(HOSTS_COOKIE);
        let before = shown(self.stream());
        assert!(renew(&self.machine, self.certificate.path(), LINEAGE), "{}", self.machine.log());
        assert!(client.ask(r#"{"type":"ping"}"#).contains("pong"));
        client.leave(1000);
        assert_ne!(shown(self.stream()), before);
        self.files()
    }
}

/// Ends a show: the room is no more.
fn end(show: Vec<Client<Stream>>) {
    for mut client in show {
        client.say(r#"{"type":"leave-room"}"#);
        while !client.text().contains(r#""type":"room-left""#) {}
        client.leave(1000);
    }
}

/// Runs apt-get, which asks nothing: what clients are told meanwhile.
fn told(station: &Station, clients: Vec<Client<Stream>>, arguments: &str) -> Vec<Option<u16>> {
    let goodbyes: Vec<_> = clients.into_iter().map(goodbye).collect();
    let said = station.machine.apt(arguments);
    assert!(!said.contains("Configuration file"), "dpkg asks: {said}");
    goodbyes.into_iter().map(|goodbye| goodbye.join().unwrap()).collect()
}

pub fn all_of_0_1_0_is_kept_on_the_way_here_and_back(suite: &str) {
    let machine = Machine::boot(suite, &[]);
    let published = Published::with_0_1_0(&machine, suite);
    let dir = obtain(&machine, LINEAGE);
    machine.ok(&["sh", "-ec", SET_UP]);
    let station = Station { published, machine, certificate: dir };
    let files = station.files();
    station.is_well("0.1.0", &files);
    let (show, old_invite) = station.show(None);

    let version = station.published.publish(&station.machine, "deb");
    assert_eq!(told(&station, show, "upgrade"), [Some(1001); 2]);
    station.is_well(&version, &files);
    let (show, new_invite) = station.show(Some(&old_invite));
    let files = station.renew();

    let back = format!("install --allow-downgrades {SERVICE}=0.1.0");
    assert_eq!(told(&station, show, &back), [Some(1001); 2]);
    station.is_well("0.1.0", &files);
    let log = station.machine.ok(&["systemctl", "status", "--no-pager", SERVICE]);
    println!("{suite}: {log}{}", station.machine.log());
    let (show, _) = station.show(Some(&old_invite));
    end(show);
    let (show, _) = station.show(Some(&new_invite));
    let files = station.renew();

    assert_eq!(told(&station, show, "upgrade"), [Some(1001); 2]);
    station.is_well(&version, &files);
    end(station.show(Some(&old_invite)).0);
    station.renew();
}
