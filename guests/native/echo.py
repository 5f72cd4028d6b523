"""Echo: a native job in Upstart's listener style.

The job accepts one connection, gives back what comes over it until the client has finished, and ends; the host starts it again when the
next client comes.
"""

import os
import socket

with socket.socket(fileno=int(os.environ["UPSTART_FDS"])) as listener:
    connection, _ = listener.accept()
    with connection:
        while chunk := connection.recv(64 * 1024):
            connection.sendall(chunk)
