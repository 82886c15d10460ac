//! What goes wrong with bytes that are on a disk, while their node is down.

use raftkv_wal::{MemoryMedia, is_leftover};

use super::host::Host;
use crate::{invariants::Damage, rng::Rng};

/// What ends each batch, and proves what was durable before it (docs/wal.md).
const TRAILER_BYTES: usize = 32;
/// What a disk writes at once.
const SECTOR_BYTES: usize = 512;
/// Among so many of the newest writes most damage falls, where the least proves it.
const RECENT: usize = 8;
/// A disk keeps no more versions than this.
const VERSIONS_MAX: usize = 8;

/// A segment as it was on the disk at one time, without the zeros at its end.
#[derive(Debug)]
struct Version {
    name: String,
    bytes: Vec<u8>,
}

/// Earlier versions of a disk's newest segments, spread over its life.
#[derive(Debug)]
pub(super) struct Versions {
    kept: Vec<Version>,
    /// How often one could have been kept since the last one was.
    passed: u64,
    /// One in so many is kept.
    every: u64,
}

impl Versions {
    pub(super) fn new() -> Versions {
        Versions {
            kept: Vec::new(),
            passed: 0,
            every: 1,
        }
    }

    /// All that the disk shows is durable now.
    pub(super) fn pass(&mut self, disk: &MemoryMedia) {
        self.passed += 1;
        if self.passed >= self.every {
            self.passed = 0;
            self.keep(disk);
        }
    }

    /// Keeps the newest segment as it is on the disk. With too many, every other one goes, and
    /// from then on half as many come.
    pub(super) fn keep(&mut self, disk: &MemoryMedia) {
        let names = disk.names();
        let Some(name) = names.iter().rfind(|name| is_segment(name)) else {
            return;
        };
        let bytes = disk.written(name).expect("it has a name");
        let name = name.clone();
        self.kept.push(Version { name, bytes });
        if self.kept.len() > VERSIONS_MAX {
            let mut number = 0;
            self.kept.retain(|_| {
                number += 1;
                number % 2 == 1
            });
            self.every *= 2;
        }
    }
}

fn is_segment(name: &str) -> bool {
    name.ends_with(".wal")
}

/// What it is that a segment is an old one, or missing: a later one would say so.
fn stale(is_newest: bool) -> Damage {
    match is_newest {
        true => Damage::Stale,
        false => Damage::Within,
    }
}

/// Some bytes of a file are others now.
struct Harm {
    what: &'static str,
    at: usize,
    end: usize,
}

impl Host {
    /// Damages a file of a node that is down, as if it had always been so.
    pub(super) fn damage(&mut self, rng: &mut Rng) -> Option<String> {
        assert!(self.replica.is_none(), "n{} is up", self.id);
        match rng.between(0, 9) {
            0 => self.lose_a_file(rng).or_else(|| self.stale_file(rng)),
            1 | 2 => self.stale_file(rng),
            _ => self.damage_bytes(rng),
        }
    }

    /// A file is an earlier version of itself: its later writes were acknowledged and lost, or
    /// somebody restored it.
    fn stale_file(&mut self, rng: &mut Rng) -> Option<String> {
        let names = self.disk.names();
        let newest = names.iter().rfind(|name| is_segment(name))?;
        let versions = || self.versions.kept.iter();
        // Seldom another: it has a successor that says where it ended.
        let of_newest: Vec<&Version> = versions().filter(|old| old.name == *newest).collect();
        let of_all: Vec<&Version> = versions().collect();
        let of = if of_newest.is_empty() || rng.chance(200) {
            of_all
        } else {
            of_newest
        };
        let Version { name, bytes: old } = of.get(rng.draw() as usize % of.len().max(1))?;
        let mut bytes = self.disk.contents(name)?;
        let now = self.disk.written(name)?;
        if *old == now {
            return None;
        }
        bytes[..now.len()].fill(0);
        bytes[..old.len()].copy_from_slice(old);
        self.disk.set_contents(name, bytes);
        self.damage = Some(stale(name == newest));
        Some(format!("an old version of {name}, of {} bytes", old.len()))
    }

    /// A file is not there: its name was acknowledged and lost. Without any, a disk cannot be told
    /// from a new one, so one is left.
    fn lose_a_file(&mut self, rng: &mut Rng) -> Option<String> {
        let names = self.disk.names();
        let segments: Vec<&String> = names.iter().filter(|name| is_segment(name)).collect();
        if segments.len() < 2 {
            return None;
        }
        let name = match rng.chance(500) {
            true => segments[segments.len() - 1],
            false => rng.pick_ref(&segments),
        };
        self.disk.delete(name);
        self.damage = Some(stale(name == segments[segments.len() - 1]));
        Some(format!("no {name}"))
    }

    fn damage_bytes(&mut self, rng: &mut Rng) -> Option<String> {
        let mut names = self.disk.names();
        // What they hold nobody reads.
        names.retain(|name| !is_leftover(name));
        let name = names.get(rng.draw() as usize % names.len().max(1))?.clone();
        let mut bytes = self.disk.contents(&name)?;
        let used = self.disk.written(&name)?.len();
        let Harm { what, at, end } = match rng.between(0, 6) {
            0 | 1 => self.misdirect(&mut bytes, &name, &names, rng)?,
            2 => self.lose_writes(&mut bytes, used, &name, rng)?,
            _ if used == 0 => return None,
            _ => self.change(&mut bytes, used, &name, rng),
        };
        self.disk.set_contents(&name, bytes);
        self.damage = Some(match end {
            _ if !is_segment(&name) => Damage::Snapshot,
            end if end + TRAILER_BYTES > used => Damage::ToTheEnd,
            _ => Damage::Within,
        });
        Some(format!("{what} at {at} of {name}"))
    }

