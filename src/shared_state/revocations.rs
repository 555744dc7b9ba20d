//! Revocations that all replicas know.
//!
//! In the server: a hash of them by id, as lines of JSON; a stream of changes, which each replica reads on from where
//! it was; the ids of those that were lifted, so that a replica that was cut off doesn't bring them back; and when those
//! with an end are over. Who has lost its place in the stream, or finds it cut off or begun anew, reads everything again
//! and writes what is missing: a server that comes back empty is filled by who knows.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use redis::{Script, cmd, pipe};

use super::{RedisSettings, link::Link};
use crate::token::{
    now,
    revocation::{Change, NotRevoked, Revocation, Revocations},
};

// One slot of a cluster: a script has to see all of them.
const HELD: &str = "{bearward:revocations}";
const CHANGES: &str = "{bearward:revocations}:changes";
const LIFTED: &str = "{bearward:revocations}:lifted";
const ENDS: &str = "{bearward:revocations}:ends";

/// At once: a step of this size holds the server up for less than a millisecond.
const BATCH: usize = 200;
/// A line of the server's that is longer isn't read.
const LONGEST_LINE: usize = 64 << 10;

/// ARGV: id, line, end (empty: none), how many follow whose place it takes, their ids; and so on. These aren't lifted: who
/// reads the one finds out by itself which others it makes needless.
const ADD: &str = "
local i = 1
while i <= #ARGV do
  local id, line, ends, olds = ARGV[i], ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3])
  if not redis.call('ZSCORE', KEYS[3], id) then
    if redis.call('HSETNX', KEYS[1], id, line) == 1 then
      if ends ~= '' then redis.call('ZADD', KEYS[4], ends, id) end
      redis.call('XADD', KEYS[2], 'MAXLEN', '~', '10000', '*', 'add', line)
    end
    for old = i + 4, i + 3 + olds do
      redis.call('HDEL', KEYS[1], ARGV[old])
      redis.call('ZREM', KEYS[4], ARGV[old])
    end
  end
  i = i + 4 + olds
end";

/// ARGV: now, ids. Lifted ones are remembered for 30 days, the last 100,000 of them.
const LIFT: &str = "
for i = 2, #ARGV do
  redis.call('HDEL', KEYS[1], ARGV[i])
  redis.call('ZREM', KEYS[4], ARGV[i])
  redis.call('ZADD', KEYS[3], ARGV[1], ARGV[i])
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', '10000', '*', 'lift', ARGV[i])
end
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', ARGV[1] - 2592000)
redis.call('ZREMRANGEBYRANK', KEYS[3], 0, -100001)";

/// ARGV: now, how many. How many were over.
const END: &str = "
local over = redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
for _, id in ipairs(over) do
  redis.call('HDEL', KEYS[1], id)
  redis.call('ZREM', KEYS[4], id)
end
return #over";

/// A connection, and how far the changes were read.
pub(super) struct Session {
    link: Link,
    scripts: Scripts,
    /// The last change that is known here. None: there was none.
    last: Option<String>,
}

struct Scripts {
    add: Script,
    lift: Script,
    end: Script,
}

/// An entry of the stream: its id, names and values in turn.
type Entry = (String, Vec<(String, Vec<u8>)>);

impl Session {
    /// Both sides know the same when this returns.
    ///
    /// # Errors
    /// In words for the operator, here and below.
    pub(super) async fn begin(settings: &RedisSettings, revocations: &Revocations) -> Result<Session, String> {
        let link = Link::connect(settings).await?;
        let scripts = Scripts { add: Script::new(ADD), lift: Script::new(LIFT), end: Script::new(END) };
        let mut session = Session { link, scripts, last: None };
        session.tell(revocations).await?;
        session.read_all(revocations).await?;
        Ok(session)
    }

    /// Tells what changed here and reads what others changed.
    pub(super) async fn go_on(&mut self, revocations: &Revocations) -> Result<(), String> {
        self.tell(revocations).await?;
        loop {
            // With the one that is known: if it isn't there, others may be missing.
            let from = self.last.as_deref().unwrap_or("-");
            let mut ask = pipe();
            ask.cmd("XRANGE").arg(CHANGES).arg(from).arg("+").arg("COUNT").arg(BATCH + 1);
            ask.cmd("EXISTS").arg(HELD);
            let (entries, is_held): (Vec<Entry>, bool) = ask.query_async(&mut self.link).await.map_err(said)?;
            let mut entries = entries.into_iter();
            let is_gapless = self.last.is_none() || entries.next().map(|(id, _)| id) == self.last;
            // A server may forget one of its keys alone, to have room.
            if !is_gapless || !is_held && !revocations.is_empty() {
                return self.read_all(revocations).await;
            }
            let mut count = 0;
            for (id, fields) in entries {
                count += 1;
                for (name, value) in fields {
                    take(revocations, &name, &value);
                }
                self.last = Some(id);
            }
            if count < BATCH {
                return Ok(());
            }
        }
    }

