use std::{
    io::{self, Read, Write},
    process,
    sync::mpsc,
    thread,
    time::Duration,
};

use bytes::Bytes;

use super::protocol::{Answer, READY, read_block, write_block};
use crate::stages::preprocess::{Attempt, CheckedDecoder, Decode, PreprocessError, PreprocessOptions, decode_memory};

/// Longest description of the options, and longest picture: the limits of those who send them are far below.
const MAX_OPTIONS: usize = 64 << 10;
const MAX_PICTURE: usize = 1 << 30;

/// Memory beyond the estimate for a picture: the picture as it came, its frame, what the allocator keeps of the one
/// before, and the program's own.
const OWN_BYTES: u64 = 128 << 20;

/// How much longer than its parent a child waits for the end of a decode: without a parent nobody else would end it.
const GRACE: Duration = Duration::from_secs(5);

/// Why a child ended early.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The parent has gone, or says what no parent says.
    #[error("the decoder's socket: {0}")]
    Io(#[from] io::Error),
    /// What came first is no description of options.
    #[error("the decoder's options: {0}; this command is facemill's own, and no use without it")]
    Options(#[from] serde_json::Error),
    /// No decoder.
    #[error(transparent)]
    Decoder(#[from] PreprocessError),
}

/// Makes this process a decoder that decodes what comes until nothing more can come, or until it finds a fault in
/// itself and has said so.
///
/// # Errors
/// When there is no decoder, it does not pass its self-test, or the socket breaks.
pub fn serve<D: Decode>(
    socket: impl Read + Write,
    build: impl Fn(PreprocessOptions) -> Result<D, PreprocessError> + Send + 'static,
) -> Result<(), ServeError> {
    // A picture that crashes many decoders fills no disk.
    let _ = rlimit::setrlimit(rlimit::Resource::CORE, 0, 0);
    // The parent says what came of a picture.
    std::panic::set_hook(Box::new(|_| {}));
    serve_within(socket, build, limit_memory)
}

/// The same, in a process that has more to do; `limit` is given the most memory that each picture may take.
pub(super) fn serve_within<D: Decode>(
    mut socket: impl Read + Write,
    build: impl Fn(PreprocessOptions) -> Result<D, PreprocessError> + Send + 'static,
    limit: impl Fn(u64),
) -> Result<(), ServeError> {
    let (options, longest): (PreprocessOptions, Duration) =
        serde_json::from_slice(&read_block(&mut socket, MAX_OPTIONS)?)?;
    let for_each = options.clone();
    let started = CheckedDecoder::new(move || build(for_each.clone()));
    if let Err(PreprocessError::Fault(fault)) = &started {
        write_block(&mut socket, &serde_json::to_vec(fault)?)?;
    }
    let mut decoder = started?;
    let watch = Watch::start(longest + GRACE)?;
    write_block(&mut socket, READY)?;
    loop {
        let picture: Bytes = match read_block(&mut socket, MAX_PICTURE) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            picture => picture?.into(),
        };
        limit(
            decode_memory(&picture, &options)
                .min(options.decode_bytes)
                .saturating_add(OWN_BYTES + picture.len() as u64),
        );
        watch.begin();
        let attempt = decoder.attempt(&picture);
        watch.end();
        let is_faulty = attempt.is_err();
        let (answer, frame) = match attempt {
            Ok(Attempt::Final(Ok((picture, frame)))) => (Answer::Frame(picture), frame),
            Ok(Attempt::Final(Err(failure))) => (Answer::failure(failure, true), Vec::new()),
            Ok(Attempt::Unconfirmed(failure)) => (Answer::failure(failure, false), Vec::new()),
            Err(fault) => (Answer::Fault(fault), Vec::new()),
        };
        write_block(&mut socket, &serde_json::to_vec(&answer)?)?;
        write_block(&mut socket, &frame)?;
        if is_faulty {
            return Ok(());
        }
        // The next one may be larger.
        limit(options.decode_bytes.saturating_add(OWN_BYTES + MAX_PICTURE as u64));
    }
}

/// Lets the system refuse what no estimate foresaw. Where it cannot, the estimates have to do.
fn limit_memory(bytes: u64) {
    #[cfg(target_os = "linux")]
    if let Err(error) = rlimit::getrlimit(rlimit::Resource::DATA)
        .and_then(|(_, most)| rlimit::setrlimit(rlimit::Resource::DATA, bytes.min(most), most))
    {
        tracing::debug!(%error, "decoder without a limit of memory");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = bytes;
}

/// Ends the process when one picture takes too long.
struct Watch(mpsc::Sender<bool>);

impl Watch {
    fn start(limit: Duration) -> io::Result<Self> {
        let (begun, decodes) = mpsc::channel();
        thread::Builder::new().name("watch".to_owned()).spawn(move || {
            while let Ok(true) = decodes.recv() {
                if decodes.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
                    process::exit(1);
                }
            }
        })?;
        Ok(Watch(begun))
    }

    fn begin(&self) {
        // The thread lives as long as this.
        let _ = self.0.send(true);
    }

    fn end(&self) {
        let _ = self.0.send(false);
    }
}
