//! What `openstudio-signaling invite` does.
//!
//! Owns its options, the bounds of an invite's time, and what is printed. It deliberately logs nothing: an invite is
//! for who asked for it.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::ArgMatches;
use humantime::{format_duration, parse_duration};
use serde::{Deserialize, Serialize};

use crate::invite::keys::{self, Keys};
use crate::invite::link::{self, Address};
use crate::invite::qr;
use crate::invite::show::{Shown, time};
use crate::station::manifest::Place;
use crate::station::manifest::{self, Manifest};
use crate::wire::ids::RoomId;
use crate::wire::role::Role;

/// How long an invite may hold: long enough to be opened, and no longer than a year of shows.
const LEAST: Duration = Duration::from_secs(60);
const MOST: Duration = Duration::from_secs(365 * 24 * 3600);

/// What to do.
#[derive(Clone, Debug)]
pub struct Options {
    task: Task,
    json: bool,
    /// Whether to print nothing but the studio's link.
    link: bool,
    /// The flags, for the settings.
    flags: ArgMatches,
}

#[derive(Clone, Debug)]
enum Task {
    Show { token: String },
    Make { room: RoomId, role: Role, ttl: Duration, address: Option<Address>, qr: bool },
}

/// An invite, as `--json` prints it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Made<'a> {
    room: &'a RoomId,
    role: Role,
    token: &'a str,
    until: String,
    until_seconds: u64,
    studio: String,
    check: String,
}

impl Options {
    /// Reads the arguments of `invite`.
    ///
    /// # Errors
    ///
    /// A line that names the invalid argument, and what is allowed.
    pub fn new(matches: &ArgMatches) -> Result<Self, String> {
        let text = |name: &str| matches.get_one::<String>(name).map_or("", String::as_str);
        let task = match matches.get_one::<String>("show") {
            Some(show) => Task::Show { token: link::token(show).to_owned() },
            None => Task::Make {
                room: link::room(text("room"))?,
                role: Role::from_name(text("role")).ok_or_else(|| {
                    format!("Invalid --role {:?}: must be host, ops or guest", text("role"))
                })?,
                ttl: ttl(text("ttl"))?,
                address: matches
                    .get_one::<String>("url")
                    .map(|url| Address::parse(url))
                    .transpose()?,
                qr: matches.get_flag("qr"),
            },
        };
        Ok(Self {
            task,
            json: matches.get_flag("json"),
            link: matches.get_flag("link"),
            flags: matches.clone(),
        })
    }
}

fn ttl(text: &str) -> Result<Duration, String> {
    let ttl = parse_duration(text).ok().filter(|ttl| (LEAST..=MOST).contains(ttl));
    ttl.ok_or_else(|| {
        format!("Invalid --ttl {text:?}: must be a time such as 90m, 12h or 7d, from 1m to 365d")
    })
}

/// Makes an invite or shows one, and says why not on standard error. True when it was made, or is valid.
pub fn run(options: &Options) -> bool {
    match answer(options) {
        Ok((ok, text)) => {
            // A reader that has closed the pipe has seen what it wanted.
            let _ = write!(io::stdout(), "{text}");
            ok
        }
        Err(errors) => {
            for error in errors {
                eprintln!("{error}");
            }
            false
        }
    }
}

fn answer(Options { task, json, link, flags }: &Options) -> Result<(bool, String), Vec<String>> {
    let keys = keys::find(flags)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (room, role, ttl, address, qr) = match task {
        Task::Make { room, role, ttl, address, qr } => (room, *role, *ttl, address, *qr),
        Task::Show { token } => {
            let shown = Shown::new(&keys.tokens, keys.access, token, now);
            let text = if *json { as_json(&shown) } else { shown.lines() };
            return Ok((shown.valid, text));
        }
    };
    let Keys { tokens, access, manifest, mut notes } = keys;
    let address = match address {
        Some(address) => address.clone(),
        None => station_address(manifest::load(manifest.as_deref())?, &mut notes)?,
    };
    let token = &tokens.invite(room, role, access, now, ttl.as_secs());
    let until_seconds = now + ttl.as_secs();
    let until = time(until_seconds);
    let (studio, check) = (address.studio(room, token), address.check(room, token));
    for note in notes {
        eprintln!("{note}");
    }
    let made = Made { room, role, token, until, until_seconds, studio, check };
    if *json {
        return Ok((true, as_json(&made)));
    }
    if *link {
        return Ok((true, made.studio + "\n"));
    }
    let mut text = words(&made, ttl);
    if qr {
        let drawn = qr::draw(&made.studio, io::stdout().is_terminal());
        text += &drawn.map_err(|error| vec![format!("Cannot draw the link: {error}")])?;
    }
    Ok((true, text))
}

fn words(Made { room, role, until, studio, check, .. }: &Made, ttl: Duration) -> String {
    let ttl = format_duration(ttl);
    format!(
        "Invite into {room} as {role}, for {ttl}, until {until}\n\
         \n\
         Studio: {studio}\n\
         Check:  {check}\n\
         \n\
         Whoever has a link can use it, again and again, until then. Pass on and keep the link itself, as it is\n\
         here: what the browser's address bar shows later has no token any more.\n"
    )
}

fn as_json(object: &impl Serialize) -> String {
    let json = serde_json::to_string(object);
    json.expect("plain data can be written as JSON") + "\n"
}

/// Where the manifest says that the station is.
fn station_address(
    Manifest { signaling, place, .. }: Manifest,
    notes: &mut Vec<String>,
) -> Result<Address, Vec<String>> {
    #[derive(Deserialize)]
    struct Signaling {
        url: String,
    }
    if let Place::Sample(path) = place {
        notes.push(format!(
            "There is no {}, so the links lead to this machine only: write one, or give --url https://HOST/",
            path.display()
        ));
    }
    let signaling: Signaling = serde_json::from_str(signaling.get())
        .map_err(|error| vec![format!("The station manifest's signaling has no url: {error}")])?;
    Address::of_websocket(&signaling.url).map_err(|why| vec![why])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_its_bounds() {
        for (text, seconds) in [
            ("1m", 60),
            ("60s", 60),
            ("90m", 5400),
            ("12h", 43_200),
            ("1h 30m", 5400),
            ("7d", 604_800),
        ] {
            assert_eq!(ttl(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(ttl("365d"), Ok(MOST));
        for bad in ["59s", "59s 999ms", "365d 1s", "365d 1ms", "0s", "", "12", "-1h", "1 fortnight"]
        {
            let why = ttl(bad).unwrap_err();
            let expected = format!("Invalid --ttl {bad:?}: must be a time such as ");
            assert!(why.starts_with(&expected) && why.ends_with("from 1m to 365d"), "{why}");
        }
    }
}
