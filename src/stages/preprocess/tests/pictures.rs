//! Every form of every format, made here: by an encoder where one writes it, else byte by byte. All of one format show
//! the quarters; they are what fuzzing starts from too.

use std::io::Write;

use flate2::{Compression, write::ZlibEncoder};

use super::*;

/// Side of these pictures, in pixels.
pub(super) const SIDE: u32 = 32;

/// A picture and what is special about it.
pub(super) type Named = (&'static str, Vec<u8>);

/// Which quarter a pixel is in, row by row.
fn quarter(x: u32, y: u32) -> u8 {
    u8::from(x >= SIDE / 2) + 2 * u8::from(y >= SIDE / 2)
}

fn colour(x: u32, y: u32) -> [u8; 3] {
    [RED, GREEN, BLUE, GREY][usize::from(quarter(x, y))].0
}

pub(super) fn jpegs() -> Vec<Named> {
    let picture = quarters(SIDE, SIDE);
    let with = |set: fn(&mut Compressor)| jpeg_with(&picture, set);
    let baseline = jpeg(&picture);
    vec![
        ("progressive", with(|compressor| compressor.set_progressive(true).unwrap())),
        ("arithmetic", with(|compressor| compressor.set_arithmetic(true).unwrap())),
        (
            "progressive-arithmetic",
            with(|compressor| {
                compressor.set_arithmetic(true).unwrap();
                compressor.set_progressive(true).unwrap();
            }),
        ),
        ("optimised", with(|compressor| compressor.set_optimize(true).unwrap())),
        ("lossless", with(|compressor| compressor.set_lossless(true).unwrap())),
        ("rgb", with(|compressor| compressor.set_colorspace(Colorspace::RGB).unwrap())),
        ("422", with(|compressor| compressor.set_subsamp(Subsamp::Sub2x1).unwrap())),
        ("420", with(|compressor| compressor.set_subsamp(Subsamp::Sub2x2).unwrap())),
        ("411", with(|compressor| compressor.set_subsamp(Subsamp::Sub4x1).unwrap())),
        ("cmyk", cmyk_jpeg(Colorspace::CMYK, |ink| 255 - ink)),
        ("ycck", cmyk_jpeg(Colorspace::YCCK, |ink| 255 - ink)),
        ("exif", with_exif(&baseline, &exif_block(0x0112, 1))),
        ("profile", with_segment(&baseline, 0xE2, &[b"ICC_PROFILE\0\x01\x01".as_slice(), &profile()].concat())),
        ("baseline", baseline),
    ]
}

/// An ICC profile (ICC.1:2022) whose curves would make every picture black: a decoder that follows it is found out.
pub(super) fn profile() -> Vec<u8> {
    let mut header = [0; 128];
    header[12..24].copy_from_slice(b"mntrRGB XYZ ");
    header[36..40].copy_from_slice(b"acsp");
    let tags: [&[u8; 4]; 6] = [b"rTRC", b"gTRC", b"bTRC", b"rXYZ", b"gXYZ", b"bXYZ"];
    let start = u32::try_from(128 + 4 + 12 * tags.len()).unwrap();
    // "curv" of two entries, both nought; "XYZ " of noughts is as long.
    let mut data =
        [b"curv\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\0".as_slice(), b"XYZ \0\0\0\0".as_slice(), &[0; 12]].concat();
    let mut table = u32::try_from(tags.len()).unwrap().to_be_bytes().to_vec();
    for (number, tag) in tags.into_iter().enumerate() {
        let offset = start + if number < 3 { 0 } else { 20 };
        table.extend([tag.as_slice(), &offset.to_be_bytes(), &20_u32.to_be_bytes()].concat());
    }
    let length = start + u32::try_from(data.len()).unwrap();
    header[0..4].copy_from_slice(&length.to_be_bytes());
    let mut whole = header.to_vec();
    whole.append(&mut table);
    whole.append(&mut data);
    whole
}

/// First column and row, steps to the right and down of each pass (PNG specification, section 8.2).
const ADAM7: [(u32, u32, usize, usize); 7] =
    [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)];

pub(super) fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(super) fn png_chunk(name: &[u8; 4], payload: &[u8]) -> Vec<u8> {
    let chunk = [name.as_slice(), payload].concat();
    [u32::try_from(payload.len()).unwrap().to_be_bytes().as_slice(), &chunk, &crc32(&chunk).to_be_bytes()].concat()
}

