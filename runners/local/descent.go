package local

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// endDescent kills every process below this one and waits for them. This process is a subreaper, so that a daemon that
// left its session and its parent is below it as well. It repeats until a look finds none, since a process may fork
// while it is being looked for; every killed one is stopped first, which ends the race.
func endDescent() {
	self := os.Getpid()
	for {
		below := descent(self)
		if len(below) == 0 {
			return
		}
		for _, pid := range below {
			_ = syscall.Kill(pid, syscall.SIGSTOP)
		}
		for _, pid := range descent(self) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		reap()
		time.Sleep(time.Millisecond) // the kernel needs a moment to hand orphans over; correctness rests on the loop
	}
}

// reap collects what has ended among the direct children.
func reap() {
	for {
		pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if pid <= 0 || err != nil {
			return
		}
	}
}

// descent lists the living processes below root, parents first.
func descent(root int) []int {
	children := map[int][]int{}
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil
	}
	for _, path := range stats {
		if pid, parent, ok := readStat(path); ok {
			children[parent] = append(children[parent], pid)
		}
	}
	var out []int
	for queue := []int{root}; len(queue) > 0; queue = queue[1:] {
		out = append(out, children[queue[0]]...)
		queue = append(queue, children[queue[0]]...)
	}
	return out
}

// readStat reads a process's parent. A zombie counts: its parent has to collect it before its name is free.
func readStat(path string) (pid, parent int, ok bool) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, 0, false
	}
	pid, err = strconv.Atoi(filepath.Base(filepath.Dir(path)))
	end := strings.LastIndexByte(string(text), ')') // the name in parentheses may hold anything
	if err != nil || end < 0 {
		return 0, 0, false
	}
	fields := strings.Fields(string(text[end+1:])) // state, parent, …
	if len(fields) < 2 {
		return 0, 0, false
	}
	parent, err = strconv.Atoi(fields[1])
	return pid, parent, err == nil
}
