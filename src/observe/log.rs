//! Events of `tracing` as lines: flat JSON, or text for people.

use std::{
    fmt::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{EnvFilter, Layer, filter::LevelFilter, layer::Context};

use super::{
    LogFormat,
    line::{Escaping, Within, push_escaped, push_fmt, push_json, push_time, push_word, with_line},
    sink::Sink,
};

/// How lines look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    pub(super) format: LogFormat,
    /// In text: levels and statuses in colour.
    pub(super) colour: bool,
}

/// How lines look by now: the format may change while the process runs.
#[derive(Debug)]
pub(super) struct Look {
    is_text: AtomicBool,
    /// What decides where the settings don't say.
    on_terminal: bool,
    colour: bool,
}

impl Look {
    pub(super) fn new(on_terminal: bool, colour: bool) -> Look {
        Look { is_text: AtomicBool::new(on_terminal), on_terminal, colour }
    }

    #[cfg(test)]
    pub(super) fn of(style: Style) -> Look {
        Look { is_text: AtomicBool::new(style.format == LogFormat::Text), on_terminal: false, colour: style.colour }
    }

    pub(super) fn set(&self, format: Option<LogFormat>) {
        let is_text = format.map_or(self.on_terminal, |format| format == LogFormat::Text);
        self.is_text.store(is_text, Ordering::Relaxed);
    }

    pub(super) fn style(&self) -> Style {
        let format = if self.is_text.load(Ordering::Relaxed) { LogFormat::Text } else { LogFormat::Json };
        Style { format, colour: self.colour }
    }
}

/// Reads `logging.level`: a level, or RUST_LOG syntax (`info,hyper=debug`).
///
/// # Errors
/// What is wrong, in words for the configuration's author. A lone word that isn't a level is an error too, where
/// RUST_LOG would take it for a module and log nothing else.
pub fn parse_level(text: &str) -> Result<EnvFilter, String> {
    let is_word = text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if text.is_empty() || is_word && text.parse::<LevelFilter>().is_err() {
        return Err(format!("`{text}` is not a level: off, error, warn, info, debug or trace"));
    }
    EnvFilter::try_new(text).map_err(|error| format!("`{text}` is neither a level nor RUST_LOG syntax: {error}"))
}

/// Writes each event to the sink.
#[derive(Debug)]
pub(super) struct LineLayer {
    pub(super) sink: Arc<Sink>,
    pub(super) look: Arc<Look>,
}

impl<S: Subscriber> Layer<S> for LineLayer {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let style = self.look.style();
        with_line(|line| {
            push_head(line, *event.metadata().level(), style, SystemTime::now());
            let format = style.format;
            if format == LogFormat::Json {
                line.push_str(",\"message\":\"");
            }
            event.record(&mut MessageVisitor(&mut *line, format));
            if format == LogFormat::Json {
                line.push('"');
            }
            event.record(&mut FieldVisitor(&mut *line, format));
            line.push_str(line_end(format));
            self.sink.push(line);
        });
    }
}

/// The line that tells of lines that were lost.
pub(super) fn dropped_line(count: u64, style: Style, at: SystemTime) -> String {
    let message = "log lines were dropped because their reader is too slow";
    let mut line = String::new();
    push_head(&mut line, Level::WARN, style, at);
    match style.format {
        LogFormat::Json => push_fmt(&mut line, format_args!(",\"message\":\"{message}\",\"lines\":{count}")),
        LogFormat::Text => push_fmt(&mut line, format_args!("{message} lines={count}")),
    }
    line.push_str(line_end(style.format));
    line
}

fn line_end(format: LogFormat) -> &'static str {
    match format {
        LogFormat::Json => "}\n",
        LogFormat::Text => "\n",
    }
}

/// Time and level.
pub(super) fn push_head(line: &mut String, level: Level, style: Style, at: SystemTime) {
    let (name, colour) = match level {
        Level::ERROR => ("error", "31"),
        Level::WARN => ("warn", "33"),
        Level::INFO => ("info", "32"),
        Level::DEBUG => ("debug", "34"),
        Level::TRACE => ("trace", "35"),
    };
    match style.format {
        LogFormat::Json => {
            line.push_str("{\"time\":\"");
            push_time(line, at);
            line.push_str("\",\"level\":\"");
            line.push_str(name);
            line.push('"');
        }
        LogFormat::Text => {
            push_time(line, at);
            line.push(' ');
            push_coloured(line, style, colour, format_args!("{name:<5}"));
            line.push(' ');
        }
    }
}

/// Text in an ANSI colour, where there is colour.
pub(super) fn push_coloured(line: &mut String, style: Style, colour: &str, text: fmt::Arguments<'_>) {
    if style.colour {
        push_fmt(line, format_args!("\x1b[{colour}m{text}\x1b[0m"));
    } else {
        push_fmt(line, text);
    }
}

const MESSAGE: &str = "message";

/// Where a message stands.
fn within(format: LogFormat) -> Within {
    match format {
        LogFormat::Json => Within::Json,
        LogFormat::Text => Within::Message,
    }
}

/// Writes the message alone, so that it stands before the fields wherever it was given.
struct MessageVisitor<'l>(&'l mut String, LogFormat);

impl Visit for MessageVisitor<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == MESSAGE {
            let _ = write!(Escaping(self.0, within(self.1)), "{value:?}");
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == MESSAGE {
            push_escaped(self.0, value, within(self.1));
        }
    }
}

