//! What was typed, what it means, and all that is printed.
