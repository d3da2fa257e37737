//! Writes what happened: one file per format, whole or not at all.
