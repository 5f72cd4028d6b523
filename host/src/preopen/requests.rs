//! The HTTP requests that a component makes. The host keeps one from the moment it is made until it is
//! sent or dropped, and checks how long its path and its headers are, but not the words before and
//! between them: here it does.

use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::{WasiHttpView, p2, p3};

/// The interface that defines them, in the version that is linked.
const TYPES: &str = "wasi:http/types@0.2.12";

/// Its like of WASI 0.3.
const TYPES_3: &str = "wasi:http/types@0.3.0";

/// Bytes of a method that is none of the usual ones, and of an authority.
const METHOD: usize = 128;
const AUTHORITY: usize = 1024;

/// Refuses methods and authorities that are longer than any.
///
/// # Errors
/// When WASI's own functions are not defined in `linker`.
pub fn guard<T: WasiHttpView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    use p2::bindings::http::types::{HostOutgoingRequest as _, Method, OutgoingRequest};
    type Request = Resource<OutgoingRequest>;
    linker.allow_shadowing(true);
    let mut types = linker.instance(TYPES)?;
    types.func_wrap(
        "[method]outgoing-request.set-method",
        |mut store, (request, method): (Request, Method)| {
            Ok((match &method {
                Method::Other(word) if word.len() > METHOD => Err(()),
                _ => store.data_mut().http().set_method(request, method)?,
            },))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.set-authority",
        |mut store, (request, authority): (Request, Option<String>)| {
            Ok((match &authority {
                Some(word) if word.len() > AUTHORITY => Err(()),
                _ => store.data_mut().http().set_authority(request, authority)?,
            },))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

/// The same for components of WASI 0.3.
///
/// # Errors
/// When WASI's own functions are not defined in `linker`.
pub fn guard_3<T: WasiHttpView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    use p3::bindings::http::types::{HostRequest as _, Method};
    type Request = Resource<p3::Request>;
    linker.allow_shadowing(true);
    let mut types = linker.instance(TYPES_3)?;
    types.func_wrap(
        "[method]request.set-method",
        |mut store, (request, method): (Request, Method)| {
            Ok((match &method {
                Method::Other(word) if word.len() > METHOD => Err(()),
                _ => store.data_mut().http().set_method(request, method)?,
            },))
        },
    )?;
    types.func_wrap(
        "[method]request.set-authority",
        |mut store, (request, authority): (Request, Option<String>)| {
            Ok((match &authority {
                Some(word) if word.len() > AUTHORITY => Err(()),
                _ => store.data_mut().http().set_authority(request, authority)?,
            },))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}
