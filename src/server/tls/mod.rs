//! TLS on an accepted connection.
//!
//! Owns the records and the stream on them. It deliberately does not know which certificate is in force, nor what the
//! bytes mean.

#[cfg(test)]
mod pair;
#[cfg(test)]
mod peer;
pub mod records;
#[cfg(test)]
mod records_tests;
pub mod stream;
