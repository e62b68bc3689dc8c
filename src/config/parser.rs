//! Texts of settings to values.
//!
//! Owns how a value is read and what is wrong with it. It deliberately does not know what a value is for.

use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;

use crate::config::origin::{HIDDEN, Invalid, Origin};
use crate::config::settings::Settings;
use crate::config::table::Allowed;

/// Parses values and collects what is wrong with them.
pub struct Parser<'a> {
    /// The texts.
    pub settings: &'a Settings,
    /// What is wrong with those that were read.
    pub errors: Vec<Invalid>,
}

impl Parser<'_> {
    /// Whether somebody set it.
    pub fn is_set(&self, name: &str) -> bool {
        *self.settings.origin(name) != Origin::Default
    }

    /// A whole number within the bounds that the table has; the least where it is not one.
    pub fn number<T: TryFrom<u64>>(&mut self, name: &str) -> T {
        let bounds = self.settings.get(name).0.allowed.bounds();
        let (least, most) = bounds.expect("only numbers of the table are read as numbers");
        let number: Option<u64> = self.parse(name);
        let number = number.filter(|number| (least..=most).contains(number)).unwrap_or_else(|| {
            self.refuse(name);
            least
        });
        T::try_from(number).ok().expect("the table's bounds fit the type")
    }

    /// A limit, or `None` for 0.
    pub fn limit(&mut self, name: &str) -> Option<u32> {
        Some(self.number(name)).filter(|limit| *limit > 0)
    }

    /// A time in ms.
    pub fn time(&mut self, name: &str) -> Duration {
        Duration::from_millis(self.number(name))
    }

    /// One of the words that the table has; the first where it is another.
    pub fn word(&mut self, name: &str) -> &'static str {
        let (setting, value, _) = self.settings.get(name);
        let Allowed::OneOf(words) = setting.allowed else {
            unreachable!("only words of the table are read as words");
        };
        words.iter().find(|word| **word == value.as_str()).copied().unwrap_or_else(|| {
            self.refuse(name);
            words[0]
        })
    }

    /// What `parse` makes of each part between commas, or `None` where nobody set it.
    pub fn list<T>(&mut self, name: &str, parse: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
        if !self.is_set(name) {
            return None;
        }
        let parts = self.settings.get(name).1.split(',').map(str::trim);
        let values: Option<Vec<T>> = parts.filter(|part| !part.is_empty()).map(parse).collect();
        let values = values.filter(|values| !values.is_empty());
        if values.is_none() {
            self.refuse(name);
        }
        values
    }

    /// A value that somebody set, or `None`.
    pub fn set<T: FromStr>(&mut self, name: &str) -> Option<T> {
        if !self.is_set(name) {
            return None;
        }
        let value = self.parse(name);
        if value.is_none() {
            self.refuse(name);
        }
        value
    }

    /// What the text is, if it is one.
    pub fn parse<T: FromStr>(&self, name: &str) -> Option<T> {
        self.settings.get(name).1.parse().ok()
    }

    /// Notes that the value is invalid.
    pub fn refuse(&mut self, name: &str) {
        let (setting, value, origin) = self.settings.get(name);
        let value = if setting.is_secret() { HIDDEN } else { value };
        self.errors.push(Invalid(format!(
            "Invalid setting {name}={value:?} (from {origin}): must be {}",
            setting.allowed
        )));
    }
}

/// A network, or an address as the network of one.
pub fn network(text: &str) -> Option<IpNet> {
    let network: Option<IpNet> = text.parse().ok();
    let network = network.or_else(|| text.parse().ok().map(|ip: IpAddr| IpNet::from(ip)))?;
    // An IPv4-mapped IPv6 address is its IPv4 address everywhere.
    match network.addr().to_canonical() {
        IpAddr::V4(address) if network.addr().is_ipv6() => {
            IpNet::new(address.into(), network.prefix_len().checked_sub(96)?).ok()
        }
        _ => Some(network),
    }
}
