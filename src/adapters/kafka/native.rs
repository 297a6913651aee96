//! Requests that librdkafka makes and its Rust binding does not have: sent together, answered one by one.
#![expect(unsafe_code, reason = "librdkafka's Rust binding has none of these requests")]

use std::{
    ffi::{CStr, c_char, c_int},
    fmt,
    marker::PhantomData,
    ptr::{self, NonNull},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, bindings as native,
    client::Client,
    types::{RDKafkaErrorCode, RDKafkaRespErr},
};
use tokio_util::sync::CancellationToken;

/// Between two looks at whether anybody still wants the answer.
const SLICE: Duration = Duration::from_millis(100);

/// Until when to wait, and whether anybody still does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience<'a> {
    until: Instant,
    stop: Option<&'a CancellationToken>,
}

impl<'a> Patience<'a> {
    pub(super) fn of(time: Duration, stop: Option<&'a CancellationToken>) -> Self {
        Patience { until: Instant::now() + time, stop }
    }

    /// The same, but for so long at most.
    pub(super) fn at_most(self, time: Duration) -> Self {
        Patience { until: self.until.min(Instant::now() + time), ..self }
    }

    /// Nothing, once it is over.
    pub(super) fn left(self) -> Duration {
        let is_stopped = self.stop.is_some_and(CancellationToken::is_cancelled);
        if is_stopped { Duration::ZERO } else { self.until.saturating_duration_since(Instant::now()) }
    }

    pub(super) fn is_over(self) -> bool {
        self.left().is_zero()
    }

    /// What is left, or a part of it after which to look again.
    pub(super) fn slice(self) -> Duration {
        self.left().min(SLICE)
    }
}

/// Why a request came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) code: RDKafkaErrorCode,
    pub(super) text: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Refused {
    /// Of an error's number, which may be one that only newer brokers have.
    pub(super) fn of(number: i32) -> Self {
        let code = RDKafkaRespErr::try_from(number).map_or(RDKafkaErrorCode::Unknown, RDKafkaErrorCode::from);
        Refused { code, text: format!("error {number}: {code}") }
    }

    /// The same, with what librdkafka or a broker says of it.
    fn said(number: i32, text: &str) -> Self {
        match text.is_empty() {
            true => Self::of(number),
            false => Refused { text: text.to_owned(), ..Self::of(number) },
        }
    }

    /// Of an answer that has nothing of what was asked.
    pub(super) fn nothing() -> Self {
        Self::local(RDKafkaErrorCode::BadMessage, "the answer says nothing of it")
    }

    /// Of several brokers' refusals the word of the one that counts.
    pub(super) fn weight(&self) -> Weight {
        match self.code {
            // A broker that has just started says the second of every group.
            RDKafkaErrorCode::NotCoordinator | RDKafkaErrorCode::CoordinatorNotAvailable => Weight::AnotherKnows,
            local if (local as i32) < 0 => Weight::NoAnswer,
            _ => Weight::Final,
        }
    }

    fn local(code: RDKafkaErrorCode, text: &str) -> Self {
        Refused { code, text: text.to_owned() }
    }
}

// SAFETY, of all below and of those who use it: a request and its answer borrow the client, so that its handle outlives
// them. What is made is owned by a guard that ends it with the function that librdkafka names for it, after everything
// that points into it is out of use: fields are dropped in their order, variables in reverse. Names and lists live until
// the request is made, and are copied there. What an answer tells belongs to its event, and is copied out of it.

// Error codes as the numbers that they are in C: a broker may send one that the binding's enum does not have, and that
// must never become a value of it.
unsafe extern "C" {
    #[link_name = "rd_kafka_event_error"]
    fn event_error(event: *mut native::rd_kafka_event_t) -> c_int;
    #[link_name = "rd_kafka_error_code"]
    fn error_code(error: *const native::rd_kafka_error_t) -> c_int;
}

