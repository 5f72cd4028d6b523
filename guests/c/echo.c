/* Echo, as small as a guest can be in C: accept the one connection from the listener, give back every byte until the client has no
 * more. The listener is descriptor 3 in every convention there is, so nothing has to be asked for; and without stdio, what went
 * wrong is said by the exit status alone. */

#include <sys/socket.h>
#include <unistd.h>

#define LISTENER 3

enum { DONE, NOT_ACCEPTED, NOT_READ, NOT_WRITTEN };

/* Not on the stack, which would be large then: what is never touched costs nothing. */
static char buffer[64 * 1024];

int main(void)
{
    /* WASI's accept() writes to an address of NULL, and that takes a page. */
    struct sockaddr client;
    socklen_t size = sizeof client;
    int connection = accept(LISTENER, &client, &size);
    if (connection < 0) {
        return NOT_ACCEPTED;
    }

    ssize_t length;
    while ((length = read(connection, buffer, sizeof buffer)) > 0) {
        for (ssize_t done = 0; done < length;) {
            ssize_t part = write(connection, buffer + done, (size_t)(length - done));
            if (part < 0) {
                return NOT_WRITTEN;
            }
            done += part;
        }
    }
    return length < 0 ? NOT_READ : DONE;
}
