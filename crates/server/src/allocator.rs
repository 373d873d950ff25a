//! The allocator of the process.
//!
//! Log entries are megabytes that one thread allocates and another frees a second later. The system's allocator gives each
//! of them back to the kernel and takes it again page by page; clearing those pages was a quarter of all time in
//! `assize bench adjudicate`. mimalloc keeps what was freed for a while.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Number of mimalloc's option `purge_delay`, as in its header.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
/// Freed memory goes back to the kernel after so many milliseconds. What was freed a moment ago goes with the rest when that
/// time is over, so it must be much longer than the seconds for which a busy log holds its entries.
const PURGE_AFTER: i64 = 60_000;

/// Sets it up. To be called before there are threads.
pub fn set_up() {
    // SAFETY: the option exists in every version of mimalloc 2 and 3, and takes any number.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, PURGE_AFTER) };
}
