//! The man pages of the program and of its commands.
//!
//! Owns which sections a page has, and in which order. Usage, options and exit codes are what `--help` prints. It
//! deliberately does not know the words of the other sections.

use std::io;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::words;

/// The commands that have a page of their own.
pub fn subcommands(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|subcommand| subcommand.get_name() != "help")
}

/// The page of the program itself, and of the service.
pub fn main_page(command: &Command) -> io::Result<Vec<u8>> {
    let mut page = begin("openstudio-signaling", "8", &about(command))?;
    synopsis(&mut page, command)?;
    section(&mut page, "DESCRIPTION", words::DESCRIPTION)?;
    options(&mut page, command)?;
    Man::new(command.clone()).section("8").render_subcommands_section(&mut page)?;
    section(&mut page, "ENVIRONMENT", words::ENVIRONMENT)?;
    section(&mut page, "SIGNALS", words::SIGNALS)?;
    section(&mut page, "EXIT STATUS", words::EXIT_STATUS)?;
    section(&mut page, "FILES", words::FILES)?;
    section(&mut page, "EXAMPLES", words::EXAMPLES)?;
    let mut pages: Vec<_> = subcommands(command)
        .map(|subcommand| format!("openstudio-signaling-{}(8)", subcommand.get_name()))
        .collect();
    pages.sort();
    let see_also = format!("openstudio-signaling(5), {}, {}", pages.join(", "), words::SEE_ALSO);
    section(&mut page, "SEE ALSO", &[("", &see_also)])?;
    Ok(page)
}

/// The page of a command.
pub fn sub_page(command: &Command) -> io::Result<Vec<u8>> {
    let words = words::of_command(command.get_name());
    let name = format!("openstudio-signaling-{}", command.get_name());
    let mut page = begin(&name, "8", &about(command))?;
    synopsis(&mut page, command)?;
    section(&mut page, "DESCRIPTION", words.description)?;
    options(&mut page, command)?;
    section(&mut page, "ENVIRONMENT", words.environment)?;
    let help = command.get_after_help().expect("each command says how it ends").to_string();
    let status = help.strip_prefix("Exit status: ").expect("what is said behind the options");
    section(&mut page, "EXIT STATUS", &[("", status)])?;
    section(&mut page, "FILES", words.files)?;
    section(&mut page, "EXAMPLES", words.examples)?;
    section(&mut page, "SEE ALSO", &[("", words.see_also)])?;
    Ok(page)
}

fn about(command: &Command) -> String {
    command.get_about().expect("each command says what it does").to_string()
}

/// The head of a page, and its name.
pub fn begin(name: &str, number: &str, about: &str) -> io::Result<Vec<u8>> {
    let man = Man::new(Command::new(name.to_owned()).about(about.to_owned()))
        .title(name.to_uppercase())
        .section(number)
        .manual("OpenStudio")
        .source(concat!("openstudio-signaling ", env!("CARGO_PKG_VERSION")))
        // None. An empty one is left out, and the other two take each other's places: man(1) then cuts head and foot.
        .date(" ");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    // Names and addresses stay whole, so that they can be searched for and copied.
    Roff::new()
        .control("nr", ["HY", "0"])
        .control("nh", [])
        .control("ad", ["l"])
        .to_writer(&mut page)?;
    man.render_name_section(&mut page)?;
    Ok(page)
}

/// How a command is called.
fn synopsis(page: &mut Vec<u8>, command: &Command) -> io::Result<()> {
    let usage = command.clone().render_usage().to_string();
    let name = command.get_bin_name().unwrap_or(command.get_name());
    let mut roff = Roff::new();
    roff.control("SH", ["SYNOPSIS"]);
    for (index, line) in usage.trim_start_matches("Usage: ").lines().enumerate() {
        if index > 0 {
            roff.control("br", []);
        }
        let arguments = line.trim().strip_prefix(name).expect("a usage begins with the name");
        roff.text([bold(name), roman(arguments)]);
    }
    roff.to_writer(page)
}

/// The options, and where the settings are: the flags of a command that has all of them are in openstudio-signaling(5).
fn options(page: &mut Vec<u8>, command: &Command) -> io::Result<()> {
    let has_settings = command.get_arguments().any(|argument| argument.get_id() == "PORT");
    let shown = command.clone().mut_args(|argument| {
        let is_setting = argument.get_help_heading() == Some("Settings");
        match argument.get_id().as_str() {
            "settings-file" if has_settings => argument.help_heading(None),
            _ if has_settings && is_setting => argument.hide(true),
            _ => argument,
        }
    });
    Man::new(shown).render_options_section(page)?;
    section(page, "SETTINGS", if has_settings { words::SETTINGS } else { &[] })
}

/// A section of tagged paragraphs. One without a tag is plain text, and if it has several lines it is an example in a
/// file. There is no section without a paragraph.
pub fn section(page: &mut Vec<u8>, title: &str, paragraphs: &[(&str, &str)]) -> io::Result<()> {
    if paragraphs.is_empty() {
        return Ok(());
    }
    let mut roff = Roff::new();
    roff.control("SH", [title]);
    for (tag, text) in paragraphs {
        let is_example = tag.is_empty() && text.contains('\n');
        match tag.is_empty() {
            true => roff.control("PP", []),
            false => roff.control("TP", []).text([bold(*tag)]),
        };
        if is_example {
            roff.control("EX", []);
        }
        for (index, line) in text.lines().enumerate() {
            if index > 0 && !is_example {
                roff.control("br", []);
            }
            roff.text([roman(line)]);
        }
        if is_example {
            roff.control("EE", []);
        }
    }
    roff.to_writer(page)
}
