#define _GNU_SOURCE
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/// Closes every descriptor except standard streams and `kept`: a writer that outlives the daemon must not keep the
/// daemon's sockets open.
static void close_others(int kept[3]) {
    for (int i = 1; i < 3; i++)
        for (int j = i; j > 0 && kept[j - 1] > kept[j]; j--) {
            int t = kept[j];
            kept[j] = kept[j - 1];
            kept[j - 1] = t;
        }
    unsigned from = 3;
    for (int i = 0; i < 3; i++) {
        if (kept[i] < (int)from) continue;
        if (kept[i] > (int)from) close_range(from, (unsigned)kept[i] - 1, 0);
        from = (unsigned)kept[i] + 1;
    }
    close_range(from, ~0u, 0);
}

/// When copied pages fill the memory, the kernel should kill the writer and not the daemon. Without /proc this is not
/// ensured.
static void be_first_to_go(void) {
    int file = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (file < 0) return;
    ssize_t ignored = write(file, "1000", 4);
    (void)ignored;
    close(file);
}

/// What the child does. All signals are blocked: only the parent reacts to a Ctrl-C or SIGTERM that the whole process
/// group receives, and a file that is too large gives an errno instead of SIGXFSZ.
static _Noreturn void run_child(const clvd_snapshot_plan *plan, int channel, int parents_end) {
    close(parents_end);  // even if close_range fails: while the child holds it, it cannot notice the parent's end
    int kept[3] = {plan->directory, plan->lock, channel};
    close_others(kept);
    prctl(PR_SET_NAME, "clvd-snapshot");
    be_first_to_go();
    setpriority(PRIO_PROCESS, 0, 10);  // the stream has priority
    clvd_snapshot_result result;
    clvd_snapshot_write_watched(plan, channel, &result);
    send(channel, &result, sizeof result, MSG_NOSIGNAL);
    _exit(0);
}

// The child watches the channel to notice the end of its parent. PR_SET_PDEATHSIG does not work here: it fires when the
// *thread* that forked ends, and threads of a pool may end earlier.
int clvd_snapshot_fork(const clvd_snapshot_plan *plan, clvd_snapshot_child *child) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends)) return errno;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    // Not fork(): handlers registered with pthread_atfork take locks that another thread may hold.
    pid_t pid = _Fork();
    if (pid == 0) run_child(plan, ends[1], ends[0]);
    int error = pid < 0 ? errno : 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    close(ends[1]);
    if (error) {
        close(ends[0]);
        return error;
    }
    child->pid = pid;
    child->channel = ends[0];
    return 0;
}

static void close_channel(clvd_snapshot_child *child) {
    if (child->channel >= 0) close(child->channel);
    child->channel = -1;
    child->pid = 0;
}

clvd_snapshot_state clvd_snapshot_poll(
    clvd_snapshot_child *child, int wait, clvd_snapshot_result *result, int *signal) {
    int status = 0;
    pid_t pid;
    *signal = 0;
    do pid = waitpid(child->pid, &status, wait ? 0 : WNOHANG);
    while (pid < 0 && errno == EINTR);
    if (pid == 0) return clvd_snapshot_running;
    // Other code may have reaped it (ECHILD); the result is valid in any case.
    if (pid > 0 && WIFSIGNALED(status)) *signal = WTERMSIG(status);
    ssize_t n;
    do n = recv(child->channel, result, sizeof *result, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    close_channel(child);
    return n == (ssize_t)sizeof *result ? clvd_snapshot_reported : clvd_snapshot_lost;
}

void clvd_snapshot_kill(clvd_snapshot_child *child) {
    if (child->pid > 0) {
        kill(child->pid, SIGKILL);
        while (waitpid(child->pid, NULL, 0) < 0 && errno == EINTR) {}
    }
    close_channel(child);
}
