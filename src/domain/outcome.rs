use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// The two ends that a URL can come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The detector ran; no face at all is a finished result too.
    Detected,
    /// It did not come to that; a [`Reason`] says why.
    Failed,
}

impl Status {
    /// The name in rows, exports and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Detected => "detected",
            Status::Failed => "failed",
        }
    }
}

/// Whether trying again may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Persistence {
    /// The same again would end the same.
    Permanent,
    /// The cause may pass: tried again, with a growing delay, before it becomes the outcome.
    Transient,
}

macro_rules! reasons {
    ($($variant:ident, $name:literal, $persistence:ident, $meaning:literal, $advice:literal;)*) => {
        /// Why a URL ended as `failed`: the closed list. `docs/outcomes.md` is this table for people.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Reason {
            $(#[doc = $meaning] $variant,)*
        }

        impl Reason {
            /// Every reason, in the order in which a URL could meet them.
            pub const ALL: &'static [Reason] = &[$(Reason::$variant),*];

            /// The name in rows, metrics, exports and on the command line.
            pub fn as_str(self) -> &'static str {
                match self { $(Reason::$variant => $name,)* }
            }

            /// Whether trying again may help.
            pub fn persistence(self) -> Persistence {
                match self { $(Reason::$variant => Persistence::$persistence,)* }
            }

            /// What it means, in one sentence without a full stop.
            pub fn meaning(self) -> &'static str {
                match self { $(Reason::$variant => $meaning,)* }
            }

            /// What a person can do about it, in one sentence without a full stop.
            pub fn advice(self) -> &'static str {
                match self { $(Reason::$variant => $advice,)* }
            }
        }
    };
}

reasons! {
    InvalidRecord, "invalid_record", Permanent, "The submitted record is no URL line: not UTF-8, too long, or malformed JSON",
        "Mend what writes the list or the topic";
    InvalidUrl, "invalid_url", Permanent, "The text is not an absolute http or https URL of at most 8,192 bytes",
        "Mend the URL at its source";
    BlockedUrl, "blocked_url", Permanent, "The URL carries a user name or password, or asks for a port other than 80 and 443",
        "Leave out name and password; other ports are open only within `fetch.allow_networks`";
    BlockedAddress, "blocked_address", Permanent, "The host is, or resolves only to, an address outside the public internet",
        "Nothing, if it points into somebody's network; for your own, `fetch.allow_networks`";
    HostDown, "host_down", Transient, "The host failed so often in a row, or asked for it, that it is left alone for a while",
        "Try again later; look at `fetch.host_failures`, `fetch.host_rest` if the host is fine";
    HostBusy, "host_busy", Transient, "So many URLs wait for their turn with the host that this one has to come again later",
        "Try again later; raise `fetch.host_concurrency` or an override if the host allows it";
    DnsNotFound, "dns_not_found", Permanent, "The host name does not exist or has no address",
        "Drop the URL, or try again if your name servers were wrong (`fetch.dns_servers`)";
    DnsFailed, "dns_failed", Transient, "The name servers did not answer, or answered with an error",
        "Look at your name servers (`fetch.dns_servers`), then try again";
    ConnectFailed, "connect_failed", Transient, "No connection: refused, unreachable, or broken off before it stood, in the TLS handshake too",
        "Try again later; for many hosts at once look at your own network and its ports";
    ConnectTimeout, "connect_timeout", Transient, "No connection within the time allowed for DNS, TCP and TLS together",
        "Try again later; for many hosts at once look at your firewall and at `fetch.connect_timeout`";
    TlsFailed, "tls_failed", Permanent, "The TLS handshake failed: an untrusted, expired or mismatched certificate, or no common protocol",
        "Ask the owner to renew the certificate; for a private authority add it to the system's";
    FirstByteTimeout, "first_byte_timeout", Transient, "Connected, but no response header within the time allowed",
        "Try again later, or raise `fetch.first_byte_timeout`";
    ReadTimeout, "read_timeout", Transient, "The body stalled for longer than the gap allowed between two reads",
        "Try again later, or raise `fetch.read_timeout`";
    TotalTimeout, "total_timeout", Transient, "The whole exchange, redirects included, took longer than allowed",
        "Try again later, or raise `fetch.total_timeout`";
    TooSlow, "too_slow", Transient, "The body came in below the minimum rate",
        "Try again later, or lower `fetch.min_rate_bytes`";
    ConnectionLost, "connection_lost", Transient, "The connection broke in the middle of an exchange, or the server broke the protocol",
        "Try again later";
    TooManyRedirects, "too_many_redirects", Permanent, "More redirects than allowed",
        "Submit the URL that it leads to; `fetch.max_redirects` bounds them";
    InvalidRedirect, "invalid_redirect", Permanent, "A redirect without a Location, or to something that is no http or https URL",
        "Nothing: the server is at fault";
    HttpClientError, "http_client_error", Permanent, "A status of 400 to 499 other than 429 (http_status has it)",
        "404 and 410: drop it; 401 and 403: ask the owner";
    RateLimited, "rate_limited", Transient, "A status of 429, or 503 with Retry-After",
        "Lower `fetch.host_rate` for the host (`fetch.host_overrides`), then try again";
    HttpServerError, "http_server_error", Transient, "A status of 500 to 599 (http_status has it)",
        "Try again later";
    HttpUnexpected, "http_unexpected", Permanent, "A status that carries no picture: 1xx, 204, 206, 304 or unknown (http_status has it)",
        "Nothing: the server is at fault";
    OptedOut, "opted_out", Permanent, "The server opts out of such use with X-Robots-Tag, or with robots.txt where that is asked for",
        "Respect it; with the owner's leave `fetch.honour_robots_tag`, `fetch.honour_robots_txt`";
    ContentEncoded, "content_encoded", Permanent, "The body is compressed although identity was asked for",
        "Nothing: the server is at fault";
    BodyTooLarge, "body_too_large", Permanent, "The body is larger than allowed",
        "Raise `fetch.max_body_bytes` (on Kafka the topics' `max.message.bytes` too), then try again";
    EmptyBody, "empty_body", Permanent, "A success status without a body",
        "Try again, if the server had a bad day";
    NotAnImage, "not_an_image", Permanent, "The bytes are no picture, whatever the server calls them",
        "Look at the URL in a browser: often a page that asks to log in";
    UnsupportedFormat, "unsupported_format", Permanent, "A picture, but of a format that this build does not decode",
        "Ask for another format, where the server offers one";
    ImageTooLarge, "image_too_large", Permanent, "More pixels, a longer side or more memory to decode than allowed",
        "Raise `preprocess.max_pixels`, `max_side` or `decode_budget_bytes`, then try again";
    CorruptImage, "corrupt_image", Permanent, "A picture of a known format that does not decode",
        "Try again, if it may have been damaged on its way";
    DecodeTimeout, "decode_timeout", Permanent, "Decoding the picture took longer than allowed",
        "Try again on machines with less to do, or raise `preprocess.decode_timeout`";
    InternalError, "internal_error", Permanent, "A fault of facemill itself; the log has it, and we would like a report",
        "Report it; on Kafka the dead letter has the picture";
}

