//! `check wss://…`: what is trusted, and what each reason not to trust is called.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::check::{check, run};
use crate::forwarder::Forwarder;
use crate::process::binary;
use crate::support::{PATIENCE, Server};

/// Certificates made with openssl(1), in a directory of their own: `root`, and what it has issued. Each name is a
/// `.pem` and a `.key`.
struct Authority(TempDir);

impl Authority {
    fn new() -> Self {
        let authority = Self(tempfile::tempdir().unwrap());
        let config = "[ca]\ndefault_ca=all\n[all]\ndatabase=index\nserial=serial\nnew_certs_dir=.\npolicy=any\n\
                      unique_subject=no\ndefault_md=sha256\n[any]\ncommonName=supplied\n";
        fs::write(authority.0.path().join("config"), config).unwrap();
        fs::write(authority.0.path().join("index"), "").unwrap();
        authority.self_signed("root", &[]);
        authority
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    fn openssl(&self, arguments: &[&str]) {
        let mut command = Command::new("openssl");
        let output = command.args(arguments).current_dir(self.0.path()).output();
        let output = output.expect("it is installed by tests/run");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn self_signed(&self, name: &str, more: &[&str]) {
        let (key, pem, subject) =
            (format!("{name}.key"), format!("{name}.pem"), format!("/CN={name}"));
        let key_kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        let files = ["-keyout", &key, "-out", &pem, "-subj", &subject, "-days", "90"];
        self.openssl(&[&["req", "-x509"], &key_kind[..], &files, more].concat());
    }

    /// Lets `issuer` sign a certificate, with `extension` in it and the validity that `dates` ask for.
    fn issue(&self, issuer: &str, name: &str, extension: &str, dates: &[&str]) {
        let [key, pem, request] = ["key", "pem", "request"].map(|kind| format!("{name}.{kind}"));
        let [issuer_key, issuer_pem] = ["key", "pem"].map(|kind| format!("{issuer}.{kind}"));
        let subject = format!("/CN={name}");
        let key_kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        let files = ["-keyout", &key, "-out", &request, "-subj", &subject];
        self.openssl(&[&["req"], &key_kind[..], &files].concat());
        fs::write(self.path("extension"), extension).unwrap();
        let signing = ["ca", "-batch", "-notext", "-config", "config", "-rand_serial"];
        let issuer = ["-cert", &issuer_pem, "-keyfile", &issuer_key];
        let files = ["-in", &request, "-out", &pem, "-extfile", "extension"];
        self.openssl(&[&signing[..], &issuer, &files, dates].concat());
    }

    /// What `check` with this authority trusted says about a server that shows `chain`, whose first has `key`.
    fn verdict(&self, server: &Server, chain: &[&str], key: &str) -> (Option<i32>, String) {
        let pem = |name: &&str| fs::read(self.path(&format!("{name}.pem"))).unwrap();
        let file = self.path("chain.pem");
        fs::write(&file, chain.iter().flat_map(pem).collect::<Vec<_>>()).unwrap();
        let tls = Forwarder::with_tls(server.port, &file, &self.path(&format!("{key}.key")));
        self.check(&format!("wss://localhost:{}/", tls.port), &[])
    }

    fn check(&self, url: &str, more: &[&str]) -> (Option<i32>, String) {
        let root = self.path("root.pem");
        let trusted = [("SSL_CERT_FILE", root.to_str().unwrap())];
        let patience = format!("--timeout={}", PATIENCE.as_secs());
        let (code, stdout, stderr) = run(&[&["check", url, &patience], more].concat(), &trusted);
        assert_eq!(stderr, "");
        (code, stdout)
    }
}

const LOCALHOST: &str = "subjectAltName=DNS:localhost\n";
const DAYS: &[&str] = &["-days", "90"];
const PAST: &[&str] = &["-startdate", "20240101000000Z", "-enddate", "20240301000000Z"];

#[test]
fn a_trusted_server_is_checked_through_tls() {
    let (server, authority) = (Server::start(&[]), Authority::new());
    authority.issue("root", "good", LOCALHOST, DAYS);
    let tls =
        Forwarder::with_tls(server.port, &authority.path("good.pem"), &authority.path("good.key"));
    for url in [format!("wss://localhost:{}/", tls.port), format!("https://localhost:{}", tls.port)]
    {
        let more = ["--call", "--watch", "--count=2", "--interval=0.2"];
        let (code, stdout) = authority.check(&url, &more);
        assert_eq!(code, Some(0), "{stdout}");
        let first = "✓ tls        TLS 1.3, the certificate is valid for 89 days, until 2";
        assert!(stdout.starts_with(first), "{stdout}");
        assert!(
            stdout.contains("\n✓ leave ") && stdout.contains("\n2 pings, 2 pongs, 0 % lost"),
            "{stdout}"
        );
    }
    // The same port, asked without TLS, and the server's own, asked with it.
    let (code, stdout) = check(&format!("ws://localhost:{}/a", tls.port), &[]);
    let url = format!("wss://localhost:{}/a", tls.port);
    let expected =
        format!("✗ health     this port speaks TLS; `openstudio-signaling check {url}`\n");
    assert_eq!((code, stdout), (Some(1), expected));
    let (code, stdout) = authority.check(&format!("wss://localhost:{}/", server.port), &[]);
    assert_eq!(code, Some(1));
    let expected =
        "✗ tls        the answer is not TLS: this port speaks something else; check the port";
    assert!(stdout.starts_with(expected) && stdout.contains("ws:// instead of wss://"), "{stdout}");
}

#[test]
fn a_certificate_that_ends_soon_is_a_warning() {
    let (server, authority) = (Server::start(&[]), Authority::new());
    authority.issue("root", "soon", LOCALHOST, &["-days", "9"]);
    authority.issue("root", "between", "basicConstraints=CA:TRUE\n", &["-days", "5"]);
    authority.issue("between", "long", LOCALHOST, DAYS);
    for (chain, days) in [(&["soon"][..], 8), (&["long", "between"], 4)] {
        let (code, stdout) = authority.verdict(&server, chain, chain[0]);
        assert_eq!(code, Some(0), "{stdout}");
        let first = stdout.lines().next().unwrap();
        let start =
            format!("! tls        TLS 1.3, the certificate is valid for {days} days, until 2");
        assert!(first.starts_with(&start) && first.contains("; renew it"), "{first}");
    }
}

#[test]
fn a_server_says_whose_its_certificate_is_and_when_it_ends() {
    let authority = Authority::new();
    let future = ["-startdate", "20950101000000Z", "-enddate", "20950301000000Z"];
    let both = "subjectAltName=DNS:localhost,DNS:*.b.example.org\n";
    authority.issue("root", "past", LOCALHOST, PAST);
    authority.issue("root", "future", "basicConstraints=CA:FALSE\n", &future);
    authority.issue("root", "soon", LOCALHOST, &["-days", "9"]);
    authority.issue("root", "long", both, DAYS);
    let [cert, key] = ["used.pem", "used.key"].map(|file| authority.path(file));
    let take = |name: &str| {
        fs::copy(authority.path(&format!("{name}.pem")), &cert).unwrap();
        fs::copy(authority.path(&format!("{name}.key")), &key).unwrap();
    };
    take("long");
    let paths = [&cert, &key].map(|path| path.to_str().unwrap());
    let server = Server::start(&[("TLS_CERT", paths[0]), ("TLS_KEY", paths[1])]);
    let loaded = format!("TLS with the certificate in {}, for ", paths[0]);
    let line = server.log.wait_for(&loaded);
    assert!(line.contains(", for localhost, *.b.example.org, until 2"), "{line}");
    assert!(line.ends_with(": wss:// and https:// only"), "{line}");
    let untimely = format!("[WARN] The certificate in {} ", paths[0]);
    assert_eq!(server.log.count(&untimely), 0);
    for (name, whose, problem, fix) in [
        (
            "past",
            "localhost, until 2024-03-01: ",
            "has expired on 2024-03-01: browsers refuse it; renew it, or ",
            ", then `systemctl reload openstudio-signaling`",
        ),
        (
            "future",
            "no host at all (a subjectAltName is missing), until 2095-03-01: ",
            "is not valid before 2095-01-01: browsers refuse it; set the clock ",
            ", or wait",
        ),
        (
            "soon",
            "localhost, until 2",
            "is valid for 8 days, until 2",
            ", then `systemctl reload openstudio-signaling`",
        ),
    ] {
        take(name);
        server.signal(Signal::HUP);
        server.log.wait_for(&format!("{loaded}{whose}"));
        let line = server.log.wait_for(&format!("{untimely}{problem}"));
        assert!(line.ends_with(fix), "{line}");
    }
}

#[test]
fn a_server_says_why_browsers_refuse_its_certificate() {
    let authority = Authority::new();
    let name = "-addext subjectAltName=DNS:localhost";
    let leaf = "-addext basicConstraints=critical,CA:FALSE";
    let purpose = |purpose| format!("{name} {leaf} -addext extendedKeyUsage={purpose}");
    for (certificate, options) in [
        ("bare", String::new()),
        ("nameless", leaf.into()),
        ("mail", format!("{leaf} -addext subjectAltName=email:a@b.example")),
        ("authority", name.into()),
        ("client", purpose("clientAuth")),
        ("both", purpose("serverAuth,clientAuth")),
        ("address", format!("{leaf} -addext subjectAltName=IP:192.0.2.1")),
    ] {
        authority.self_signed(certificate, &options.split_whitespace().collect::<Vec<_>>());
    }
    authority.openssl(&["genpkey", "-algorithm", "ed25519", "-out", "ed25519.key"]);
    let options = format!("req -x509 -key ed25519.key -out ed25519.pem -subj /CN=a {name} {leaf}");
    authority.openssl(&options.split(' ').collect::<Vec<_>>());
    authority.issue("root", "past", "basicConstraints=CA:FALSE\n", PAST);

    let nameless = "has no subjectAltName with a host in it: browsers refuse it under every name; ";
    let is_authority = "is an authority's (CA:TRUE), as `openssl req -x509` makes them: Firefox refuses it as a server's; ";
    let client =
        "is not for servers (its extendedKeyUsage has no serverAuth): browsers refuse it; ";
    let ed25519 = "has an Ed25519 key: Chrome, Firefox and Safari refuse it; ";
    let [cert, key] = ["used.pem", "used.key"].map(|file| authority.path(file));
    let paths = [&cert, &key].map(|path| path.to_str().unwrap());
    let environment = [("TLS_CERT", paths[0]), ("TLS_KEY", paths[1])];
    let mut server: Option<Server> = None;
    for (name, problems) in [
        ("bare", &[nameless, is_authority][..]),
        ("nameless", &[nameless]),
        ("mail", &[nameless]),
        ("authority", &[is_authority]),
        ("client", &[client]),
        ("both", &[]),
        ("address", &[]),
        ("ed25519", &[ed25519]),
        ("past", &["has expired on 2024-03-01: browsers refuse it; ", nameless]),
    ] {
        fs::copy(authority.path(&format!("{name}.pem")), &cert).unwrap();
        fs::copy(authority.path(&format!("{name}.key")), &key).unwrap();
        let output =
            binary().arg("config").envs(environment).output().expect("the binary is there");
        assert_eq!(output.status.code(), Some(0), "{name}: {output:?}");
        let warned = String::from_utf8(output.stderr).unwrap();
        let lines: Vec<_> = warned.lines().collect();
        assert_eq!(lines.len(), problems.len(), "{name}: {warned}");
        for (line, problem) in lines.iter().zip(problems) {
            let start = format!("The certificate in {} {problem}", paths[0]);
            assert!(line.starts_with(&start), "{name}: {line}");
            assert!(line.ends_with(", then `systemctl reload openstudio-signaling`"), "{line}");
        }
        // The first one at a start, the others at a reload.
        let Some(server) = &server else {
            let started = Server::start(&environment);
            lines.iter().for_each(|line| drop(started.log.wait_for(&format!("[WARN] {line}"))));
            server = Some(started);
            continue;
        };
        let before = server.log.count("[WARN] The certificate in ");
        let reloads = server.log.count("Reloaded: ");
        server.signal(Signal::HUP);
        server.log.find("further reload", |lines| {
            (lines.iter().filter(|line| line.contains("Reloaded: ")).count() > reloads)
                .then_some(())
        });
        for line in &lines {
            server.log.wait_for(&format!("[WARN] {line}"));
        }
        let after = server.log.count("[WARN] The certificate in ");
        assert_eq!(after - before, problems.len(), "{name}");
    }
}

#[test]
fn what_is_wrong_with_a_certificate_is_said_in_words() {
    let (server, authority) = (Server::start(&[]), Authority::new());
    let future = ["-startdate", "20950101000000Z", "-enddate", "20950301000000Z"];
    let others = "subjectAltName=DNS:a.example.org,DNS:*.b.example.org,IP:192.0.2.1\n";
    authority.issue("root", "past", LOCALHOST, PAST);
    authority.issue("root", "future", LOCALHOST, &future);
    authority.issue("root", "others", others, DAYS);
    authority.issue("root", "between", "basicConstraints=CA:TRUE\n", DAYS);
    authority.issue("between", "full", LOCALHOST, DAYS);
    let name = ["-addext", "subjectAltName=DNS:localhost"];
    authority.self_signed(
        "own",
        &[&name[..], &["-addext", "basicConstraints=critical,CA:FALSE"]].concat(),
    );
    authority.self_signed("authority", &name);
    let client = format!("{LOCALHOST}extendedKeyUsage=clientAuth\n");
    authority.issue("root", "client", &client, DAYS);
    assert_eq!(authority.verdict(&server, &["full", "between"], "full").0, Some(0));
    for (shown, words, fix) in [
        ("past", "has expired on 2024-03-01; ", "certbot renew"),
        ("future", "is not valid before 2095-01-01; ", "timedatectl"),
        (
            "others",
            "is for a.example.org, *.b.example.org, 192.0.2.1, not for localhost; ",
            "also has localhost",
        ),
        ("full", "or sent without the certificates in between; ", "fullchain.pem"),
        ("own", "issuer is unknown here: it is self-signed", "update-ca-certificates"),
        ("authority", "is an authority's (CA:TRUE)", "CA:FALSE"),
        ("client", "is not for servers (its extendedKeyUsage has no serverAuth); ", "serverAuth"),
    ] {
        let (code, stdout) = authority.verdict(&server, &[shown], shown);
        assert_eq!(code, Some(1), "{stdout}");
        assert!(stdout.starts_with("✗ tls        the certificate"), "{stdout}");
        assert!(stdout.contains(words) && stdout.contains(fix), "{shown}: {stdout}");
        assert_eq!(stdout.lines().count(), 1, "{stdout}");
    }
}

#[test]
fn a_machine_that_trusts_nobody_is_told_how_to() {
    let nowhere = Path::new("/nonexistent/certificates");
    let environment = [("SSL_CERT_FILE", nowhere.to_str().unwrap())];
    let (code, stdout, _) = run(&["check", "wss://localhost:1/"], &environment);
    assert_eq!(code, Some(1));
    assert!(
        stdout.starts_with("✗ tls        this machine trusts no certificate authority ("),
        "{stdout}"
    );
    assert!(stdout.contains("apt install ca-certificates"), "{stdout}");
}
