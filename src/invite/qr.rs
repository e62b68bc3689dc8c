//! A link as a QR code (ISO/IEC 18004) in a terminal.
//!
//! Owns how it is drawn. It deliberately does not know what the text is.

use qrcode::render::unicode::Dense1x2;
use qrcode::types::QrError;
use qrcode::{EcLevel, QrCode};

/// White on black, whatever the colours of the terminal are: what is light is drawn, and a camera wants a light ground.
const COLOURS: &str = "\x1b[38;5;231;48;5;16m";
const USUAL: &str = "\x1b[0m";

/// Draws a text, two modules a character. With `coloured`, each line sets the colours and takes them back.
///
/// # Errors
///
/// When the text is longer than a QR code can be: 2,953 bytes.
pub fn draw(text: &str, coloured: bool) -> Result<String, QrError> {
    // A screen has no scratches: the least redundancy makes the smallest code.
    let code = QrCode::with_error_correction_level(text, EcLevel::L)?;
    let drawn =
        code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build();
    let (before, after) = if coloured { (COLOURS, USUAL) } else { ("", "") };
    Ok(drawn.lines().map(|line| format!("{before}{line}{after}\n")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_of_an_invite_fits_a_terminal() {
        // A name of usual length, and the token of an invite.
        let link = format!("https://studio.example.org/#morning-show?token={}", "x".repeat(230));
        let plain = draw(&link, false).unwrap();
        let widths: Vec<_> = plain.lines().map(|line| line.chars().count()).collect();
        assert!(widths.iter().all(|width| *width == widths[0] && *width <= 80), "{widths:?}");
        assert!(plain.lines().next().unwrap().chars().all(|c| c == '█'), "a light ground around");
        let coloured = draw(&link, true).unwrap();
        assert!(coloured.lines().all(|line| line.starts_with(COLOURS) && line.ends_with(USUAL)));
        assert_eq!(coloured.replace(COLOURS, "").replace(USUAL, ""), plain);
    }

    #[test]
    fn a_code_has_its_limit() {
        assert!(draw(&"x".repeat(2953), false).is_ok());
        assert!(draw(&"x".repeat(2954), false).is_err());
    }
}
