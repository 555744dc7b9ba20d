//! The end of a connection that hyper has given up: the client is told why, and what it still sends is read for a while, so
//! that a reset doesn't overtake that (RFC 9113, section 5.4.1).

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

const GOAWAY: u8 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;
const LINGER: Duration = Duration::from_secs(2);
/// More is not read of a client that doesn't stop.
const READ_AT_MOST: u64 = 4 * 1024 * 1024;
const BUFFER: usize = 16 * 1024;

/// What is left of a connection.
#[derive(Debug)]
pub(super) struct Rest<S> {
    pub(super) io: S,
    /// Set where the client is to be told to calm down: the last stream that it began.
    pub(super) calm_after: Option<u32>,
}

/// Hands it over from who reads and writes to who says goodbye.
#[derive(Debug)]
pub(super) struct Handover<S>(Arc<Mutex<Option<Rest<S>>>>);

impl<S> Clone for Handover<S> {
    fn clone(&self) -> Handover<S> {
        Handover(self.0.clone())
    }
}

impl<S> Handover<S> {
    pub(super) fn new() -> Handover<S> {
        Handover(Arc::new(Mutex::new(None)))
    }

    pub(super) fn give(&self, rest: Rest<S>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(rest);
    }

    pub(super) fn take(&self) -> Option<Rest<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Rest<S> {
    pub(super) async fn say_goodbye(mut self) {
        // Whoever isn't reached has gone, or doesn't listen.
        let _ = timeout(LINGER, self.farewell()).await;
    }

    async fn farewell(&mut self) -> io::Result<()> {
        if let Some(last) = self.calm_after {
            self.io.write_all(&go_away(last)).await?;
        }
        self.io.shutdown().await?;
        let mut buffer = vec![0; BUFFER];
        let mut read = 0;
        while read < READ_AT_MOST {
            match self.io.read(&mut buffer).await? {
                0 => break,
                count => read += count as u64,
            }
        }
        Ok(())
    }
}

/// RFC 9113, section 6.8.
fn go_away(last_stream: u32) -> [u8; 17] {
    let mut frame = [0, 0, 8, GOAWAY, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let payload = u64::from(last_stream) << 32 | u64::from(ENHANCE_YOUR_CALM);
    if let Some(place) = frame.last_chunk_mut() {
        *place = payload.to_be_bytes();
    }
    frame
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_is_told_and_heard_out() {
        let (mut client, server) = tokio::io::duplex(64);
        let goodbye = tokio::spawn(Rest { io: server, calm_after: Some(0x0102_0305) }.say_goodbye());
        client.write_all(&[0; 1000]).await.unwrap();
        let mut told = Vec::new();
        client.read_to_end(&mut told).await.unwrap();
        assert_eq!(told, [0, 0, 8, 7, 0, 0, 0, 0, 0, 1, 2, 3, 5, 0, 0, 0, 11]);
        // And it ends if the client doesn't.
        goodbye.await.unwrap();
    }
}
