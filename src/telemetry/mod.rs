//! What can be logged or counted, and where it goes.
//!
//! Owns events, metrics and the journal. It deliberately does not know who asks for them.

pub mod counted;
pub mod counts;
pub mod event_table;
pub mod events;
pub mod journal;
pub mod level;
pub mod metrics;
pub mod quiet;
pub mod quota;
pub mod refused;
pub mod repetition;
pub mod series;
pub mod sink;
pub mod subnet;
