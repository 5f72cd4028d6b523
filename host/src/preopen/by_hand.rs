//! The calls of preview 1 that are defined by hand. The generated ones cannot wait in `sock_recv` and
//! `sock_send`, know of no preopen but directories, and look the guest's memory up by its name at every
//! call, which for reading and writing costs more than the rest of the call.

use wasmtime::{AsContextMut as _, Caller, Extern, Linker, ModuleExport};
use wasmtime_wasi::p1::types::{CiovecArray, Errno, Error, IovecArray, Riflags, Roflags, Size};
use wasmtime_wasi::p1::wasi_snapshot_preview1::{self, WasiSnapshotPreview1 as _};
use wiggle::{GuestMemory, GuestPtr};

use super::Style;
use super::guest::Guest;
use super::socket::Take;
use crate::wasm::PREVIEW1;

/// The descriptor a listener is found at, in every convention there is.
const LISTENER: i32 = 3;

/// Random bytes made between two looks at whether others want the thread: about 10 µs.
const RANDOM: usize = 4096;

/// Defines them in place of the generated ones, for guests with this memory.
pub(super) fn define(linker: &mut Linker<Guest>, memory: ModuleExport) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let prestat =
        move |caller: Caller<'_, Guest>, fd: i32, told: i32| prestat(caller, &memory, fd, told);
    linker.func_wrap(PREVIEW1, "fd_prestat_get", prestat)?;
    linker.func_wrap_async(PREVIEW1, "fd_read", move |caller, arguments| {
        Box::new(read(caller, memory, arguments))
    })?;
    linker.func_wrap_async(PREVIEW1, "fd_write", move |caller, arguments| {
        Box::new(write(caller, memory, arguments))
    })?;
    linker.func_wrap_async(PREVIEW1, "sock_recv", move |caller, arguments| {
        Box::new(receive(caller, memory, arguments))
    })?;
    linker.func_wrap_async(PREVIEW1, "sock_send", move |caller, arguments| {
        Box::new(send(caller, memory, arguments))
    })?;
    linker.func_wrap_async(PREVIEW1, "random_get", move |caller, arguments| {
        Box::new(random(caller, memory, arguments))
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

/// The memory and the state of the instance that calls.
fn called<'a>(
    caller: &'a mut Caller<'_, Guest>,
    memory: &ModuleExport,
) -> wasmtime::Result<(GuestMemory<'a>, &'a mut Guest)> {
    let fuel = caller.as_context_mut().hostcall_fuel();
    let Some(Extern::Memory(memory)) = caller.get_module_export(memory) else {
        wasmtime::bail!("the module exports no memory");
    };
    let (bytes, guest) = memory.data_and_store_mut(caller);
    guest.set_hostcall_fuel(fuel);
    Ok((GuestMemory::Unshared(bytes), guest))
}

/// What a call answers: an errno, unless it ends the instance.
fn answer(result: Result<(), Error>) -> wasmtime::Result<i32> {
    match result {
        Ok(()) => Ok(Errno::Success as i32),
        Err(error) => Ok(error.downcast()? as i32),
    }
}

fn pointer<T>(address: i32) -> GuestPtr<T> {
    GuestPtr::new(address.cast_unsigned())
}

/// `fd_prestat_get`. A scan for directories begins at 3 and stops at EBADF, so the
/// listener has to be something: a preopen of a kind that wasi-libc and Go do not know and step
/// over. The generated type knows directories only. It stays so when the listener is closed, since
/// Rust scans when the first file is opened, which may be after that.
fn prestat(
    mut caller: Caller<'_, Guest>,
    memory: &ModuleExport,
    fd: i32,
    told: i32,
) -> wasmtime::Result<i32> {
    const SOCKET: [u8; 8] = [1, 0, 0, 0, 0, 0, 0, 0];
    let (mut memory, guest) = called(&mut caller, memory)?;
    if guest.style == Style::Socket && fd == LISTENER {
        memory.copy_from_slice(&SOCKET, pointer::<u8>(told).as_array(8))?;
        return answer(Ok(()));
    }
    wasi_snapshot_preview1::fd_prestat_get(guest, &mut memory, fd, told)
}

/// `fd_read`.
async fn read(
    mut caller: Caller<'_, Guest>,
    memory: ModuleExport,
    (fd, data, count, told): (i32, i32, i32, i32),
) -> wasmtime::Result<i32> {
    let (mut memory, guest) = called(&mut caller, &memory)?;
    let buffers = IovecArray::new((data.cast_unsigned(), count.cast_unsigned()));
    let read = async {
        let count = guest.fd_read(&mut memory, fd.into(), buffers).await?;
        memory.write(pointer::<Size>(told), count)?;
        Ok(())
    };
    answer(read.await)
}

/// `fd_write`.
async fn write(
    mut caller: Caller<'_, Guest>,
    memory: ModuleExport,
    (fd, data, count, told): (i32, i32, i32, i32),
) -> wasmtime::Result<i32> {
    let (mut memory, guest) = called(&mut caller, &memory)?;
    let buffers = CiovecArray::new((data.cast_unsigned(), count.cast_unsigned()));
    let written = async {
        let count = guest.fd_write(&mut memory, fd.into(), buffers).await?;
        memory.write(pointer::<Size>(told), count)?;
        Ok(())
    };
    answer(written.await)
}

/// `sock_recv`: the generated one cannot wait.
async fn receive(
    mut caller: Caller<'_, Guest>,
    memory: ModuleExport,
    (fd, data, count, flags, read, told): (i32, i32, i32, i32, i32, i32),
) -> wasmtime::Result<i32> {
    let (mut memory, guest) = called(&mut caller, &memory)?;
    let buffers = IovecArray::new((data.cast_unsigned(), count.cast_unsigned()));
    let received = async {
        let flags = Riflags::try_from(flags).map_err(|_| Errno::Inval)?;
        guest.ensure_connection(fd.into())?;
        // The kernel would wait for all of it before it lets one peek; here what is at hand is
        // shown, which a program must be ready for, since a signal may end that wait as well.
        let take = if flags.contains(Riflags::RECV_PEEK) {
            Take::Peek
        } else if flags.contains(Riflags::RECV_WAITALL) {
            Take::All
        } else {
            Take::Some
        };
        let count = guest.socket.read(&mut memory, buffers, take).await?;
        memory.write(pointer::<Size>(read), count)?;
        memory.write(pointer::<Roflags>(told), Roflags::empty())?;
        Ok(())
    };
    answer(received.await)
}

/// `random_get`: a guest may ask for all its memory, and no call may hold its thread for
/// as long as that takes.
async fn random(
    mut caller: Caller<'_, Guest>,
    memory: ModuleExport,
    (buffer, length): (i32, i32),
) -> wasmtime::Result<i32> {
    use rustix::rand::{GetRandomFlags, getrandom};
    let (mut memory, _) = called(&mut caller, &memory)?;
    let filled = async {
        let buffer = pointer::<u8>(buffer).as_array(length.cast_unsigned());
        let buffer = memory.as_slice_mut(buffer)?.ok_or(Errno::Notsup)?;
        for chunk in buffer.chunks_mut(RANDOM) {
            let mut rest = chunk;
            while !rest.is_empty() {
                let count = getrandom(&mut *rest, GetRandomFlags::empty());
                rest = &mut rest[count.map_err(|_| Errno::Io)?..];
            }
            tokio::task::consume_budget().await;
        }
        Ok(())
    };
    answer(filled.await)
}

/// `sock_send`, likewise.
async fn send(
    mut caller: Caller<'_, Guest>,
    memory: ModuleExport,
    (fd, data, count, flags, sent): (i32, i32, i32, i32, i32),
) -> wasmtime::Result<i32> {
    let (mut memory, guest) = called(&mut caller, &memory)?;
    let buffers = CiovecArray::new((data.cast_unsigned(), count.cast_unsigned()));
    let written = async {
        // Preview 1 has no flags for sending.
        if flags != 0 {
            return Err(Errno::Inval.into());
        }
        guest.ensure_connection(fd.into())?;
        let count = guest.socket.write(&memory, buffers).await?;
        memory.write(pointer::<Size>(sent), count)?;
        Ok(())
    };
    answer(written.await)
}
