//! A prediction allocates nothing once the predictor is made, explanation included; and how long it takes.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

use predictor::recording::RunKind;
use predictor::{Model, N_METRICS, Predictor};

mod synthetic;

struct Counting;

thread_local! {
    // By thread: the test harness has others.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes on to the system's allocator unchanged; the counter is a plain cell of this thread, which
// needs neither allocation nor a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's contract is System's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's contract is System's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_prediction_allocates_nothing() {
    let run = synthetic::run(9, RunKind::Ramp, "latency", 0);
    let mut predictor = Predictor::new(Arc::new(Model::default_model().unwrap()));
    let before = ALLOCATIONS.with(Cell::get);
    let (begin, mut longest) = (Instant::now(), 0);
    for sample in &run.samples {
        predictor.hear(&[1.0; N_METRICS]);
        let step = Instant::now();
        predictor.push(sample);
        longest = longest.max(step.elapsed().as_micros());
    }
    let each = begin.elapsed().as_micros() as f64 / run.samples.len() as f64;
    let explain = Instant::now();
    predictor.explain();
    let explain = explain.elapsed().as_micros();
    assert_eq!(ALLOCATIONS.with(Cell::get) - before, 0);
    println!("a sample {each:.1} us, the longest {longest} us, an explanation {explain} us");
}
