/* Echo in inetd's style: descriptor 0 is the connection to read, 1 the same one to write. As a native job it wants `accept = true`;
 * built for wasm32-wasi it is a guest in stdio style. */

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(void)
{
    char buffer[16 * 1024];
    ssize_t length;
    while ((length = read(STDIN_FILENO, buffer, sizeof buffer)) > 0) {
        for (ssize_t done = 0; done < length;) {
            ssize_t part = write(STDOUT_FILENO, buffer + done, (size_t)(length - done));
            if (part < 0) {
                perror("exec-echo: write");
                return EXIT_FAILURE;
            }
            done += part;
        }
    }
    if (length < 0) {
        perror("exec-echo: read");
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
