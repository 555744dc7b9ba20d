//! What of a request's body has gone by, as long as that is little: so that it can be sent again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};

use super::RequestBody;

/// A body that can perhaps be sent again.
pub struct Recording(What);

enum What {
    /// There was nothing to record: the body was empty.
    Empty(RequestBody),
    /// It is recorded while it goes by.
    Parts(Arc<Parts>, RequestBody),
    /// It is larger than what is kept.
    TooLarge,
}

/// The parts of a body, in order.
pub(super) struct Parts {
    most: usize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    parts: Vec<Bytes>,
    bytes: usize,
    is_whole: bool,
    /// More than is kept, or trailers.
    is_spoilt: bool,
}

impl Recording {
    pub(super) fn empty(again: RequestBody) -> Recording {
        Recording(What::Empty(again))
    }

    pub(super) fn too_large() -> Recording {
        Recording(What::TooLarge)
    }

    pub(super) fn begin(parts: Arc<Parts>, again: RequestBody) -> Recording {
        Recording(What::Parts(parts, again))
    }

    /// The same body once more. None where not all of it has gone by, or more than was to be kept.
    pub fn replay(self) -> Option<RequestBody> {
        match self.0 {
            What::Empty(again) => Some(again),
            What::Parts(parts, again) => Some(again.holding(parts.whole()?)),
            What::TooLarge => None,
        }
    }
}

impl Parts {
    pub(super) fn up_to(most: usize) -> Arc<Parts> {
        Arc::new(Parts { most, kept: Mutex::default() })
    }

    pub(super) fn push(&self, part: &Bytes) {
        let mut kept = self.kept();
        kept.bytes = kept.bytes.saturating_add(part.len());
        if kept.bytes > self.most {
            kept.spoil();
        } else if !kept.is_spoilt {
            kept.parts.push(part.clone());
        }
    }

    /// Something came that can't be kept.
    pub(super) fn spoil(&self) {
        self.kept().spoil();
    }

    /// Nothing more will come.
    pub(super) fn end(&self) {
        self.kept().is_whole = true;
    }

    fn whole(&self) -> Option<Bytes> {
        let kept = self.kept();
        if !kept.is_whole || kept.is_spoilt {
            return None;
        }
        let mut whole = BytesMut::with_capacity(kept.bytes);
        kept.parts.iter().for_each(|part| whole.extend_from_slice(part));
        Some(whole.freeze())
    }

    /// Nothing that holds it can panic.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn spoil(&mut self) {
        self.is_spoilt = true;
        self.parts.clear();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use http_body::Body as _;
    use http_body_util::BodyExt as _;
    use tokio::io::AsyncWriteExt as _;

    use super::super::received::{GENEROUS, request};

    const CHUNKED: &str = "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n";

    /// What can be sent again after the body of a request has gone by.
    async fn again(bytes: &str, most: usize) -> Option<(Vec<u8>, bool)> {
        let (request, _fault, _client) = request(bytes.as_bytes(), GENEROUS).await;
        let mut body = request.into_body();
        let recording = body.record(most);
        let whole = body.collect().await.unwrap().to_bytes();
        let again = recording.replay()?;
        assert!(again.upload().ended());
        assert_eq!(again.size_hint().exact(), Some(whole.len() as u64));
        let is_empty = again.is_end_stream();
        let sent = again.collect().await.unwrap().to_bytes().to_vec();
        assert_eq!(sent, whole);
        Some((sent, is_empty))
    }

    #[tokio::test]
    async fn a_small_body_is_sent_again() {
        let with_length = "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\nhello";
        let chunks = format!("{CHUNKED}3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n");
        for bytes in [with_length, &chunks] {
            assert_eq!(again(bytes, 5).await, Some((b"hello".to_vec(), false)), "{bytes}");
            assert_eq!(again(bytes, 4).await, None, "{bytes}");
        }
        assert_eq!(again("GET / HTTP/1.1\r\nhost: h\r\n\r\n", 0).await, Some((Vec::new(), true)));
        assert_eq!(again(&format!("{CHUNKED}0\r\n\r\n"), 0).await, Some((Vec::new(), true)));
    }

    #[tokio::test]
    async fn what_isnt_all_there_or_has_trailers_isnt_sent_again() {
        assert_eq!(again(&format!("{CHUNKED}1\r\nx\r\n0\r\nx-sum: 1\r\n\r\n"), 9).await, None, "trailers");
        let (request, _fault, mut client) = request(CHUNKED.as_bytes(), GENEROUS).await;
        let mut body = request.into_body();
        let recording = body.record(9);
        client.write_all(b"1\r\nx\r\n").await.unwrap();
        assert!(body.frame().await.unwrap().is_ok());
        assert!(recording.replay().is_none(), "more may come");
    }
}
