//! The task of a node: the connection to NATS, the clock, and those who ask.
//!
//! Owns when a connection is made again, and that the node hears of everything in one place. It deliberately does not know
//! what is said.

use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use crate::cluster::carried::CarriedNode;
use crate::cluster::entry::About;
use crate::cluster::handle::{Ask, Asks, Handle};
use crate::cluster::members::{LEASE, SILENCE};
use crate::cluster::nats::connection::{Connection, PATIENCE, Trouble};
use crate::cluster::nats::protocol::Message;
use crate::cluster::node::Node;
use crate::cluster::standing::Standing;
use crate::cluster::window::SILENT;
use crate::config::cluster::Cluster;
use crate::signaling::hub::Hub;
use crate::telemetry::journal::Journal;

/// How long to wait before the next server is tried, after each has been.
const PAUSE: Duration = Duration::from_millis(250);

/// How long a server may be silent before it is asked whether it lives, and then.
const QUIET: Duration = Duration::from_millis(1500);

// The others do not give a node up because its server hangs: it has written to another one before.
const _: () = assert!(
    LEASE.as_millis() + 2 * QUIET.as_millis() + PATIENCE.as_millis() + SILENT.as_millis()
        < SILENCE.as_millis()
);

/// How long the last entries may take.
const LAST: Duration = Duration::from_secs(2);

/// How long what has been asked may take when everything is handed over.
const HAND_OVER: Duration = Duration::from_millis(1500);

/// How many questions are taken at once, before others have their turn.
const MOST: usize = 256;

type Dialing = Pin<Box<dyn Future<Output = Result<Connection, Trouble>> + Send>>;

/// What the task runs on.
#[derive(Debug)]
pub struct Task {
    node: Node,
    asks: Asks,
    settings: Arc<Cluster>,
    standing: watch::Sender<Standing>,
    /// The server that was last tried.
    url: String,
}

/// Makes the server with this hub a node of the cluster. The task does nothing until it runs.
///
/// Where another process was a node before, it goes on with what that has left, packed at a moment.
pub fn join(
    settings: Cluster,
    about: About,
    hub: &Hub,
    journal: &Journal,
    rate_limit: Option<u32>,
    before: Option<(CarriedNode, Instant)>,
) -> (Task, watch::Receiver<Standing>) {
    let (handle, asks) = Handle::new();
    let parts = (hub.clone(), journal.clone(), handle.clone());
    let node = match before {
        Some((carried, packed)) => Node::resume(carried, about, parts, rate_limit, packed),
        None => {
            let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let now = (Instant::now(), unix.as_millis() as u64);
            Node::new(&settings.name, about, parts, rate_limit, now)
        }
    };
    hub.join(Arc::new(handle));
    node.open(&asks.shared, false, Instant::now());
    let (standing, shown) = watch::channel(node.standing(None));
    (Task { node, asks, settings: Arc::new(settings), standing, url: String::new() }, shown)
}

/// What happened.
enum Happened {
    Heard(Result<Option<Message>, Trouble>),
    Asked(Option<Ask>),
    Dialed(Result<Connection, Trouble>),
    Time,
    Stop(bool),
}

