/* Echo the way event-driven C is written: descriptors are O_NONBLOCK, poll() waits for input and select() for room to write. Each
 * round looks at what has come with MSG_PEEK before it takes exactly that with MSG_WAITALL, and the end is said with shutdown(). When
 * SHOW_DIR names a directory, its entries go to the client first, one `dir NAME` line each: the libc has found the directories
 * that lie behind the socket. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <unistd.h>

static void die(const char *attempt)
{
    fprintf(stderr, "poll-echo: %s: %s\n", attempt, strerror(errno));
    exit(EXIT_FAILURE);
}

static void set_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        die("fcntl O_NONBLOCK");
}

static void wait_readable(int fd)
{
    struct pollfd interest = {.fd = fd, .events = POLLIN};
    if (poll(&interest, 1, -1) < 0)
        die("poll");
}

static void wait_writable(int fd)
{
    fd_set writable;
    FD_ZERO(&writable);
    FD_SET(fd, &writable);
    if (select(fd + 1, NULL, &writable, NULL, NULL) < 0)
        die("select");
}

static void send_all(int fd, const char *data, size_t length)
{
    while (length > 0) {
        ssize_t sent = send(fd, data, length, 0);
        if (sent >= 0) {
            data += sent;
            length -= (size_t)sent;
        } else if (errno == EAGAIN) {
            wait_writable(fd);
        } else {
            die("send");
        }
    }
}

static void show_dir(int connection, const char *path)
{
    DIR *dir = opendir(path);
    if (dir == NULL)
        die("opendir");
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        char line[512];
        int length = snprintf(line, sizeof line, "dir %s\n", entry->d_name);
        send_all(connection, line, (size_t)length);
    }
    closedir(dir);
}

static void echo(int connection)
{
    static char buffer[16 * 1024];
    for (;;) {
        wait_readable(connection);
        ssize_t waiting = recv(connection, buffer, sizeof buffer, MSG_PEEK);
        if (waiting < 0 && errno == EAGAIN)
            continue;
        if (waiting < 0)
            die("recv MSG_PEEK");
        if (waiting == 0)
            return;
        ssize_t taken = recv(connection, buffer, (size_t)waiting, MSG_WAITALL);
        if (taken != waiting)
            die("recv MSG_WAITALL");
        send_all(connection, buffer, (size_t)taken);
    }
}

int main(void)
{
    const char *fd = getenv("UPSTART_FDS");
    if (fd == NULL) {
        fprintf(stderr, "poll-echo: UPSTART_FDS is not set: no listener was given\n");
        return EXIT_FAILURE;
    }
    int listener = atoi(fd);
    set_nonblocking(listener);
    wait_readable(listener);
    int connection = accept(listener, NULL, NULL);
    if (connection < 0)
        die("accept");
    set_nonblocking(connection);

    const char *path = getenv("SHOW_DIR");
    if (path != NULL)
        show_dir(connection, path);
    echo(connection);

    if (shutdown(connection, SHUT_WR) < 0)
        die("shutdown");
    close(connection);
    return EXIT_SUCCESS;
}
