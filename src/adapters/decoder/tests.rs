//! Against children that are shell scripts and behave as no decoder should. The real ones are in
//! integration-tests/tests/local/decoders.rs.

use std::{
    num::NonZero,
    os::unix::net::UnixStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    protocol::{Answer, READY, read_block, write_block},
    *,
};
use crate::{
    domain::{Failure, FrameFormat, Picture, Reason},
    stages::preprocess::{Decode, DecodeResult, Fault, PictureDecoder, PreprocessError, PreprocessOptions},
    telemetry::{DecoderMetrics, DecoderReplaced},
};

/// Says that it is ready, then waits for the end of the first line of the picture.
const GETS_A_PICTURE: &str = "printf '\\005\\000\\000\\000ready' >&0; read line <&0;";

/// One line. Its length must be no line break: a child would take the length alone for the line.
const PICTURE: &[u8] = b"a picture!\n";

const LIMIT: Duration = Duration::from_millis(1500);

fn start(script: &str) -> Result<DecoderProcess, String> {
    start_counted(script, Arc::default())
}

fn start_counted(script: &str, metrics: Arc<DecoderMetrics>) -> Result<DecoderProcess, String> {
    let program = Program { path: "/bin/sh".into(), arguments: vec!["-c".into(), script.into()] };
    DecoderProcess::start(program, &PreprocessOptions::default(), LIMIT, metrics).map_err(|error| error.to_string())
}

fn decode(script: &str) -> Failure {
    let mut decoder = start(&format!("{GETS_A_PICTURE} {script}")).unwrap();
    decoder.decode(&Bytes::from_static(PICTURE)).unwrap_err()
}

/// A command that says this of a picture, with a frame behind it.
fn says(answer: &str, frame: &str) -> String {
    let length = |text: &str| format!("\\{:03o}\\{:03o}\\000\\000", text.len() % 256, text.len() / 256);
    format!("printf '{}%s{}%s' '{answer}' '{frame}' >&0", length(answer), length(frame))
}

/// A command that answers `corrupt_image`, final or unconfirmed.
fn corrupt(detail: &str, is_final: bool) -> String {
    let answer = Answer::failure(Failure::new(Reason::CorruptImage, detail), is_final);
    says(&serde_json::to_string(&answer).unwrap(), "")
}

/// A command that is done once, by the first of several children, which ends with it.
fn once(folder: &tempfile::TempDir, command: &str) -> String {
    let done = folder.path().join("done").display().to_string();
    format!("[ -e {done} ] || {{ : > {done}; {command}; exit; }}")
}

/// A child does nothing more until its socket closes.
const WAITS: &str = "cat <&0 >/dev/null";

#[test]
fn a_decoder_that_crashes_over_a_picture_twice_is_our_fault_and_says_how_it_ended() {
    let failure = decode("kill -SEGV $$");
    assert_eq!(failure.reason, Reason::InternalError);
    assert!(failure.detail.contains("signal: 11"), "{}", failure.detail);
    let failure = decode("exit 7");
    assert!(failure.detail.contains("exit status: 7"), "{}", failure.detail);
}

#[test]
fn a_decoder_that_crashed_once_leaves_the_picture_to_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let failure = decode(&format!("{}; {}; {WAITS}", once(&folder, "kill -KILL $$"), corrupt("no", true)));
    assert_eq!(failure, Failure::new(Reason::CorruptImage, "no"));
}

#[test]
fn a_decoder_that_hangs_is_ended_in_time() {
    let began = Instant::now();
    assert_eq!(decode("sleep 60").reason, Reason::DecodeTimeout);
    assert!(began.elapsed() >= 2 * LIMIT && began.elapsed() < 10 * LIMIT, "{:?}", began.elapsed());
}

#[test]
fn a_decoder_that_answers_a_byte_at_a_time_has_the_same_limit() {
    let began = Instant::now();
    let drip = "printf '\\000\\020\\000\\000' >&0; while :; do printf x >&0; sleep 0.1; done";
    assert_eq!(decode(drip).reason, Reason::DecodeTimeout);
    assert!(began.elapsed() < 10 * LIMIT, "{:?}", began.elapsed());
}

#[test]
fn what_no_decoder_says_is_a_crash() {
    for script in ["printf '\\377\\377\\377\\377' >&0", "printf '\\001\\000\\000\\000x\\000\\000\\000\\000' >&0"] {
        let failure = decode(&format!("{script}; cat <&0 >/dev/null"));
        assert_eq!(failure.reason, Reason::InternalError, "{failure}");
    }
}

