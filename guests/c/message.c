/* Takes one message and acknowledges it: what one read gave goes back behind "I got your message: ". One source, built as it is by a
 * native compiler (a job in Upstart's listener style) and for wasm32-wasi (a guest in socket style): both find a listening socket
 * under the number in UPSTART_FDS. */

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int main(void)
{
    const char *fd = getenv("UPSTART_FDS");
    if (fd == NULL) {
        fprintf(stderr, "message: UPSTART_FDS is not set: no listener was given\n");
        return EXIT_FAILURE;
    }

    int connection = accept(atoi(fd), NULL, NULL);
    if (connection < 0) {
        perror("message: accept");
        return EXIT_FAILURE;
    }

    char message[1024];
    ssize_t length = read(connection, message, sizeof message - 1);
    if (length < 0) {
        perror("message: read");
        return EXIT_FAILURE;
    }
    message[length] = '\0';
    dprintf(connection, "I got your message: %s", message);
    close(connection);
    return EXIT_SUCCESS;
}
