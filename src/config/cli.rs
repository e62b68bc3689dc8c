//! The command line.
//!
//! Owns the program's commands and flags, of which the man pages and the completions are made. It
//! deliberately runs none of them.

use clap::{Arg, ArgAction, Command};

use crate::config::table::args;

/// The command line: the source of `--help`, the man pages and the completions.
pub fn command() -> Command {
    let settings = |command: Command, file: &'static str| {
        command.args(args()).arg(
            Arg::new("settings-file")
                .long("settings-file")
                .value_name("FILE")
                .allow_hyphen_values(true)
                .help(file)
                .help_heading("Settings"),
        )
    };
    let file = "Read settings from this file, which has NAME=value lines, and again at SIGHUP. Flags and variables \
                of the environment override it. If the name begins with a hyphen (-FILE), FILE may be absent";
    let root = Command::new("openstudio-signaling")
        .version(env!("CARGO_PKG_VERSION"))
        .about("WebRTC signaling server of the OpenStudio broadcast studio")
        .after_help(
            "Each setting is also a variable of the environment (PORT for --port). The service reads its settings \
             from /etc/default/openstudio-signaling. openstudio-signaling(8) describes the service.",
        )
        .args_conflicts_with_subcommands(true)
        .disable_help_subcommand(true)
        .subcommand(settings(
            Command::new("serve").about("Run the server (default command)"),
            file,
        ))
        .subcommand(check_command())
        .subcommand(settings(
            Command::new("config")
                .about("Print the effective settings and where each came from")
                .arg(Arg::new("reload").long("reload").action(ArgAction::SetTrue).help(
                    "Check only what a reload of the service reads: the settings, the station manifest and \
                     the certificate",
                )),
            "Read settings from this file [default: /etc/default/openstudio-signaling, if it exists]",
        ));
    settings(root, file)
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
        .arg(flag("call").help(
            "Let two test peers meet in a room of their own, relay an offer, an answer and candidates between \
             them, and count the ICE servers that they get",
        ))
        .arg(flag("watch").help(
            "Then send a ping every --interval until Ctrl-C or --count. At the end, print how many were lost, \
             and min, avg, p99 (at most 3 % too high), max and mdev of the round trips in ms. If the connection \
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
                .help("How long each step and each ping may take, 0.1 to 3600"),
        )
        .arg(flag("json").help("Print one JSON object a line: each step, each ping, the summary"))
        .after_help(
            "Exit status: 0 when every step worked and no ping was lost, 1 when not, 2 when the command line is invalid.",
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
