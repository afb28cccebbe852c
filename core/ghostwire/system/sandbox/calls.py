"""Which system calls a confined process may make: an allow-list, so that what future kernels add is absent at once."""

from __future__ import annotations

from typing import Final


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


ALLOWED: Final = _words("""
read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 lseek close close_range dup dup2 dup3 pipe
pipe2 open openat creat stat fstat lstat newfstatat statx statfs fstatfs access faccessat faccessat2 getdents
getdents64 readlink readlinkat getcwd chdir fchdir mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2
ftruncate fallocate fsync fdatasync sync_file_range flock fadvise64 umask sendfile poll ppoll select pselect6
epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 eventfd eventfd2 signalfd signalfd4
timerfd_create timerfd_settime timerfd_gettime recvfrom recvmsg recvmmsg accept accept4 shutdown getsockname
getpeername getsockopt mmap munmap mprotect mremap madvise brk msync mincore mlock munlock membarrier futex
set_robust_list set_tid_address rseq sched_yield sched_getaffinity sched_getparam sched_getscheduler
sched_get_priority_max sched_get_priority_min getcpu rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending
rt_sigsuspend rt_sigtimedwait sigaltstack restart_syscall pause alarm setitimer getitimer exit exit_group wait4 waitid
getpid gettid getppid getuid geteuid getgid getegid getresuid getresgid getgroups getpgrp getpgid getsid uname sysinfo
getrusage times getrlimit setrlimit getpriority capget getrandom time gettimeofday clock_gettime clock_getres
clock_nanosleep nanosleep
""")
"""Whatever their arguments; what they may open is another measure's matter."""

REFUSED: Final = _words("""
socket connect bind listen fork vfork execve execveat ptrace process_vm_readv process_vm_writev process_madvise
pidfd_open pidfd_getfd pidfd_send_signal kcmp rt_sigqueueinfo rt_tgsigqueueinfo get_robust_list setpriority
sched_setscheduler sched_setparam sched_setattr ioprio_set setsid setpgid chmod fchmod fchmodat chown fchown lchown
fchownat utime utimes utimensat futimesat truncate setxattr lsetxattr fsetxattr removexattr lremovexattr fremovexattr
link linkat symlink symlinkat mknod mknodat memfd_create memfd_secret inotify_init inotify_init1 inotify_add_watch
fanotify_init fanotify_mark mount umount2 pivot_root chroot move_mount open_tree fsopen fsmount fsconfig fspick
mount_setattr unshare setns open_by_handle_at name_to_handle_at setuid setgid setreuid setregid setresuid setresgid
setgroups setfsuid setfsgid capset personality bpf perf_event_open userfaultfd io_uring_setup io_uring_enter
io_uring_register keyctl add_key request_key seccomp shmget shmat shmctl semget msgget mq_open init_module
finit_module delete_module kexec_load kexec_file_load reboot swapon swapoff sethostname setdomainname settimeofday
clock_settime clock_adjtime adjtimex acct syslog quotactl vhangup iopl ioperm modify_ldt splice tee vmsplice
""")
"""Answered with EPERM, which programs know how to take; all that is in no list is answered with ENOSYS, as an older
kernel would, so that C libraries fall back to what they did before (clone3 to clone, say)."""
