use std::{sync::Arc, time::Duration};

use moka::future::Cache;

use super::{
    Fetch,
    body::stalled,
    clock::{Clock, Expired},
    port::{HttpBody, HttpClient},
};
use crate::domain::{CanonicalUrl, Failure};

/// The name by which a file may address facemill alone.
const OUR_TOKEN: &str = "facemill";

/// How much of a file counts (RFC 9309, section 2.5), in bytes.
const MAX_BYTES: usize = 500 << 10;

/// How long a file is kept (RFC 9309, section 2.4).
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// Memory for the rules of all origins, in bytes.
const CACHE_BYTES: u64 = 32 << 20;

/// The rules of each origin asked lately. Who asks for one that is being fetched waits for it.
pub(super) type KnownRules = Cache<String, Arc<Rules>>;

pub(super) fn known_rules() -> KnownRules {
    let bytes = |origin: &String, rules: &Arc<Rules>| {
        let patterns: usize = rules.0.iter().map(|(pattern, _)| pattern.len() + size_of::<(String, bool)>()).sum();
        u32::try_from(origin.len() + patterns + 100).unwrap_or(u32::MAX)
    };
    Cache::builder().max_capacity(CACHE_BYTES).weigher(bytes).time_to_live(KEPT).build()
}

/// The URL of the file that speaks for this URL: of the same scheme, host and port.
fn file_for(url: &CanonicalUrl) -> Option<CanonicalUrl> {
    url.join("/robots.txt").ok()
}

/// What asking for a file came to.
enum Answer {
    Rules(Rules),
    Moved(CanonicalUrl),
}

impl Answer {
    /// No file, and so no rule.
    fn none() -> Self {
        Answer::Rules(Rules::default())
    }
}

impl<C: HttpClient> Fetch<C> {
    /// The rules of the URL's origin.
    ///
    /// # Errors
    /// Where the file cannot be had for now: then nothing of the origin may be fetched (RFC 9309, section 2.3.1.4).
    pub(super) async fn rules(&self, url: &CanonicalUrl) -> Result<Arc<Rules>, Failure> {
        let origin = url.origin();
        if let Some(rules) = self.rules.get(&origin).await {
            return Ok(rules);
        }
        match Box::pin(self.rules.try_get_with(origin, self.fetch_rules(url))).await {
            // What stands in the way for good, somewhere behind a redirect perhaps, is no rule, and not kept. What stands
            // before the host itself is met by the URL too.
            Err(failure) if !failure.reason.is_transient() => Ok(Arc::default()),
            Err(failure) => Err(Failure { detail: format!("robots.txt: {}", failure.detail), ..(*failure).clone() }),
            Ok(rules) => Ok(rules),
        }
    }

    async fn fetch_rules(&self, url: &CanonicalUrl) -> Result<Arc<Rules>, Failure> {
        let Some(mut file) = file_for(url) else { return Ok(Arc::default()) };
        // Of its own: who asks first may have little time left.
        let mut clock = Clock::new(self.options.total_timeout);
        for _ in 0..=self.options.max_redirects {
            let turn = self.turn(&file, self.vet(&file)?).await?;
            let before = clock.spent();
            let answer = self.rules_of(&file, &mut clock).await;
            turn.note(clock.spent() - before, answer.as_ref().err());
            match answer? {
                Answer::Rules(rules) => return Ok(Arc::new(rules)),
                Answer::Moved(target) => file = target,
            }
        }
        // As if there were none.
        Ok(Arc::default())
    }

