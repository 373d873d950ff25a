//! adjudicator (being laid).