    /// Removes those that are over.
    pub(super) async fn sweep(&mut self) -> Result<(), String> {
        loop {
            let mut call = self.scripts.end.prepare_invoke();
            with_keys(&mut call).arg(now()).arg(BATCH);
            if call.invoke_async::<usize>(&mut self.link).await.map_err(said)? < BATCH {
                return Ok(());
            }
        }
    }

    async fn tell(&mut self, revocations: &Revocations) -> Result<(), String> {
        let journal = revocations.journal();
        loop {
            let (changes, end) = journal.first(BATCH);
            if changes.is_empty() {
                return Ok(());
            }
            // In their order, as one after another may be about the same.
            for run in changes.chunk_by(|one, other| one.is_added() == other.is_added()) {
                let added: Vec<_> = run.iter().filter_map(Change::added).collect();
                self.add(&added).await?;
                self.lift(run.iter().filter_map(Change::lifted)).await?;
            }
            journal.sent(end);
        }
    }

    async fn add(&mut self, revocations: &[(&Revocation, &[Arc<str>])]) -> Result<(), String> {
        for batch in revocations.chunks(BATCH) {
            let mut call = self.scripts.add.prepare_invoke();
            with_keys(&mut call);
            for (revocation, instead_of) in batch {
                let ends = revocation.expires_at.map_or_else(String::new, |end| end.to_string());
                call.arg(&*revocation.id).arg(revocation.to_line()).arg(ends).arg(instead_of.len());
                for old in *instead_of {
                    call.arg(&**old);
                }
            }
            call.invoke_async::<()>(&mut self.link).await.map_err(said)?;
        }
        Ok(())
    }

    async fn lift(&mut self, ids: impl Iterator<Item = &str>) -> Result<(), String> {
        let ids: Vec<&str> = ids.collect();
        if ids.is_empty() {
            return Ok(());
        }
        let mut call = self.scripts.lift.prepare_invoke();
        with_keys(&mut call).arg(now());
        for id in ids {
            call.arg(id);
        }
        call.invoke_async::<()>(&mut self.link).await.map_err(said)
    }

    async fn read_all(&mut self, revocations: &Revocations) -> Result<(), String> {
        // First, so that what is changed meanwhile is read again.
        let mut ask = cmd("XREVRANGE");
        let ask = ask.arg(CHANGES).arg("+").arg("-").arg("COUNT").arg(1);
        let last: Vec<Entry> = ask.query_async(&mut self.link).await.map_err(said)?;
        let lifted: HashSet<String> =
            cmd("ZRANGE").arg(LIFTED).arg(0).arg(-1).query_async(&mut self.link).await.map_err(said)?;
        let (mut there, mut without_room) = (HashSet::new(), Vec::new());
        let mut cursor = "0".to_owned();
        loop {
            let mut ask = cmd("HSCAN");
            let ask = ask.arg(HELD).arg(&cursor).arg("COUNT").arg(BATCH);
            let (next, lines): (String, HashMap<String, Vec<u8>>) =
                ask.query_async(&mut self.link).await.map_err(said)?;
            for (id, line) in lines {
                if !lifted.contains(&id) && learn(revocations, &line).is_err() {
                    without_room.push(line);
                }
                there.insert(id);
            }
            if next == "0" {
                break;
            }
            cursor = next;
        }
        // Last: what was ended anew after it had been lifted is known by now, and where the way breaks off nothing is lifted.
        for id in &lifted {
            revocations.lift_here(id);
        }
        without_room.iter().for_each(|line| take(revocations, "add", line));
        let held = revocations.list();
        let missing: Vec<(&Revocation, &[Arc<str>])> =
            held.iter().filter(|one| !there.contains(&*one.id)).map(|one| (&**one, &[][..])).collect();
        self.add(&missing).await?;
        self.last = last.into_iter().next().map(|(id, _)| id);
        Ok(())
    }
}

/// One field of a change. What can't be read is left out: it may be a later version's.
fn take(revocations: &Revocations, name: &str, value: &[u8]) {
    match name {
        "add" => {
            if let Err(why) = learn(revocations, value) {
                tracing::error!("another replica's revocation is not in force here: {why}");
            }
        }
        "lift" => {
            if let Ok(id) = std::str::from_utf8(value) {
                revocations.lift_here(id);
            }
        }
        _ => {}
    }
}

/// The one of this line. What can't be read is left out.
///
/// # Errors
/// There is no room for it.
fn learn(revocations: &Revocations, line: &[u8]) -> Result<(), NotRevoked> {
    match (line.len() <= LONGEST_LINE).then(|| Revocation::from_line(line)).flatten() {
        Some(revocation) => revocations.learn(revocation),
        None => {
            tracing::error!("a revocation in Redis can't be read: left out");
            Ok(())
        }
    }
}

fn with_keys<'c, 's>(call: &'c mut redis::ScriptInvocation<'s>) -> &'c mut redis::ScriptInvocation<'s> {
    call.key(HELD).key(CHANGES).key(LIFTED).key(ENDS)
}

fn said(error: redis::RedisError) -> String {
    error.to_string()
}
