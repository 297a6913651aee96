use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    PreprocessError,
    decoder::{Decode, DecodeResult},
    self_test::self_test,
};
use crate::{
    domain::{Failure, Reason},
    stages::workers::{internal, panicked},
};

/// A defect of a decoder: its answers cannot be trusted, and it has to be replaced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Fault {
    /// It does not decode a built-in image.
    #[error("the decoder failed its self-test: {0}")]
    SelfTest(String),
    /// It failed on an image, and did not say the same when asked again. The text is what it said first.
    #[error("the decoder contradicted itself when asked again; at first it said: {0}")]
    Contradiction(String),
}

/// The result of one attempt to decode an image.
#[derive(Debug, Clone, PartialEq)]
pub enum Attempt {
    /// The image's outcome.
    Final(DecodeResult),
    /// A failure that counts only if the next attempt ends with the same one.
    Unconfirmed(Failure),
}

/// A decoder whose failures are confirmed before they count.
///
/// A failed image ends as `corrupt_image` for good, so a decoder that an earlier image has spoilt must not say so.
/// After each failure the decoder is replaced by a new one, which has to pass the self-test. The failure is final
/// where nothing was decoded between the self-test before it and the failing image. Else the new decoder has to be
/// given the image once more and to say the same: [`confirmed`] does that.
pub struct CheckedDecoder<D> {
    build: Box<dyn FnMut() -> Result<D, PreprocessError> + Send>,
    decoder: D,
    /// The self-test was the last thing that the decoder did.
    is_tested: bool,
}

impl<D: Decode> CheckedDecoder<D> {
    /// Takes the decoder that `build` makes, if it passes its self-test.
    ///
    /// # Errors
    /// Those of `build`, or the [`Fault`] that was found.
    pub fn new(
        mut build: impl FnMut() -> Result<D, PreprocessError> + Send + 'static,
    ) -> Result<Self, PreprocessError> {
        let decoder = tested(&mut build)?;
        Ok(CheckedDecoder { build: Box::new(build), decoder, is_tested: true })
    }

    /// Decodes an image once.
    ///
    /// # Errors
    /// A [`Fault`], after which this decoder must not be used: another one has to decode the image.
    pub fn attempt(&mut self, image: &Bytes) -> Result<Attempt, Fault> {
        let was_tested = self.is_tested;
        self.is_tested = false;
        let result = catch_unwind(AssertUnwindSafe(|| self.decoder.decode(image)));
        let failure = match result.unwrap_or_else(|panic| Err(panicked(&*panic))) {
            Ok(frame) => return Ok(Attempt::Final(Ok(frame))),
            Err(failure) => failure,
        };
        self.replace()?;
        // A fault of ours is none of the image's: nothing has to confirm it.
        let is_final = was_tested || failure.reason == Reason::InternalError;
        Ok(if is_final { Attempt::Final(Err(failure)) } else { Attempt::Unconfirmed(failure) })
    }

    /// Puts a new decoder that has passed its self-test in the place of this one.
    fn replace(&mut self) -> Result<(), Fault> {
        self.decoder = tested(&mut self.build).map_err(|error| match error {
            PreprocessError::Fault(fault) => fault,
            error => Fault::SelfTest(error.to_string()),
        })?;
        self.is_tested = true;
        Ok(())
    }
}

/// Builds a decoder that passes its self-test.
fn tested<D: Decode>(build: &mut impl FnMut() -> Result<D, PreprocessError>) -> Result<D, PreprocessError> {
    let mut decoder = build()?;
    self_test(&mut decoder).map_err(Fault::SelfTest)?;
    Ok(decoder)
}

impl<D: Decode> Decode for CheckedDecoder<D> {
    fn decode(&mut self, image: &Bytes) -> DecodeResult {
        confirmed(|| self.attempt(image)).unwrap_or_else(|fault| Err(internal(fault)))
    }
}

/// Makes an attempt, and a second one where the first ends with an unconfirmed failure.
///
/// # Errors
/// Those of `attempt`, or [`Fault::Contradiction`] where the second one does not end with the same failure.
pub fn confirmed<E: From<Fault>>(mut attempt: impl FnMut() -> Result<Attempt, E>) -> Result<DecodeResult, E> {
    let first = match attempt()? {
        Attempt::Final(result) => return Ok(result),
        Attempt::Unconfirmed(failure) => failure,
    };
    match attempt()? {
        Attempt::Final(Err(second)) if second == first => Ok(Err(second)),
        _ => Err(Fault::Contradiction(first.to_string()).into()),
    }
}
