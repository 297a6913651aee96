//! `facemill config`: what the settings are.

use std::io;

use clap::{Args, Subcommand};

use super::{CliError, ConfigArgs, manual::print};

/// Print the settings and where they come from
#[derive(Debug, Args)]
pub(super) struct ConfigCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Every setting as it is now, with its source; secrets are redacted
    Show(ConfigArgs),
    /// The commented defaults: the documentation of every setting
    Defaults,
}

pub(super) fn run(command: &ConfigCommand) -> Result<(), CliError> {
    let text = match &command.action {
        Action::Show(args) => args.load()?.show(),
        Action::Defaults => crate::config::DEFAULTS.to_owned(),
    };
    print(&mut io::stdout(), text.as_bytes())
}
