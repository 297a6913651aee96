//! Makes the pictures that the benchmark serves: `pictures PHOTOS OUT COUNT [SIDE | corrupt]`.
//!
//! Sections of the demo's photographs at the sizes and qualities that pages have, 80 to 100 KB on average, or
//! thumbnails of SIDE×SIDE pixels, or such sections in all formats that do not decode; the same ones every time.

use std::{
    error::Error,
    io::Cursor,
    path::{Path, PathBuf},
};

use fast_image_resize::{
    FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer,
    images::{Image, ImageRef},
};

/// Width, height and how many of twenty pictures have them.
const SIZES: [(u32, u32, usize); 6] =
    [(500, 400, 4), (640, 480, 4), (800, 600, 5), (1024, 768, 4), (1280, 960, 2), (1600, 1200, 1)];

/// JPEG qualities, each as frequent as any other.
const QUALITIES: [i32; 4] = [75, 80, 85, 90];

struct Photo {
    pixels: Vec<u8>,
    width: u32,
    height: u32,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let (photos, out, count, side, is_corrupt) = match args.as_slice() {
        [photos, out, count] => (photos, out, count, None, false),
        [photos, out, count, kind] if kind == "corrupt" => (photos, out, count, None, true),
        [photos, out, count, side] => (photos, out, count, Some(side.parse::<u32>()?), false),
        _ => return Err("usage: pictures PHOTOS OUT COUNT [SIDE | corrupt]".into()),
    };
    let (out, count) = (PathBuf::from(out), count.parse::<usize>()?);
    let mut photos: Vec<PathBuf> =
        std::fs::read_dir(photos)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    photos.sort();
    let photos: Vec<Photo> = photos.iter().map(|path| open(path)).collect::<Result<_, _>>()?;
    std::fs::create_dir_all(&out)?;

    let sizes: Vec<(u32, u32)> = match side {
        Some(side) => vec![(side, side)],
        None => {
            SIZES.iter().flat_map(|&(width, height, weight)| std::iter::repeat_n((width, height), weight)).collect()
        }
    };
    let mut random = fastrand::Rng::with_seed(1);
    let mut bytes = 0;
    for number in 0..count {
        let (Some(photo), Some(&size), Some(&quality)) =
            (random.choice(&photos), sizes.get(number % sizes.len()), random.choice(&QUALITIES))
        else {
            return Err("there are no photographs".into());
        };
        let jpeg = section(photo, size, quality, &mut random)?;
        let file = if is_corrupt { corrupt(jpeg, number)? } else { jpeg };
        bytes += file.len();
        // Named so whatever it is; the program does not go by names.
        std::fs::write(out.join(format!("{number:03}.jpg")), &file)?;
    }
    println!("{count} pictures, {:.1} KB on average", bytes as f64 / count.max(1) as f64 / 1000.0);
    Ok(())
}

fn open(path: &Path) -> Result<Photo, Box<dyn Error>> {
    let bytes = std::fs::read(path)?;
    if path.extension().is_some_and(|ending| ending == "jpg") {
        let picture = turbojpeg::decompress(&bytes, turbojpeg::PixelFormat::RGB)?;
        return Ok(Photo {
            width: u32::try_from(picture.width)?,
            height: u32::try_from(picture.height)?,
            pixels: picture.pixels,
        });
    }
    let picture = image::load_from_memory(&bytes)?.into_rgb8();
    let (width, height) = picture.dimensions();
    Ok(Photo { pixels: picture.into_raw(), width, height })
}

/// A random section of the photograph, at least half as wide or high as it, as a JPEG of this size.
fn section(
    photo: &Photo,
    (width, height): (u32, u32),
    quality: i32,
    random: &mut fastrand::Rng,
) -> Result<Vec<u8>, Box<dyn Error>> {
    let fit = (f64::from(photo.width) / f64::from(width)).min(f64::from(photo.height) / f64::from(height));
    let zoom = fit * (0.5 + 0.5 * random.f64());
    let (across, down) = (f64::from(width) * zoom, f64::from(height) * zoom);
    let left = random.f64() * (f64::from(photo.width) - across);
    let top = random.f64() * (f64::from(photo.height) - down);

    let source = ImageRef::new(photo.width, photo.height, &photo.pixels, PixelType::U8x3)?;
    let mut target = Image::new(width, height, PixelType::U8x3);
    let options =
        ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom)).crop(left, top, across, down);
    Resizer::new().resize(&source, &mut target, &options)?;

    let mut compressor = turbojpeg::Compressor::new()?;
    compressor.set_quality(quality)?;
    compressor.set_subsamp(turbojpeg::Subsamp::Sub2x2)?;
    let (width, height) = (width as usize, height as usize);
    let format = turbojpeg::PixelFormat::RGB;
    let picture = turbojpeg::Image { pixels: target.buffer(), width, pitch: width * 3, height, format };
    Ok(compressor.compress_to_vec(picture)?)
}

/// The picture in one of the forms that do not decode: a JPEG with a damaged header, or another format cut in the middle.
fn corrupt(mut jpeg: Vec<u8>, number: usize) -> Result<Vec<u8>, Box<dyn Error>> {
    let [sof0, dht, sos, dqt] = [0xC0, 0xC4, 0xDA, 0xDB];
    let position = |marker| jpeg.windows(2).position(|pair| pair == [0xFF, marker]).ok_or("no such segment");
    let damage = match number % 8 {
        0 => (position(sos)? + 5, 9),
        1 => (position(sof0)? + 1, 0xC7),
        2 => (position(dqt)? + 4, 15),
        3 => (position(dht)? + 5, 3),
        kind => {
            let formats =
                [image::ImageFormat::Png, image::ImageFormat::WebP, image::ImageFormat::Gif, image::ImageFormat::Bmp];
            let format = formats.get(kind - 4).ok_or("no such format")?;
            let decoded = turbojpeg::decompress(&jpeg, turbojpeg::PixelFormat::RGB)?;
            let (width, height) = (u32::try_from(decoded.width)?, u32::try_from(decoded.height)?);
            let picture = image::RgbImage::from_raw(width, height, decoded.pixels).ok_or("too few pixels")?;
            let mut file = Cursor::new(Vec::new());
            picture.write_to(&mut file, *format)?;
            let mut file = file.into_inner();
            file.truncate(file.len() / 2);
            return Ok(file);
        }
    };
    *jpeg.get_mut(damage.0).ok_or("no such byte")? = damage.1;
    Ok(jpeg)
}
