//! Spans on their way to the collector: a bounded queue, sent in batches on the control runtime. What has no room in it,
//! or isn't taken, is counted and gone; no request waits for it.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::sleep,
};

use super::{collector::Collector, otlp, otlp::Resource, resource, span::Recorded};
use crate::observe::{Observer, SpanMetrics, SpansSent};

/// Spans that wait.
const MOST_WAITING: usize = 8192;
/// Spans of a message, if there are as many.
const BATCH: usize = 512;
/// A span waits no longer for others.
const GATHERED_FOR: Duration = Duration::from_secs(1);
/// Before a message that wasn't taken is sent again.
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

/// The way to one collector. Shared by all workers; ends, once it has sent what waits, when nobody has it any more.
#[derive(Debug)]
pub struct Exporter {
    queue: mpsc::UnboundedSender<Recorded>,
    flushes: mpsc::UnboundedSender<oneshot::Sender<()>>,
    waiting: Arc<Waiting>,
    /// Until `maintain`.
    sender: Mutex<Option<Sender>>,
}

/// How much is in the queue.
#[derive(Debug)]
struct Waiting {
    spans: AtomicUsize,
    /// There are enough for a message.
    enough: Notify,
    metrics: SpanMetrics,
}

/// The other end of the queue.
#[derive(Debug)]
struct Sender {
    collector: Collector,
    resource: Resource,
    queue: mpsc::UnboundedReceiver<Recorded>,
    flushes: mpsc::UnboundedReceiver<oneshot::Sender<()>>,
    waiting: Arc<Waiting>,
    is_failing: bool,
    /// Who wants to know when all is sent: then nothing is tried twice.
    hurried: Vec<oneshot::Sender<()>>,
}

impl Exporter {
    /// To the collector at this URL.
    ///
    /// # Errors
    /// A URL that can't be called.
    pub fn new(url: &str, observer: &Observer) -> Result<Exporter, String> {
        let (queue, queued) = mpsc::unbounded_channel();
        let (flushes, asked) = mpsc::unbounded_channel();
        let waiting =
            Arc::new(Waiting { spans: AtomicUsize::new(0), enough: Notify::new(), metrics: observer.spans() });
        let sender = Sender {
            collector: Collector::new(url)?,
            resource: resource::of_environment(),
            queue: queued,
            flushes: asked,
            waiting: waiting.clone(),
            is_failing: false,
            hurried: Vec::new(),
        };
        Ok(Exporter { queue, flushes, waiting, sender: Mutex::new(Some(sender)) })
    }

    /// Begins to send, unless that was done. In a runtime of tokio.
    pub fn maintain(&self) {
        if let Some(sender) = self.sender.lock().unwrap_or_else(PoisonError::into_inner).take() {
            tokio::spawn(sender.run());
        }
    }

    /// Returns when all that waits is sent, or wasn't taken when it was tried once.
    pub async fn flush(&self) {
        let (tell, done) = oneshot::channel();
        if self.flushes.send(tell).is_ok() {
            // An error says that nobody sends any more.
            let _ = done.await;
        }
    }

    /// Puts a request's spans into the queue, if there is room.
    pub(super) fn send(&self, recorded: Recorded) {
        let count = recorded.steps.len();
        let before = self.waiting.spans.fetch_add(count, Ordering::Relaxed);
        if before + count > MOST_WAITING {
            self.waiting.spans.fetch_sub(count, Ordering::Relaxed);
            return self.dropped(count);
        }
        // The other end may be gone at the end of the process only.
        let _ = self.queue.send(recorded);
        if before < BATCH && before + count >= BATCH {
            self.waiting.enough.notify_one();
        }
    }

    /// Counts spans that there is no room for.
    pub(super) fn dropped(&self, spans: usize) {
        self.waiting.metrics.dropped(spans);
    }
}

impl Sender {
    async fn run(mut self) {
        loop {
            let mut first = None;
            tokio::select! {
                recorded = self.queue.recv() => match recorded {
                    Some(recorded) => first = Some(recorded),
                    None => return,
                },
                Some(asked) = self.flushes.recv() => self.hurried.push(asked),
            }
            if self.hurried.is_empty() {
                tokio::select! {
                    () = sleep(GATHERED_FOR) => {}
                    () = self.waiting.enough.notified() => {}
                    Some(asked) = self.flushes.recv() => self.hurried.push(asked),
                }
            }
            while let Some((batch, spans)) = self.batch(first.take()) {
                self.deliver(batch, spans).await;
            }
            for asked in self.hurried.drain(..) {
                // An error says that nobody waits any more.
                let _ = asked.send(());
            }
        }
    }

    /// The next message's spans, as far as they are there.
    fn batch(&mut self, first: Option<Recorded>) -> Option<(Vec<Recorded>, usize)> {
        let mut batch: Vec<_> = first.into_iter().collect();
        let mut spans = batch.iter().map(|recorded| recorded.steps.len()).sum();
        while spans < BATCH
            && let Ok(recorded) = self.queue.try_recv()
        {
            spans += recorded.steps.len();
            batch.push(recorded);
        }
        self.waiting.spans.fetch_sub(spans, Ordering::Relaxed);
        (spans > 0).then_some((batch, spans))
    }

    /// Sends a message until it is taken, or there is no hope.
    async fn deliver(&mut self, batch: Vec<Recorded>, spans: usize) {
        let message = otlp::request(&self.resource, batch);
        let mut pauses = PAUSES.into_iter();
        let result = loop {
            match self.collector.send(message.clone()).await {
                Ok(rejected) => break Ok(rejected.min(spans)),
                Err(not_taken) => match pauses.next().filter(|_| not_taken.may_pass && self.hurried.is_empty()) {
                    Some(pause) => self.pause(pause).await,
                    None => break Err(not_taken.message),
                },
            }
        };
        let is_news = std::mem::replace(&mut self.is_failing, result.is_err()) != result.is_err();
        let result = result.as_ref().map(|rejected| *rejected).map_err(String::as_str);
        SpansSent { spans, result }.record(&self.waiting.metrics, is_news);
    }

    async fn pause(&mut self, pause: Duration) {
        tokio::select! {
            () = sleep(pause) => {}
            Some(asked) = self.flushes.recv() => self.hurried.push(asked),
        }
    }
}
