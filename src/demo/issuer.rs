//! The server of the four systems that give out tokens: each has paths of its own.

use std::{io, path::Path, thread};

use bytes::Bytes;
use hyper::{Request, StatusCode};

use super::{
    answers::Answer, cern::Cern, degreed::Degreed, digitaleo::Digitaleo, docebo::Docebo, loopback, signing::SigningKey,
};

pub(super) struct Issuer {
    docebo: Docebo,
    digitaleo: Digitaleo,
    degreed: Degreed,
    cern: Cern,
}

impl Issuer {
    /// One at this URL, with new keys.
    ///
    /// # Errors
    /// No keys could be made.
    pub(super) fn new(url: &str) -> Result<Issuer, String> {
        // Each takes a good part of a second.
        let [client, digitaleo, degreed, cern] = thread::scope(|scope| {
            [(); 4]
                .map(|()| scope.spawn(SigningKey::generate))
                .map(|thread| thread.join().map_err(|_| "a key can't be generated".to_owned()).flatten())
        });
        Ok(Issuer {
            docebo: Docebo::new(client?),
            digitaleo: Digitaleo::new(format!("{url}/digitaleo"), digitaleo?),
            degreed: Degreed::new(format!("{url}/degreed"), degreed?),
            cern: Cern::new(url, cern?),
        })
    }

    /// Writes what a client has of its own.
    ///
    /// # Errors
    /// A file can't be written.
    pub(super) fn write_files(&self, folder: &Path) -> io::Result<()> {
        self.docebo.write_files(folder)
    }

    pub(super) fn answer(&self, request: &Request<Bytes>) -> Answer {
        self.docebo
            .answer(request)
            .or_else(|| self.digitaleo.answer(request))
            .or_else(|| self.degreed.answer(request))
            .or_else(|| self.cern.answer(request))
            .unwrap_or_else(|| loopback::json(StatusCode::NOT_FOUND, r#"{"error":"not_found"}"#.to_owned()))
    }
}
