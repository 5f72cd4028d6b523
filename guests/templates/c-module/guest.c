/* Asks for a name and greets. The listener is descriptor 3; the first accept() gives the connection, and there is no second one. */

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

int main(void)
{
    int fd = accept(3, NULL, NULL);
    FILE *client = fd < 0 ? NULL : fdopen(fd, "r");
    if (client == NULL)
        return 1;
    dprintf(fd, "what is your name?\n");
    char name[100];
    if (fgets(name, sizeof name, client) == NULL)
        return 1;
    name[strcspn(name, "\r\n")] = '\0';
    dprintf(fd, "hello, %s\n", name);
    return 0;
}
