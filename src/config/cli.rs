//! The command line.
//!
//! Owns the program's commands and flags, of which the man pages and the completions are made. It
//! deliberately runs none of them.

use clap::{Arg, ArgAction, Command};

use crate::config::table::args;

/// The command line: the source of `--help`, the man pages and the completions.
pub fn command() -> Command {
    let settings =
        |command: Command, file: &'static str| command.args(args()).arg(settings_file(file));
    let file = "Read settings from this file, which has NAME=value lines, and again at SIGHUP. Flags and variables \
                of the environment override it. If the name begins with a hyphen (-FILE), FILE may be absent";
    let root = Command::new("openstudio-signaling")
        .version(env!("CARGO_PKG_VERSION"))
        .about("WebRTC signaling server of the OpenStudio broadcast studio")
        .after_help(
            "Each setting is also a variable of the environment (PORT for --port). The service reads its settings \
             from /etc/default/openstudio-signaling. openstudio-signaling(8) describes the service, and \
             openstudio-signaling(5) the settings.",
        )
        .args_conflicts_with_subcommands(true)
        .disable_help_subcommand(true)
        .subcommand(settings(
            Command::new("serve").about("Run the server (default command)").after_help(
                "Exit status: 0 after a stop, 1 when clients had to be cut off, the server could not start or it \
                 found a bug in itself, 2 for a bad command line, 78 when a setting or the station manifest is \
                 invalid.",
            ),
            file,
        ))
        .subcommand(check_command())
        .subcommand(invite_command())
        .subcommand(settings(
            Command::new("config")
                .about("Print the effective settings and where each came from")
                .arg(Arg::new("reload").long("reload").action(ArgAction::SetTrue).help(
                    "Check only what a reload of the service reads: the settings, the station manifest and \
                     the certificate",
                ))
                // What the process asks that is about to give its clients to this program.
                .arg(Arg::new("handover").long("handover").action(ArgAction::SetTrue).hide(true))
                .after_help(
                    "Exit status: 0 when a start would work, also with warnings, 2 for a bad command line, 78 when \
                     a setting, the station manifest or a file that a setting names is invalid.",
                ),
            PACKAGED_FILE,
        ));
    settings(root, file)
}

/// The help of `--settings-file` where the settings are those of the service.
const PACKAGED_FILE: &str =
    "Read settings from this file [default: /etc/default/openstudio-signaling, if it exists]";

fn settings_file(help: &'static str) -> Arg {
    Arg::new("settings-file")
        .long("settings-file")
        .value_name("FILE")
        .allow_hyphen_values(true)
        .help(help)
        .help_heading("Settings")
}

/// The settings that an invite depends on.
const INVITE_SETTINGS: [&str; 3] = ["STATION_MANIFEST", "JWT_SECRET", "ROOM_ACCESS"];

fn invite_command() -> Command {
    let option = |name: &'static str, value: &'static str| {
        Arg::new(name).long(name).value_name(value).allow_hyphen_values(true)
    };
    let flag = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
    let settings = args().filter(|arg| INVITE_SETTINGS.contains(&arg.get_id().as_str()));
    Command::new("invite")
        .about("Make an invite into a room, or show what is in one")
        .arg(option("room", "NAME").required_unless_present("show").help(
            "The room, by its name: 1 to 128 characters, without ?, # and %",
        ))
        .arg(
            option("role", "ROLE")
                .default_value("guest")
                .value_parser(["host", "ops", "guest"])
                .help("What the invited one is: host and ops may mute others and invite"),
        )
        .arg(
            option("ttl", "TIME")
                .default_value("4h")
                .help("How long the invite is valid, such as 90m, 12h or 7d: 1m to 365d"),
        )
        .arg(option("url", "URL").help(
            "Where the web studio is: https://HOST/ [default: that of signaling.url in the station manifest]",
        ))
        .arg(flag("link").conflicts_with_all(["json", "qr"]).help(
            "Print nothing but the link to the studio",
        ))
        .arg(flag("qr").conflicts_with("json").help(
            "Draw the link to the studio as a QR code, too",
        ))
        .arg(
            option("show", "INVITE")
                .conflicts_with_all(["room", "role", "ttl", "url", "link", "qr"])
                .help(
                    "Make none, but say what is in this one, given as a token or as a link, and whether it is \
                     valid now",
                ),
        )
        .arg(flag("json").help("Print one JSON object"))
        .args(settings)
        .arg(settings_file(PACKAGED_FILE))
        .after_help(
            "Exit status: 0 when the invite was made or is valid, 1 when not, 2 for a bad command line.",
        )
}

fn check_command() -> Command {
    let number = |name: &'static str, value: &'static str| {
        Arg::new(name).long(name).value_name(value).allow_hyphen_values(true)
    };
    let flag = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
    Command::new("check")
        .about("Test a running server step by step: TLS, health, WebSocket handshake, welcome, ping")
        .arg(Arg::new("url").value_name("URL").help(
            "Address of the server: ws://HOST:PORT/, or wss://HOST/ to use TLS and check the certificate; \
             http:// and https:// mean the same [default: ws://localhost:3000/, or the port in $PORT]",
        ))
        .arg(flag("ready").conflicts_with_all(["call", "watch"]).help(
            "Send one request for /ready, and open no WebSocket: for health checks that run every minute",
        ))
        .arg(flag("listen").conflicts_with_all(["ready", "call", "watch"]).help(
            "Listen to the programme for --seconds instead of the other steps, as a player does: at /stream/live.opus, \
             or at the path of the URL, such as http://HOST:8000/live.ogg of Icecast. Print how far behind a player is, \
             how often it had nothing to play, and how much of the programme was silence",
        ))
        .arg(
            number("seconds", "SECONDS")
                .default_value("10")
                .requires("listen")
                .help("How long --listen listens, 2 to 3600. Ctrl-C ends it earlier"),
        )
        .arg(flag("call").help(
            "Let two test peers meet in a room of their own, relay an offer, an answer and candidates between \
             them, and count the ICE servers that they get",
        ))
        .arg(
            number("second", "URL")
                .requires("call")
                .help("Connect the second peer of --call to this server instead: another node of the cluster"),
        )
        .arg(
            number("invite", "INVITE")
                .requires("call")
                .help(
                    "Let both peers of --call enter the room of this invite, given as a token or as a link: for \
                     servers with ROOM_ACCESS=invited; nobody else may be in the room",
                ),
        )
        .arg(flag("watch").help(
            "After the other steps, send a ping every --interval until Ctrl-C or --count. At the end, print how \
             many were lost, and min, avg, p99 (at most 3 % too high), max and mdev of the round trips in ms. If the connection \
             ends, this counts as one lost ping, and check connects again",
        ))
        .arg(
            number("interval", "SECONDS")
                .default_value("1")
                .requires("watch")
                .help("The time from one ping to the next, 0.2 to 3600"),
        )
        .arg(
            number("count", "PINGS")
                .requires("watch")
                .help("How many pings --watch sends, 1 to 4294967295 [default: no limit]"),
        )
        .arg(
            number("timeout", "SECONDS")
                .default_value("5")
                .help(
                    "How long each step and each ping may take, and how long --listen waits for more audio, 0.1 to \
                     3600",
                ),
        )
        .arg(flag("json").help("Print one JSON object a line: each step, each ping, the summary"))
        .after_help(
            "Exit status: 0 when every step worked, no ping was lost, and the programme had no gap and was not all \
             silence, 1 when not, 2 when the command line is invalid.",
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }
}
