//! Fuzzes TLS.
//!
//! Owns nothing: it gives the fuzzer's bytes to the check. It deliberately does not know what holds.

#![no_main]

#[path = "../checks/tls.rs"]
mod tls;

libfuzzer_sys::fuzz_target!(|data: &[u8]| tls::check(data));
