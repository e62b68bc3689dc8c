//! A repository to which a test adds packages, and which is all that a machine knows.
//!
//! Owns its folder, its key and its web server. It deliberately does not know what is in the packages.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::booted::{Machine, SERVICE};
use crate::repository::{Keys, WebServer, add_repository, package};

/// The repository, as long as it is served.
pub struct Published {
    keys: Keys,
    directory: TempDir,
    _server: WebServer,
}

impl Published {
    /// With 0.1.0's package, which the machine installs.
    pub fn with_0_1_0(machine: &Machine, suite: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let keys = Keys::make();
        keys.publish(&directory.path().join("repository"), &package("deb-0.1.0"));
        let server = WebServer::start(machine, &directory.path().join("repository"));
        add_repository(machine, suite);
        update(machine);
        machine.apt(&format!("install {SERVICE}"));
        Self { keys, directory, _server: server }
    }

    /// Adds the package in another folder, and lets the machine hear of it: its version.
    pub fn publish(&self, machine: &Machine, folder: &str) -> String {
        let deb: PathBuf = package(folder);
        self.keys.publish(&self.directory.path().join("repository"), &deb);
        update(machine);
        let version = Command::new("dpkg-deb").arg("-f").arg(deb).arg("Version").output().unwrap();
        String::from_utf8(version.stdout).unwrap().trim().to_owned()
    }
}

fn update(machine: &Machine) {
    machine.apt("update --error-on=any");
}
