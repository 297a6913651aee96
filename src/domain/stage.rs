use serde::{Deserialize, Serialize};

/// The three stages, in the order in which a URL passes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageName {
    /// URL in, bytes out.
    Fetch,
    /// Bytes in, the model's input picture out.
    Preprocess,
    /// Picture in, faces out.
    Detect,
}

impl StageName {
    /// The name used in topics, metrics, logs and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            StageName::Fetch => "fetch",
            StageName::Preprocess => "preprocess",
            StageName::Detect => "detect",
        }
    }
}

impl std::fmt::Display for StageName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
