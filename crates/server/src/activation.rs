//! Sockets that a service manager opened for us and hands over, as sd_listen_fds(3) describes: `assize.socket` keeps
//! the MySQL port open while the server restarts.

use std::io;
use std::net::TcpListener as StdListener;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::net::TcpListener;

/// The first descriptor that is handed over.
const FIRST: RawFd = 3;
/// What systemd calls a socket that was given no name.
const UNNAMED: &str = "unknown";

/// The listening socket of this name (`FileDescriptorName=` of the socket unit), or a single one without a name.
/// `None` if there is none, or if it has been taken already.
///
/// # Errors
/// If what was handed over is not a listening TCP socket.
pub fn listener(name: &str) -> io::Result<Option<TcpListener>> {
    let variable = |name| std::env::var(name).unwrap_or_default();
    let handed = handed_over(
        std::process::id(),
        &variable("LISTEN_PID"),
        &variable("LISTEN_FDS"),
        &variable("LISTEN_FDNAMES"),
    );
    let Some(descriptor) = choose(&handed, name) else { return Ok(None) };
    // A descriptor has one owner: it is taken once in the life of the process.
    static IS_TAKEN: AtomicBool = AtomicBool::new(false);
    if IS_TAKEN.swap(true, Ordering::SeqCst) {
        return Ok(None);
    }
    // SAFETY: the service manager has opened this descriptor for this very process (LISTEN_PID), nothing else in it
    // knows the number, and `IS_TAKEN` lets only one caller come here.
    let owned = unsafe { OwnedFd::from_raw_fd(descriptor) };
    // It must not leak into processes that we start.
    rustix::io::fcntl_setfd(&owned, rustix::io::FdFlags::CLOEXEC)?;
    let listener = StdListener::from(owned);
    listener.local_addr()?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener).map(Some)
}

/// The descriptors meant for process `own`, with their names.
fn handed_over(own: u32, pid: &str, count: &str, names: &str) -> Vec<(RawFd, String)> {
    // The variables may have been meant for our parent.
    if pid.parse() != Ok(own) {
        return Vec::new();
    }
    let count: RawFd = count.parse().unwrap_or(0);
    let mut names = names.split(':').filter(|name| !name.is_empty());
    (FIRST..FIRST.saturating_add(count.clamp(0, 64)))
        .map(|descriptor| (descriptor, names.next().unwrap_or(UNNAMED).to_owned()))
        .collect()
}

fn choose(handed: &[(RawFd, String)], name: &str) -> Option<RawFd> {
    let named = handed.iter().find(|(_, n)| n == name);
    // A unit without FileDescriptorName= names its socket after itself.
    let only = || match handed {
        [only] if only.1 == UNNAMED || only.1.ends_with(".socket") => Some(only),
        _ => None,
    };
    named.or_else(only).map(|(descriptor, _)| *descriptor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_another_process_are_not_ours() {
        assert_eq!(handed_over(7, "8", "1", "mysql"), []);
        assert_eq!(handed_over(7, "", "", ""), []);
        assert_eq!(handed_over(7, "7", "nonsense", "mysql"), []);
        assert_eq!(handed_over(7, "7", "-3", "mysql"), []);
    }

    #[test]
    fn a_socket_is_found_by_its_name_or_because_it_is_the_only_one() {
        let two = handed_over(7, "7", "2", "http:mysql");
        assert_eq!(two, [(3, "http".to_owned()), (4, "mysql".to_owned())]);
        assert_eq!(choose(&two, "mysql"), Some(4));
        assert_eq!(choose(&two, "admin"), None);
        assert_eq!(choose(&handed_over(7, "7", "1", ""), "mysql"), Some(3));
        assert_eq!(choose(&handed_over(7, "7", "1", "assize.socket"), "mysql"), Some(3));
        assert_eq!(choose(&handed_over(7, "7", "1", "http"), "mysql"), None);
    }
}
