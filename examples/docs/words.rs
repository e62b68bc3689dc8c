//! What the man pages say beside the command line's own definition.
//!
//! Owns the words of all sections that `--help` does not have. It deliberately defines no option and no setting.

/// What the page of a command says.
pub struct Words {
    pub description: &'static [(&'static str, &'static str)],
    pub environment: &'static [(&'static str, &'static str)],
    pub files: &'static [(&'static str, &'static str)],
    pub examples: &'static [(&'static str, &'static str)],
    pub see_also: &'static str,
}

/// The words of a command, by its name.
pub fn of_command(name: &str) -> &'static Words {
    match name {
        "serve" => &SERVE,
        "check" => &CHECK,
        "invite" => &INVITE,
        "config" => &CONFIG,
        _ => panic!("openstudio-signaling {name} has no words for its man page"),
    }
}

const SERVE: Words = Words {
    description: &[
        (
            "",
            "Runs the server in the foreground, as openstudio-signaling does without a command. It logs to standard \
             error, and ends with Ctrl-C. On an installed machine systemd runs it: see openstudio-signaling(8), also \
             for the signals.",
        ),
        (
            "",
            "Started by hand, it reads no settings file unless --settings-file names one, and it makes a new secret \
             at each start unless JWT_SECRET is set. Invites that were made before are then invalid.",
        ),
    ],
    environment: ENVIRONMENT,
    files: &[("/etc/openstudio-signaling/station-manifest.json", MANIFEST)],
    examples: &[
        (
            "openstudio-signaling serve --port 8080 --log-level debug",
            "Serve on port 8080, and log every message.",
        ),
        (
            "openstudio-signaling serve --settings-file=/etc/default/openstudio-signaling --port 8080",
            "Serve with the settings of the service, on another port.",
        ),
    ],
    see_also: "openstudio-signaling(8), openstudio-signaling(5), openstudio-signaling-config(8)",
};

const CHECK: Words = Words {
    description: &[
        (
            "",
            "Connects to a server as a browser does, and prints a line for each step, with its time. It stops at the \
             first step that fails, and says what to do. Without options it is a client for less than a second, and \
             changes nothing.",
        ),
        (
            "",
            "Give the address that your callers use. Without one it tests port 3000 of this machine, which is the \
             wrong one if the service has TLS on port 443.",
        ),
    ],
    environment: &[
        ("PORT", "The port of the local server, where no URL is given; 3000 if not set."),
        (
            "SSL_CERT_FILE, SSL_CERT_DIR",
            "Certificate authorities to trust instead of those of the machine (the package ca-certificates).",
        ),
    ],
    files: &[],
    examples: &[
        ("openstudio-signaling check", "Test the server on this machine, on port 3000."),
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
    ],
    see_also: "openstudio-signaling(8), openstudio-signaling-invite(8), ping(8)",
};

const INVITE: Words = Words {
    description: &[
        (
            "",
            "An invite is a link that leads into one room with one role, until its time is over. The command prints \
             two links: one to the studio, and one to the check page, on which the invited can test their connection. \
             Whoever has the link can use it, as often as they like.",
        ),
        (
            "",
            "It asks no server: it signs with the secret of the service on this machine. Run it as root there.",
        ),
    ],
    environment: &[],
    files: &[
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
    ],
    examples: &[
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
    ],
    see_also: "openstudio-signaling(8), openstudio-signaling(5), openstudio-signaling-check(8)",
};

const CONFIG: Words = Words {
    description: &[
        (
            "",
            "Prints each setting with its value and where that came from, in the form of the settings file. Secrets \
             are hidden. It says on standard error what is wrong: invalid values, unknown names, and certificates \
             that browsers refuse.",
        ),
        (
            "",
            "It shows what a start from this shell would use, with the settings file of the service. Environment= and \
             LoadCredential= in drop-ins of the unit are not seen.",
        ),
    ],
    environment: ENVIRONMENT,
    files: &[
        ("/etc/default/openstudio-signaling", "The settings of the service."),
        ("/etc/openstudio-signaling/station-manifest.json", MANIFEST),
    ],
    examples: &[
        ("openstudio-signaling config", "Show all settings."),
        (
            "openstudio-signaling config | grep -v '# default$'",
            "Show only those that somebody has set.",
        ),
        (
            "openstudio-signaling config --reload >/dev/null && systemctl reload openstudio-signaling",
            "Reload the service, if what a reload reads is valid.",
        ),
    ],
    see_also: "openstudio-signaling(8), openstudio-signaling(5)",
};

const MANIFEST: &str = "The station's name and address, and its STUN and TURN servers.";

pub const DESCRIPTION: &[(&str, &str)] = &[
    (
        "",
        "openstudio-signaling is how the hosts and callers of an OpenStudio broadcast studio find each \
         other: browsers connect to it by WebSocket, and it answers health checks on the same port. It also passes \
         the programme of the host on air to Icecast.",
    ),
    (
        "",
        "As a service it is started by systemd, which holds the port: openstudio-signaling.socket listens, \
         openstudio-signaling.service serves. A restart or an upgrade of the service keeps the clients; only those with \
         TLS on the service itself reconnect. New connections wait meanwhile, and none is refused. The journal has one \
         line for each event, and journalctl -x -u openstudio-signaling explains it.",
    ),
    (
        "",
        "Started by hand, it listens on HOST and PORT, logs to standard error, and ends with Ctrl-C.",
    ),
];

