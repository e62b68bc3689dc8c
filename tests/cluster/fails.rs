//! What users see when something fails: as little as can be.

use std::time::Duration;

use rustix::process::Signal;

use crate::fetch::get;
use crate::nats::{Nats, Version};
use crate::nodes::{agree, enter, health, hears_nothing, nodes, start, wait_for};
use crate::peers::{A, peer, resume_of};
use crate::support::{Client, Server, wait_until};

const B: &str = "f47ac10b-58cc-4372-a567-0e02b2c3d4bb";
const C: &str = "f47ac10b-58cc-4372-a567-0e02b2c3d4cc";

const UNAVAILABLE: &str =
    r#"{"type":"error","message":"Cluster unavailable, try again","code":"cluster-unavailable"}"#;

/// A client with a proof of who it is.
fn proved(server: &Server, id: &str) -> (Client, String) {
    let mut client = server.client();
    let registered = client.ask(&format!(r#"{{"type":"register","peerId":"{id}"}}"#));
    let resume = resume_of(&registered, id);
    (client, format!(r#"{{"type":"register","peerId":"{id}","resume":"{resume}"}}"#))
}

fn offer(from: &str, to: &str) -> String {
    format!(r#"{{"type":"offer","from":"{from}","to":"{to}","sdp":"v=0"}}"#)
}

fn left(id: &str) -> String {
    format!(r#"{{"type":"peer-left","peerId":"{id}"}}"#)
}

/// A host on the first node and a guest on the second, in the room "show", and what brings the guest back.
fn call(one: &Server, two: &Server) -> (Client, Client, String) {
    let mut host = peer(one, A);
    enter(&mut host, "show", "host");
    let (mut guest, again) = proved(two, B);
    enter(&mut guest, "show", "guest");
    assert!(host.text().contains("peer-joined"));
    (host, guest, again)
}

#[test]
fn clients_of_a_node_that_is_killed_are_back_unseen() {
    let nats = Nats::single(Version::Trixie, "");
    let [one, mut two, three] = nodes(&nats);
    let (mut host, guest, again) = call(&one, &two);
    let mut other = peer(&two, C);
    enter(&mut other, "show", "guest");
    assert!(host.text().contains("peer-joined"));
    two.child.kill().unwrap();
    two.wait();
    drop(guest);
    let mut guest = three.client();
    let registered = guest.ask(&again);
    assert!(registered.starts_with(r#"{"type":"registered""#), "{registered}");
    host.say(&offer(A, B));
    assert_eq!(guest.text(), offer(A, B));
    guest.say(&offer(B, A));
    assert_eq!(host.text(), offer(B, A), "it has seen nothing else");
    // Who does not come back is gone when the others have given the node up.
    let error = format!(
        r#"{{"type":"error","message":"Target peer \"{C}\" is not connected","code":"peer-not-connected","requestId":"9"}}"#
    );
    host.say(&offer(A, C).replace("}", r#","requestId":"9"}"#));
    assert_eq!(host.text(), error);
    assert_eq!((host.text(), guest.text()), (left(C), left(C)));
    wait_for(&[&one, &three], 2);
    agree(&[&one, &three]);
}

#[test]
fn clients_of_a_node_that_stops_are_told_and_keep_their_seats() {
    let nats = Nats::single(Version::Bookworm, "");
    let [one, mut two] = nodes(&nats);
    let (mut host, mut guest, again) = call(&one, &two);
    two.signal(Signal::TERM);
    assert_eq!(guest.close_code(), Some(1001));
    drop(guest);
    assert_eq!(two.wait().code(), Some(0));
    wait_for(&[&one], 1);
    let mut guest = one.client();
    let registered = guest.ask(&again);
    assert!(registered.starts_with(r#"{"type":"registered""#), "{registered}");
    host.say(&offer(A, B));
    assert_eq!(guest.text(), offer(A, B));
    hears_nothing(&mut host);
    // And it comes again.
    let two = start(&nats, 0, &[]);
    wait_for(&[&one, &two], 2);
    let mut third = peer(&two, C);
    let joined = enter(&mut third, "show", "guest");
    assert!(joined.contains(A) && joined.contains(B), "{joined}");
    agree(&[&one, &two]);
}

#[test]
fn a_node_that_stood_still_has_its_clients_reconnect() {
    let nats = Nats::single(Version::Trixie, "");
    let [one, two] = nodes(&nats);
    let (mut host, mut guest, again) = call(&one, &two);
    two.signal(Signal::STOP);
    assert_eq!(host.text(), left(B), "after 10 s");
    wait_for(&[&one], 1);
    two.signal(Signal::CONT);
    assert_eq!(guest.close_code(), Some(4011));
    wait_for(&[&one, &two], 2);
    let mut guest = two.client();
    assert!(guest.ask(&again).starts_with(r#"{"type":"registered""#));
    assert!(enter(&mut guest, "show", "guest").contains("room-joined"));
    assert!(host.text().contains("peer-joined"));
    agree(&[&one, &two]);
}

#[test]
fn a_nats_server_that_is_restarted_is_not_noticed() {
    for version in [Version::Bookworm, Version::Trixie] {
        let mut nats = Nats::single(version, "");
        let [one, two] = nodes(&nats);
        let (mut host, mut guest, _) = call(&one, &two);
        nats.kill(0);
        // Messages wait for it.
        host.say(&offer(A, B));
        let mute = format!(r#"{{"type":"mute","peerId":"{B}","muted":true,"authority":"self"}}"#);
        guest.say(&mute);
        nats.start_again(0);
        let muted = mute.replace('}', &format!(r#","from":"{B}"}}"#));
        let mut heard = [guest.text(), guest.text()];
        heard.sort();
        assert_eq!(heard, [muted.clone(), offer(A, B)]);
        assert_eq!(host.text(), muted);
        let mut third = peer(&two, C);
        assert!(enter(&mut third, "show", "guest").contains("room-joined"));
        assert!(host.text().contains("peer-joined"));
        agree(&[&one, &two]);
    }
}

#[test]
fn nobody_is_expelled_while_nats_is_away() {
    let mut nats = Nats::single(Version::Trixie, "");
    let [one, two] = nodes(&nats);
    let (mut host, mut guest, _) = call(&one, &two);
    let mut ops = peer(&one, C);
    enter(&mut ops, "show", "ops");
    for client in [&mut host, &mut guest] {
        assert!(client.text().contains("peer-joined"));
    }
    let mut stranger = one.client();
    nats.kill(0);
    for server in [&one, &two] {
        wait_until(|| get(server.port, "/ready").status == 503, || health(server));
        assert!(get(server.port, "/ready").body.contains("cluster-unavailable"));
        assert!(health(server).contains(r#""state":"out-of-touch""#), "{}", health(server));
    }
    // Within a node all goes on, and what needs others is refused.
    host.say(&offer(A, C));
    assert_eq!(ops.text(), offer(A, C));
    assert_eq!(host.ask(&offer(A, B)), UNAVAILABLE);
    assert_eq!(ops.ask(r#"{"type":"leave-room"}"#), UNAVAILABLE);
    let register = r#"{"type":"register","peerId":"f47ac10b-58cc-4372-a567-0e02b2c3d4dd"}"#;
    assert_eq!(stranger.ask(register), UNAVAILABLE);
    std::thread::sleep(Duration::from_secs(15));
    for client in [&mut host, &mut guest, &mut ops] {
        hears_nothing(client);
    }
    nats.start_again(0);
    wait_for(&[&one, &two], 2);
    for server in [&one, &two] {
        wait_until(|| get(server.port, "/ready").status == 200, || health(server));
    }
    assert!(stranger.ask(register).starts_with(r#"{"type":"registered""#));
    host.say(&offer(A, B));
    assert_eq!(guest.text(), offer(A, B));
    for client in [&mut host, &mut guest, &mut ops] {
        hears_nothing(client);
    }
    agree(&[&one, &two]);
}

#[test]
fn what_was_refused_is_undone_where_it_is_made_later() {
    let nats = Nats::single(Version::Trixie, "");
    let [one, two] = nodes(&nats);
    let mut host = peer(&one, A);
    enter(&mut host, "show", "host");
    nats.signal(0, Signal::STOP);
    // The server gets it, and does it when it goes on: by then the client has been told that it can't be done.
    let mut late = Client::open(two.port);
    assert!(late.text().contains("welcome"));
    late.say(&format!(r#"{{"type":"register","peerId":"{B}"}}"#));
    assert_eq!(late.text(), UNAVAILABLE);
    nats.signal(0, Signal::CONT);
    wait_for(&[&one, &two], 2);
    agree(&[&one, &two]);
    let mut other = one.client();
    wait_until(
        || {
            other
                .ask(&format!(r#"{{"type":"register","peerId":"{B}"}}"#))
                .contains("registered\",\"peerId")
        },
        || "nobody has the id".into(),
    );
    agree(&[&one, &two]);
}

#[test]
fn a_leader_that_is_killed_costs_a_while_and_nothing_else() {
    let mut nats = Nats::three();
    let [one, two, three] = nodes(&nats);
    assert!(health(&one).contains(r#""replicas":3"#), "{}", health(&one));
    let (mut host, mut guest, _) = call(&one, &two);
    let leader = nats.leader().unwrap_or(0);
    nats.kill(leader);
    host.say(&offer(A, B));
    assert_eq!(guest.text(), offer(A, B), "messages do not wait for a leader");
    let mut third = peer(&three, C);
    assert!(enter(&mut third, "show", "guest").contains("room-joined"));
    for client in [&mut host, &mut guest] {
        assert!(client.text().contains("peer-joined"));
    }
    nats.bring_back(leader);
    wait_for(&[&one, &two, &three], 3);
    agree(&[&one, &two, &three]);
}

#[test]
fn a_server_that_hangs_costs_its_node_no_place() {
    let nats = Nats::three();
    let nodes: [Server; 3] = nodes(&nats);
    // Each node is at the server of its own number first. Without the leader, nobody would write.
    let leader = nats.leader().unwrap();
    let (one, two) = (&nodes[leader], &nodes[(leader + 1) % 3]);
    let (mut host, mut guest, _) = call(one, two);
    let server = format!(r#""server":"s{}""#, (leader + 1) % 3);
    assert!(health(two).contains(&server), "{}", health(two));
    nats.signal((leader + 1) % 3, Signal::STOP);
    wait_until(|| !health(two).contains(&server), || health(two));
    // Three nodes write each 3 s that they live: this is longer than the others wait for one.
    let position = || {
        let health = health(one);
        let position = health.split(r#""position":"#).nth(1).unwrap();
        position
            .split(|digit: char| !digit.is_ascii_digit())
            .next()
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    let start = position();
    wait_until(|| position() >= start + 14, || health(one));
    let mute = format!(r#"{{"type":"mute","peerId":"{B}","muted":true,"authority":"self"}}"#);
    guest.say(&mute);
    for client in [&mut host, &mut guest] {
        assert_eq!(client.text(), mute.replace('}', &format!(r#","from":"{B}"}}"#)));
    }
    nats.signal((leader + 1) % 3, Signal::CONT);
    wait_for(&nodes.iter().collect::<Vec<_>>(), 3);
    hears_nothing(&mut host);
    hears_nothing(&mut guest);
    agree(&nodes.iter().collect::<Vec<_>>());
}

#[test]
fn a_node_that_is_restarted_keeps_its_clients() {
    let nats = Nats::single(Version::Trixie, "");
    let [one, two] = nodes(&nats);
    let (mut host, mut guest, _) = call(&one, &two);
    let (mut gone, again) = proved(&two, C);
    enter(&mut gone, "show", "guest");
    for client in [&mut host, &mut guest] {
        assert!(client.text().contains("peer-joined"));
    }
    gone.stream.shutdown(std::net::Shutdown::Both).unwrap();
    for round in 0..3 {
        two.signal(Signal::USR2);
        // Messages go on while it is away.
        let count = 200;
        for number in 0..count {
            host.say(&offer(A, B).replace("v=0", &number.to_string()));
            guest.say(&offer(B, A).replace("v=0", &number.to_string()));
        }
        for number in 0..count {
            assert_eq!(guest.text(), offer(A, B).replace("v=0", &number.to_string()), "{round}");
            assert_eq!(host.text(), offer(B, A).replace("v=0", &number.to_string()), "{round}");
        }
        if round == 0 {
            // A seat that was kept there is taken back elsewhere.
            gone = one.client();
            assert!(gone.ask(&again).starts_with(r#"{"type":"registered""#));
        }
        let mute = format!(
            r#"{{"type":"mute","peerId":"{B}","muted":{},"authority":"producer"}}"#,
            round % 2 == 0
        );
        host.say(&mute);
        for client in [&mut host, &mut guest, &mut gone] {
            assert!(client.text().contains(r#""type":"mute""#));
        }
        let times =
            |lines: &[String]| lines.iter().filter(|line| line.contains(" started: ")).count();
        two.log.find("another start", |lines| (times(lines) == round + 2).then_some(()));
    }
    wait_for(&[&one, &two], 2);
    agree(&[&one, &two]);
    let joins =
        |lines: &[String]| lines.iter().filter(|line| line.contains("Joined the cl")).count();
    assert_eq!(two.log.find("joins", |lines| Some(joins(lines))), 1, "it is the same node");
}

#[test]
fn a_log_that_is_lost_is_not_noticed() {
    let mut nats = Nats::single(Version::Trixie, "");
    let [one, two, three] = nodes(&nats);
    let (mut host, mut guest, again) = call(&one, &two);
    nats.kill(0);
    nats.wipe(0);
    // What waits is made when there is a log again.
    let mut third = three.client();
    third.say(&format!(r#"{{"type":"register","peerId":"{C}"}}"#));
    nats.start_again(0);
    assert!(third.text().starts_with(r#"{"type":"registered""#));
    for node in [&one, &two, &three] {
        node.log.wait_for("NATS has lost the log");
    }
    wait_for(&[&one, &two, &three], 3);
    assert!(enter(&mut third, "show", "guest").contains(r#""type":"room-joined""#));
    for client in [&mut host, &mut guest] {
        assert!(client.text().contains("peer-joined"));
    }
    host.say(&offer(A, B));
    assert_eq!(guest.text(), offer(A, B));
    guest.say(&offer(B, C));
    assert_eq!(third.text(), offer(B, C));
    // Proofs hold, and newcomers come.
    drop(guest);
    let mut guest = three.client();
    assert!(guest.ask(&again).starts_with(r#"{"type":"registered""#));
    let mut four = start(&nats, 0, &[]);
    wait_for(&[&one, &two, &three, &four], 4);
    for client in [&mut host, &mut guest, &mut third] {
        hears_nothing(client);
    }
    agree(&[&one, &two, &three, &four]);
    assert_eq!(four.stop(), Some(0));
    wait_for(&[&one, &two, &three], 3);
}

/// Its folder is that of an hour ago, or of a moment.
#[test]
fn a_log_that_has_gone_back_is_not_noticed() {
    for version in [Version::Bookworm, Version::Trixie] {
        let mut nats = Nats::single(version, "");
        let [one, two] = nodes(&nats);
        let (mut host, mut guest, again) = call(&one, &two);
        nats.kill(0);
        nats.keep(0);
        nats.start_again(0);
        wait_for(&[&one, &two], 2);
        let mut third = peer(&two, C);
        assert!(enter(&mut third, "show", "guest").contains(r#""type":"room-joined""#));
        for client in [&mut host, &mut guest] {
            assert!(client.text().contains("peer-joined"));
        }
        agree(&[&one, &two]);
        nats.kill(0);
        nats.restore(0);
        nats.start_again(0);
        for node in [&one, &two] {
            node.log.find("an end of that", |lines| {
                let lost = lines.iter().position(|line| line.contains("NATS has lost the log"))?;
                lines[lost..].iter().find(|line| line.contains("Joined the cluster")).map(drop)
            });
        }
        wait_for(&[&one, &two], 2);
        let mute = format!(r#"{{"type":"mute","peerId":"{B}","muted":true,"authority":"self"}}"#);
        guest.say(&mute);
        host.say(&offer(A, C));
        for client in [&mut host, &mut guest] {
            assert_eq!(client.text(), mute.replace('}', &format!(r#","from":"{B}"}}"#)));
        }
        let mut heard = [third.text(), third.text()];
        heard.sort();
        assert!(heard[0].contains("mute") && heard[1] == offer(A, C), "{heard:?}");
        // Proofs hold, and newcomers come.
        drop(guest);
        let mut guest = one.client();
        assert!(guest.ask(&again).starts_with(r#"{"type":"registered""#));
        let three = start(&nats, 0, &[]);
        wait_for(&[&one, &two, &three], 3);
        for client in [&mut host, &mut guest, &mut third] {
            hears_nothing(client);
        }
        agree(&[&one, &two, &three]);
    }
}

#[test]
fn nodes_that_start_together_find_each_other() {
    for _ in 0..3 {
        let nats = Nats::single(Version::Trixie, "");
        let nodes: Vec<_> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..4).map(|_| scope.spawn(|| start(&nats, 0, &[]))).collect();
            starts.into_iter().map(|node| node.join().unwrap()).collect()
        });
        let nodes: Vec<_> = nodes.iter().collect();
        wait_for(&nodes, 4);
        agree(&nodes);
    }
}

#[test]
fn a_restart_while_nats_is_away_expels_nobody() {
    let mut nats = Nats::single(Version::Trixie, "");
    let [one, two] = nodes(&nats);
    let (mut host, mut guest, _) = call(&one, &two);
    nats.kill(0);
    // It is not made before the restart, and its client hears that.
    guest.say(r#"{"type":"leave-room"}"#);
    two.signal(Signal::USR2);
    assert_eq!(guest.text(), UNAVAILABLE);
    nats.start_again(0);
    wait_for(&[&one, &two], 2);
    two.log.wait_for("Took over 1 client ");
    agree(&[&one, &two]);
    // What it wanted was made after all: it is out of the room.
    assert_eq!(host.text(), left(B));
    assert!(enter(&mut guest, "show", "guest").contains("room-joined"));
    assert!(host.text().contains("peer-joined"));
    agree(&[&one, &two]);
}
