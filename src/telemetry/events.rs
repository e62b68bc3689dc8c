//! Every event that the service can log.
//!
//! Owns what an event is called, how grave it is, its fields and its words. It deliberately does not know
//! where events go.

use std::any::Any;
use std::net::{IpAddr, SocketAddr};

use crate::telemetry::counted::counted;
use crate::telemetry::event_table::{Kind, events, quota, tracing_level};
use crate::telemetry::level::Level;
use crate::telemetry::quota::Quota;
use crate::wire::codes::{CloseCode, ErrorCode};
use crate::wire::ids::{ClientId, PeerId, RoomId};
use crate::wire::role::Role;

events! {
    /// The service is up: what it is and where it answers.
    Started { version: &'static str, url: String, health_url: String, ready_url: String, check_url: String } Info "93d0010b8767493ca8d26ec3512885b0"
    "openstudio-signaling {version} started: WebSocket {url}, health {health_url}, readiness {ready_url}, check page {check_url}"
    /// A socket accepts connections.
    Listening { address: SocketAddr, source: &'static str } Info "8d14d8cb9ab24b1584dc8dbfaa33051a"
    "Listening on {address} ({source})"
    /// `PORT` or `HOST` is set, but systemd passed the socket.
    PortIgnored { setting: String, address: SocketAddr } Warn "7bf91ed335fd44bba5dc47f4970aeca7"
    "{setting} has no effect: systemd passed a socket that listens on {address}; to listen elsewhere write ListenStream= to /etc/systemd/system/openstudio-signaling.socket.d/port.conf (example: /usr/share/doc/openstudio-signaling/examples/port.conf)"
    /// The settings file has a name that no setting has.
    UnknownSetting { setting: String, origin: String, fix: String } Warn "d237809803454489b1e468005d72d64d"
    "Unknown setting {setting} in {origin} is ignored; {fix}"
    /// `MAX_OUTBOX_BYTES` can't hold one message of `MAX_MESSAGE_BYTES`.
    OutboxRaised { setting: String, other_setting: String, bytes: usize } Warn "3f7a153c2f8b4807aa2a9f6ad5b6a5ce"
    "{setting} cannot hold one message of {other_setting}: {bytes} bytes are used; set MAX_OUTBOX_BYTES to that at least, or lower MAX_MESSAGE_BYTES"
    /// A WebSocket client was accepted.
    ClientConnected { client_ip: IpAddr, client_id: ClientId } Info Few "9ce4dfcc2b9745a2a4d80bd063b9bfde"
    "WebSocket client connected: {client_ip} (client {client_id})"
    /// A client sent a type of message for the first time.
    FirstMessage { client_ip: IpAddr, client_id: ClientId, message_type: &'static str } Info Few "230d3a2909d44c03aba45063b9e0e652"
    "Received message: {message_type} (client {client_id}, {client_ip}; further ones at debug)"
    /// A client sent a message.
    Message { client_ip: IpAddr, client_id: ClientId, message_type: &'static str } Debug "25ef8b46a92340178a14b4e97386fb2c"
    "Received message: {message_type} (client {client_id}, {client_ip})"
    /// A client's message was refused for a reason that is new for this client.
    FirstRejected { client_ip: IpAddr, client_id: ClientId, error_code: ErrorCode, reason: String } Info One "262d1c6a66aa49818f00bfc42a15cd4a"
    "Rejected message: {reason} (client {client_id}, {client_ip}; further {error_code} ones at debug)"
    /// A client's message was refused.
    Rejected { client_ip: IpAddr, client_id: ClientId, error_code: ErrorCode, reason: String } Debug "bf13436e779749db993a01ea8394c4dd"
    "Rejected message: {reason} (client {client_id}, {client_ip}, {error_code})"
    /// A client took an id.
    Registered { client_ip: IpAddr, client_id: ClientId, peer_id: PeerId } Info Few "ac592088905546bfa3f092715aa45876"
    "Peer registered: {peer_id} (client {client_id}, {client_ip})"
    /// A page of another origin connects, and its browser can't prove who it is.
    OriginWithoutIdentity { client_ip: IpAddr, origin: String } Info One "3c1d9b7e8a5f4e2f9b6a0d4c7e1f2a38"
    "A page of {origin} at {client_ip} has no cookie here: a client that reconnects does not get its place back; if it is the studio's page, name it in ALLOWED_ORIGINS"

    /// A client took the id of another that did not answer.
    TakenOver { client_ip: IpAddr, client_id: ClientId, peer_id: PeerId, holder: ClientId } Info Few "284ab99c68224aac9296ca34e79dc7fe"
    "Peer {peer_id} is back as client {client_id}, {client_ip}: client {holder} did not answer; client {client_id} gets the id"
    /// A client proved that the id is its own, and took it from another connection.
    Resumed { client_ip: IpAddr, client_id: ClientId, peer_id: PeerId, holder: ClientId } Info Few "5f0f3c5bb1b94f0c8d1d8a7c2b1e7d06"
    "Peer {peer_id} is back as client {client_id}, {client_ip}: it takes the place of client {holder}, its earlier connection"

    /// The node is a member of the cluster.
    ClusterJoined { cluster: String, node: String, nodes: usize, milliseconds: u64 } Info "349b8cf66096479f8c28233d75ee49e6"
    "Joined the cluster {cluster} as node {node}: {nodes}, after {milliseconds} ms", nodes = counted(*nodes, "node")
    /// Another node has come or gone.
    ClusterMember { node: String, host: String, change: &'static str, nodes: usize } Info "41e146ba29eb46478915d4ef23c088a5"
    "Node {node} {host} {change}: the cluster has {nodes}", nodes = counted(*nodes, "node")
    /// The log of the cluster is there.
    ClusterStream { stream: String, replicas: u32 } Info "0b3da134b4584f6da92930b8319b8281"
    "The log of the cluster is the stream {stream} with {replicas} replicas"
    /// The node can't work with NATS.
    ClusterTrouble { problem: String, fix: &'static str } Warn One "73a5640e52684d9d8d11366b033139c3"
    "Out of touch with the cluster: {problem}; {fix}"
    /// The node is in touch with the others again.
    ClusterInTouch { seconds: u64 } Info "2e693c07b5ed4bf9b4cdbbd286a79b47"
    "In touch with the cluster again, after {seconds} s"
    /// NATS has lost the log, or a part of it.
    ClusterLogLost { stream: String } Warn "06f771d821c64ad29e4d0756e37eee2f"
    "NATS has lost the log of the cluster, {stream}: the nodes go on with the peers and rooms that they have"
    /// The node has lost its place in the cluster.
    ClusterLost { reason: &'static str, clients: usize } Warn "cd862e8bcfba4af19b212acd33fd081b"
    "Lost the place in the cluster: {reason}; it asks {clients} to reconnect, and joins anew", clients = counted(*clients, "client")
    /// Another node has other settings.
    ClusterDiffers { what: &'static str, host: String } Warn "0945961448654ff39d6e2ebec32cb2c7"
    "The nodes of the cluster differ in {what}: this node and {host}; set the same on all nodes"
    /// Another node writes what this program does not know.
    ClusterUnknownEntry { version: u32, reads: u32 } Error "3c0ef23eaed74ae3abd58d15e7a0c987"
    "Another node writes entries of version {version}, and this program reads version {reads}: upgrade this node"
    /// Two nodes do not have the same peers and rooms.
    ClusterDiverged { position: u64, node: String, own: String, other: String } Error One "47e5a5a69eb34d0f9455c6c581491d22"
    "This node and node {node} do not agree at position {position} of the log ({own} and {other}): restart this node, and report it"

    /// Everything was given to the process that follows.
    HandedOver { clients: usize, rooms: usize, told: usize, milliseconds: u64 } Info "d7c41f96e02b4a58b1e09c73a5f6d284"
    "Handed over {clients} in {rooms}, within {milliseconds} ms (asked {told} with TLS to reconnect)", clients = counted(*clients, "client"), rooms = counted(*rooms, "room"), told = counted(*told, "client")
    /// It could not be given.
    HandOverFailed { error: String } Warn "3b96e5d07af14c82a60d8f25c1b7e493"
    "The restart ends all connections, because they can't be handed over: {error}; clients were asked to reconnect"
    /// Everything was taken from the process before.
    TookOver { clients: usize, rooms: usize, lost: usize, milliseconds: u64 } Info "90e2b7c5f6184da3bd7c21a9e84f035b"
    "Took over {clients} in {rooms}, silent for {milliseconds} ms ({lost} could not go on)", clients = counted(*clients, "client"), rooms = counted(*rooms, "room"), lost = counted(*lost, "client")
    /// It could not be taken.
    TakeOverFailed { clients: usize, reason: String } Error "6a08f3b1d9c74e25973eb5c0d42f81a6"
    "What the process before has left is of no use: {reason}; asked {clients} to reconnect", clients = counted(*clients, "client")
    /// There is no room for all of them.
    TookOverTooMany { clients: usize, limit: usize } Warn "b7e4a9120c3d4f6e8f5a61d2c90b7e38"
    "The limit of clients is lower than before ({limit}): asked {clients} who came last to reconnect", clients = counted(*clients, "client")
    /// The program on the disk could not take the place of this one.
    ExecuteFailed { reason: String } Error "4f8d2b6ac1e04d7b9350e7f1a86c2d94"
    "SIGUSR2: the program on the disk can't go on with the clients, and this one does: {reason}"
    /// A restart interrupts the programme.
    IcecastByTls { origin: String } Warn "a9c03d7e52b84f1d86e4f70b1d35c2e8"
    "ICECAST_URL (from {origin}) is https://: TLS can't pass to the next process, so a restart interrupts the programme for a moment; http:// to an Icecast on this machine or in a trusted network does not"
    /// It listens where it did before, and not where the settings say.
    ListensStill { reason: String, address: String } Warn "5e2c7a90d8b14f36a1f94c06be37d582"
    "{reason}; the service goes on listening on {address}"
    /// systemd passed something that is unknown here.
    PassedUnknown { name: String } Warn "c1d58e4a7b3f4f06a92ce70b8d615f3e"
    "systemd passed a descriptor that is unknown here, and it is closed: {name}"
    /// Somebody went on air, or goes on with the programme.
    OnAir { client_id: ClientId, peer_id: PeerId, room_id: RoomId, url: String } Info "d1f0c6a1b2c94c5f8a7e3b5d90c4e821"
    "On air: peer {peer_id} of room {room_id} (client {client_id}), to {url}"
    /// The one on air has gone, and silence holds the mount.
    OnAirHeld { client_id: ClientId, peer_id: PeerId, room_id: RoomId, hold_ms: u64 } Warn "5b8a2e7dc3f1490e9d64a0b7c8e5f312"
    "Silence on air: peer {peer_id} of room {room_id} has gone (client {client_id}); the mount is held for {hold_ms} ms (ICECAST_HOLD_MS)"
    /// The programme is over.
    OffAir { client_id: ClientId, peer_id: PeerId, reason: &'static str, seconds: u64, silence_seconds: u64, dropped_seconds: u64 } Info "0e94c7b1a5d84f2c86b3f7a2d1e0c593"
    "Off air: the programme of peer {peer_id} (client {client_id}) is over after {seconds} s, because {reason} ({silence_seconds} s of silence in gaps, {dropped_seconds} s dropped)"
    /// Icecast takes the programme.
    IcecastTaken { url: String } Info "a7d3e5f0814b4c0cb2f1968d5e3a7c40"
    "Icecast takes the programme: {url}"
    /// Icecast does not answer, or lets go of the programme.
    IcecastUnreachable { url: String, reason: String, fix: &'static str } Warn "e2b6f4c9d0a7413f95c8b1e7a3d2f064"
    "Nobody hears the programme: {reason} ({url}); it is tried again every 2 s; {fix}"
    /// Icecast refuses the programme.
    IcecastRefused { url: String, reason: String, fix: &'static str } Error "34f8a1d6e9c2457b8d0e5f7b2c6a9d18"
    "Nobody hears the programme, and nothing is tried again before the host presses Stream: {reason} ({url}); {fix}"
    /// Nothing is heard on air but silence.
    DeadAir { client_id: ClientId, peer_id: PeerId, room_id: RoomId, seconds: u64, reason: &'static str, fix: &'static str } Warn "9d3e6a50f1c74b8ea2475c0d8b1f93e6"
    "Dead air: for {seconds} s, listeners hear nothing but silence, because {reason} (peer {peer_id} of room {room_id}, client {client_id}); {fix}"
    /// The programme is no longer silent.
    HeardAgain { client_id: ClientId, peer_id: PeerId, room_id: RoomId, seconds: u64 } Info "17b0c8d25e9f4a6f8c31e7a4d09b62f5"
    "The programme is heard again, after {seconds} s of silence: peer {peer_id} of room {room_id} (client {client_id})"
    /// The archive has a new file.
    ArchiveBegun { path: String } Info "c5a9e1f7430d4c2b9e86f0d7a25b18c4"
    "Archive: the programme is written to {path}"
    /// A file of the archive is complete.
    ArchiveKept { path: String, bytes: u64 } Info "2f6d8b94ae1c4705b3d9e0c6f7a81d52"
    "Archive: {path} is complete ({bytes} bytes)"
    /// A file of the archive was deleted.
    ArchiveDeleted { path: String, bytes: u64, max_bytes: u64 } Info "e8041d7c6b3f4f92a5c0b9d2e6f71a3d"
    "Archive: {path} was deleted ({bytes} bytes), to keep {max_bytes} bytes at most (ARCHIVE_MAX_BYTES)"
    /// A file of the archive has to go, and can't be deleted.
    ArchiveNotDeleted { path: String, error: String } Warn "f6092b8e7d3c4a15be84c0a1d97f52e3"
    "Archive: {path} is to be deleted, and is not: {error}; move it elsewhere, or the archive has more than ARCHIVE_MAX_BYTES"
    /// The archive can't be written.
    ArchiveFailed { path: String, error: String, fix: &'static str } Error "70c2f5e9d81a4b3e96a7d4f0c5b2e813"
    "The programme is not archived: {path}: {error}; {fix}"
    /// A file of the archive was not completed.
    ArchiveUnfinished { path: String } Warn "b14e7a0c92d8453f8f6ad3c5e09b7f26"
    "Archive: {path} was not completed, because the service was killed or the disk failed; it plays as far as it was written; it is never deleted, and counts for ARCHIVE_MAX_BYTES: move it elsewhere"
    /// Everybody who makes a room may go on air.
    OnAirForEverybody { origin: String } Warn "5e92b7d4c0f8461a9b3d7ce15a08f6d4"
    "Anybody who makes a room may go on air on the station's mount: ON_AIR_ACCESS=open (from {origin}); set ON_AIR_ACCESS=invited, and give hosts invites"
    /// A piece of the programme could not be read.
    PieceDamaged { client_id: ClientId, peer_id: PeerId } Warn "2d7f0c8b5e164f39a4d1e6b93c80f5a7"
    "A piece of the programme can't be read, and up to 2 s of it are missing (peer {peer_id}, client {client_id}); further ones are not logged before the next start-stream"
    /// Audio came too far ahead of the clock.
    AudioDropped { client_id: ClientId, peer_id: PeerId, seconds: u64 } Warn "e4931ab06cf84d7c8f25d0e71b6a3c98"
    "{seconds} s of the programme were dropped: they came all at once, because the host's page or network was blocked (peer {peer_id}, client {client_id}); listeners have heard silence meanwhile"
    /// A piece of the programme was too large.
    PieceSkipped { client_ip: IpAddr, client_id: ClientId, most_bytes: usize } Warn One "a85c3d1f9e604b72b1c7f48e02d6935a"
    "A piece of the programme was skipped: it has more than {most_bytes} bytes (client {client_id}, {client_ip}); the programme goes on with the next piece"
    /// A client's connection broke, and its seat in a room is kept.
    SeatKept { client_ip: IpAddr, client_id: ClientId, peer_id: PeerId, room_id: RoomId, seconds: u64 } Info Few "4e0ad1f7f6c94fd0a5c7c1f5d2b7e9a3"
    "Seat kept: for {seconds} s, of peer {peer_id} in room {room_id}, whose connection broke (client {client_id}, {client_ip})"
    /// A client has gone, and its role in a room is reserved for it.
    RoleReserved { client_ip: IpAddr, client_id: ClientId, peer_id: PeerId, room_id: RoomId, role: Role, reserve_ms: u64 } Info Few "b8e5c0d24f3a4d43b1f0a94a6d2c7715"
    "Role reserved: {role} in room {room_id}, {reserve_ms} ms for the browser or program of peer {peer_id} (ROLE_RESERVE_MS; client {client_id}, {client_ip})"
    /// More is kept for clients that have gone than may be.
    AbsencesFull { client_ip: IpAddr } Warn One "0d6b6d1e8f5b4c0a9a1d52c9a4f1e8d7"
    "Too many clients have gone without a goodbye (16 of one address, or 4096 in all): the oldest seat or reserved role was given up when a client of {client_ip} went"
    /// Roles were reserved before the start, and still are.
    RolesRemembered { count: usize, path: String } Info "c3f2a7b0d51e4f6b8e94a0c6d7b21f58"
    "Reserved {count} for clients of before the start ({path})", count = counted(*count, "role")
    /// The roles that were reserved before the start are lost.
    RolesForgotten { path: String, error: String } Warn "92d4e6c8a1b34f7fa5c0e3d9b8172a64"
    "Cannot read the reserved roles in {path}: {error}; hosts of before the start come back as guests; remove the file if this happens again"
    /// Reserved roles cannot be saved.
    RolesUnsaved { path: String, error: String } Warn Sole "7a1c5e9f3b8d4260b4e7f8a2c6d05913"
    "Cannot save the reserved roles to {path}: {error}; hosts come back as guests after a restart; free space, or let the service write there"

    /// A peer made a room or came into one.
    RoomEntered { client_ip: IpAddr, client_id: ClientId, peer_id: PeerId, room_id: RoomId, role: Role } Info Few "0d88cfc16f414735b70fe3293e8e1afc"
    "Room entered: {room_id} by peer {peer_id} as {role} (client {client_id}, {client_ip})"
    /// A peer asked for a token that lets somebody into its room.
    InviteMade { client_ip: IpAddr, client_id: ClientId, peer_id: PeerId, room_id: RoomId, role: Role } Info Few "6b4b3e5a0ae24d9ab845d4dc69eda6f8"
    "Invite made: to room {room_id} as {role} by peer {peer_id} (client {client_id}, {client_ip})"
    /// A room has reached its age.
    RoomExpired { room_id: RoomId, ttl_ms: u128 } Info Few "c4639ee3c8e84ed79c24f277c2c7a7b5"
    "Room expired: {room_id} is {ttl_ms} ms old (ROOM_TTL_MS)"
    /// A peer left its room, by itself or with its connection.
    RoomLeft { client_ip: IpAddr, client_id: ClientId, peer_id: PeerId, room_id: RoomId } Info Few "2df3b06d58ac405e972e5bb72a113227"
    "Room left: {room_id} by peer {peer_id} (client {client_id}, {client_ip})"
    /// More waits for a client than may.
    ReadsTooSlowly { client_ip: IpAddr, client_id: ClientId, limit: usize } Warn Few "f1d4fffe7b9949ee9b58973a0ec704d1"
    "Client {client_id}, {client_ip} reads too slowly: more than {limit} bytes wait for it (MAX_OUTBOX_BYTES)"
    /// A client, or its address, sent more than it may for the first time.
    RateLimited { client_ip: IpAddr, client_id: ClientId, limit: u32, what: &'static str } Warn One "7a96a54d769742c5954e67ae682fc529"
    "Rate limit hit by client {client_id}, {client_ip}: more than {limit} {what}; further ones are dropped"
    /// A client sent more pieces of a stream than anybody may, for the first time.
    StreamLimited { client_ip: IpAddr, client_id: ClientId, limit: u32 } Info One "9be3b0d1c45a4f6d8e27f1a06c5d4b38"
    "Stream chunks of client {client_id}, {client_ip} are too many: more than {limit} in 10 s"
    /// A WebSocket client is gone.
    ClientDisconnected { client_ip: IpAddr, client_id: ClientId, close_code: CloseCode, closed_by: &'static str, seconds: u64, messages_in: u64, messages_out: u64, bytes_in: u64, bytes_out: u64 } Info Few "040ca47a44cb48f28ff47e91e7fc369d"
    "WebSocket client disconnected: {client_ip} (client {client_id}, close {close_code} by {closed_by}, {seconds} s, messages {messages_in} in {messages_out} out, bytes {bytes_in} in {bytes_out} out)"
    /// A client did not answer a ping.
    ClientDead { client_ip: IpAddr, client_id: ClientId, silent_ms: u64 } Info Few "1158d0c7abbf4940b862c3ea5e13f875"
    "Client {client_id}, {client_ip} does not answer: silent for {silent_ms} ms, no reply to a ping"
    /// A client was turned away because `MAX_CONNECTIONS` are connected.
    ClientsFull { client_ip: IpAddr, limit: usize } Warn Sole "946497ae06e94880805ac8032cadf2d3"
    "Connection limit reached: {limit} (MAX_CONNECTIONS); {client_ip} and further ones get HTTP 503 until one leaves", limit = counted(*limit, "client")
    /// A listener was turned away because `MAX_LISTENERS` are connected.
    ListenersFull { client_ip: IpAddr, limit: usize } Warn Sole "6c1f8e0ba7d24b35913ef5c02d84a9b6"
    "Listener limit reached: {limit} (MAX_LISTENERS); {client_ip} and further ones get HTTP 503 until one leaves; for a large audience, set ICECAST_PUBLIC_URL", limit = counted(*limit, "listener")
    /// A listener was turned away because its address has as many as it may.
    ListenersCrowded { client_ip: IpAddr, limit: usize } Warn One "0b7d5e92c4184fa6b3e8d1a07f65c92e"
    "Listener limit reached by {client_ip}: {limit} from one address, a quarter of MAX_LISTENERS; further ones get HTTP 503; behind a proxy, name it in TRUSTED_PROXIES", limit = counted(*limit, "listener")
    /// The configured limit of listeners is more than the limit of open files allows.
    ListenerLimitTooHigh { limit: usize, carries: usize } Warn "83e1c6a4f5d74b0d9a2f7be8c150d36f"
    "MAX_LISTENERS={limit} is more than the limit of open files allows: {carries}; raise LimitNOFILE= or lower MAX_LISTENERS"
    /// A listener was turned away because Icecast does not play.
    StreamUnavailable { client_ip: IpAddr, url: String, reason: String, fix: &'static str } Warn Sole "f4a92d07c5e84b1a8b63d0e9172c5fa8"
    "A listener ({client_ip}) hears nothing, and gets HTTP 502: {reason} ({url}); {fix}"
    /// A client was turned away because its address has as many as it may.
    AddressFull { client_ip: IpAddr, limit: u32 } Warn One "211c994fb63748cca6203a5d18841a03"
    "Connection limit reached by {client_ip}: {limit} from one address (MAX_CONNECTIONS_PER_IP); further ones get close 4008 until one leaves", limit = counted(*limit, "client")
    /// A page that may not connect tried to.
    OriginRefused { client_ip: IpAddr, origin: String } Info One "98c67a19c0314cfd9a9a700e89668ee1"
    "Origin not allowed: {origin} from {client_ip} got HTTP 403 (ALLOWED_ORIGINS)"
    /// A request for a WebSocket, or a connection that is not HTTP, was refused.
    TurnedAway { client_ip: IpAddr, refused: &'static str, reason: &'static str, cause: &'static str } Info One "109db7c81f8e4b6bb55fc8221e78c5f4"
    "Turned {client_ip} away: {reason}; {cause}"
    /// An address without permission requested the metrics.
    MetricsRefused { client_ip: IpAddr, fix: &'static str } Warn One "a0409f8c0a924ea0bff4970abc72869e"
    "{client_ip} requested /metrics without permission: HTTP 404; if it is your Prometheus, {fix}"
    /// The web studio has no page to begin with.
    WebRootEmpty { path: String } Warn Sole "c37ea74e693b46e4989fca9929e7fdf9"
    "WEB_ROOT has no {path} that the service can read: / gets HTTP 404; name the directory with the studio's index.html, or let others read it (chmod -R a+rX)"
    /// Which station this is.
    StationLoaded { station_id: String, name: String, path: String } Info "6ace37a82ac54007b61fac4dab161e73"
    "Loaded station manifest: {name} ({station_id}) from {path}"
    /// There is no manifest.
    StationSample { path: String } Warn "ba22918f203a44bd92256e29f189bf48"
    "No station manifest at {path}: using a sample that fits this machine only; copy /usr/share/doc/openstudio-signaling/examples/station-manifest.sample.json there, edit it and reload"
    /// A TURN server has no credential, and none can be made.
    TurnWithoutSecret { path: String } Warn "d795d82554174ba6ac960f2f945079ce"
    "A TURN server in {path} has no credential, and there is no TURN_SECRET to make one: browsers refuse it; add either, or take the server out"
    /// There is a secret for the TURN server, and no entry that it would be for.
    TurnSecretUnused { origin: String, manifest: String } Warn "5cd2bca41611e05153c77111d86c82e6"
    "TURN_SECRET (from {origin}) is not used: {manifest} has no TURN server without a credential of its own; add one to its ice.turn ({{\"urls\": \"turn:HOST\"}}), or take TURN_SECRET out"
    /// Everybody who reaches the port gets TURN credentials.
    TurnForEverybody { origin: String } Warn "ec07a3d41c764b42aeb4edcdd52cc938"
    "ROOM_ACCESS=open (from {origin}): everybody who reaches this server can make rooms and gets TURN credentials; set ROOM_ACCESS=invited, and make invites with `openstudio-signaling invite`"

    /// A key of the manifest is a letter off a known one.
    StationKeyUnknown { key: String, known: String, path: String } Warn "a60f3e87bb5010941be89cc39b8ca9a4"
    "The key {key} in {path} is unknown: did you mean {known}? Rename it and reload"
    /// The secret for tokens was made.
    SecretMade { path: String } Info "b62277a17c2844239f74b6329ed989d6"
    "Made a secret for invites and room tokens: {path}"
    /// The secret for tokens is readable by others.
    SecretExposed { path: String } Warn "4f0a8fd2b6c14e0bb1a4b8a5d7c3e916"
    "Others can read the secret for invites, and that could not be changed: chmod 600 {path}"
    /// The secret for tokens cannot be saved.
    SecretRandom { reason: String } Warn "835136f396094f288446e93aaca65c25"
    "Invites and room tokens end with this process, because {reason}; set JWT_SECRET or the credential jwt-secret to keep them valid"
    /// The secret for tokens is so short that it can be guessed.
    SecretShort { bytes: usize, origin: String } Warn "ae8d2f4ef5fd4855b339ca794d493144"
    "JWT_SECRET (from {origin}) has {bytes}: it can be guessed; take 32 or more (openssl rand -hex 32)", bytes = counted(*bytes, "byte")
    /// The port speaks TLS with this certificate.
    TlsLoaded { cert: String, names: String, until: String } Info "0f4ba5ad2f774ab6a6fd0f1f2c0e7a5b"
    "TLS with the certificate in {cert}, for {names}, until {until}: wss:// and https:// only"
    /// The certificate in force has expired, has not begun, or ends soon.
    CertificateExpires { cert: String, days: i64, problem: String, fix: String } Warn "427886fc0e3f49d3a5e07c0ba2579234"
    "The certificate in {cert} {problem}; {fix}"
    /// Browsers refuse the certificate in force, whatever the time.
    CertificateRefused { cert: String, problem: &'static str, fix: &'static str } Warn "42282ef32f85394c8996cde4b57ce02f"
    "The certificate in {cert} {problem}; {fix}, then `systemctl reload openstudio-signaling`"
    /// Parts of the certificate in force cannot be read.
    CertificateUnread { cert: String } Warn "ae9f1e6b6d2f4f0aa2fd9f7d4f0c6e15"
    "The service cannot read parts of the certificate in {cert}, so it does not watch its names and its end: get a new certificate"

    /// A client and the server did not agree upon TLS.
    TlsFailed { client_ip: IpAddr, error: String } Info One "b4f6c3b1f6a84d6a8ea1c9f0d3a2e671"
    "TLS handshake with {client_ip} failed: {error}"
    /// A connection could not be accepted for want of descriptors or memory.
    FilesExhausted { error: String, limit: u64 } Error Sole "420042aaa1ff49668762e8e1a9003a38"
    "Cannot accept connections: {error}; the limit of open files is {limit} (LimitNOFILE=); retrying"
    /// Connections that had not opened a WebSocket were closed.
    PendingClosed { closed: usize } Warn Sole "1d8f64c9b7e24f0f9a35c0d2e8b47163"
    "Closed {closed} that had not opened a WebSocket and made no progress for a second, to make room for new connections", closed = counted(*closed, "connection")
    /// A connection could not be accepted, and the reason is not a known one.
    AcceptFailed { error: String } Error Sole "bae343e96c524c158ed4dc6e0dff7e70"
    "Cannot accept a connection: {error}; retrying"
    /// A signal that ends the process came.
    Signal { signal: &'static str } Info "fa083653202d4237acf5cbd538cdf13c"
    "Received {signal}"
    /// Clients are asked to leave.
    Draining { clients: usize, grace_ms: u64 } Info "f2cbb2cf710d4dc5a39d763b24351aff"
    "Draining {clients}, asked to leave within {grace_ms} ms (SHUTDOWN_GRACE_MS)", clients = counted(*clients, "client")
    /// All clients have left.
    Stopped { milliseconds: u128 } Info "de193240a0fa4c5c806eec34e8e04a8a"
    "Stopped cleanly after {milliseconds} ms"
    /// The drain was cut.
    Forced { clients: usize, connections: usize, reason: &'static str } Warn "25a6dd0ddacb4c0ba69df71782638e3b"
    "Forced to stop: {reason} with {clients} and {connections} left; exit code 1", clients = counted(*clients, "client"), connections = counted(*connections, "other connection")
    /// SIGHUP was handled: what is in force now.
    Reloaded { log_level: Level, origin: String, station_id: String, certificate: &'static str } Info "076edcbff4d643cf8195644b2172a196"
    "Reloaded: log level is {log_level} (from {origin}), station is {station_id}, certificate is {certificate}"
    /// A reload found a setting that only a restart applies.
    NeedsRestart { setting: String } Warn "bd19f817130a4a18b688c2827eafdd1c"
    "{setting} needs a restart: `systemctl restart openstudio-signaling`"
    /// `MAX_CONNECTIONS` is more than the limit of open files allows.
    LimitTooHigh { limit: usize, carries: usize } Warn "362dc32318ed4518ba63635940dedec4"
    "MAX_CONNECTIONS={limit} is more than the limit of open files allows: {carries}; raise LimitNOFILE=, or lower MAX_CONNECTIONS or MAX_LISTENERS"
    /// SIGHUP found an invalid part, and kept the old one.
    ReloadFailed { part: &'static str, reason: String } Error "bee5d2c46548479fa0b3f3c081931a13"
    "Reload failed for {part}, the old value stays in use: {reason}"
    /// A part did not answer the watchdog.
    WatchdogWithheld { part: &'static str, milliseconds: u128 } Error "404c9c8af6bc483da85b268e9ab73613"
    "Watchdog ping withheld: {part} has not answered for {milliseconds} ms; systemd restarts the service if that goes on"
    /// systemd could not be told something.
    NotifyFailed { error: String } Warn Sole "5076c39c07324cfe88a60100c2b45f1b"
    "Cannot notify systemd: {error}"
    /// Events that were repetitions, and not logged.
    Repeated { count: u64, seconds: u64, event: &'static str, source: String, sample: String } Info "47e5580dce794ef6926c45e8f76e9bdb"
    "{count} more within {seconds} s{source}, not logged one by one: {sample}"
    /// Events at level warn or graver that were repetitions, and not logged.
    RepeatedProblem { count: u64, seconds: u64, event: &'static str, source: String, sample: String } Warn "c0058823455f475f88fcb1118e642a8a"
    "{count} more within {seconds} s{source}, not logged one by one: {sample}"
    /// Events were lost because the log did not take them.
    LogDropped { count: u64 } Warn "bad098752a894df5a3bb341dc15c5a6a"
    "{count} log events were dropped: the journal did not take them in time"
    /// The configuration can't work.
    ConfigInvalid { reason: String } Error "ff2e4734a78b4b948b5ea5fe4c68297c"
    "{reason}"
    /// The service could not start.
    StartFailed { reason: String } Error "1586ad8f1cb74ac6b61070d3bd49641d"
    "{reason}"
    /// A bug: something panicked.
    Panicked { reason: String, location: String } Crit "dadb0c3600784135aa4e5200acbad15d"
    "Internal error, stopping with exit code 1: {reason} (at {location}); please report this line"
}
impl Event {
    /// Who caused it, where it names an address.
    pub fn client_ip(&self) -> Option<IpAddr> {
        self.field()
    }

    /// The client that it is about, where it is about one.
    pub fn client(&self) -> Option<ClientId> {
        self.field()
    }

    /// What tells it from others of its kind that are no repetitions of it.
    pub fn topic(&self) -> &'static str {
        match self {
            Self::FirstMessage { message_type, .. } => message_type,
            Self::FirstRejected { error_code, .. } => error_code.name(),
            Self::TurnedAway { refused, .. } => refused,
            _ => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_address_can_repeat_has_a_quota() {
        for kind in Event::KINDS.iter().filter(|kind| kind.fields.contains(&"client_ip")) {
            // At debug, every message is what somebody asked for.
            assert_eq!(kind.quota == Quota::All, kind.level == Level::Debug, "{}", kind.name);
        }
    }

    #[test]
    fn fields_are_found_by_their_type() {
        let (client_ip, client_id) = (IpAddr::from([192, 0, 2, 7]), ClientId(5));
        let message_type = "ping";
        let event = Event::FirstMessage { client_ip, client_id, message_type };
        assert_eq!((event.client_ip(), event.client()), (Some(client_ip), Some(client_id)));
        assert_eq!(
            (event.topic(), event.name(), event.quota()),
            ("ping", "FirstMessage", Quota::Few)
        );
        let event = Event::Signal { signal: "SIGTERM" };
        assert_eq!((event.client_ip(), event.client(), event.topic()), (None, None, ""));
    }

    #[test]
    fn no_field_is_called_as_one_that_every_entry_has() {
        // The journal would show it in that one's place.
        for kind in Event::KINDS {
            for own in ["message", "message_id", "priority", "syslog_identifier"] {
                assert!(!kind.fields.contains(&own), "{} has a field {own}", kind.name);
            }
        }
    }

    #[test]
    fn message_ids_are_ids_and_unique() {
        let mut ids: Vec<_> = Event::KINDS.iter().map(|kind| kind.message_id).collect();
        for id in &ids {
            assert_eq!(id.len(), 32, "{id}");
            assert!(id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')), "{id}");
        }
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), Event::KINDS.len());
    }
}
