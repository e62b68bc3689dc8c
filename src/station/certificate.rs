//! What a certificate says of itself: its names, its time, and what browsers refuse it for.
//!
//! Owns the words for that. It deliberately does not know whether anybody trusts the certificate.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use x509_cert::TbsCertificate;
use x509_cert::der::Decode;
use x509_cert::der::oid::db::{rfc5280::ID_KP_SERVER_AUTH, rfc8410::ID_ED_25519};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, SubjectAltName};

use crate::telemetry::counted::counted;
use crate::wire::text::quoted;

/// How long before its end a certificate is worth a warning. Whoever renews by themselves does so 30 days
/// before the end at the latest, so something has been failing for a while by then.
pub const SOON: Duration = Duration::from_secs(14 * DAY);

/// In seconds.
const DAY: u64 = 24 * 3600;

/// The last second of the year 9999, which is what a certificate without an end says (RFC 5280 section 4.1.2.5).
const NEVER: u64 = 253_402_300_799;

/// What helps where a certificate ends, or has ended.
pub const RENEW: &str = "renew it, or find out why it is not renewed by itself (`systemctl list-timers` shows certbot's timer)";

/// What helps where a certificate has not begun.
pub const WAIT: &str = "set the clock of this machine (`timedatectl` shows it), or wait";

/// Why browsers refuse a certificate without a host's name. None of them looks at the common name any more.
const NAMELESS: Flaw = Flaw {
    problem: "has no subjectAltName with a host in it: browsers refuse it under every name",
    fix: "have it issued with the names that browsers use; `openssl req -x509` takes `-addext subjectAltName=DNS:NAME`",
};

/// Names are ASCII in a certificate (RFC 5280 section 7.2).
const GARBLED: Flaw = Flaw {
    problem: "has a subjectAltName that is not readable: browsers refuse it",
    fix: "have it issued with names in ASCII (a name with other letters begins with xn--)",
};

/// Firefox refuses an authority's certificate as a server's. Chromium does not, where that very certificate is trusted.
pub const AUTHORITY: Flaw = Flaw {
    problem: "is an authority's (CA:TRUE), as `openssl req -x509` makes them: Firefox refuses it as a server's",
    fix: "get one from an authority; or make it with `-addext basicConstraints=critical,CA:FALSE`",
};

/// Browsers look at the purpose (RFC 5280 section 4.2.1.12).
pub const NOT_FOR_SERVERS: Flaw = Flaw {
    problem: "is not for servers (its extendedKeyUsage has no serverAuth): browsers refuse it",
    fix: "have it issued with serverAuth; `openssl req -x509` takes `-addext extendedKeyUsage=serverAuth`",
};

/// None of them offers ed25519 among its signature algorithms (RFC 8446 section 4.2.3).
const ED25519: Flaw = Flaw {
    problem: "has an Ed25519 key: Chrome, Firefox and Safari refuse it",
    fix: "make a new key with P-256, and have a certificate issued for it",
};

/// The contents of a certificate; whether it is trusted is not checked. The certificates above it in the chain are not
/// read: an expired one does no harm where browsers know another chain.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The names that it is for, with commas between them.
    pub names: String,
    /// Its first and last second, since 1970.
    begin: Duration,
    end: Duration,
    /// What browsers refuse it for, whatever the time.
    pub flaws: Vec<Flaw>,
}

/// What browsers refuse a certificate for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// What there is to say of the certificate.
    pub problem: &'static str,
    /// What to do.
    pub fix: &'static str,
}

/// What is wrong with a certificate's time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untimely {
    /// Days that it is valid still; below 0 where it has expired.
    pub days: i64,
    /// What there is to say of the certificate.
    pub problem: String,
    /// What to do.
    pub fix: String,
}

impl Certificate {
    /// Reads a certificate, or gives `None` where it is none.
    pub fn read(certificate: &CertificateDer<'_>) -> Option<Self> {
        let certificate = x509_cert::Certificate::from_der(certificate).ok()?.tbs_certificate;
        let validity = certificate.validity;
        let is_host = |name: &GeneralName| {
            matches!(name, GeneralName::DnsName(_) | GeneralName::IpAddress(_))
        };
        let (names, nameless) = match certificate.get::<SubjectAltName>() {
            Ok(alternatives) => {
                let alternatives = alternatives.map(|(_, names)| names.0).unwrap_or_default();
                let nameless = (!alternatives.iter().any(is_host)).then_some(NAMELESS);
                (names(&alternatives.iter().filter_map(name).collect::<Vec<_>>()), nameless)
            }
            Err(_) => ("names that are not readable".into(), Some(GARBLED)),
        };
        let is_ed25519 = certificate.subject_public_key_info.algorithm.oid == ID_ED_25519;
        let ed25519 = is_ed25519.then_some(ED25519);
        Some(Self {
            names,
            begin: validity.not_before.to_unix_duration(),
            end: validity.not_after.to_unix_duration(),
            flaws: nameless.into_iter().chain(misuse(&certificate)).chain(ed25519).collect(),
        })
    }

