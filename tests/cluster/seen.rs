//! What clients have seen while nodes failed, and what of it must not be.
//!
//! Owns what is no fault of the nodes', as a fault was made there. It deliberately does not know how it was seen.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::support::Log;

/// How long a seat is kept at most, with the longest time for which a node stands still, and until the others notice.
const KEPT: Duration = Duration::from_secs(10 + 15 + 15);

/// How long after a fault what it has done may be seen still: the nodes give one up after 10 s.
const AFTER: Duration = Duration::from_secs(15);

/// Of how many things that clients did it is remembered who did them.
const NOTES: usize = 100_000;

/// From when to when a client surely had an id.
#[derive(Clone, Debug)]
pub struct Held {
    pub id: u64,
    pub node: usize,
    pub from: Instant,
    pub to: Instant,
}

/// When a node did not run, or not for sure: what its clients had then is not sure either.
struct Fault {
    node: usize,
    from: Instant,
    to: Instant,
}

/// What a client sees only where a node fails.
struct Odd {
    what: String,
    id: u64,
    nodes: [usize; 2],
    from: Instant,
    to: Instant,
}

/// What all clients have seen, and what was done to the nodes.
#[derive(Default)]
pub struct Seen {
    held: Mutex<Vec<Held>>,
    odd: Mutex<Vec<Odd>>,
    faults: Mutex<Vec<Fault>>,
    answers: Mutex<BTreeMap<String, usize>>,
    /// What was done under which id.
    notes: Mutex<VecDeque<(u64, String)>>,
    /// How many clients are in a room under an id, as far as they know. A node that does not answer may have lost them the
    /// id already, and their seats are kept.
    inside: Mutex<HashMap<(u64, String), usize>>,
    /// When a client was last in a room under an id, or may have been, and went without a word: its seat is kept.
    kept: Mutex<HashMap<(u64, String), Instant>>,
}

impl Seen {
    /// A fault is over.
    pub fn fault(&self, node: usize, from: Instant) {
        self.faults.lock().unwrap().push(Fault { node, from, to: Instant::now() });
    }

    /// A client had an id.
    pub fn held(&self, held: Held) {
        self.held.lock().unwrap().push(held);
    }

    /// A client got an answer of this kind.
    pub fn answer(&self, kind: &str) {
        *self.answers.lock().unwrap().entry(kind.to_owned()).or_default() += 1;
    }

    /// A client wants to enter a room under an id.
    pub fn enters(&self, id: u64, room: &str) {
        *self.inside.lock().unwrap().entry((id, room.to_owned())).or_default() += 1;
    }

    /// It knows that it is not there any longer, or that its seat may be kept.
    pub fn leaves(&self, id: u64, room: &str) {
        *self.inside.lock().unwrap().get_mut(&(id, room.to_owned())).unwrap() -= 1;
    }

    /// A seat may be kept under an id from now on.
    pub fn may_be_kept(&self, id: u64, room: &str) {
        self.kept.lock().unwrap().insert((id, room.to_owned()), Instant::now());
    }

    /// It is not kept any longer.
    pub fn is_back(&self, id: u64, room: &str) {
        self.kept.lock().unwrap().remove(&(id, room.to_owned()));
    }

    /// Whether a seat may be kept, in this room or in any, for another one than the client that has the id and
    /// [enters](Self::enters).
    pub fn is_kept(&self, id: u64, room: Option<&str>) -> bool {
        let (kept, inside) = (self.kept.lock().unwrap(), self.inside.lock().unwrap());
        let is_this = |held: u64, place: &str| held == id && room.is_none_or(|room| room == place);
        let mut seats = kept.iter().filter(|(_, since)| since.elapsed() < KEPT);
        let others = inside.iter().filter(|((held, place), _)| is_this(*held, place));
        seats.any(|((held, place), _)| is_this(*held, place))
            || others.map(|(_, count)| count).sum::<usize>() > 1
    }

