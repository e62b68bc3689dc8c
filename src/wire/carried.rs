//! Values on their way to the process that follows this one.
//!
//! Owns how moments and bytes are written in JSON. It deliberately does not know what they are of.

use std::cell::Cell;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::time::Instant;

/// A moment, in us from that in which everything is carried: instants are a process' own, in the tests at least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(i64);

impl Moment {
    /// `instant`, as it is at `now`.
    pub fn new(instant: Instant, now: Instant) -> Self {
        let later = instant.saturating_duration_since(now).as_micros() as i64;
        Self(later - now.saturating_duration_since(instant).as_micros() as i64)
    }

    /// The instant, where everything is taken at `now`.
    pub fn at(self, now: Instant) -> Instant {
        let time = Duration::from_micros(self.0.unsigned_abs());
        let then = if self.0 < 0 { now.checked_sub(time) } else { now.checked_add(time) };
        then.unwrap_or(now)
    }
}

/// Whether a field is what it is where it is not there: so it is left out.
pub fn is_default<T: Default + PartialEq>(field: &T) -> bool {
    *field == T::default()
}

thread_local! {
    /// The moment to which those of this thread are relative, while something is carried.
    static BASE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Does something in which moments are relative to `now`: what is written by [`moment`] is read by it in the end.
pub fn relative_to<T>(now: Instant, carry: impl FnOnce() -> T) -> T {
    let before = BASE.replace(Some(now));
    let result = carry();
    BASE.set(before);
    result
}

fn base() -> Instant {
    BASE.get().unwrap_or_else(Instant::now)
}

/// An instant, for `#[serde(with)]`.
pub mod moment {
    use super::*;

    /// Writes it as a [`Moment`].
    ///
    /// # Errors
    ///
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(instant: &Instant, serializer: S) -> Result<S::Ok, S::Error> {
        Moment::new(*instant, base()).serialize(serializer)
    }

    /// Reads it.
    ///
    /// # Errors
    ///
    /// Those of the deserializer.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Instant, D::Error> {
        Moment::deserialize(deserializer).map(|moment| moment.at(base()))
    }
}

/// The same where there may be none.
pub mod moments {
    use super::*;

    /// Writes it as a [`Moment`].
    ///
    /// # Errors
    ///
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(
        instant: &Option<Instant>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        instant.map(|instant| Moment::new(instant, base())).serialize(serializer)
    }

    /// Reads it.
    ///
    /// # Errors
    ///
    /// Those of the deserializer.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Instant>, D::Error> {
        let moment = Option::<Moment>::deserialize(deserializer)?;
        Ok(moment.map(|moment| moment.at(base())))
    }
}

/// A buffer, for `#[serde(with)]`.
pub mod buffer {
    use super::*;

    /// Writes it as [`Bytes`].
    ///
    /// # Errors
    ///
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    /// Reads it.
    ///
    /// # Errors
    ///
    /// Those of the deserializer.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        Bytes::deserialize(deserializer).map(|bytes| bytes.0)
    }
}

/// Bytes, in Base64.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl Bytes {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // In Base64 nothing is escaped.
        let text = <&str>::deserialize(deserializer)?;
        STANDARD.decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_as_far_away_as_before() {
        let now = Instant::now();
        let later = now + Duration::from_secs(100);
        for time in [0, 1, 1_000_000, 3_600_000_000] {
            let time = Duration::from_micros(time);
            assert_eq!(Moment::new(now + time, now).at(later), later + time);
            assert_eq!(Moment::new(now - time, now).at(later), later - time);
        }
    }

    #[test]
    fn bytes_are_what_they_were() {
        let bytes = Bytes((0..=255).collect());
        let text = serde_json::to_string(&bytes).unwrap();
        assert_eq!(serde_json::from_str::<Bytes>(&text).unwrap(), bytes);
        assert!(serde_json::from_str::<Bytes>(r#""!""#).is_err());
    }
}
