//! An outcome depends on the image's own bytes and the settings, never on what the same decoder was given before.
//!
//! Metamorphic: one decoder takes thousands of damaged images shuffled among good ones, in several orders. Each of them
//! has to end as it does in a decoder of its own.

use std::{collections::BTreeMap, hash::BuildHasher};

use fastrand::Rng;

use super::{
    formats::{segment, without},
    pictures::*,
    *,
};

/// The outcome of an image: its facts and a hash of its frame, or its failure.
type Outcome = Result<(Picture, u64), Failure>;

/// Number of damaged images made from each good one.
const MUTANTS: usize = 60;

fn good_images() -> Vec<Named> {
    [jpegs(), pngs(), gifs(), webps(), bmps()].concat()
}

fn outcome(decoder: &mut impl Decode, bytes: &Bytes, options: &PreprocessOptions) -> Outcome {
    check_limits(&Header::read(bytes)?, options)?;
    let (picture, frame) = decoder.decode(bytes)?;
    Ok((picture, hash(&frame)))
}

/// A hash that stands for the bytes within one test.
fn hash(bytes: &[u8]) -> u64 {
    std::hash::BuildHasherDefault::<std::hash::DefaultHasher>::default().hash_one(bytes)
}

const SOF0: u8 = 0xC0;
const DHT: u8 = 0xC4;
const SOS: u8 = 0xDA;
const DQT: u8 = 0xDB;

/// Changes one byte of a JPEG, `offset` bytes behind the beginning of its first segment of this kind.
pub(super) fn changed(jpeg: &[u8], marker: u8, offset: usize, value: u8) -> Vec<u8> {
    let mut jpeg = jpeg.to_vec();
    let at = segment(&jpeg, marker).0 + offset;
    jpeg[at] = value;
    jpeg
}

/// JPEGs in whose header libjpeg finds an error, each at another place.
fn jpegs_with_header_errors() -> Vec<Named> {
    let good = jpeg(&quarters(64, 64));
    vec![
        ("a component selector that is in no frame", changed(&good, SOS, 5, 9)),
        ("a frame of type 0xC7", changed(&good, SOF0, 1, 0xC7)),
        ("a quantisation table of number 15", changed(&good, DQT, 4, 15)),
        ("a Huffman table of number 7", changed(&good, DHT, 4, 7)),
        ("a frame of no components", changed(&good, SOF0, 9, 0)),
        ("a frame whose length is wrong", changed(&good, SOF0, 3, 16)),
        ("a scan of five components", changed(&good, SOS, 4, 5)),
        ("a frame after a frame", with_segment(&good, SOF0, &[8, 0, 64, 0, 64, 1, 1, 0x11, 0])),
    ]
}

/// JPEGs that are not whole by themselves: what they lack stands in others.
fn abbreviated_jpegs() -> Vec<Named> {
    let good = jpeg(&quarters(64, 64));
    let optimised = jpeg_with(&quarters(64, 64), |compressor| {
        compressor.set_optimize(true).unwrap();
    });
    let scan = segment(&good, SOS).0;
    vec![
        ("no quantisation table", without(good.clone(), DQT)),
        ("no Huffman tables", without(good.clone(), DHT)),
        ("no Huffman tables, made with others than the usual", without(optimised, DHT)),
        ("tables only", [&good[..scan], &[0xFF, 0xD9]].concat()),
    ]
}

/// Damages a good image in [`MUTANTS`] ways.
fn mutants<'a>(random: &'a mut Rng, images: &'a [Named], good: &'a [u8]) -> impl Iterator<Item = Vec<u8>> + 'a {
    let header = good.len().min(160);
    (0..MUTANTS).map(move |number| {
        let mut bytes = good.to_vec();
        match number % 6 {
            0 => bytes.truncate(random.usize(..bytes.len())),
            1 => bytes[random.usize(..header)] ^= 1 << random.u8(..8),
            2 => (0..random.usize(1..5)).for_each(|_| bytes[random.usize(..header)] = random.u8(..)),
            3 => (0..random.usize(1..9)).for_each(|_| bytes[random.usize(..good.len())] = random.u8(..)),
            4 => {
                // A piece of it is missing, or is there twice.
                let (a, b) = (random.usize(..bytes.len()), random.usize(..bytes.len()));
                let piece = bytes[a.min(b)..a.max(b)].to_vec();
                if random.bool() {
                    bytes.drain(a.min(b)..a.max(b));
                } else {
                    bytes.splice(a..a, piece);
                }
            }
            _ => {
                // Its beginning, and the end of another one: tables that do not go with the pixels.
                let other = &images[random.usize(..images.len())].1;
                bytes.truncate(random.usize(..bytes.len()));
                bytes.extend_from_slice(&other[random.usize(..other.len())..]);
            }
        }
        bytes
    })
}

