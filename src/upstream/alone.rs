//! A connection in HTTP/1.1, which serves one request at a time. It is begun by our own client (`wire`); the first request with
//! more to it than a head makes it one of hyper's, for good.

use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;
use hyper::{Request, client::conn::http1};
use hyper_util::rt::TokioIo;

use super::{
    addresses::{Addresses, Origin},
    alarm::Alarm,
    answer::{Answer, Unanswered},
    connect::Stream,
    connection::{Heard, Sent},
    counted::Counted,
    wire::{Fault, Plain, Rest, Wire},
};
use crate::body::{BrokenOff, RequestBody};

/// A connection for one request at a time.
pub(super) struct Alone {
    speaker: Speaker,
    heard: Heard,
    origin: Origin,
    alarm: Alarm,
}

/// Who speaks on it.
enum Speaker {
    /// Whoever waits.
    Own(Box<Wire<Counted>>),
    /// A task.
    Library(http1::SendRequest<RequestBody>),
    /// Nobody could.
    Nobody,
}

impl Alone {
    pub(super) fn new(stream: Stream, origin: Origin) -> Alone {
        let heard = Heard::default();
        let wire = Wire::new(Counted { stream, heard: heard.clone() });
        Alone { speaker: Speaker::Own(Box::new(wire)), heard, origin, alarm: Alarm::default() }
    }

    /// What its answers are waited for with.
    pub(super) fn alarm(&mut self) -> &mut Alarm {
        &mut self.alarm
    }

    pub(super) fn is_ready(&mut self) -> bool {
        match &mut self.speaker {
            Speaker::Own(wire) => wire.is_ready(),
            Speaker::Library(sender) => sender.is_ready(),
            Speaker::Nobody => false,
        }
    }

    /// Whether it will never be ready again.
    pub(super) fn is_closed(&mut self) -> bool {
        match &mut self.speaker {
            Speaker::Own(wire) => !wire.is_ready(),
            Speaker::Library(sender) => sender.is_closed(),
            Speaker::Nobody => true,
        }
    }

    /// Waits until it is ready, or never will be.
    pub(super) async fn ready(&mut self) -> bool {
        match &mut self.speaker {
            Speaker::Own(wire) => wire.is_ready(),
            Speaker::Library(sender) => sender.ready().await.is_ok(),
            Speaker::Nobody => false,
        }
    }

    /// Whether it hands such a request back where no answer comes.
    pub(super) fn hands_back(&self, request: &Request<RequestBody>) -> bool {
        matches!(self.speaker, Speaker::Own(_)) && Plain::of(request).is_some()
    }

    pub(super) fn is_current(&self, addresses: &Addresses) -> bool {
        self.origin.is_current(addresses)
    }

    pub(super) fn heard(&self) -> u64 {
        self.heard.bytes()
    }

    pub(super) async fn send(&mut self, request: Box<Request<RequestBody>>) -> Sent {
        let plain = Plain::of(&request);
        if plain.is_none() {
            self.hand_over().await;
        }
        match &mut self.speaker {
            Speaker::Own(wire) => {
                let Some(plain) = plain.filter(|_| wire.is_ready()) else {
                    return Err(Unanswered::Unsent(request));
                };
                let sent = wire.send(plain).await;
                sent.map(|response| response.map(Answer::Here)).map_err(|fault| {
                    tracing::debug!(%fault, "an upstream has no answer");
                    Unanswered::Wire(request)
                })
            }
            Speaker::Library(sender) => {
                let sent = sender.try_send_request(*request).await;
                sent.map(|response| response.map(Answer::Apart)).map_err(Unanswered::from)
            }
            Speaker::Nobody => Err(Unanswered::Unsent(request)),
        }
    }

    /// Makes it one of hyper's.
    async fn hand_over(&mut self) {
        self.speaker = match std::mem::replace(&mut self.speaker, Speaker::Nobody) {
            Speaker::Own(wire) => spoken_by_task(*wire).await.map_or(Speaker::Nobody, Speaker::Library),
            other => other,
        };
    }

    pub(super) fn poll_frame(
        &mut self,
        rest: &mut Rest,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match &mut self.speaker {
            Speaker::Own(wire) => rest.poll_frame(wire, cx).map_err(BrokenOff::from),
            Speaker::Library(_) | Speaker::Nobody => Poll::Ready(Some(Err(Fault::Ended.into()))),
        }
    }
}

async fn spoken_by_task(wire: Wire<Counted>) -> Option<http1::SendRequest<RequestBody>> {
    let (sender, task) = http1::handshake(TokioIo::new(wire.into_stream()?)).await.ok()?;
    // Its errors reach whoever waits for the answer.
    tokio::spawn(task.with_upgrades());
    Some(sender)
}
