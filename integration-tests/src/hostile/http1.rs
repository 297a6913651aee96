//! What a server can do wrong with HTTP/1.1 (RFC 9112), and what is right but carries no picture.

use std::{
    io::{self, Read},
    sync::LazyLock,
};

use flate2::{Compression, read::GzEncoder};

use super::{
    Cost::{Bytes, Little, Time, Work},
    DETECTED, Manner, Talk, answers,
    step::Step::{self, Close, Drip, Flood, Repeat, Reset, Send, Silence},
};
use crate::PIXEL_PNG;

/// Larger than any header that a client should put up with.
const MEGABYTE: usize = 1 << 20;

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n";

#[rustfmt::skip]
pub(super) fn manners() -> Vec<Manner> {
    let greets = |name, cost, ends, does, script| Manner {
        name, does, ends, cost, certificate: None, talk: Talk::Greets(script),
    };
    vec![
        // Waiting for a connection and a header
        Manner { name: "accept-never", does: "leaves connections in a full queue", ends: &["connect_timeout"], cost: Time,
            certificate: None, talk: Talk::NeverAccepts },
        answers("header-never", Time, &["first_byte_timeout"], "takes the request and says nothing", |_| vec![Silence]),
        answers("header-stall-in-status", Time, &["first_byte_timeout"], "stops inside the status line", |_| {
            vec![text("HTTP/1.1 20"), Silence]
        }),
        answers("header-stall-in-field", Time, &["first_byte_timeout"], "stops inside a header", |_| {
            vec![text("HTTP/1.1 200 OK\r\nContent-Le"), Silence]
        }),
        answers("header-stall-before-end", Time, &["first_byte_timeout"], "never sends the empty line", |_| {
            vec![text("HTTP/1.1 200 OK\r\nContent-Length: 67\r\n"), Silence]
        }),
        answers("header-drip", Time, &["first_byte_timeout"], "sends the header byte by byte", |_| {
            vec![Drip(head("200 OK", &format!("Content-Length: 67\r\nX-Fill: {}\r\n", "x".repeat(1000))))]
        }),
        answers("header-endless-drip", Time, &["first_byte_timeout"], "sends a short header each tick, for ever", |_| {
            vec![text("HTTP/1.1 200 OK\r\n"), Repeat(b"X: 1\r\n".to_vec())]
        }),
        answers("continue-storm", Work, &["first_byte_timeout"], "100 Continue, for ever", |_| {
            vec![Flood(b"HTTP/1.1 100 Continue\r\n\r\n".repeat(100))]
        }),
        answers("continue-drip", Time, &["first_byte_timeout"], "100 Continue each tick, for ever", |_| {
            vec![Repeat(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec())]
        }),
        answers("hints-storm", Work, &["first_byte_timeout"], "103 Early Hints with 8 KB of links, for ever", |_| {
            vec![Flood(head("103 Early Hints", &format!("Link: <{}>\r\n", "x".repeat(8000))))]
        }),
        answers("continue-then-picture", Little, &[DETECTED], "ten 100 Continue, then a picture", |_| {
            vec![Send(b"HTTP/1.1 100 Continue\r\n\r\n".repeat(10)), picture("")]
        }),

        // Waiting for a body
        answers("body-never", Time, &["read_timeout"], "stops after the header", |_| {
            vec![declared(67), Silence]
        }),
        answers("body-stall", Time, &["read_timeout"], "stops half-way", |_| {
            vec![declared(90_000), Send(png(45_000)), Silence]
        }),
        answers("body-stall-at-end", Time, &["read_timeout"], "keeps the last byte", |_| {
            vec![declared(90_000), Send(png(89_999)), Silence]
        }),
        answers("body-head-like", Time, &["read_timeout"], "answers as if HEAD had been asked", |_| {
            vec![declared(50_000), Silence]
        }),
        answers("chunk-stall-in-size", Time, &["read_timeout"], "stops inside a chunk's size", |_| {
            vec![text(CHUNKED), chunk(&png(1000)), text("3e"), Silence]
        }),
        answers("chunk-stall", Time, &["read_timeout"], "stops inside a chunk", |_| {
            vec![text(CHUNKED), text("1000\r\n"), Send(png(100)), Silence]
        }),
        answers("chunk-stall-before-last", Time, &["read_timeout"], "never sends the last chunk", |_| {
            vec![text(CHUNKED), chunk(PIXEL_PNG), Silence]
        }),
        answers("chunk-stall-in-trailer", Time, &["read_timeout"], "stops inside the trailer", |_| {
            vec![text(CHUNKED), chunk(PIXEL_PNG), text("0\r\nX-Sum: 1"), Silence]
        }),
        answers("body-drip", Time, &["too_slow"], "sends the body byte by byte", |_| {
            vec![declared(90_000), Drip(png(90_000))]
        }),
        answers("chunk-drip", Time, &["too_slow"], "sends chunks of one byte", |_| {
            vec![text(CHUNKED), Send(b"1\r\n\x89\r\n".to_vec()), Repeat(b"1\r\nP\r\n".to_vec())]
        }),
        answers("body-just-fast-enough", Time, &["total_timeout"], "is never too slow and never done", |_| {
            vec![declared(900_000), Send(png(40_000)), Repeat(vec![0; 5000])]
        }),

        // Too much
        answers("body-endless-chunks", Bytes, &["body_too_large"], "chunks for ever", |_| {
            vec![text(CHUNKED), chunk(&png(16_000)), Flood(chunk_bytes(&[0; 16_000]))]
        }),
        answers("body-endless", Bytes, &["body_too_large"], "a body that no length ends", |_| {
            vec![text("HTTP/1.1 200 OK\r\n\r\n"), Send(png(16_000)), Flood(vec![0; 16_000])]
        }),
        answers("length-huge", Little, &["body_too_large"], "announces a terabyte", |_| {
            vec![declared(1 << 40), Send(png(16_000)), Silence]
        }),
        answers("headers-1000", Little, &["connection_lost"], "sends 1,000 headers", |_| {
            vec![Send(head("200 OK", &"X-Header: value\r\n".repeat(1000))), Silence]
        }),
        answers("header-megabyte", Little, &["connection_lost"], "sends a header of 1 MB", |_| {
            vec![Send(head("200 OK", &format!("X-Header: {}\r\n", "x".repeat(MEGABYTE)))), Silence]
        }),
        answers("header-endless", Work, &["connection_lost"], "headers for ever", |_| {
            vec![text("HTTP/1.1 200 OK\r\n"), Flood(b"X-Header: value\r\n".repeat(100))]
        }),
        answers("status-megabyte", Little, &["connection_lost"], "gives a status of 1 MB", |_| {
            vec![Send(head(&format!("200 {}", "x".repeat(MEGABYTE)), "")), Silence]
        }),
        answers("location-megabyte", Little, &["connection_lost"], "redirects to a URL of 1 MB", |_| {
            vec![redirect(&"x".repeat(MEGABYTE)), Silence]
        }),
        answers("location-long", Little, &["invalid_redirect"], "redirects to a URL of 100 KB", |_| {
            vec![redirect(&"x".repeat(100_000))]
        }),
        answers("chunk-extension-flood", Work, &["connection_lost"], "a chunk extension without end", |_| {
            vec![text(CHUNKED), text("43;x="), Flood(vec![b'x'; 16_000])]
        }),
        answers("chunk-extensions", Work, &["connection_lost"], "chunks of one byte with 1 KB of extensions each", |_| {
            vec![text(CHUNKED), Send(b"1\r\n\x89\r\n".to_vec()), Flood(format!("1;{}\r\nP\r\n", "x".repeat(1000)).into())]
        }),
        answers("trailer-flood", Work, &["connection_lost"], "trailers without end", |_| {
            vec![text(CHUNKED), chunk(PIXEL_PNG), text("0\r\n"), Flood(b"X-Trailer: value\r\n".repeat(100))]
        }),

        // Lies about the length
        answers("length-too-long", Little, &["connection_lost"], "closes before the length announced", |_| {
            vec![declared(68), Send(PIXEL_PNG.to_vec()), Close]
        }),
        answers("length-too-short", Little, &["corrupt_image"], "sends more than the length announced", |_| {
            vec![declared(40), Send(PIXEL_PNG.to_vec())]
        }),
        answers("length-smuggle", Little, &[DETECTED], "sends a second answer that nobody asked for", |_| {
            let second = head("404 Not Found", "Content-Length: 0\r\n");
            let first = [head("200 OK", "Content-Length: 67\r\n"), PIXEL_PNG.to_vec()].concat();
            vec![Send([first, second].concat())]
        }),
        answers("length-zero", Little, &["empty_body"], "announces no body and sends one", |_| {
            vec![declared(0), Send(PIXEL_PNG.to_vec())]
        }),
        answers("length-negative", Little, &["connection_lost"], "announces -1", |_| {
            vec![ok("Content-Length: -1\r\n")]
        }),
        answers("length-signed", Little, &["connection_lost"], "announces +67", |_| {
            vec![ok("Content-Length: +67\r\n")]
        }),
        answers("length-overflow", Little, &["connection_lost"], "announces more than 64 bits hold", |_| {
            vec![ok("Content-Length: 99999999999999999999999\r\n")]
        }),
        answers("length-words", Little, &["connection_lost"], "announces 'many'", |_| vec![ok("Content-Length: many\r\n")]),
        answers("length-twice", Little, &["connection_lost"], "announces two lengths", |_| {
            vec![ok("Content-Length: 67\r\nContent-Length: 10\r\n")]
        }),
        answers("length-same-twice", Little, &[DETECTED], "announces the same length twice", |_| {
            vec![ok("Content-Length: 67\r\nContent-Length: 67\r\n")]
        }),
        answers("length-and-chunks", Little, &[DETECTED, "connection_lost"], "announces a length and chunks", |_| {
            vec![Send(head("200 OK", "Content-Length: 10\r\nTransfer-Encoding: chunked\r\n")), chunk(PIXEL_PNG), text("0\r\n\r\n"), Close]
        }),
        answers("chunk-size-overflow", Little, &["connection_lost"], "a chunk larger than 64 bits hold", |_| {
            vec![text(CHUNKED), text("ffffffffffffffffff\r\n"), Send(png(1000)), Silence]
        }),
        answers("chunk-size-huge", Bytes, &["body_too_large"], "one chunk of 2^63 bytes", |_| {
            vec![text(CHUNKED), text("7fffffffffffffff\r\n"), Send(png(1000)), Flood(vec![0; 16_000])]
        }),
        answers("chunk-size-negative", Little, &["connection_lost"], "a chunk of -1 bytes", |_| {
            vec![text(CHUNKED), text("-1\r\n"), Send(png(1000)), Silence]
        }),
        answers("chunk-size-words", Little, &["connection_lost"], "a chunk of 'xyz' bytes", |_| {
            vec![text(CHUNKED), text("xyz\r\n"), Send(png(1000)), Silence]
        }),
        answers("chunk-too-long", Little, &["connection_lost"], "a chunk longer than its size", |_| {
            vec![text(CHUNKED), text("a\r\n"), Send(png(1000)), Silence]
        }),

        // Breaking off, and other protocols
        greets("close-at-once", Little, &["connection_lost"], "closes before the request", || vec![Close]),
        greets("reset-at-once", Little, &["connection_lost", "connect_failed"], "breaks off before the request", || vec![Reset]),
        answers("close-on-request", Little, &["connection_lost"], "closes at the request", |_| vec![Close]),
        answers("reset-on-request", Little, &["connection_lost"], "breaks off at the request", |_| vec![Reset]),
        answers("close-in-header", Little, &["connection_lost"], "closes inside the header", |_| {
            vec![text("HTTP/1.1 200 OK\r\nContent-"), Close]
        }),
        answers("close-in-body", Little, &["connection_lost"], "closes half-way", |_| {
            vec![declared(90_000), Send(png(45_000)), Close]
        }),
        answers("reset-in-body", Little, &["connection_lost"], "breaks off half-way", |_| {
            vec![declared(90_000), Send(png(45_000)), Reset]
        }),
        answers("close-in-chunk", Little, &["connection_lost"], "closes inside a chunk", |_| {
            vec![text(CHUNKED), text("1000\r\n"), Send(png(100)), Close]
        }),
        answers("close-before-last-chunk", Little, &["connection_lost"], "closes in place of the last chunk", |_| {
            vec![text(CHUNKED), chunk(PIXEL_PNG), Close]
        }),
        greets("answer-before-request", Little, &[DETECTED, "connection_lost"], "answers before it is asked", || vec![picture("")]),
        greets("ssh", Little, &["connection_lost"], "is an SSH server", || vec![text("SSH-2.0-OpenSSH_9.6\r\n"), Silence]),
        greets("smtp", Little, &["connection_lost"], "is a mail server", || vec![text("220 mail.example ESMTP\r\n"), Silence]),
        answers("http-0-9", Little, &["connection_lost"], "answers with the bare body (HTTP/0.9)", |_| {
            vec![Send(PIXEL_PNG.to_vec()), Close]
        }),
        answers("http-1-0", Little, &[DETECTED], "answers in HTTP/1.0 and closes", |_| {
            vec![text("HTTP/1.0 200 OK\r\n\r\n"), Send(PIXEL_PNG.to_vec()), Close]
        }),
        answers("http-7-3", Little, &["connection_lost"], "answers in HTTP/7.3", |_| vec![text("HTTP/7.3 200 OK\r\n\r\n"), Silence]),
        answers("http-2-unasked", Little, &["connection_lost"], "answers in HTTP/2", |_| {
            vec![Send(b"\0\0\0\x04\0\0\0\0\0".to_vec()), Silence]
        }),
        answers("tls-unasked", Little, &["connection_lost"], "answers with a TLS alert", |_| {
            vec![Send(b"\x15\x03\x03\0\x02\x02\x28".to_vec()), Close]
        }),
        answers("switch-protocols", Little, &["http_unexpected"], "101 to another protocol", |_| {
            vec![Send(head("101 Switching Protocols", "Connection: upgrade\r\nUpgrade: websocket\r\n")), Silence]
        }),
        answers("header-bad-name", Little, &["connection_lost"], "a header with a space in its name", |_| {
            vec![ok("Bad Name: 1\r\nContent-Length: 67\r\n")]
        }),
        answers("header-nul", Little, &["connection_lost"], "a header with a NUL byte", |_| {
            vec![ok("X: \0\r\nContent-Length: 67\r\n")]
        }),
        answers("header-not-text", Little, &[DETECTED], "a header that is no UTF-8", |_| {
            vec![Send([b"HTTP/1.1 200 OK\r\nX: \xff\xfe\r\nContent-Type: \xff\r\nContent-Length: 67\r\n\r\n".to_vec(), PIXEL_PNG.to_vec()].concat())]
        }),
        answers("header-folded", Little, &["connection_lost"], "a header over two lines", |_| {
            vec![ok("X: 1\r\n 2\r\nContent-Length: 67\r\n")]
        }),
        answers("header-line-feeds", Little, &[DETECTED], "lines that end without a carriage return", |_| {
            vec![text("HTTP/1.1 200 OK\nContent-Length: 67\n\n"), Send(PIXEL_PNG.to_vec())]
        }),
        answers("status-words", Little, &["connection_lost"], "a status that is no number", |_| {
            vec![text("HTTP/1.1 OK OK\r\nContent-Length: 0\r\n\r\n"), Silence]
        }),

        // Statuses and redirects
        answers("status-204", Little, &["http_unexpected"], "204", |_| vec![Send(head("204 No Content", ""))]),
        answers("status-204-with-body", Little, &["http_unexpected"], "204 with a body", |_| {
            vec![Send(head("204 No Content", "Content-Length: 67\r\n")), Send(PIXEL_PNG.to_vec())]
        }),
        answers("status-205", Little, &["http_unexpected"], "205", |_| vec![status("205 Reset Content", "")]),
        answers("status-206", Little, &["http_unexpected"], "206 with a part, unasked", |_| {
            vec![Send(head("206 Partial Content", "Content-Range: bytes 0-66/90000\r\nContent-Length: 67\r\n")), Send(PIXEL_PNG.to_vec())]
        }),
        answers("status-304", Little, &["http_unexpected"], "304, unasked", |_| vec![Send(head("304 Not Modified", ""))]),
        answers("status-304-with-body", Little, &["http_unexpected"], "304 with a body", |_| {
            vec![Send(head("304 Not Modified", "Content-Length: 67\r\n")), Send(PIXEL_PNG.to_vec())]
        }),
        answers("status-407", Little, &["http_client_error"], "asks for a proxy's password", |_| {
            vec![status("407 Proxy Authentication Required", "Proxy-Authenticate: Basic\r\n")]
        }),
        answers("status-999", Little, &["http_unexpected"], "999", |_| vec![status("999 Go Away", "")]),
        answers("redirect-loop", Little, &["too_many_redirects"], "302 to itself", |_| vec![redirect("?")]),
        answers("redirect-chain", Little, &["too_many_redirects"], "302 to ever new URLs", |_| vec![redirect("x/")]),
        answers("redirect-five", Little, &[DETECTED], "five redirects, then a picture", |target| {
            if target.matches("/x").count() < 5 { vec![redirect("x/")] } else { vec![picture("")] }
        }),
        answers("redirect-nowhere", Little, &["invalid_redirect"], "302 without Location", |_| vec![status("302 Found", "")]),
        answers("redirect-to-file", Little, &["invalid_redirect"], "302 to a file", |_| vec![redirect("file:///etc/passwd")]),
        answers("redirect-to-data", Little, &["invalid_redirect"], "302 to a data URL", |_| vec![redirect("data:image/png;base64,iVBORw0KGgo=")]),
        answers("redirect-not-text", Little, &["invalid_redirect"], "302 to bytes that are no UTF-8", |_| {
            vec![Send(b"HTTP/1.1 302 Found\r\nLocation: /\xff\r\nContent-Length: 0\r\n\r\n".to_vec())]
        }),
        answers("redirect-to-private", Little, &["blocked_address"], "302 to an address of the inside", |_| vec![redirect("http://[::1]/")]),
        answers("redirect-to-disguise", Little, &["blocked_address"], "302 to an address inside another", |_| vec![redirect("http://[::ffff:0:127.0.0.1]/")]),
        answers("redirect-with-password", Little, &["blocked_url"], "302 to a URL with a password", |_| vec![redirect("http://u:p@127.0.0.1/")]),

        // Try again later
        answers("retry-503", Little, &["http_server_error"], "503 without a word on when", |_| vec![status("503 Busy", "")]),
        answers("retry-429", Little, &["rate_limited"], "429 without a word on when", |_| vec![status("429 Slow Down", "")]),
        answers("retry-seconds", Little, &["rate_limited"], "429 with 0 seconds", |_| vec![later("429 Slow Down", "0")]),
        answers("retry-503-seconds", Little, &["rate_limited"], "503 with 0 seconds", |_| vec![later("503 Busy", "0")]),
        answers("retry-never", Little, &["rate_limited"], "429 with more seconds than 64 bits hold", |_| vec![later("429 Slow Down", "99999999999999999999999")]),
        answers("retry-century", Little, &["rate_limited"], "503 with a date in 2099", |_| vec![later("503 Busy", "Thu, 31 Dec 2099 23:59:59 GMT")]),
        answers("retry-past", Little, &["rate_limited"], "429 with a date in the past (RFC 850)", |_| vec![later("429 Slow Down", "Sunday, 06-Nov-94 08:49:37 GMT")]),
        answers("retry-asctime", Little, &["rate_limited"], "503 with a date in the past (asctime)", |_| vec![later("503 Busy", "Sun Nov  6 08:49:37 1994")]),
        answers("retry-negative", Little, &["rate_limited"], "429 with -5 seconds", |_| vec![later("429 Slow Down", "-5")]),
        answers("retry-words", Little, &["rate_limited"], "503 with 'soon'", |_| vec![later("503 Busy", "soon")]),
        answers("retry-empty", Little, &["rate_limited"], "503 with an empty Retry-After", |_| vec![later("503 Busy", "")]),

        // No picture in the body
        answers("body-html", Little, &["not_an_image"], "HTML that is called a picture", |_| vec![body("image/jpeg", "<!doctype html><title>Log in</title>")]),
        answers("body-json", Little, &["not_an_image"], "JSON", |_| vec![body("application/json", "{\"error\": \"not found\"}")]),
        answers("body-one-byte", Little, &["not_an_image"], "one byte", |_| vec![body("image/png", "P")]),
        answers("body-empty", Little, &["empty_body"], "no body", |_| vec![body("image/png", "")]),
        answers("body-empty-chunks", Little, &["empty_body"], "no chunk but the last", |_| vec![text(CHUNKED), text("0\r\n\r\n")]),
        answers("body-closed", Little, &["empty_body"], "a header, then the end", |_| vec![text("HTTP/1.1 200 OK\r\n\r\n"), Close]),
        answers("gzip", Little, &["content_encoded"], "gzip, unasked", |_| vec![encoded("gzip", &gzip(PIXEL_PNG.as_slice()))]),
        answers("gzip-bomb", Little, &["content_encoded"], "100 MB in some KB of gzip", |_| vec![encoded("gzip", &GZIP_BOMB)]),
        answers("gzip-unsaid", Little, &["not_an_image"], "gzip that is called a picture", |_| {
            let bytes = gzip(PIXEL_PNG.as_slice());
            vec![declared(bytes.len() as u64), Send(bytes)]
        }),
        answers("deflate", Little, &["content_encoded"], "deflate, unasked", |_| vec![encoded("deflate", b"\x78\x9c\x03\0\0\0\0\x01")]),
        answers("br", Little, &["content_encoded"], "Brotli, unasked", |_| vec![encoded("br", b"\x3b")]),
        answers("zstd", Little, &["content_encoded"], "Zstandard, unasked", |_| vec![encoded("zstd", &zstd(PIXEL_PNG.as_slice()))]),
        answers("zstd-bomb", Little, &["content_encoded"], "100 MB in some KB of Zstandard", |_| vec![encoded("zstd", &ZSTD_BOMB)]),
        answers("coding-twice", Little, &["content_encoded"], "identity and gzip in two headers", |_| {
            vec![Send(head("200 OK", "Content-Encoding: identity\r\nContent-Encoding: gzip\r\nContent-Length: 67\r\n")), Send(PIXEL_PNG.to_vec())]
        }),
        answers("coding-transfer", Little, &["content_encoded", "not_an_image", "connection_lost"], "gzip as a transfer coding", |_| {
            vec![Send(head("200 OK", "Transfer-Encoding: gzip, chunked\r\n")), chunk(&gzip(PIXEL_PNG.as_slice())), text("0\r\n\r\n")]
        }),
    ]
}

