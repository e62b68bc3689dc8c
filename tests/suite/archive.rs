//! The archive of the programme, on a real disk.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::icecast::Icecast;
use crate::on_air::{STARTED, chunk, decoded, host, recording, start, validated};
use crate::paused::{self, this_program};
use crate::peers::A;
use crate::port::free_port;
use crate::support::{Client, Log, Server};

const STOP: &str = r#"{"type":"stop-stream"}"#;

/// Where the programme goes: to nobody, and to the archive.
fn to_nobody(directory: &Path) -> Vec<(&'static str, String)> {
    let url = format!("http://127.0.0.1:{}/live.ogg", free_port());
    vec![("ICECAST_URL", url), ("ARCHIVE_DIR", directory.to_str().unwrap().to_owned())]
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A host on air, who has sent this.
fn on_air(server: &Server, webm: &[u8]) -> Client {
    let mut host = host(server, A);
    host.ask(r#"{"type":"start-stream"}"#);
    assert!(host.ask(&chunk(webm)).contains("chunk-ack"));
    host
}

/// The path in a line of the log about the archive, from its root to its end.
fn path(log: &Log, says: &str) -> String {
    let line = log.wait_for(says);
    let path = line.split_whitespace().find(|word| word.starts_with('/') && word.contains(".ogg"));
    path.unwrap_or_else(|| panic!("{line}")).to_owned()
}

#[test]
fn the_programme_is_kept_whether_icecast_takes_it_or_not() {
    for is_heard in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let archive = directory.path().join("archive");
        fs::create_dir(&archive).unwrap();
        let file = recording(directory.path(), 3);
        let icecast = is_heard.then(Icecast::start);
        let mut settings = to_nobody(&archive);
        if let Some(icecast) = &icecast {
            settings.splice(..1, icecast.settings());
        }
        let (server, mut clock) = start(&settings);
        let webm = fs::read(&file).unwrap();
        let mut host = host(&server, A);
        assert_eq!(host.ask(r#"{"type":"start-stream"}"#) == STARTED, is_heard);
        assert_eq!(names(&archive), [""; 0], "nothing was heard");
        assert!(host.ask(&chunk(&webm)).contains("chunk-ack"));
        let part = path(&server.log, "Archive: the programme is written to ");
        assert!(part.contains("/live-2") && part.ends_with("Z-1.ogg.part"), "{part}");
        // A gap is in it as it was heard.
        for _ in 0..60 {
            clock.advance(100);
        }
        assert!(host.ask(STOP).contains("stream-stopped"));
        let kept = path(&server.log, " is complete (");
        assert_eq!(Path::new(&kept).file_name().unwrap().to_str().unwrap(), names(&archive)[0]);
        let (kept, _) = validated(directory.path(), &fs::read(&kept).unwrap());
        let (said, kept) = (decoded(&file), decoded(&kept));
        assert!(kept.starts_with(&said), "to the bit");
        let more = (kept.len() - said.len()) / (4 * 48_000);
        assert!((2..=4).contains(&more), "{more} s of silence behind 3 s");
    }
}

#[test]
fn a_stop_completes_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let archive = directory.path().join("archive");
    fs::create_dir(&archive).unwrap();
    let webm = fs::read(recording(directory.path(), 1)).unwrap();
    let (mut server, _clock) = start(&to_nobody(&archive));
    let mut host = on_air(&server, &webm);
    server.log.wait_for("Archive: the programme is written to ");
    server.signal(Signal::TERM);
    assert_eq!(host.close_code(), Some(1001));
    host.leave(1001);
    assert_eq!(server.wait().code(), Some(0));
    let [name] = &names(&archive)[..] else { panic!("{:?}", names(&archive)) };
    assert!(
        name.ends_with(".ogg"),
        "{name}: {:?}",
        server.log.find("", |lines| Some(lines.to_vec()))
    );
    validated(directory.path(), &fs::read(archive.join(name)).unwrap());
}

#[test]
fn what_was_written_before_a_kill_is_kept_and_named() {
    let directory = tempfile::tempdir().unwrap();
    let archive = directory.path().join("archive");
    fs::create_dir(&archive).unwrap();
    let webm = fs::read(recording(directory.path(), 1)).unwrap();
    let (mut server, mut clock) = start(&to_nobody(&archive));
    let _host = on_air(&server, &webm);
    server.log.wait_for("Archive: the programme is written to ");
    clock.advance(100);
    server.signal(Signal::KILL);
    server.wait();
    let [name] = &names(&archive)[..] else { panic!("{:?}", names(&archive)) };
    assert!(name.ends_with(".ogg.part"));
    // A player needs no end.
    let heard = decoded(&archive.join(name));
    assert!(heard.len() > 4 * 48_000 / 2, "{} bytes", heard.len());
    let (server, _clock) = start(&to_nobody(&archive));
    let line = server.log.wait_for("was not completed");
    assert!(line.contains(name.as_str()), "{line}");
    assert_eq!(names(&archive), [name.as_str()], "and it stays");
}

#[test]
fn the_oldest_files_go_for_new_ones() {
    let directory = tempfile::tempdir().unwrap();
    let archive = directory.path().join("archive");
    fs::create_dir(&archive).unwrap();
    let webm = fs::read(recording(directory.path(), 1)).unwrap();
    let mebibyte = 1024 * 1024;
    let old = ["live-20200101T000000Z-1.ogg", "live-20200102T000000Z-1.ogg", "live-jingle.ogg"];
    for name in old {
        fs::write(archive.join(name), vec![0; mebibyte / 2]).unwrap();
    }
    let icecast = Icecast::start();
    let mut settings = to_nobody(&archive);
    settings.splice(..1, icecast.settings());
    settings.push(("ARCHIVE_MAX_BYTES", mebibyte.to_string()));
    let (server, mut clock) = start(&settings);
    let mut host = on_air(&server, &webm);
    let line = server.log.wait_for("was deleted");
    assert!(line.contains(old[0]) && line.contains("ARCHIVE_MAX_BYTES"), "{line}");
    assert!(!names(&archive).contains(&old[0].to_owned()));
    assert!(names(&archive).contains(&old[1].to_owned()), "an eighth is enough for the next one");
    // At a part's size, the next one begins, and nothing of the programme is lost between them.
    for _ in 0..12 {
        for _ in 0..10 {
            clock.advance(100);
        }
        host.ask(&chunk(&webm));
    }
    assert!(host.ask(STOP).contains("stream-stopped"));
    while server.log.count(" is complete") < 2 {
        clock.advance(0);
    }
    let mut all = Vec::new();
    for name in names(&archive).iter().filter(|name| !old.contains(&name.as_str())) {
        let bytes = fs::read(archive.join(name)).unwrap();
        assert!(bytes.len() < mebibyte / 8 + 40_000, "{name}: {} bytes", bytes.len());
        validated(directory.path(), &bytes);
        all.push(bytes);
    }
    assert!(all.len() >= 2);
    assert!(names(&archive).contains(&old[2].to_owned()), "that is none of its files");
}

#[test]
fn a_full_disk_ends_the_archive_and_not_the_programme() {
    let directory = tempfile::tempdir().unwrap();
    let archive = directory.path().join("archive");
    fs::create_dir(&archive).unwrap();
    let webm = fs::read(recording(directory.path(), 5)).unwrap();
    let icecast = Icecast::start();
    let program = this_program();
    // A disk of 16 KiB, which goes with the server.
    let mut command = Command::new("unshare");
    let script = r#"mount -t tmpfs -o size=16k none "$1" && shift && exec "$@""#;
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(&archive).arg(program.get_program());
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let mut settings = icecast.settings().to_vec();
    settings.push(("ARCHIVE_DIR", archive.to_str().unwrap().to_owned()));
    command.envs(settings).envs([("ON_AIR_ACCESS", "open"), ("HEARTBEAT_MS", "3600000")]);
    let (server, mut clock) = paused::spawn(&mut command);
    let mut host = host(&server, A);
    assert_eq!(host.ask(r#"{"type":"start-stream"}"#), STARTED);
    let listener = icecast.listen();
    assert!(host.ask(&chunk(&webm)).contains("chunk-ack"));
    let line = server.log.wait_for("The programme is not archived");
    assert!(line.contains("No space left on device") && line.contains("ERROR"), "{line}");
    assert!(line.contains(".ogg.part"), "{line}");
    for _ in 0..10 {
        clock.advance(100);
    }
    assert!(host.ask(&chunk(&webm)).contains("chunk-ack"));
    assert!(host.ask(STOP).contains("stream-stopped"));
    let (heard, _) = validated(directory.path(), &listener.hear_out());
    assert!(fs::metadata(heard).unwrap().len() > 60_000);
    assert_eq!(server.log.count("The programme is not archived"), 1);
    // The next programme tries again.
    assert_eq!(host.ask(r#"{"type":"start-stream"}"#), STARTED);
    assert!(host.ask(&chunk(&webm)).contains("chunk-ack"));
    while server.log.count("The programme is not archived") < 2 {
        clock.advance(0);
    }
}

#[test]
fn a_directory_that_cannot_be_written_is_no_setting() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    for (settings, expected) in [
        (to_nobody(&missing), "ReadWritePaths=-/"),
        (to_nobody(&missing)[1..].to_vec(), "there is no programme without ICECAST_URL"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_openstudio-signaling"));
        let output = command.env_clear().envs(settings).env("PORT", "0").output().unwrap();
        assert_eq!(output.status.code(), Some(78));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("Invalid setting ARCHIVE_DIR=") && said.contains(expected), "{said}");
    }
}
