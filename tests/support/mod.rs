//! What every test binary uses: a server that stops when it is dropped, a client for it, and how to wait for something.
//!
//! The other files of this folder are for some of the binaries only; each names in its main.rs those that it uses, so
//! that nothing here is unused anywhere. It deliberately knows no test.

mod answer;
mod client;
mod log;
mod server;
mod wait;

pub use answer::*;
pub use client::*;
pub use log::*;
pub use server::*;
pub use wait::*;
