"""Confinement of this Linux process before it imports code that may be hostile: `confine.confine` is the way in.

| threat | measure | what is left where it lacks |
|---|---|---|
| uses descriptors of its parent | descriptors: all but those given are closed | never lacks |
| reads keys, state, environments, other processes' memory through files | files (Landlock): only named paths open | \
own user: what this machine shows to everybody can be read, and written in /tmp and /dev/shm |
| writes, links or renames outside its folder | files, system calls | the same |
| changes modes, owners or times of its user's files, which Landlock does not see | system calls, own user | with \
neither, starting is refused |
| reaches another process: signals, ptrace, process_vm_*, pidfd_getfd, fcntl(F_SETOWN) | system calls, own user, \
scopes (Landlock) | with neither system calls nor own user, starting is refused |
| connects to services: Unix sockets (abstract ones too), TCP, netlink, vsock, AF_ALG | system calls: no socket is \
made, bound or connected; scopes and tcp (Landlock) | own user: whatever an ordinary user may connect to |
| starts programs or processes | system calls; files (no right to execute) | limits: few processes of its own user |
| gains rights: set-user-id programs, capabilities, user namespaces | no new privileges, capabilities, system calls | \
the kernel's own checks of an ordinary user |
| attacks the kernel: bpf, io_uring, keyrings, perf, userfaultfd, mounts | system calls | the same |
| takes all memory, descriptors or files' space | limits | the parent's watch over its memory |
| takes all processors | nice | the parent's watch over its time |
| outlives its parent | dies with its parent | its channel's end |
| leaves its memory behind or shows it | not dumpable, limits (no core) | never lacks |

Where Python lies in a folder that is closed to its own user (in somebody's home), the process keeps one capability,
CAP_DAC_READ_SEARCH, of which Landlock leaves the named paths; without Landlock it is refused then.

Left open by intent: metadata (that a path exists, its size and times) can be asked for of folders that its user may
search; datagrams and streams go wherever a descriptor that was passed lets them; its folder has no quota but a
largest size of a file. ``/proc`` is closed altogether, ``/proc/self`` too: Python, ssl, asyncio, uvloop and the
usual libraries of transports need none of it, and it would show the machine's connections and mounts.
"""
