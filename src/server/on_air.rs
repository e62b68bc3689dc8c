//! What feeds Icecast, and tells the one on air how it stands.
//!
//! Owns the connection to Icecast as long as there is one. It deliberately does not know what a programme is made of.

use std::future::pending;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::time::{Duration, Instant, sleep_until, timeout};

use crate::programme::dead_air::DEAD;
use crate::programme::dial::{WAY, Wire, dial, from_descriptor, into_descriptor};
use crate::programme::icecast::{About, Refusal};
use crate::programme::news::{News, Owner, Said};
use crate::programme::on_air::OnAir;
use crate::programme::opus::RATE;
use crate::server::agreement::Agreement;
use crate::server::shutdown::Phase;
use crate::server::state::State;
use crate::signaling::command::Command;
use crate::telemetry::events::Event;
use crate::wire::codes::ErrorCode;
use crate::wire::ids::PeerId;
use crate::wire::reply::ServerMessage;

/// How long Icecast has to take the end of a programme.
const LAST: Duration = Duration::from_secs(5);

/// A connection that is being made.
type Dialing = Pin<Box<dyn Future<Output = Result<Wire, Refusal>> + Send>>;

/// A connection that there is.
pub struct Source {
    reader: ReadHalf<Wire>,
    writer: WriteHalf<Wire>,
    /// What Icecast has not taken yet.
    pending: Vec<u8>,
}

/// What happened.
enum Happened {
    /// Something that [`OnAir`] knows of.
    Change,
    /// The connection was made, or was not.
    Dialed(Result<Wire, Refusal>),
    /// Icecast took so many bytes.
    Took(usize),
    /// The connection has ended.
    Ended(io::Error),
}

/// Feeds Icecast until the service stops, beginning with the connection of the process before where there is one.
pub async fn feed(state: Arc<State>, mut source: Option<Source>) {
    // Until then, what is carried is not all there.
    let _busy = state.collection.work();
    let on_air = &state.studio.on_air;
    let mut dialing: Option<Dialing> = None;
    let mut agreement = Agreement::default();
    loop {
        let again = agreement.look(&state, Instant::now());
        let work = on_air.air().work(Instant::now());
        if work.record {
            on_air.air().record(&about(&state));
        }
        on_air.record();
        tell(&state);
        on_air.publish();
        if work.end {
            let last = on_air.air().take_unsent();
            if let Some(mut source) = source.take() {
                source.pending.extend(last);
                // Nobody waits for it.
                state.shutdown.tasks.spawn(timeout(LAST, source.end()));
            }
        }
        if work.drop {
            source = None;
        }
        if let (true, Some(icecast)) = (work.connect, on_air.icecast()) {
            let (icecast, about) = (icecast.clone(), about(&state));
            dialing = Some(Box::pin(async move { dial(&icecast, &about, Path::new(WAY)).await }));
        }
        if let Some(source) = &mut source {
            if source.pending.is_empty() {
                source.pending = on_air.air().take_unsent();
            }
            if source.pending.is_empty() {
                on_air.air().moved(0, Instant::now());
            }
        }
        let happened = tokio::select! {
            () = state.shutdown.reached(Phase::HandingOver) => break,
            () = on_air.changed() => Happened::Change,
            () = until(work.next) => Happened::Change,
            () = until(again) => Happened::Change,
            result = async { match &mut dialing { Some(dialing) => dialing.await, None => pending().await } } => Happened::Dialed(result),
            happened = async { match &mut source { Some(source) => source.turn().await, None => pending().await } } => happened,
        };
        let now = Instant::now();
        match happened {
            Happened::Change => {}
            Happened::Dialed(result) => {
                dialing = None;
                match result {
                    Ok(wire) if on_air.air().on_air().is_some() => {
                        let (reader, writer) = split(wire);
                        source = Some(Source { reader, writer, pending: Vec::new() });
                        on_air.air().connected(
                            uuid::Uuid::new_v4().as_fields().0,
                            &about(&state),
                            now,
                        );
                    }
                    // The programme ended meanwhile.
                    Ok(_) => {}
                    Err(refusal) => on_air.air().break_off(refusal, now),
                }
            }
            Happened::Took(bytes) => {
                if let Some(source) = &mut source {
                    source.pending.drain(..bytes);
                }
                on_air.air().moved(bytes, now);
            }
            Happened::Ended(error) => {
                source = None;
                on_air.air().break_off(Refusal::Unreachable(error.to_string()), now);
            }
        }
    }
    if state.shutdown.phase() == Phase::HandingOver {
        // What was stopped in this moment ends here.
        let work = on_air.air().work(Instant::now());
        tell(&state);
        if let Some(mut source) = source.take_if(|_| work.end) {
            source.pending.extend(on_air.air().take_unsent());
            state.shutdown.tasks.spawn(timeout(LAST, source.end()));
        }
        if let Some((connection, unsent)) = source.and_then(Source::into_descriptor) {
            state.collection.give_source(connection, unsent);
        }
        return;
    }
    // Whoever is on air hears of the stop as every client does; listeners hear the programme to its end.
    let ended = on_air.air().on_air().map(|(owner, _)| owner.client);
    if let Some(client) = ended {
        on_air.stop(client, "the service stops");
        state.studio.hub.propose(Command::GoOffAir, None);
    }
    on_air.air().recording().close();
    on_air.record();
    tell(&state);
    if let Some(mut source) = source {
        source.pending.extend(on_air.air().take_unsent());
        let _ = timeout(LAST, source.end()).await;
    }
}

