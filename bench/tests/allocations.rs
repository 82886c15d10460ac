//! What a commit allocates, by an allocator that counts: in one process and one thread, all members
//! together.

use bytes::Bytes;
use raftkv_bench::local::LocalCluster;
use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as for this call.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as for this call.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as for this call.
        unsafe { System.realloc(pointer, layout, bytes) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const MEMBERS: usize = 3;
const WARM_UP: usize = 4_096;
const PUTS: usize = 16_384;

/// Allocations per put, once everything that grows has grown.
fn per_put(outstanding: usize) -> f64 {
    let mut cluster = LocalCluster::new(MEMBERS, Duration::ZERO);
    let keys: Vec<Bytes> = (0..64).map(|n| format!("key-{n:04}").into()).collect();
    let value = Bytes::from(vec![7; 256]);
    let mut put = |puts: usize| {
        for batch in 0..puts / outstanding {
            for n in 0..outstanding {
                let key = keys[(batch + n) % keys.len()].clone();
                cluster.put(key, value.clone());
            }
            let mut done = 0;
            while done < outstanding {
                done += cluster.turn();
            }
        }
    };
    put(WARM_UP);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    put(PUTS);
    (ALLOCATIONS.load(Ordering::Relaxed) - before) as f64 / PUTS as f64
}

#[test]
fn a_put_in_the_place_of_another_allocates_next_to_nothing() {
    let [alone, among_64, among_1024] = [1, 64, 1_024].map(per_put);
    println!(
        "allocations per put on {MEMBERS} members: {alone:.2} alone, {among_64:.2} of 64, \
         {among_1024:.2} of 1,024"
    );
    assert!(among_1024 < 0.08, "{among_1024}");
    assert!(among_64 < 0.35, "{among_64}");
    assert!(alone < 6.0, "{alone}");
}