/// Writes all fields but the message.
struct FieldVisitor<'l>(&'l mut String, LogFormat);

impl FieldVisitor<'_> {
    /// False for the message.
    fn begin(&mut self, field: &Field) -> bool {
        let name = field.name().trim_start_matches("r#");
        if name == MESSAGE {
            return false;
        }
        // `time` and `level` are taken; a second member of that name would make the line ambiguous.
        let mark = if matches!(name, "time" | "level") { "_" } else { "" };
        match self.1 {
            LogFormat::Json => {
                self.0.push_str(",\"");
                push_escaped(self.0, name, Within::Json);
                push_fmt(self.0, format_args!("{mark}\":"));
            }
            LogFormat::Text => push_fmt(self.0, format_args!(" {name}{mark}=")),
        }
        true
    }

    fn plain(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        if self.begin(field) {
            push_fmt(self.0, value);
        }
    }
}

impl Visit for FieldVisitor<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if self.begin(field) {
            match self.1 {
                LogFormat::Json => push_json(self.0, value),
                LogFormat::Text => push_word(self.0, value),
            }
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field, format_args!("{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.plain(field, format_args!("{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field, format_args!("{value}"));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.plain(field, format_args!("{value}"));
        } else {
            self.plain(field, format_args!("null"));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use insta::assert_snapshot;
    use tracing::{debug, error, info, warn};
    use tracing_subscriber::{layer::SubscriberExt, registry};

    use super::*;
    use crate::observe::LogBuffer;

    /// The lines without their times.
    fn lines(format: LogFormat, colour: bool, log: impl FnOnce()) -> String {
        let buffer = LogBuffer::default();
        let layer = LineLayer {
            sink: Arc::new(Sink::Buffer(buffer.clone())),
            look: Arc::new(Look::of(Style { format, colour })),
        };
        tracing::subscriber::with_default(registry().with(layer), log);
        let text = buffer.take();
        let time = match format {
            LogFormat::Json => "{\"time\":\"2026-11-24T21:55:00.123Z".len(),
            LogFormat::Text => "2026-11-24T21:55:00.123Z".len(),
        };
        text.lines().map(|line| format!("…{}\n", &line[time..])).collect()
    }

    fn some_events() {
        info!(issuer = "keycloak", keys = 3u64, ready = true, "keys fetched");
        warn!(name: "n", error = %"connection refused", attempts = -1, share = f64::NAN, "no keys: {}", "down");
        error!(time = 1u64, level = "x", message = "fields of reserved names");
        debug!(path = ?"a\"b\n{\"level\":\"error\"}", "a value with\na line break and \"quotes\"");
    }

    #[test]
    fn json_lines() {
        assert_snapshot!(lines(LogFormat::Json, false, some_events), @r#"
        …","level":"info","message":"keys fetched","issuer":"keycloak","keys":3,"ready":true}
        …","level":"warn","message":"no keys: down","error":"connection refused","attempts":-1,"share":null}
        …","level":"error","message":"fields of reserved names","time_":1,"level_":"x"}
        …","level":"debug","message":"a value with\na line break and \"quotes\"","path":"\"a\\\"b\\n{\\\"level\\\":\\\"error\\\"}\""}
        "#);
    }

    #[test]
    fn text_lines() {
        assert_snapshot!(lines(LogFormat::Text, false, some_events), @r#"
        … info  keys fetched issuer=keycloak keys=3 ready=true
        … warn  no keys: down error="connection refused" attempts=-1 share=null
        … error fields of reserved names time_=1 level_=x
        … debug a value with\na line break and "quotes" path="\"a\\\"b\\n{\\\"level\\\":\\\"error\\\"}\""
        "#);
        let coloured = lines(LogFormat::Text, true, || warn!("careful"));
        assert_eq!(coloured, "… \u{1b}[33mwarn \u{1b}[0m careful\n");
    }

    #[test]
    fn a_value_cannot_forge_a_line_or_a_member() {
        let forged = "x\",\"level\":\"error\"}\n{\"time\":\"now\"}\u{1b}[2J\u{2028}\r";
        for format in [LogFormat::Json, LogFormat::Text] {
            let text = lines(format, false, || info!(subject = forged, debugged = ?forged, "{forged}"));
            assert_eq!(text.lines().count(), 1, "{text}");
            assert!(!text.trim_end().contains(|char: char| char.is_control() || char == '\u{2028}'), "{text:?}");
        }
        let json = lines(LogFormat::Json, false, || info!(subject = forged, "{forged}"));
        let line = json.trim_end().replacen('…', "{\"time\":\"", 1);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            (&value["subject"], &value["message"], &value["level"]),
            (&forged.into(), &forged.into(), &"info".into())
        );
    }

    #[test]
    fn levels() {
        for good in ["info", "WARN", "off", "info,hyper=debug", "bearward::token=trace", "warn,[request]=debug"] {
            assert!(parse_level(good).is_ok(), "{good}");
        }
        assert_snapshot!(parse_level("verbose").unwrap_err(), @"`verbose` is not a level: off, error, warn, info, debug or trace");
        for bad in ["", "info,hyper=loud", "a=b=c"] {
            assert!(parse_level(bad).is_err(), "{bad}");
        }
    }
}