pub(super) fn png_header((width, height): (u32, u32), depth: u8, colour: u8, interlaced: bool) -> Vec<u8> {
    let size = [width.to_be_bytes(), height.to_be_bytes()].concat();
    let ihdr = [size.as_slice(), &[depth, colour, 0, 0, u8::from(interlaced)]].concat();
    [b"\x89PNG\r\n\x1A\n".as_slice(), &png_chunk(b"IHDR", &ihdr)].concat()
}

/// A PNG of these samples, with chunks before its pixels.
fn png(depth: u8, colour: u8, interlaced: bool, chunks: &[u8], samples: impl Fn(u32, u32) -> Vec<u16>) -> Vec<u8> {
    let passes = if interlaced { ADAM7.as_slice() } else { &[(0, 0, 1, 1)] };
    let mut rows = Vec::new();
    for &(left, top, right, down) in passes {
        for y in (top..SIDE).step_by(down) {
            rows.push(0);
            let (mut bits, mut count) = (0_u32, 0);
            for sample in (left..SIDE).step_by(right).flat_map(|x| samples(x, y)) {
                (bits, count) = (bits << depth | u32::from(sample), count + depth);
                while count >= 8 {
                    count -= 8;
                    rows.push((bits >> count) as u8);
                }
            }
            if count > 0 {
                rows.push((bits << (8 - count)) as u8);
            }
        }
    }
    let header = png_header((SIDE, SIDE), depth, colour, interlaced);
    [&header, chunks, &png_chunk(b"IDAT", &zlib(&rows)), &png_chunk(b"IEND", b"")].concat()
}

pub(super) fn pngs() -> Vec<Named> {
    let rgb = |x, y| colour(x, y).map(u16::from).to_vec();
    let rgb16 = |x, y| colour(x, y).map(|channel| u16::from(channel) * 257).to_vec();
    let rgba = |x, y| [rgb(x, y), vec![255]].concat();
    let rgba16 = |x, y| [rgb16(x, y), vec![u16::MAX]].concat();
    let index = |x, y| vec![u16::from(quarter(x, y))];
    let palette = png_chunk(b"PLTE", &[RED.0, GREEN.0, BLUE.0, GREY.0].concat());
    let see_through = [palette.as_slice(), &png_chunk(b"tRNS", &[255; 4])].concat();
    let profile = png_chunk(b"iCCP", &[b"black\0\0".as_slice(), &zlib(&profile())].concat());
    let gamma = png_chunk(b"gAMA", &1_u32.to_be_bytes());
    vec![
        ("rgb", png(8, 2, false, b"", rgb)),
        ("interlaced", png(8, 2, true, b"", rgb)),
        ("rgb16", png(16, 2, false, b"", rgb16)),
        ("rgb16-interlaced", png(16, 2, true, b"", rgb16)),
        ("rgba", png(8, 6, false, b"", rgba)),
        ("rgba16-interlaced", png(16, 6, true, b"", rgba16)),
        ("palette-2-bits", png(2, 3, false, &palette, index)),
        ("palette-4-bits-interlaced", png(4, 3, true, &palette, index)),
        ("palette-8-bits-with-alpha", png(8, 3, false, &see_through, index)),
        ("profile", png(8, 2, false, &profile, rgb)),
        ("gamma", png(8, 2, false, &gamma, rgb)),
        ("exif", png(8, 2, false, &png_chunk(b"eXIf", &exif_block(0x0112, 1)), rgb)),
    ]
}

/// LZW without a table (GIF89a, appendix F): of 7-bit codes it is cleared before a code would need a ninth bit.
fn lzw(indices: &[u8]) -> Vec<u8> {
    let mut codes: Vec<u8> = indices.chunks(100).flat_map(|chunk| [&[128], chunk].concat()).collect();
    codes.push(129);
    let blocks = codes.chunks(255).flat_map(|block| [&[block.len() as u8], block].concat());
    [7].into_iter().chain(blocks).chain([0]).collect()
}

fn u16s(values: impl IntoIterator<Item = u32>) -> Vec<u8> {
    values.into_iter().flat_map(|value| u16::try_from(value).unwrap().to_le_bytes()).collect()
}

/// The screen with the four colours; index 4 is not in the table's use.
pub(super) fn gif_screen(width: u32, height: u32) -> Vec<u8> {
    let colours = [RED.0, GREEN.0, BLUE.0, GREY.0].concat();
    [b"GIF89a".as_slice(), &u16s([width, height]), &[0x81, 0, 0], &colours].concat()
}