/// Good and damaged images with a name for each; the good ones are there ten times.
fn mixed(seed: u64) -> Vec<(String, Bytes)> {
    let (mut random, good) = (Rng::with_seed(seed), good_images());
    let mut all = Vec::new();
    for (name, bytes) in &good {
        all.extend((0..10).map(|_| (format!("good {name}"), Bytes::from(bytes.clone()))));
        let mutants = mutants(&mut random, &good, bytes);
        all.extend(mutants.enumerate().map(|(number, bytes)| (format!("{name} {number}"), bytes.into())));
    }
    for (name, bytes) in [jpegs_with_header_errors(), abbreviated_jpegs()].concat() {
        all.extend((0..20).map(|_| (name.to_owned(), bytes.clone().into())));
    }
    all
}

#[test]
fn a_damaged_jpeg_header_spoils_no_later_jpeg() {
    let good: Bytes = jpeg(&quarters(64, 64)).into();
    let options = options(640);
    let alone = outcome(&mut PictureDecoder::new(options.clone()).unwrap(), &good, &options).unwrap();
    for (name, bytes) in jpegs_with_header_errors() {
        let mut decoder = PictureDecoder::new(options.clone()).unwrap();
        let failure = outcome(&mut decoder, &bytes.into(), &options).unwrap_err();
        assert_eq!(failure.reason, Reason::CorruptImage, "{name}");
        for _ in 0..40 {
            assert_eq!(outcome(&mut decoder, &good, &options), Ok(alone.clone()), "behind {name}");
        }
    }
}

#[test]
fn a_jpeg_without_its_tables_takes_none_of_the_jpeg_before() {
    let options = options(640);
    let optimised = jpeg_with(&quarters(128, 128), |compressor| {
        compressor.set_optimize(true).unwrap();
        compressor.set_quality(30).unwrap();
    });
    for (name, bytes) in abbreviated_jpegs() {
        let bytes = Bytes::from(bytes);
        let alone = outcome(&mut PictureDecoder::new(options.clone()).unwrap(), &bytes, &options);
        let mut decoder = PictureDecoder::new(options.clone()).unwrap();
        outcome(&mut decoder, &optimised.clone().into(), &options).unwrap();
        assert_eq!(outcome(&mut decoder, &bytes, &options), alone, "{name}");
    }
}

#[test]
fn every_image_ends_the_same_alone_and_among_thousands_of_damaged_ones_in_any_order() {
    for (seed, working_size, frame_format) in [(1, 640, FrameFormat::Rgb8), (2, 24, FrameFormat::Jpeg)] {
        let options = PreprocessOptions { max_pixels: 1 << 20, frame_format, ..options(working_size) };
        let mut images = mixed(seed);
        let fresh = || PictureDecoder::new(options.clone()).unwrap();
        let mut alone: BTreeMap<Bytes, Outcome> = BTreeMap::new();
        for (_, bytes) in &images {
            alone.entry(bytes.clone()).or_insert_with(|| outcome(&mut fresh(), bytes, &options));
        }
        let decoded = alone.values().filter(|outcome| outcome.is_ok()).count();
        println!("{} different images, {decoded} of them decode", alone.len());
        assert!(decoded > alone.len() / 10 && decoded < alone.len() * 9 / 10, "a mixture of both");
        let mut random = Rng::with_seed(seed);
        for order in 1..=3 {
            random.shuffle(&mut images);
            let mut decoder = fresh();
            let mut before = "nothing";
            for (name, bytes) in &images {
                let found = outcome(&mut decoder, bytes, &options);
                assert_eq!(&found, &alone[bytes], "order {order}: {name}, behind {before}");
                before = name;
            }
        }
    }
}
