//! What a server can do wrong with HTTP/2 (RFC 9113), in frames written by hand. A client that does not speak it gets
//! a picture over HTTP/1.1.

use super::{
    Cost::{Little, Time, Work},
    DETECTED, Manner, Talk,
    step::Step::{self, Drip, Flood, Reset, Send, Silence},
    tls::Certificate,
};
use crate::PIXEL_PNG;

// Types of frames (RFC 9113, section 6).
const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

// Flags.
const END_STREAM: u8 = 1;
pub(super) const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// `:status: 200` in HPACK's static table (RFC 7541, appendix A).
const OK: &[u8] = b"\x88";

#[rustfmt::skip]
pub(super) fn manners() -> Vec<Manner> {
    let answers = |name, cost, ends, does, script| Manner {
        name, does, ends, cost, certificate: Some(Certificate::Good), talk: Talk::Answers2(script),
    };
    vec![
        answers("h2-good", Little, &[DETECTED], "a picture over HTTP/2", |stream| {
            vec![headers(stream, OK), data(stream, PIXEL_PNG, END_STREAM)]
        }),
        answers("h2-header-never", Time, &["first_byte_timeout"], "takes the request and says nothing", |_| vec![Silence]),
        answers("h2-body-stall", Time, &["read_timeout", "first_byte_timeout"], "stops half-way", |stream| {
            vec![headers(stream, OK), data(stream, &PIXEL_PNG[..30], 0), Silence]
        }),
        answers("h2-body-drip", Time, &["too_slow", "first_byte_timeout"], "sends the body in frames of one byte, byte by byte", |stream| {
            let bytes = PIXEL_PNG.iter().flat_map(|byte| frame(DATA, 0, stream, &[*byte])).collect();
            vec![headers(stream, OK), Drip(bytes), Silence]
        }),
        answers("h2-empty-data-flood", Work, &["too_slow", "connection_lost"], "empty DATA frames, for ever", |stream| {
            vec![headers(stream, OK), data(stream, PIXEL_PNG, 0), Flood(frame(DATA, 0, stream, b"").repeat(500))]
        }),
        answers("h2-padding-flood", Work, &["too_slow", "connection_lost", "read_timeout"], "DATA frames of padding only, for ever", |stream| {
            vec![headers(stream, OK), data(stream, PIXEL_PNG, 0), Flood(frame(DATA, 8, stream, b"\x03\0\0\0").repeat(100))]
        }),
        answers("h2-reset", Little, &["connection_lost"], "resets the stream", |stream| vec![Send(reset(stream))]),
        answers("h2-reset-in-body", Little, &["connection_lost"], "resets the stream half-way", |stream| {
            vec![headers(stream, OK), data(stream, &PIXEL_PNG[..30], 0), Send(reset(stream))]
        }),
        answers("h2-reset-flood", Work, &["connection_lost"], "resets the stream for ever", |stream| {
            vec![Flood(reset(stream).repeat(500))]
        }),
        answers("h2-rapid-reset", Work, &["connection_lost"], "pushes streams and resets them, for ever", |stream| {
            let promised = (1..200_u32).flat_map(|n| {
                let promise = [&(2 * n).to_be_bytes(), b"\x82\x86\x84\x41\x01x".as_slice()].concat();
                [frame(PUSH_PROMISE, END_HEADERS, stream, &promise), reset(2 * n)].concat()
            });
            vec![Flood(promised.collect())]
        }),
        answers("h2-settings-flood", Work, &["first_byte_timeout", "connection_lost"], "SETTINGS for ever, without reading the answers", |_| {
            vec![Flood(frame(SETTINGS, 0, 0, b"\0\x03\0\0\0\x64").repeat(500))]
        }),
        answers("h2-settings-ack-flood", Work, &["connection_lost"], "acknowledges settings that were not sent", |_| {
            vec![Flood(frame(SETTINGS, ACK, 0, b"").repeat(500))]
        }),
        answers("h2-ping-flood", Work, &["first_byte_timeout", "connection_lost"], "PING for ever, without reading the answers", |_| {
            vec![Flood(frame(PING, 0, 0, b"12345678").repeat(500))]
        }),
        answers("h2-priority-flood", Work, &["first_byte_timeout", "connection_lost"], "PRIORITY for ever", |stream| {
            vec![Flood(frame(2, 0, stream, b"\0\0\0\0\x10").repeat(500))]
        }),
        answers("h2-window-update-flood", Work, &["first_byte_timeout", "connection_lost"], "WINDOW_UPDATE by 1 for ever", |stream| {
            vec![Flood(frame(WINDOW_UPDATE, 0, stream, &1_u32.to_be_bytes()).repeat(500))]
        }),
        answers("h2-window-overflow", Little, &["connection_lost"], "makes the window larger than it can be", |_| {
            vec![Send(frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes()).repeat(3)), Silence]
        }),
        answers("h2-window-zero", Little, &[DETECTED], "allows us not one byte, and sends the picture", |stream| {
            vec![Send(frame(SETTINGS, 0, 0, b"\0\x04\0\0\0\0")), headers(stream, OK), data(stream, PIXEL_PNG, END_STREAM)]
        }),
        answers("h2-window-ignored", Work, &["connection_lost", "body_too_large"], "sends more than we allow, for ever", |stream| {
            vec![headers(stream, OK), data(stream, PIXEL_PNG, 0), Flood(frame(DATA, 0, stream, &[0; 16_000]))]
        }),
        answers("h2-unknown-frames", Work, &["first_byte_timeout", "connection_lost"], "frames of an unknown type for ever", |_| {
            vec![Flood(frame(0xbe, 0, 0, &[0; 1000]).repeat(10))]
        }),
        answers("h2-header-flood", Work, &["connection_lost"], "HEADERS that CONTINUATION frames go on with for ever", |stream| {
            vec![Send(frame(HEADERS, 0, stream, OK)), Flood(frame(CONTINUATION, 0, stream, &field(b"x", &[b'v'; 1000])))]
        }),
        answers("h2-continuation-flood", Work, &["connection_lost", "first_byte_timeout"], "empty CONTINUATION frames for ever", |stream| {
            vec![Send(frame(HEADERS, 0, stream, OK)), Flood(frame(CONTINUATION, 0, stream, b"").repeat(500))]
        }),
        answers("h2-header-megabyte", Little, &["connection_lost"], "a header of 1 MB", |stream| {
            let part = field(b"x", &vec![b'v'; 16_000]);
            let parts = frame(CONTINUATION, 0, stream, &part).repeat(64);
            vec![Send(frame(HEADERS, 0, stream, OK)), Send(parts), Send(frame(CONTINUATION, END_HEADERS, stream, b"")), Silence]
        }),
        answers("h2-header-bomb", Little, &["connection_lost"], "64 MB of headers in 16 KB of HPACK", |stream| {
            // One entry of 4,000 bytes for the dynamic table, then a byte each to name it again.
            let mut block = [OK, b"\x40", &string(b"x"), &string(&[b'v'; 4000])].concat();
            block.resize(16_000, 0xbe);
            vec![headers(stream, &block), data(stream, PIXEL_PNG, END_STREAM)]
        }),
        answers("h2-hpack-nonsense", Little, &["connection_lost"], "headers of a table that is empty", |stream| {
            vec![headers(stream, b"\xff\xff\xff\x7f"), Silence]
        }),
        answers("h2-continue-storm", Work, &["first_byte_timeout", "connection_lost"], "status 100 for ever", |stream| {
            vec![Flood(frame(HEADERS, END_HEADERS, stream, b"\x08\x03100").repeat(500))]
        }),
        answers("h2-trailer-flood", Work, &[DETECTED, "connection_lost"], "trailers for ever", |stream| {
            vec![headers(stream, OK), data(stream, PIXEL_PNG, 0), Flood(frame(HEADERS, END_HEADERS | END_STREAM, stream, &field(b"x", b"v")))]
        }),
        answers("h2-two-answers", Little, &["connection_lost"], "a second header in the middle of the body", |stream| {
            vec![headers(stream, OK), data(stream, &PIXEL_PNG[..30], 0), headers(stream, OK), data(stream, PIXEL_PNG, END_STREAM)]
        }),
        answers("h2-data-first", Little, &["connection_lost"], "a body before the header", |stream| {
            vec![data(stream, PIXEL_PNG, END_STREAM), Silence]
        }),
        answers("h2-length-too-long", Little, &["connection_lost"], "announces more than it sends", |stream| {
            vec![headers(stream, &[OK, &length(b"99")].concat()), data(stream, PIXEL_PNG, END_STREAM)]
        }),
        answers("h2-length-too-short", Little, &["connection_lost"], "announces less than it sends", |stream| {
            vec![headers(stream, &[OK, &length(b"40")].concat()), data(stream, PIXEL_PNG, END_STREAM)]
        }),
        answers("h2-length-huge", Little, &["body_too_large"], "announces a terabyte", |stream| {
            vec![headers(stream, &[OK, &length(b"1099511627776")].concat()), data(stream, PIXEL_PNG, 0), Silence]
        }),
        answers("h2-no-body", Little, &["empty_body"], "a header, then the end", |stream| {
            vec![Send(frame(HEADERS, END_HEADERS | END_STREAM, stream, OK))]
        }),
        answers("h2-frame-too-large", Work, &["connection_lost"], "a frame of 16 MB", |stream| {
            vec![Send([b"\xff\xff\xff\0\0".as_slice(), &stream.to_be_bytes()].concat()), Flood(vec![0; 16_000])]
        }),
        answers("h2-other-stream", Little, &["connection_lost"], "answers on a stream that nobody opened", |_| {
            vec![headers(99, OK), data(99, PIXEL_PNG, END_STREAM), Silence]
        }),
        answers("h2-goaway", Little, &["connection_lost"], "GOAWAY", |_| vec![Send(goaway(0)), Silence]),
        answers("h2-goaway-flood", Work, &["first_byte_timeout", "connection_lost"], "GOAWAY for ever, without ever going", |stream| {
            vec![Flood(goaway(stream).repeat(200))]
        }),
        answers("h2-broken-off", Little, &["connection_lost"], "breaks the connection at the request", |_| vec![Reset]),
        answers("h2-http-1", Little, &["connection_lost"], "agrees on HTTP/2 and speaks HTTP/1.1", |_| {
            vec![Send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec()), Silence]
        }),
        answers("h2-redirect-loop", Little, &["too_many_redirects"], "302 to itself", |stream| {
            let block = [b"\x08\x03302".as_slice(), b"\x0f\x1f", &string(b"?")].concat();
            vec![Send(frame(HEADERS, END_HEADERS | END_STREAM, stream, &block))]
        }),
        answers("h2-busy", Little, &["rate_limited"], "429", |stream| {
            vec![Send(frame(HEADERS, END_HEADERS | END_STREAM, stream, b"\x08\x03429"))]
        }),
    ]
}

