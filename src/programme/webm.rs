//! Opus packets out of WebM (Matroska, RFC 9559; EBML, RFC 8794), as browsers record it, pushed in pieces of any size.
//!
//! Owns what is read, what is skipped, and where it goes on after damage. It deliberately keeps no time: packets say
//! how long they are. What it holds is one element at most.

use serde::{Deserialize, Serialize};

use crate::wire::carried::buffer;

/// The longest block, in bytes, and the longest other element that is read.
pub(super) const MOST_BLOCK: u64 = 8192;
pub(super) const MOST_FIELD: u64 = 256;

/// The longest element that is skipped, in bytes: no browser records one behind the header.
pub(super) const MOST_SKIPPED: u64 = 1024 * 1024;

/// How much may come before the first Cluster, in bytes.
pub(super) const MOST_HEADER: u64 = 64 * 1024;

/// Ids (RFC 9559 section 5.1), which are unique: so masters are entered without a look at where they end.
pub(super) mod id {
    pub const EBML: u64 = 0x1A45_DFA3;
    pub const DOC_TYPE: u64 = 0x4282;
    pub const SEGMENT: u64 = 0x1853_8067;
    pub const INFO: u64 = 0x1549_A966;
    pub const TRACKS: u64 = 0x1654_AE6B;
    pub const TRACK_ENTRY: u64 = 0xAE;
    pub const AUDIO: u64 = 0xE1;
    pub const TRACK_NUMBER: u64 = 0xD7;
    pub const CODEC_ID: u64 = 0x86;
    pub const CONTENT_ENCODINGS: u64 = 0x6D80;
    pub const CLUSTER: u64 = 0x1F43_B675;
    pub const BLOCK_GROUP: u64 = 0xA0;
    pub const BLOCK: u64 = 0xA1;
    pub const SIMPLE_BLOCK: u64 = 0xA3;
}

/// Why what came can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// It is no WebM, or not any longer.
    NotWebm,
    /// An element is larger than any that is read.
    TooLarge,
    /// There is no Opus in it, or in a form that no browser records.
    NotOpus,
}

/// What to do with the bytes in front.
enum Step {
    /// So many are done with, which may be more than there are.
    Done(u64),
    /// There are not enough to say.
    More,
}

/// Where the reader is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Place {
    /// Before a recording, or behind damage: it looks for the start of a recording, or of a Cluster where it knows the
    /// track.
    #[default]
    Lost,
    /// Before the first Cluster, of which so many bytes have come.
    Header(u64),
    /// Among blocks.
    Cluster,
}

/// A track whose entry is being read.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Entry {
    number: u64,
    is_opus: bool,
    is_encoded: bool,
}

/// Reads one recording after another.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Reader {
    place: Place,
    /// The beginning of an element, or, when lost, the last bytes in which an id may begin.
    #[serde(with = "buffer")]
    pub(super) held: Vec<u8>,
    /// How much of what is not read is yet to come.
    pub(super) skip: u64,
    entry: Option<Entry>,
    track: Option<u64>,
}

impl Reader {
    /// Reads what came, and gives each packet to `out`. After damage it goes on with the rest.
    ///
    /// # Errors
    ///
    /// The last damage that was found.
    pub fn push(&mut self, bytes: &[u8], out: &mut impl FnMut(&[u8])) -> Result<(), Damage> {
        let mut input = bytes;
        if self.skip > 0 {
            let skipped = self.skip.min(input.len() as u64);
            self.skip -= skipped;
            input = &input[skipped as usize..];
        }
        let held = std::mem::take(&mut self.held);
        if held.is_empty() {
            return self.read(input, out);
        }
        let all = [&held, input].concat();
        self.read(&all, out)
    }

    /// How much of an element that is not whole it holds, in bytes.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// A piece is missing: it goes on with the next Cluster, or with the next recording.
    pub fn lose(&mut self) {
        self.place = Place::Lost;
        self.held.clear();
        self.skip = 0;
        self.entry = None;
    }

    fn read(&mut self, mut input: &[u8], out: &mut impl FnMut(&[u8])) -> Result<(), Damage> {
        let mut result = Ok(());
        while !input.is_empty() {
            let step =
                if self.place == Place::Lost { self.find(input) } else { self.element(input, out) };
            match step {
                Ok(Step::Done(done)) => {
                    let there = done.min(input.len() as u64);
                    self.skip = done - there;
                    input = &input[there as usize..];
                }
                Ok(Step::More) => {
                    self.held = input.to_vec();
                    break;
                }
                Err(damage) => {
                    result = Err(damage);
                    self.lose();
                    // What was no element may hold the start of one.
                    input = &input[1..];
                }
            }
        }
        result
    }

