#![expect(unsafe_code, reason = "rdkafka panics on a header whose name is not UTF-8")]

use std::{
    ffi::{CStr, c_void},
    ptr,
};

use bytes::Bytes;
use rdkafka::{bindings as native, message::BorrowedMessage};

use crate::domain::Headers;

/// The headers of a message. Names may be any bytes on the wire: what is not UTF-8 in them is replaced.
pub(super) fn headers_of(message: &BorrowedMessage<'_>) -> Headers {
    let mut list = ptr::null_mut();
    // SAFETY: the message is alive, and the list of its headers belongs to it.
    unsafe {
        native::rd_kafka_message_headers(message.ptr(), &raw mut list);
        if list.is_null() { Headers::default() } else { copy(list) }
    }
}

/// # Safety
/// The list is alive.
unsafe fn copy(list: *const native::rd_kafka_headers_t) -> Headers {
    let mut headers = Headers::default();
    // SAFETY: by the caller's promise. A name ends with a zero byte, a value has the length that is given with it, and
    // both are copied.
    unsafe {
        for index in 0..native::rd_kafka_header_cnt(list) {
            let (mut name, mut value, mut size) = (ptr::null(), ptr::null::<c_void>(), 0);
            native::rd_kafka_header_get_all(list, index, &raw mut name, &raw mut value, &raw mut size);
            if name.is_null() {
                break;
            }
            let value = match value.is_null() {
                true => &[],
                false => std::slice::from_raw_parts(value.cast::<u8>(), size),
            };
            headers.push(CStr::from_ptr(name).to_string_lossy().into_owned(), Bytes::copy_from_slice(value));
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_may_have_any_bytes_for_a_name_and_no_value() {
        let add = |list, name: &[u8], value: Option<&[u8]>| {
            let (pointer, size) = value.map_or((ptr::null(), 0), |value| (value.as_ptr(), value.len()));
            // SAFETY: both lengths are given, and both are copied.
            unsafe {
                let (name, length) = (name.as_ptr().cast(), isize::try_from(name.len()).unwrap());
                native::rd_kafka_header_add(list, name, length, pointer.cast(), isize::try_from(size).unwrap());
            }
        };
        // SAFETY: the list lives until it is destroyed, and is used by nobody afterwards.
        let headers = unsafe {
            let list = native::rd_kafka_headers_new(2);
            add(list, b"\xff\xfe", Some(b"1"));
            add(list, b"job", None);
            let headers = copy(list);
            native::rd_kafka_headers_destroy(list);
            headers
        };
        let read: Vec<_> = headers.iter().map(|(name, value)| (name, value.as_ref())).collect();
        assert_eq!(read, [("\u{fffd}\u{fffd}", b"1".as_ref()), ("job", b"")]);
    }
}
