//! Where logs begin and end, and what groups have committed: one request for all partitions of a topic that a broker
//! leads.
#![expect(
    unsafe_code,
    reason = "librdkafka's Rust binding has no ListOffsets, and no committed offsets of other groups"
)]

use std::{collections::BTreeMap, ffi::CString, ptr, slice, time::Duration};

use rdkafka::{
    ClientContext, Offset as NativeOffset, TopicPartitionList, bindings as native, client::Client,
    types::RDKafkaErrorCode,
};

use super::native::{Answer, Guard, Pending, Refused, Whom, refused};
use crate::runner::ports::{Offset, Partition};

/// An end of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The oldest record that is there.
    Start,
    /// The one that comes next.
    End,
}

/// Asks those who lead these partitions where their logs start or end.
pub(super) fn ask_log<'c, C: ClientContext>(
    client: &'c Client<C>,
    topic: &str,
    partitions: &[Partition],
    end: End,
    timeout: Duration,
) -> Result<Pending<'c>, Refused> {
    let offset = if end == End::Start { NativeOffset::Beginning } else { NativeOffset::End };
    let list = list(topic, partitions, offset)?;
    let kind = native::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS;
    // SAFETY: see native.rs.
    unsafe {
        Pending::ask(client, kind, Whom::Chosen, timeout, false, |handle, options, queue| {
            native::rd_kafka_ListOffsets(handle, list.ptr(), options, queue);
        })
    }
}

/// What they say; of a leader that does not answer in time nothing.
pub(super) fn log_offsets(answer: &Answer<'_>) -> BTreeMap<Partition, Result<Offset, Refused>> {
    let mut offsets = BTreeMap::new();
    // SAFETY: see native.rs.
    unsafe {
        let result = native::rd_kafka_event_ListOffsets_result(answer.event());
        if result.is_null() {
            return offsets;
        }
        let mut count = 0;
        let infos = native::rd_kafka_ListOffsets_result_infos(result, &raw mut count);
        if infos.is_null() {
            return offsets;
        }
        for info in slice::from_raw_parts(infos, count) {
            let (partition, offset) = read(native::rd_kafka_ListOffsetsResultInfo_topic_partition(*info));
            if offset.as_ref().map_or(true, |offset| *offset >= 0) {
                offsets.insert(partition, offset);
            }
        }
    }
    offsets
}

/// Asks these brokers, of which one is the group's coordinator, how far it has come in these partitions.
pub(super) fn ask_committed<'c, C: ClientContext>(
    client: &'c Client<C>,
    brokers: &[i32],
    group: &str,
    topic: &str,
    partitions: &[Partition],
    timeout: Duration,
) -> Result<Pending<'c>, Refused> {
    let list = list(topic, partitions, NativeOffset::Invalid)?;
    let name = CString::new(group).map_err(|error| invalid(&error))?;
    let kind = native::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS;
    // SAFETY: see native.rs.
    unsafe {
        let request = native::rd_kafka_ListConsumerGroupOffsets_new(name.as_ptr(), list.ptr());
        let request = Guard::new(request, native::rd_kafka_ListConsumerGroupOffsets_destroy)?;
        let mut requests = [request.get()];
        Pending::ask(client, kind, Whom::Brokers(brokers), timeout, false, |handle, options, queue| {
            native::rd_kafka_ListConsumerGroupOffsets(handle, requests.as_mut_ptr(), requests.len(), options, queue);
        })
    }
}

/// What it says: nothing of a partition in which the group has committed nothing.
pub(super) fn committed(answer: &Answer<'_>) -> Result<BTreeMap<Partition, Result<Option<Offset>, Refused>>, Refused> {
    let mut offsets = BTreeMap::new();
    // SAFETY: see native.rs.
    unsafe {
        let result = native::rd_kafka_event_ListConsumerGroupOffsets_result(answer.event());
        let mut count = 0;
        let groups = match result.is_null() {
            true => ptr::null_mut(),
            false => native::rd_kafka_ListConsumerGroupOffsets_result_groups(result, &raw mut count),
        };
        if groups.is_null() || count == 0 {
            return Ok(offsets);
        }
        refused(native::rd_kafka_group_result_error(*groups))?;
        let list = native::rd_kafka_group_result_partitions(*groups);
        if list.is_null() || (*list).elems.is_null() {
            return Ok(offsets);
        }
        for index in 0..usize::try_from((*list).cnt).unwrap_or_default() {
            let (partition, offset) = read((*list).elems.add(index));
            offsets.insert(partition, offset.map(|offset| (offset >= 0).then_some(offset)));
        }
    }
    Ok(offsets)
}

fn list(topic: &str, partitions: &[Partition], offset: NativeOffset) -> Result<TopicPartitionList, Refused> {
    // Of a name that C cannot have, rdkafka would panic.
    CString::new(topic).map_err(|error| invalid(&error))?;
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        list.add_partition_offset(topic, *partition, offset).map_err(|error| invalid(&error))?;
    }
    Ok(list)
}

fn invalid(error: &dyn std::error::Error) -> Refused {
    Refused { code: RDKafkaErrorCode::InvalidArgument, text: error.to_string() }
}

/// # Safety
/// A partition that lives.
unsafe fn read(element: *const native::rd_kafka_topic_partition_t) -> (Partition, Result<Offset, Refused>) {
    // SAFETY: the caller's promise. The error is what a broker sent: perhaps a number that the Rust type has not.
    unsafe {
        let error = (&raw const (*element).err).cast::<i32>().read();
        let offset = if error == 0 { Ok((*element).offset) } else { Err(Refused::of(error)) };
        ((*element).partition, offset)
    }
}
