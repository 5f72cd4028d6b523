//! The calls of WASI preview 1. Those on the listener, the connection, the log, arguments,
//! variables, clocks and the end of the program are answered here; those on files go to
//! wasmtime-wasi under its own numbers.
//!
//! The rooms of preview 1 (this one, `by_hand`, `guest`, `poll`, `socket`, `args` and `descriptors`) use wasmtime-wasi's generated
//! trait and types, which are public but meant for itself: a new minor version of it may need a look here.

use wasmtime::{Linker, ModuleExport};
use wasmtime_wasi::p1::types::{
    Advice, CiovecArray, Clockid, Dircookie, Errno, Error, Event, Exitcode, Fd, Fdflags, Fdstat,
    Filedelta, Filesize, Filestat, Filetype, Fstflags, IovecArray, Lookupflags, Oflags, Prestat,
    Riflags, Rights, Roflags, Sdflags, Siflags, Signal, Size, Subscription, Timestamp, Whence,
};
use wasmtime_wasi::p1::wasi_snapshot_preview1::{
    self, WasiSnapshotPreview1, WasiSnapshotPreview1 as Calls,
};
use wiggle::{GuestMemory, GuestPtr};

use super::by_hand;
use super::descriptors::Descriptor;
use super::guest::{Finish, Guest};
use super::poll::since_epoch;
use super::socket::Take;
use crate::connection::Shutdown;
use crate::output::Channel;

/// Defines every function of preview 1 for guests whose memory is exported as `memory`.
///
/// # Errors
/// When one is defined already.
pub fn add_to_linker(linker: &mut Linker<Guest>, memory: ModuleExport) -> wasmtime::Result<()> {
    wasi_snapshot_preview1::add_to_linker(linker, |guest: &mut Guest| guest)?;
    by_hand::define(linker, memory)
}

/// What a guest may do with a socket, in preview 1's words.
const SOCKET_RIGHTS: Rights = Rights::FD_READ
    .union(Rights::FD_WRITE)
    .union(Rights::FD_FDSTAT_SET_FLAGS)
    .union(Rights::FD_FILESTAT_GET)
    .union(Rights::POLL_FD_READWRITE)
    .union(Rights::SOCK_SHUTDOWN);

impl Guest {
    fn socket_flags(nonblocking: bool) -> Fdflags {
        if nonblocking {
            Fdflags::NONBLOCK
        } else {
            Fdflags::empty()
        }
    }

    /// That `fd` is the connection, or why it is not.
    pub(super) fn ensure_connection(&self, fd: Fd) -> Result<(), Error> {
        match self.descriptors.get(fd)? {
            Descriptor::Connection => Ok(()),
            Descriptor::Listener => Err(Errno::Notconn.into()),
            Descriptor::Empty | Descriptor::Log(_) | Descriptor::File(_) => {
                Err(Errno::Notsock.into())
            }
        }
    }

    /// Takes what is written to a log stream.
    fn log(
        &mut self,
        memory: &GuestMemory<'_>,
        channel: Channel,
        buffers: CiovecArray,
    ) -> Result<Size, Error> {
        // One buffer a call is allowed, and keeps the work of a call within its size.
        for pointer in buffers.iter() {
            let buffer = memory.read(pointer?)?;
            if buffer.buf_len > 0 {
                let bytes = memory.as_slice(buffer.buf.as_array(buffer.buf_len))?;
                let bytes = bytes.ok_or(Errno::Notsup)?;
                self.lines(channel).write(bytes);
                return Ok(buffer.buf_len);
            }
        }
        Ok(0)
    }
}

impl WasiSnapshotPreview1 for Guest {
    fn set_hostcall_fuel(&mut self, fuel: usize) {
        self.fuel_files(fuel);
    }

    fn args_get(
        &mut self,
        memory: &mut GuestMemory<'_>,
        list: GuestPtr<GuestPtr<u8>>,
        block: GuestPtr<u8>,
    ) -> Result<(), Error> {
        self.args.write(memory, list, block)
    }

    fn args_sizes_get(&mut self, _: &mut GuestMemory<'_>) -> Result<(Size, Size), Error> {
        self.args.sizes()
    }

