//! Writes the man pages, the pages for operators, the shell completions and the settings file of the package into a
//! directory.
//!
//! Owns which files there are. It deliberately knows no option and no setting.

mod installed;
mod page;
mod settings;
mod words;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap_complete::{Shell, generate_to};
use openstudio_signaling::config::cli::command;

fn main() -> io::Result<()> {
    let directory = std::env::args().nth(1).filter(|argument| !argument.starts_with('-'));
    let directory = directory.map(PathBuf::from);
    let directory = directory.ok_or_else(|| io::Error::other("usage: docs DIRECTORY"))?;
    fs::create_dir_all(&directory)?;
    let mut command = command();
    command.build();
    fs::write(directory.join("openstudio-signaling.8"), page::main_page(&command)?)?;
    for subcommand in page::subcommands(&command) {
        let name = format!("openstudio-signaling-{}.8", subcommand.get_name());
        fs::write(directory.join(name), page::sub_page(subcommand)?)?;
    }
    fs::write(directory.join("openstudio-signaling.5"), settings::page()?)?;
    fs::write(directory.join("openstudio-signaling.default"), settings::file())?;
    installed::write(&directory.join("pages"))?;
    completions(&directory)
}

fn completions(directory: &Path) -> io::Result<()> {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut command(), "openstudio-signaling", directory)?;
    }
    Ok(())
}
