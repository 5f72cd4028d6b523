//! Asks for a name and greets. The listener is descriptor 3; the first accept gives the connection, and there is no second one. `main`
//! takes nothing: with `std.process.Init` Zig would look for directories first, and give up at the listener.

const std = @import("std");

pub fn main() !void {
    var fd: std.os.wasi.fd_t = undefined;
    if (std.os.wasi.sock_accept(3, .{}, &fd) != .SUCCESS) return error.NoConnection;
    const client: std.Io.File = .{ .handle = fd, .flags = .{ .nonblocking = false } };

    var threaded: std.Io.Threaded = .init_single_threaded;
    var received: [256]u8 = undefined;
    var sent: [256]u8 = undefined;
    var reader = client.readerStreaming(threaded.io(), &received);
    var writer = client.writerStreaming(threaded.io(), &sent);

    try writer.interface.writeAll("what is your name?\n");
    try writer.interface.flush();
    const name = try reader.interface.takeDelimiter('\n') orelse return error.NoName;
    try writer.interface.print("hello, {s}\n", .{std.mem.trimEnd(u8, name, "\r")});
    try writer.interface.flush();
}