    /// Goes to where it can be read on.
    fn find(&mut self, input: &[u8]) -> Result<Step, Damage> {
        let is_start = |bytes: &[u8]| {
            let found = u64::from(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
            found == id::EBML || (found == id::CLUSTER && self.track.is_some())
        };
        match input.windows(4).position(is_start) {
            Some(at) => {
                let is_cluster = input[at] == (id::CLUSTER >> 24) as u8;
                self.place = if is_cluster { Place::Cluster } else { Place::Header(0) };
                Ok(Step::Done(at as u64))
            }
            None if input.len() > 3 => Ok(Step::Done(input.len() as u64 - 3)),
            None => Ok(Step::More),
        }
    }

    fn element(&mut self, input: &[u8], out: &mut impl FnMut(&[u8])) -> Result<Step, Damage> {
        let Some((id, id_length)) = id_of(input)? else { return Ok(Step::More) };
        let Some((size, size_length)) = size_of(&input[id_length..])? else {
            return Ok(Step::More);
        };
        let head = id_length + size_length;
        let is_master = match id {
            id::EBML => {
                *self = Self { place: Place::Header(0), ..Self::default() };
                true
            }
            id::SEGMENT | id::INFO | id::TRACKS | id::AUDIO | id::BLOCK_GROUP => true,
            id::TRACK_ENTRY => {
                self.end_entry()?;
                self.entry = Some(Entry::default());
                true
            }
            id::CLUSTER => {
                self.end_entry()?;
                self.track.ok_or(Damage::NotOpus)?;
                self.place = Place::Cluster;
                true
            }
            _ => false,
        };
        if is_master {
            self.count(head as u64)?;
            return Ok(Step::Done(head as u64));
        }
        let size = size.ok_or(Damage::NotWebm)?;
        let whole = size.checked_add(head as u64).ok_or(Damage::TooLarge)?;
        let most = match id {
            id::BLOCK | id::SIMPLE_BLOCK if self.place == Place::Cluster => MOST_BLOCK,
            id::BLOCK | id::SIMPLE_BLOCK => return Err(Damage::NotWebm),
            id::DOC_TYPE | id::TRACK_NUMBER | id::CODEC_ID => MOST_FIELD,
            _ => {
                if let (id::CONTENT_ENCODINGS, Some(entry)) = (id, &mut self.entry) {
                    entry.is_encoded = true;
                }
                self.count(whole)?;
                if size > MOST_SKIPPED {
                    return Err(Damage::TooLarge);
                }
                return Ok(Step::Done(whole));
            }
        };
        if size > most {
            return Err(Damage::TooLarge);
        }
        let Some(body) = input.get(head..whole as usize) else { return Ok(Step::More) };
        self.count(whole)?;
        match (id, &mut self.entry) {
            (id::DOC_TYPE, _) if body != b"webm" && body != b"matroska" => {
                return Err(Damage::NotWebm);
            }
            (id::TRACK_NUMBER, Some(entry)) => entry.number = number(body),
            (id::CODEC_ID, Some(entry)) => entry.is_opus = body == b"A_OPUS",
            (id::BLOCK | id::SIMPLE_BLOCK, _) => self.block(body, out)?,
            _ => {}
        }
        Ok(Step::Done(whole))
    }

    /// Counts what comes before the first Cluster.
    fn count(&mut self, bytes: u64) -> Result<(), Damage> {
        if let Place::Header(before) = &mut self.place {
            *before = before.saturating_add(bytes);
            if *before > MOST_HEADER {
                return Err(Damage::TooLarge);
            }
        }
        Ok(())
    }

    /// The entry of a track is over: the first one with Opus is the programme.
    fn end_entry(&mut self) -> Result<(), Damage> {
        let Some(entry) = self.entry.take() else { return Ok(()) };
        if entry.is_opus && self.track.is_none() {
            if entry.is_encoded {
                return Err(Damage::NotOpus);
            }
            self.track = Some(entry.number);
        }
        Ok(())
    }

    /// RFC 9559 section 10.1 and 10.2: the track, two bytes of time, flags, and without lacing one frame.
    fn block(&self, body: &[u8], out: &mut impl FnMut(&[u8])) -> Result<(), Damage> {
        const LACING: u8 = 0x06;
        let (track, length) = size_of(body)?.ok_or(Damage::NotWebm)?;
        if track != self.track {
            return Ok(());
        }
        let [_, _, flags, packet @ ..] = &body[length..] else { return Err(Damage::NotWebm) };
        if flags & LACING != 0 {
            return Err(Damage::NotOpus);
        }
        out(packet);
        Ok(())
    }
}

/// An id of up to 4 bytes, with its marker, and its length (RFC 8794 section 5); `None` where bytes are missing.
fn id_of(bytes: &[u8]) -> Result<Option<(u64, usize)>, Damage> {
    let Some(first) = bytes.first() else { return Ok(None) };
    let length = first.leading_zeros() as usize + 1;
    if length > 4 {
        return Err(Damage::NotWebm);
    }
    Ok(bytes.get(..length).map(|id| (number(id), length)))
}

/// A size or another number with a marker (RFC 8794 section 4), and its length; the inner `None` is an unknown size.
fn size_of(bytes: &[u8]) -> Result<Option<(Option<u64>, usize)>, Damage> {
    let Some(first) = bytes.first() else { return Ok(None) };
    let length = first.leading_zeros() as usize + 1;
    if length > 8 {
        return Err(Damage::NotWebm);
    }
    let Some(bytes) = bytes.get(..length) else { return Ok(None) };
    let all_ones = (1_u64 << (7 * length)) - 1;
    let value = number(bytes) & all_ones;
    Ok(Some((Some(value).filter(|value| *value != all_ones), length)))
}

/// An unsigned number, of which at most 8 bytes count.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}
