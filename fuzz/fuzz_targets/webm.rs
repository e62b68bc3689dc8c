//! Fuzzes the reader of recordings.
//!
//! Owns nothing: it gives the fuzzer's bytes to the check. It deliberately does not know what holds.

#![no_main]

#[path = "../checks/webm.rs"]
mod webm;

libfuzzer_sys::fuzz_target!(|data: &[u8]| webm::check(data));
