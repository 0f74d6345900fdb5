//! Lines for the host's log. In a native test they go to standard error.
//!
//! ```
//! flumen_sdk::warn!("{} rows without a key", 3);
//! ```

use std::fmt;

pub use crate::bindings::logging::Level;

#[doc(hidden)]
pub fn write(level: Level, message: fmt::Arguments<'_>) {
    #[cfg(target_family = "wasm")]
    crate::bindings::logging::log(level, &message.to_string());
    #[cfg(not(target_family = "wasm"))]
    eprintln!("{level:?}: {message}");
}

#[macro_export]
macro_rules! debug {
    ($($message:tt)*) => { $crate::log::write($crate::log::Level::Debug, format_args!($($message)*)) };
}

#[macro_export]
macro_rules! info {
    ($($message:tt)*) => { $crate::log::write($crate::log::Level::Info, format_args!($($message)*)) };
}

#[macro_export]
macro_rules! warn {
    ($($message:tt)*) => { $crate::log::write($crate::log::Level::Warn, format_args!($($message)*)) };
}

#[macro_export]
macro_rules! error {
    ($($message:tt)*) => { $crate::log::write($crate::log::Level::Error, format_args!($($message)*)) };
}
