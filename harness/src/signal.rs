//! Signals by their names.

/// The signal's name, `SIGINT`; one without a name is `signal 34`.
pub fn name(signal: i32) -> String {
    signal_hook::low_level::signal_name(signal).map_or_else(|| format!("signal {signal}"), str::to_owned)
}
