//! ONNX Runtime, loaded as a shared library when the program starts.

pub mod graph;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use ort::{
    environment::Environment,
    ep::{self, cuda::ConvAlgorithmSearch},
    session::{Session, builder::SessionBuilder},
    value::TensorRef,
};
use sha2::{Digest, Sha256};

use self::graph::GraphError;
use crate::{
    domain::{Model, hex},
    stages::detect::{FaceModel, Level, ModelError, Outputs, SIDE_STEP, STRIDES, Tensor},
    telemetry::Timings,
};

/// The name of YuNet's input.
const INPUT: &str = "input";

/// Where the runtime and the model are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelSource {
    /// ONNX Runtime's shared library (setting `detect.runtime_library`).
    pub runtime_library: PathBuf,
    /// The SHA-256 sums that the library may have, in hexadecimal (setting `detect.runtime_library_sha256`);
    /// none at all accepts any.
    pub runtime_sha256: Vec<String>,
    /// The model file (setting `detect.model`).
    pub model: PathBuf,
    /// The SHA-256 that the file must have, in hexadecimal (setting `detect.model_sha256`); none accepts any.
    pub sha256: Option<String>,
    /// What it runs on (setting `detect.device`).
    pub device: Device,
}

/// What a model runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// The processor, one thread a session.
    Cpu,
    /// The first NVIDIA GPU that the process sees.
    Cuda,
}

/// Why there is no model.
#[derive(Debug, thiserror::Error)]
pub enum OnnxError {
    /// The shared library does not load.
    #[error(
        "cannot load ONNX Runtime from {}: {detail}; `make assets` fetches it, detect.runtime_library says where it is",
        .path.display()
    )]
    Library {
        /// The library.
        path: PathBuf,
        /// What the loader says.
        detail: String,
    },
    /// The shared library is another one. It is not loaded: loading runs its code.
    #[error(
        "ONNX Runtime at {} has the SHA-256 {found}, which detect.runtime_library_sha256 does not list; `make assets` fetches the right one",
        .path.display()
    )]
    LibraryChecksum {
        /// The library.
        path: PathBuf,
        /// Its sum.
        found: String,
    },
    /// A process can load the runtime once.
    #[error("ONNX Runtime is loaded already, from {}; detect.runtime_library cannot be {} as well", .loaded.display(), .wanted.display())]
    SecondLibrary {
        /// The one in use.
        loaded: PathBuf,
        /// The other one.
        wanted: PathBuf,
    },
    /// The GPU cannot be used. A detector that works on the processor instead would be missed by nobody, and late.
    #[error(
        "detect.device = \"cuda\" cannot be had: {0}; it needs ONNX Runtime with CUDA (detect.runtime_library), CUDA 13, cuDNN 9 and an NVIDIA GPU that this process sees; detect.device = \"cpu\" does without"
    )]
    Gpu(String),
    /// The model file cannot be read.
    #[error("cannot read the model {}: {detail}; `make assets` fetches it, detect.model says where it is", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        detail: String,
    },
    /// The model file is another one.
    #[error(
        "the model {} has the SHA-256 {found}, expected {expected}; `make assets` fetches the right one, or set detect.model_sha256",
        .path.display()
    )]
    Checksum {
        /// The file.
        path: PathBuf,
        /// Its sum.
        found: String,
        /// The expected sum.
        expected: String,
    },
    /// The file is no YuNet model.
    #[error("the model {} cannot be used: {detail}; detect.model must be a YuNet model in ONNX form", .path.display())]
    WrongModel {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
}

/// A checked model with its sessions, ready for [`crate::stages::detect::Detect::new`].
pub struct OnnxModel {
    /// Name and content, as they stand in result rows.
    pub identity: Model,
    /// One for each thread.
    pub sessions: Vec<YunetSession>,
}

impl OnnxModel {
    /// Loads the runtime (once a process) and the model, and opens one session for each thread.
    ///
    /// # Errors
    /// See [`OnnxError`]; each says what to do.
    pub fn load(source: &ModelSource, sessions: usize, timings: &Timings) -> Result<Self, OnnxError> {
        let path = &source.model;
        let file = std::fs::read(path)
            .map_err(|error| OnnxError::Unreadable { path: path.clone(), detail: error.to_string() })?;
        let sha256 = hex(&Sha256::digest(&file));
        if let Some(expected) = source.sha256.as_deref().filter(|expected| !expected.eq_ignore_ascii_case(&sha256)) {
            return Err(OnnxError::Checksum { path: path.clone(), found: sha256, expected: expected.to_owned() });
        }
        let wrong = |detail: String| OnnxError::WrongModel { path: path.clone(), detail };
        let graph = graph::with_free_sizes(&file, INPUT).map_err(|error: GraphError| wrong(error.to_string()))?;
        let environment = environment(&source.runtime_library, &source.runtime_sha256)?;
        if source.device == Device::Cuda {
            // By itself, so that what is wrong with the GPU is not taken for a fault of the model.
            builder(&environment, Device::Cuda).map_err(|error| OnnxError::Gpu(error.to_string()))?;
        }
        let opener = Arc::new(Opener { environment, graph, device: source.device });
        let sessions = (0..sessions)
            .map(|_| YunetSession::open(Arc::clone(&opener), timings.clone()))
            .collect::<Result<_, _>>()
            .map_err(|error| wrong(error.0))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(OnnxModel { identity: Model { name, sha256 }, sessions })
    }
}

