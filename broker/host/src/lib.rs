//! Plugins: compile, instance, limits, capabilities, pumps, reload
