//! Servers that misbehave on purpose, and how a URL on each of them should end.
//!
//! Each manner has an address of its own in 127.66.0.0/16 (or several), so that what one of them does counts for no
//! other. [`manners`] is the table; its rows stand in `http1.rs`, `tls.rs` and `http2.rs`.

mod http1;
mod http2;
mod server;
mod step;
mod tls;

use std::fmt;

pub use server::{HostileOptions, HostileServer};

use self::{step::Step, tls::Certificate};

/// One way to misbehave.
pub struct Manner {
    /// Its name, which stands in the URL.
    pub name: &'static str,
    /// What the server does.
    pub does: &'static str,
    /// How its URLs may end: reasons of `docs/outcomes.md`, or [`DETECTED`]. Of those that need HTTP/2, for a client
    /// that speaks it; for others they all end as [`DETECTED`].
    pub ends: &'static [&'static str],
    /// What it costs who asks.
    pub cost: Cost,
    /// Whom it shows to a client that speaks TLS; `None` speaks plain HTTP.
    certificate: Option<Certificate>,
    talk: Talk,
}

/// The end of a URL whose picture was read after all.
pub const DETECTED: &str = "detected";

/// What a URL costs who asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Cost {
    /// Next to nothing.
    Little,
    /// As many bytes as the client takes.
    Bytes,
    /// As much time as the client gives.
    Time,
    /// As much time, and a processor for as long.
    Work,
}

/// When it does what it does.
#[derive(Clone, Copy)]
enum Talk {
    /// The queue of connections is full: none is ever accepted.
    NeverAccepts,
    /// As soon as the connection stands, in place of a TLS handshake too.
    Greets(fn() -> Vec<Step>),
    /// At each HTTP/1.1 request, by its target.
    Answers(fn(&str) -> Vec<Step>),
    /// At each HTTP/2 request, by its stream.
    Answers2(fn(u32) -> Vec<Step>),
}

impl Manner {
    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.certificate.is_some() { "https" } else { "http" }
    }

    /// Whether it is hostile over HTTP/2 only.
    pub fn needs_http2(&self) -> bool {
        matches!(self.talk, Talk::Answers2(_))
    }
}

impl fmt::Debug for Manner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}: {}; ends as {})", self.name, self.scheme(), self.does, self.ends.join(" or "))
    }
}

/// Every way to misbehave.
pub fn manners() -> Vec<Manner> {
    [http1::manners(), tls::manners(), http2::manners()].into_iter().flatten().collect()
}

/// A list of `count` URLs of which `percent` of a hundred are hostile, evenly spread; both go in their own order.
pub fn mixed(
    good: impl IntoIterator<Item = String>,
    hostile: impl IntoIterator<Item = String>,
    count: usize,
    percent: u8,
) -> Vec<String> {
    let (mut good, mut hostile) = (good.into_iter(), hostile.into_iter());
    let percent = usize::from(percent);
    let so_far = |number: usize| number * percent / 100;
    (0..count)
        .filter_map(|number| if so_far(number + 1) > so_far(number) { hostile.next() } else { good.next() })
        .collect()
}

/// A row of the table for plain HTTP/1.1.
fn answers(
    name: &'static str,
    cost: Cost,
    ends: &'static [&'static str],
    does: &'static str,
    script: fn(&str) -> Vec<Step>,
) -> Manner {
    Manner { name, does, ends, cost, certificate: None, talk: Talk::Answers(script) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn hostile_urls_are_spread_over_a_list_in_their_share() {
        let of = |name: &'static str| (0..).map(move |number| format!("{name}{number}"));
        let list = mixed(of("good"), of("bad"), 1000, 30);
        for part in list.chunks(100) {
            assert_eq!(part.iter().filter(|url| url.starts_with("bad")).count(), 30);
        }
        assert_eq!(list[..7], ["good0", "good1", "good2", "bad0", "good3", "good4", "bad1"]);
        assert!(mixed(of("good"), of("bad"), 50, 100).iter().all(|url| url.starts_with("bad")));
        assert!(mixed(of("good"), of("bad"), 50, 0).iter().all(|url| url.starts_with("good")));
    }

    #[test]
    fn the_table_has_each_name_once_and_can_be_printed_for_people() {
        let manners = manners();
        let names: BTreeSet<_> = manners.iter().map(|manner| manner.name).collect();
        assert!(manners.len() >= 100 && names.len() == manners.len(), "{} of {}", names.len(), manners.len());
        for manner in &manners {
            let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            assert!(
                manner.name.bytes().all(is_word) && !manner.does.is_empty() && !manner.ends.is_empty(),
                "{manner:?}"
            );
        }
    }
}
