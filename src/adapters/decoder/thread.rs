use std::sync::Arc;

use bytes::Bytes;

use crate::{
    domain::{Failure, Reason},
    stages::preprocess::{CheckedDecoder, Decode, Decoded, PictureDecoder, PreprocessError, PreprocessOptions},
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

    fn checked(&self) -> Result<CheckedDecoder<D>, PreprocessError> {
        let (build, options) = (self.build, self.options.clone());
        CheckedDecoder::new(move || build(options.clone()))
    }

    fn attempt(&mut self, bytes: &Bytes) -> Result<Decoded, String> {
        let decoder = self.decoder.take().map_or_else(|| self.checked(), Ok);
        let mut decoder = decoder.map_err(|error| error.to_string())?;
        let decoded = decoder.decode(bytes).map_err(|fault| {
            self.metrics.replaced.add([fault.cause()], 1);
            fault.to_string()
        })?;
        self.decoder = Some(decoder);
        Ok(decoded)
    }
}

impl<D: Decode> Decode for DecoderThread<D> {
    fn decode(&mut self, bytes: &Bytes) -> Decoded {
        self.attempt(bytes)
            .or_else(|trouble| {
                tracing::warn!(trouble, "a picture's decoder is replaced; trying a new one");
                self.attempt(bytes)
            })
            .unwrap_or_else(|trouble| {
                let detail = format!("the picture's second decoder had to be replaced too: {trouble}");
                Err(Failure::new(Reason::InternalError, detail))
            })
    }
}
