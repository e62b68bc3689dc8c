//! Writes the man pages, the shell completions and the settings file of the package into a directory.
//!
//! Owns the words around what the command line's definition says. It deliberately defines no option.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Command;
use clap_complete::{Shell, generate_to};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use openstudio_signaling::config::cli::command;
use openstudio_signaling::config::table::{SETTINGS, Setting};

fn main() -> io::Result<()> {
    let directory = std::env::args().nth(1).filter(|argument| !argument.starts_with('-'));
    let directory = directory.map(PathBuf::from);
    let directory = directory.ok_or_else(|| io::Error::other("usage: docs DIRECTORY"))?;
    fs::create_dir_all(&directory)?;
    let mut command = command();
    command.build();
    fs::write(directory.join("openstudio-signaling.8"), main_page(&command)?)?;
    for subcommand in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        let name = format!("openstudio-signaling-{}", subcommand.get_name());
        fs::write(directory.join(format!("{name}.8")), sub_page(subcommand, &name)?)?;
    }
    completions(&directory)?;
    fs::write(directory.join("openstudio-signaling.default"), settings_file())
}

fn completions(directory: &Path) -> io::Result<()> {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut command(), "openstudio-signaling", directory)?;
    }
    Ok(())
}

/// The start of every page.
fn man(command: &Command, name: &str) -> Man {
    Man::new(command.clone().name(name.to_owned()))
        .title(name.to_uppercase())
        .section("8")
        .manual("OpenStudio")
        .source(concat!("openstudio-signaling ", env!("CARGO_PKG_VERSION")))
        .date("")
}

fn sub_page(command: &Command, name: &str) -> io::Result<Vec<u8>> {
    let man = man(command, name);
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if let Some(text) = command.get_after_help().map(ToString::to_string) {
        let text = text.strip_prefix("Exit status: ").expect("what is said behind the options");
        section(&mut page, "EXIT STATUS", &[("", text)])?;
    }
    if command.get_name() == "check" {
        section(&mut page, "ENVIRONMENT", CHECK_ENVIRONMENT)?;
        section(&mut page, "EXAMPLES", CHECK_EXAMPLES)?;
    }
    if command.get_name() == "invite" {
        section(&mut page, "FILES", INVITE_FILES)?;
        section(&mut page, "EXAMPLES", INVITE_EXAMPLES)?;
    }
    section(&mut page, "SEE ALSO", &[("", "openstudio-signaling(8)")])?;
    Ok(page)
}

fn main_page(command: &Command) -> io::Result<Vec<u8>> {
    let man = man(command, "openstudio-signaling");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    section(&mut page, "DESCRIPTION", DESCRIPTION)?;
    man.render_options_section(&mut page)?;
    man.render_subcommands_section(&mut page)?;
    let explained = |s: &Setting| format!("{}. It is {}.", s.help, s.allowed);
    let environment: Vec<_> = SETTINGS.iter().map(|s| (s.name, explained(s))).collect();
    let environment: Vec<_> = environment.iter().map(|(name, text)| (*name, &**text)).collect();
    section(&mut page, "ENVIRONMENT", &environment)?;
    section(&mut page, "SIGNALS", SIGNALS)?;
    section(&mut page, "EXIT STATUS", EXIT_STATUS)?;
    section(&mut page, "FILES", FILES)?;
    section(&mut page, "EXAMPLES", EXAMPLES)?;
    section(&mut page, "SEE ALSO", SEE_ALSO)?;
    Ok(page)
}

/// A section of tagged paragraphs; one without a tag is plain text.
fn section(page: &mut Vec<u8>, title: &str, paragraphs: &[(&str, &str)]) -> io::Result<()> {
    let mut roff = Roff::new();
    roff.control("SH", [title]);
    for (tag, text) in paragraphs {
        if tag.is_empty() {
            roff.control("PP", []);
        } else {
            roff.control("TP", []);
            roff.text([bold(*tag)]);
        }
        roff.text([roman(*text)]);
    }
    roff.to_writer(page)
}

const DESCRIPTION: &[(&str, &str)] = &[
    (
        "",
        "openstudio-signaling is how the hosts and callers of an OpenStudio broadcast studio find each \
         other: browsers connect to it by WebSocket, and it answers health checks on the same port.",
    ),
    (
        "",
        "As a service it is started by systemd, which holds the port: openstudio-signaling.socket listens, \
         openstudio-signaling.service serves. During a restart or an upgrade of the service, \
         new connections wait and none is refused; clients are told to reconnect. The journal has one line for \
         each event, and journalctl -x -u openstudio-signaling explains it.",
    ),
    (
        "",
        "Started by hand, it listens on HOST and PORT, logs to standard error, and ends with Ctrl-C.",
    ),
];

const SIGNALS: &[(&str, &str)] = &[
    (
        "SIGTERM, SIGINT",
        "Stop: no new clients, close code 1001 to all, exit when they have gone or SHUTDOWN_GRACE_MS is \
         over. A second one ends the wait.",
    ),
    (
        "SIGUSR2",
        "Executes the program that is on the disk now, with the settings as they are now. Clients stay connected, but those \
         with TLS on the service itself. If that can't be done, a line says why, and the service goes on.",
    ),
    (
        "SIGHUP",
        "Read the settings, the station manifest and the certificate again. LOG_LEVEL, the manifest and a \
         renewed certificate take effect at once, each by itself: an invalid one keeps its old value. \
         Other settings need a restart.",
    ),
];

