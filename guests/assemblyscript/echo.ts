// Echo in AssemblyScript, socket style: the host has left a listener open as descriptor 3, and its connection is read and written with
// the calls of WASI themselves. The shim has all of them but the one that accepts.

import { errno, errnoToString, fd_read, fd_write, iovec } from "@assemblyscript/wasi-shim/assembly/bindings/wasi_snapshot_preview1";

// @ts-ignore: decorator
@external("wasi_snapshot_preview1", "sock_accept")
declare function sock_accept(listener: i32, flags: u16, connection: usize): errno;

const LISTENER: i32 = 3;
const SIZE: i32 = 16 * 1024;

// Where the calls leave what they answer. All of it is static: the guest allocates nothing.
const answer: usize = memory.data(sizeof<usize>());
const piece: usize = memory.data(offsetof<iovec>());
const buffer: usize = memory.data(SIZE);

check(sock_accept(LISTENER, 0, answer), "accept");
const connection = load<i32>(answer);
for (let length = read(); length > 0; length = read()) write(length);

/** Takes what comes next into the buffer. At the end of input that is nothing. */
function read(): usize {
  describe(buffer, SIZE);
  check(fd_read(connection, piece, 1, answer), "read");
  return load<usize>(answer);
}

/** Sends as much of the buffer. */
function write(length: usize): void {
  for (let done: usize = 0; done < length; done += load<usize>(answer)) {
    describe(buffer + done, length - done);
    check(fd_write(connection, piece, 1, answer), "write");
  }
}

function describe(start: usize, length: usize): void {
  const io = changetype<iovec>(piece);
  io.buf = start;
  io.buf_len = length;
}

function check(error: errno, attempt: string): void {
  if (error == errno.SUCCESS) return;
  console.error(`echo: ${attempt}: ${errnoToString(error)}`);
  process.exit(1);
}
