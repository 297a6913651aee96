use std::{future::Future, net::IpAddr};

use bytes::Bytes;

use crate::domain::{CanonicalUrl, Reason};

/// An HTTP client that does one hop: it follows no redirect, decodes nothing, and tries nothing twice.
pub trait HttpClient: Send + Sync + 'static {
    /// A response's body.
    type Body: HttpBody;

    /// The addresses that the URL's host name resolves to, and that may be connected to: at least one.
    fn resolve(&self, url: &CanonicalUrl) -> impl Future<Output = Result<Vec<IpAddr>, HttpError>> + Send;

    /// One GET. The caller has vetted the URL, and its host where that is an address; what a name resolves to
    /// is vetted here, since only here it is known.
    fn get(&self, url: &CanonicalUrl) -> impl Future<Output = Result<HttpResponse<Self::Body>, HttpError>> + Send;
}

/// A body on its way in.
pub trait HttpBody: Send {
    /// Its next bytes, or `None` when it is complete.
    fn chunk(&mut self) -> impl Future<Output = Result<Option<Bytes>, HttpError>> + Send;
}

/// A response, as far as fetch looks at it.
#[derive(Debug, Default)]
pub struct HttpResponse<B> {
    /// The status code.
    pub status: u16,
    /// `Location`, if it is UTF-8.
    pub location: Option<String>,
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `Content-Encoding`.
    pub content_encoding: Option<String>,
    /// Length of the body in bytes, where the server says so beforehand.
    pub content_length: Option<u64>,
    /// `Retry-After`.
    pub retry_after: Option<String>,
    /// Each `X-Robots-Tag`.
    pub robots_tags: Vec<String>,
    /// The body.
    pub body: B,
}

/// Why an exchange came to no end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// No such name, or a name without addresses.
    #[error("the host name does not exist or has no address")]
    DnsNotFound,
    /// The name servers are the trouble.
    #[error("the host name did not resolve: {0}")]
    DnsFailed(String),
    /// The name resolves only to addresses that may not be connected to.
    #[error("the host name resolves only to addresses outside the public internet")]
    BlockedAddress,
    /// The name resolves to addresses on which this port is not open.
    #[error("ports other than 80 and 443 are open only on addresses that allow_networks opens")]
    BlockedPort,
    /// The URL cannot be written into a request.
    #[error("the URL cannot be requested: {0}")]
    InvalidRequest(String),
    /// No TCP connection.
    #[error("no connection: {0}")]
    ConnectFailed(String),
    /// Name resolution, TCP and TLS took too long together.
    #[error("no connection within the time allowed")]
    ConnectTimeout,
    /// The TLS handshake failed.
    #[error("TLS: {0}")]
    Tls(String),
    /// A connection, but no response.
    #[error("no response header within the time allowed")]
    FirstByteTimeout,
    /// The connection broke, or the server broke the protocol.
    #[error("the exchange broke off: {0}")]
    ConnectionLost(String),
}

impl HttpError {
    /// The outcome's reason.
    pub fn reason(&self) -> Reason {
        match self {
            HttpError::DnsNotFound => Reason::DnsNotFound,
            HttpError::DnsFailed(_) => Reason::DnsFailed,
            HttpError::BlockedAddress => Reason::BlockedAddress,
            HttpError::BlockedPort => Reason::BlockedUrl,
            HttpError::InvalidRequest(_) => Reason::InvalidUrl,
            HttpError::ConnectFailed(_) => Reason::ConnectFailed,
            HttpError::ConnectTimeout => Reason::ConnectTimeout,
            HttpError::Tls(_) => Reason::TlsFailed,
            HttpError::FirstByteTimeout => Reason::FirstByteTimeout,
            HttpError::ConnectionLost(_) => Reason::ConnectionLost,
        }
    }
}