    fn environ_get(
        &mut self,
        memory: &mut GuestMemory<'_>,
        list: GuestPtr<GuestPtr<u8>>,
        block: GuestPtr<u8>,
    ) -> Result<(), Error> {
        self.variables().write(memory, list, block)
    }

    fn environ_sizes_get(&mut self, _: &mut GuestMemory<'_>) -> Result<(Size, Size), Error> {
        self.variables().sizes()
    }

    fn clock_res_get(
        &mut self,
        _: &mut GuestMemory<'_>,
        clock: Clockid,
    ) -> Result<Timestamp, Error> {
        use rustix::time::{ClockId, clock_getres};
        let host = match clock {
            Clockid::Realtime => ClockId::Realtime,
            Clockid::Monotonic => ClockId::Monotonic,
            Clockid::ProcessCputimeId | Clockid::ThreadCputimeId => ClockId::ProcessCPUTime,
        };
        Ok(u64::try_from(clock_getres(host).tv_nsec)
            .unwrap_or(1)
            .max(1))
    }

    /// The monotonic clock starts with the connection, so that it tells nothing of the host.
    fn clock_time_get(
        &mut self,
        _: &mut GuestMemory<'_>,
        clock: Clockid,
        _precision: Timestamp,
    ) -> Result<Timestamp, Error> {
        let time = match clock {
            Clockid::Realtime => since_epoch(),
            Clockid::Monotonic => self.meter.since().elapsed(),
            Clockid::ProcessCputimeId | Clockid::ThreadCputimeId => self.meter.cpu(),
        };
        Ok(u64::try_from(time.as_nanos()).map_err(|_| Errno::Overflow)?)
    }

    async fn fd_advise(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        offset: Filesize,
        len: Filesize,
        advice: Advice,
    ) -> Result<(), Error> {
        let (files, fd) = self.file(fd, Errno::Spipe)?;
        Calls::fd_advise(files, memory, fd, offset, len, advice).await
    }

    fn fd_allocate(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        offset: Filesize,
        len: Filesize,
    ) -> Result<(), Error> {
        let (files, fd) = self.file(fd, Errno::Spipe)?;
        Calls::fd_allocate(files, memory, fd, offset, len)
    }

    async fn fd_close(&mut self, memory: &mut GuestMemory<'_>, fd: Fd) -> Result<(), Error> {
        let closed = self.descriptors.remove(fd)?;
        self.release(memory, closed).await
    }

    async fn fd_datasync(&mut self, memory: &mut GuestMemory<'_>, fd: Fd) -> Result<(), Error> {
        let (files, fd) = self.file(fd, Errno::Inval)?;
        Calls::fd_datasync(files, memory, fd).await
    }

    async fn fd_fdstat_get(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
    ) -> Result<Fdstat, Error> {
        let (fs_filetype, fs_flags, fs_rights_base) = match self.descriptors.get(fd)? {
            Descriptor::Empty => (Filetype::Unknown, Fdflags::empty(), Rights::FD_READ),
            Descriptor::Log(_) => (Filetype::Unknown, Fdflags::empty(), Rights::FD_WRITE),
            Descriptor::Listener => (
                Filetype::SocketStream,
                Self::socket_flags(self.listener_nonblocking),
                SOCKET_RIGHTS | Rights::SOCK_ACCEPT,
            ),
            Descriptor::Connection => (
                Filetype::SocketStream,
                Self::socket_flags(self.socket.nonblocking),
                SOCKET_RIGHTS,
            ),
            Descriptor::File(_) => {
                let (files, fd) = self.file(fd, Errno::Badf)?;
                return Calls::fd_fdstat_get(files, memory, fd).await;
            }
        };
        let fs_rights_inheriting = SOCKET_RIGHTS;
        Ok(Fdstat {
            fs_filetype,
            fs_flags,
            fs_rights_base,
            fs_rights_inheriting,
        })
    }

    fn fd_fdstat_set_flags(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        flags: Fdflags,
    ) -> Result<(), Error> {
        let nonblocking = flags.contains(Fdflags::NONBLOCK);
        match self.descriptors.get(fd)? {
            Descriptor::Listener => self.listener_nonblocking = nonblocking,
            Descriptor::Connection => self.socket.nonblocking = nonblocking,
            // Neither ever waits, so there is nothing to switch.
            Descriptor::Empty | Descriptor::Log(_) => {}
            Descriptor::File(_) => {
                let (files, fd) = self.file(fd, Errno::Badf)?;
                return Calls::fd_fdstat_set_flags(files, memory, fd, flags);
            }
        }
        Ok(())
    }

