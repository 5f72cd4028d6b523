//! Echo in Zig, socket style: the host has left a listener open as descriptor 3, and its connection is read and written with the calls of
//! WASI themselves, since Zig's own networking does not know WASI. A `main` that takes `std.process.Init` would not come so far: before
//! it, Zig looks through the descriptors and gives up at one that is no directory.

const std = @import("std");
const wasi = std.os.wasi;

const listener: wasi.fd_t = 3;

pub fn main() !void {
    var connection: wasi.fd_t = undefined;
    try check("accept", wasi.sock_accept(listener, .{}, &connection));

    var buffer: [16 * 1024]u8 = undefined;
    while (try read(connection, &buffer)) |data|
        try writeAll(connection, data);
}

/// What comes next, or null at the end of input.
fn read(connection: wasi.fd_t, buffer: []u8) !?[]u8 {
    var count: usize = undefined;
    const into = [_]wasi.iovec_t{.{ .base = buffer.ptr, .len = buffer.len }};
    try check("read", wasi.fd_read(connection, &into, into.len, &count));
    return if (count > 0) buffer[0..count] else null;
}

fn writeAll(connection: wasi.fd_t, data: []const u8) !void {
    var rest = data;
    while (rest.len > 0) {
        var count: usize = undefined;
        const from = [_]wasi.ciovec_t{.{ .base = rest.ptr, .len = rest.len }};
        try check("write", wasi.fd_write(connection, &from, from.len, &count));
        rest = rest[count..];
    }
}

fn check(attempt: []const u8, errno: wasi.errno_t) !void {
    if (errno == .SUCCESS) return;
    std.log.err("{s}: {t}", .{ attempt, errno });
    return error.Wasi;
}
