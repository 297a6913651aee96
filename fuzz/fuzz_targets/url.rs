//! The first line as a submitted URL, the second as the redirect that it answers with.
#![no_main]

use facemill::domain::{CanonicalUrl, Facts, MAX_URL_BYTES, Timestamp};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let (submitted, location) = text.split_once('\n').unwrap_or((text, ""));
    let facts = Facts::submitted(submitted, "fuzz", Timestamp::from_micros(0));
    let again = Facts::submitted(&facts.url, "fuzz", Timestamp::from_micros(0));
    assert_eq!(facts, again);
    let Ok(url) = CanonicalUrl::parse(submitted) else { return };
    assert_eq!((facts.url.as_str(), facts.image_id), (url.as_str(), url.image_id()));
    check(&url);
    if let Ok(target) = url.join(location) {
        check(&target);
    }
});

fn check(url: &CanonicalUrl) {
    let text = url.as_str();
    assert_eq!(CanonicalUrl::parse(text).as_ref().map(CanonicalUrl::as_str), Ok(text), "the form is a fixed point");
    assert!(text.starts_with("http://") || text.starts_with("https://"), "{text}");
    assert!(text.len() <= MAX_URL_BYTES && text.bytes().all(|byte| byte.is_ascii_graphic()), "{text}");
    assert!(!text.contains('#') && url.host().is_some(), "{text}");
    let public = url.without_query();
    assert!(!public.contains('?') && text.starts_with("http"), "{public}");
    assert!(!CanonicalUrl::parse(&public).expect("a URL without its query is one").has_credentials(), "{public}");
}
