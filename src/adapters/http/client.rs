use std::{net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use reqwest::{
    Client,
    header::{
        ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION,
        RETRY_AFTER,
    },
    redirect::Policy,
};
use url::Host;

use super::{
    dns::{Dns, Ports, VettedDns},
    error,
    first_byte::FirstByte,
};
use crate::{
    domain::CanonicalUrl,
    stages::fetch::{FetchOptions, HttpBody, HttpClient, HttpError, HttpResponse, WEB_PORTS},
    telemetry::DnsMetrics,
};

/// How long a connection without a request is kept. Short: a list of many hosts would else pile up sockets,
/// and a host with much to do is asked again at once.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(5);

const ROBOTS_TAG: HeaderName = HeaderName::from_static("x-robots-tag");

/// The HTTP client of fetch.
#[derive(Debug)]
pub struct HttpAdapter {
    web: Way,
    /// For every other port; there is none unless a network was opened.
    other: Option<Way>,
    first_byte: FirstByte,
}

/// A client, and the resolver that it connects by.
#[derive(Debug)]
struct Way {
    client: Client,
    dns: VettedDns,
}

/// Why there is no HTTP client.
#[derive(Debug, thiserror::Error)]
pub enum HttpBuildError {
    /// The configured name does not go into a header.
    #[error("fetch.user_agent '{0}' cannot be sent: use visible ASCII characters")]
    UserAgent(String),
    /// The resolver.
    #[error("the DNS resolver cannot start: {0}")]
    Dns(String),
    /// TLS, most likely.
    #[error("the HTTP client cannot start: {0}; if it misses certificates, install the package ca-certificates")]
    Client(String),
}

impl HttpAdapter {
    /// A client with connections and a DNS cache of its own.
    ///
    /// # Errors
    /// When the User-Agent cannot be sent, or the system has no certificates to check a server's by.
    pub fn new(options: &FetchOptions, metrics: Arc<DnsMetrics>) -> Result<Self, HttpBuildError> {
        let dns = Dns::new(options, metrics).map_err(|error| HttpBuildError::Dns(error.to_string()))?;
        Self::with_dns(options, &dns)
    }

    pub(super) fn with_dns(options: &FetchOptions, dns: &Dns) -> Result<Self, HttpBuildError> {
        let policy = options.addresses();
        let first_byte = FirstByte {
            limit: options.first_byte_timeout,
            connect: options.dns_timeout + options.connect_timeout + options.tls_timeout,
        };
        let way = |ports| {
            let dns = VettedDns { dns: dns.clone(), policy: policy.clone(), ports };
            Ok::<_, HttpBuildError>(Way { client: build(options, dns.clone(), first_byte)?, dns })
        };
        Ok(HttpAdapter {
            web: way(Ports::Web)?,
            other: (!policy.allow_networks.is_empty()).then(|| way(Ports::Other)).transpose()?,
            first_byte,
        })
    }

    fn way(&self, url: &CanonicalUrl) -> Result<&Way, HttpError> {
        let other = || self.other.as_ref().ok_or(HttpError::BlockedPort);
        if WEB_PORTS.contains(&url.port()) { Ok(&self.web) } else { other() }
    }
}

fn build(options: &FetchOptions, dns: VettedDns, first_byte: FirstByte) -> Result<Client, HttpBuildError> {
    let user_agent = HeaderValue::from_str(&options.user_agent)
        .map_err(|_| HttpBuildError::UserAgent(options.user_agent.clone()))?;
    let headers = HeaderMap::from_iter([
        (ACCEPT, HeaderValue::from_static("image/*,*/*;q=0.5")),
        (ACCEPT_ENCODING, HeaderValue::from_static("identity")),
    ]);
    let mut builder = Client::builder()
        .user_agent(user_agent)
        .default_headers(headers)
        .redirect(Policy::none())
        .referer(false)
        .retry(reqwest::retry::never())
        // A proxy of the environment would connect to addresses that nobody vets.
        .no_proxy()
        .dns_resolver(dns)
        .connect_timeout(first_byte.connect)
        .connector_layer(first_byte)
        .pool_max_idle_per_host(options.host_limits.concurrency.max(1))
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .tcp_nodelay(true);
    if !options.http2 {
        builder = builder.http1_only();
    }
    builder.build().map_err(|error| HttpBuildError::Client(error::innermost(&error).to_string()))
}

impl HttpClient for HttpAdapter {
    type Body = ReqwestBody;

    async fn resolve(&self, url: &CanonicalUrl) -> Result<Vec<IpAddr>, HttpError> {
        let Some(Host::Domain(name)) = url.host() else { return Err(HttpError::DnsNotFound) };
        self.way(url)?.dns.lookup(name).await
    }

    async fn get(&self, url: &CanonicalUrl) -> Result<HttpResponse<ReqwestBody>, HttpError> {
        let client = &self.way(url)?.client;
        let request = client
            .get(url.as_str())
            .build()
            .map_err(|error| HttpError::InvalidRequest(error::innermost(&error).to_string()))?;
        let response = self.first_byte.bound(client.execute(request)).await.ok_or(HttpError::FirstByteTimeout)?;
        let response = response.map_err(|error| error::of_exchange(&error))?;
        let headers = response.headers();
        let text = |name| headers.get(name).map(lossy);
        let all = |name| headers.get_all(name).iter().map(lossy);
        Ok(HttpResponse {
            status: response.status().as_u16(),
            location: headers.get(LOCATION).and_then(|value| str::from_utf8(value.as_bytes()).ok()).map(str::to_owned),
            content_type: text(CONTENT_TYPE),
            content_encoding: all(CONTENT_ENCODING).reduce(|all, next| all + ", " + &next),
            content_length: response.content_length(),
            retry_after: text(RETRY_AFTER),
            robots_tags: all(ROBOTS_TAG).collect(),
            body: ReqwestBody(response),
        })
    }
}

fn lossy(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// A response of which the body is still to come.
#[derive(Debug)]
pub struct ReqwestBody(reqwest::Response);

impl HttpBody for ReqwestBody {
    async fn chunk(&mut self) -> Result<Option<Bytes>, HttpError> {
        self.0.chunk().await.map_err(|error| error::of_body(&error))
    }
}
