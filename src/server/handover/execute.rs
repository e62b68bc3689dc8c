//! The same process, with the program that is on the disk now: without systemd, nobody else is there to start it.
//!
//! Owns how the program is executed (execve(2)), and what it finds then. All goes through the queue, which is its standard
//! input for a moment. It deliberately does not know when that is done.

use std::convert::Infallible;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::process::id;

use nix::sys::signal::{SigSet, Signal, raise};
use nix::unistd::execvpe;
use rustix::stdio::{dup2_stdin, stdin};
use tokio::signal::unix::SignalKind;

use crate::server::handover::queue::{Receiver, Sender};
use crate::server::systemd::Passed;

/// By this variable the program knows that its standard input is the queue. It has the number of the process, which no child
/// of it has.
const MARK: &str = "OPENSTUDIO_SIGNALING_HANDOVER_PID";

/// The signals that [`serve`](crate::server::serve::serve) handles: a program that does not do so yet would end.
const SIGNALS: [Signal; 5] =
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR2, Signal::SIGWINCH];

/// What the first message says of the sockets in it.
const PASSED: &str = "passed by systemd";
const BOUND: &str = "bound by this process";

/// Where the next program finds what the process listens on.
///
/// # Errors
///
/// What the system says.
pub fn put_listeners(sender: &Sender, listeners: &[OwnedFd], passed: bool) -> io::Result<()> {
    let own = stdin().as_fd().try_clone_to_owned()?;
    let all = [&own].into_iter().chain(listeners).map(AsFd::as_fd);
    let text = if passed { PASSED } else { BOUND };
    sender.send(text.as_bytes(), &all.collect::<Vec<_>>())
}

/// Executes the program that is on the disk now. Where that can't be done, it comes back with the reason, and nothing has
/// changed: so not by the standard library, which sets SIGPIPE to its default before.
pub fn execute(queue: &Receiver) -> io::Error {
    let own = match stdin().as_fd().try_clone_to_owned() {
        Ok(own) => own,
        Err(error) => return error,
    };
    let failed = replace(queue).err().unwrap_or_else(|| io::Error::other("it came back"));
    // It may be the queue now.
    let _ = dup2_stdin(own);
    failed
}

fn replace(queue: &Receiver) -> io::Result<Infallible> {
    let arguments = std::env::args_os().map(|argument| CString::new(argument.into_vec()));
    let arguments = arguments.collect::<Result<Vec<_>, _>>()?;
    let mark = format!("{MARK}={}", id()).into_bytes();
    let variables = std::env::vars_os().filter(|(name, _)| name != MARK);
    let variables =
        variables.map(|(name, value)| [&name.into_vec()[..], b"=", &value.into_vec()].concat());
    let variables = variables.chain([mark]).map(CString::new).collect::<Result<Vec<_>, _>>()?;
    let program = arguments.first().ok_or_else(|| io::Error::other("it has no name"))?;
    dup2_stdin(queue)?;
    execvpe(program, &arguments, &variables).map_err(|error| {
        let (program, error) = (program.to_string_lossy(), io::Error::from(error));
        io::Error::other(format!("the program {program} can't be run: {error}"))
    })
}

/// What there is where this program has taken the place of another in its process.
pub fn executed() -> Option<io::Result<Passed>> {
    let mark = std::env::var(MARK).ok()?;
    if mark != id().to_string() {
        return None;
    }
    let queue = stdin().as_fd().try_clone_to_owned();
    Some(queue.and_then(|queue| received(queue.into())))
}

/// What lies in the queue for this process.
///
/// # Errors
///
/// When it is no such queue.
pub fn received(queue: Receiver) -> io::Result<Passed> {
    let (text, descriptors) = queue.first()?;
    let mut descriptors = descriptors.into_iter();
    if let Some(own) = descriptors.next() {
        dup2_stdin(own)?;
    }
    let listeners = descriptors.map(Into::into).collect();
    let is_own = text != PASSED.as_bytes();
    Ok(Passed { listeners, is_own, queue: Some(queue), unknown: Vec::new() })
}

fn signals() -> SigSet {
    SIGNALS.into_iter().collect()
}

/// No signal comes to this thread, nor to those that it starts. What comes waits until [`release_signals`], also of another
/// program in this process (execve(2)).
pub fn hold_signals() {
    // An error means that the set is none.
    let _ = signals().thread_block();
}

/// Signals are handled from now on, and by this thread.
pub fn release_signals() {
    let _ = signals().thread_unblock();
}

/// This signal has come, and is for the program that follows.
pub fn keep_signal(signal: SignalKind) {
    let signal = Signal::try_from(signal.as_raw_value());
    let _ = signal.and_then(raise);
}
