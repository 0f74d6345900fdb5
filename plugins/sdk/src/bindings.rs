//! Bindings of `flumen:plugin`, generated from `wit/` when the SDK is compiled.
//!
//! One module for all that a plugin may import, one for each interface that it may export: the macros
//! of [`export`](crate::export) put together what a kind needs, and the linker unites the worlds.

#![allow(
    missing_docs,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    clippy::all,
    clippy::undocumented_unsafe_blocks
)]

pub mod imports {
    wit_bindgen::generate!({
        inline: "
            package flumen:sdk;
            world imports {
                import flumen:plugin/types@0.1.0;
                import flumen:plugin/logging@0.1.0;
                import flumen:plugin/metrics@0.1.0;
                import flumen:plugin/status@0.1.0;
                import flumen:plugin/sql@0.1.0;
            }",
        path: "wit",
        generate_all,
        generate_unused_types: true,
        runtime_path: "::flumen_sdk::__rt",
        pub_export_macro: true,
    });
}

pub use imports::flumen::plugin::{logging, metrics, sql, status, types};

macro_rules! exports {
    ($($module:ident: $world:literal, $macro:literal;)*) => {$(
        pub mod $module {
            wit_bindgen::generate!({
                inline: $world,
                path: "wit",
                with: { "flumen:plugin/types@0.1.0": ::flumen_sdk::bindings::types },
                runtime_path: "::flumen_sdk::__rt",
                pub_export_macro: true,
                export_macro_name: $macro,
                default_bindings_module: "::flumen_sdk::bindings",
            });
        }
    )*};
}

exports! {
    lifecycle: "package flumen:sdk; world lifecycle { export flumen:plugin/lifecycle@0.1.0; }", "export_lifecycle";
    filter: "package flumen:sdk; world filter { export flumen:plugin/filter@0.1.0; }", "export_filter";
    transform: "package flumen:sdk; world transform { export flumen:plugin/transform@0.1.0; }", "export_transform";
    source: "package flumen:sdk; world source { export flumen:plugin/source@0.1.0; }", "export_source";
    sink: "package flumen:sdk; world sink { export flumen:plugin/sink@0.1.0; }", "export_sink";
}
