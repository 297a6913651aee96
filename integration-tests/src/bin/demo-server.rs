//! The web server of the demo and the benchmarks.

use std::{
    fs,
    io::{self, Read, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::Parser;
use integration_tests::{
    Options, WebServer, demo_list,
    hostile::{Cost, HostileOptions, HostileServer, mixed},
    photos,
};

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
    /// Runs hostile servers too, and writes a list with URLs of theirs to this file
    #[arg(long, value_name = "FILE", requires = "authority")]
    hostile: Option<PathBuf>,
    /// Writes the certificate of their authority to this file, for SSL_CERT_FILE
    #[arg(long, value_name = "FILE")]
    authority: Option<PathBuf>,
    /// URLs of that list
    #[arg(long, value_name = "N", default_value_t = 1000)]
    urls: usize,
    /// How many of a hundred URLs of that list are hostile; the others are /counted/N.jpg
    #[arg(long, value_name = "PERCENT", default_value_t = 30, value_parser = clap::value_parser!(u8).range(..=100))]
    share: u8,
    /// Addresses of each hostile manner
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=250))]
    hosts: u8,
    /// What a hostile URL may cost
    #[arg(long, value_name = "COST", value_delimiter = ',', default_value = "little,bytes,work,time")]
    costs: Vec<Cost>,
    /// Only these manners
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    manners: Vec<String>,
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
    let hostile = arguments
        .hostile
        .as_ref()
        .map(|_| HostileServer::start(HostileOptions { hosts: arguments.hosts, ..HostileOptions::default() }));
    let hostile = hostile.transpose()?;
    if let (Some(hostile), Some(list), Some(authority)) = (&hostile, arguments.hostile, arguments.authority) {
        let chosen = hostile.list(arguments.urls, |manner| {
            arguments.costs.contains(&manner.cost)
                && (arguments.manners.is_empty() || arguments.manners.iter().any(|name| name == manner.name))
        });
        let good = (0..arguments.urls).map(|number| server.url(&format!("/counted/{number}.jpg")));
        fs::write(authority, hostile.authority())?;
        fs::write(list, mixed(good, chosen, arguments.urls, arguments.share).join("\n") + "\n")?;
    }
    let mut stdout = io::stdout();
    writeln!(stdout, "{}", server.base())?;
    stdout.flush()?;
    let mut stdin = io::stdin();
    while stdin.read(&mut [0; 256])? > 0 {}
    Ok(())
}
