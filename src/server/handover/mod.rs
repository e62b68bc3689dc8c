//! How everything passes from one process to the next.
//!
//! Owns the way: what is collected, how it is packed, and through what it goes. It deliberately does not know when: that
//! is up to `serve`.

pub mod collection;
pub mod execute;
pub mod farewell;
pub mod pack;
pub mod push;
pub mod queue;
pub mod records;
pub mod take;