fn text(text: &str) -> Step {
    Send(text.as_bytes().to_vec())
}

fn head(status: &str, headers: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{headers}\r\n").into_bytes()
}

fn status(status: &str, headers: &str) -> Step {
    Send(head(status, &format!("{headers}Content-Length: 0\r\n")))
}

/// The header of a success with a body of so many bytes.
fn declared(length: u64) -> Step {
    Send(head("200 OK", &format!("Content-Type: image/png\r\nContent-Length: {length}\r\n")))
}

/// The pixel after these headers.
fn ok(headers: &str) -> Step {
    Send([head("200 OK", headers), PIXEL_PNG.to_vec()].concat())
}

pub(super) fn picture(headers: &str) -> Step {
    ok(&format!("{headers}Content-Type: image/png\r\nContent-Length: 67\r\n"))
}

fn body(content_type: &str, body: &str) -> Step {
    let headers = format!("Content-Type: {content_type}\r\nContent-Length: {}\r\n", body.len());
    Send([head("200 OK", &headers), body.into()].concat())
}

fn encoded(coding: &str, bytes: &[u8]) -> Step {
    let headers =
        format!("Content-Type: image/png\r\nContent-Encoding: {coding}\r\nContent-Length: {}\r\n", bytes.len());
    Send([head("200 OK", &headers), bytes.to_vec()].concat())
}

