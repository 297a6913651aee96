use bytes::Bytes;
use rdkafka::{
    Timestamp as Native,
    message::{BorrowedMessage, Header, Message, OwnedHeaders},
};

use super::headers::headers_of;
use crate::domain::{Headers, ImageId, Record, Timestamp};

/// The record in a message. Its key counts if it is an image id in hexadecimal, as ours are; what else producers use
/// as keys is their business.
pub(super) fn record_of(message: &BorrowedMessage<'_>) -> Record {
    let key = message.key().and_then(|key| std::str::from_utf8(key).ok()?.parse::<ImageId>().ok());
    Record { key, headers: headers_of(message), value: Bytes::copy_from_slice(message.payload().unwrap_or_default()) }
}

/// When the message was made, or appended, as the topic is configured.
pub(super) fn appended_at(message: &BorrowedMessage<'_>) -> Option<Timestamp> {
    match message.timestamp() {
        Native::NotAvailable => None,
        Native::CreateTime(millis) | Native::LogAppendTime(millis) => {
            (millis > 0).then(|| Timestamp::from_micros(millis.saturating_mul(1000)))
        }
    }
}

/// Headers as librdkafka takes them.
pub(super) fn native_headers(headers: &Headers) -> OwnedHeaders {
    let native = OwnedHeaders::new_with_capacity(headers.iter().count());
    headers.iter().fold(native, |native, (key, value)| native.insert(Header { key, value: Some(value.as_ref()) }))
}
