//! The files of TLS: which certificates and keys are taken, and what is said of the others.

use std::fs;
use std::path::Path;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::process::binary;
use crate::secure::{certificate, secure};
use crate::support::{Server, connect};

#[test]
fn a_pair_that_cannot_be_keeps_the_service_down() {
    let dir = tempfile::tempdir().unwrap();
    certificate(dir.path(), "cert.pem", "key.pem");
    certificate(dir.path(), "other.pem", "other-key.pem");
    let path = |file: &str| dir.path().join(file);
    fs::write(path("empty.pem"), "").unwrap();
    for whole in ["cert.pem", "key.pem"] {
        let text = fs::read(path(whole)).unwrap();
        fs::write(path(&format!("half-{whole}")), &text[..text.len() / 2]).unwrap();
    }
    for (command, options) in [("pkcs8", &["-topk8"][..]), ("ec", &["-aes128"])] {
        let files =
            ["-in", "key.pem", "-out", &format!("{command}.pem"), "-passout", "pass:secret"];
        let mut openssl = Command::new("openssl");
        openssl.arg(command).args(options).args(files).current_dir(dir.path());
        assert!(openssl.output().unwrap().status.success(), "{command}");
    }
    let protected = "is protected by a passphrase, which nobody can type at a start; openssl pkey -in OLD -out NEW takes it off";
    let half = "ends in the middle of a section, so a part of it is missing; must be a PEM";
    let none = "no such section in it; must be a PEM";
    let other = format!(
        "belongs to another certificate; must be the private key of the first certificate in {}",
        path("cert.pem").display()
    );
    for (cert, key, setting, why) in [
        ("cert.pem", "other-key.pem", "TLS_KEY", other.as_str()),
        ("cert.pem", "nowhere.pem", "TLS_KEY", "No such file"),
        ("nowhere.pem", "key.pem", "TLS_CERT", "No such file"),
        ("empty.pem", "key.pem", "TLS_CERT", none),
        (
            "key.pem",
            "key.pem",
            "TLS_CERT",
            "no such section in it, only PRIVATE KEY; must be a PEM",
        ),
        (
            "cert.pem",
            "cert.pem",
            "TLS_KEY",
            "no such section in it, only CERTIFICATE; must be a PEM",
        ),
        ("half-cert.pem", "key.pem", "TLS_CERT", half),
        ("cert.pem", "half-key.pem", "TLS_KEY", half),
        ("cert.pem", "pkcs8.pem", "TLS_KEY", protected),
        ("cert.pem", "ec.pem", "TLS_KEY", protected),
    ] {
        refused(dir.path(), cert, key, setting, why);
    }
}

/// Sees that a server does not start with these files, and says so of one of them.
fn refused(dir: &Path, cert: &str, key: &str, setting: &str, why: &str) {
    let output = binary()
        .env("PORT", "0")
        .env("TLS_CERT", dir.join(cert))
        .env("TLS_KEY", dir.join(key))
        .output()
        .unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{log}");
    assert_eq!(log.lines().count(), 1, "{log}");
    let path = dir.join(if setting == "TLS_CERT" { cert } else { key });
    let why = format!("Invalid setting {setting}={:?} (from environment): {why}", path.display());
    assert!(log.contains(&why), "{why:?} is not in {log}");
}