/// The process's one environment. The runtime can neither be unloaded nor started a second time.
fn environment(library: &Path, sums: &[String]) -> Result<Environment, OnnxError> {
    static LOADED: Mutex<Option<(PathBuf, Environment)>> = Mutex::new(None);
    let failed = |detail: String| OnnxError::Library { path: library.to_owned(), detail };
    // The loader would look for a relative path beside the program.
    let path = std::fs::canonicalize(library).map_err(|error| failed(error.to_string()))?;
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((loaded, environment)) = loaded.as_ref() {
        return match *loaded == path {
            true => Ok(environment.clone()),
            false => Err(OnnxError::SecondLibrary { loaded: loaded.clone(), wanted: path }),
        };
    }
    if !sums.is_empty() {
        let found = hex(&Sha256::digest(std::fs::read(&path).map_err(|error| failed(error.to_string()))?));
        if !sums.iter().any(|sum| sum.eq_ignore_ascii_case(&found)) {
            return Err(OnnxError::LibraryChecksum { path, found });
        }
    }
    let builder = ort::init_from(&path).map_err(|error| failed(error.to_string()))?;
    let environment = builder.with_name("facemill").build().map_err(|error| failed(error.to_string()))?;
    *loaded = Some((path, environment.clone()));
    Ok(environment)
}

/// One session of YuNet, for one thread.
pub struct YunetSession {
    opener: Arc<Opener>,
    /// None while it runs, and after an error or a panic: the next picture has a new one.
    session: Option<Session>,
    timings: Timings,
}

/// Opens sessions of one model on one device.
struct Opener {
    environment: Environment,
    graph: Vec<u8>,
    device: Device,
}

impl Opener {
    fn open(&self) -> Result<Session, ModelError> {
        let opened =
            builder(&self.environment, self.device).and_then(|mut builder| builder.commit_from_memory(&self.graph));
        opened.map_err(|error| ModelError(error.to_string()))
    }
}

/// The outputs of one level.
struct LevelNames {
    class: &'static str,
    objectness: &'static str,
    boxes: &'static str,
    landmarks: &'static str,
}

/// In the order of [`STRIDES`].
const LEVELS: [LevelNames; STRIDES.len()] = [
    LevelNames { class: "cls_8", objectness: "obj_8", boxes: "bbox_8", landmarks: "kps_8" },
    LevelNames { class: "cls_16", objectness: "obj_16", boxes: "bbox_16", landmarks: "kps_16" },
    LevelNames { class: "cls_32", objectness: "obj_32", boxes: "bbox_32", landmarks: "kps_32" },
];

impl YunetSession {
    fn open(opener: Arc<Opener>, timings: Timings) -> Result<Self, ModelError> {
        let session = opener.open()?;
        let has = |wanted: &str| session.outputs().iter().any(|output| output.name() == wanted);
        let names = LEVELS.iter().flat_map(|level| [level.class, level.objectness, level.boxes, level.landmarks]);
        let missing: Vec<&str> = names.filter(|name| !has(name)).collect();
        if !missing.is_empty() {
            return Err(ModelError(format!("it has no output {}", missing.join(", "))));
        }
        // Sizes that do not fit show when it runs: once here and not at every picture.
        let mut session = YunetSession { opener, session: Some(session), timings: Timings::default() };
        session.run(&Tensor::black(SIDE_STEP, 2 * SIDE_STEP), |_| ())?;
        Ok(YunetSession { timings, ..session })
    }
}

/// Parallelism is one picture a thread: threads inside one would wait for each other.
fn builder(environment: &Environment, device: Device) -> ort::Result<SessionBuilder> {
    let builder = Session::builder(environment)?
        .with_intra_threads(1)?
        .with_inter_threads(1)?
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?;
    if device == Device::Cpu {
        return Ok(builder);
    }
    let cuda = ep::CUDA::default()
        // Pictures have many sizes, and a search would be made for each.
        .with_conv_algorithm_search(ConvAlgorithmSearch::Heuristic)
        // The same faces as on a processor.
        .with_tf32(false);
    Ok(builder.with_execution_providers([cuda.build().error_on_failure()])?)
}

impl FaceModel for YunetSession {
    fn run<T>(&mut self, input: &Tensor, read: impl FnOnce(&Outputs<'_>) -> T) -> Result<T, ModelError> {
        let mut session = self.session.take().map_or_else(|| self.opener.open(), Ok)?;
        let result = run(&mut session, &self.timings, input, read)?;
        self.session = Some(session);
        Ok(result)
    }
}

fn run<T>(
    session: &mut Session,
    timings: &Timings,
    input: &Tensor,
    read: impl FnOnce(&Outputs<'_>) -> T,
) -> Result<T, ModelError> {
    let failed = |error: ort::Error| ModelError(error.to_string());
    let shape = [1, 3, input.height(), input.width()];
    let tensor = TensorRef::from_array_view((shape, input.values())).map_err(failed)?;
    let began = Instant::now();
    let answers = session.run(ort::inputs![INPUT => tensor]).map_err(failed)?;
    timings.record(began.elapsed());
    let values = |name: &str| {
        let answer = answers.get(name).ok_or_else(|| ModelError(format!("no output {name}")))?;
        answer.try_extract_tensor::<f32>().map(|(_, values)| values).map_err(failed)
    };
    let mut outputs = Outputs::default();
    for ((level, names), stride) in outputs.iter_mut().zip(&LEVELS).zip(STRIDES) {
        let positions = (input.width() / stride) * (input.height() / stride);
        let sized = |name: &str, each: usize| match values(name)? {
            found if found.len() == positions * each => Ok(found),
            found => Err(ModelError(format!("{} values in {name}, not {}", found.len(), positions * each))),
        };
        *level = Level {
            class: sized(names.class, 1)?,
            objectness: sized(names.objectness, 1)?,
            boxes: sized(names.boxes, 4)?,
            landmarks: sized(names.landmarks, 10)?,
        };
    }
    Ok(read(&outputs))
}

#[cfg(test)]
mod tests;
