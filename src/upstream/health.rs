//! Active checks: each endpoint is asked at an interval whether it is well.

use std::sync::{Arc, Weak, atomic::Ordering};

use hyper::{
    Request, Uri,
    header::{CONNECTION, HOST, HeaderValue, USER_AGENT},
};
use tokio::time::{Instant, sleep_until, timeout};

use super::{HealthCheck, Upstream, addresses::Addresses, connection::Connection, dress::dress, endpoint::Endpoint};
use crate::{body::RequestBody, refusal::UpstreamFault};

/// Good or bad checks in a row.
#[derive(Debug, Default)]
struct Row {
    is_good: bool,
    length: u32,
}

impl Row {
    /// Adds a check; whether the row says by now how the endpoint is.
    fn add(&mut self, is_good: bool, check: &HealthCheck) -> bool {
        if is_good != self.is_good {
            *self = Row { is_good, length: 0 };
        }
        self.length = self.length.saturating_add(1);
        self.length >= if is_good { check.healthy } else { check.unhealthy }
    }
}

impl Upstream {
    /// Does what is to be done all the time: looks up the endpoints' names, closes connections that are of no use any more,
    /// and checks the endpoints where that is configured. On this runtime, until the upstream is gone; a second call changes
    /// nothing.
    pub fn maintain(self: &Arc<Self>) {
        if self.is_maintained.swap(true, Ordering::Relaxed) {
            return;
        }
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            tokio::spawn(Addresses::maintain(Arc::downgrade(&endpoint.addresses)));
            tokio::spawn(Endpoint::keep_swept(Arc::downgrade(endpoint)));
            if let Some(check) = &self.settings.health {
                tokio::spawn(keep_checking(Arc::downgrade(self), index, check.clone()));
            }
        }
    }
}

async fn keep_checking(upstream: Weak<Upstream>, index: usize, check: HealthCheck) {
    let mut row = Row::default();
    loop {
        let next = Instant::now() + check.interval;
        let Some(endpoint) = upstream.upgrade().and_then(|upstream| upstream.endpoints.get(index).cloned()) else {
            return;
        };
        let is_good =
            timeout(check.timeout, is_well(&endpoint, &check.path)).await.is_ok_and(|asked| asked == Ok(true));
        if row.add(is_good, &check) {
            endpoint.standing.set_well(is_good);
        }
        drop(endpoint);
        sleep_until(next).await;
    }
}

/// Asks on a connection of its own: those for requests are neither used nor counted.
async fn is_well(endpoint: &Endpoint, path: &str) -> Result<bool, UpstreamFault> {
    let mut connection = endpoint.connect_apart().await?;
    let request = question(endpoint, path, &connection).ok_or(UpstreamFault::Broken)?;
    let answer = connection.send(Box::new(request)).await.map_err(|_| UpstreamFault::Broken)?;
    Ok(answer.status().is_success())
}

fn question(endpoint: &Endpoint, path: &str, connection: &Connection) -> Option<Request<RequestBody>> {
    let mut request = Request::new(RequestBody::nothing());
    *request.uri_mut() = path.parse::<Uri>().ok()?;
    let headers = request.headers_mut();
    headers.insert(HOST, endpoint.authority.clone());
    headers.insert(USER_AGENT, HeaderValue::from_static("bearward"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    dress(&mut request, connection.is_http2(), endpoint.address.tls)?;
    Some(request)
}

#[cfg(test)]
mod tests {
    use tokio::time::Duration;

    use super::*;

    #[test]
    fn a_row_counts_from_its_first_check() {
        let check = HealthCheck {
            path: "/".to_owned(),
            interval: Duration::ZERO,
            timeout: Duration::ZERO,
            healthy: 2,
            unhealthy: 3,
        };
        let mut row = Row::default();
        let said: Vec<_> = "gggbbgbbbbgg".chars().map(|one| row.add(one == 'g', &check)).collect();
        let wanted: Vec<_> = "-++-----++-+".chars().map(|one| one == '+').collect();
        assert_eq!(said, wanted);
    }
}
