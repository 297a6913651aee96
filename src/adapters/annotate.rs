//! Pictures with the detected faces drawn into them, as JPEG files in a folder.

use std::{
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;

use crate::{
    domain::{Face, Failure, FrameFormat, Message, Picture, StageName},
    stages::{Effect, Stage},
};

const QUALITY: i32 = 90;
const BOX_COLOUR: [u8; 3] = [64, 255, 64];
const LANDMARK_COLOUR: [u8; 3] = [255, 64, 64];

/// A detect stage that also writes `FOLDER/IMAGE_ID.jpg` for every picture with a face: the frame that
/// the detector saw, with boxes and landmarks.
pub struct Annotate<S> {
    detect: S,
    folder: PathBuf,
}

impl<S> Annotate<S> {
    /// Makes the folder where it is not there.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn new(detect: S, folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        Ok(Annotate { detect, folder: folder.to_owned() })
    }
}

impl<S: Stage> Stage for Annotate<S> {
    const NAME: StageName = S::NAME;

    async fn process(&self, message: &Message) -> Result<Effect, Failure> {
        let effect = self.detect.process(message).await?;
        if let (Effect::Detected(faces), Some(picture)) = (&effect, &message.facts.picture)
            && !faces.is_empty()
        {
            let path = self.folder.join(format!("{}.jpg", message.facts.image_id));
            let (frame, picture, faces, to) = (message.body.clone(), picture.clone(), faces.clone(), path.clone());
            let written = tokio::task::spawn_blocking(move || write(&frame, &picture, &faces, &to)).await;
            // The detection stands without its drawing.
            if let Err(error) = written.map_err(AnnotateError::from).and_then(|written| written) {
                tracing::error!(path = %path.display(), %error, "cannot write the annotated picture");
            }
        }
        Ok(effect)
    }
}

