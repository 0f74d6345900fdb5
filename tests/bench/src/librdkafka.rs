//! What of librdkafka the load needs, found when the bench runs.
//!
//! It is the library that most clients stand on, loaded at run time: from the wheel of confluent-kafka that
//! tests/setup installs (the newest), else from the system. So the bench builds without its headers.
//! Invariants: every call into it is in this file; nobody else handles its pointers. It lacks everything but
//! a producer and a consumer of fixed partitions.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::PathBuf;
use std::ptr;

use anyhow::{Result, bail, ensure};
use flumen_harness::tools;

#[repr(C)]
struct Message {
    err: c_int,
    topic: *mut c_void,
    partition: i32,
    payload: *mut c_void,
    len: usize,
    key: *mut c_void,
    key_len: usize,
    offset: i64,
    private: *mut c_void,
}

type Conf = *mut c_void;
type Handle = *mut c_void;
type TopicHandle = *mut c_void;
type Queue = *mut c_void;

/// Declares the functions once: as fields, and as the symbols they are loaded from.
macro_rules! api {
    ($($name:ident: fn($($arg:ty),*) $(-> $ret:ty)?;)*) => {
        #[derive(Clone, Copy)]
        struct Api { $($name: unsafe extern "C" fn($($arg),*) $(-> $ret)?,)* }

        impl Api {
            fn load(library: *mut c_void) -> Result<Api> {
                Ok(Api { $($name: {
                    let symbol = CString::new(concat!("rd_kafka_", stringify!($name)))?;
                    // SAFETY: the library stays loaded for ever; the name ends with a zero.
                    let found = unsafe { libc::dlsym(library, symbol.as_ptr()) };
                    ensure!(!found.is_null(), "librdkafka has no {}", symbol.to_string_lossy());
                    // SAFETY: the type is the one that rdkafka.h gives this symbol.
                    unsafe { std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($arg),*) $(-> $ret)?>(found) }
                },)* })
            }
        }
    };
}

api! {
    version_str: fn() -> *const c_char;
    conf_new: fn() -> Conf;
    conf_set: fn(Conf, *const c_char, *const c_char, *mut c_char, usize) -> c_int;
    conf_set_dr_msg_cb: fn(Conf, extern "C" fn(Handle, *const Message, *mut c_void));
    conf_set_opaque: fn(Conf, *mut c_void);
    new: fn(c_int, Conf, *mut c_char, usize) -> Handle;
    destroy: fn(Handle);
    topic_new: fn(Handle, *const c_char, *mut c_void) -> TopicHandle;
    topic_destroy: fn(TopicHandle);
    produce: fn(TopicHandle, i32, c_int, *mut c_void, usize, *const c_void, usize, *mut c_void) -> c_int;
    last_error: fn() -> c_int;
    err2str: fn(c_int) -> *const c_char;
    poll: fn(Handle, c_int) -> c_int;
    flush: fn(Handle, c_int) -> c_int;
    queue_new: fn(Handle) -> Queue;
    queue_destroy: fn(Queue);
    consume_start_queue: fn(TopicHandle, i32, i64, Queue) -> c_int;
    consume_stop: fn(TopicHandle, i32) -> c_int;
    consume_batch_queue: fn(Queue, c_int, *mut *mut Message, usize) -> isize;
    message_destroy: fn(*mut Message);
}

const PRODUCER: c_int = 0;
const CONSUMER: c_int = 1;
const QUEUE_FULL: c_int = -184;
const PARTITION_EOF: c_int = -191;

/// Where a consumer begins.
#[derive(Clone, Copy)]
pub(crate) enum From {
    Beginning = -2,
    End = -1,
}

/// The library, loaded.
#[derive(Clone, Copy)]
pub(crate) struct Library(Api);

