//! Clients in the state that crosses, one behind the other.
//!
//! Owns how each is written when its session gives it back, and how it is found again: none has to wait for the others. It
//! deliberately does not know their sockets, which are in the same order.

use serde::Deserialize;

use crate::server::session::carried::CarriedClient;
use crate::wire::carried::Bytes;
use crate::wire::ids::ClientId;

/// What stands before each: its length in bytes, and the client's number.
const LENGTH: usize = size_of::<u32>();
const NUMBER: usize = size_of::<u64>();

/// Clients that were given back.
#[derive(Debug, Default)]
pub struct Records(Vec<u8>);

/// One of them, as it stands in the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'s> {
    /// Its number.
    pub client: ClientId,
    bytes: &'s [u8],
}

/// The little of a client that every version has.
#[derive(Deserialize)]
struct AnyClient {
    link: AnyLink,
}

#[derive(Deserialize)]
struct AnyLink {
    #[serde(default)]
    pending: Bytes,
}

impl Records {
    /// Puts a client behind the others.
    ///
    /// # Errors
    ///
    /// When it can't be written: it is left out.
    pub fn push(&mut self, client: &CarriedClient) -> Result<(), serde_json::Error> {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; LENGTH]);
        self.0.extend_from_slice(&client.client.0.to_le_bytes());
        if let Err(error) = serde_json::to_writer(&mut self.0, client) {
            self.0.truncate(start);
            return Err(error);
        }
        let length = (self.0.len() - start - LENGTH - NUMBER) as u32;
        self.0[start..start + LENGTH].copy_from_slice(&length.to_le_bytes());
        Ok(())
    }

    /// All, as they stand in the state.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// All in there, up to the first that is cut.
pub fn records(mut bytes: &[u8]) -> Vec<Record<'_>> {
    let mut records = Vec::new();
    while let Some((record, rest)) = split(bytes) {
        records.push(record);
        bytes = rest;
    }
    records
}

fn split(bytes: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let (length, bytes) = bytes.split_first_chunk()?;
    let (client, bytes) = bytes.split_first_chunk()?;
    let (bytes, rest) = bytes.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    Some((Record { client: ClientId(u64::from_le_bytes(*client)), bytes }, rest))
}

impl Record<'_> {
    /// The client; `None` where it makes no sense.
    pub fn read(&self) -> Option<CarriedClient> {
        serde_json::from_slice(self.bytes).ok()
    }

    /// What it has not taken, whichever version has written that.
    pub fn unsent(&self) -> Vec<u8> {
        let client = serde_json::from_slice::<AnyClient>(self.bytes);
        client.map_or_else(|_| Vec::new(), |client| client.link.pending.0)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde::Serialize;

    use super::*;

    #[derive(Serialize)]
    struct Other {
        new: &'static str,
        link: OtherLink,
    }

    #[derive(Serialize)]
    struct OtherLink {
        pending: Bytes,
        new: u8,
    }

    /// A client of another version that has not taken this.
    pub fn of_another_version(client: u64, unsent: &[u8]) -> Vec<u8> {
        let link = OtherLink { pending: Bytes(unsent.to_vec()), new: 1 };
        let bytes = serde_json::to_vec(&Other { new: "of another version", link }).unwrap();
        [&(bytes.len() as u32).to_le_bytes()[..], &client.to_le_bytes(), &bytes].concat()
    }

    #[test]
    fn each_is_found_and_what_it_has_not_taken() {
        let bytes = [of_another_version(7, b"abc"), of_another_version(3, b"")].concat();
        let found = records(&bytes);
        let found: Vec<_> = found.iter().map(|found| (found.client.0, found.unsent())).collect();
        assert_eq!(found, [(7, b"abc".to_vec()), (3, Vec::new())]);
        assert!(records(&bytes)[0].read().is_none());
    }

    #[test]
    fn one_that_is_cut_is_none() {
        let bytes = of_another_version(7, b"abc");
        for end in 0..bytes.len() {
            assert_eq!(records(&bytes[..end]), []);
        }
    }
}
