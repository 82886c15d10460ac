/* Loaded into a node in front of the C library: its disk has the fault that the file
   $DISK_FAULT names, for as long as that is there. faulty_disk.rs says which there are. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int has(const char *fault)
{
    char found[32] = "";
    const char *file = getenv("DISK_FAULT");
    int fd = file ? open(file, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return 0;
    ssize_t bytes = read(fd, found, sizeof found - 1);
    close(fd);
    return bytes > 0 && strcmp(found, fault) == 0;
}

static int is_snapshot(int fd)
{
    char link[64], path[4096] = "";
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t bytes = readlink(link, path, sizeof path - 1);
    return bytes > 0 && strstr(path, ".snapshot") != NULL;
}

/* Whether this is the thread that syncs beside the event loop. */
static int is_beside(void)
{
    char name[16] = "";
    return pthread_getname_np(pthread_self(), name, sizeof name) == 0 && strcmp(name, "sync") == 0;
}

/* Leaves a file, so that a test knows of it. */
static void hang_while(const char *fault)
{
    char hung[4096];
    snprintf(hung, sizeof hung, "%s.hung", getenv("DISK_FAULT"));
    close(open(hung, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    while (has(fault))
        usleep(1000);
}

int fdatasync(int fd)
{
    if (has("hanging sync") && is_beside())
        hang_while("hanging sync");
    if (has("slow sync"))
        usleep(400000);
    if (has("failed sync")) {
        /* The next one succeeds, as it does after a real failure. */
        unlink(getenv("DISK_FAULT"));
        errno = EIO;
        return -1;
    }
    return syscall(SYS_fdatasync, fd);
}

ssize_t pread64(int fd, void *to, size_t bytes, off64_t offset)
{
    if (has("unreadable snapshot") && is_snapshot(fd)) {
        errno = EIO;
        return -1;
    }
    if (has("slow snapshot") && is_snapshot(fd))
        usleep(1000000);
    return syscall(SYS_pread64, fd, to, bytes, offset);
}