impl Library {
    pub(crate) fn load() -> Result<Library> {
        for path in candidates() {
            let name = CString::new(path.into_os_string().into_encoded_bytes())?;
            // SAFETY: a name that ends with a zero; what the library runs at its start is its own affair.
            let library = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) };
            if !library.is_null() {
                return Api::load(library).map(Library);
            }
        }
        bail!("librdkafka is not there; tests/setup installs it")
    }

    pub(crate) fn version(self) -> String {
        // SAFETY: it answers with a constant that ends with a zero.
        text(unsafe { (self.0.version_str)() })
    }

    fn error(self, code: c_int) -> String {
        // SAFETY: it answers any number with a constant that ends with a zero.
        text(unsafe { (self.0.err2str)(code) })
    }

    fn client(self, kind: c_int, settings: &[(&str, String)], failed: *mut c_void) -> Result<Handle> {
        let mut why = [0 as c_char; 512];
        // SAFETY: the configuration is ours until `new` takes it; the strings live over each call.
        unsafe {
            let conf = (self.0.conf_new)();
            for (key, value) in settings {
                let (name, text_value) = (CString::new(*key)?, CString::new(value.as_str())?);
                let set =
                    (self.0.conf_set)(conf, name.as_ptr(), text_value.as_ptr(), why.as_mut_ptr(), why.len());
                ensure!(set == 0, "{key}={value}: {}", text(why.as_ptr()));
            }
            if kind == PRODUCER {
                (self.0.conf_set_opaque)(conf, failed);
                (self.0.conf_set_dr_msg_cb)(conf, count_failed);
            }
            let handle = (self.0.new)(kind, conf, why.as_mut_ptr(), why.len());
            ensure!(!handle.is_null(), "{}", text(why.as_ptr()));
            Ok(handle)
        }
    }
}

fn text(from: *const c_char) -> String {
    // SAFETY: the callers have it from librdkafka, which ends its strings with a zero.
    unsafe { CStr::from_ptr(from) }.to_string_lossy().into_owned()
}

fn candidates() -> Vec<PathBuf> {
    let wheel = tools::python().ancestors().nth(2).map(|venv| venv.join("lib")).unwrap_or_default();
    let pythons = std::fs::read_dir(wheel).into_iter().flatten().flatten();
    let libs = pythons.map(|python| python.path().join("site-packages/confluent_kafka.libs"));
    let found = libs.flat_map(|libs| std::fs::read_dir(libs).into_iter().flatten().flatten());
    let mut found: Vec<PathBuf> = found
        .map(|entry| entry.path())
        .filter(|path| {
            path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"librdkafka"))
        })
        .collect();
    found.push("librdkafka.so.1".into());
    found
}

/// Told of failures only (`delivery.report.only.error`), on the thread that polls.
extern "C" fn count_failed(_: Handle, message: *const Message, failed: *mut c_void) {
    // SAFETY: the pointer is to the producer's count, which outlives it; only its own thread polls.
    unsafe {
        if (*message).err != 0 {
            *failed.cast::<u64>() += 1;
        }
    }
}

/// A producer to one topic. Payloads are not copied: whoever sends keeps them until `flush`.
pub(crate) struct Producer {
    library: Library,
    handle: Handle,
    topic: TopicHandle,
    failed: Box<u64>,
}

impl Producer {
    pub(crate) fn new(library: Library, settings: &[(&str, String)], topic: &str) -> Result<Producer> {
        let mut failed = Box::new(0);
        let handle = library.client(PRODUCER, settings, ptr::from_mut(&mut *failed).cast())?;
        let name = CString::new(topic)?;
        // SAFETY: the handle is good; no configuration of the topic's own is passed.
        let topic = unsafe { (library.0.topic_new)(handle, name.as_ptr(), ptr::null_mut()) };
        ensure!(!topic.is_null(), "librdkafka has no topic {name:?} for us");
        Ok(Producer { library, handle, topic, failed })
    }

    /// Waits where the queue is full.
    pub(crate) fn send(&self, partition: i32, payload: &'static [u8], key: Option<&[u8]>) -> Result<()> {
        let api = self.library.0;
        let (key, key_len) = key.map_or((ptr::null(), 0), |key| (key.as_ptr().cast(), key.len()));
        loop {
            let value = payload.as_ptr().cast_mut().cast();
            // SAFETY: no flag asks for a copy or a free, and the payload lives for ever; the key is copied.
            let sent = unsafe {
                (api.produce)(self.topic, partition, 0, value, payload.len(), key, key_len, ptr::null_mut())
            };
            if sent == 0 {
                return Ok(());
            }
            // SAFETY: no arguments; the handle is good.
            let error = unsafe { (api.last_error)() };
            ensure!(error == QUEUE_FULL, "librdkafka takes no more: {}", self.library.error(error));
            self.poll(5);
        }
    }