    fn fd_fdstat_set_rights(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        base: Rights,
        inheriting: Rights,
    ) -> Result<(), Error> {
        let (files, fd) = self.file(fd, Errno::Notsup)?;
        Calls::fd_fdstat_set_rights(files, memory, fd, base, inheriting)
    }

    async fn fd_filestat_get(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
    ) -> Result<Filestat, Error> {
        let filetype = match self.descriptors.get(fd)? {
            Descriptor::Listener | Descriptor::Connection => Filetype::SocketStream,
            Descriptor::Empty | Descriptor::Log(_) => Filetype::Unknown,
            Descriptor::File(_) => {
                let (files, fd) = self.file(fd, Errno::Badf)?;
                return Calls::fd_filestat_get(files, memory, fd).await;
            }
        };
        Ok(Filestat {
            dev: 0,
            ino: 0,
            filetype,
            nlink: 1,
            size: 0,
            atim: 0,
            mtim: 0,
            ctim: 0,
        })
    }

    async fn fd_filestat_set_size(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        size: Filesize,
    ) -> Result<(), Error> {
        let (files, fd) = self.file(fd, Errno::Inval)?;
        Calls::fd_filestat_set_size(files, memory, fd, size).await
    }

    async fn fd_filestat_set_times(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        atim: Timestamp,
        mtim: Timestamp,
        flags: Fstflags,
    ) -> Result<(), Error> {
        let (files, fd) = self.file(fd, Errno::Inval)?;
        Calls::fd_filestat_set_times(files, memory, fd, atim, mtim, flags).await
    }

    async fn fd_read(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        buffers: IovecArray,
    ) -> Result<Size, Error> {
        match self.descriptors.get(fd)? {
            Descriptor::Connection => self.socket.read(memory, buffers, Take::Some).await,
            Descriptor::Empty => Ok(0),
            Descriptor::Listener => Err(Errno::Notconn.into()),
            Descriptor::Log(_) => Err(Errno::Badf.into()),
            Descriptor::File(_) => {
                let (files, fd) = self.file(fd, Errno::Badf)?;
                Calls::fd_read(files, memory, fd, buffers).await
            }
        }
    }

    async fn fd_pread(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        buffers: IovecArray,
        offset: Filesize,
    ) -> Result<Size, Error> {
        let (files, fd) = self.file(fd, Errno::Spipe)?;
        Calls::fd_pread(files, memory, fd, buffers, offset).await
    }

    async fn fd_write(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        buffers: CiovecArray,
    ) -> Result<Size, Error> {
        match self.descriptors.get(fd)? {
            Descriptor::Connection => self.socket.write(memory, buffers).await,
            Descriptor::Log(channel) => self.log(memory, channel, buffers),
            Descriptor::Listener => Err(Errno::Notconn.into()),
            Descriptor::Empty => Err(Errno::Badf.into()),
            Descriptor::File(_) => {
                let (files, fd) = self.file(fd, Errno::Badf)?;
                Calls::fd_write(files, memory, fd, buffers).await
            }
        }
    }

    async fn fd_pwrite(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        buffers: CiovecArray,
        offset: Filesize,
    ) -> Result<Size, Error> {
        let (files, fd) = self.file(fd, Errno::Spipe)?;
        Calls::fd_pwrite(files, memory, fd, buffers, offset).await
    }

    fn fd_prestat_get(&mut self, memory: &mut GuestMemory<'_>, fd: Fd) -> Result<Prestat, Error> {
        let (files, fd) = self.file(fd, Errno::Badf)?;
        Calls::fd_prestat_get(files, memory, fd)
    }

    fn fd_prestat_dir_name(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        path: GuestPtr<u8>,
        length: Size,
    ) -> Result<(), Error> {
        let (files, fd) = self.file(fd, Errno::Notdir)?;
        Calls::fd_prestat_dir_name(files, memory, fd, path, length)
    }

