//! The yardstick: what decoding, resizing and detecting cost when there is nothing else to do.
//!
//! `kernels PICTURES RUNTIME_LIBRARY MODEL` takes each JPEG of a folder through the bare calls of the three
//! libraries, in one thread, and prints the mean CPU time of each call in microseconds as JSON.

use std::{error::Error, path::PathBuf, time::Duration};

use facemill::adapters::onnx::graph;
use fast_image_resize::{
    FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer,
    images::{Image, ImageRef},
};
use ort::{session::Session, value::TensorRef};
use rustix::time::{ClockId, clock_gettime};
use turbojpeg::{Decompressor, PixelFormat, ScalingFactor};

/// The longest side of what the detector sees, in pixels: `detect.working_size`.
const WORKING_SIZE: usize = 640;

/// The model's input sides are multiples of this.
const SIDE_STEP: usize = 32;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let [folder, library, model] = args.as_slice() else {
        return Err("usage: kernels PICTURES RUNTIME_LIBRARY MODEL".into());
    };
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "jpg"));
    paths.sort();
    let pictures: Vec<Vec<u8>> = paths.iter().map(std::fs::read).collect::<Result<_, _>>()?;

    let environment = ort::init_from(std::fs::canonicalize(library)?)?.build()?;
    let model = graph::with_free_sizes(&std::fs::read(model)?, "input")?;
    let mut kernels = Kernels {
        turbo: Decompressor::new()?,
        resizer: Resizer::new(),
        session: Session::builder(&environment)?
            .with_intra_threads(1)?
            .with_inter_threads(1)?
            .with_intra_op_spinning(false)?
            .with_inter_op_spinning(false)?
            .commit_from_memory(&model)?,
        decoded: Vec::new(),
        resized: Vec::new(),
        tensor: Vec::new(),
        spent: Spent::default(),
    };
    // First runs allocate: they are not counted.
    for picture in pictures.iter().take(20) {
        kernels.work(picture)?;
    }
    kernels.spent = Spent::default();
    for picture in &pictures {
        kernels.work(picture)?;
    }

    let mean = |spent: Duration| spent.as_secs_f64() * 1e6 / pictures.len().max(1) as f64;
    let Spent { decode, resize, detect } = kernels.spent;
    println!(
        r#"{{"decode_us": {:.1}, "resize_us": {:.1}, "detect_us": {:.1}}}"#,
        mean(decode),
        mean(resize),
        mean(detect)
    );
    Ok(())
}

#[derive(Default)]
struct Spent {
    decode: Duration,
    resize: Duration,
    detect: Duration,
}

struct Kernels {
    turbo: Decompressor,
    resizer: Resizer,
    session: Session,
    decoded: Vec<u8>,
    resized: Vec<u8>,
    tensor: Vec<f32>,
    spent: Spent,
}

impl Kernels {
    /// The same steps as facemill's, at the same sizes.
    fn work(&mut self, jpeg: &[u8]) -> Result<(), Box<dyn Error>> {
        let started = cpu_time();
        let header = self.turbo.read_header(jpeg)?;
        let longest = header.width.max(header.height);
        let scales = [ScalingFactor::ONE_EIGHTH, ScalingFactor::ONE_QUARTER, ScalingFactor::ONE_HALF];
        let enough = |scale: &ScalingFactor| scale.scale(longest) >= WORKING_SIZE;
        let scale = scales.into_iter().find(enough).unwrap_or(ScalingFactor::ONE);
        let (width, height) = (scale.scale(header.width), scale.scale(header.height));
        self.decoded.resize(width * height * 3, 0);
        self.turbo.set_scaling_factor(scale)?;
        let target = turbojpeg::Image {
            pixels: self.decoded.as_mut_slice(),
            width,
            pitch: width * 3,
            height,
            format: PixelFormat::RGB,
        };
        self.turbo.decompress(jpeg, target)?;
        self.spent.decode += cpu_time() - started;

        let started = cpu_time();
        // Enlarged at most twice.
        let side = WORKING_SIZE.min(2 * longest);
        let scaled = |length: usize| ((length * side + longest / 2) / longest).max(1);
        let input = (scaled(header.width), scaled(header.height));
        let pixels = if input == (width, height) {
            &self.decoded
        } else {
            self.resized.resize(input.0 * input.1 * 3, 0);
            let source = ImageRef::new(u32::try_from(width)?, u32::try_from(height)?, &self.decoded, PixelType::U8x3)?;
            let (across, down) = (u32::try_from(input.0)?, u32::try_from(input.1)?);
            let mut target = Image::from_slice_u8(across, down, &mut self.resized, PixelType::U8x3)?;
            let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
            self.resizer.resize(&source, &mut target, &options)?;
            &self.resized
        };
        self.spent.resize += cpu_time() - started;

        // Not counted: facemill's own step.
        let (across, down) = (input.0.next_multiple_of(SIDE_STEP), input.1.next_multiple_of(SIDE_STEP));
        let plane = across * down;
        self.tensor.clear();
        self.tensor.resize(3 * plane, 0.0);
        for (row, pixels) in pixels.chunks_exact(3 * input.0).enumerate() {
            for (column, pixel) in pixels.chunks_exact(3).enumerate() {
                for (value, channel) in pixel.iter().zip([2, 1, 0]) {
                    if let Some(cell) = self.tensor.get_mut(channel * plane + row * across + column) {
                        *cell = f32::from(*value);
                    }
                }
            }
        }

        let started = cpu_time();
        let tensor = TensorRef::from_array_view(([1, 3, down, across], self.tensor.as_slice()))?;
        self.session.run(ort::inputs!["input" => tensor])?;
        self.spent.detect += cpu_time() - started;
        Ok(())
    }
}

/// What this thread has had of the processor.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
