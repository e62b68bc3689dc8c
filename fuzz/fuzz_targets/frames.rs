//! Fuzzes the frame path.
//!
//! Owns nothing: it gives the fuzzer's bytes to the check. It deliberately does not know what holds.

#![no_main]

#[path = "../checks/frames.rs"]
mod frames;

libfuzzer_sys::fuzz_target!(|data: &[u8]| frames::check(data));
