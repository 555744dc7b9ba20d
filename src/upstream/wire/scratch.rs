//! Memory that all connections of a thread read and write through: none of them holds any while it waits.

use std::{
    cell::RefCell,
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};

/// Read at a time, and copied to where it stays: most answers whole.
pub(super) const READ_BYTES: usize = 16 * 1024;
/// Read at a time where much comes.
pub(super) const MOST_READ: usize = 64 * 1024;
/// What is kept of a larger head's memory.
const MOST_WRITING: usize = 16 * 1024;

thread_local! {
    static READING: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
    static WRITING: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What has come, in memory of its own size; nothing at the end.
pub(super) fn poll_read(stream: &mut (impl AsyncRead + Unpin), cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
    READING.with_borrow_mut(|room| {
        let mut read = ReadBuf::new(room);
        ready!(Pin::new(stream).poll_read(cx, &mut read))?;
        Poll::Ready(Ok(Bytes::copy_from_slice(read.filled())))
    })
}

/// What has come, up to `room`, where it stays; nothing at the end.
pub(super) fn poll_read_apart(
    stream: &mut (impl AsyncRead + Unpin),
    room: usize,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Bytes>> {
    let mut bytes = BytesMut::with_capacity(room);
    let read = pin!(stream.read_buf(&mut bytes));
    ready!(read.poll(cx))?;
    Poll::Ready(Ok(bytes.freeze()))
}

/// Calls `write` with memory to write into, which is empty.
pub(super) fn with_writing<T>(write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    WRITING.with_borrow_mut(|bytes| {
        bytes.clear();
        let written = write(bytes);
        bytes.clear();
        bytes.shrink_to(MOST_WRITING);
        written
    })
}
