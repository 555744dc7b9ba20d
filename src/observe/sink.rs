//! Where lines go: a bounded buffer that a thread of its own writes to stdout. No request ever waits for the log's
//! reader: what doesn't fit is dropped, counted, and told of by a later line.
//!
//! Adding a line copies it under a mutex that is never held for longer than such a copy. The writer is woken once a
//! batch, not once a line: a wake-up is a system call.

use std::{
    io::{ErrorKind, Write},
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, SystemTime},
};

use prometheus::IntCounter;

use super::log::{Look, dropped_line};

/// Bytes that wait at most.
const LIMIT: usize = 4 * 1024 * 1024;
/// From so many waiting bytes on the writer doesn't wait for more.
const EAGER: usize = 256 * 1024;
/// How long the writer waits for more lines before it writes.
const BATCH: Duration = Duration::from_millis(20);
/// How long `flush` waits for a reader that doesn't read.
const FLUSH: Duration = Duration::from_secs(2);

/// Takes whole lines, each with its line break.
#[derive(Debug)]
pub(super) enum Sink {
    /// Lines are lost.
    Nowhere,
    /// Lines are written by a thread of their own.
    Background(Background),
    /// Lines are kept, for tests.
    Buffer(LogBuffer),
}

/// Log lines in memory, to be read by a test.
#[derive(Clone, Debug, Default)]
pub struct LogBuffer(Arc<Mutex<String>>);

/// The handle of a writer thread, which ends after the handle is gone and all was written.
#[derive(Debug)]
pub(super) struct Background(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    limit: usize,
    dropped: IntCounter,
    arrived: Condvar,
    written: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    bytes: Vec<u8>,
    /// Lines that did not fit since the writer last looked.
    dropped: u64,
    /// Bytes that were ever accepted, and how many of these were written.
    accepted: u64,
    written: u64,
    /// The writer has nothing to do and must be woken.
    idle: bool,
    /// The writer is not to wait for more.
    hurry: bool,
    closed: bool,
}

impl Sink {
    /// Adds a line. Never blocks on the reader.
    pub(super) fn push(&self, line: &str) {
        match self {
            Sink::Nowhere => {}
            Sink::Background(background) => background.0.push(line),
            Sink::Buffer(buffer) => lock(&buffer.0).push_str(line),
        }
    }

    /// Waits until all lines so far are written, two seconds at most.
    pub(super) fn flush(&self) {
        if let Sink::Background(background) = self {
            background.0.flush();
        }
    }
}

impl LogBuffer {
    /// The lines since the last call.
    pub fn take(&self) -> String {
        mem::take(&mut *lock(&self.0))
    }
}

impl Background {
    /// Starts a thread that writes to `out`; `dropped` counts the lines that it doesn't.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn start(
        out: impl Write + Send + 'static,
        look: Arc<Look>,
        dropped: IntCounter,
    ) -> Result<Background, String> {
        Background::with_limit(out, look, dropped, LIMIT)
    }

    fn with_limit(
        out: impl Write + Send + 'static,
        look: Arc<Look>,
        dropped: IntCounter,
        limit: usize,
    ) -> Result<Background, String> {
        // Reserved at once and touched only as it fills: no copy of a growing buffer while others wait.
        let queue = Mutex::new(Queue { bytes: Vec::with_capacity(limit), ..Queue::default() });
        let shared = Arc::new(Shared { queue, limit, dropped, arrived: Condvar::new(), written: Condvar::new() });
        let writer = shared.clone();
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || writer.write_until_closed(out, &look))
            .map_err(|error| format!("no thread for the log: {error}"))?;
        Ok(Background(shared))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        lock(&self.0.queue).closed = true;
        self.0.arrived.notify_one();
    }
}

impl Shared {
    fn push(&self, line: &str) {
        let mut queue = lock(&self.queue);
        if queue.bytes.len() + line.len() > self.limit {
            queue.dropped += 1;
            drop(queue);
            self.dropped.inc();
            return;
        }
        queue.bytes.extend_from_slice(line.as_bytes());
        queue.accepted += line.len() as u64;
        let full = queue.bytes.len() > EAGER && !mem::replace(&mut queue.hurry, true);
        let wake = mem::take(&mut queue.idle) || full;
        drop(queue);
        if wake {
            self.arrived.notify_one();
        }
    }

    fn flush(&self) {
        let mut queue = lock(&self.queue);
        let target = queue.accepted;
        if queue.written < target {
            queue.hurry = true;
            self.arrived.notify_one();
            drop(self.written.wait_timeout_while(queue, FLUSH, |queue| queue.written < target));
        }
    }

    fn write_until_closed(&self, mut out: impl Write, look: &Look) {
        let mut batch = Vec::with_capacity(self.limit);
        while let Some((dropped, accepted)) = self.next_batch(&mut batch) {
            write_all(&mut out, &batch);
            if dropped > 0 {
                write_all(&mut out, dropped_line(dropped, look.style(), SystemTime::now()).as_bytes());
            }
            let _ = out.flush();
            batch.clear();
            lock(&self.queue).written = accepted;
            self.written.notify_all();
        }
    }