    /// A place in a file, more often than not within what was written last.
    fn place(&self, name: &str, used: usize, rng: &mut Rng) -> usize {
        let places = self.disk.places(name);
        let recent = &places[places.len().saturating_sub(RECENT)..];
        let at = match recent {
            [_, ..] if rng.chance(600) => {
                let write = rng.pick_ref(recent);
                rng.between(
                    write.start as u64,
                    write.end.max(write.start + 1) as u64 - 1,
                )
            }
            _ => rng.draw(),
        };
        at as usize % used
    }

    /// Changes bytes of a file by themselves, or cuts it short.
    fn change(&self, bytes: &mut Vec<u8>, used: usize, name: &str, rng: &mut Rng) -> Harm {
        let at = self.place(name, used, rng);
        let sector = used.min(at + SECTOR_BYTES);
        let (what, end) = match rng.between(0, 3) {
            0 => {
                bytes[at] ^= 1 << rng.between(0, 7);
                ("a flipped bit", at + 1)
            }
            1 => {
                bytes[at..sector].fill(0);
                ("a zeroed sector", sector)
            }
            2 => {
                let from = rng.between(0, used as u64 - 1) as usize;
                let len = (sector - at).min(used - from);
                bytes.copy_within(from..from + len, at);
                ("bytes from elsewhere", at + len)
            }
            _ => {
                bytes.truncate(at);
                ("a file cut short", used)
            }
        };
        Harm { what, at, end }
    }

    /// A copy of one of all writes lands where another one went.
    fn misdirect(
        &self,
        bytes: &mut [u8],
        name: &str,
        names: &[String],
        rng: &mut Rng,
    ) -> Option<Harm> {
        let places = self.disk.places(name);
        let (first, last) = (places.first()?, places.last()?);
        let at = match rng.between(0, 3) {
            0 => first.start,
            1 => last.start,
            _ => rng.pick_ref(&places).start,
        };
        let source = if rng.chance(500) {
            name
        } else {
            rng.pick_ref(names)
        };
        let from = match self.disk.places(source) {
            places if places.is_empty() => return None,
            places if rng.chance(300) => places[0].clone(),
            places => rng.pick_ref(&places).clone(),
        };
        let written = self.disk.contents(source)?[from].to_vec();
        let end = (at + written.len()).min(bytes.len());
        bytes[at..end].copy_from_slice(&written[..end - at]);
        let what = "a misdirected write";
        Some(Harm { what, at, end })
    }

    /// Some sectors are as they once were: writes to them were acknowledged and lost, the zeros
    /// among them that a recovery left behind the end.
    fn lose_writes(
        &self,
        bytes: &mut [u8],
        used: usize,
        name: &str,
        rng: &mut Rng,
    ) -> Option<Harm> {
        let versions = self.versions.kept.iter();
        let versions: Vec<&Version> = versions.filter(|old| old.name == name).collect();
        let old = versions.get(rng.draw() as usize % versions.len().max(1))?;
        let old_at = |at: usize| old.bytes.get(at).copied().unwrap_or(0);
        let differs = |at: &usize| bytes[*at] != old_at(*at);
        // Behind both lie zeros, or bytes of an earlier segment.
        let upto = old.bytes.len().max(used);
        let first = (0..upto).find(differs)?;
        let last = (first..upto).rfind(differs)?;
        let sector = rng.between(first as u64, last as u64) as usize / SECTOR_BYTES;
        let from = sector * SECTOR_BYTES;
        let upto = (from + rng.between(1, 8) as usize * SECTOR_BYTES).min(upto);
        let at = (from..upto).find(differs)?;
        let end = (at..upto).rfind(differs)? + 1;
        for (at, byte) in (from..).zip(&mut bytes[from..upto]) {
            *byte = old_at(at);
        }
        let what = "lost writes";
        Some(Harm { what, at, end })
    }
}

#[cfg(test)]
mod tests {
    use raftkv_wal::{Media, SegmentFile};

    use super::*;

    #[test]
    fn few_versions_are_kept_and_they_are_spread_over_the_life_of_a_disk() {
        let mut disk = MemoryMedia::new();
        let mut file = disk.take_prepared(4096).unwrap();
        disk.publish("0000000001.wal").unwrap();
        let mut versions = Versions::new();
        for at in 0..1000 {
            file.write_at(at, &[1]).unwrap();
            versions.pass(&disk);
            assert!(versions.kept.len() <= VERSIONS_MAX);
        }
        let lengths: Vec<usize> = versions.kept.iter().map(|old| old.bytes.len()).collect();
        assert!(lengths.is_sorted() && lengths.len() > VERSIONS_MAX / 2);
        let widest = lengths.windows(2).map(|pair| pair[1] - pair[0]).max();
        assert!(widest.unwrap() < 500, "{lengths:?}");
        assert!(lengths[0] < 300, "{lengths:?}");
    }
}
