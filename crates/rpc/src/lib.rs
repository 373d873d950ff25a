//! How the nodes of a cluster talk: frames over TLS, and the ports of `assize-ports` spoken in them.
#![allow(clippy::disallowed_methods)] // This floor has clocks and threads.