    /// Its last second, since 1970; `None` where it has no end.
    pub fn end(&self) -> Option<Duration> {
        (self.end < Duration::from_secs(NEVER)).then_some(self.end)
    }

    /// The last day on which it is valid, as 2025-10-18.
    pub fn until(&self) -> String {
        date(self.end)
    }

    /// What is wrong with its time today, or will be soon.
    pub fn untimely(&self) -> Option<Untimely> {
        self.untimely_at(now())
    }

    fn untimely_at(&self, now: Duration) -> Option<Untimely> {
        let Self { begin, end, .. } = *self;
        let days = |from: Duration, to: Duration| (to.saturating_sub(from).as_secs() / DAY) as i64;
        let renew = || format!("{RENEW}, then `systemctl reload openstudio-signaling`");
        let (days, problem, fix) = if end < now {
            // The day that has begun counts, so that 0 is never behind the end.
            let ago = days(end, now) + 1;
            (-ago, format!("has expired on {}: browsers refuse it", date(end)), renew())
        } else if now < begin {
            let problem = format!("is not valid before {}: browsers refuse it", date(begin));
            (days(now, end), problem, WAIT.into())
        } else if end < now + SOON {
            (days(now, end), remaining(end, now), renew())
        } else {
            return None;
        };
        Some(Untimely { days, problem, fix })
    }
}

/// What a certificate is for, where that is not a server: an authority's is for others.
fn misuse(certificate: &TbsCertificate) -> Option<Flaw> {
    let constraints = certificate.get::<BasicConstraints>().ok()?;
    if constraints.is_some_and(|(_, constraints)| constraints.ca) {
        return Some(AUTHORITY);
    }
    let (_, purposes) = certificate.get::<ExtendedKeyUsage>().ok()??;
    (!purposes.0.contains(&ID_KP_SERVER_AUTH)).then_some(NOT_FOR_SERVERS)
}

/// One of the names of a certificate, as a person writes it (RFC 5280 section 4.2.1.6).
fn name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) | GeneralName::Rfc822Name(name) => Some(name.to_string()),
        GeneralName::UniformResourceIdentifier(name) => Some(name.to_string()),
        GeneralName::IpAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(bytes.as_bytes()).map(IpAddr::from);
            let v6 = <[u8; 16]>::try_from(bytes.as_bytes()).map(IpAddr::from);
            v4.or(v6).ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

/// The names of a certificate, for a line.
pub fn names(names: &[String]) -> String {
    if names.is_empty() {
        return "no host at all (a subjectAltName is missing)".into();
    }
    names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")
}

/// How long a certificate is valid, behind its name.
pub fn remaining(end: Duration, now: Duration) -> String {
    let days = end.saturating_sub(now).as_secs() / DAY;
    format!("is valid for {}, until {}", counted(days, "day"), date(end))
}

/// The time since 1970.
pub fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The day of a time since 1970, as 2025-10-18.
pub fn date(since: Duration) -> String {
    let time = humantime::format_rfc3339_seconds(UNIX_EPOCH + since).to_string();
    time.split('T').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_certificate() {
        let presented = ["*.example.org", "192.0.2.7\n"].map(String::from);
        assert_eq!(names(&presented), "*.example.org, 192.0.2.7");
        assert!(names(&[]).starts_with("no host at all"));
    }

    #[test]
    fn the_last_day_is_a_day() {
        assert_eq!(date(Duration::from_secs(NEVER)), "9999-12-31");
        assert_eq!(date(Duration::ZERO), "1970-01-01");
    }

    #[test]
    fn a_certificate_is_untimely_before_after_and_shortly_before_its_end() {
        let day = |days: u64| Duration::from_secs(days * DAY);
        let certificate =
            Certificate { names: "a".into(), begin: day(100), end: day(200), flaws: Vec::new() };
        assert_eq!(certificate.until(), "1970-07-20");
        for (now, expected) in [
            (day(90), Some((110, "is not valid before 1970-04-11: browsers refuse it", WAIT))),
            (day(100), None),
            (day(186), None),
            (day(187), Some((13, "is valid for 13 days, until 1970-07-20", RENEW))),
            (day(199), Some((1, "is valid for 1 day, until 1970-07-20", RENEW))),
            (day(200), Some((0, "is valid for 0 days, until 1970-07-20", RENEW))),
            (
                day(200) + Duration::from_secs(1),
                Some((-1, "has expired on 1970-07-20: browsers refuse it", RENEW)),
            ),
            (day(202), Some((-3, "has expired on 1970-07-20: browsers refuse it", RENEW))),
        ] {
            let found = certificate.untimely_at(now);
            let found = found.as_ref().map(|Untimely { days, problem, fix }| {
                assert_eq!(fix != WAIT, fix.ends_with("`systemctl reload openstudio-signaling`"));
                (*days, problem.as_str(), if fix == WAIT { WAIT } else { RENEW })
            });
            assert_eq!(found, expected, "{now:?}");
        }
        let certificate = Certificate { end: Duration::from_secs(NEVER), ..certificate };
        assert_eq!(certificate.untimely_at(day(200)), None);
        assert!(Certificate::read(&CertificateDer::from(vec![0x30, 0])).is_none());
    }
}