fn openssl(dir: &Path, arguments: &str) {
    let mut command = Command::new("openssl");
    let output = command.args(arguments.split(' ')).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_key_that_cannot_be_used_is_called_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    certificate(dir, "cert.pem", "key.pem");
    for (curve, name) in [("secp521r1", "p521"), ("secp256k1", "k1"), ("brainpoolP256r1", "bp")] {
        openssl(dir, &format!("ecparam -name {curve} -genkey -noout -out {name}-sec1.pem"));
        openssl(dir, &format!("pkcs8 -topk8 -nocrypt -in {name}-sec1.pem -out {name}-pkcs8.pem"));
    }
    let explicit = "ecparam -name prime256v1 -param_enc explicit -genkey -noout -out";
    openssl(dir, &format!("{explicit} explicit-sec1.pem"));
    openssl(dir, "pkcs8 -topk8 -nocrypt -in explicit-sec1.pem -out explicit-pkcs8.pem");
    openssl(dir, "ec -in key.pem -no_public -out half-key.pem");
    openssl(dir, "genrsa -out rsa1024-pkcs8.pem 1024");
    openssl(dir, "rsa -traditional -in rsa1024-pkcs8.pem -out rsa1024-pkcs1.pem");
    let rsa = "genpkey -algorithm RSA -pkeyopt";
    openssl(dir, &format!("{rsa} rsa_keygen_bits:4352 -out large.pem"));
    openssl(
        dir,
        &format!("{rsa} rsa_keygen_bits:2048 -pkeyopt rsa_keygen_pubexp:3 -out three.pem"),
    );
    openssl(dir, "genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048 -out pss.pem");
    openssl(dir, "genpkey -algorithm ed448 -out ed448.pem");
    openssl(dir, "genpkey -algorithm x25519 -out x25519.pem");
    openssl(dir, "dsaparam -out parameters.pem 1024");
    openssl(dir, "gendsa -out dsa-pkcs8.pem parameters.pem");
    openssl(dir, "dsa -in dsa-pkcs8.pem -out dsa.pem");
    for (key, kind) in [
        ("p521-sec1.pem", "a P-521 key"),
        ("p521-pkcs8.pem", "a P-521 key"),
        ("k1-sec1.pem", "a secp256k1 key"),
        ("k1-pkcs8.pem", "a secp256k1 key"),
        ("bp-sec1.pem", "an elliptic-curve key of an unknown curve"),
        ("bp-pkcs8.pem", "an elliptic-curve key of an unknown curve"),
        ("explicit-sec1.pem", "an elliptic-curve key of an unknown curve"),
        ("explicit-pkcs8.pem", "an elliptic-curve key of an unknown curve"),
        ("rsa1024-pkcs1.pem", "an RSA key with 1024 bits"),
        ("rsa1024-pkcs8.pem", "an RSA key with 1024 bits"),
        ("large.pem", "an RSA key with 4352 bits"),
        ("three.pem", "an RSA key with 2048 bits and the public exponent 3"),
        ("pss.pem", "an RSA-PSS key"),
        ("ed448.pem", "an Ed448 key"),
        ("x25519.pem", "an X25519 key"),
        ("dsa-pkcs8.pem", "a DSA key"),
        ("dsa.pem", "a DSA key"),
    ] {
        let why = format!(
            "is {kind}, which this server can't use; make a new key with P-256, P-384, or RSA with 2048, 3072 or 4096 bits, and a certificate for it"
        );
        refused(dir, "cert.pem", key, "TLS_KEY", &why);
    }
    let damaged = "is a P-256 key, but damaged or incomplete; make a new key with P-256, ";
    refused(dir, "cert.pem", "half-key.pem", "TLS_KEY", damaged);
}

#[test]
fn a_key_that_can_be_used_is_taken_in_every_form() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    certificate(dir, "other.pem", "other-key.pem");
    openssl(dir, "genrsa -out rsa-pkcs8.pem 2048");
    openssl(dir, "rsa -traditional -in rsa-pkcs8.pem -out rsa-pkcs1.pem");
    openssl(dir, "ecparam -name secp384r1 -genkey -out p384-sec1.pem");
    openssl(dir, "pkcs8 -topk8 -nocrypt -in p384-sec1.pem -out p384-pkcs8.pem");
    openssl(dir, "genpkey -algorithm ed25519 -out ed25519-pkcs8.pem");
    for (kind, name, forms) in [
        ("an RSA key with 2048 bits", "rsa", &["pkcs8", "pkcs1"][..]),
        ("a P-384 key", "p384", &["pkcs8", "sec1"]),
        ("an Ed25519 key", "ed25519", &["pkcs8"]),
    ] {
        openssl(dir, &format!("req -x509 -key {name}-pkcs8.pem -subj /CN=a -out {name}.pem"));
        let cert = format!("{name}.pem");
        for form in forms {
            let key = format!("{name}-{form}.pem");
            let paths = [dir.join(&cert), dir.join(&key)];
            let [cert_path, key_path] = paths.each_ref().map(|path| path.to_str().unwrap());
            Server::start(&[("TLS_CERT", cert_path), ("TLS_KEY", key_path)]);
            // One that is good, but of another certificate.
            let must = format!(
                "must be the private key of the first certificate in {}",
                dir.join("other.pem").display()
            );
            let why = format!("is {kind}, and the certificate has a P-256 key; {must}");
            refused(dir, "other.pem", &key, "TLS_KEY", &why);
        }
        let must = format!(
            "must be the private key of the first certificate in {cert_path}",
            cert_path = dir.join(&cert).display()
        );
        let why = format!("is a P-256 key, and the certificate has {kind}; {must}");
        refused(dir, &cert, "other-key.pem", "TLS_KEY", &why);
    }
    // The order of what browsers are sent matters, too.
    let chain = [fs::read(dir.join("rsa.pem")).unwrap(), fs::read(dir.join("other.pem")).unwrap()];
    fs::write(dir.join("chain.pem"), chain.concat()).unwrap();
    let must = format!(
        "must be the private key of the first certificate in {0}: put certificate 2 first",
        dir.join("chain.pem").display()
    );
    let why = format!("belongs to certificate 2 there; {must}");
    refused(dir, "chain.pem", "other-key.pem", "TLS_KEY", &why);
}

