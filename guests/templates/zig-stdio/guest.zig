//! Asks for a name and greets. Standard input and output are the connection, and standard error is the log.

const std = @import("std");

pub fn main(init: std.process.Init) !void {
    var received: [256]u8 = undefined;
    var sent: [256]u8 = undefined;
    var reader = std.Io.File.stdin().readerStreaming(init.io, &received);
    var writer = std.Io.File.stdout().writerStreaming(init.io, &sent);

    try writer.interface.writeAll("what is your name?\n");
    try writer.interface.flush();
    const name = try reader.interface.takeDelimiter('\n') orelse return error.NoName;
    try writer.interface.print("hello, {s}\n", .{std.mem.trimEnd(u8, name, "\r")});
    try writer.interface.flush();
}
