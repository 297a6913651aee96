//! What the tests of the whole program, the demo and the benchmarks share: a web server on loopback
//! that behaves well or badly on demand, and the places of the program and of the assets.

mod answer;
pub mod hostile;
mod pixel;
mod server;

use std::{env, io, path::PathBuf};

pub use pixel::PIXEL_PNG;
pub use server::{Options, WebServer};

/// The URL list of `make demo` for a server at `base`: three photographs, then what the web is made of.
pub fn demo_list(base: &str) -> String {
    let lines = [
        "# Three public-domain photographs",
        "/photos/solvay_conference_1927.jpg",
        "/photos/gauss.png",
        "/photos/newton.png",
        "# A photograph that lost its second half on the way: still a picture",
        "/truncated.jpg",
        "# A picture of one pixel: too small for a face, but a picture",
        "/pixel.png",
        "# Not there",
        "/missing.jpg",
        "# A web page that calls itself a picture",
        "/page.jpg",
        "# A redirect to itself",
        "/loop.jpg",
        "# A body that stops half-way, on a connection that stays open",
        "/stall.jpg",
        "# A photograph whose owner opts out (X-Robots-Tag: noai)",
        "/robots.jpg",
    ];
    let full = |line: &str| if line.starts_with('/') { format!("{base}{line}\n") } else { format!("{line}\n") };
    lines.into_iter().map(full).collect()
}

/// The folder with the demo's photographs.
///
/// # Errors
/// It is not there: the message says which command fetches it.
pub fn photos() -> io::Result<PathBuf> {
    let assets = env::var_os("FACEMILL_ASSETS")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../assets/downloads"), PathBuf::from);
    let photos = assets.join("photos");
    if photos.is_dir() {
        return Ok(photos);
    }
    Err(io::Error::other(format!("no photographs in {}: run `make assets`", photos.display())))
}

/// The `facemill` program that cargo put beside the running test or tool (`target/debug/facemill`).
///
/// # Errors
/// It is not there: the message says which command builds it.
pub fn facemill() -> io::Result<PathBuf> {
    let running = env::current_exe()?;
    let beside = running.ancestors().skip(1).take(2).map(|folder| folder.join("facemill"));
    beside
        .into_iter()
        .find(|program| program.is_file())
        .ok_or_else(|| io::Error::other(format!("no facemill program beside {}: run `make build`", running.display())))
}