/// A frame at a place: rows in four passes where it is interlaced.
pub(super) fn gif_frame(place: [u32; 4], interlaced: bool, index: impl Fn(u32, u32) -> u8) -> Vec<u8> {
    let [left, top, width, height] = place;
    let passes: &[(u32, usize)] = if interlaced { &[(0, 8), (4, 8), (2, 4), (1, 2)] } else { &[(0, 1)] };
    let rows = passes.iter().flat_map(|&(first, step)| (first..height).step_by(step));
    let indices: Vec<u8> =
        rows.flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| index(left + x, top + y)).collect();
    [b",".as_slice(), &u16s(place), &[if interlaced { 0x40 } else { 0 }], &lzw(&indices)].concat()
}

pub(super) fn gifs() -> Vec<Named> {
    let screen = gif_screen(SIDE, SIDE);
    let gif = |frames: &[u8]| [screen.as_slice(), frames, b";"].concat();
    let whole = [0, 0, SIDE, SIDE];
    let control = b"!\xF9\x04\0\x0A\0\0\0".as_slice();
    let looping = b"!\xFF\x0BNETSCAPE2.0\x03\x01\0\0\0".as_slice();
    let profile: Vec<u8> = profile().chunks(255).flat_map(|block| [&[block.len() as u8], block].concat()).collect();
    let profile = [b"!\xFF\x0BICCRGBG1012".as_slice(), &profile, &[0]].concat();
    let still = gif_frame(whole, false, quarter);
    let other = gif_frame(whole, false, |_, _| 2);
    vec![
        ("still", gif(&still)),
        ("interlaced", gif(&gif_frame(whole, true, quarter))),
        ("animated", gif(&[looping, control, &still, control, &other].concat())),
        ("frame-larger-than-the-screen", gif(&gif_frame([0, 0, SIDE + 9, SIDE + 7], false, quarter))),
        ("profile-and-comment", gif(&[profile.as_slice(), b"!\xFE\x05hello\0", &still].concat())),
        ("without-trailer", [screen.as_slice(), &still].concat()),
    ]
}

/// The quarters as libwebp 1.6 writes them (Pillow: quality 60, method 6), lossy; nothing here encodes VP8.
pub(super) const LOSSY_WEBP: &str = "5249464664000000574542505650382058000000d003009d012a2000200002804225a00274ca11c0de57f8\
    cdf8abce19bafdcfccfc0cf300db368000feeeff9ff0be680cbff65ef59ddfed579de40fa947528ed28ed39afee935dd50a019ef395b10159a\
    3be07d08bf400000";

/// An alpha channel of the same size from the same hand: all there but the two columns at the right.
pub(super) const ALPHA: &str = "01101210fe9f9665252226c018fe06";

