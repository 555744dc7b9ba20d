//! Fuzzing without a compiler of its own: inputs of a corpus are changed at random, and those that come out in a new way
//! are kept and changed on. Part of the test suite for a few rounds that are always the same; see README.md for more.

mod answers;
mod config;
mod credential;
mod decide;
mod dpop;
mod headers;
mod http1;
mod http2;
mod jwt;
mod notice;
mod openapi;
mod path;
mod path_models;

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz");
/// The time for each target; without it a number of rounds.
const SECONDS: &str = "BEARWARD_FUZZ_SECONDS";
/// What chance begins with; without it, each timed run begins with another.
const SEED: &str = "BEARWARD_FUZZ_SEED";
const LONGEST_INPUT: usize = 4096;
const MOST_KEPT: usize = 2000;

/// A target: what it makes of an input in one word, by which inputs are told apart; or what is wrong.
type Checked = Result<String, String>;

/// Runs a target. `words` are pieces that its inputs are made of. Gives how often it came out in which way.
#[track_caller]
fn fuzz(name: &str, words: &[&str], rounds: u64, target: impl Fn(&[u8]) -> Checked) -> BTreeMap<String, u64> {
    let mut outcomes = BTreeMap::new();
    let mut kept = corpus(name);
    assert!(kept.len() >= 8, "the corpus of {name} is nearly empty");
    let mut told = HashSet::new();
    let mut check = |input: &[u8]| match caught(&target, input) {
        Ok(outcome) => {
            *outcomes.entry(outcome.clone()).or_default() += 1;
            told.insert(outcome)
        }
        Err(why) => fail(name, &target, input, &why),
    };
    for input in &kept {
        check(input);
    }
    let (time, seed) = (number(SECONDS).map(Duration::from_secs), number(SEED));
    let mut chance = Chance::new(seed.unwrap_or_else(|| if time.is_some() { started() } else { 1 }));
    let began = Instant::now();
    let mut round = 0;
    while time.map_or(round < rounds, |time| began.elapsed() < time) {
        let input = chance.changed(&kept, words);
        if check(&input) && kept.len() < MOST_KEPT {
            kept.push(input);
        }
        round += 1;
    }
    outcomes
}

fn caught(target: &impl Fn(&[u8]) -> Checked, input: &[u8]) -> Checked {
    catch_unwind(AssertUnwindSafe(|| target(input))).unwrap_or_else(|_| Err("it panics".to_owned()))
}

/// Makes the input smaller as long as it fails, keeps it, and tells.
#[track_caller]
fn fail(name: &str, target: &impl Fn(&[u8]) -> Checked, input: &[u8], why: &str) -> ! {
    let (mut input, mut why) = (input.to_vec(), why.to_owned());
    let mut size = input.len() / 2;
    while size > 0 {
        let mut at = 0;
        while at < input.len() {
            let mut shorter = input.clone();
            shorter.drain(at..(at + size).min(input.len()));
            match caught(target, &shorter) {
                Err(reason) => (input, why) = (shorter, reason),
                Ok(_) => at += size,
            }
        }
        size /= 2;
    }
    let folder = Path::new(FOLDER).join("failures").join(name);
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &input);
    let file: String = digest.as_ref().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(&file), &input).unwrap();
    panic!("{name}: {why}\ninput: {}\nkept as fuzz/failures/{name}/{file}", input.escape_ascii());
}

/// The files of a target, in an order that is always the same.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(FOLDER).join("corpus").join(name);
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is not a number: {text:?}")))
}

fn started() -> u64 {
    let seed = crate::support::token::now().unsigned_abs() ^ u64::from(std::process::id()) << 32;
    // Shown where a target fails.
    eprintln!("{SEED}={seed}");
    seed
}

/// Numbers by chance (xorshift64*).
struct Chance(u64);

impl Chance {
    fn new(seed: u64) -> Chance {
        Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Less than `end`; 0 for 0.
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16;
        usize::try_from(number).unwrap_or(0) % end.max(1)
    }

    fn word(&mut self, words: &[&str]) -> Vec<u8> {
        words[self.below(words.len())].as_bytes().to_vec()
    }

    /// A range of at most `most` in what is so long.
    fn range(&mut self, length: usize, most: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        start..start + self.below((length - start).min(most) + 1)
    }

    /// One of the inputs, changed a few times.
    fn changed(&mut self, kept: &[Vec<u8>], words: &[&str]) -> Vec<u8> {
        let mut input = kept[self.below(kept.len())].clone();
        for _ in 0..=self.below(4) {
            self.change(&mut input, kept, words);
        }
        input.truncate(LONGEST_INPUT);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, kept: &[Vec<u8>], words: &[&str]) {
        const TELLING: &[u8] = b"\0\t\n\r \x0b\x7f\x80\xff%/\\.;:,\"'{}[]#?@-_=+09azAZ";
        let at = self.below(input.len() + 1);
        match self.below(9) {
            0 if at < input.len() => input[at] ^= 1 << self.below(8),
            1 if at < input.len() => input[at] = TELLING[self.below(TELLING.len())],
            2 => input.insert(at, TELLING[self.below(TELLING.len())]),
            3 => {
                let range = self.range(input.len(), 16);
                drop(input.drain(range));
            }
            4 => {
                let copy = input[self.range(input.len(), 64)].to_vec();
                drop(input.splice(at..at, copy));
            }
            5 => {
                let other = kept[self.below(kept.len())].clone();
                let piece = other[self.range(other.len(), 256)].to_vec();
                drop(input.splice(at..at, piece));
            }
            6 => {
                let word = self.word(words);
                let range = self.range(input.len(), 12);
                drop(input.splice(range, word));
            }
            _ => {
                let word = self.word(words);
                drop(input.splice(at..at, word));
            }
        }
    }
}
