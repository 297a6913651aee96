//! What fuzzing starts from: the pictures of these tests. scripts/fuzz.sh names the folder that they are written to.

use super::{exif_block, pictures::*};

/// EXIF blocks without their "Exif": every orientation, the same in the other byte order, and damaged ones.
fn exif_blocks() -> Vec<Named> {
    let names = ["1", "2", "3", "4", "5", "6", "7", "8"];
    let big_endian = names.into_iter().zip(1..).map(|(name, orientation)| (name, exif_block(0x0112, orientation)));
    let little_endian = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0".to_vec();
    let loops = b"II*\0\x08\0\0\0\x01\0\x69\x87\x04\0\x01\0\0\0\x08\0\0\0\x08\0\0\0".to_vec();
    let others = [("6-little-endian", little_endian), ("directory-within-itself", loops), ("cut", b"MM\0*\0".to_vec())];
    big_endian.chain(others).collect()
}

/// By target of fuzz/.
fn seeds() -> [(&'static str, Vec<Named>); 6] {
    [("jpeg", jpegs()), ("png", pngs()), ("gif", gifs()), ("webp", webps()), ("bmp", bmps()), ("exif", exif_blocks())]
}

#[test]
fn the_seeds_of_fuzzing_are_small() {
    let folder = std::env::var_os("FACEMILL_FUZZ_SEEDS").map(std::path::PathBuf::from);
    for (target, seeds) in seeds() {
        for (name, bytes) in seeds {
            assert!(bytes.len() < 20_000, "{target}/{name} has {} bytes", bytes.len());
            if let Some(folder) = &folder {
                let folder = folder.join(target);
                std::fs::create_dir_all(&folder).unwrap();
                std::fs::write(folder.join(name), bytes).unwrap();
            }
        }
    }
}