    /// Something that needs a fault of one of these nodes, as it was seen from `from` until now.
    pub fn odd(&self, what: &str, id: u64, nodes: [usize; 2], from: Instant) {
        let what = what.to_owned();
        self.odd.lock().unwrap().push(Odd { what, id, nodes, from, to: Instant::now() });
    }

    /// A client did something under an id.
    pub fn note(&self, id: u64, what: &str) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let mut notes = self.notes.lock().unwrap();
        notes.push_back((id, format!("{:.3} {what}", since.as_secs_f64() % 3600.0)));
        if notes.len() > NOTES {
            notes.pop_front();
        }
    }

    /// Something that no fault explains.
    pub fn wrong(&self, what: &str, id: u64) {
        let notes = self.notes.lock().unwrap();
        let own = notes.iter().filter(|(noted, _)| *noted == id).map(|(_, note)| &**note);
        let own: Vec<_> = own.collect();
        self.odd(&format!("{what}\n{}\n", own.join("\n")), id, [usize::MAX; 2], Instant::now());
    }

    /// Whether anything was [wrong](Self::wrong).
    pub fn is_wrong(&self) -> bool {
        self.odd.lock().unwrap().iter().any(|odd| odd.nodes == [usize::MAX; 2])
    }

    /// No id was held twice at one time, and what is odd has a fault that explains it. How many answers there were.
    pub fn judge(&self, logs: &[Log]) -> usize {
        let faults = self.faults.lock().unwrap();
        let mut held = self.held.lock().unwrap().clone();
        let (all, answers) = (held.len(), self.answers.lock().unwrap());
        for one in &mut held {
            // A node that does not answer can't speak for its clients: these may be taken over.
            let own = faults.iter().filter(|fault| fault.node == one.node);
            if let Some(fault) = own
                .filter(|fault| fault.from < one.to && one.from < fault.to)
                .min_by_key(|fault| fault.from)
            {
                one.to = fault.from.max(one.from);
            }
        }
        // Who has an id may lose it to whom it belongs before it asks for anything.
        held.retain(|one| one.from < one.to);
        held.sort_by_key(|one| (one.id, one.from));
        let twice =
            held.windows(2).filter(|pair| pair[0].id == pair[1].id && pair[1].from < pair[0].to);
        let twice: Vec<_> = twice.collect();
        let odd = self.odd.lock().unwrap();
        let is_explained = |odd: &&Odd| {
            faults.iter().any(|fault| {
                odd.nodes.contains(&fault.node)
                    && fault.from < odd.to
                    && odd.from < fault.to + AFTER
            })
        };
        let (explained, unexplained): (Vec<_>, Vec<_>) = odd.iter().partition(is_explained);
        eprintln!(
            "{all} times an id was held, {} times something odd, {answers:?}",
            explained.len()
        );
        assert!(twice.is_empty(), "{twice:#?}");
        for Fault { node, from, to } in faults.iter() {
            eprintln!("node {node} failed from {:?} to {:?} ago", from.elapsed(), to.elapsed());
        }
        for Odd { what, id, nodes, from, to } in &unexplained {
            let id = self::id(*id);
            eprintln!(
                "{id} {what}, on {nodes:?}, from {:?} to {:?} ago",
                from.elapsed(),
                to.elapsed()
            );
            for log in logs {
                log.find("its lines", |lines| {
                    lines.iter().filter(|line| line.contains(&id)).for_each(|l| eprintln!("{l}"));
                    Some(())
                });
            }
        }
        assert!(unexplained.is_empty(), "no fault explains this");
        all
    }

    /// How often clients got this answer.
    pub fn answers(&self, kind: &str) -> usize {
        self.answers.lock().unwrap().get(kind).copied().unwrap_or_default()
    }
}

/// An id by its number.
pub fn id(number: u64) -> String {
    format!("f47ac10b-58cc-4372-a567-0e02b2c3{number:04x}")
}
