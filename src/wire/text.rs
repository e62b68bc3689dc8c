//! Text from clients, made safe for replies and log lines.
//!
//! Owns [`quoted`], which drops characters that are not printable and cuts the text to [`MAX_QUOTED`] characters. It
//! deliberately does not know where the text is shown.

/// How many characters of a client's text appear in a reply or a log line.
pub const MAX_QUOTED: usize = 64;

/// Whether a character shows as itself: none that controls, ends a line, hides, or turns the direction of what
/// is around it (Unicode's categories Cc, Zl, Zp and, as far as they can deceive, Cf), and no letter that shows as
/// nothing.
pub fn is_printable(c: char) -> bool {
    let deceives = matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{2800}' | '\u{3164}' | '\u{ffa0}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}'
        | '\u{e0000}'..='\u{e007f}');
    !c.is_control() && !deceives
}

/// A client's text as a reply or a log may show it: at most 64 characters, all of them printable.
pub fn quoted(text: &str) -> String {
    text.chars().filter(|c| is_printable(*c)).take(MAX_QUOTED).collect()
}