    async fn fd_renumber(
        &mut self,
        memory: &mut GuestMemory<'_>,
        from: Fd,
        to: Fd,
    ) -> Result<(), Error> {
        match self.descriptors.renumber(from, to)? {
            Some(replaced) => self.release(memory, replaced).await,
            None => Ok(()),
        }
    }

    async fn fd_seek(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        offset: Filedelta,
        whence: Whence,
    ) -> Result<Filesize, Error> {
        let (files, fd) = self.file(fd, Errno::Spipe)?;
        Calls::fd_seek(files, memory, fd, offset, whence).await
    }

    async fn fd_sync(&mut self, memory: &mut GuestMemory<'_>, fd: Fd) -> Result<(), Error> {
        let (files, fd) = self.file(fd, Errno::Inval)?;
        Calls::fd_sync(files, memory, fd).await
    }

    fn fd_tell(&mut self, memory: &mut GuestMemory<'_>, fd: Fd) -> Result<Filesize, Error> {
        let (files, fd) = self.file(fd, Errno::Spipe)?;
        Calls::fd_tell(files, memory, fd)
    }

    async fn fd_readdir(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        buffer: GuestPtr<u8>,
        length: Size,
        cookie: Dircookie,
    ) -> Result<Size, Error> {
        let (files, fd) = self.file(fd, Errno::Notdir)?;
        Calls::fd_readdir(files, memory, fd, buffer, length, cookie).await
    }

    async fn path_create_directory(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        path: GuestPtr<str>,
    ) -> Result<(), Error> {
        let (files, fd) = self.file(fd, Errno::Notdir)?;
        Calls::path_create_directory(files, memory, fd, path).await
    }

    async fn path_filestat_get(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        flags: Lookupflags,
        path: GuestPtr<str>,
    ) -> Result<Filestat, Error> {
        let (files, fd) = self.file(fd, Errno::Notdir)?;
        Calls::path_filestat_get(files, memory, fd, flags, path).await
    }

    async fn path_filestat_set_times(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        flags: Lookupflags,
        path: GuestPtr<str>,
        atim: Timestamp,
        mtim: Timestamp,
        fst_flags: Fstflags,
    ) -> Result<(), Error> {
        let (files, fd) = self.file(fd, Errno::Notdir)?;
        Calls::path_filestat_set_times(files, memory, fd, flags, path, atim, mtim, fst_flags).await
    }

    async fn path_link(
        &mut self,
        memory: &mut GuestMemory<'_>,
        from: Fd,
        flags: Lookupflags,
        path: GuestPtr<str>,
        to: Fd,
        new: GuestPtr<str>,
    ) -> Result<(), Error> {
        let (files, from, to) = self.two_files(from, to)?;
        Calls::path_link(files, memory, from, flags, path, to, new).await
    }

    async fn path_open(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        dirflags: Lookupflags,
        path: GuestPtr<str>,
        oflags: Oflags,
        base: Rights,
        inheriting: Rights,
        flags: Fdflags,
    ) -> Result<Fd, Error> {
        if !self.descriptors.has_room() {
            return Err(Errno::Mfile.into());
        }
        let (files, fd) = self.file(fd, Errno::Notdir)?;
        // A FIFO would hold a thread of the host until somebody opens its other end, and a device
        // does who knows what: only files and directories are opened.
        let found = Calls::path_filestat_get(files, memory, fd, dirflags, path).await;
        if let Ok(Filestat { filetype, .. }) = found
            && !matches!(
                filetype,
                Filetype::RegularFile | Filetype::Directory | Filetype::SymbolicLink
            )
        {
            return Err(Errno::Notsup.into());
        }
        let opened = Calls::path_open(
            files, memory, fd, dirflags, path, oflags, base, inheriting, flags,
        )
        .await?;
        Ok(self.descriptors.add(Descriptor::File(opened.into()))?)
    }

    async fn path_readlink(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        path: GuestPtr<str>,
        buffer: GuestPtr<u8>,
        length: Size,
    ) -> Result<Size, Error> {
        let (files, fd) = self.file(fd, Errno::Notdir)?;
        Calls::path_readlink(files, memory, fd, path, buffer, length).await
    }

    async fn path_remove_directory(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        path: GuestPtr<str>,
    ) -> Result<(), Error> {
        let (files, fd) = self.file(fd, Errno::Notdir)?;
        Calls::path_remove_directory(files, memory, fd, path).await
    }

