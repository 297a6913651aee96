use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    PreprocessError,
    decoder::{Decode, Decoded},
    self_test::self_test,
};
use crate::{
    domain::{Failure, Reason},
    stages::workers::panicked,
};

/// Why a decoder has to be replaced: nothing that it says can be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Fault {
    /// It does not decode a built-in image.
    #[error("the decoder failed its self-test: {0}")]
    SelfTest(String),
    /// It said two different things of the same bytes. The text is what it said first.
    #[error("the decoder contradicted itself when asked again; at first it said: {0}")]
    Contradiction(String),
}

impl Fault {
    /// What [`Fault::cause`] can be.
    pub const CAUSES: [&str; 2] = ["self_test", "contradiction"];

    /// The name in metrics.
    pub fn cause(&self) -> &'static str {
        let [self_test, contradiction] = Self::CAUSES;
        match self {
            Fault::SelfTest(_) => self_test,
            Fault::Contradiction(_) => contradiction,
        }
    }
}

/// A decoder whose failures are confirmed before they count.
///
/// A failed image ends as `corrupt_image` for good, so a decoder that has been spoilt by an earlier image must not say
/// so. After each failure the decoder is replaced by a new one, which has to pass the self-test. The failure counts
/// where nothing was decoded between the self-test before it and the failing image; else the new decoder decodes the
/// image again and has to say the same.
pub struct CheckedDecoder<D> {
    build: Box<dyn FnMut() -> Result<D, PreprocessError> + Send>,
    decoder: D,
    /// The self-test was the last thing that the decoder did.
    is_tested: bool,
}

impl<D: Decode> CheckedDecoder<D> {
    /// A decoder that `build` made and that has passed its self-test.
    ///
    /// # Errors
    /// Those of `build`, or that it has not passed.
    pub fn new(
        mut build: impl FnMut() -> Result<D, PreprocessError> + Send + 'static,
    ) -> Result<Self, PreprocessError> {
        let mut decoder = build()?;
        self_test(&mut decoder).map_err(|found| PreprocessError::Decoder(Fault::SelfTest(found).to_string()))?;
        Ok(CheckedDecoder { build: Box::new(build), decoder, is_tested: true })
    }

    /// What becomes of an image: its frame, or the failure that is its outcome.
    ///
    /// # Errors
    /// A [`Fault`], after which this decoder must not be used: another one has to decode the image.
    pub fn decode(&mut self, image: &Bytes) -> Result<Decoded, Fault> {
        let was_tested = self.is_tested;
        let first = match self.attempt(image) {
            Ok(frame) => return Ok(Ok(frame)),
            Err(failure) => failure,
        };
        self.replace()?;
        // A panic is a fault of ours; whoever gets it does not take it for one of the image.
        if was_tested || first.reason == Reason::InternalError {
            return Ok(Err(first));
        }
        if self.attempt(image).as_ref().err() != Some(&first) {
            return Err(Fault::Contradiction(first.to_string()));
        }
        self.replace()?;
        Ok(Err(first))
    }

    fn attempt(&mut self, image: &Bytes) -> Decoded {
        self.is_tested = false;
        let result = catch_unwind(AssertUnwindSafe(|| self.decoder.decode(image)));
        result.unwrap_or_else(|panic| Err::<_, Failure>(panicked(&*panic)))
    }

    fn replace(&mut self) -> Result<(), Fault> {
        self.decoder = (self.build)().map_err(|error| Fault::SelfTest(error.to_string()))?;
        self_test(&mut self.decoder).map_err(Fault::SelfTest)?;
        self.is_tested = true;
        Ok(())
    }
}