    pub(crate) fn poll(&self, ms: c_int) {
        // SAFETY: the handle is good.
        unsafe { (self.library.0.poll)(self.handle, ms) };
    }

    /// Waits until all is acknowledged.
    pub(crate) fn flush(&self) -> Result<()> {
        // SAFETY: the handle is good.
        let flushed = unsafe { (self.library.0.flush)(self.handle, 300_000) };
        ensure!(flushed == 0, "not all was acknowledged: {}", self.library.error(flushed));
        ensure!(*self.failed == 0, "{} records were refused", self.failed);
        Ok(())
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        // SAFETY: each once, the topic before its handle.
        unsafe {
            (self.library.0.topic_destroy)(self.topic);
            (self.library.0.destroy)(self.handle);
        }
    }
}

/// A consumer of the first partitions of a topic, which may begin again and again.
pub(crate) struct Consumer {
    library: Library,
    handle: Handle,
    topic: TopicHandle,
    queue: Queue,
    partitions: i32,
}

/// What one call brought.
#[derive(Default)]
pub(crate) struct Got {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    /// So many partitions were read to their end.
    pub(crate) ends: i32,
}

impl Consumer {
    pub(crate) fn new(
        library: Library,
        settings: &[(&str, String)],
        topic: &str,
        partitions: i32,
    ) -> Result<Consumer> {
        let handle = library.client(CONSUMER, settings, ptr::null_mut())?;
        let name = CString::new(topic)?;
        // SAFETY: the handle is good; the topic and the queue are its own, and go before it.
        let (topic, queue) = unsafe {
            ((library.0.topic_new)(handle, name.as_ptr(), ptr::null_mut()), (library.0.queue_new)(handle))
        };
        Ok(Consumer { library, handle, topic, queue, partitions })
    }

    pub(crate) fn start(&self, from: From) -> Result<()> {
        let api = self.library.0;
        for partition in 0..self.partitions {
            // SAFETY: topic and queue are good, and no partition is started twice without a stop.
            let started =
                unsafe { (api.consume_start_queue)(self.topic, partition, from as i64, self.queue) };
            if started != 0 {
                // SAFETY: no arguments.
                let error = unsafe { (api.last_error)() };
                bail!("partition {partition}: {}", self.library.error(error));
            }
        }
        Ok(())
    }

    pub(crate) fn stop(&self) {
        for partition in 0..self.partitions {
            // SAFETY: the topic is good; a partition that was not started stays as it is.
            unsafe { (self.library.0.consume_stop)(self.topic, partition) };
        }
    }

    /// The next so many, or fewer where that takes longer than a second: librdkafka waits until it has them all.
    pub(crate) fn poll(&self, records: u64) -> Result<Got> {
        const MANY: usize = 10_000;
        let most = MANY.min(records as usize);
        let mut messages = [ptr::null_mut(); MANY];
        let mut got = Got::default();
        // SAFETY: the queue is good, the array as long as is said; each message is read before it is given back.
        unsafe {
            let count = (self.library.0.consume_batch_queue)(self.queue, 1000, messages.as_mut_ptr(), most);
            for message in &messages[..count.max(0) as usize] {
                let (err, len) = ((**message).err, (**message).len);
                (self.library.0.message_destroy)(*message);
                match err {
                    0 => (got.records, got.bytes) = (got.records + 1, got.bytes + len as u64),
                    PARTITION_EOF => got.ends += 1,
                    other => bail!("a fetch failed: {}", self.library.error(other)),
                }
            }
        }
        Ok(got)
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.stop();
        // SAFETY: each once, the handle last.
        unsafe {
            (self.library.0.queue_destroy)(self.queue);
            (self.library.0.topic_destroy)(self.topic);
            (self.library.0.destroy)(self.handle);
        }
    }
}