    /// The rules in this file, or where it has moved to.
    async fn rules_of(&self, file: &CanonicalUrl, clock: &mut Clock) -> Result<Answer, Failure> {
        let response =
            clock.run(Duration::MAX, self.client.get(file)).await.map_err(|_: Expired| super::total_timeout())??;
        let status = response.status;
        match status {
            200..=299 => {}
            301 | 302 | 303 | 307 | 308 => {
                let target = response.location.as_deref().and_then(|location| file.join(location).ok());
                return Ok(target.map_or_else(Answer::none, Answer::Moved));
            }
            429 | 500..=599 => return Err(super::refusal(status, response.retry_after.as_deref()).with_status(status)),
            // There is none.
            _ => return Ok(Answer::none()),
        }
        let mut body = response.body;
        let mut text = Vec::new();
        while text.len() < MAX_BYTES
            && let Some(chunk) = clock.run(self.options.read_gap_timeout, body.chunk()).await.map_err(stalled)??
        {
            text.extend_from_slice(&chunk);
        }
        Ok(Answer::Rules(Rules::parse(&text)))
    }
}

/// The rules of a robots.txt for facemill (RFC 9309): patterns of paths, and whether they allow.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Rules(Vec<(String, bool)>);

impl Rules {
    /// The groups for facemill, or where there are none those for everybody.
    pub(super) fn parse(file: &[u8]) -> Self {
        let text = String::from_utf8_lossy(file.get(..MAX_BYTES).unwrap_or(file));
        let (mut ours, mut all) = (None::<Vec<_>>, Vec::new());
        // For whom the lines are that follow; and whether they are still being named.
        let (mut for_us, mut for_all, mut naming) = (false, false, false);
        for line in text.trim_start_matches('\u{feff}').split(['\r', '\n']) {
            let line = line.split_once('#').map_or(line, |(line, _)| line);
            let Some((name, value)) = line.split_once(':') else { continue };
            let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
            match name.as_str() {
                "user-agent" => {
                    if !naming {
                        (for_us, for_all, naming) = (false, false, true);
                    }
                    for_us |= value.eq_ignore_ascii_case(OUR_TOKEN);
                    for_all |= value == "*";
                    if for_us {
                        ours.get_or_insert_default();
                    }
                }
                "allow" | "disallow" => {
                    naming = false;
                    // An empty path is no rule.
                    if value.is_empty() {
                        continue;
                    }
                    let rule = (normal(value), name == "allow");
                    if for_us {
                        ours.get_or_insert_default().push(rule.clone());
                    }
                    if for_all {
                        all.push(rule);
                    }
                }
                // Sitemaps and what others invented belong to no group.
                _ => {}
            }
        }
        Rules(ours.unwrap_or(all))
    }

    /// Whether this URL may be fetched: by the longest pattern that matches, of two as long ones by the one that allows.
    pub(super) fn allow(&self, url: &CanonicalUrl) -> bool {
        let path = normal(url.path_and_query());
        let matching = self.0.iter().filter(|(pattern, _)| matches(pattern.as_bytes(), path.as_bytes()));
        matching.map(|(pattern, allows)| (pattern.len(), *allows)).max().is_none_or(|(_, allows)| allows)
    }
}

/// Letters beyond ASCII percent-encoded, and hexadecimal digits of what is in capitals: both sides are compared so.
fn normal(path: &str) -> String {
    let mut normal = String::with_capacity(path.len());
    let mut hex = 0;
    for byte in path.bytes() {
        if byte.is_ascii() {
            normal.push(char::from(if hex > 0 { byte.to_ascii_uppercase() } else { byte }));
        } else {
            normal.push_str(&format!("%{byte:02X}"));
        }
        hex = if byte == b'%' { 2_u8 } else { hex.saturating_sub(1) };
    }
    normal
}

