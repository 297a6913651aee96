use std::{
    ffi::OsString,
    fmt, io,
    os::{
        fd::OwnedFd,
        unix::{net::UnixStream, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    protocol::{Answer, READY, read_block, write_block},
    replacement::{cause, failure, no_decoder, start_patiently},
};
use crate::{
    domain::{Failure, FrameFormat, Picture, Reason},
    stages::preprocess::{Attempt, Decode, DecodeResult, Fault, PreprocessError, PreprocessOptions, confirmed},
    telemetry::{DecoderMetrics, DecoderReplaced},
};

/// Longest start of a child, on a busy machine too.
const START_LIMIT: Duration = Duration::from_secs(10);

/// Longest answer without its frame.
const MAX_ANSWER: usize = 64 << 10;

/// The program that decodes, and its arguments.
#[derive(Debug, Clone)]
pub struct Program {
    pub(super) path: PathBuf,
    pub(super) arguments: Vec<OsString>,
}

impl Program {
    /// This very program, with these arguments.
    ///
    /// # Errors
    /// When the system does not say which one it is.
    pub fn own(arguments: &[&str]) -> io::Result<Self> {
        // Linux finds it by this name even when an upgrade has put another file in its place.
        let itself = Path::new("/proc/self/exe");
        let path = if itself.exists() { itself.to_owned() } else { std::env::current_exe()? };
        Ok(Program { path, arguments: arguments.iter().map(OsString::from).collect() })
    }
}

/// Decodes in a child process, and in a new one after that one has ended.
#[derive(Debug)]
pub struct DecoderProcess {
    program: Program,
    /// What a child is told first.
    options: Vec<u8>,
    /// Longest answer with a frame.
    max_frame: usize,
    /// Longest side of a frame, in pixels.
    working_size: u32,
    frame_format: FrameFormat,
    /// How long one picture may take.
    limit: Duration,
    metrics: Arc<DecoderMetrics>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    socket: UnixStream,
}

impl DecoderProcess {
    /// A decoder whose child runs.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(
        program: Program,
        options: &PreprocessOptions,
        limit: Duration,
        metrics: Arc<DecoderMetrics>,
    ) -> Result<Self, PreprocessError> {
        let trouble = |error: &dyn fmt::Display| PreprocessError::Decoder(format!("as a process: {error}"));
        let (working_size, frame_format) = (options.working_size, options.frame_format);
        let side = working_size as usize;
        let options = serde_json::to_vec(&(options, limit)).map_err(|error| trouble(&error))?;
        // The headers of a JPEG may make it larger than a few pixels.
        let max_frame = 3 * side * side + MAX_ANSWER;
        let mut decoder =
            DecoderProcess { program, options, max_frame, working_size, frame_format, limit, metrics, running: None };
        decoder.running = Some(decoder.spawn().map_err(|error| trouble(&error))?);
        Ok(decoder)
    }

    fn spawn(&self) -> io::Result<Running> {
        let (socket, theirs) = UnixStream::pair()?;
        let mut command = Command::new(&self.program.path);
        command
            .args(&self.program.arguments)
            // It inherits no secret.
            .env_clear()
            .envs(std::env::var_os("LD_LIBRARY_PATH").map(|path| ("LD_LIBRARY_PATH", path)))
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            // What a terminal sends for Ctrl-C is for us: pictures under way are finished.
            .process_group(0);
        let mut running = Running { child: command.spawn()?, socket };
        // With the command goes our copy of the child's end: when the child ends, reading ends.
        drop(command);
        let mut timed = Timed::new(&running.socket, START_LIMIT);
        let said = match write_block(&mut timed, &self.options).and_then(|()| read_block(&mut timed, MAX_ANSWER)) {
            Ok(said) if said == READY => return Ok(running),
            Ok(said) => match serde_json::from_slice::<Fault>(&said) {
                Ok(fault) => {
                    self.metrics.replaced(cause(&fault));
                    fault.to_string()
                }
                Err(_) => said.escape_ascii().to_string(),
            },
            Err(error) => error.to_string(),
        };
        Err(io::Error::other(format!("it does not start: {said}, {}", running.end())))
    }

    /// The child, started anew if there is none.
    fn running(&mut self) -> io::Result<&mut Running> {
        let running = match self.running.take() {
            Some(running) => running,
            None => start_patiently(|| self.spawn())?,
        };
        Ok(self.running.insert(running))
    }

    /// Whether a frame is what its child says: the next stage goes by it.
    fn is_right(&self, picture: &Picture, frame: &[u8]) -> bool {
        let (width, height) = (picture.frame_width, picture.frame_height);
        let sides = 1..=self.working_size;
        let is_whole = match picture.frame_format {
            FrameFormat::Rgb8 => frame.len() as u64 == 3 * u64::from(width) * u64::from(height),
            FrameFormat::Jpeg => !frame.is_empty(),
        };
        sides.contains(&width) && sides.contains(&height) && picture.frame_format == self.frame_format && is_whole
    }

    /// Sends the picture to the child and reads its answer and the frame.
    fn ask(&mut self, bytes: &Bytes) -> io::Result<(Answer, Vec<u8>)> {
        let (limit, max_frame) = (self.limit, self.max_frame);
        // Of another kind than a time-out, whatever the system says of its own shortage.
        let mut timed = Timed::new(&self.running().map_err(io::Error::other)?.socket, limit);
        write_block(&mut timed, bytes)?;
        let answer = read_block(&mut timed, MAX_ANSWER)?;
        let frame = read_block(&mut timed, max_frame)?;
        Ok((serde_json::from_slice(&answer)?, frame))
    }

    /// Has the child decode the picture once.
    fn attempt(&mut self, bytes: &Bytes) -> Result<Attempt, Trouble> {
        let began = Instant::now();
        let asked = self.ask(bytes);
        self.metrics.durations.record(began.elapsed());
        match asked? {
            (Answer::Frame(picture), frame) if self.is_right(&picture, &frame) => {
                Ok(Attempt::Final(Ok((picture, frame))))
            }
            (Answer::Frame(picture), _) => Err(Trouble::WrongFrame(picture)),
            (Answer::Fault(fault), _) => Err(fault.into()),
            (Answer::Failure { reason, detail, is_final }, _) => {
                let failure = failure(reason, &detail);
                match (reason, is_final) {
                    // A panic, or a lack of memory that earlier pictures may have taken.
                    (Reason::InternalError, _) => Err(Trouble::Failure(failure)),
                    (_, true) => Ok(Attempt::Final(Err(failure))),
                    (_, false) => Ok(Attempt::Unconfirmed(failure)),
                }
            }
        }
    }

    /// Ends the child, if there is one, and says how it ended.
    fn replace(&mut self, trouble: &Trouble) -> String {
        let Some(mut running) = self.running.take() else { return "it did not start".to_owned() };
        self.metrics.replaced(trouble.cause());
        if !trouble.ends_the_child() {
            // Fails only where it has ended after all.
            let _ = running.child.kill();
        }
        running.end()
    }
}

/// A reason to replace a child.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("the decoder does not answer: {0}")]
    Socket(#[from] io::Error),
    #[error("{0}")]
    Fault(#[from] Fault),
    #[error("{0}")]
    Failure(Failure),
    #[error("the decoder's frame is not what it says: {0:?}")]
    WrongFrame(Picture),
}

impl Trouble {
    fn cause(&self) -> DecoderReplaced {
        match self {
            Trouble::Socket(error) if is_timeout(error) => DecoderReplaced::Timeout,
            Trouble::Socket(_) | Trouble::WrongFrame(_) => DecoderReplaced::Ended,
            Trouble::Fault(fault) => cause(fault),
            Trouble::Failure(_) => DecoderReplaced::InternalError,
        }
    }

    /// Returns true if the child has ended, or ends without being killed.
    fn ends_the_child(&self) -> bool {
        match self {
            Trouble::Socket(error) => !is_timeout(error),
            Trouble::Fault(Fault::SelfTest(_)) => true,
            Trouble::Fault(Fault::Contradiction(_)) | Trouble::Failure(_) | Trouble::WrongFrame(_) => false,
        }
    }
}

impl Decode for DecoderProcess {
    fn decode(&mut self, bytes: &Bytes) -> DecodeResult {
        let first = match confirmed(|| self.attempt(bytes)) {
            Ok(result) => return result,
            Err(trouble) => trouble,
        };
        // The child may have been ended by others, for want of memory for example, or stopped with us for a while, or an
        // earlier picture may have spoilt it: the picture gets a second one.
        let status = self.replace(&first);
        tracing::warn!(trouble = %first, status, "a picture's decoder is replaced; trying a new one");
        confirmed(|| self.attempt(bytes)).unwrap_or_else(|second| {
            let status = self.replace(&second);
            Err(match second {
                Trouble::Socket(error) if is_timeout(&error) => {
                    let detail = format!("the picture did not decode within {:?}, nor when tried again", self.limit);
                    Failure::new(Reason::DecodeTimeout, detail)
                }
                Trouble::Failure(failure) => failure,
                second => no_decoder(format!("{second} ({status})")),
            })
        })
    }
}

impl Running {
    /// Ends it, and says how it ended.
    fn end(&mut self) -> String {
        // Has ended already, where it crashed; a moment passes between the end of its socket and its own.
        let exited = wait_a_moment(&mut self.child);
        let status = exited.map_or_else(
            || {
                self.child.kill()?;
                self.child.wait()
            },
            Ok,
        );
        status.map_or_else(|error| error.to_string(), |status: ExitStatus| status.to_string())
    }
}

fn wait_a_moment(child: &mut Child) -> Option<ExitStatus> {
    for _ in 0..10 {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(2));
    }
    None
}

impl Drop for Running {
    fn drop(&mut self) {
        // Nobody waits for its answer any more. It has no file that could be left half written.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A socket of which all reads and writes together have one deadline.
struct Timed<'a> {
    socket: &'a UnixStream,
    deadline: Instant,
}

impl<'a> Timed<'a> {
    fn new(socket: &'a UnixStream, limit: Duration) -> Self {
        Timed { socket, deadline: Instant::now() + limit }
    }

    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }
}

impl io::Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(self.left()?)?;
        self.socket.read(buffer)
    }
}

impl io::Write for Timed<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(self.left()?)?;
        self.socket.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Both kinds: sockets say the one, and [`Timed`] the other.
fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
