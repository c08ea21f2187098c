// SPDX-License-Identifier: MIT
//! The same questions as bench/access.c and bench/edit.c, asked of the Rust crate vm-memory: 8 bytes of guest RAM,
//! and one more region among N, then one less. Its collections of regions are immutable: an edit makes the next one.

use std::hint::black_box;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap, GuestRegionMmap, MmapRegion};

const GIB: u64 = 1 << 30;
const ROUNDS: usize = 5;

/// CPU time of this thread.
fn now_ns() -> f64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut t) };
    t.tv_sec as f64 * 1e9 + t.tv_nsec as f64
}

fn median(mut values: [f64; ROUNDS]) -> f64 {
    values.sort_by(|a, b| a.partial_cmp(b).unwrap());
    values[ROUNDS / 2]
}

fn next_random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

fn open_memory(regions: u64) -> GuestMemoryMmap {
    let size = GIB / regions;
    let ranges: Vec<_> = (0..regions).map(|i| (GuestAddress(i * size), size as usize)).collect();
    let memory = GuestMemoryMmap::from_ranges(&ranges).unwrap();
    let page = [1u8; 4096];
    for address in (0..GIB).step_by(4096) {
        memory.write_slice(&page, GuestAddress(address)).unwrap();
    }
    memory
}

fn time_reads(memory: &GuestMemoryMmap, count: u64, address_of: impl Fn(u64) -> u64) -> f64 {
    let mut state = 88172645463325252;
    let mut sum = 0u64;
    let from = now_ns();
    for _ in 0..count {
        let address = address_of(next_random(&mut state));
        sum = sum.wrapping_add(memory.read_obj::<u64>(GuestAddress(address)).unwrap());
    }
    black_box(sum);
    (now_ns() - from) / count as f64
}

fn reads(regions: u64) {
    let memory = open_memory(regions);
    let pages: Vec<u64> = (0..64).map(|p| p * (GIB / 64) + p * 37 % 4096 * 4096).collect();
    let hot = [(); ROUNDS].map(|_| time_reads(&memory, 20_000_000, |x| pages[(x % 64) as usize] + (x >> 8 & 0xff8)));
    let random = [(); ROUNDS].map(|_| time_reads(&memory, 5_000_000, |x| x & (GIB - 8)));
    println!("hot    {regions:3} regions   vm-memory read_obj {:6.2} ns", median(hot));
    println!("random {regions:3} regions   vm-memory read_obj {:6.2} ns", median(random));
}

fn edits(n: u64) {
    // All are of one page: what is measured is the collection of regions.
    let page = |i: u64| {
        let mapping = MmapRegion::<()>::new(4096).unwrap();
        std::sync::Arc::new(GuestRegionMmap::new(mapping, GuestAddress(i * 8192)).unwrap())
    };
    let pages: Vec<_> = (0..n).map(page).collect();
    let mut memory = GuestMemoryMmap::new();
    let from = now_ns();
    for region in &pages {
        memory = memory.insert_region(region.clone()).unwrap();
    }
    for i in 0..n {
        memory = memory.remove_region(GuestAddress(i * 8192), 4096).unwrap().0;
    }
    println!("edit N = {n:5}: vm-memory {:.2} us", (now_ns() - from) / n as f64 / 2000.0);
}

fn main() {
    reads(1);
    reads(64);
    edits(1024);
    edits(16384);
}
