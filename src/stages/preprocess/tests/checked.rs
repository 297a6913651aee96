//! Decoders that earlier images have spoilt, and what becomes of the later ones.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use super::*;

/// Spoils the decoder that is given it, and fails.
const POISON: &[u8] = b"poison";
/// Spoils the decoder that is given it, and seems to decode.
const SLOW_POISON: &[u8] = b"slow poison";
/// Spoils every decoder of the process.
const PLAGUE: &[u8] = b"plague";
const PANIC: &[u8] = b"panic";

/// A decoder that images can spoil: it then refuses all others, as TurboJPEG's handles did.
struct Spoilable {
    decoder: PictureDecoder,
    is_spoilt: bool,
    process_is_spoilt: Arc<AtomicBool>,
    decodes: Arc<AtomicUsize>,
}

impl Decode for Spoilable {
    fn decode(&mut self, image: &Bytes) -> Decoded {
        let corrupt = || Err(Failure::new(Reason::CorruptImage, "Bogus marker length"));
        if self.is_spoilt || self.process_is_spoilt.load(Ordering::Relaxed) {
            return corrupt();
        }
        match image.as_ref() {
            POISON => {
                self.is_spoilt = true;
                corrupt()
            }
            SLOW_POISON => {
                self.is_spoilt = true;
                Ok((picture_of(&mut self.decoder), vec![0; 3 * 64 * 64]))
            }
            PLAGUE => {
                self.process_is_spoilt.store(true, Ordering::Relaxed);
                corrupt()
            }
            PANIC => {
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

/// More than 1,000 bytes, as no built-in image has.
fn good() -> Bytes {
    with_segment(&jpeg(&quarters(64, 64)), 0xFE, &[0; 1000]).into()
}

fn corrupt() -> Bytes {
    let mut image = good().to_vec();
    let scan = image.windows(2).position(|pair| pair == [0xFF, 0xDA]).unwrap();
    image[scan + 5] = 9;
    image.into()
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

fn reason(decoded: Result<Decoded, Fault>) -> Reason {
    decoded.unwrap().unwrap_err().reason
}

#[test]
fn a_decoder_that_an_image_spoilt_is_replaced_before_the_next() {
    for (image, expected) in [(POISON, Reason::CorruptImage), (PANIC, Reason::InternalError)] {
        let (mut decoder, _) = decoder();
        assert_eq!(reason(decoder.decode(&Bytes::from_static(image))), expected);
        for _ in 0..40 {
            assert!(decoder.decode(&good()).unwrap().is_ok());
        }
    }
}

#[test]
fn an_image_that_a_spoilt_decoder_refuses_is_left_to_another_one() {
    let (mut decoder, _) = decoder();
    assert!(decoder.decode(&Bytes::from_static(SLOW_POISON)).unwrap().is_ok());
    let fault = decoder.decode(&good()).unwrap_err();
    assert_eq!(fault, Fault::Contradiction("corrupt_image: Bogus marker length".to_owned()));
    assert_eq!(fault.cause(), "contradiction");
}

#[test]
fn a_process_that_no_longer_decodes_the_built_in_images_refuses_none() {
    let (mut decoder, _) = decoder();
    let fault = decoder.decode(&Bytes::from_static(PLAGUE)).unwrap_err();
    assert!(matches!(&fault, Fault::SelfTest(found) if found.contains("the built-in JPEG")), "{fault}");
    assert_eq!(fault.cause(), "self_test");
    assert!(matches!(decoder.decode(&good()), Err(Fault::SelfTest(_))));
}

#[test]
fn a_corrupt_image_is_decoded_again_unless_the_self_test_came_right_before_it() {
    let (mut decoder, decodes) = decoder();
    let decodes = || decodes.swap(0, Ordering::Relaxed);
    assert_eq!(reason(decoder.decode(&corrupt())), Reason::CorruptImage);
    assert_eq!(decodes(), 1, "right behind the first self-test");
    assert_eq!(reason(decoder.decode(&corrupt())), Reason::CorruptImage);
    assert_eq!(decodes(), 1, "right behind the self-test that the failure before it brought");
    assert!(decoder.decode(&good()).unwrap().is_ok());
    assert_eq!(decodes(), 1);
    assert_eq!(reason(decoder.decode(&corrupt())), Reason::CorruptImage);
    assert_eq!(decodes(), 2, "behind another image");
    assert_eq!(reason(decoder.decode(&corrupt())), Reason::CorruptImage);
    assert_eq!(decodes(), 1);
}

#[test]
fn a_decoder_that_does_not_pass_its_self_test_does_not_start() {
    struct Wrong(PictureDecoder, fn(&mut Picture, &mut Vec<u8>));
    impl Decode for Wrong {
        fn decode(&mut self, image: &Bytes) -> Decoded {
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
