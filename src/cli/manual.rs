//! `facemill completion` and `facemill man`.

use std::io::{self, Write};

use clap::Args;
use clap_complete::Shell;

use super::{CliError, parser};

/// Print a completion script: facemill completion bash > /etc/bash_completion.d/facemill
#[derive(Debug, Args)]
pub(super) struct CompletionArgs {
    /// The shell
    shell: Shell,
}

pub(super) fn completion(args: &CompletionArgs) -> Result<(), CliError> {
    // Into memory first: the generator panics where its output closes early.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut parser(), "facemill", &mut script);
    Ok(io::stdout().write_all(&script)?)
}

/// The program's page, then one for each subcommand.
pub(super) fn man_page() -> Result<(), CliError> {
    let mut parser = parser();
    parser.build();
    let mut page = Vec::new();
    clap_mangen::Man::new(parser.clone()).render(&mut page)?;
    for subcommand in parser.get_subcommands().filter(|subcommand| subcommand.get_name() != "help") {
        clap_mangen::Man::new(subcommand.clone()).render(&mut page)?;
    }
    Ok(io::stdout().write_all(&page)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_every_option_is_explained() {
        let mut parser = parser();
        parser.build();
        parser.clone().debug_assert();
        for command in parser.get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
            }
        }
    }
}
