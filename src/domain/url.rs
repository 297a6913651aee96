use url::{Host, Url};

use super::ImageId;

/// Longest URL that facemill fetches, in bytes of its canonical form.
pub const MAX_URL_BYTES: usize = 8 * 1024;

/// An absolute http or https URL in the one form under which it is known.
///
/// The form is the WHATWG URL Standard's serialisation (lower-case scheme and host, IDNA to ASCII,
/// default port dropped, dot segments resolved, illegal characters percent-encoded) without the
/// fragment, which no server ever sees. Query order and letter case of the path are kept: servers
/// may tell them apart.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CanonicalUrl(Url);

/// Why a text is no URL that facemill can fetch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Not a URL by the WHATWG URL Standard, or a relative one.
    #[error("not an absolute URL: {0}")]
    Malformed(#[from] url::ParseError),
    /// Something other than http and https.
    #[error("scheme '{0}' is not fetched; only http and https are")]
    Scheme(String),
    /// No host to connect to.
    #[error("the URL names no host")]
    NoHost,
    /// Longer than [`MAX_URL_BYTES`].
    #[error("the URL has {0} bytes; the limit is {MAX_URL_BYTES}")]
    TooLong(usize),
}

impl CanonicalUrl {
    /// Parses one line of text; white space around it is dropped.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let text = text.trim();
        // Parsing costs time and memory in proportion: a text that cannot pass is refused unparsed.
        if text.len() > 4 * MAX_URL_BYTES {
            return Err(UrlError::TooLong(text.len()));
        }
        Self::from_url(Url::parse(text)?)
    }

    /// The URL that a `Location` header means when this URL was asked (RFC 9110, section 10.2.2).
    pub fn join(&self, location: &str) -> Result<Self, UrlError> {
        Self::from_url(self.0.join(location)?)
    }

    fn from_url(mut url: Url) -> Result<Self, UrlError> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(UrlError::Scheme(url.scheme().chars().take(32).collect()));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(UrlError::NoHost);
        }
        url.set_fragment(None);
        match url.as_str().len() {
            length if length > MAX_URL_BYTES => Err(UrlError::TooLong(length)),
            _ => Ok(CanonicalUrl(url)),
        }
    }

    /// The key under which this URL is stored.
    pub fn image_id(&self) -> ImageId {
        ImageId::of(self.as_str())
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The host: a name in ASCII, or an address literal already normalised
    /// (`http://0x7f.1/` has the IPv4 host 127.0.0.1).
    pub fn host(&self) -> Option<Host<&str>> {
        self.0.host()
    }

    /// The port asked for, or the scheme's own.
    pub fn port(&self) -> u16 {
        self.0.port_or_known_default().unwrap_or_default()
    }

    /// Scheme, host and port: what has one robots.txt.
    pub fn origin(&self) -> String {
        self.0.origin().ascii_serialization()
    }

    /// What a request names of it.
    pub fn path_and_query(&self) -> &str {
        self.0.as_str().get(self.0[..url::Position::BeforePath].len()..).unwrap_or_default()
    }

    /// Whether a user name or password stands in the URL.
    pub fn has_credentials(&self) -> bool {
        !self.0.username().is_empty() || self.0.password().is_some()
    }

    /// Scheme, host and path only: what may stand in a log, since queries carry tokens.
    pub fn without_query(&self) -> String {
        let mut url = self.0.clone();
        url.set_query(None);
        // Both fail only for URLs without a host, and this one has a host.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.into()
    }
}

/// Shows the URL without its query, as logs do.
impl std::fmt::Debug for CanonicalUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CanonicalUrl({})", self.without_query())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> String {
        CanonicalUrl::parse(text).unwrap().as_str().to_owned()
    }

    #[test]
    fn spellings_of_one_url_share_one_form() {
        let form = "http://example.com/a%20b/c.jpg?q=1";
        for spelling in [
            "http://example.com/a%20b/c.jpg?q=1",
            "  HTTP://EXAMPLE.com:80/a b/c.jpg?q=1\r\n",
            "http://example.com/x/../a%20b/./c.jpg?q=1#top",
            "http:\\\\example.com\\a b\\c.jpg?q=1",
        ] {
            assert_eq!(canonical(spelling), form, "{spelling}");
        }
        assert_eq!(canonical("https://BÜCHER.example"), "https://xn--bcher-kva.example/");
        assert_eq!(canonical("http://0x7f.1:8080/"), "http://127.0.0.1:8080/");
    }

    #[test]
    fn what_servers_may_tell_apart_stays_apart() {
        assert_ne!(canonical("http://a.example/A"), canonical("http://a.example/a"));
        assert_ne!(canonical("http://a.example/?x&y"), canonical("http://a.example/?y&x"));
        assert_ne!(canonical("http://a.example/"), canonical("https://a.example/"));
    }

    #[test]
    fn canonical_form_is_a_fixed_point() {
        for text in ["http://a.example/%7euser?a=b c", "https://xn--bcher-kva.example/ü", "http://[::ffff:1.2.3.4]/"] {
            let once = canonical(text);
            assert_eq!(canonical(&once), once);
        }
    }

    #[test]
    fn what_is_no_fetchable_url_says_why() {
        assert!(matches!(CanonicalUrl::parse("not a url"), Err(UrlError::Malformed(_))));
        assert!(matches!(CanonicalUrl::parse("/relative.jpg"), Err(UrlError::Malformed(_))));
        assert!(matches!(CanonicalUrl::parse("http://"), Err(UrlError::Malformed(_))));
        for scheme in ["file", "ftp", "data", "javascript", "gopher"] {
            let error = CanonicalUrl::parse(&format!("{scheme}://x/etc/passwd")).unwrap_err();
            assert_eq!(error, UrlError::Scheme(scheme.to_owned()));
        }
        let long = format!("http://a.example/{}", "x".repeat(MAX_URL_BYTES));
        assert!(matches!(CanonicalUrl::parse(&long), Err(UrlError::TooLong(_))));
        assert!(matches!(CanonicalUrl::parse(&"x".repeat(1 << 20)), Err(UrlError::TooLong(_))));
    }

    #[test]
    fn a_redirect_target_is_held_to_the_same_rules() {
        let base = CanonicalUrl::parse("https://a.example/x/y.jpg").unwrap();
        assert_eq!(base.join("../z.jpg").unwrap().as_str(), "https://a.example/z.jpg");
        assert_eq!(base.join("//b.example/z.jpg").unwrap().as_str(), "https://b.example/z.jpg");
        assert!(matches!(base.join("file:///etc/passwd"), Err(UrlError::Scheme(_))));
    }

    #[test]
    fn logs_show_neither_query_nor_credentials() {
        let url = CanonicalUrl::parse("https://user:secret@a.example/x?token=secret").unwrap();
        assert!(url.has_credentials());
        assert_eq!(format!("{url:?}"), "CanonicalUrl(https://a.example/x)");
    }
}
