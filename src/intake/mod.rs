//! Reads ids from files and streams and hands on rows: every line becomes a row, good or bad.
