//! `facemill config`: what the settings are.

use std::io::{self, Write};

use clap::{Args, Subcommand};

use super::{CliError, ConfigArgs};

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
    Ok(io::stdout().write_all(text.as_bytes())?)
}