    /// Swaps the waiting bytes for an empty buffer. None: nothing will come any more.
    fn next_batch(&self, batch: &mut Vec<u8>) -> Option<(u64, u64)> {
        let mut queue = lock(&self.queue);
        queue.idle = queue.bytes.is_empty() && queue.dropped == 0;
        queue =
            wait(self.arrived.wait_while(queue, |queue| queue.bytes.is_empty() && queue.dropped == 0 && !queue.closed));
        queue.idle = false;
        if queue.bytes.is_empty() && queue.dropped == 0 {
            return None;
        }
        queue = wait(self.arrived.wait_timeout_while(queue, BATCH, |queue| !queue.hurry && !queue.closed)).0;
        queue.hurry = false;
        mem::swap(&mut queue.bytes, batch);
        Some((mem::take(&mut queue.dropped), queue.accepted))
    }
}

/// Writes all of it, to a non-blocking terminal too. A reader that is gone gets nothing; that is no reason to stop.
fn write_all(out: &mut impl Write, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => return,
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(Duration::from_millis(1)),
            Err(_) => return,
        }
    }
}

/// No invariant spans a lock here, so a thread that panicked with it left nothing half done.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wait<G>(result: Result<G, PoisonError<G>>) -> G {
    result.unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use std::{
        io,
        sync::mpsc::{Receiver, Sender, channel},
    };

    use super::*;

    fn look() -> Arc<Look> {
        Arc::new(Look::new(false, false))
    }

    fn counter() -> IntCounter {
        IntCounter::new("dropped", "lines").unwrap()
    }

    #[derive(Clone, Default)]
    struct Collected(Arc<Mutex<Vec<u8>>>);

    impl Write for Collected {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            lock(&self.0).extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Collected {
        fn text(&self) -> String {
            String::from_utf8(lock(&self.0).clone()).unwrap()
        }
    }

    /// A reader that reads only when told to.
    struct Stuck {
        entered: Sender<()>,
        go: Receiver<()>,
        then: Collected,
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.entered.send(()).ok();
            self.go.recv().ok();
            self.then.write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn flush_writes_all_lines_in_order() {
        let out = Collected::default();
        let sink = Sink::Background(Background::start(out.clone(), look(), counter()).unwrap());
        let mut expected = String::new();
        for number in 0..5000 {
            let line = format!("line {number}\n");
            sink.push(&line);
            expected += &line;
        }
        sink.flush();
        assert_eq!(out.text(), expected);
        sink.push("one more\n");
        sink.flush();
        assert!(out.text().ends_with("one more\n"));
    }

    #[test]
    fn lines_of_many_threads_stay_whole() {
        let out = Collected::default();
        let sink = Sink::Background(Background::start(out.clone(), look(), counter()).unwrap());
        thread::scope(|scope| {
            for name in ["a", "b", "c", "d"] {
                let sink = &sink;
                scope.spawn(move || (0..1000).for_each(|_| sink.push(&format!("{}\n", name.repeat(50)))));
            }
        });
        sink.flush();
        let text = out.text();
        assert_eq!(text.lines().count(), 4000);
        assert!(text.lines().all(|line| line.len() == 50 && line.chars().all(|c| line.starts_with(c))));
    }

    #[test]
    fn a_reader_that_does_not_read_costs_lines_and_no_time() {
        let (entered, has_entered) = channel();
        let (go, may_go) = channel();
        let dropped = counter();
        let out = Collected::default();
        let stuck = Stuck { entered, go: may_go, then: out.clone() };
        let sink = Sink::Background(Background::with_limit(stuck, look(), dropped.clone(), 100).unwrap());
        sink.push("first\n");
        has_entered.recv().unwrap();
        // The writer is stuck now. Ten lines of ten bytes fit; seven don't.
        for number in 0..17 {
            sink.push(&format!("line {number:04}\n"));
        }
        drop(go);
        sink.flush();
        drop(sink);
        while has_entered.recv().is_ok() {}
        let text = out.text();
        let lines = text.lines().collect::<Vec<_>>();
        assert_eq!(lines.len(), 12, "{text}");
        assert_eq!((lines[0], lines[1], lines[10]), ("first", "line 0000", "line 0009"));
        let told: serde_json::Value = serde_json::from_str(lines[11]).unwrap();
        assert_eq!((told["level"].as_str(), told["lines"].as_u64()), (Some("warn"), Some(7)));
        assert_eq!(dropped.get(), 7);
    }

    #[test]
    fn a_line_over_the_limit_is_told_of_too() {
        let out = Collected::default();
        let background = Background::with_limit(out.clone(), look(), counter(), 10).unwrap();
        let shared = background.0.clone();
        let sink = Sink::Background(background);
        sink.push(&"x".repeat(11));
        sink.push("short\n");
        sink.flush();
        assert!(out.text().starts_with("short\n"));
        assert!(out.text().contains("\"lines\":1"));
        drop(sink);
        // The thread ends once the handle is gone, and lets go of what it shares.
        while Arc::strong_count(&shared) > 1 {
            thread::yield_now();
        }
    }

    #[test]
    fn a_broken_reader_stops_nothing() {
        struct Broken;
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Err(ErrorKind::BrokenPipe.into())
            }
        }
        let sink = Sink::Background(Background::start(Broken, look(), counter()).unwrap());
        for _ in 0..3 {
            sink.push("lost\n");
            sink.flush();
        }
    }
}