impl Task {
    /// Runs until `stop`, and tells the others then; or until everything is handed over, which `stop` says by true: then it
    /// is what goes on in the next process, once `quiet` says that nobody asks anything any longer.
    pub async fn run(
        mut self,
        stop: impl Future<Output = bool>,
        quiet: impl Fn() -> bool,
    ) -> Option<CarriedNode> {
        let mut stop = std::pin::pin!(stop);
        let (mut connection, mut dialing): (Option<Connection>, Option<Dialing>) = (None, None);
        let (mut server, mut next_dial) = (0, Instant::now());
        let (mut heard, mut asked) = (Instant::now(), false);
        let mut tick = Instant::now();
        let (mut is_ending, mut end) = (false, tick);
        loop {
            let now = Instant::now();
            if self.node.takes_new_connection() {
                connection = None;
            }
            if connection.is_none() && dialing.is_none() && now >= next_dial {
                let servers = &self.settings.servers;
                let url = servers[server % servers.len()].clone();
                server += 1;
                self.url = url.to_string();
                if server % servers.len() == 0 {
                    next_dial = now + PAUSE;
                }
                let name = format!("openstudio-signaling {}", self.node.name());
                dialing = Some(Box::pin(Connection::open(url, Arc::clone(&self.settings), name)));
            }
            let is_due = now >= tick;
            if is_due {
                self.node.tick(now);
                tick = now + self.node.pause();
                if connection.is_some() && now >= heard + QUIET {
                    if asked {
                        connection = None;
                        self.trouble(&Trouble::Unreachable("the server is silent".to_owned()));
                    } else if let Some(connection) = &mut connection {
                        connection.ping();
                        (asked, heard) = (true, now);
                    }
                }
            }
            self.speak(&mut connection);
            self.node.open(&self.asks.shared, connection.is_some(), now);
            if is_due {
                self.show(connection.as_ref(), now);
            }
            let wake =
                if connection.is_none() && dialing.is_none() { tick.min(next_dial) } else { tick };
            let happened = tokio::select! {
                biased;
                hands_over = &mut stop, if !is_ending => Happened::Stop(hands_over),
                heard = async { match &mut connection { Some(connection) => connection.next().await, None => pending().await } } => Happened::Heard(heard),
                ask = self.asks.next() => Happened::Asked(ask),
                dialed = async { match &mut dialing { Some(dialing) => dialing.await, None => pending().await } } => Happened::Dialed(dialed),
                () = sleep_until(wake) => Happened::Time,
            };
            let now = Instant::now();
            match happened {
                Happened::Heard(Ok(message)) => {
                    (heard, asked) = (now, false);
                    if let Some(message) = message {
                        self.node.hear(&message, now);
                    }
                }
                Happened::Heard(Err(trouble)) => {
                    connection = None;
                    self.trouble(&trouble);
                }
                Happened::Asked(Some(ask)) => self.node.ask(ask, now),
                Happened::Asked(None) => return None,
                Happened::Dialed(dialed) => {
                    dialing = None;
                    match dialed {
                        Ok(mut made) => {
                            for (number, subject) in (1..).zip(self.node.subjects()) {
                                made.subscribe(&subject, number);
                            }
                            connection = Some(made);
                            (heard, asked, next_dial) = (now, false, now + PAUSE);
                            self.node.reached();
                            self.node.connected(now);
                            tick = now;
                        }
                        Err(trouble) => self.trouble(&trouble),
                    }
                }
                Happened::Time => {}
                Happened::Stop(false) => {
                    self.end(connection).await;
                    return None;
                }
                Happened::Stop(true) => (is_ending, end) = (true, now + HAND_OVER),
            }
            // However much comes from others.
            for _ in 0..MOST {
                let Some(ask) = self.asks.try_next() else { break };
                self.node.ask(ask, now);
            }
            if is_ending {
                tick = tick.min(now + PAUSE / 50);
                if now + HAND_OVER / 2 >= end {
                    // Sessions that wait for their turn hear that it does not come in time.
                    self.node.give_up(now);
                }
                let is_done = quiet() && self.asks.is_empty() && self.node.is_done();
                if is_done || now >= end {
                    self.speak(&mut connection);
                    if let Some(connection) = &mut connection {
                        let _ = timeout(HAND_OVER, connection.flush()).await;
                    }
                    return self.node.carry(now);
                }
            }
        }
    }

    /// Says what the node says.
    fn speak(&mut self, connection: &mut Option<Connection>) {
        // Without a connection it is said again by the next one.
        let said = self.node.take_out();
        if let Some(connection) = connection {
            said.iter().for_each(|publish| connection.publish(publish));
        }
    }

    fn trouble(&mut self, trouble: &Trouble) {
        self.node.fails(format!("{}: {trouble}", self.url), trouble.fix());
    }

    /// Shows how the node stands, and logs it where that has changed.
    fn show(&mut self, connection: Option<&Connection>, now: Instant) {
        let server = connection.map(|connection| connection.info.server_name.as_str());
        let standing = self.node.standing(server);
        self.standing.send_if_modified(|shown| {
            let changes = *shown != standing;
            *shown = standing;
            changes
        });
        self.node.log_touch(now);
    }

    /// The last entry, when all others of this node are made.
    async fn end(mut self, mut connection: Option<Connection>) {
        let Some(connection) = &mut connection else { return };
        let end = Instant::now() + LAST;
        // Sessions that end have something to say still.
        while let Some(ask) = self.asks.try_next() {
            self.node.ask(ask, Instant::now());
        }
        self.node.leave(Instant::now());
        loop {
            for publish in self.node.take_out() {
                connection.publish(&publish);
            }
            if self.node.is_done() || Instant::now() >= end {
                break;
            }
            match timeout(PAUSE / 5, connection.next()).await {
                Ok(Ok(Some(message))) => self.node.hear(&message, Instant::now()),
                Ok(Ok(None)) => {}
                Ok(Err(_)) => return,
                Err(_) => self.node.tick(Instant::now()),
            }
        }
        let _ = timeout(LAST, connection.flush()).await;
    }
}