impl Source {
    /// The connection on a descriptor that was given here, which has not taken this.
    ///
    /// # Errors
    ///
    /// When it is none of a kind that is known.
    pub fn from_descriptor(descriptor: OwnedFd, pending: Vec<u8>) -> io::Result<Self> {
        let (reader, writer) = split(from_descriptor(descriptor)?);
        Ok(Self { reader, writer, pending })
    }

    /// Its descriptor, and what it has not taken.
    fn into_descriptor(self) -> Option<(OwnedFd, Vec<u8>)> {
        let Self { reader, writer, pending } = self;
        Some((into_descriptor(reader.unsplit(writer))?, pending))
    }

    /// Writes what is pending as far as Icecast takes it, and notices the end of the connection.
    async fn turn(&mut self) -> Happened {
        let mut buffer = [0; 512];
        let write = async {
            match self.pending.is_empty() {
                true => pending().await,
                false => self.writer.write(&self.pending).await,
            }
        };
        tokio::select! {
            wrote = write => match wrote {
                Ok(bytes) => Happened::Took(bytes),
                Err(error) => Happened::Ended(error),
            },
            read = self.reader.read(&mut buffer) => match read {
                Ok(0) => Happened::Ended(io::Error::other("it has closed the connection")),
                // The other half of its first answer.
                Ok(_) => Happened::Change,
                Err(error) => Happened::Ended(error),
            },
        }
    }

    /// Writes what is left, and ends the connection.
    async fn end(mut self) {
        // Where it can't be written any longer, nobody hears it.
        let _ = self.writer.write_all(&self.pending).await;
        let _ = self.writer.shutdown().await;
    }
}

/// What the station says of itself, by the manifest in force.
fn about(state: &State) -> About {
    let station = state.studio.manifest.now();
    About {
        name: station.name.clone(),
        description: station.about("description"),
        url: station.about("url"),
        genre: station.about("genre"),
    }
}

/// Resolves at that time, if ever.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

/// Tells the one on air what it is to hear, and the log.
fn tell(state: &State) {
    let on_air: &OnAir = &state.studio.on_air;
    let (said, news) = on_air.air().take_news();
    for (peer, said) in said {
        say(state, peer, &said);
    }
    for news in news {
        log(state, on_air, news);
    }
}

fn say(state: &State, peer: PeerId, said: &Said) {
    let failed;
    let message = match said {
        Said::Started => ServerMessage::StreamStarted { message: "Connected to Icecast server" },
        Said::Failed(why) => {
            failed = format!("Failed to connect to Icecast: {why}");
            ServerMessage::StreamError { message: &failed, request_id: None }
        }
        Said::Error(text) => {
            state.studio.metrics.refused(ErrorCode::OffAir);
            ServerMessage::Error { message: text, code: ErrorCode::OffAir, request_id: None }
        }
    };
    state.studio.hub.tell_peer(peer, &message);
}

fn log(state: &State, on_air: &OnAir, news: News) {
    let Some(icecast) = on_air.icecast() else { return };
    let url = icecast.url.to_string();
    let journal = &state.studio.journal;
    match news {
        News::Began(Owner { peer, client, room, .. }) => {
            journal.log(Event::OnAir { client_id: client, peer_id: peer, room_id: room, url })
        }
        News::Held(Owner { peer, client, room, .. }) => journal.log(Event::OnAirHeld {
            client_id: client,
            peer_id: peer,
            room_id: room,
            hold_ms: icecast.hold.as_millis() as u64,
        }),
        News::Ended(Owner { peer, client, .. }, reason, time, written) => {
            journal.log(Event::OffAir {
                client_id: client,
                peer_id: peer,
                reason,
                seconds: time.as_secs(),
                silence_seconds: written.silence / u64::from(RATE),
                dropped_seconds: written.dropped / u64::from(RATE),
            });
        }
        News::Dead(Owner { peer, client, room, .. }, silence) => {
            let (reason, fix) = silence.texts();
            journal.log(Event::DeadAir {
                client_id: client,
                peer_id: peer,
                room_id: room,
                seconds: DEAD.as_secs(),
                reason,
                fix,
            });
        }
        News::Alive(Owner { peer, client, room, .. }, after) => journal.log(Event::HeardAgain {
            client_id: client,
            peer_id: peer,
            room_id: room,
            seconds: after.as_secs(),
        }),
        News::Damaged(Owner { peer, client, .. }) => {
            journal.log(Event::PieceDamaged { client_id: client, peer_id: peer });
        }
        News::Dropped(Owner { peer, client, .. }, time) => journal.log(Event::AudioDropped {
            client_id: client,
            peer_id: peer,
            seconds: time.as_secs(),
        }),
        News::Taken => journal.log(Event::IcecastTaken { url }),
        News::Refused(refusal, retry) => {
            let (reason, fix) = (refusal.to_string(), refusal.fix());
            match retry {
                Some(_) => journal.log(Event::IcecastUnreachable { url, reason, fix }),
                None => journal.log(Event::IcecastRefused { url, reason, fix }),
            }
        }
    }
}