fn redirect(location: &str) -> Step {
    status("302 Found", &format!("Location: {location}\r\n"))
}

fn later(line: &str, retry_after: &str) -> Step {
    status(line, &format!("Retry-After: {retry_after}\r\n"))
}

fn chunk_bytes(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

fn chunk(bytes: &[u8]) -> Step {
    Send(chunk_bytes(bytes))
}

/// As many bytes that begin like a picture.
fn png(length: usize) -> Vec<u8> {
    PIXEL_PNG.iter().copied().chain(std::iter::repeat(0)).take(length).collect()
}

// Reading from memory cannot fail.
fn gzip(from: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    GzEncoder::new(from, Compression::fast()).read_to_end(&mut bytes).map_or_else(|_| Vec::new(), |_| bytes)
}

fn zstd(from: impl Read) -> Vec<u8> {
    zstd::encode_all(from, 3).unwrap_or_default()
}

/// Makes what takes long to make.
pub(super) fn prepare() {
    LazyLock::force(&GZIP_BOMB);
    LazyLock::force(&ZSTD_BOMB);
}

const BOMB_BYTES: u64 = 100 << 20;
static GZIP_BOMB: LazyLock<Vec<u8>> = LazyLock::new(|| gzip(io::repeat(0).take(BOMB_BYTES)));
static ZSTD_BOMB: LazyLock<Vec<u8>> = LazyLock::new(|| zstd(io::repeat(0).take(BOMB_BYTES)));
