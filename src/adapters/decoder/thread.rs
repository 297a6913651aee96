use std::sync::Arc;

use bytes::Bytes;

use super::replacement::{cause, failure, no_decoder, start_patiently};
use crate::{
    stages::preprocess::{
        CheckedDecoder, Decode, DecodeResult, PictureDecoder, PreprocessError, PreprocessOptions, confirmed,
    },
    telemetry::DecoderMetrics,
};

/// Decodes in this process, on the thread that asks (`preprocess.isolate = false`).
pub struct DecoderThread<D = PictureDecoder> {
    build: fn(PreprocessOptions) -> Result<D, PreprocessError>,
    options: PreprocessOptions,
    metrics: Arc<DecoderMetrics>,
    /// None after a fault.
    decoder: Option<CheckedDecoder<D>>,
}

impl DecoderThread {
    /// A decoder that has passed its self-test.
    ///
    /// # Errors
    /// When there is no memory for it, or it has not passed.
    pub fn start(options: &PreprocessOptions, metrics: Arc<DecoderMetrics>) -> Result<Self, PreprocessError> {
        Self::start_with(PictureDecoder::new, options, metrics)
    }
}

impl<D: Decode> DecoderThread<D> {
    pub(super) fn start_with(
        build: fn(PreprocessOptions) -> Result<D, PreprocessError>,
        options: &PreprocessOptions,
        metrics: Arc<DecoderMetrics>,
    ) -> Result<Self, PreprocessError> {
        let mut thread = DecoderThread { build, options: options.clone(), metrics, decoder: None };
        thread.decoder = Some(thread.checked()?);
        Ok(thread)
    }

    /// A decoder that has passed its self-test.
    fn checked(&self) -> Result<CheckedDecoder<D>, PreprocessError> {
        let (build, options) = (self.build, self.options.clone());
        CheckedDecoder::new(move || build(options.clone())).inspect_err(|error| {
            if let PreprocessError::Fault(fault) = error {
                self.metrics.replaced(cause(fault));
            }
        })
    }

    /// Decodes with the decoder that is there, or with a new one.
    fn attempt(&mut self, bytes: &Bytes) -> Result<DecodeResult, PreprocessError> {
        let mut decoder = match self.decoder.take() {
            Some(decoder) => decoder,
            None => start_patiently(|| self.checked())?,
        };
        let result = confirmed(|| decoder.attempt(bytes)).inspect_err(|fault| self.metrics.replaced(cause(fault)))?;
        self.decoder = Some(decoder);
        Ok(result.map_err(|found| failure(found.reason, &found.detail)))
    }
}

impl<D: Decode> Decode for DecoderThread<D> {
    fn decode(&mut self, bytes: &Bytes) -> DecodeResult {
        let result = self.attempt(bytes).or_else(|trouble| {
            tracing::warn!(%trouble, "a picture's decoder is replaced; trying a new one");
            self.attempt(bytes)
        });
        result.unwrap_or_else(|trouble| Err(no_decoder(trouble)))
    }
}