pub(super) fn hex(digits: &str) -> Vec<u8> {
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

/// VP8X (RFC 9649, section 2.7) with its flags, and other chunks.
pub(super) fn webp(flags: u8, (width, height): (u32, u32), chunks: &[Vec<u8>]) -> Vec<u8> {
    let header = riff(b"VP8X", &[&[flags, 0, 0, 0], u24(width - 1).as_slice(), &u24(height - 1)].concat());
    riff(b"RIFF", &[b"WEBP".to_vec(), header, chunks.concat()].concat())
}

/// A frame of an animation (RFC 9649, section 2.7.1.1) at its top left corner.
pub(super) fn webp_frame((width, height): (u32, u32), chunks: &[u8]) -> Vec<u8> {
    riff(b"ANMF", &[&[0; 6], u24(width - 1).as_slice(), &u24(height - 1), &u24(100), &[0], chunks].concat())
}

pub(super) fn webps() -> Vec<Named> {
    let lossy = hex(LOSSY_WEBP);
    let lossless = encoded(quarters(SIDE, SIDE), ImageFormat::WebP);
    let (vp8, vp8l) = (lossy[12..].to_vec(), lossless[12..].to_vec());
    let (alpha, size) = (riff(b"ALPH", &hex(ALPHA)), (SIDE, SIDE));
    let animation = riff(b"ANIM", &[0; 6]);
    let other = encoded(RgbImage::from_pixel(SIDE, SIDE, BLUE), ImageFormat::WebP)[12..].to_vec();
    vec![
        ("lossy-in-a-container", webp(0, size, std::slice::from_ref(&vp8))),
        ("lossless-in-a-container", webp(0, size, std::slice::from_ref(&vp8l))),
        ("lossy-with-alpha", webp(0x10, size, &[alpha.clone(), vp8.clone()])),
        ("profile", webp(0x20, size, &[riff(b"ICCP", &profile()), vp8.clone()])),
        ("exif", webp(0x08, size, &[vp8.clone(), riff(b"EXIF", &exif_block(0x0112, 1))])),
        ("animated-lossy", webp(2, size, &[animation.clone(), webp_frame(size, &vp8), webp_frame(size, &other)])),
        ("animated-lossless", webp(2, size, &[animation.clone(), webp_frame(size, &vp8l), webp_frame(size, &other)])),
        ("animated-with-alpha", webp(0x12, size, &[animation, webp_frame(size, &[alpha, vp8].concat())])),
        ("lossy", lossy),
        ("lossless", lossless),
    ]
}

/// BITMAPINFOHEADER, or a longer one with masks: what lies between it and the pixels is a palette, or masks.
fn bmp(bits: u16, compression: u32, height: i32, between: &[u8], pixels: &[u8]) -> Vec<u8> {
    let start = u32::try_from(14 + 40 + between.len()).unwrap();
    let length = start + u32::try_from(pixels.len()).unwrap();
    let file = [b"BM".as_slice(), &length.to_le_bytes(), &[0; 4], &start.to_le_bytes()].concat();
    let size = [40_u32.to_le_bytes(), SIDE.to_le_bytes(), height.to_le_bytes()].concat();
    let info = [size.as_slice(), &[1, 0], &bits.to_le_bytes(), &compression.to_le_bytes(), &[0; 20]].concat();
    [&file, &info, between, pixels].concat()
}

/// Rows from the bottom to the top; here every row is a multiple of four bytes long.
fn rows<const N: usize>(pixel: impl Fn(u32, u32) -> [u8; N]) -> Vec<u8> {
    (0..SIDE).rev().flat_map(|y| (0..SIDE).map(move |x| (x, y))).flat_map(|(x, y)| pixel(x, y)).collect()
}

pub(super) fn bmps() -> Vec<Named> {
    let up = SIDE as i32;
    let bgr = |x, y| {
        let [r, g, b] = colour(x, y);
        [b, g, r]
    };
    let (rgb24, rgb32) = (
        rows(bgr),
        rows(|x, y| {
            let [b, g, r] = bgr(x, y);
            [b, g, r, 0]
        }),
    );
    let packed = |green_bits: u16| {
        rows(move |x, y| {
            let [r, g, b] = colour(x, y).map(u16::from);
            (r >> 3 << (5 + green_bits) | g >> (8 - green_bits) << 5 | b >> 3).to_le_bytes()
        })
    };
    let top_down: Vec<u8> = rgb24.chunks(3 * SIDE as usize).rev().flatten().copied().collect();
    // Indices that are not there end at a full table.
    let palette = |colours: usize| {
        let mut table = [RED, GREEN, BLUE, GREY].map(|Rgb([r, g, b])| [b, g, r, 0]).concat();
        table.resize(4 * colours, 0);
        table
    };
    let nibbles: Vec<u8> = rows(|x, y| [quarter(x, y)]).chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    let masks = [0xF800_u32, 0x07E0, 0x001F].map(u32::to_le_bytes).concat();
    // Per row two runs of half a row, or a run and as many pixels one by one; then the end of the row, or of all.
    let half = (SIDE / 2) as u8;
    let runs = |row: u32, double: u8| {
        let [left, right] = [quarter(0, row), quarter(SIDE - 1, row)].map(|index| index * double);
        let one_by_one = vec![right; usize::from(half) / if double == 17 { 2 } else { 1 }];
        let right = if row.is_multiple_of(2) { vec![half, right] } else { [vec![0, half], one_by_one].concat() };
        [vec![half, left], right, vec![0, u8::from(row == 0)]].concat()
    };
    let rle = |double: u8| (0..SIDE).rev().flat_map(|row| runs(row, double)).collect::<Vec<u8>>();
    let core = [b"BM\0\0\0\0\0\0\0\0\x1A\0\0\0\x0C\0\0\0".as_slice(), &u16s([SIDE, SIDE, 1, 24]), &rgb24].concat();
    vec![
        ("rgb24", bmp(24, 0, up, b"", &rgb24)),
        ("top-row-first", bmp(24, 0, -up, b"", &top_down)),
        ("rgb32", bmp(32, 0, up, b"", &rgb32)),
        ("rgb555", bmp(16, 0, up, b"", &packed(5))),
        ("rgb565-by-masks", bmp(16, 3, up, &masks, &packed(6))),
        ("palette-8-bits", bmp(8, 0, up, &palette(256), &rows(|x, y| [quarter(x, y)]))),
        ("palette-4-bits", bmp(4, 0, up, &palette(16), &nibbles)),
        ("runs-of-8-bits", bmp(8, 1, up, &palette(256), &rle(1))),
        ("runs-of-4-bits", bmp(4, 2, up, &palette(16), &rle(17))),
        ("core-header", core),
    ]
}
