//! Speaks to the service: cancels, single reads and batch reads, each answered by a classified reply.
