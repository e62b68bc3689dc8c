//! The web studio as a package beside the server's. It deliberately knows no real studio: a stand-in has its folders.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::booted::{Machine, SERVICE};
use crate::fetch::get;

/// Makes a package of a checkout whose page says this.
fn package(folder: &Path, version: &str, page: &str) {
    let checkout = folder.join("checkout");
    fs::create_dir_all(checkout.join("web/js")).unwrap();
    fs::write(checkout.join("web/index.html"), page).unwrap();
    fs::write(checkout.join("web/js/main.js"), "connect();\n").unwrap();
    fs::write(checkout.join("LICENSE"), "Copyright 2026 the authors of the stand-in\n").unwrap();
    fs::write(checkout.join("package.json"), format!("{{\"version\": \"{version}\"}}\n")).unwrap();
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/build-studio-deb");
    let output = Command::new(program).arg(&checkout).arg(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tags = Command::new("lintian")
        .args(["-I", "--pedantic", "--fail-on", "pedantic,info,warning,error"])
        .arg(folder.join(format!("openstudio-web_{version}_all.deb")))
        .output()
        .unwrap();
    assert!(tags.status.success(), "{}", String::from_utf8_lossy(&tags.stdout));
}

pub fn the_studio_is_a_package_of_its_own(suite: &str) {
    let folder = tempfile::tempdir().unwrap();
    package(folder.path(), "0.3.2", "<title>The studio</title>");
    package(folder.path(), "0.3.3", "<title>A newer studio</title>");
    let bind = format!("--bind-ro={}:/studio", folder.path().display());
    let machine = Machine::boot(suite, &[&bind]);
    machine.install();
    let mut client = machine.client();
    let process = machine.property("MainPID");
    assert_eq!(get(3000, "/").status, 404, "there is no page");
    // It is there without a restart, and so is a newer one.
    machine.apt("install /studio/openstudio-web_0.3.2_all.deb");
    assert!(get(3000, "/").body.contains("The studio"));
    assert_eq!(get(3000, "/js/main.js").body, "connect();\n");
    machine.apt("install /studio/openstudio-web_0.3.3_all.deb");
    assert!(get(3000, "/").body.contains("A newer studio"));
    assert!(client.ask(r#"{"type":"ping"}"#).contains("pong"));
    assert_eq!(machine.property("MainPID"), process);
    assert!(!machine.log().contains("WEB_ROOT"), "{}", machine.log());
    // Who wants none has none.
    machine.ok(&["sh", "-c", "echo WEB_ROOT=off >> /etc/default/openstudio-signaling"]);
    machine.ok(&["systemctl", "restart", SERVICE]);
    assert_eq!(get(3000, "/").status, 404);
    machine.ok(&["sed", "-i", "/WEB_ROOT=off/d", "/etc/default/openstudio-signaling"]);
    machine.ok(&["systemctl", "restart", SERVICE]);
    assert_eq!(get(3000, "/").status, 200);
    machine.apt("purge openstudio-web");
    assert_eq!(get(3000, "/").status, 404);
    machine.ok(&["test", "!", "-e", "/usr/share/openstudio-web"]);
    assert!(client.ask(r#"{"type":"ping"}"#).contains("pong"));
}