impl Reason {
    /// Whether the cause may pass.
    pub fn is_transient(self) -> bool {
        self.persistence() == Persistence::Transient
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that names no [`Reason`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("'{0}' is no failure reason; docs/outcomes.md lists them")]
pub struct UnknownReason(String);

impl FromStr for Reason {
    type Err = UnknownReason;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Reason::ALL.iter().copied().find(|reason| reason.as_str() == text).ok_or_else(|| UnknownReason(text.to_owned()))
    }
}

/// What a stage says of a URL that it could not carry further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Failure {
    /// The typed reason.
    pub reason: Reason,
    /// One line for a person, without the URL's query.
    pub detail: String,
    /// The HTTP status, where a response came.
    pub http_status: Option<u16>,
    /// The server asked not to be tried again before this time has passed (RFC 9110, section 10.2.3).
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// A failure with a reason and a line for a person.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Failure { reason, detail: detail.into(), http_status: None, retry_after: None }
    }

    /// The same, after a response with this status.
    pub fn with_status(mut self, status: u16) -> Self {
        self.http_status = Some(status);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_serde_names_and_parse_back() {
        for reason in Reason::ALL {
            assert_eq!(serde_json::to_string(reason).unwrap(), format!("\"{reason}\""));
            assert_eq!(reason.as_str().parse(), Ok(*reason));
        }
        assert!("no_such_reason".parse::<Reason>().is_err());
    }

    #[test]
    fn the_table_for_people_is_the_table_in_the_code() {
        let table: String = Reason::ALL
            .iter()
            .map(|reason| {
                let retried = if reason.is_transient() { "yes" } else { "no" };
                format!("| `{reason}` | {} | {retried} | {} |\n", reason.meaning(), reason.advice())
            })
            .collect();
        let page = include_str!("../../docs/outcomes.md");
        assert!(page.contains(&table), "docs/outcomes.md must hold exactly this table:\n{table}");
    }
}