#[test]
fn a_frame_that_is_not_what_its_decoder_says_is_a_crash() {
    let answer = |width: u32, format: &str| {
        format!(
            r#"{{"Frame":{{"width":9,"height":9,"orientation":1,"truncated":false,"frame_width":{width},"frame_height":2,"frame_format":"{format}"}}}}"#
        )
    };
    let says = |answer: &str, frame: &str| format!("{}; {WAITS}", says(answer, frame));
    let mut decoder = start(&format!("{GETS_A_PICTURE} {}", says(&answer(2, "rgb8"), "123456789abc"))).unwrap();
    assert_eq!(decoder.decode(&Bytes::from_static(PICTURE)).unwrap().1, b"123456789abc");
    for (width, format, frame) in
        [(2, "rgb8", "short"), (0, "rgb8", ""), (70_000, "rgb8", "x"), (2, "jpeg", "123456789abc")]
    {
        let failure = decode(&says(&answer(width, format), frame));
        assert_eq!(failure.reason, Reason::InternalError, "{failure}");
    }
}

#[test]
fn a_decoder_that_does_not_start_is_said_at_the_start() {
    let error = start("exit 3").unwrap_err();
    assert!(error.contains("exit status: 3"), "{error}");
    let error = start("printf '\\005\\000\\000\\000hello' >&0; cat <&0 >/dev/null").unwrap_err();
    assert!(error.contains("hello"), "{error}");
}

