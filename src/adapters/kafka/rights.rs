//! What the brokers let this user do with a topic, by their own word (KIP-430).
#![expect(unsafe_code, reason = "librdkafka's Rust binding has no DescribeTopics")]

use std::{
    ffi::{CStr, CString, c_char, c_int},
    ptr::NonNull,
    time::Duration,
};

use rdkafka::{ClientContext, bindings as native, client::Client};

/// Whether this user may write to a topic; `None` if the brokers do not say, as those of other makers may not.
///
/// Blocks. Errors are of librdkafka's words.
pub(super) fn may_write<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    timeout: Duration,
) -> Result<Option<bool>, String> {
    let operations = authorized_operations(client, topic, timeout)?;
    let write = native::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_WRITE as u32;
    Ok(if operations.is_empty() { None } else { Some(operations.contains(&write)) })
}

/// The numbers of the operations, `rd_kafka_AclOperation_t`.
fn authorized_operations<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    timeout: Duration,
) -> Result<Vec<u32>, String> {
    let millis = c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX);
    let name = CString::new(topic).map_err(|error| error.to_string())?;
    let mut names = [name.as_ptr()];
    let describe = native::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
    let none = || "librdkafka is out of memory".to_owned();
    // SAFETY: the client outlives the call, and with it `client`. What is made here is owned by a guard that destroys
    // it with the function that librdkafka names for it, after everything that points into it is out of use: guards
    // are dropped in reverse order. `names` has the one element that is announced, and is copied. The description and
    // its operations belong to the event. Operations are read as the numbers that they are in C, because a newer
    // librdkafka may have more of them than the Rust type has.
    unsafe {
        let handle = client.native_ptr();
        let queue = Guard::new(native::rd_kafka_queue_new(handle), native::rd_kafka_queue_destroy).ok_or_else(none)?;
        let options = native::rd_kafka_AdminOptions_new(handle, describe);
        let options = Guard::new(options, native::rd_kafka_AdminOptions_destroy).ok_or_else(none)?;
        let refused = native::rd_kafka_AdminOptions_set_include_authorized_operations(options.get(), 1);
        if let Some(refused) = Guard::new(refused, native::rd_kafka_error_destroy) {
            return Err(text(native::rd_kafka_error_string(refused.get())));
        }
        // A time-out that it does not take leaves its own, of a minute: the wait below is ours all the same.
        native::rd_kafka_AdminOptions_set_request_timeout(options.get(), millis, std::ptr::null_mut(), 0);
        let topics = native::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
        let topics = Guard::new(topics, native::rd_kafka_TopicCollection_destroy).ok_or_else(none)?;
        native::rd_kafka_DescribeTopics(handle, topics.get(), options.get(), queue.get());

        let event = native::rd_kafka_queue_poll(queue.get(), millis);
        let event = Guard::new(event, native::rd_kafka_event_destroy).ok_or("the brokers do not answer in time")?;
        if native::rd_kafka_event_error(event.get()) != native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(text(native::rd_kafka_event_error_string(event.get())));
        }
        let result = native::rd_kafka_event_DescribeTopics_result(event.get());
        let mut count = 0;
        let descriptions = match result.is_null() {
            true => std::ptr::null_mut(),
            false => native::rd_kafka_DescribeTopics_result_topics(result, &raw mut count),
        };
        if descriptions.is_null() || count == 0 {
            return Ok(Vec::new());
        }
        let mut count = 0;
        let operations = native::rd_kafka_TopicDescription_authorized_operations(*descriptions, &raw mut count);
        match operations.is_null() {
            true => Ok(Vec::new()),
            false => Ok(std::slice::from_raw_parts(operations.cast::<u32>(), count).to_vec()),
        }
    }
}

/// Something of librdkafka's, and the function that ends it.
struct Guard<T> {
    pointer: NonNull<T>,
    destroy: unsafe extern "C" fn(*mut T),
}

impl<T> Guard<T> {
    fn new(pointer: *mut T, destroy: unsafe extern "C" fn(*mut T)) -> Option<Self> {
        NonNull::new(pointer).map(|pointer| Guard { pointer, destroy })
    }

    fn get(&self) -> *mut T {
        self.pointer.as_ptr()
    }
}

impl<T> Drop for Guard<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer came with this function, and nobody else destroys it.
        unsafe { (self.destroy)(self.pointer.as_ptr()) }
    }
}

/// # Safety
/// A string of C, or null.
unsafe fn text(string: *const c_char) -> String {
    match string.is_null() {
        true => String::new(),
        // SAFETY: the caller's promise.
        false => unsafe { CStr::from_ptr(string) }.to_string_lossy().into_owned(),
    }
}
