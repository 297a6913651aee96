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
    print(&mut io::stdout(), &script)
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
    print(&mut io::stdout(), &page)
}

/// Prints to the end. Whoever closes the pipe early (`| head`) has what he wanted: no error.
pub(super) fn print(output: &mut impl Write, text: &[u8]) -> Result<(), CliError> {
    match output.write_all(text).and_then(|()| output.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => Ok(printed?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An output on which every write, or only the last flush, fails.
    struct Fails {
        write: Option<io::ErrorKind>,
        flush: Option<io::ErrorKind>,
    }

    impl Write for Fails {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.write.map_or(Ok(bytes.len()), |kind| Err(kind.into()))
        }

        fn flush(&mut self) -> io::Result<()> {
            self.flush.map_or(Ok(()), |kind| Err(kind.into()))
        }
    }

    #[test]
    fn a_closed_pipe_is_success_and_a_full_disk_is_not() {
        use io::ErrorKind::{BrokenPipe, StorageFull};
        let printed = |write, flush| print(&mut Fails { write, flush }, b"text");
        assert!(printed(None, None).is_ok());
        assert!(printed(Some(BrokenPipe), None).is_ok());
        assert!(printed(None, Some(BrokenPipe)).is_ok());
        assert!(matches!(printed(Some(StorageFull), None), Err(CliError::Output(_))));
        assert!(matches!(printed(None, Some(StorageFull)), Err(CliError::Output(_))));
    }

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
