//! From a URL to the bytes behind it: one GET, held to limits of time, size, address and manners.

mod address;
mod body;
mod breaker;
mod clock;
mod memory;
mod options;
mod port;
mod retry_after;
mod robots;
mod robots_txt;
mod site;
mod turns;

use std::{
    net::IpAddr,
    time::{Duration, SystemTime},
};

pub use address::AddressPolicy;
pub use breaker::BreakerOptions;
pub use options::{FetchOptions, HostLimits, Rate};
pub use port::{HttpBody, HttpClient, HttpError, HttpResponse};
pub use site::HostPattern;
use tokio_util::sync::CancellationToken;
pub use turns::HostCensus;
use url::Host;

use self::{
    body::Collected,
    clock::{Clock, Expired},
    memory::Memory,
    robots_txt::KnownRules,
    turns::{Turn, Turns},
};
use super::{Effect, Stage};
use crate::domain::{CanonicalUrl, Failure, Fetched, Message, Reason, StageName, Timestamp};

/// Ports on which any public address is asked.
pub const WEB_PORTS: [u16; 2] = [80, 443];

/// Longest `Content-Type` that is kept, in characters: it travels in headers and rows.
const MAX_CONTENT_TYPE: usize = 128;

/// The first stage.
#[derive(Debug)]
pub struct Fetch<C> {
    client: C,
    policy: AddressPolicy,
    turns: Turns,
    memory: Memory,
    options: FetchOptions,
    closing: CancellationToken,
    rules: KnownRules,
}

/// What one hop came to.
enum Hop {
    Body(Collected, Fetched),
    Redirect(CanonicalUrl, u16),
    /// The stage closed before its turn came.
    Closed,
}

impl<C: HttpClient> Stage for Fetch<C> {
    const NAME: StageName = StageName::Fetch;

    async fn process(&self, message: &Message) -> Result<Effect, Failure> {
        let mut url =
            message.facts.canonical_url().map_err(|error| Failure::new(Reason::InvalidUrl, error.to_string()))?;
        let mut clock = Clock::new(self.options.total_timeout);
        let mut status = None;
        for hop in 0..=self.options.max_redirects {
            match self.hop(&url, &mut clock).await.map_err(|failure| after_redirect(failure, hop, &url))? {
                Hop::Body(body, fetched) => {
                    let mut facts = message.facts.clone();
                    facts.fetched = Some(fetched);
                    return Ok(Effect::HandOver(Box::new(Message { facts, body: body.bytes })));
                }
                Hop::Redirect(target, by) => (url, status) = (target, Some(by)),
                Hop::Closed => return Ok(Effect::Untouched),
            }
        }
        let detail = format!("more than {} redirects", self.options.max_redirects);
        Err(Failure { http_status: status, ..Failure::new(Reason::TooManyRedirects, detail) })
    }
}

impl<C: HttpClient> Fetch<C> {
    /// The stage over this client, which must have been built with the same options.
    pub fn new(client: C, options: FetchOptions) -> Self {
        Fetch {
            client,
            policy: options.addresses(),
            turns: Turns::new(&options),
            memory: Memory::new(options.max_bytes_in_flight),
            options,
            closing: CancellationToken::new(),
            rules: robots_txt::known_rules(),
        }
    }

    /// The same; once it is `closing`, URLs that wait for their turn with a host are given back.
    pub fn until(self, closing: CancellationToken) -> Self {
        Fetch { closing, ..self }
    }

    /// Asks one URL. The turn with its host ends with the hop, so that a chain of redirects never holds one
    /// while it waits for another.
    async fn hop(&self, url: &CanonicalUrl, clock: &mut Clock) -> Result<Hop, Failure> {
        let literal = self.vet(url)?;
        if self.options.honour_robots_txt {
            let Some(rules) = self.closing.run_until_cancelled(self.rules(url)).await else {
                return Ok(Hop::Closed);
            };
            if !rules?.allow(url) {
                return Err(Failure::new(Reason::OptedOut, "robots.txt disallows it"));
            }
        }
        let turn = self.closing.run_until_cancelled(self.turn(url, literal)).await;
        let Some(turn) = turn.transpose()? else { return Ok(Hop::Closed) };
        let before = clock.spent();
        let hop = self.exchange(url, clock).await;
        turn.note(clock.spent() - before, hop.as_ref().err());
        hop
    }

    /// How it stands with the hosts, for people.
    pub fn census(&self) -> HostCensus {
        self.turns.census()
    }

    /// Waits for the turn with the URL's host.
    async fn turn(&self, url: &CanonicalUrl, literal: Option<IpAddr>) -> Result<Turn, Failure> {
        let host = url.host().map(|host| host.to_string()).unwrap_or_default();
        self.turns.turn(&host, self.address(url, literal)).await
    }

    /// The address that the host's machine is known by: the one that is connected to first. Has a limit of its own, and
    /// waits for a turn of its own, which is no server's fault.
    async fn address(&self, url: &CanonicalUrl, literal: Option<IpAddr>) -> Result<Option<IpAddr>, Failure> {
        if literal.is_some() {
            return Ok(literal);
        }
        Ok(self.client.resolve(url).await?.first().copied())
    }