const EXIT_STATUS: &[(&str, &str)] = &[
    ("0", "All clients left in time, or were handed over."),
    (
        "1",
        "The wait was cut, the server could not start (a port in use), or it found a bug in itself.",
    ),
    ("2", "The command line is wrong."),
    (
        "78",
        "A setting or the station manifest is invalid; a line names it, its value, and what is allowed. \
         systemd does not restart the service by itself; each client that connects starts it again, at most once a second.",
    ),
];

const FILES: &[(&str, &str)] = &[
    ("/etc/default/openstudio-signaling", "The settings of the service."),
    (
        "/etc/openstudio-signaling/station-manifest.json",
        "The station's name and address, and its STUN and TURN servers.",
    ),
    (
        "/var/lib/openstudio-signaling/jwt-secret",
        "Signs invites and room tokens; made at the first start. Without it, every invite is invalid.",
    ),
    (
        "/usr/share/doc/openstudio-signaling/docs",
        "operate.md, for operators, and protocol.md, for authors of clients.",
    ),
    (
        "/usr/share/doc/openstudio-signaling/examples",
        "Drop-ins for systemd (another port, a port below 1024, network of its own, secrets, TLS), a station \
         manifest, a certbot hook, configurations for nginx, coturn and others, a Grafana dashboard, the \
         protocol as AsyncAPI.",
    ),
];

const CHECK_ENVIRONMENT: &[(&str, &str)] = &[
    ("PORT", "The port of the local server, where no URL is given; 3000 if not set."),
    (
        "SSL_CERT_FILE, SSL_CERT_DIR",
        "Certificate authorities to trust instead of those of the machine (the package ca-certificates).",
    ),
];

const CHECK_EXAMPLES: &[(&str, &str)] = &[
    (
        "openstudio-signaling check wss://studio.example.org/ --call",
        "See whether two people could meet there, and how long the certificate is valid.",
    ),
    (
        "openstudio-signaling check --watch --interval 10 --count 360 --json",
        "Ping the server on this machine for an hour, for a program to read.",
    ),
    (
        "openstudio-signaling check --listen http://127.0.0.1:8000/live.ogg --seconds 60",
        "Listen to Icecast on this machine for a minute: gaps, dead air, and how far behind a player is.",
    ),
];

const INVITE_FILES: &[(&str, &str)] = &[
    (
        "/run/credentials/openstudio-signaling.service/jwt-secret",
        "The secret of the running service, where its unit brings one. The sources that LoadCredential= and \
         SetCredential= name are not looked at: the service has to run.",
    ),
    (
        "/var/lib/openstudio-signaling/jwt-secret",
        "The secret that the service has made for itself. This command makes none. Both files are for root.",
    ),
    (
        "/etc/default/openstudio-signaling",
        "JWT_SECRET, ROOM_ACCESS and STATION_MANIFEST. Environment= in drop-ins of the unit is not seen.",
    ),
];

const INVITE_EXAMPLES: &[(&str, &str)] = &[
    (
        "openstudio-signaling invite --room morning-show --role host --ttl 12h",
        "Invite the host of a show.",
    ),
    (
        "openstudio-signaling invite --room morning-show --qr",
        "Invite guests for four hours, with a code for the camera of a phone.",
    ),
    (
        "openstudio-signaling invite --show 'https://studio.example.org/#morning-show?token=…'",
        "Say what a link is worth. The quotes keep # and ? from the shell.",
    ),
];

const EXAMPLES: &[(&str, &str)] = &[
    ("openstudio-signaling check", "Try the server on this machine."),
    (
        "openstudio-signaling check wss://studio.example.org/ --call",
        "Let two peers meet at a server behind TLS.",
    ),
    (
        "openstudio-signaling invite --room morning-show --role host --ttl 12h",
        "Make an invite for the host of a show.",
    ),
    ("openstudio-signaling config", "Show the settings of the service and where each came from."),
    ("journalctl -x -u openstudio-signaling -n 20", "The last 20 lines of the log, explained."),
    (
        "journalctl -u openstudio-signaling CLIENT_IP=192.0.2.7",
        "All about the clients at one address.",
    ),
];

const SEE_ALSO: &[(&str, &str)] = &[(
    "",
    "openstudio-signaling-check(8), openstudio-signaling-config(8), openstudio-signaling-invite(8), \
     openstudio-signaling-serve(8), journalctl(1), systemctl(1), systemd.socket(5)",
)];

/// `/etc/default/openstudio-signaling`: every setting, commented out, with its default.
fn settings_file() -> String {
    let mut text = String::from(
        "# Settings of openstudio-signaling, one NAME=value a line; see openstudio-signaling(8).\n\
         # Apply them with `systemctl restart openstudio-signaling`; LOG_LEVEL, STATION_MANIFEST and\n\
         # a renewed certificate also with `reload`.\n\
         # A comment needs a line of its own.\n\
         # The port is set in the socket unit: /usr/share/doc/openstudio-signaling/examples/port.conf\n",
    );
    for setting in SETTINGS {
        let default = if setting.has_default_in_words() { "" } else { setting.default };
        let (help, allowed, name) = (setting.help, setting.allowed, setting.name);
        text += &format!("\n# {help}\n# Value: {allowed}\n#{name}={default}\n");
    }
    text
}
