//! What the options' definitions can be made into besides a command line: a configuration file to begin with, its names, completions for
//! shells, and pages for man.

use std::{any::TypeId, collections::BTreeSet, io::Write, sync::LazyLock};

use clap::{Arg, ArgAction, Args, Command, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Options};
use crate::failure::Failure;

const WIDTH: usize = 100;

/// They say which file and which part of it.
const ONLY_COMMAND_LINE: [&str; 2] = ["config", "pipeline"];

const HEAD: &str = "# A configuration file of Binferry: `binferry run --config FILE`. The names are those of the command line's options, which wins.\n\
# ${NAME} in a text is the environment's variable NAME; $${ is ${ itself.\n\
#\n\
# Several pipelines in one file: what stands at the top holds for all of them, and each has a table of its own. One process runs\n\
# one of them: `binferry run --config FILE --pipeline eu`.\n\
#\n\
# [pipelines.eu]\n\
# log = \"/var/lib/binferry/eu\"\n\
#\n\
# [pipelines.us]\n\
# log = \"/var/lib/binferry/us\"\n";

/// The options that a file may have.
pub fn names() -> &'static BTreeSet<String> {
    static NAMES: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
        let command = definitions();
        let names = command.get_arguments().filter_map(Arg::get_long);
        let names = names.filter(|name| !ONLY_COMMAND_LINE.contains(name));
        names.map(str::to_owned).collect()
    });
    &NAMES
}

fn definitions() -> Command {
    Options::augment_args(Command::new("options"))
}

/// A file with every option, commented out.
pub fn config() -> String {
    let mut page = HEAD.to_owned();
    for option in definitions().get_arguments() {
        let Some(name) = option.get_long().filter(|name| names().contains(*name)) else {
            continue;
        };
        page.push('\n');
        for line in wrapped(
            &option
                .get_help()
                .map(ToString::to_string)
                .unwrap_or_default(),
        ) {
            page.push_str(&format!("# {line}\n"));
        }
        page.push_str(&format!("# {name} = {}\n", value(option)));
    }
    page
}

/// Something of the right type.
fn value(option: &Arg) -> String {
    if let ArgAction::SetTrue = option.get_action() {
        return "true".to_owned();
    }
    let numbers = [
        TypeId::of::<u16>(),
        TypeId::of::<u32>(),
        TypeId::of::<u64>(),
        TypeId::of::<usize>(),
    ];
    let parser = option.get_value_parser();
    if numbers.iter().any(|number| parser.type_id() == *number) {
        return "1".to_owned();
    }
    let text = match option.get_possible_values().first() {
        Some(word) => word.get_name().to_owned(),
        None => option
            .get_value_names()
            .and_then(|names| names.first().map(ToString::to_string))
            .unwrap_or_default(),
    };
    match option.get_action() {
        ArgAction::Append => format!("[\"{text}\"]"),
        _ => format!("\"{text}\""),
    }
}

fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + word.len() < WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// A script for the shell, to be put where it looks for completions.
pub fn completions(shell: Shell, out: &mut impl Write) {
    clap_complete::generate(shell, &mut Cli::command(), "binferry", out);
}

/// The page of the program, or of one of its commands.
pub fn man(of: Option<&str>, out: &mut impl Write) -> Result<(), Failure> {
    let mut program = Cli::command();
    program.build();
    let command = match of {
        None => program,
        Some(name) => match program.find_subcommand(name) {
            Some(command) => command.clone(),
            None => {
                return Err(Failure::usage(format!(
                    "man {name}: there is no such command"
                )));
            }
        },
    };
    clap_mangen::Man::new(command)
        .render(out)
        .map_err(|error| Failure::usage(format!("stdout: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_has_every_option_and_can_be_read() {
        let page = config();
        let options: String = page
            .lines()
            .filter_map(|line| line.strip_prefix("# "))
            .filter(|line| {
                let name = line.split_once(" = ").map(|(name, _)| name);
                name.is_some_and(|name| names().contains(name))
            })
            // The pipelines of the introduction.
            .filter(|line| !line.contains("/var/lib/binferry/"))
            .map(|line| format!("{line}\n"))
            .collect();
        let table: toml::Table = options.parse().unwrap();
        let found: BTreeSet<String> = table.keys().cloned().collect();
        assert_eq!(&found, names());
        // Each has the type that it is to have.
        let read: Result<Options, _> = table.try_into();
        assert!(read.is_ok(), "{read:?}");
    }

    #[test]
    fn completions_and_man_know_the_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            completions(shell, &mut script);
            let script = String::from_utf8(script).unwrap();
            assert!(script.contains("snapshot-max-lag") && script.contains("conflicts"));
        }
        for (of, says) in [
            (None, "binferry\\-run"),
            (Some("run"), "\\-\\-stall\\-after"),
        ] {
            let mut page = Vec::new();
            man(of, &mut page).unwrap();
            let page = String::from_utf8(page).unwrap();
            assert!(page.contains(says), "{page}");
        }
        assert!(man(Some("nothing"), &mut Vec::new()).is_err());
    }
}
