//! `bearward explain`

use std::{
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use clap::Args;
use hyper::{
    HeaderMap,
    header::{HeaderName, HeaderValue},
};
use serde_json::{Map, Value};

use super::{NO, UNUSABLE_CONFIGURATION, WRONG_USAGE};
use crate::{
    config::{self, Environment, printable},
    decision::rehearsal::Presented,
    explain::Explanation,
    observe::Observer,
    rehearsal::{self, Question},
    snapshot::{LongLived, Snapshot},
    token::json,
};

/// A longer text is no token.
const LONGEST_TOKEN: u64 = 1 << 20;

/// The request, and how it is to be explained.
#[derive(Clone, Debug, Args)]
pub(super) struct ExplainArguments {
    /// The request's method
    #[arg(long, default_value = "GET")]
    method: String,
    /// What is asked for: https://api.example.com/rest/x, or /rest/x
    #[arg(long)]
    url: String,
    /// A header field of the request; may be given again
    #[arg(long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// The token, sent where the route takes it from; other users of this machine may see it
    #[arg(long, group = "who")]
    token: Option<String>,
    /// A file that holds the token; `-` is stdin
    #[arg(long, value_name = "FILE", group = "who")]
    token_file: Option<PathBuf>,
    /// Claims to go by, a JSON object, without a token; `iss`, `aud` and `exp` are filled in
    #[arg(long, value_name = "JSON", group = "who", requires = "issuer")]
    claims: Option<String>,
    /// Whose claims they are: its key in `issuers`
    #[arg(long, value_name = "NAME", requires = "claims")]
    issuer: Option<String>,
    /// Where the request comes in [default: the first listener that forwards]
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Exit with 1 if the request is denied
    #[arg(long)]
    exit_code: bool,
    /// Call nobody: keys that would have to be fetched are not at hand
    #[arg(long)]
    offline: bool,
}

/// Explains, and writes the answer. Returns the exit code.
///
/// # Errors
/// Where `out` or `err` can't be written to.
pub(super) fn run(
    path: &Path,
    environment: &Environment<'_>,
    asked: &ExplainArguments,
    colour: (bool, bool),
    stdin: &mut dyn Read,
    (out, err): (&mut dyn Write, &mut dyn Write),
) -> io::Result<u8> {
    let loaded = match config::load(path, environment) {
        Ok(loaded) => loaded,
        Err(diagnostics) => {
            for diagnostic in diagnostics {
                writeln!(err, "{}", diagnostic.render(colour.1))?;
            }
            return Ok(UNUSABLE_CONFIGURATION);
        }
    };
    let parts = LongLived::new(Observer::silent(), 1);
    let (snapshot, _) = match Snapshot::assemble(&loaded.policy, &parts) {
        Ok(assembled) => assembled,
        Err(why) => {
            writeln!(err, "error: {why}")?;
            return Ok(UNUSABLE_CONFIGURATION);
        }
    };
    let explanation = match asked.prepare(&snapshot, stdin) {
        Ok(prepared) => prepared.explain(&snapshot, asked.offline)?,
        Err(why) => {
            writeln!(err, "error: {why}")?;
            return Ok(WRONG_USAGE);
        }
    };
    match asked.json {
        true => writeln!(out, "{:#}", explanation.to_json())?,
        false => write!(out, "{}", explanation.to_text(colour.0))?,
    }
    Ok(if asked.exit_code && !explanation.is_allowed() { NO } else { 0 })
}

/// What was asked, understood.
struct Prepared {
    question: Question,
    /// Issuer and claims.
    assumed: Option<(String, Map<String, Value>)>,
}

impl ExplainArguments {
    /// # Errors
    /// What can't be understood, in words.
    fn prepare(&self, snapshot: &Snapshot, stdin: &mut dyn Read) -> Result<Prepared, String> {
        let mut headers = HeaderMap::new();
        for header in &self.headers {
            // The value may be a secret: it isn't shown.
            let (name, value) = header.split_once(':').ok_or("a `--header` is not `NAME: VALUE`")?;
            let shown = printable(name.trim());
            let name = HeaderName::from_bytes(name.trim().as_bytes())
                .map_err(|_| format!("`{shown}` is not the name of a header"))?;
            let value = HeaderValue::from_str(value.trim())
                .map_err(|_| format!("the value of `{shown}` has characters that no header can carry"))?;
            headers.append(name, value);
        }
        let mut question = Question::new(&self.method, &self.url, headers)?;
        if let Some(name) = &self.listener {
            let names = snapshot.listeners.iter().map(ToString::to_string).collect::<Vec<_>>();
            let found = names.iter().position(|known| known == name);
            let unknown = || format!("no listener is called `{name}`; there are: {}", names.join(", "));
            question.listener = Some(found.ok_or_else(unknown)?);
        }
        if let Some(token) = self.token(stdin)? {
            question.present(&token)?;
        }
        let assumed = match (&self.claims, &self.issuer) {
            (Some(claims), Some(issuer)) => Some((known_issuer(snapshot, issuer)?, read_claims(claims)?)),
            _ => None,
        };
        Ok(Prepared { question, assumed })
    }

    fn token(&self, stdin: &mut dyn Read) -> Result<Option<String>, String> {
        let text = match (&self.token, &self.token_file) {
            (Some(token), _) => token.clone(),
            (None, Some(file)) if file.as_os_str() == "-" => {
                read_text(stdin).map_err(|why| format!("can't read the token from stdin: {why}"))?
            }
            (None, Some(file)) => {
                let opened = std::fs::File::open(file).and_then(|mut file| read_text(&mut file));
                opened.map_err(|why| format!("can't read the token from {}: {why}", file.display()))?
            }
            (None, None) => return Ok(None),
        };
        Ok(Some(bare(&text).to_owned()))
    }
}

fn read_text(from: &mut dyn Read) -> io::Result<String> {
    let mut text = String::new();
    from.take(LONGEST_TOKEN + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LONGEST_TOKEN {
        return Err(io::Error::other("it is too long for a token"));
    }
    Ok(text)
}

/// The token without what is pasted along with it.
fn bare(text: &str) -> &str {
    let mut token = text.trim();
    for around in ["Authorization:", "Bearer "] {
        if token.get(..around.len()).is_some_and(|start| start.eq_ignore_ascii_case(around)) {
            token = token.get(around.len()..).unwrap_or_default().trim_start();
        }
    }
    token
}

fn known_issuer(snapshot: &Snapshot, name: &str) -> Result<String, String> {
    if snapshot.issuer(name).is_some() {
        return Ok(name.to_owned());
    }
    let known = snapshot.issuers.iter().map(|issuer| issuer.settings.name.to_string()).collect::<Vec<_>>();
    Err(match known.is_empty() {
        true => format!("no issuer is called `{name}`: the configuration has none"),
        false => format!("no issuer is called `{name}`; there are: {}", known.join(", ")),
    })
}

fn read_claims(text: &str) -> Result<Map<String, Value>, String> {
    // As a token's are read: a name that is there twice could be read in two ways.
    json::parse_object(text.as_bytes()).map_err(|why| format!("`--claims` is not a JSON object: {why}"))
}

impl Prepared {
    fn explain(&self, snapshot: &Snapshot, offline: bool) -> io::Result<Explanation> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let answer = runtime.block_on(async {
            let assumed = self.assumed.as_ref();
            let presented = match assumed.and_then(|(name, claims)| Some((snapshot.issuer(name)?, claims))) {
                Some((issuer, claims)) => Presented::Assumed { issuer, claims },
                None => Presented::Sent { may_fetch: !offline },
            };
            if matches!(presented, Presented::Sent { may_fetch: true }) {
                // Signed answers about opaque tokens are verified with their issuer's store.
                for issuer in snapshot.issuers.iter().filter(|issuer| issuer.is_asked()) {
                    tokio::spawn(issuer.keys.clone().maintain());
                }
            }
            rehearsal::rehearse(snapshot, &self.question, presented).await
        });
        Ok(Explanation::new(snapshot, &self.question, &answer))
    }
}

#[cfg(test)]
mod tests;
