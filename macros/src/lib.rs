//! The attributes of robust-test.