#[derive(Debug, thiserror::Error)]
enum AnnotateError {
    #[error(transparent)]
    Jpeg(#[from] turbojpeg::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Drawing panicked.
    #[error(transparent)]
    Drawing(#[from] tokio::task::JoinError),
}

fn write(frame: &Bytes, picture: &Picture, faces: &[Face], path: &Path) -> Result<(), AnnotateError> {
    let pixels = match picture.frame_format {
        FrameFormat::Rgb8 => frame.to_vec(),
        FrameFormat::Jpeg => turbojpeg::decompress(frame, turbojpeg::PixelFormat::RGB)?.pixels,
    };
    let (width, height) = (picture.frame_width as usize, picture.frame_height as usize);
    let mut canvas = Canvas { pixels, width, height };
    let (x, y) = (width as f32 / picture.width as f32, height as f32 / picture.height as f32);
    faces.iter().for_each(|face| canvas.draw(&face.scaled(x, y)));
    let image = turbojpeg::Image {
        pixels: canvas.pixels.as_slice(),
        width,
        pitch: width * 3,
        height,
        format: turbojpeg::PixelFormat::RGB,
    };
    let jpeg = turbojpeg::compress(image, QUALITY, turbojpeg::Subsamp::Sub2x2)?;
    // Renamed into place, so that a picture that is there is whole.
    let unfinished = unfinished(path);
    std::fs::write(&unfinished, &*jpeg)?;
    Ok(std::fs::rename(unfinished, path)?)
}

/// A name that nobody else writes to: a URL may be in a list twice, and be drawn twice at once.
fn unfinished(path: &Path) -> PathBuf {
    static FILES: AtomicU64 = AtomicU64::new(0);
    let number = FILES.fetch_add(1, Ordering::Relaxed);
    path.with_extension(format!("{}-{number}.part", std::process::id()))
}

/// Rows of red, green, blue.
struct Canvas {
    pixels: Vec<u8>,
    width: usize,
    height: usize,
}

impl Canvas {
    fn draw(&mut self, face: &Face) {
        let thickness = (self.width.max(self.height) as f32 / 320.0).max(1.0);
        let (right, bottom) = (face.x + face.width, face.y + face.height);
        self.fill(face.x, face.y, right, face.y + thickness, BOX_COLOUR);
        self.fill(face.x, bottom - thickness, right, bottom, BOX_COLOUR);
        self.fill(face.x, face.y, face.x + thickness, bottom, BOX_COLOUR);
        self.fill(right - thickness, face.y, right, bottom, BOX_COLOUR);
        let dot = (face.width / 24.0).max(0.75);
        for point in face.landmarks {
            self.fill(point.x - dot, point.y - dot, point.x + dot, point.y + dot, LANDMARK_COLOUR);
        }
    }

    /// Fills a rectangle; what lies outside the picture is cut off.
    fn fill(&mut self, left: f32, top: f32, right: f32, bottom: f32, colour: [u8; 3]) {
        // A float beyond an integer's range becomes its nearest value.
        let clip = |value: f32, end: usize| (value.round().max(0.0) as usize).min(end);
        let columns = clip(left, self.width)..clip(right, self.width);
        let rows = clip(top, self.height)..clip(bottom, self.height);
        for row in self.pixels.chunks_exact_mut(self.width * 3).take(rows.end).skip(rows.start) {
            for pixel in row.chunks_exact_mut(3).take(columns.end).skip(columns.start) {
                pixel.copy_from_slice(&colour);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Facts, Point, Timestamp};

    struct Finds(Vec<Face>);

    impl Stage for Finds {
        const NAME: StageName = StageName::Detect;

        async fn process(&self, _: &Message) -> Result<Effect, Failure> {
            Ok(Effect::Detected(self.0.clone()))
        }
    }

    fn message() -> Message {
        let mut facts = Facts::submitted("http://a.example/", "job", Timestamp::now());
        facts.picture = Some(Picture {
            width: 128,
            height: 64,
            orientation: 1,
            truncated: false,
            frame_width: 64,
            frame_height: 32,
            frame_format: FrameFormat::Rgb8,
        });
        Message { facts, body: vec![0; 64 * 32 * 3].into() }
    }

    fn face(x: f32, y: f32) -> Face {
        Face { x, y, width: 40.0, height: 40.0, score: 1.0, landmarks: [Point { x: x + 20.0, y: y + 20.0 }; 5] }
    }

    #[tokio::test]
    async fn boxes_are_drawn_where_the_faces_are_and_cut_off_at_the_edge() {
        let folder = tempfile::tempdir().unwrap();
        let faces = vec![face(40.0, 10.0), face(-20.0, -20.0), face(f32::MAX, f32::MIN)];
        let stage = Annotate::new(Finds(faces), &folder.path().join("new")).unwrap();
        let message = message();
        stage.process(&message).await.unwrap();
        let path = folder.path().join("new").join(format!("{}.jpg", message.facts.image_id));
        let drawn = turbojpeg::decompress(&std::fs::read(path).unwrap(), turbojpeg::PixelFormat::RGB).unwrap();
        let green = |x: usize, y: usize| drawn.pixels[(y * 64 + x) * 3 + 1] > 128;
        assert_eq!((drawn.width, drawn.height), (64, 32));
        // The box of 40..80 × 10..50 in the original is 20..40 × 5..25 in the frame.
        assert!(green(20, 15) && green(39, 15) && green(30, 5) && green(30, 24));
        assert!(!green(45, 15) && !green(17, 28));
    }

    #[test]
    fn the_same_picture_drawn_many_times_at_once_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (path, message) = (folder.path().join("id.jpg"), message());
        let picture = message.facts.picture.unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    (0..20).for_each(|_| write(&message.body, &picture, &[face(40.0, 10.0)], &path).unwrap());
                });
            }
        });
        assert!(turbojpeg::decompress(&std::fs::read(&path).unwrap(), turbojpeg::PixelFormat::RGB).is_ok());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn a_panic_while_drawing_is_logged_and_leaves_the_detection() {
        let log = tempfile::NamedTempFile::new().unwrap();
        let writer = log.reopen().unwrap();
        let _logged = tracing::subscriber::set_default(
            tracing_subscriber::fmt().with_writer(move || writer.try_clone().unwrap()).finish(),
        );
        let folder = tempfile::tempdir().unwrap();
        let mut message = message();
        message.facts.picture.as_mut().unwrap().frame_width = 0;
        let stage = Annotate::new(Finds(vec![face(40.0, 10.0)]), folder.path()).unwrap();
        assert!(matches!(stage.process(&message).await, Ok(Effect::Detected(faces)) if faces.len() == 1));
        let log = std::fs::read_to_string(log.path()).unwrap();
        assert!(log.contains("cannot write the annotated picture") && log.contains("panicked"), "{log}");
    }

    #[tokio::test]
    async fn a_picture_without_faces_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        Annotate::new(Finds(vec![]), folder.path()).unwrap().process(&message()).await.unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
