//! Any bytes as a picture; the seeds are of this format.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = facemill_fuzz::preprocess(bytes.to_vec());
});
