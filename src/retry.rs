//! What a reply means for a row: pure verdicts.
