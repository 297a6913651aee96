//! Decoders that earlier images have spoilt, and what becomes of the later ones.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use super::*;

/// Fails, and spoils the decoder that is given it.
const FAILS_AND_SPOILS: &[u8] = b"fails and spoils";
/// Decodes, and spoils the decoder that is given it.
const DECODES_AND_SPOILS: &[u8] = b"decodes and spoils";
/// Fails, and spoils every decoder of the process.
const SPOILS_THE_PROCESS: &[u8] = b"spoils the process";
/// Makes the decoder panic, and spoils it.
const PANICS: &[u8] = b"panics";

/// A decoder that images can spoil: it then refuses all others, as TurboJPEG's handles did.
struct Spoilable {
    decoder: PictureDecoder,
    is_spoilt: bool,
    process_is_spoilt: Arc<AtomicBool>,
    decodes: Arc<AtomicUsize>,
}

impl Decode for Spoilable {
    fn decode(&mut self, image: &Bytes) -> DecodeResult {
        let corrupt = || Err(Failure::new(Reason::CorruptImage, "Bogus marker length"));
        if self.is_spoilt || self.process_is_spoilt.load(Ordering::Relaxed) {
            return corrupt();
        }
        match image.as_ref() {
            FAILS_AND_SPOILS => {
                self.is_spoilt = true;
                corrupt()
            }
            DECODES_AND_SPOILS => {
                self.is_spoilt = true;
                Ok((picture_of(&mut self.decoder), vec![0; 3 * 64 * 64]))
            }
            SPOILS_THE_PROCESS => {
                self.process_is_spoilt.store(true, Ordering::Relaxed);
                corrupt()
            }
            PANICS => {
                self.is_spoilt = true;
                panic!("broken table")
            }
            image if image.len() > 1000 => {
                self.decodes.fetch_add(1, Ordering::Relaxed);
                self.decoder.decode(&Bytes::copy_from_slice(image))
            }
            // The built-in ones.
            image => self.decoder.decode(&Bytes::copy_from_slice(image)),
        }
    }
}

fn picture_of(decoder: &mut PictureDecoder) -> Picture {
    decoder.decode(&good()).unwrap().0
}

/// A good image of more than 1,000 bytes, as no built-in one has.
fn good() -> Bytes {
    with_segment(&jpeg(&quarters(64, 64)), 0xFE, &[0; 1000]).into()
}

fn corrupt() -> Bytes {
    super::independence::changed(&good(), 0xDA, 5, 9).into()
}

/// The decoder, and how many images of these tests were decoded.
fn decoder() -> (CheckedDecoder<Spoilable>, Arc<AtomicUsize>) {
    let (process_is_spoilt, decodes) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let counted = Arc::clone(&decodes);
    let build = move || {
        Ok(Spoilable {
            decoder: PictureDecoder::new(options(640))?,
            is_spoilt: false,
            process_is_spoilt: Arc::clone(&process_is_spoilt),
            decodes: Arc::clone(&counted),
        })
    };
    (CheckedDecoder::new(build).unwrap(), decodes)
}

/// The image's outcome, or the fault that was found.
fn decode(decoder: &mut CheckedDecoder<Spoilable>, image: impl Into<Bytes>) -> Result<Result<(), Reason>, Fault> {
    let image = image.into();
    confirmed(|| decoder.attempt(&image)).map(|result| result.map(|_| ()).map_err(|failure| failure.reason))
}

#[test]
fn a_decoder_that_an_image_spoilt_is_replaced_before_the_next() {
    for (image, expected) in [(FAILS_AND_SPOILS, Reason::CorruptImage), (PANICS, Reason::InternalError)] {
        let (mut decoder, _) = decoder();
        assert_eq!(decode(&mut decoder, image), Ok(Err(expected)));
        for _ in 0..40 {
            assert_eq!(decode(&mut decoder, good()), Ok(Ok(())));
        }
    }
}

#[test]
fn an_image_that_a_spoilt_decoder_refuses_is_left_to_another_one() {
    let (mut decoder, _) = decoder();
    assert_eq!(decode(&mut decoder, DECODES_AND_SPOILS), Ok(Ok(())));
    let first = "corrupt_image: Bogus marker length".to_owned();
    assert_eq!(decode(&mut decoder, good()), Err(Fault::Contradiction(first)));
}

#[test]
fn a_process_that_no_longer_decodes_the_built_in_images_refuses_none() {
    let (mut decoder, _) = decoder();
    for image in [Bytes::from_static(SPOILS_THE_PROCESS), good()] {
        let fault = decode(&mut decoder, image.clone()).unwrap_err();
        assert!(matches!(&fault, Fault::SelfTest(found) if found.contains("the built-in JPEG")), "{fault}");
        // As a stage uses it.
        assert_eq!(decoder.decode(&image).unwrap_err().reason, Reason::InternalError);
    }
}

#[test]
fn a_corrupt_image_is_decoded_again_unless_the_self_test_came_right_before_it() {
    let (mut decoder, decodes) = decoder();
    for (image, expected, count, when) in [
        (corrupt(), Err(Reason::CorruptImage), 1, "right behind the first self-test"),
        (corrupt(), Err(Reason::CorruptImage), 1, "right behind the self-test that the failure before it brought"),
        (good(), Ok(()), 1, "it decodes"),
        (corrupt(), Err(Reason::CorruptImage), 2, "behind another image"),
        (corrupt(), Err(Reason::CorruptImage), 1, "right behind that self-test"),
    ] {
        assert_eq!(decode(&mut decoder, image), Ok(expected));
        assert_eq!(decodes.swap(0, Ordering::Relaxed), count, "{when}");
    }
}

#[test]
fn a_decoder_that_does_not_pass_its_self_test_does_not_start() {
    struct Wrong(PictureDecoder, fn(&mut Picture, &mut Vec<u8>));
    impl Decode for Wrong {
        fn decode(&mut self, image: &Bytes) -> DecodeResult {
            let (mut picture, mut frame) = self.0.decode(image)?;
            (self.1)(&mut picture, &mut frame);
            Ok((picture, frame))
        }
    }
    for frame_format in [FrameFormat::Rgb8, FrameFormat::Jpeg] {
        // The smallest working size that the settings allow.
        for working_size in [32, 640] {
            let started = |change| {
                let options = PreprocessOptions { frame_format, ..options(working_size) };
                CheckedDecoder::new(move || Ok(Wrong(PictureDecoder::new(options.clone())?, change)))
            };
            assert!(started(|_, _| ()).is_ok());
            let wrong: [fn(&mut Picture, &mut Vec<u8>); 4] = [
                |_, frame| frame.truncate(frame.len() / 2),
                |_, frame| frame.fill(128),
                |picture, _| picture.frame_width += 1,
                |_, _| panic!("broken table"),
            ];
            for change in wrong {
                let error = started(change).err().unwrap().to_string();
                assert!(error.contains("failed its self-test: the built-in JPEG"), "{error}");
            }
        }
    }
}