/// In the place of the flags of all settings.
pub const SETTINGS: &[(&str, &str)] = &[(
    "",
    "Each setting of openstudio-signaling(5) is also a flag: LOG_LEVEL=debug in the settings file is --log-level debug \
     here. --help lists them.",
)];

pub const ENVIRONMENT: &[(&str, &str)] = &[
    (
        "PORT, HOST, LOG_LEVEL, …",
        "Each setting of openstudio-signaling(5) is also a variable, of the same name.",
    ),
    (
        "CREDENTIALS_DIRECTORY",
        "Where systemd passes credentials: see CREDENTIALS in openstudio-signaling(5).",
    ),
];

pub const SIGNALS: &[(&str, &str)] = &[
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

pub const EXIT_STATUS: &[(&str, &str)] = &[
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
    (
        "226",
        "From systemd, not from the program: the machine is a container that lets systemd make no namespaces. See \
         /usr/share/doc/openstudio-signaling/examples/no-namespaces.conf.",
    ),
];

pub const FILES: &[(&str, &str)] = &[
    (
        "/etc/default/openstudio-signaling",
        "The settings of the service: see openstudio-signaling(5).",
    ),
    ("/etc/openstudio-signaling/station-manifest.json", MANIFEST),
    (
        "/var/lib/openstudio-signaling/jwt-secret",
        "Signs invites and room tokens; made at the first start. Without it, every invite is invalid.",
    ),
    (
        "/var/lib/openstudio-signaling/reserved-roles.json",
        "Who may have which role again after a stop or a crash.",
    ),
    (
        "/usr/share/doc/openstudio-signaling/docs",
        "For operators: operate.md, on-air.md, cluster.md, costs.md and security.md. For authors of clients: protocol.md.",
    ),
    (
        "/usr/share/doc/openstudio-signaling/examples",
        "Drop-ins for systemd (another port, a port below 1024, network of its own, secrets, TLS), a station \
         manifest, a certbot hook, configurations for nginx, coturn and others, a Grafana dashboard, the \
         protocol as AsyncAPI.",
    ),
];

pub const EXAMPLES: &[(&str, &str)] = &[
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

pub const SEE_ALSO: &str = "journalctl(1), systemctl(1), systemd.exec(5), systemd.socket(5)";

pub const SETTINGS_DESCRIPTION: &[(&str, &str)] = &[
    (
        "",
        "The settings of the service, one NAME=value a line. Blank lines and lines that begin with # or ; are skipped. \
         Quotes around a value are taken off. There are no continuation lines and no variables, and a comment needs a \
         line of its own. If a name comes twice, the last line counts.",
    ),
    (
        "",
        "Each setting is also a flag of the program and a variable of its environment. If a setting comes from several \
         places, the first of these wins: a credential of systemd, the flag, the environment, the file. An empty value \
         is the same as no value.",
    ),
    (
        "",
        "systemctl restart openstudio-signaling applies all settings, and keeps the clients. systemctl reload applies \
         LOG_LEVEL, the station manifest and a renewed certificate. If a value is invalid, the service does not start, \
         and ends with status 78. An unknown name is ignored, and the log says so. openstudio-signaling-config(8) \
         prints the values in force and what is wrong with them.",
    ),
    (
        "",
        "Times are in milliseconds where the name ends with _MS, sizes in bytes where it ends with _BYTES.",
    ),
];

pub const CREDENTIALS: &[(&str, &str)] = &[
    (
        "",
        "Where a setting has a credential, LoadCredential= in a drop-in of the unit brings it (systemd.exec(5)). It holds \
         the value of a secret, or it is the file that the setting would name. Only the service can read it, and it is \
         in no environment. It goes before the setting. For example:",
    ),
    ("", "[Service]\nLoadCredential=turn-secret:/etc/openstudio-signaling/secrets/turn-secret"),
];

pub const SETTINGS_FILES: &[(&str, &str)] = &[
    (
        "/etc/default/openstudio-signaling",
        "The settings. The first installation of the package makes it out of the next file.",
    ),
    ("/usr/share/openstudio-signaling/settings", "Each setting of this version, commented out."),
    (
        "/etc/systemd/system/openstudio-signaling.service.d/*.conf",
        "Drop-ins of the unit: credentials, and all else that systemd.exec(5) has.",
    ),
    (
        "/etc/systemd/system/openstudio-signaling.socket.d/*.conf",
        "Drop-ins of the socket: the port and the address, because systemd holds them.",
    ),
    (
        "/usr/share/doc/openstudio-signaling/examples",
        "Drop-ins to copy. The head of each has the commands that install it.",
    ),
];

pub const SETTINGS_EXAMPLES: &[(&str, &str)] = &[
    (
        "",
        "A station behind a proxy on the same machine, which lets only the invited in and goes on air:",
    ),
    (
        "",
        "TRUSTED_PROXIES=127.0.0.1,::1\nROOM_ACCESS=invited\nWEB_ROOT=/srv/studio\nICECAST_URL=http://source@127.0.0.1:8000/live.ogg",
    ),
];

pub const SETTINGS_SEE_ALSO: &str = "openstudio-signaling(8), openstudio-signaling-config(8), systemctl(1), \
     systemd.exec(5), systemd.unit(5)";