/// Whether the pattern matches the beginning of the path: `*` any characters, a `$` at its end the end of the path.
fn matches(pattern: &[u8], path: &[u8]) -> bool {
    let (pattern, whole) = match pattern.strip_suffix(b"$") {
        Some(pattern) => (pattern, true),
        None => (pattern, false),
    };
    let mut parts = pattern.split(|byte| *byte == b'*');
    let Some(mut rest) = parts.next().and_then(|first| path.strip_prefix(first)) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return !whole || rest.is_empty();
    }
    while let Some(part) = parts.next() {
        // The last one of a whole pattern stands at the end, every other where it is found first.
        if whole && parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let found = if part.is_empty() { Some(0) } else { rest.windows(part.len()).position(|window| window == part) };
        let Some(after) = found.and_then(|at| rest.get(at + part.len()..)) else { return false };
        rest = after;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allow(file: &str, path: &str) -> bool {
        Rules::parse(file.as_bytes()).allow(&CanonicalUrl::parse(&format!("http://a.example{path}")).unwrap())
    }

    #[test]
    fn the_group_that_names_us_counts_and_else_the_one_for_everybody() {
        let file = "User-agent: *\nDisallow: /\n\nUser-Agent: otherbot\nuser-agent: FaceMill\nDisallow: /private # x\n";
        assert!(allow(file, "/a.jpg") && !allow(file, "/private/a.jpg"));
        let file = "User-agent: otherbot\nDisallow: /\n\nUser-agent: *\nDisallow: /b\n";
        assert!(allow(file, "/a.jpg") && !allow(file, "/b.jpg"));
        assert!(allow("User-agent: otherbot\nDisallow: /", "/a.jpg"));
        let file = "User-agent: *\nDisallow: /\nUser-agent: facemill\nSitemap: /x\n";
        assert!(allow(file, "/a.jpg"), "a group without rules allows everything");
        let twice =
            "User-agent: facemill\nDisallow: /a\nUser-agent: x\nDisallow: /\nUser-agent: facemill\nDisallow: /b";
        assert!(!allow(twice, "/a") && !allow(twice, "/b") && allow(twice, "/c"), "groups of one name are one");
    }

    #[test]
    fn the_longest_pattern_decides_and_of_two_as_long_ones_the_kinder() {
        let file = "User-agent: *\nDisallow: /pictures\nAllow: /pictures/open\nDisallow: /same\nAllow: /same\n";
        for (path, allowed) in
            [("/pictures/a.jpg", false), ("/pictures/open/a.jpg", true), ("/same", true), ("/", true)]
        {
            assert_eq!(allow(file, path), allowed, "{path}");
        }
    }

    #[test]
    fn stars_and_ends_are_matched_as_the_standard_says() {
        for (pattern, path, expected) in [
            ("/", "/anything", true),
            ("/fish", "/fish.html", true),
            ("/fish", "/Fish", false),
            ("/fish/", "/fish", false),
            ("/*.php", "/a/b.php?x=1", true),
            ("/*.php$", "/b.php", true),
            ("/*.php$", "/b.php?x=1", false),
            ("/*.php$", "/b.php.php", true),
            ("/a*b*c", "/axxbyyczz", true),
            ("/a*b*c", "/acb", false),
            ("/a$", "/a", true),
            ("/a$", "/ab", false),
            ("/*", "/", true),
            ("*", "/x", true),
            ("/a**b", "/ab", true),
            ("/ab*b$", "/ab", false),
            ("/?q=", "/?q=1", true),
            ("/ü", "/%c3%bc.jpg", true),
            ("/%C3%BC", "/ü.jpg", true),
        ] {
            let file = format!("User-agent: *\nDisallow: {pattern}");
            assert_eq!(!allow(&file, path), expected, "{pattern}, {path}");
        }
    }

    #[test]
    fn what_is_no_rules_file_forbids_nothing() {
        for file in ["", "<!DOCTYPE html><html>", "\u{feff}", "Disallow: /", "User-agent: *\nDisallow:", "\0\0\0:"] {
            assert!(allow(file, "/a.jpg"), "{file}");
        }
        assert!(!allow("\u{feff}User-agent:*\rDisallow:/", "/a.jpg"));
        let mut long = b"User-agent: *\nAllow: /".repeat(MAX_BYTES / 20);
        long.extend(b"\nDisallow: /");
        assert!(Rules::parse(&long).allow(&CanonicalUrl::parse("http://a.example/x").unwrap()), "beyond what counts");
    }

    #[test]
    fn many_stars_take_no_longer_than_the_path_is_long() {
        let file = format!("User-agent: *\nDisallow: {}", "/*a".repeat(2_000));
        let began = std::time::Instant::now();
        assert!(allow(&file, &"/a".repeat(1_500)));
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }
}