    async fn exchange(&self, url: &CanonicalUrl, clock: &mut Clock) -> Result<Hop, Failure> {
        let response = clock.run(Duration::MAX, self.client.get(url)).await.map_err(|_: Expired| total_timeout())??;
        let status = response.status;
        let answer = self.answer(url, response, clock).await;
        answer.map_err(|failure| failure.with_status(status))
    }

    /// What may be known to be forbidden before anything is sent. Names are vetted where they are resolved; an address
    /// in the URL is returned.
    fn vet(&self, url: &CanonicalUrl) -> Result<Option<IpAddr>, Failure> {
        if url.has_credentials() {
            return Err(Failure::new(Reason::BlockedUrl, "the URL carries a user name or password"));
        }
        let literal: Option<IpAddr> = match url.host() {
            Some(Host::Ipv4(address)) => Some(address.into()),
            Some(Host::Ipv6(address)) => Some(address.into()),
            _ => None,
        };
        if let Some(address) = literal.filter(|address| !self.policy.permits(*address)) {
            let detail = format!("{address} is outside the public internet; allow_networks can open it");
            return Err(Failure::new(Reason::BlockedAddress, detail));
        }
        let any_port = literal.map_or(!self.policy.allow_networks.is_empty(), |address| self.policy.opened(address));
        if !WEB_PORTS.contains(&url.port()) && !any_port {
            return Err(HttpError::BlockedPort.into());
        }
        Ok(literal)
    }

    async fn answer(
        &self,
        url: &CanonicalUrl,
        response: HttpResponse<C::Body>,
        clock: &mut Clock,
    ) -> Result<Hop, Failure> {
        let status = response.status;
        match status {
            200 | 203 => {}
            301 | 302 | 303 | 307 | 308 => return redirect(url, status, response.location.as_deref()),
            _ => return Err(refusal(status, response.retry_after.as_deref())),
        }
        if self.options.honour_robots_tag && robots::opts_out(response.robots_tags.iter().map(String::as_str)) {
            let tags = response.robots_tags.join(", ");
            let detail = format!("X-Robots-Tag: {}", tags.chars().take(200).collect::<String>());
            return Err(Failure::new(Reason::OptedOut, detail));
        }
        if let Some(coding) = response.content_encoding.filter(|coding| !is_identity(coding)) {
            let detail = format!("Content-Encoding: {}", coding.chars().take(100).collect::<String>());
            return Err(Failure::new(Reason::ContentEncoded, detail));
        }
        let body = body::collect(response.body, response.content_length, &self.options, &self.memory, clock).await?;
        let fetched = Fetched {
            at: Timestamp::now(),
            http_status: status,
            content_type: response.content_type.map(|text| text.chars().take(MAX_CONTENT_TYPE).collect()),
            sha256: body.sha256.clone(),
        };
        Ok(Hop::Body(body, fetched))
    }
}

fn redirect(url: &CanonicalUrl, status: u16, location: Option<&str>) -> Result<Hop, Failure> {
    let invalid = |detail| Failure::new(Reason::InvalidRedirect, detail);
    let location = location.ok_or_else(|| invalid("a redirect without a Location that is text".to_owned()))?;
    let target = url.join(location).map_err(|error| invalid(format!("the redirect's Location: {error}")))?;
    Ok(Hop::Redirect(target, status))
}

/// The outcome of a status that is neither success nor redirect.
fn refusal(status: u16, retry_after: Option<&str>) -> Failure {
    let reason = match status {
        429 => Reason::RateLimited,
        503 if retry_after.is_some() => Reason::RateLimited,
        400..=499 => Reason::HttpClientError,
        500..=599 => Reason::HttpServerError,
        _ => Reason::HttpUnexpected,
    };
    let retry_after =
        retry_after.filter(|_| reason.is_transient()).and_then(|value| retry_after::parse(value, SystemTime::now()));
    Failure { retry_after, ..Failure::new(reason, format!("status {status}")) }
}

fn is_identity(content_encoding: &str) -> bool {
    content_encoding
        .split(',')
        .map(str::trim)
        .all(|coding| coding.is_empty() || coding.eq_ignore_ascii_case("identity"))
}

fn total_timeout() -> Failure {
    Failure::new(Reason::TotalTimeout, "the whole exchange took longer than allowed")
}

/// Says where it happened, where that is not the URL that was submitted.
fn after_redirect(failure: Failure, hop: u32, url: &CanonicalUrl) -> Failure {
    let Some(host) = url.host().filter(|_| hop > 0) else { return failure };
    let detail = format!("redirect {hop}, at {host}: {}", failure.detail);
    Failure { detail, ..failure }
}

impl From<HttpError> for Failure {
    fn from(error: HttpError) -> Self {
        Failure::new(error.reason(), error.to_string())
    }
}

#[cfg(test)]
mod tests;
