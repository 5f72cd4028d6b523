"""Tell a client what the job was told: a native job in Upstart's listener style.

It sends its variables, one a line, and after them who the client is. That no variable can say, since the job is started before it accepts:
it asks the kernel, and PEER is the address and the port, or the uid, the gid and the pid of a process of this machine.
"""

import os
import socket
import struct

with socket.socket(fileno=int(os.environ["UPSTART_FDS"])) as listener:
    connection, address = listener.accept()
    with connection:
        if listener.family == socket.AF_UNIX:
            pid, uid, gid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            address = (uid, gid, pid)
        lines = [f"{name}={value}" for name, value in os.environ.items()]
        lines.append("PEER=" + " ".join(str(part) for part in address))
        connection.sendall("\n".join(lines).encode() + b"\n")
