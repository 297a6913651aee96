use std::fmt;

use serde::Serialize;

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// What was looked at.
    pub(super) name: &'static str,
    pub(super) state: State,
    /// What was found, and what to do about it.
    pub(super) detail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Ok,
    /// It works, but not as it should.
    Warning,
    /// The stages would not work.
    Failed,
}

impl Finding {
    pub(super) fn ok(name: &'static str, detail: impl fmt::Display) -> Self {
        Finding { name, state: State::Ok, detail: detail.to_string() }
    }

    pub(super) fn warning(name: &'static str, detail: impl fmt::Display) -> Self {
        Finding { name, state: State::Warning, detail: detail.to_string() }
    }

    pub(super) fn failed(name: &'static str, detail: impl fmt::Display) -> Self {
        Finding { name, state: State::Failed, detail: detail.to_string() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Ok => "ok",
            State::Warning => "warning",
            State::Failed => "FAILED",
        };
        write!(f, "{state:<8} {:<14} {}", self.name, self.detail.replace('\n', "; "))
    }
}
