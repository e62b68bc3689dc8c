//! Fuzzes the message envelope.
//!
//! Owns nothing: it gives the fuzzer's bytes to the check. It deliberately does not know what holds.

#![no_main]

#[path = "../checks/envelope.rs"]
mod envelope;

libfuzzer_sys::fuzz_target!(|data: &[u8]| envelope::check(data));