#[test]
fn a_certificate_that_cannot_be_read_is_not_the_key_to_blame() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    certificate(dir, "cert.pem", "key.pem");
    // Of version 1, as openssl before 3.2 makes them where it is given no extensions. Newer ones do not.
    let mut first = CertificateDer::from_pem_file(dir.join("cert.pem")).unwrap().to_vec();
    let version_3 = [0xa0, 3, 2, 1, 2];
    let version = first.windows(5).position(|bytes| bytes == version_3).unwrap();
    first[version + 4] = 0;
    let first = STANDARD.encode(first);
    let first = format!("-----BEGIN CERTIFICATE-----\n{first}\n-----END CERTIFICATE-----\n");
    fs::write(dir.join("first.pem"), first).unwrap();
    let version = "the first certificate is of X.509 version 1, which browsers refuse: it has no subjectAltName; ";
    refused(dir, "first.pem", "key.pem", "TLS_CERT", version);
    let nonsense = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    fs::write(dir.join("nonsense.pem"), nonsense).unwrap();
    let why = "the first certificate can't be read (";
    refused(dir, "nonsense.pem", "key.pem", "TLS_CERT", why);
}

#[test]
fn byte_order_marks_and_line_ends_do_not_matter() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    certificate(dir, "cert.pem", "key.pem");
    certificate(dir, "issuer.pem", "issuer-key.pem");
    let text = |file: &str| fs::read_to_string(dir.join(file)).unwrap();
    let [cert, key, issuer] = ["cert.pem", "key.pem", "issuer.pem"].map(text);
    let forms: [fn(&str) -> String; 4] = [
        |text| format!("\u{feff}{text}"),
        |text| text.replace('\n', "\r\n"),
        |text| format!("\u{feff}{}", text.replace('\n', " \r\n")),
        |text| format!("\u{feff}a comment\n\n{}\n\n", text.trim_end()),
    ];
    for form in forms {
        // Each part of a chain can have its own.
        fs::write(dir.join("chain.pem"), form(&cert) + &form(&issuer)).unwrap();
        fs::write(dir.join("used-key.pem"), form(&key)).unwrap();
        let paths = ["chain.pem", "used-key.pem"].map(|file| dir.join(file));
        let [chain, key] = paths.each_ref().map(|path| path.to_str().unwrap());
        let server = Server::start(&[("TLS_CERT", chain), ("TLS_KEY", key)]);
        let mut stream =
            secure(connect(server.port), &dir.join("cert.pem"), rustls::DEFAULT_VERSIONS);
        stream.conn.complete_io(&mut stream.sock).unwrap();
        assert_eq!(stream.conn.peer_certificates().unwrap().len(), 2, "{chain}");
    }
    let wide: Vec<_> =
        format!("\u{feff}{cert}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    fs::write(dir.join("wide.pem"), wide).unwrap();
    let why = "is in UTF-16, which has to be saved as UTF-8; must be a PEM";
    refused(dir, "wide.pem", "key.pem", "TLS_CERT", why);
}
