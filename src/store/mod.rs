//! The journal and the ledger: one SQLite file, written by one thread.
