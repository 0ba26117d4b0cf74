//! What the planted suites and the tests that run them share.
