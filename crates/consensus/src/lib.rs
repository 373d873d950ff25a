//! consensus (being laid).
