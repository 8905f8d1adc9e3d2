//! `config example`, `completions` and `man`: what is made from the options' definitions.

use std::{io::Write, process::ExitCode};

use crate::{
    cli::{Command, example},
    failure::Failure,
};

pub fn run(command: &Command) -> Result<ExitCode, Failure> {
    let mut page = Vec::new();
    match command {
        Command::Completions { shell } => example::completions(*shell, &mut page),
        Command::Man { command } => example::man(command.as_deref(), &mut page)?,
        _ => page.extend(example::config().into_bytes()),
    }
    let written = std::io::stdout().lock().write_all(&page);
    written.map_err(|e| Failure::usage(format!("stdout: {e}")))?;
    Ok(ExitCode::SUCCESS)
}
