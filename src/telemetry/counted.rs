//! Numbers in text, with the noun in its right form.
//!
//! Owns "1 client" and "2 clients". It deliberately does not know what is counted.

use std::fmt::Display;

/// A number with the noun behind it, which gets an s but for 1.
pub fn counted<N: Copy + Display + From<u8> + PartialEq>(count: N, noun: &str) -> String {
    format!("{count} {noun}{}", if count == N::from(1) { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_one() {
        assert_eq!(counted(0_usize, "client"), "0 clients");
        assert_eq!(counted(1_u64, "client"), "1 client");
        assert_eq!(counted(2_i64, "other connection"), "2 other connections");
    }
}