/// A frame: length, type, flags, stream, payload (RFC 9113, section 4.1).
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or_default().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn headers(stream: u32, block: &[u8]) -> Step {
    Send(frame(HEADERS, END_HEADERS, stream, block))
}

fn data(stream: u32, bytes: &[u8], flags: u8) -> Step {
    Send(frame(DATA, flags, stream, bytes))
}

/// Resets a stream with the code CANCEL.
fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())
}

fn goaway(last_stream: u32) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[last_stream.to_be_bytes(), [0; 4]].concat())
}

/// A header that no table knows and none should (RFC 7541, section 6.2.2).
fn field(name: &[u8], value: &[u8]) -> Vec<u8> {
    [b"\0".as_slice(), &string(name), &string(value)].concat()
}

/// `content-length`, by its name in the static table.
fn length(digits: &[u8]) -> Vec<u8> {
    [b"\x0f\x0d".as_slice(), &string(digits)].concat()
}

/// Length, with seven bits in the first byte, and bytes (RFC 7541, section 5.2).
fn string(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut length = bytes.len();
    if length < 127 {
        out.push(length as u8);
    } else {
        out.push(127);
        length -= 127;
        while length >= 128 {
            out.push((length % 128) as u8 | 0x80);
            length /= 128;
        }
        out.push(length as u8);
    }
    out.extend(bytes);
    out
}
