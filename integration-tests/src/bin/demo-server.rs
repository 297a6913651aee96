//! The web server of the demo and the benchmarks.

use std::{
    fs,
    io::{self, Read, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::Parser;
use integration_tests::{Options, WebServer, demo_list, photos};

/// Serves photographs, and misbehaves on demand, on a free port of 127.0.0.1.
///
/// Prints its base URL as the first line of stdout and serves until stdin closes or SIGTERM comes:
/// whoever holds the other end of stdin need not remember to stop it.
#[derive(Parser)]
struct Arguments {
    /// Folder of pictures [default: the demo's]
    #[arg(long, value_name = "DIR")]
    photos: Option<PathBuf>,
    /// Writes the demo's list of URLs to this file before the first line of stdout
    #[arg(long, value_name = "FILE")]
    list: Option<PathBuf>,
    /// Milliseconds to wait before every answer
    #[arg(long, value_name = "MS", default_value_t = 0)]
    delay: u64,
}

fn main() -> ExitCode {
    match serve(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo-server: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: Arguments) -> io::Result<()> {
    let photos = arguments.photos.map_or_else(photos, Ok)?;
    let server = WebServer::start(Options { photos, delay: Duration::from_millis(arguments.delay) })?;
    if let Some(list) = arguments.list {
        fs::write(&list, demo_list(&server.base()))?;
    }
    let mut stdout = io::stdout();
    writeln!(stdout, "{}", server.base())?;
    stdout.flush()?;
    let mut stdin = io::stdin();
    while stdin.read(&mut [0; 256])? > 0 {}
    Ok(())
}
