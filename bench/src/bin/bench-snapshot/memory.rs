//! How much memory this process has of its own.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

/// This process's anonymous memory, sampled all the time.
pub struct Memory {
    peak_kib: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
}

impl Memory {
    pub fn watch() -> Memory {
        let memory = Memory {
            peak_kib: Arc::default(),
            is_over: Arc::default(),
        };
        let (peak, is_over) = (Arc::clone(&memory.peak_kib), Arc::clone(&memory.is_over));
        thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                peak.fetch_max(anonymous_kib(), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(5));
            }
        });
        memory
    }

    pub fn now_mib(&self) -> u64 {
        anonymous_kib() >> 10
    }

    pub fn forget_peak(&self) {
        self.peak_kib.store(anonymous_kib(), Ordering::Relaxed);
    }

    pub fn peak_mib(&self) -> u64 {
        self.peak_kib.load(Ordering::Relaxed) >> 10
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

fn anonymous_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
    number.unwrap_or(0)
}
