//! The buffers in which sessions work.
//!
//! Owns [`Scratch`], one set of buffers for each thread, and [`with_scratch`], which lends it. So an idle session has no
//! buffer. It deliberately does not know what is in them.

use std::cell::RefCell;

use crate::signaling::conversation::Output;

/// How much is read at once, in bytes. What one read holds is answered before the next, so the answers
/// that wait for a slow client are bounded by what 16 KiB of messages can ask for.
pub const READ: usize = 16 * 1024;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        input: vec![0; READ],
        out: Output::default(),
    });
}

/// What a session works in while it holds the thread.
pub struct Scratch {
    /// What was read: [`READ`] bytes.
    pub input: Vec<u8>,
    /// What is to be written.
    pub out: Output,
}

/// Lends the thread's buffers. What a panic left in them is not the next client's business.
pub fn with_scratch<T>(work: impl FnOnce(&mut Scratch) -> T) -> T {
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.out.frames.clear();
        let result = work(scratch);
        scratch.out.clear();
        result
    })
}
