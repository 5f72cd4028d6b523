//! Names as a guest looks them up: the ones that are allowed have the addresses that are pinned, and
//! no other has any. No question leaves the host.

use std::net::IpAddr;
use std::str::FromStr as _;
use std::vec;

use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddress};
use wasmtime_wasi::p2::{DynPollable, Network, Pollable, subscribe};
use wasmtime_wasi::p3::bindings::sockets::{ip_name_lookup as lookup3, types as types3};

use super::{Networked, Outlet};

/// The interface of WASI 0.2, as wasmtime-wasi defines it; a component may import an older or a newer
/// patch of it.
const LOOKUP: &str = "wasi:sockets/ip-name-lookup@0.2.12";

/// Its like of WASI 0.3.
const LOOKUP_3: &str = "wasi:sockets/ip-name-lookup@0.3.0";

/// The addresses of a name that are not told yet.
struct Answers(vec::IntoIter<IpAddr>);

#[wasmtime_wasi::async_trait]
impl Pollable for Answers {
    async fn ready(&mut self) {}
}

impl Outlet {
    /// The addresses of `name`, or those that it is; `None`: it may not be known.
    fn addresses(&self, name: &str) -> Option<Vec<IpAddr>> {
        let way = self.0.as_ref()?;
        let bare = name.strip_prefix('[').and_then(|n| n.strip_suffix(']'));
        if let Ok(address) = IpAddr::from_str(bare.unwrap_or(name)) {
            return Some(vec![address.to_canonical()]);
        }
        let name = name.to_ascii_lowercase();
        way.open.reach.pins().of_name(&name).map(<[IpAddr]>::to_vec)
    }
}

/// Has the lookups of components answered from what is pinned.
///
/// # Errors
/// When `linker` does not take it.
pub fn answer_lookups<T: Networked>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut lookup = linker.instance(LOOKUP)?;
    lookup.resource(
        "resolve-address-stream",
        ResourceType::host::<Answers>(),
        |mut store, rep| {
            let table = store.data_mut().ctx().table;
            table.delete(Resource::<Answers>::new_own(rep))?;
            Ok(())
        },
    )?;
    lookup.func_wrap(
        "resolve-addresses",
        |mut store, (network, name): (Resource<Network>, String)| {
            let state = store.data_mut();
            state.ctx().table.get(&network)?;
            let Some(found) = state.outlet().addresses(&name) else {
                return Ok((Err(ErrorCode::AccessDenied),));
            };
            let answers = state.ctx().table.push(Answers(found.into_iter()))?;
            Ok((Ok(answers),))
        },
    )?;
    lookup.func_wrap(
        "[method]resolve-address-stream.resolve-next-address",
        |mut store, (answers,): (Resource<Answers>,)| {
            let next = store.data_mut().ctx().table.get_mut(&answers)?.0.next();
            Ok((Ok::<_, ErrorCode>(next.map(IpAddress::from)),))
        },
    )?;
    lookup.func_wrap(
        "[method]resolve-address-stream.subscribe",
        |mut store, (answers,): (Resource<Answers>,)| {
            let pollable: Resource<DynPollable> = subscribe(store.data_mut().ctx().table, answers)?;
            Ok((pollable,))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

/// The same for components of WASI 0.3.
///
/// # Errors
/// When `linker` does not take it.
pub fn answer_lookups_3<T: Networked>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker.instance(LOOKUP_3)?.func_wrap_concurrent(
        "resolve-addresses",
        |store, (name,): (String,)| {
            Box::pin(async move {
                let found = store.with(|mut store| store.data_mut().outlet().addresses(&name));
                let found: Option<Vec<types3::IpAddress>> =
                    found.map(|found| found.into_iter().map(Into::into).collect());
                Ok((found.ok_or(lookup3::ErrorCode::AccessDenied),))
            })
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}
