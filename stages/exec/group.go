package exec

import (
	osexec "os/exec"
	"syscall"
	"time"
)

// grace is how long a program has to end after it was asked to.
const grace = 3 * time.Second

// ownGroup makes cmd the leader of a process group, so that what it starts can be ended with it, and makes a
// cancelled context end the whole group.
func ownGroup(cmd *osexec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = grace
}

// endGroup ends whatever is left of cmd's group. Processes that left the group are the worker's to end: it is the
// subreaper of them all.
func endGroup(cmd *osexec.Cmd) {
	if cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // ESRCH: nothing is left
	}
}
