//! An issuer's last good key set on disk (`state.dir`): it serves after a restart while the key server is down.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::digest;
use serde_json::{Value, json};

use super::{
    issuer::{IssuerSettings, KeySource},
    json,
    key_set::KeySet,
};
use crate::state_dir::StateDir;

/// A key set in JSON within JSON: each quote takes two bytes.
const LARGEST: u64 = 4 << 20;

/// Where one issuer's set is kept.
#[derive(Clone, Debug)]
pub(in crate::token) struct KeptKeys {
    dir: Arc<StateDir>,
    file: String,
    issuer: String,
    /// Where the keys were fetched and who vouched for that place: a set is taken for no other.
    source: String,
}

impl KeptKeys {
    /// None where the keys aren't fetched from anywhere.
    pub(in crate::token) fn of(settings: &IssuerSettings, dir: Arc<StateDir>) -> Option<KeptKeys> {
        let place = match &settings.jwt.keys {
            KeySource::Discovery => "discovery",
            KeySource::Uri(uri) => uri,
            KeySource::File(_)
            | KeySource::Inline(_)
            | KeySource::PublicKeys(_)
            | KeySource::Secret(_)
            | KeySource::Nowhere => {
                return None;
            }
        };
        let roots = settings.tls_ca.iter().flat_map(|roots| roots.certificates());
        let roots = roots.map(|certificate| hex(certificate)).collect::<Vec<_>>().join(" ");
        let (issuer, source) = (settings.issuer.clone()?, format!("{place} {roots}").trim_end().to_owned());
        let file = format!("keys-{}.json", hex(format!("{issuer}\n{source}").as_bytes()));
        Some(KeptKeys { dir, file, issuer, source })
    }

    /// Keeps a set that was fetched now. What goes wrong is logged.
    pub(in crate::token) fn save(&self, jwks: &[u8], now: SystemTime) {
        let (Ok(jwks), Some(fetched_at)) = (std::str::from_utf8(jwks), unix_seconds(now)) else { return };
        let document =
            json!({"issuer": self.issuer, "source": self.source, "fetched_at": fetched_at, "jwks": jwks}).to_string();
        if let Err(error) = self.dir.write(&self.file, document.as_bytes()) {
            tracing::warn!(issuer = self.issuer, file = self.file, %error, "keys could not be kept in state.dir");
        }
    }

    /// The set that was kept, and how long ago it was fetched: not longer than `stale_after`. What can't be used is
    /// ignored and logged.
    pub(in crate::token) fn load(&self, now: SystemTime, stale_after: Duration) -> Option<(KeySet, Duration)> {
        match self.read(now, stale_after) {
            Ok(kept) => kept,
            Err(error) => {
                tracing::warn!(issuer = self.issuer, file = self.file, error, "kept keys are ignored");
                None
            }
        }
    }

    fn read(&self, now: SystemTime, stale_after: Duration) -> Result<Option<(KeySet, Duration)>, String> {
        let Some(content) = self.dir.read(&self.file, LARGEST)? else { return Ok(None) };
        let document = json::parse_object(&content).map_err(|error| format!("not what was written: {error}"))?;
        let text = |name: &str| document.get(name).and_then(Value::as_str);
        if text("issuer") != Some(&self.issuer) || text("source") != Some(&self.source) {
            return Err("they are of another issuer or source".to_owned());
        }
        let fetched_at = document.get("fetched_at").and_then(Value::as_u64).map(Duration::from_secs);
        let age = fetched_at.zip(now.duration_since(UNIX_EPOCH).ok()).and_then(|(then, now)| now.checked_sub(then));
        let age = age.ok_or("they are from the future: the clock was set back")?;
        if age > stale_after {
            return Err(format!("they are older than `stale_keys`: fetched {} s ago", age.as_secs()));
        }
        Ok(Some((KeySet::parse(text("jwks").unwrap_or_default().as_bytes())?, age)))
    }
}

fn unix_seconds(time: SystemTime) -> Option<u64> {
    time.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

/// The beginning of a SHA-256: 32 digits.
fn hex(bytes: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA256, bytes);
    hash.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use std::fs;

    use super::*;
    use crate::token::{
        extra_roots::ExtraRoots,
        tests::{P256, jwks, settings},
    };

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn uri(uri: &str) -> IssuerSettings {
        settings("a", KeySource::Uri(uri.to_owned()))
    }

    #[test]
    fn a_set_is_found_again_by_its_own_issuer_and_source_alone() {
        let folder = tempfile::tempdir().unwrap();
        let dir = Arc::new(StateDir::open(folder.path()).unwrap());
        let kept = |settings: &IssuerSettings| KeptKeys::of(settings, dir.clone()).unwrap();
        let first = uri("https://a.example/keys");
        kept(&first).save(jwks(&[P256.jwk_of("k")]).as_bytes(), at(1000));
        let (keys, age) = kept(&first).load(at(1060), HOUR).unwrap();
        assert!(keys.has_kid("k"));
        assert_eq!(age, Duration::from_secs(60));
        assert!(kept(&first).load(at(999), HOUR).is_none(), "from the future");
        assert!(kept(&first).load(at(4600), HOUR).is_some());
        assert!(kept(&first).load(at(4601), HOUR).is_none(), "too old");

        let certificate = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap().cert.pem();
        let others = [
            uri("https://a.example/keys2"),
            settings("a", KeySource::Discovery),
            IssuerSettings { issuer: Some("https://b.example".to_owned()), ..first.clone() },
            IssuerSettings { tls_ca: Some(ExtraRoots::parse(&certificate).unwrap()), ..first.clone() },
        ];
        let file = |settings: &IssuerSettings| folder.path().join(kept(settings).file);
        for other in &others {
            assert!(kept(other).load(at(1060), HOUR).is_none());
            fs::copy(file(&first), file(other)).unwrap();
            assert!(kept(other).load(at(1060), HOUR).is_none(), "under the other's name");
        }
        let renamed = IssuerSettings { name: "other".into(), ..first };
        assert!(kept(&renamed).load(at(1060), HOUR).is_some(), "the name in the configuration doesn't matter");
        assert!(KeptKeys::of(&settings("a", KeySource::Inline(String::new())), dir.clone()).is_none());
    }

    #[test]
    fn a_file_that_is_broken_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let dir = Arc::new(StateDir::open(folder.path()).unwrap());
        let kept = KeptKeys::of(&uri("https://a.example/keys"), dir.clone()).unwrap();
        kept.save(jwks(&[P256.jwk_of("k")]).as_bytes(), at(1000));
        let good = fs::read_to_string(folder.path().join(&kept.file)).unwrap();
        for broken in [
            String::new(),
            "{}".to_owned(),
            good[..good.len() / 2].to_owned(),
            good.replace("a.example", "b.example"),
            good.replace("\\\"x\\\"", "\\\"z\\\""),
            good.replace("1000", "-1000"),
            good.replace("1000", "\"1000\""),
            good.replace("fetched_at", "fetched"),
            format!("{good}{}", " ".repeat(4 << 20)),
        ] {
            dir.write(&kept.file, broken.as_bytes()).unwrap();
            assert!(kept.load(at(1001), HOUR).is_none(), "{broken:.300}");
        }
        dir.write(&kept.file, good.as_bytes()).unwrap();
        assert!(kept.load(at(1001), HOUR).is_some());
    }
}
