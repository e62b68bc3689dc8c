//! What sessions ask of the node, and how it gets there.
//!
//! Owns the queue and its bound. It deliberately does not know what becomes of a question.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use crate::cluster::links::Sender;
use crate::signaling::budget::ClientBudget;
use crate::signaling::command::Outcome;
use crate::signaling::outbox::{Outbox, RoomNumber};
use crate::signaling::registry::parting::Moved;
use crate::signaling::sequencer::{Proposal, Relay, Sequencer, Unavailable};
use crate::wire::ids::{ClientId, Holder, NodeId, PeerId};
use crate::wire::request::MessageType;

/// How many questions may wait; each session has one at most, and the clients that go.
const MOST: usize = 200_000;

/// How long an earlier connection may take to handle what had come, and how long what others say to it still goes on to
/// where its client is now.
const YIELD: Duration = Duration::from_secs(3);
const LATE: Duration = Duration::from_secs(10);

/// How much of what waited is sent at once, in bytes.
const PIECE: usize = 256 * 1024;

/// A message for a peer on another node.
#[derive(Debug)]
pub struct Outgoing {
    /// Its type.
    pub kind: MessageType,
    /// Who hears where it does not arrive.
    pub sender: Sender,
    /// The room in which both are.
    pub room: Option<RoomNumber>,
    /// It.
    pub text: String,
}

/// What waited for a client that is on another node now.
#[derive(Debug)]
pub struct Rest {
    /// Its id.
    pub peer: PeerId,
    /// Where it is now.
    pub to: Holder,
    /// Whole frames.
    pub frames: Vec<u8>,
    /// Whether that was not all.
    pub more: bool,
    /// Whether it came too late to come first.
    pub late: bool,
    /// What it may still send.
    pub budget: Option<ClientBudget>,
}

/// What is asked of the node.
#[derive(Debug)]
pub enum Ask {
    /// A change.
    Propose(Proposal),
    /// A message.
    Relay(NodeId, Outgoing),
    /// Whether a client lives.
    Challenge(PeerId, Holder, oneshot::Sender<()>),
    /// A client of this node lives, which another node has asked.
    Lives(NodeId, u64),
    /// It has not answered.
    Silent(NodeId, u64),
    /// What waited for a client.
    Rest(Rest),
    /// What is to come for a client of this node from the node where it was.
    Await(PeerId, ClientId, oneshot::Sender<ClientBudget>),
}

/// The way to the node.
#[derive(Clone, Debug)]
pub struct Handle {
    asks: mpsc::UnboundedSender<Ask>,
    shared: Arc<Shared>,
}

/// What the node says to those who ask.
#[derive(Debug, Default)]
pub struct Shared {
    /// How many questions wait.
    waiting: AtomicUsize,
    /// Whether changes are taken.
    pub takes_changes: AtomicBool,
    /// Whether messages for other nodes are taken.
    pub takes_relays: AtomicBool,
}

/// The node's end.
#[derive(Debug)]
pub struct Asks {
    asks: mpsc::UnboundedReceiver<Ask>,
    /// See [`Shared`].
    pub shared: Arc<Shared>,
}

impl Asks {
    /// The next question.
    pub async fn next(&mut self) -> Option<Ask> {
        let ask = self.asks.recv().await;
        self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
        ask
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.asks.is_empty()
    }

    /// The next question, if one waits.
    pub fn try_next(&mut self) -> Option<Ask> {
        let ask = self.asks.try_recv().ok()?;
        self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
        Some(ask)
    }
}

impl Handle {
    /// A way, and the node's end of it.
    pub fn new() -> (Self, Asks) {
        let (sender, asks) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared::default());
        (Self { asks: sender, shared: Arc::clone(&shared) }, Asks { asks, shared })
    }

    /// Asks something.
    ///
    /// # Errors
    ///
    /// When too much waits.
    pub fn ask(&self, ask: Ask) -> Result<(), Unavailable> {
        if self.shared.waiting.fetch_add(1, Ordering::Relaxed) >= MOST {
            self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(Unavailable);
        }
        self.asks.send(ask).map_err(|_| Unavailable)
    }
}

impl Sequencer for Handle {
    fn takes_changes(&self) -> bool {
        self.shared.takes_changes.load(Ordering::Relaxed)
    }

    fn propose(&self, proposal: Proposal) -> Result<(), Unavailable> {
        // Nobody becomes a ghost because the others are away.
        if !proposal.command.is_end() && !self.takes_changes() {
            return Err(Unavailable);
        }
        self.ask(Ask::Propose(proposal))
    }

    fn relay(&self, node: NodeId, relay: Relay<'_>) -> Result<(), Unavailable> {
        if !self.shared.takes_relays.load(Ordering::Relaxed) {
            return Err(Unavailable);
        }
        let Relay { kind, from, client, to, room, text, request_id } = relay;
        let request_id = request_id.map(str::to_owned);
        let sender = Sender { client: client.client, from, to, request_id };
        self.ask(Ask::Relay(node, Outgoing { kind, sender, room, text: text.to_owned() }))
    }

    fn challenge(&self, peer: PeerId, holder: Holder) -> oneshot::Receiver<()> {
        let (answer, answered) = oneshot::channel();
        let _ = self.ask(Ask::Challenge(peer, holder, answer));
        answered
    }

    fn send_after(&self, moved: Moved) {
        // What is pushed to it from here on comes here, and goes on to the other node.
        let rest = moved.outbox.successor();
        tokio::spawn(send_rest(self.clone(), moved, rest));
    }

    fn await_sent(&self, peer: PeerId, to: Holder) -> oneshot::Receiver<ClientBudget> {
        let (rest, came) = oneshot::channel();
        let _ = self.ask(Ask::Await(peer, to.client, rest));
        came
    }
}

/// Sends what waits for a client to the node on which it is now, and for a while what others say to it here.
async fn send_rest(handle: Handle, moved: Moved, rest: Arc<Outbox>) {
    let Moved { outbox, peer, to, is_yielding } = moved;
    let mut budget = None;
    if is_yielding {
        budget = timeout(YIELD, outbox.ask_to_yield()).await.ok().and_then(Result::ok);
    }
    drop(outbox);
    let end = Instant::now() + LATE;
    let mut late = false;
    loop {
        let mut frames = Vec::new();
        // Where too much waits, the client misses it there as well as here.
        let Ok(taken) = rest.take(&mut frames, PIECE) else { return };
        if taken == 0 && late {
            let ready = std::future::poll_fn(|cx| rest.poll_ready(cx));
            if tokio::time::timeout_at(end, ready).await.is_err() {
                return;
            }
            continue;
        }
        let more = !late && frames.len() >= PIECE;
        let sent = Rest { peer, to, frames, more, late, budget: budget.take_if(|_| !more) };
        if handle.ask(Ask::Rest(sent)).is_err() {
            return;
        }
        late |= !more;
    }
}

/// Answers another node once a client of this one has shown that it lives.
pub async fn answer(
    handle: Handle,
    node: NodeId,
    number: u64,
    alive: oneshot::Receiver<()>,
    time: Duration,
) {
    let lives = matches!(timeout(time, alive).await, Ok(Ok(())));
    let _ = handle.ask(if lives { Ask::Lives(node, number) } else { Ask::Silent(node, number) });
}

/// What a change came to, to whoever waits for it.
pub fn tell(outcome: Outcome, waiting: Option<oneshot::Sender<Outcome>>) {
    if let Some(waiting) = waiting {
        // It may have gone.
        let _ = waiting.send(outcome);
    }
}
