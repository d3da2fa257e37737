//! The run: a synchronous core that decides, and a shell that performs.