    async fn path_rename(
        &mut self,
        memory: &mut GuestMemory<'_>,
        from: Fd,
        path: GuestPtr<str>,
        to: Fd,
        new: GuestPtr<str>,
    ) -> Result<(), Error> {
        let (files, from, to) = self.two_files(from, to)?;
        Calls::path_rename(files, memory, from, path, to, new).await
    }

    async fn path_symlink(
        &mut self,
        memory: &mut GuestMemory<'_>,
        target: GuestPtr<str>,
        fd: Fd,
        path: GuestPtr<str>,
    ) -> Result<(), Error> {
        let (files, fd) = self.file(fd, Errno::Notdir)?;
        Calls::path_symlink(files, memory, target, fd, path).await
    }

    async fn path_unlink_file(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        path: GuestPtr<str>,
    ) -> Result<(), Error> {
        let (files, fd) = self.file(fd, Errno::Notdir)?;
        Calls::path_unlink_file(files, memory, fd, path).await
    }

    async fn poll_oneoff(
        &mut self,
        memory: &mut GuestMemory<'_>,
        subscriptions: GuestPtr<Subscription>,
        events: GuestPtr<Event>,
        count: Size,
    ) -> Result<Size, Error> {
        self.poll(memory, subscriptions, events, count).await
    }

    fn proc_exit(&mut self, _: &mut GuestMemory<'_>, status: Exitcode) -> wasmtime::Error {
        self.end(Finish::Exit(status.cast_signed()))
    }

    fn proc_raise(&mut self, _: &mut GuestMemory<'_>, _: Signal) -> Result<(), Error> {
        Err(Errno::Notsup.into())
    }

    fn sched_yield(&mut self, _: &mut GuestMemory<'_>) -> Result<(), Error> {
        Ok(())
    }

    /// Never called: `random` stands in its place.
    fn random_get(
        &mut self,
        _: &mut GuestMemory<'_>,
        _: GuestPtr<u8>,
        _: Size,
    ) -> Result<(), Error> {
        Err(Errno::Notsup.into())
    }

    fn sock_accept(
        &mut self,
        _: &mut GuestMemory<'_>,
        fd: Fd,
        flags: Fdflags,
    ) -> Result<Fd, Error> {
        match self.descriptors.get(fd)? {
            Descriptor::Listener => {}
            Descriptor::Connection => return Err(Errno::Inval.into()),
            Descriptor::Empty | Descriptor::Log(_) | Descriptor::File(_) => {
                return Err(Errno::Notsock.into());
            }
        }
        if self.socket.is_offered() {
            let accepted = self.descriptors.add(Descriptor::Connection)?;
            self.socket.accept();
            self.socket.nonblocking = flags.contains(Fdflags::NONBLOCK);
            return Ok(accepted);
        }
        if self.listener_nonblocking {
            return Err(Errno::Again.into());
        }
        // An instance serves one connection: to wait for another is to have finished.
        Err(Error::trap(self.end(Finish::Served)))
    }

    /// Never called: `receive` stands in its place.
    fn sock_recv(
        &mut self,
        _: &mut GuestMemory<'_>,
        _: Fd,
        _: IovecArray,
        _: Riflags,
    ) -> Result<(Size, Roflags), Error> {
        Err(Errno::Notsock.into())
    }

    /// Never called: `send` stands in its place.
    fn sock_send(
        &mut self,
        _: &mut GuestMemory<'_>,
        _: Fd,
        _: CiovecArray,
        _: Siflags,
    ) -> Result<Size, Error> {
        Err(Errno::Notsock.into())
    }

    fn sock_shutdown(
        &mut self,
        _: &mut GuestMemory<'_>,
        fd: Fd,
        how: Sdflags,
    ) -> Result<(), Error> {
        self.ensure_connection(fd)?;
        let how = match (how.contains(Sdflags::RD), how.contains(Sdflags::WR)) {
            (true, true) => Shutdown::Both,
            (true, false) => Shutdown::Read,
            (false, true) => Shutdown::Write,
            (false, false) => return Err(Errno::Inval.into()),
        };
        self.socket.shutdown(how)
    }
}
