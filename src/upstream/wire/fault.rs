//! Why there is no answer, or why it breaks off.

use std::{error::Error, fmt, io};

/// What is wrong with an upstream's answer, or its connection.
#[derive(Debug)]
pub(in crate::upstream) enum Fault {
    /// Nothing of the request was written.
    Unsent,
    /// The connection failed.
    Connection(io::Error),
    /// It ended before the answer did.
    Ended,
    /// Of these there are too many.
    TooMany(&'static str),
    /// It isn't HTTP/1.1: in this.
    Malformed(&'static str),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Unsent => f.write_str("the connection was closed before the request was sent"),
            Fault::Connection(error) => write!(f, "the connection failed: {error}"),
            Fault::Ended => f.write_str("the connection ended before the answer did"),
            Fault::TooMany(what) => write!(f, "too many {what}"),
            Fault::Malformed(what) => write!(f, "the answer is malformed: {what}"),
        }
    }
}

impl Error for Fault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Fault::Connection(error) => Some(error),
            Fault::Unsent | Fault::Ended | Fault::TooMany(_) | Fault::Malformed(_) => None,
        }
    }
}
