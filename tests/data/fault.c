/* Preloaded into the server under test: makes writes and syncs below one directory fail on demand.
 *
 *   FAULT_DIR       files below this directory are affected
 *   FAULT_SWITCH    a file; its first byte chooses the fault: 'f' full disk, 's' failed sync, 'l' late sync
 *                   (100 ms), anything else none
 *
 * gcc -shared -fPIC -o fault.so fault.c -ldl
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

/* The fault in force for this descriptor, or 0. */
static char fault(int fd) {
    const char *dir = getenv("FAULT_DIR"), *file = getenv("FAULT_SWITCH");
    if (!dir || !file) return 0;
    int saved = errno;
    char byte = 0, link[64], path[4096];
    int s = (int)syscall(SYS_openat, AT_FDCWD, file, O_RDONLY | O_CLOEXEC);
    if (s >= 0) {
        if (syscall(SYS_read, s, &byte, 1) != 1) byte = 0;
        syscall(SYS_close, s);
    }
    if (byte == 'f' || byte == 's' || byte == 'l') {
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(link, path, sizeof path - 1);
        if (n < 0) n = 0;
        path[n] = 0;
        if (strncmp(path, dir, strlen(dir)) != 0) byte = 0;
    } else {
        byte = 0;
    }
    errno = saved;
    return byte;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define FULL(fd) if (fault(fd) == 'f') { errno = ENOSPC; return -1; }
#define SYNC(fd) { char k = fault(fd); if (k == 's') { errno = EIO; return -1; } if (k == 'f') { errno = ENOSPC; return -1; } if (k == 'l') usleep(100 * 1000); }

ssize_t write(int fd, const void *b, size_t n) { FULL(fd) return REAL(write)(fd, b, n); }
ssize_t pwrite(int fd, const void *b, size_t n, off_t o) { FULL(fd) return REAL(pwrite)(fd, b, n, o); }
ssize_t pwrite64(int fd, const void *b, size_t n, off64_t o) { FULL(fd) return REAL(pwrite64)(fd, b, n, o); }
ssize_t writev(int fd, const struct iovec *v, int n) { FULL(fd) return REAL(writev)(fd, v, n); }
ssize_t pwritev(int fd, const struct iovec *v, int n, off_t o) { FULL(fd) return REAL(pwritev)(fd, v, n, o); }
int fallocate(int fd, int m, off_t o, off_t l) { FULL(fd) return REAL(fallocate)(fd, m, o, l); }
int fallocate64(int fd, int m, off64_t o, off64_t l) { FULL(fd) return REAL(fallocate64)(fd, m, o, l); }
int posix_fallocate(int fd, off_t o, off_t l) { if (fault(fd) == 'f') return ENOSPC; return REAL(posix_fallocate)(fd, o, l); }
int fdatasync(int fd) { SYNC(fd) return REAL(fdatasync)(fd); }
int fsync(int fd) { SYNC(fd) return REAL(fsync)(fd); }