/// How much a broker's refusal tells of what was asked of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Weight {
    /// Nothing: it does not know.
    AnotherKnows,
    /// Nothing, but perhaps it would have known: no connection, no answer in time.
    NoAnswer,
    /// No other broker would say anything else.
    Final,
}

/// Whom to ask.
#[derive(Debug, Clone, Copy)]
pub(super) enum Whom<'a> {
    /// Whom librdkafka chooses: those who lead the partitions that the request names, or the controller.
    Chosen,
    /// Each of these brokers, by number. So must be asked what only a group's coordinator knows: where librdkafka is
    /// left to find the coordinator, and has not before the time-out, it later uses memory that it has freed, and ends
    /// the process (<https://github.com/confluentinc/librdkafka/issues/4605>; docs/decisions/0012). The client needs a
    /// `group.id`: librdkafka asks anew who coordinates that one when a broker says that it is another.
    Brokers(&'a [i32]),
}

/// Requests that were sent together.
pub(super) struct Pending<'c> {
    queue: Guard<native::rd_kafka_queue_t>,
    /// Those that have no answer yet.
    open: usize,
    client: PhantomData<&'c ()>,
}

/// What came of one.
pub(super) struct Answer<'p> {
    event: Guard<native::rd_kafka_event_t>,
    pending: PhantomData<&'p ()>,
}

impl<'c> Pending<'c> {
    /// Makes a request of this kind with `ask`, which gets handle, options and queue, to each of those who are to be
    /// asked. The brokers have `timeout` for it; `rights` asks them to tell what this user may do too.
    ///
    /// # Safety
    /// `ask` makes one request that leaves one event in the queue, and keeps none of the three.
    pub(super) unsafe fn ask<C: ClientContext>(
        client: &'c Client<C>,
        kind: native::rd_kafka_admin_op_t,
        whom: Whom<'_>,
        timeout: Duration,
        rights: bool,
        mut ask: impl FnMut(*mut native::rd_kafka_t, *mut native::rd_kafka_AdminOptions_t, *mut native::rd_kafka_queue_t),
    ) -> Result<Self, Refused> {
        let handle = client.native_ptr();
        // SAFETY: see above.
        let queue = unsafe { Guard::new(native::rd_kafka_queue_new(handle), native::rd_kafka_queue_destroy)? };
        let mut pending = Pending { queue, open: 0, client: PhantomData };
        let brokers = match whom {
            Whom::Chosen => vec![None],
            Whom::Brokers(brokers) => brokers.iter().copied().map(Some).collect(),
        };
        for broker in brokers {
            // SAFETY: see above.
            unsafe {
                let options = options(handle, kind, broker, timeout, rights)?;
                ask(handle, options.get(), pending.queue.get());
            }
            pending.open += 1;
        }
        Ok(pending)
    }

