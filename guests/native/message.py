"""Take one message and acknowledge it: a native job in Upstart's listener style.

The socket is whatever the trigger listens on (IPv4, IPv6, a unix path, an abstract name): given only a descriptor, Python asks the
kernel which. The job accepts one connection and ends; the host starts it again when the next client comes.
"""

import os
import socket

with socket.socket(fileno=int(os.environ["UPSTART_FDS"])) as listener:
    connection, _ = listener.accept()
    with connection:
        connection.sendall(b"I got your message: " + connection.recv(1024))
