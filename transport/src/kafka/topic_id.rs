//! A topic's id: Kafka gives every topic a fresh one when it is created (KIP-516, brokers from 2.8), so it is the log's identity.
//!
//! The binding has no safe call for it; this is the only unsafe code of the log.
#![allow(unsafe_code)]

use std::{ffi::CString, time::Duration};

use binferry_schemas::gtid::Uuid;
use rdkafka::{ClientContext, bindings as sys, client::Client, types::RDKafkaErrorCode};

/// Asks the cluster. `Ok(None)`: the brokers are too old to give one.
pub(super) fn topic_id<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    timeout: Duration,
) -> Result<Option<Uuid>, RDKafkaErrorCode> {
    let name = CString::new(topic).map_err(|_| RDKafkaErrorCode::InvalidTopic)?;
    let timeout = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    let mut names = [name.as_ptr()];
    // SAFETY: the client outlives the call; every object is made here, checked for null where librdkafka may answer so, and freed by its
    // guard after the last use; the collection copies the names.
    unsafe {
        let topics = Guard(
            sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len()),
            sys::rd_kafka_TopicCollection_destroy,
        );
        let options = Guard(
            sys::rd_kafka_AdminOptions_new(
                client.native_ptr(),
                sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
            ),
            sys::rd_kafka_AdminOptions_destroy,
        );
        // A timeout that is not taken leaves the client's own.
        let mut reason = [0; 128];
        sys::rd_kafka_AdminOptions_set_request_timeout(
            options.0,
            timeout,
            reason.as_mut_ptr(),
            reason.len(),
        );
        let queue = Guard(
            sys::rd_kafka_queue_new(client.native_ptr()),
            sys::rd_kafka_queue_destroy,
        );
        sys::rd_kafka_DescribeTopics(client.native_ptr(), topics.0, options.0, queue.0);
        // The request has the timeout; the answer, also that one, comes a moment later.
        let event = sys::rd_kafka_queue_poll(queue.0, timeout.saturating_add(1_000));
        if event.is_null() {
            return Err(RDKafkaErrorCode::OperationTimedOut);
        }
        let event = Guard(event, sys::rd_kafka_event_destroy);
        let error = sys::rd_kafka_event_error(event.0);
        if error != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(error.into());
        }
        let result = sys::rd_kafka_event_DescribeTopics_result(event.0);
        if result.is_null() {
            return Err(RDKafkaErrorCode::Fail);
        }
        let mut count = 0;
        let found = sys::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        if count != 1 || found.is_null() {
            return Err(RDKafkaErrorCode::UnknownTopicOrPartition);
        }
        let description = *found;
        let error = sys::rd_kafka_TopicDescription_error(description);
        if !error.is_null() {
            let code = sys::rd_kafka_error_code(error);
            if code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                return Err(code.into());
            }
        }
        let id = sys::rd_kafka_TopicDescription_topic_id(description);
        if id.is_null() {
            return Ok(None);
        }
        let (high, low) = (
            sys::rd_kafka_Uuid_most_significant_bits(id),
            sys::rd_kafka_Uuid_least_significant_bits(id),
        );
        let id = Uuid::from_u64_pair(high as u64, low as u64);
        Ok((!id.is_nil()).then_some(id))
    }
}

/// Frees what librdkafka has made.
struct Guard<T>(*mut T, unsafe extern "C" fn(*mut T));

impl<T> Drop for Guard<T> {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: made by librdkafka, freed once, by the function that belongs to it.
            unsafe { (self.1)(self.0) }
        }
    }
}
