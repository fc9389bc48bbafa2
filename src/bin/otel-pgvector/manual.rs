//! `completions` and `man`: the command line told to shells and to `man`.

use std::io::{self, Write};
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_mangen::Man;

use crate::args::{Args, CompletionsOptions, ManOptions};
use crate::failure::{Failure, Outcome};
use crate::suggest;
use crate::terminal::stdout;

pub fn completions(options: &CompletionsOptions) -> Outcome {
    // Into memory first: the generator does not bear a closed pipe.
    let mut script = Vec::new();
    let mut command = Args::command();
    let name = command.get_name().to_owned();
    clap_complete::generate(options.shell, &mut command, name, &mut script);
    let mut out = stdout();
    out.write_all(&script)?;
    Ok(out.flush()?)
}

pub fn man(options: &ManOptions) -> Outcome {
    let mut command = Args::command();
    // Gives every command the global options and its full name.
    command.build();
    if let Some(folder) = &options.dir {
        std::fs::create_dir_all(folder)?;
        return Ok(write_all(&command, folder)?);
    }
    let mut page = &command;
    for name in &options.page {
        page = page.find_subcommand(name).ok_or_else(|| {
            let known: Vec<String> = names(page).collect();
            Failure::NotFound(match known.is_empty() {
                true => format!("{} has no commands", page.get_bin_name().unwrap_or_default()),
                false => suggest::unknown("command", name, &known, "help"),
            })
        })?;
    }
    let mut out = stdout();
    Man::new(page.clone()).render(&mut out)?;
    Ok(out.flush()?)
}

/// The page of a command, and those of its subcommands.
fn write_all(command: &Command, folder: &Path) -> io::Result<()> {
    let page = Man::new(command.clone());
    let mut text = Vec::new();
    page.render(&mut text)?;
    std::fs::write(folder.join(page.get_filename()), text)?;
    command
        .get_subcommands()
        .filter(|command| is_shown(command))
        .try_for_each(|command| write_all(command, folder))
}

fn names(command: &Command) -> impl Iterator<Item = String> {
    command.get_subcommands().filter(|command| is_shown(command)).map(|command| command.get_name().to_owned())
}

fn is_shown(command: &Command) -> bool {
    command.get_name() != "help" && !command.is_hide_set()
}
