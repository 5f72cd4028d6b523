//! What wit-bindgen makes of `wit/bridge.wit`, once for each of the two clothes. The macros of this crate reach into it from the guest's
//! crate, so it has to be public; nobody else should.

#![allow(missing_docs, clippy::all, clippy::pedantic)]

#[cfg(feature = "sync")]
pub mod sync {
    wit_bindgen::generate!({
        path: "wit",
        world: "service",
        pub_export_macro: true,
        export_macro_name: "export_service",
        type_section_suffix: "portcullis-guest",
        generate_all,
    });
}

#[cfg(feature = "async")]
pub mod asynchronous {
    wit_bindgen::generate!({
        path: "wit",
        world: "async-service",
        pub_export_macro: true,
        export_macro_name: "export_async_service",
        type_section_suffix: "portcullis-guest",
        generate_all,
    });
}