#[test]
fn a_decoder_that_finds_a_fault_in_itself_is_replaced_and_the_next_one_decodes_the_picture() {
    use DecoderReplaced::{Contradiction, InternalError, SelfTest};
    for (answer, cause) in [
        (r#"{"Fault":{"SelfTest":"the built-in JPEG"}}"#, SelfTest),
        (r#"{"Fault":{"Contradiction":"corrupt_image"}}"#, Contradiction),
        (r#"{"Failure":{"reason":"internal_error","detail":"panic","is_final":true}}"#, InternalError),
    ] {
        let (folder, metrics) = (tempfile::tempdir().unwrap(), Arc::<DecoderMetrics>::default());
        let script = format!("{GETS_A_PICTURE} {}; {}; {WAITS}", once(&folder, &says(answer, "")), corrupt("no", true));
        let mut decoder = start_counted(&script, Arc::clone(&metrics)).unwrap();
        let failure = decoder.decode(&Bytes::from_static(PICTURE)).unwrap_err();
        assert_eq!(failure, Failure::new(Reason::CorruptImage, "no"), "{cause:?}");
        assert_eq!(metrics.replaced_by(cause), 1, "{cause:?}");

        // No decoder is left to say that the picture is at fault.
        let failure = decode(&format!("{}; {WAITS}", says(answer, "")));
        assert_eq!(failure.reason, Reason::InternalError, "{failure}");
    }
}

#[test]
fn a_failure_that_is_not_final_is_asked_for_once_more_and_counts_if_it_is_the_same() {
    let again = |first: &str, second: &str| format!("{first}; read line <&0; {second}; {WAITS}");
    let same = decode(&again(&corrupt("no", false), &corrupt("no", true)));
    assert_eq!(same, Failure::new(Reason::CorruptImage, "no"));

    let (folder, metrics) = (tempfile::tempdir().unwrap(), Arc::<DecoderMetrics>::default());
    let contradicts = again(&corrupt("no", false), &corrupt("another reason", true));
    let script = format!("{GETS_A_PICTURE} {}; {}; {WAITS}", once(&folder, &contradicts), corrupt("no", true));
    let mut decoder = start_counted(&script, Arc::clone(&metrics)).unwrap();
    let failure = decoder.decode(&Bytes::from_static(PICTURE)).unwrap_err();
    assert_eq!(failure, Failure::new(Reason::CorruptImage, "no"));
    assert_eq!(metrics.replaced_by(DecoderReplaced::Contradiction), 1);
}

/// A decoder that takes the picture's first byte as a command.
struct ScriptedDecoder {
    decoder: PictureDecoder,
    is_spoilt: &'static AtomicBool,
}

impl ScriptedDecoder {
    fn build(options: PreprocessOptions, is_spoilt: &'static AtomicBool) -> Result<Self, PreprocessError> {
        Ok(ScriptedDecoder { decoder: PictureDecoder::new(options)?, is_spoilt })
    }
}

impl Decode for ScriptedDecoder {
    fn decode(&mut self, bytes: &Bytes) -> DecodeResult {
        let frame_format = FrameFormat::Rgb8;
        let (width, height, orientation, truncated) = (4, 3, 6, true);
        let picture = Picture { width, height, orientation, truncated, frame_width: 4, frame_height: 3, frame_format };
        match bytes.first() {
            _ if self.is_spoilt.load(Ordering::Relaxed) => Err(Failure::new(Reason::CorruptImage, "spoilt")),
            Some(b'f') => Ok((picture, vec![7; 36])),
            Some(b'p') => panic!("broken table"),
            Some(b'c') => Err(Failure::new(Reason::CorruptImage, "on command")),
            // Every decoder of the process.
            Some(b's') => {
                self.is_spoilt.store(true, Ordering::Relaxed);
                Err(Failure::new(Reason::CorruptImage, "on command"))
            }
            // The built-in ones.
            _ => self.decoder.decode(bytes),
        }
    }
}

#[test]
fn a_child_answers_each_picture_in_turn_a_panic_is_one_answer_and_a_fault_the_last() {
    static IS_SPOILT: AtomicBool = AtomicBool::new(false);
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let options = PreprocessOptions { threads: NonZero::new(3).unwrap(), ..Default::default() };
    let expected = options.clone();
    let build = move |options| {
        assert_eq!(options, expected);
        ScriptedDecoder::build(options, &IS_SPOILT)
    };
    // Its limit of memory and its silence on panics are the process's: a child of this test has them.
    write_block(&mut ours, &serde_json::to_vec(&(options, LIMIT)).unwrap()).unwrap();
    let served = std::thread::spawn(move || child::serve_within(theirs, build, |_| {}));
    assert_eq!(read_block(&mut ours, 100).unwrap(), READY);
    let mut ask = |picture: &[u8]| {
        write_block(&mut ours, picture).unwrap();
        let answer: Answer = serde_json::from_slice(&read_block(&mut ours, 1000).unwrap()).unwrap();
        (answer, read_block(&mut ours, 1000).unwrap())
    };
    for _ in 0..2 {
        let (answer, frame) = ask(b"frame");
        assert!(matches!(&answer, Answer::Frame(picture) if picture.orientation == 6 && picture.truncated));
        assert_eq!(frame, [7; 36]);
        let failure = Answer::failure(Failure::new(Reason::InternalError, "panic: broken table"), true);
        assert_eq!(ask(b"panic"), (failure, Vec::new()));
        let failure = |is_final| Answer::failure(Failure::new(Reason::CorruptImage, "on command"), is_final);
        assert_eq!(ask(b"corrupt"), (failure(true), Vec::new()), "right behind a self-test");
        assert!(matches!(ask(b"frame").0, Answer::Frame(_)));
        assert_eq!(ask(b"corrupt"), (failure(false), Vec::new()), "behind another picture");
        assert_eq!(ask(b"corrupt"), (failure(true), Vec::new()));
    }
    let (answer, frame) = ask(b"spoilt");
    assert!(matches!(answer, Answer::Fault(Fault::SelfTest(_))), "{answer:?}");
    assert!(frame.is_empty());
    ours.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert_eq!(read_block(&mut ours, 1000).unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof, "it goes on");
    served.join().unwrap().unwrap();
}

#[test]
fn a_child_whose_decoder_does_not_pass_its_self_test_says_so_and_is_never_ready() {
    static IS_SPOILT: AtomicBool = AtomicBool::new(true);
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    write_block(&mut ours, &serde_json::to_vec(&(PreprocessOptions::default(), LIMIT)).unwrap()).unwrap();
    let build = |options| ScriptedDecoder::build(options, &IS_SPOILT);
    let error = child::serve_within(theirs, build, |_| {}).unwrap_err();
    assert!(error.to_string().contains("failed its self-test"), "{error}");
    let said: Fault = serde_json::from_slice(&read_block(&mut ours, 1000).unwrap()).unwrap();
    assert!(matches!(said, Fault::SelfTest(_)));
    assert!(read_block(&mut ours, 100).is_err());

    // Its parent.
    let metrics = Arc::<DecoderMetrics>::default();
    let said = serde_json::to_string(&said).unwrap();
    let length = format!("\\{:03o}\\000\\000\\000", said.len());
    let says_so = format!("printf '{length}%s' '{said}' >&0; {WAITS}");
    let error = start_counted(&says_so, Arc::clone(&metrics)).unwrap_err();
    assert!(error.contains("failed its self-test"), "{error}");
    assert_eq!(metrics.replaced_by(DecoderReplaced::SelfTest), 1);
}

#[test]
fn a_decoder_on_a_thread_is_replaced_after_a_fault_and_a_sound_one_decodes_the_picture() {
    static IS_SPOILT: AtomicBool = AtomicBool::new(false);
    let metrics = Arc::<DecoderMetrics>::default();
    let build = |options| ScriptedDecoder::build(options, &IS_SPOILT);
    let mut decoder = DecoderThread::start_with(build, &PreprocessOptions::default(), Arc::clone(&metrics)).unwrap();
    assert_eq!(decoder.decode(&Bytes::from_static(b"corrupt")).unwrap_err().reason, Reason::CorruptImage);
    assert!(decoder.decode(&Bytes::from_static(b"frame")).is_ok());
    // The picture was sound, and what decodes it is spoilt for a while.
    IS_SPOILT.store(true, Ordering::Relaxed);
    let mends = std::thread::spawn(|| {
        std::thread::sleep(Duration::from_millis(250));
        IS_SPOILT.store(false, Ordering::Relaxed);
    });
    assert!(decoder.decode(&Bytes::from_static(b"frame")).is_ok());
    mends.join().unwrap();
    // The fault, and at least one decoder that did not start.
    assert!(metrics.replaced_by(DecoderReplaced::SelfTest) >= 2);
}
