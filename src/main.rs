//! The `facemill` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    share_arenas();
    facemill::cli::main()
}

/// Lets all threads share two of the C library's memory arenas, before there is a second thread.
///
/// Pictures are made on one thread and freed on another; with an arena a thread, each keeps the holes that
/// leaves, and resident memory creeps up (docs/performance.md has the figures).
fn share_arenas() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "the C library has no safe way to say it")]
    // SAFETY: mallopt only sets a number, and no other thread runs yet that could allocate meanwhile.
    unsafe {
        // Refused at worst, and then things are as they were.
        libc::mallopt(libc::M_ARENA_MAX, 2);
    }
}
