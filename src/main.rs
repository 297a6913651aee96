//! The `facemill` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    facemill::cli::main()
}