    /// Waits for the next answer; nothing once all are there, or the time is over.
    pub(super) fn next(&mut self, patience: Patience<'_>) -> Option<Result<Answer<'_>, Refused>> {
        while self.open > 0 {
            let millis = c_int::try_from(patience.slice().as_millis()).unwrap_or(c_int::MAX);
            // SAFETY: see above.
            let event = unsafe {
                let event = native::rd_kafka_queue_poll(self.queue.get(), millis);
                Guard::new(event, native::rd_kafka_event_destroy)
            };
            match event {
                Ok(event) => {
                    self.open -= 1;
                    return Some(Answer { event, pending: PhantomData }.checked());
                }
                Err(_) if patience.is_over() => {
                    self.open = 0;
                    return Some(Err(Refused::local(RDKafkaErrorCode::OperationTimedOut, "no answer in time")));
                }
                Err(_) => {}
            }
        }
        None
    }

    /// The first answer that has what was asked, or that says for good why there is none.
    pub(super) fn first<T>(
        mut self,
        patience: Patience<'_>,
        read: impl Fn(&Answer<'_>) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        let mut refused: Option<Refused> = None;
        while let Some(answer) = self.next(patience) {
            match answer.and_then(|answer| read(&answer)) {
                Ok(found) => return Ok(found),
                Err(why) if why.weight() == Weight::Final => return Err(why),
                Err(why) if refused.as_ref().is_none_or(|known| known.weight() < why.weight()) => refused = Some(why),
                Err(_) => {}
            }
        }
        Err(refused.unwrap_or_else(Refused::nothing))
    }
}

/// # Safety
/// A handle that lives.
unsafe fn options(
    handle: *mut native::rd_kafka_t,
    kind: native::rd_kafka_admin_op_t,
    broker: Option<i32>,
    timeout: Duration,
    rights: bool,
) -> Result<Guard<native::rd_kafka_AdminOptions_t>, Refused> {
    let millis = c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX).max(1);
    let invalid = |text: &str| Refused::local(RDKafkaErrorCode::InvalidArgument, text);
    // SAFETY: see above.
    unsafe {
        let options = native::rd_kafka_AdminOptions_new(handle, kind);
        let options = Guard::new(options, native::rd_kafka_AdminOptions_destroy)?;
        if rights {
            let refused = native::rd_kafka_AdminOptions_set_include_authorized_operations(options.get(), 1);
            if let Ok(refused) = Guard::new(refused, native::rd_kafka_error_destroy) {
                return Err(invalid(&text(native::rd_kafka_error_string(refused.get()))));
            }
        }
        if let Some(broker) = broker {
            let taken = native::rd_kafka_AdminOptions_set_broker(options.get(), broker, ptr::null_mut(), 0);
            if taken != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                return Err(invalid("no such broker"));
            }
        }
        // A time-out that it does not take leaves its own, of a minute: whoever waits has their own.
        native::rd_kafka_AdminOptions_set_request_timeout(options.get(), millis, ptr::null_mut(), 0);
        Ok(options)
    }
}

impl Answer<'_> {
    /// The event, for the functions that read its kind.
    pub(super) fn event(&self) -> *mut native::rd_kafka_event_t {
        self.event.get()
    }

    fn checked(self) -> Result<Self, Refused> {
        // SAFETY: see above.
        unsafe {
            match event_error(self.event()) {
                0 => Ok(self),
                number => Err(Refused::said(number, &text(native::rd_kafka_event_error_string(self.event())))),
            }
        }
    }
}

/// Something of librdkafka's, and the function that ends it.
pub(super) struct Guard<T> {
    pointer: NonNull<T>,
    destroy: unsafe extern "C" fn(*mut T),
}

impl<T> Guard<T> {
    /// An error for nothing.
    ///
    /// # Safety
    /// `destroy` is what ends the pointer, and nobody else does.
    pub(super) unsafe fn new(pointer: *mut T, destroy: unsafe extern "C" fn(*mut T)) -> Result<Self, Refused> {
        let nothing = || Refused::local(RDKafkaErrorCode::Fail, "librdkafka has nothing");
        Ok(Guard { pointer: NonNull::new(pointer).ok_or_else(nothing)?, destroy })
    }

    pub(super) fn get(&self) -> *mut T {
        self.pointer.as_ptr()
    }
}

impl<T> Drop for Guard<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer came with this function, and nobody else ends it.
        unsafe { (self.destroy)(self.pointer.as_ptr()) }
    }
}

/// What an error object says; none is no error.
///
/// # Safety
/// An error that lives, or null.
pub(super) unsafe fn refused(error: *const native::rd_kafka_error_t) -> Result<(), Refused> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: the caller's promise.
    unsafe {
        match error_code(error) {
            0 => Ok(()),
            number => Err(Refused::said(number, &text(native::rd_kafka_error_string(error)))),
        }
    }
}

/// # Safety
/// A string of C, or null.
pub(super) unsafe fn text(string: *const c_char) -> String {
    match string.is_null() {
        true => String::new(),
        // SAFETY: the caller's promise.
        false => unsafe { CStr::from_ptr(string) }.to_string_lossy().into_owned(),
    }
}
