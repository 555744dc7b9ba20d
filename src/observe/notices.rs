//! What issuers tell of sessions that have ended.

use std::{fmt, sync::Arc};

/// A notice of an issuer's has come. One line of log; metrics are those of the request, of verifications and of revocations.
#[derive(Clone, Copy, Debug)]
pub struct NoticeReceived<'e> {
    /// The issuer's key in the configuration.
    pub issuer: &'e str,
    /// `logout` or `events`.
    pub channel: &'static str,
    /// As the access log names the request.
    pub request_id: &'e str,
}

impl NoticeReceived<'_> {
    /// It is the issuer's and understood: what it tells of, of whom, and the ids of the revocations that come of it, or why there are
    /// none.
    pub fn taken(
        &self,
        told: &[&'static str],
        subject: Option<&str>,
        ended: &Result<Vec<Arc<str>>, impl fmt::Display>,
    ) {
        let NoticeReceived { issuer, channel, request_id } = *self;
        let told = told.join(", ");
        match ended {
            Ok(ids) => {
                let revocations = ids.join(" ");
                tracing::info!(
                    issuer,
                    channel,
                    request_id,
                    told,
                    subject,
                    revocations,
                    "a notice of an issuer was taken"
                );
            }
            Err(why) => {
                tracing::error!(issuer, channel, request_id, told, subject, %why, "what an issuer has ended could not be ended here");
            }
        }
    }

    /// It isn't. What the issuer has signed and is of no use here is somebody's mistake; the rest is anybody's.
    pub fn refused(&self, why: &'static str, is_issuers: bool) {
        let NoticeReceived { issuer, channel, request_id } = *self;
        if is_issuers {
            tracing::warn!(issuer, channel, request_id, why, "a notice that an issuer has signed was refused");
        } else {
            tracing::info!(issuer, channel, request_id, why, "a notice was refused");
        }
    }
}
