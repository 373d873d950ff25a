//! Free ports below the range from which the kernel takes ports for outgoing connections: a node that is down for a
//! while must find its port free when it comes back.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

const FIRST: u16 = 20_000;
const PORTS: u16 = 12_000;

/// A port that nobody listens on. Test processes begin at different places, so that they seldom meet.
///
/// # Panics
/// If loopback has no free port left.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let base = (std::process::id() % u32::from(PORTS)) as u16;
    for _ in 0..PORTS {
        let offset = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (base.wrapping_mul(37) % PORTS + offset % PORTS) % PORTS;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("loopback has no free port from {FIRST} on");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ_and_stay_out_of_the_kernels_way() {
        let ports: std::collections::BTreeSet<u16> = (0..20).map(|_| free_port()).collect();
        assert_eq!(ports.len(), 20);
        assert!(ports.iter().all(|port| (FIRST..FIRST + PORTS).contains(port)));
    }
}
