//! Requests at a fixed rate over keep-alive connections, for `benches/compare/run`, which builds this with `rustc -O`:
//! `pace ADDRESS PATH RATE SECONDS CONNECTIONS [TOKEN]`.
//!
//! Each request has a time at which it is due, whatever became of those before it. Whose time comes while all connections
//! wait for answers is late, and the wait counts as its own: a server that stands still for a second has made a second's
//! requests slow, not one for each connection (coordinated omission). What isn't late is timed from when it was sent, so
//! that the timer's imprecision doesn't count.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::{
    env,
    io::{Read, Write},
    net::TcpStream,
    process::ExitCode,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [address, path, rate, seconds, connections, token @ ..] = &arguments[..] else {
        println!("pace ADDRESS PATH RATE SECONDS CONNECTIONS [TOKEN]: see benches/compare/run");
        return ExitCode::SUCCESS;
    };
    let authorization = token.first().map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"));
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{authorization}\r\n");
    let (rate, seconds): (f64, f64) = (rate.parse().unwrap(), seconds.parse().unwrap());

    let (schedule, taken) = (Schedule { start: Instant::now() + Duration::from_millis(100), rate }, AtomicU32::new(0));
    let mut times: Vec<Duration> = thread::scope(|scope| {
        let clients: Vec<_> = (0..connections.parse().unwrap())
            .map(|_| scope.spawn(|| client(address, request.as_bytes(), &schedule, seconds, &taken)))
            .collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    times.sort_unstable();
    let at = |share: f64| {
        let index = (times.len() as f64 * share) as usize;
        times[index.min(times.len() - 1)].as_secs_f64() * 1e6
    };
    println!(
        r#"{{"requests": {}, "p50": {:.1}, "p90": {:.1}, "p99": {:.1}, "p999": {:.1}, "max": {:.1}}}"#,
        times.len(),
        at(0.5),
        at(0.9),
        at(0.99),
        at(0.999),
        at(1.0)
    );
    ExitCode::SUCCESS
}

/// When requests are due.
struct Schedule {
    start: Instant,
    rate: f64,
}

impl Schedule {
    fn due(&self, number: u32) -> Instant {
        self.start + Duration::from_secs_f64(f64::from(number) / self.rate)
    }
}

/// One connection: takes the next request that nobody has taken, as long as there are some.
fn client(address: &str, request: &[u8], schedule: &Schedule, seconds: f64, taken: &AtomicU32) -> Vec<Duration> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut times, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let number = taken.fetch_add(1, Ordering::Relaxed);
        if f64::from(number) >= schedule.rate * seconds {
            return times;
        }
        let due = schedule.due(number);
        let early = due.saturating_duration_since(Instant::now());
        thread::sleep(early);
        let began = if early.is_zero() { due } else { Instant::now() };
        stream.write_all(request).unwrap();
        answer(&mut stream, &mut buffer);
        times.push(began.elapsed());
    }
}

/// Reads one answer, which must be a 200 with a length.
fn answer(stream: &mut TcpStream, buffer: &mut [u8]) {
    let mut got = 0;
    loop {
        let read = stream.read(&mut buffer[got..]).unwrap();
        assert!(read > 0, "the connection was closed");
        got += read;
        let text = std::str::from_utf8(&buffer[..got]).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
        });
        if body.len() == length.unwrap() {
            return;
        }
    }
}
