//! The macros that make a type the plugin of its crate. Outside wasm they only check that the type is
//! of the kind, so that `cargo test` needs no host.

/// Exports a [`Filter`](crate::Filter).
#[macro_export]
macro_rules! export_filter {
    ($plugin:ty) => {
        $crate::__export! { $plugin as $crate::Filter, $plugin, ::core::result::Result::Ok, filter => {
            fn filter(
                batch: $crate::bindings::types::Batch,
            ) -> ::core::result::Result<
                $crate::bindings::filter::exports::flumen::plugin::filter::Kept,
                $crate::bindings::types::Error,
            > {
                with(|plugin| $crate::filter::call(plugin, batch))
            }
        } }
    };
}

/// Exports a [`Transform`](crate::Transform).
#[macro_export]
macro_rules! export_transform {
    ($plugin:ty) => {
        $crate::__export! { $plugin as $crate::Transform, $plugin, ::core::result::Result::Ok, transform => {
            fn process(
                batch: $crate::bindings::types::Batch,
            ) -> ::core::result::Result<
                $crate::bindings::transform::exports::flumen::plugin::transform::Processed,
                $crate::bindings::types::Error,
            > {
                with(|plugin| $crate::transform::call(plugin, batch))
            }
        } }
    };
}

/// Exports a [`Source`](crate::Source).
#[macro_export]
macro_rules! export_source {
    ($plugin:ty) => {
        $crate::__export! { $plugin as $crate::Source, $plugin, ::core::result::Result::Ok, source => {
            fn open(
                cursor: ::core::option::Option<::std::vec::Vec<u8>>,
            ) -> ::core::result::Result<(), $crate::bindings::types::Error> {
                with(|plugin| $crate::source::open(plugin, cursor))
            }

            fn poll(
                max_bytes: u32,
            ) -> ::core::result::Result<
                $crate::bindings::source::exports::flumen::plugin::source::Polled,
                $crate::bindings::types::Error,
            > {
                with(|plugin| $crate::source::poll(plugin, max_bytes))
            }

            fn committed(
                cursor: ::std::vec::Vec<u8>,
            ) -> ::core::result::Result<(), $crate::bindings::types::Error> {
                with(|plugin| $crate::source::committed(plugin, cursor))
            }
        } }
    };
}

/// Exports a [`Sink`](crate::Sink).
#[macro_export]
macro_rules! export_sink {
    ($plugin:ty) => {
        $crate::__export! { $plugin as $crate::Sink, $plugin, ::core::result::Result::Ok, sink => {
            fn write(
                batch: $crate::bindings::types::Batch,
            ) -> ::core::result::Result<
                ::std::vec::Vec<$crate::bindings::types::Rejected>,
                $crate::bindings::types::Error,
            > {
                with(|plugin| $crate::sink::call(plugin, batch))
            }
        } }
    };
}

/// Exports an [`SqlSink`](crate::SqlSink).
#[macro_export]
macro_rules! export_sql_sink {
    ($plugin:ty) => {
        $crate::__export! {
            $plugin as $crate::SqlSink, $crate::sink::Connected<$plugin>, $crate::sink::connect, sink => {
                fn write(
                    batch: $crate::bindings::types::Batch,
                ) -> ::core::result::Result<
                    ::std::vec::Vec<$crate::bindings::types::Rejected>,
                    $crate::bindings::types::Error,
                > {
                    with(|plugin| $crate::sink::call_sql(plugin, batch))
                }
            }
        }
    };
}

/// `plugin as trait, what is kept between calls, how it is made of a plugin, kind => its functions`.
#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    ($plugin:ty as $trait:path, $kept:ty, $make:expr, $kind:ident => { $($functions:item)* }) => {
        const _: fn() = || {
            fn is<P: $trait>() {}
            is::<$plugin>();
        };

        #[cfg(target_family = "wasm")]
        const _: () = {
            struct Exported;

            ::std::thread_local! {
                static PLUGIN: ::core::cell::RefCell<::core::option::Option<$kept>> =
                    const { ::core::cell::RefCell::new(::core::option::Option::None) };
            }

            fn with<R>(act: impl FnOnce(&mut $kept) -> R) -> R {
                PLUGIN.with_borrow_mut(|plugin| act(plugin.as_mut().expect("the host calls init first")))
            }

            impl $crate::bindings::lifecycle::exports::flumen::plugin::lifecycle::Guest for Exported {
                fn about() -> $crate::bindings::lifecycle::exports::flumen::plugin::lifecycle::PluginInfo {
                    $crate::plugin::about::<$plugin>(
                        ::core::env!("CARGO_PKG_NAME"),
                        ::core::env!("CARGO_PKG_VERSION"),
                        ::core::env!("CARGO_PKG_DESCRIPTION"),
                    )
                }

                fn init(
                    setup: $crate::bindings::lifecycle::exports::flumen::plugin::lifecycle::Setup,
                ) -> ::core::result::Result<(), $crate::bindings::types::Error> {
                    let made = $crate::plugin::init::<$plugin>(setup).and_then($make);
                    PLUGIN.set(::core::option::Option::Some(made.map_err($crate::wire::error)?));
                    ::core::result::Result::Ok(())
                }
            }

            impl $crate::bindings::$kind::exports::flumen::plugin::$kind::Guest for Exported {
                $($functions)*
            }

            $crate::__export_kind!($kind);
            $crate::bindings::lifecycle::export_lifecycle!(Exported with_types_in $crate::bindings::lifecycle);
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export_kind {
    (filter) => { $crate::bindings::filter::export_filter!(Exported with_types_in $crate::bindings::filter); };
    (transform) => {
        $crate::bindings::transform::export_transform!(Exported with_types_in $crate::bindings::transform);
    };
    (source) => { $crate::bindings::source::export_source!(Exported with_types_in $crate::bindings::source); };
    (sink) => { $crate::bindings::sink::export_sink!(Exported with_types_in $crate::bindings::sink); };
}
