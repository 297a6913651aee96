//! Consumer groups as their coordinators describe them, of the classic protocol and of KIP-848 alike.
#![expect(unsafe_code, reason = "librdkafka's Rust binding has no DescribeConsumerGroups")]

use std::{collections::BTreeMap, ffi::CString, slice, time::Duration};

use rdkafka::{ClientContext, bindings as native, client::Client, types::RDKafkaErrorCode};

use super::native::{Answer, Pending, Refused, refused, text};

/// What a coordinator says of a group. One that nobody has joined yet is there, and has no member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Description {
    pub(super) members: usize,
    /// What this user may do with it, as numbers of `rd_kafka_AclOperation_t`; nothing if the brokers do not say.
    pub(super) operations: Vec<u32>,
}

/// Asks the coordinators of these groups.
pub(super) fn ask<'c, C: ClientContext>(
    client: &'c Client<C>,
    groups: &[&str],
    timeout: Duration,
    rights: bool,
) -> Result<Pending<'c>, Refused> {
    let names: Result<Vec<_>, _> = groups.iter().map(|group| CString::new(*group)).collect();
    let names = names.map_err(|error| Refused { code: RDKafkaErrorCode::InvalidArgument, text: error.to_string() })?;
    let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
    let kind = native::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS;
    // SAFETY: see native.rs.
    unsafe {
        Pending::ask(client, kind, timeout, rights, |handle, options, queue| {
            native::rd_kafka_DescribeConsumerGroups(handle, pointers.as_mut_ptr(), pointers.len(), options, queue);
        })
    }
}

/// What they say, by group.
pub(super) fn described(answer: &Answer<'_>) -> BTreeMap<String, Result<Description, Refused>> {
    let mut described = BTreeMap::new();
    // SAFETY: see native.rs.
    unsafe {
        let result = native::rd_kafka_event_DescribeConsumerGroups_result(answer.event());
        if result.is_null() {
            return described;
        }
        let mut count = 0;
        let groups = native::rd_kafka_DescribeConsumerGroups_result_groups(result, &raw mut count);
        if groups.is_null() {
            return described;
        }
        for group in slice::from_raw_parts(groups, count) {
            let name = text(native::rd_kafka_ConsumerGroupDescription_group_id(*group));
            let error = refused(native::rd_kafka_ConsumerGroupDescription_error(*group));
            let mut count = 0;
            let operations =
                native::rd_kafka_ConsumerGroupDescription_authorized_operations(*group, &raw mut count).cast::<u32>();
            let operations = match operations.is_null() {
                true => Vec::new(),
                false => slice::from_raw_parts(operations, count).to_vec(),
            };
            let members = native::rd_kafka_ConsumerGroupDescription_member_count(*group);
            described.insert(name, error.map(|()| Description { members, operations }));
        }
    }
    described
}
