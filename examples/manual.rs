//! Writes the manual pages of the command and its subcommands into a folder: `cargo run --example manual -- FOLDER`.

use std::fs;
use std::io;
use std::path::PathBuf;

use clap::CommandFactory;
use portcullis::command::Arguments;

fn main() -> io::Result<()> {
    let folder = std::env::args_os().nth(1).map(PathBuf::from);
    let folder = folder.ok_or_else(|| io::Error::other("expected the folder to write the pages into"))?;
    fs::create_dir_all(&folder)?;
    // The terminal's width and colours have no place in a page.
    clap_mangen::generate_to(Arguments::command().disable_help_subcommand(true), folder)
}
