//! `bearward token`

mod decode;
mod sign;

use std::{
    io::{self, Read, Write},
    path::PathBuf,
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use clap::Subcommand;

use super::{NO, WRONG_USAGE, complain};

/// A longer text on stdin is no token.
const LONGEST: u64 = 1 << 20;

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Show a token's header and claims, without trusting them
    ///
    /// Nothing is verified and nothing is fetched: `bearward explain` does that. Dates are said in words, and what a
    /// gateway would mind is pointed out. Exits with 1 where the text isn't a JWT.
    #[command(after_help = "Examples:\n  \
        bearward token decode eyJhbGciOi…\n  \
        pbpaste | bearward token decode -    # other users of this machine can't see it there")]
    Decode {
        /// The token; `-` reads it from stdin
        token: String,
    },
    /// Make a token from a private key, for tests
    ///
    /// Prints the token alone. `iat` and `exp` are filled in unless the claims have them. Exits with 2 where the key or
    /// the claims can't be used.
    #[command(after_help = "Examples:\n  \
        openssl genpkey -algorithm ed25519 -out key.pem\n  \
        bearward token sign --key key.pem --claims '{\"iss\": \"https://auth.example.org\", \"aud\": \"api\"}'\n  \
        bearward token sign --key rsa.pem --alg PS256 --kid a --ttl 5m --claims '{\"sub\": \"u1\"}'")]
    Sign {
        /// The private key, PEM: RSA, P-256, P-384 or Ed25519
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// The claims, a JSON object
        #[arg(long, value_name = "JSON")]
        claims: String,
        /// RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 or EdDSA [default: what fits the key]
        #[arg(long, value_name = "ALGORITHM")]
        alg: Option<String>,
        /// The key's name in the issuer's key set
        #[arg(long)]
        kid: Option<String>,
        /// How long it is good: 250ms, 30s, 5m, 2h [default: 1h]
        #[arg(long, value_name = "DURATION")]
        ttl: Option<String>,
    },
}

pub(super) fn run(command: TokenCommand) -> ExitCode {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let (answer, otherwise) = match command {
        TokenCommand::Decode { token } => (read(token).and_then(|token| decode::shown(&token, now)), NO),
        TokenCommand::Sign { key, claims, alg, kid, ttl } => {
            let wanted = sign::Wanted { claims: &claims, alg: alg.as_deref(), kid, ttl: ttl.as_deref() };
            (sign::read_key(&key).and_then(|key| sign::token(&key, wanted, now)), WRONG_USAGE)
        }
    };
    match answer {
        Ok(text) => match writeln!(io::stdout().lock(), "{text}") {
            Ok(()) => ExitCode::SUCCESS,
            // Nobody reads the answer.
            Err(_) => ExitCode::from(NO),
        },
        Err(why) => {
            complain(format_args!("error: {why}"));
            ExitCode::from(otherwise)
        }
    }
}

/// The token itself; `-` is stdin.
fn read(token: String) -> Result<String, String> {
    if token != "-" {
        return Ok(token);
    }
    let mut text = String::new();
    match io::stdin().lock().take(LONGEST + 1).read_to_string(&mut text) {
        Ok(_) if text.len() as u64 > LONGEST => Err("what is on stdin is too long for a token".to_owned()),
        Ok(_) => Ok(text),
        Err(why) => Err(format!("can't read stdin: {why}")),
    }
}
