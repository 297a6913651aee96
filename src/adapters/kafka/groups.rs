//! Consumer groups as their coordinators describe them, of the classic protocol and of KIP-848 alike.
#![expect(unsafe_code, reason = "librdkafka's Rust binding has no DescribeConsumerGroups")]

use std::{collections::BTreeMap, ffi::CString, slice, time::Duration};

use rdkafka::{ClientContext, bindings as native, client::Client, types::RDKafkaErrorCode};

use super::native::{Answer, Patience, Pending, Refused, Weight, Whom, refused, text};

/// What a coordinator says of a group. One that nobody has joined yet is there, and has no member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Description {
    pub(super) members: usize,
    /// What this user may do with it, as numbers of `rd_kafka_AclOperation_t`; nothing if the brokers do not say.
    pub(super) operations: Vec<u32>,
}

/// By group.
pub(super) type Described = BTreeMap<String, Result<Description, Refused>>;

/// What the coordinators of these groups, who are among these brokers, say of them. Blocks.
pub(super) fn describe<C: ClientContext>(
    client: &Client<C>,
    brokers: &[i32],
    groups: &[&str],
    patience: Patience<'_>,
    rights: bool,
) -> Described {
    let mut found = Described::new();
    let mut refused = None;
    match ask(client, brokers, groups, patience.left(), rights) {
        Ok(mut asked) => {
            let is_told = |found: &Described| {
                groups.iter().all(|group| found.get(*group).is_some_and(|told| weight(told) == Weight::Final))
            };
            while !is_told(&found)
                && let Some(answer) = asked.next(patience)
            {
                match answer {
                    Ok(answer) => merge(&mut found, described(&answer)),
                    Err(why) => refused = Some(why),
                }
            }
        }
        Err(why) => refused = Some(why),
    }
    let refused = refused.unwrap_or_else(Refused::nothing);
    for group in groups {
        found.entry((*group).to_owned()).or_insert_with(|| Err(refused.clone()));
    }
    found
}

/// Keeps the word of those who know.
fn merge(found: &mut Described, answer: Described) {
    for (group, told) in answer {
        if found.get(&group).is_none_or(|known| weight(known) < weight(&told)) {
            found.insert(group, told);
        }
    }
}

fn weight(told: &Result<Description, Refused>) -> Weight {
    told.as_ref().map_or_else(Refused::weight, |_| Weight::Final)
}

fn ask<'c, C: ClientContext>(
    client: &'c Client<C>,
    brokers: &[i32],
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
        Pending::ask(client, kind, Whom::Brokers(brokers), timeout, rights, |handle, options, queue| {
            native::rd_kafka_DescribeConsumerGroups(handle, pointers.as_mut_ptr(), pointers.len(), options, queue);
        })
    }
}

/// What one of them says.
fn described(answer: &Answer<'_>) -> Described {
    let mut described = Described::new();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_of_who_knows_outweighs_that_of_others_whoever_is_first() {
        let told = |code| BTreeMap::from([("group".to_owned(), Err(Refused { code, text: String::new() }))]);
        let known = || BTreeMap::from([("group".to_owned(), Ok(Description { members: 3, operations: vec![] }))]);
        let other = || told(RDKafkaErrorCode::NotCoordinator);
        let gone = || told(RDKafkaErrorCode::BrokerTransportFailure);
        let denied = || told(RDKafkaErrorCode::GroupAuthorizationFailed);
        for (answers, expected) in [
            (vec![other(), known(), gone()], known()),
            (vec![gone(), other(), known()], known()),
            (vec![other(), gone(), denied()], denied()),
            (vec![denied(), gone(), other()], denied()),
            (vec![gone(), other(), told(RDKafkaErrorCode::CoordinatorNotAvailable)], gone()),
        ] {
            let mut found = Described::new();
            answers.into_iter().for_each(|answer| merge(&mut found, answer));
            assert_eq!(found, expected);
        }
    }
}
