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

    /// Of an answer that has nothing of what was asked.
    pub(super) fn nothing() -> Self {
        Self::local(RDKafkaErrorCode::BadMessage, "the answer says nothing of it")
    }

    fn local(code: RDKafkaErrorCode, text: &str) -> Self {
        Refused { code, text: text.to_owned() }
    }
}

// SAFETY, of all below and of those who use it: a request and its answer borrow the client, so that its handle outlives
// them. What is made is owned by a guard that ends it with the function that librdkafka names for it, after everything
// that points into it is out of use: fields are dropped in their order, variables in reverse. Names and lists live until
// the request is made, and are copied there. What an answer tells belongs to its event, and is copied out of it. Numbers
// are read as they are in C, because brokers or a newer librdkafka may have more of them than the Rust type has.

/// A request that was sent.
pub(super) struct Pending<'c> {
    queue: Guard<native::rd_kafka_queue_t>,
    client: PhantomData<&'c ()>,
}

/// What came of it.
pub(super) struct Answer<'c> {
    event: Guard<native::rd_kafka_event_t>,
    _request: Pending<'c>,
}

impl<'c> Pending<'c> {
    /// Makes a request of this kind with `ask`, which gets handle, options and queue. The brokers have `timeout` for
    /// it; `rights` asks them to tell what this user may do too.
    ///
    /// # Safety
    /// `ask` makes one request that leaves one event in the queue, and keeps none of the three.
    pub(super) unsafe fn ask<C: ClientContext>(
        client: &'c Client<C>,
        kind: native::rd_kafka_admin_op_t,
        timeout: Duration,
        rights: bool,
        ask: impl FnOnce(*mut native::rd_kafka_t, *mut native::rd_kafka_AdminOptions_t, *mut native::rd_kafka_queue_t),
    ) -> Result<Self, Refused> {
        let millis = c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX).max(1);
        // SAFETY: see above.
        unsafe {
            let handle = client.native_ptr();
            let queue = Guard::new(native::rd_kafka_queue_new(handle), native::rd_kafka_queue_destroy)?;
            let options = native::rd_kafka_AdminOptions_new(handle, kind);
            let options = Guard::new(options, native::rd_kafka_AdminOptions_destroy)?;
            if rights {
                let refused = native::rd_kafka_AdminOptions_set_include_authorized_operations(options.get(), 1);
                if let Ok(refused) = Guard::new(refused, native::rd_kafka_error_destroy) {
                    let text = text(native::rd_kafka_error_string(refused.get()));
                    return Err(Refused::local(RDKafkaErrorCode::InvalidArgument, &text));
                }
            }
            // A time-out that it does not take leaves its own, of a minute: whoever waits has their own.
            native::rd_kafka_AdminOptions_set_request_timeout(options.get(), millis, ptr::null_mut(), 0);
            ask(handle, options.get(), queue.get());
            Ok(Pending { queue, client: PhantomData })
        }
    }

    /// Waits for the answer.
    pub(super) fn answer(self, patience: Patience<'_>) -> Result<Answer<'c>, Refused> {
        loop {
            let millis = c_int::try_from(patience.slice().as_millis()).unwrap_or(c_int::MAX);
            // SAFETY: see above.
            let event = unsafe {
                let event = native::rd_kafka_queue_poll(self.queue.get(), millis);
                Guard::new(event, native::rd_kafka_event_destroy)
            };
            match event {
                Ok(event) => return Answer { event, _request: self }.checked(),
                Err(_) if patience.is_over() => {
                    return Err(Refused::local(RDKafkaErrorCode::OperationTimedOut, "no answer in time"));
                }
                Err(_) => {}
            }
        }
    }
}

impl Answer<'_> {
    /// The event, for the functions that read its kind.
    pub(super) fn event(&self) -> *mut native::rd_kafka_event_t {
        self.event.get()
    }

    fn checked(self) -> Result<Self, Refused> {
        // SAFETY: see above. The code is librdkafka's own here.
        unsafe {
            match native::rd_kafka_event_error(self.event()) {
                native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(self),
                code => {
                    let text = text(native::rd_kafka_event_error_string(self.event()));
                    Err(Refused { code: code.into(), text })
                }
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
        match native::rd_kafka_error_code(error) {
            native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
            code => Err(Refused { code: code.into(), text: text(native::rd_kafka_error_string(error)) }),
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
