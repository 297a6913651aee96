//! What the brokers let this user do, by their own word (KIP-430).
#![expect(unsafe_code, reason = "librdkafka's Rust binding has no DescribeTopics, and gives no rights to groups")]

use std::{
    ffi::{CStr, CString, c_char, c_int},
    ptr::{self, NonNull},
    slice,
    time::Duration,
};

use rdkafka::{ClientContext, bindings as native, client::Client};

/// Those who know the answer give it at once; it is not worth a longer wait.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is to be done with a topic or a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Read,
    Write,
}

impl Operation {
    /// Its number in `rd_kafka_AclOperation_t`.
    fn code(self) -> u32 {
        use native::rd_kafka_AclOperation_t::{RD_KAFKA_ACL_OPERATION_READ, RD_KAFKA_ACL_OPERATION_WRITE};
        match self {
            Operation::Read => RD_KAFKA_ACL_OPERATION_READ as u32,
            Operation::Write => RD_KAFKA_ACL_OPERATION_WRITE as u32,
        }
    }
}

/// Whether this user may do that with a topic; `None` if the brokers do not say, as those of other makers may not.
///
/// Blocks. Errors are of librdkafka's words.
pub(super) fn may<C: ClientContext>(
    client: &Client<C>,
    operation: Operation,
    topic: &str,
) -> Result<Option<bool>, String> {
    Ok(verdict(&of_topic(client, topic)?, operation))
}

/// Whether this user may be a member of a group; `None` if the brokers do not say.
///
/// Blocks. Errors are of librdkafka's words.
pub(super) fn may_join<C: ClientContext>(client: &Client<C>, group: &str) -> Result<Option<bool>, String> {
    Ok(verdict(&of_group(client, group)?, Operation::Read))
}

fn verdict(operations: &[u32], operation: Operation) -> Option<bool> {
    (!operations.is_empty()).then(|| operations.contains(&operation.code()))
}

// SAFETY, of all below: the client outlives the call, and with it its handle. What is made is owned by a guard that
// ends it with the function that librdkafka names for it, after everything that points into it is out of use: guards
// are dropped in reverse order. Names live until the request is made, and are copied there. Descriptions and their
// operations belong to the event. Operations are read as the numbers that they are in C, because a newer librdkafka may
// have more of them than the Rust type has.

fn of_topic<C: ClientContext>(client: &Client<C>, topic: &str) -> Result<Vec<u32>, String> {
    let name = CString::new(topic).map_err(|error| error.to_string())?;
    let kind = native::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
    // SAFETY: see above.
    unsafe {
        let mut names = [name.as_ptr()];
        let topics = native::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
        let topics = Guard::new(topics, native::rd_kafka_TopicCollection_destroy)?;
        let (_queue, event) = answer(client, kind, |handle, options, queue| {
            native::rd_kafka_DescribeTopics(handle, topics.get(), options, queue);
        })?;
        let result = native::rd_kafka_event_DescribeTopics_result(event.get());
        let mut count = 0;
        let descriptions = match result.is_null() {
            true => ptr::null_mut(),
            false => native::rd_kafka_DescribeTopics_result_topics(result, &raw mut count),
        };
        if descriptions.is_null() || count == 0 {
            return Ok(Vec::new());
        }
        let mut count = 0;
        let operations = native::rd_kafka_TopicDescription_authorized_operations(*descriptions, &raw mut count);
        Ok(numbers(operations, count))
    }
}

fn of_group<C: ClientContext>(client: &Client<C>, group: &str) -> Result<Vec<u32>, String> {
    let name = CString::new(group).map_err(|error| error.to_string())?;
    let kind = native::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS;
    // SAFETY: see above.
    unsafe {
        let mut names = [name.as_ptr()];
        let (_queue, event) = answer(client, kind, |handle, options, queue| {
            native::rd_kafka_DescribeConsumerGroups(handle, names.as_mut_ptr(), names.len(), options, queue);
        })?;
        let result = native::rd_kafka_event_DescribeConsumerGroups_result(event.get());
        let mut count = 0;
        let descriptions = match result.is_null() {
            true => ptr::null_mut(),
            false => native::rd_kafka_DescribeConsumerGroups_result_groups(result, &raw mut count),
        };
        if descriptions.is_null() || count == 0 {
            return Ok(Vec::new());
        }
        let mut count = 0;
        let operations = native::rd_kafka_ConsumerGroupDescription_authorized_operations(*descriptions, &raw mut count);
        Ok(numbers(operations, count))
    }
}

/// Makes a request of this kind with `ask`, which gets handle, options and queue, and waits for the answer. The event
/// is to be dropped before its queue.
unsafe fn answer<C: ClientContext>(
    client: &Client<C>,
    kind: native::rd_kafka_admin_op_t,
    ask: impl FnOnce(*mut native::rd_kafka_t, *mut native::rd_kafka_AdminOptions_t, *mut native::rd_kafka_queue_t),
) -> Result<(Guard<native::rd_kafka_queue_t>, Guard<native::rd_kafka_event_t>), String> {
    let millis = c_int::try_from(PATIENCE.as_millis()).unwrap_or(c_int::MAX);
    // SAFETY: see above.
    unsafe {
        let handle = client.native_ptr();
        let queue = Guard::new(native::rd_kafka_queue_new(handle), native::rd_kafka_queue_destroy)?;
        let options = native::rd_kafka_AdminOptions_new(handle, kind);
        let options = Guard::new(options, native::rd_kafka_AdminOptions_destroy)?;
        let refused = native::rd_kafka_AdminOptions_set_include_authorized_operations(options.get(), 1);
        if let Ok(refused) = Guard::new(refused, native::rd_kafka_error_destroy) {
            return Err(text(native::rd_kafka_error_string(refused.get())));
        }
        // A time-out that it does not take leaves its own, of a minute: the wait below is ours all the same.
        native::rd_kafka_AdminOptions_set_request_timeout(options.get(), millis, ptr::null_mut(), 0);
        ask(handle, options.get(), queue.get());
        let event = native::rd_kafka_queue_poll(queue.get(), millis);
        let event = Guard::new(event, native::rd_kafka_event_destroy).map_err(|_| "no answer in time")?;
        match native::rd_kafka_event_error(event.get()) {
            native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok((queue, event)),
            _ => Err(text(native::rd_kafka_event_error_string(event.get()))),
        }
    }
}

/// Something of librdkafka's, and the function that ends it.
struct Guard<T> {
    pointer: NonNull<T>,
    destroy: unsafe extern "C" fn(*mut T),
}

impl<T> Guard<T> {
    fn new(pointer: *mut T, destroy: unsafe extern "C" fn(*mut T)) -> Result<Self, String> {
        let pointer = NonNull::new(pointer).ok_or("librdkafka has no memory")?;
        Ok(Guard { pointer, destroy })
    }

    fn get(&self) -> *mut T {
        self.pointer.as_ptr()
    }
}

impl<T> Drop for Guard<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer came with this function, and nobody else ends it.
        unsafe { (self.destroy)(self.pointer.as_ptr()) }
    }
}

/// # Safety
/// As many operations as `count` says, or null.
unsafe fn numbers(operations: *const native::rd_kafka_AclOperation_t, count: usize) -> Vec<u32> {
    match operations.is_null() {
        true => Vec::new(),
        // SAFETY: the caller's promise.
        false => unsafe { slice::from_raw_parts(operations.cast::<u32>(), count) }.to_vec(),
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
