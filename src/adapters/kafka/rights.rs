//! What the brokers let this user do, by their own word (KIP-430).
#![expect(unsafe_code, reason = "librdkafka's Rust binding has no DescribeTopics")]

use std::{ffi::CString, ptr, slice, time::Duration};

use rdkafka::{ClientContext, bindings as native, client::Client};

use super::{
    groups,
    native::{Answer, Guard, Patience, Pending, Whom},
};

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

/// Whether this user may be a member of a group whose coordinator is among these brokers; `None` if they do not say.
///
/// Blocks.
pub(super) fn may_join<C: ClientContext>(client: &Client<C>, brokers: &[i32], group: &str) -> Option<bool> {
    let described = groups::describe(client, brokers, &[group], Patience::of(PATIENCE, None), true).remove(group);
    // A group that is refused has no rights to tell of.
    verdict(&described.and_then(Result::ok)?.operations, Operation::Read)
}

fn verdict(operations: &[u32], operation: Operation) -> Option<bool> {
    (!operations.is_empty()).then(|| operations.contains(&operation.code()))
}

fn of_topic<C: ClientContext>(client: &Client<C>, topic: &str) -> Result<Vec<u32>, String> {
    let name = CString::new(topic).map_err(|error| error.to_string())?;
    let kind = native::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
    // SAFETY: see native.rs.
    unsafe {
        let mut names = [name.as_ptr()];
        let topics = native::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
        let topics = Guard::new(topics, native::rd_kafka_TopicCollection_destroy).map_err(|refused| refused.text)?;
        let asked = Pending::ask(client, kind, Whom::Chosen, PATIENCE, true, |handle, options, queue| {
            native::rd_kafka_DescribeTopics(handle, topics.get(), options, queue);
        });
        let answered =
            asked.and_then(|asked| asked.first(Patience::of(PATIENCE, None), |answer| Ok(operations(answer))));
        answered.map_err(|refused| refused.text)
    }
}

fn operations(answer: &Answer<'_>) -> Vec<u32> {
    // SAFETY: see native.rs.
    unsafe {
        let result = native::rd_kafka_event_DescribeTopics_result(answer.event());
        let mut count = 0;
        let descriptions = match result.is_null() {
            true => ptr::null_mut(),
            false => native::rd_kafka_DescribeTopics_result_topics(result, &raw mut count),
        };
        if descriptions.is_null() || count == 0 {
            return Vec::new();
        }
        let mut count = 0;
        let operations = native::rd_kafka_TopicDescription_authorized_operations(*descriptions, &raw mut count);
        match operations.is_null() {
            true => Vec::new(),
            // Read as numbers: a newer librdkafka may have more of them than the Rust type has.
            false => slice::from_raw_parts(operations.cast::<u32>(), count).to_vec(),
        }
    }
}
