package gpu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// LocksVariable names the environment variable that says in which folder all processes of the machine lock GPUs. Containers that share
// GPUs must share it.
const LocksVariable = "DARKROOM_GPU_LOCKS"

// defaultLocks is one place for all users and whatever TMPDIR says.
const defaultLocks = "/tmp/darkroom-gpus"

// locks is the folder in which the processes of a machine agree on who has which GPU. A file is held by an flock, which the kernel
// drops when the last process that has it open is dead; what a file contains is for people, but for a ticket.
//
//	UUID.lock        held by who has the GPU
//	queue.lock       held for the moment of a decision
//	ticket-N         held by who waits since decision number N
type locks struct{ dir string }

func openLocks() (locks, error) {
	dir := os.Getenv(LocksVariable)
	if dir == "" {
		dir = defaultLocks
	}
	if err := os.Mkdir(dir, 0o777); err == nil {
		err = os.Chmod(dir, 0o777|os.ModeSticky) // whatever the umask says: other users lease here too
		if err != nil {
			return locks{}, fmt.Errorf("opening the folder of GPU locks to all users: %w", err)
		}
	} else if !errors.Is(err, fs.ErrExist) {
		return locks{}, fmt.Errorf("making the folder of GPU locks (%s chooses another): %w", LocksVariable, err)
	}
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() {
		return locks{}, fmt.Errorf("%s, where GPUs are locked, is not a folder; remove it, or choose another place with %s", dir, LocksVariable)
	}
	return locks{dir}, nil
}

// open opens a file to lock, which exists from then on.
func (l locks) open(name string) (*os.File, error) {
	path := filepath.Join(l.dir, name)
	// Linux lets nobody create what another user's file is already, in a folder like this: so first without creating.
	f, err := os.OpenFile(path, os.O_RDWR|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		if f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o666); err == nil {
			err = f.Chmod(0o666)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("a GPU lock: %w", err)
	}
	return f, nil
}

// try locks a file without waiting, and says whether it did.
func try(f *os.File) (bool, error) {
	for {
		switch err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err {
		case nil:
			return true, nil
		case syscall.EWOULDBLOCK:
			return false, nil
		case syscall.EINTR:
		default:
			return false, fmt.Errorf("locking %s: %w", f.Name(), err)
		}
	}
}

// decide calls fn while no other process decides. The kernel queues nobody here, so it asks again and again; a decision takes
// a millisecond.
func (l locks) decide(ctx context.Context, fn func() error) error {
	f, err := l.open("queue.lock")
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		ok, err := try(f)
		if err != nil {
			return err
		}
		if ok {
			return fn()
		}
		if err := pause(ctx, 2*time.Millisecond); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// holder is what a lock file says of who holds it.
type holder struct {
	PID int    `json:"pid"`
	For string `json:"for"` // the stage
}

func (h holder) String() string {
	if h.For == "" {
		return fmt.Sprintf("process %d", h.PID)
	}
	return fmt.Sprintf("process %d, %s", h.PID, h.For)
}

func write(f *os.File, v any) error {
	text, err := json.Marshal(v)
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = f.WriteAt(text, 0)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", f.Name(), err)
	}
	return nil
}

// read reads what another process wrote; a file that is torn or foreign leaves v as it is.
func read(f *os.File, v any) {
	text, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<16))
	if err == nil {
		_ = json.Unmarshal(text, v)
	}
}

// claim is how many devices of which somebody wants.
type claim struct {
	Count   int      `json:"count"`
	Devices []string `json:"devices"` // UUIDs
}

// take waits for the claim and returns the locked files, one for each device, by UUID. Nobody who came later gets a device that
// somebody who waits could have: so whoever wants many is not starved by those who want one. waiting gets what it waits for, whenever that
// changes.
func (l locks) take(ctx context.Context, c claim, who holder, waiting func(why string)) (map[string]*os.File, error) {
	w := &waiter{locks: l, claim: c, who: who}
	defer w.leave()
	said := ""
	for {
		var got map[string]*os.File
		why := ""
		err := l.decide(ctx, func() (err error) {
			got, why, err = w.look()
			return err
		})
		if err != nil || got != nil {
			return got, err
		}
		if why != said {
			said = why
			waiting(why)
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// waiter is one take. Its methods are called while this process decides.
type waiter struct {
	locks
	claim  claim
	who    holder
	ticket *os.File // nil until it has to wait
	number int
}

// look takes the devices if it may and they are free, else draws a ticket, once, and says what it waits for.
func (w *waiter) look() (got map[string]*os.File, why string, err error) {
	before, taken, err := w.before()
	if err != nil {
		return nil, "", err
	}
	got = map[string]*os.File{}
	release := func() {
		for _, f := range got {
			_ = f.Close()
		}
		got = nil
	}
	var held []string
	for _, uuid := range w.claim.Devices {
		if taken[uuid] || len(got) == w.claim.Count {
			continue
		}
		f, err := w.open(uuid + ".lock")
		if err != nil {
			release()
			return nil, "", err
		}
		ok, err := try(f)
		if err != nil {
			release()
			return nil, "", errors.Join(err, f.Close())
		}
		if ok {
			got[uuid] = f
			continue
		}
		var h holder
		read(f, &h)
		held = append(held, fmt.Sprintf("%s is held by %s", uuid, h))
		_ = f.Close()
	}
	if len(got) == w.claim.Count {
		for _, f := range got {
			if err := write(f, w.who); err != nil {
				release()
				return nil, "", err
			}
		}
		return got, "", nil
	}
	release()
	return nil, w.why(held, before), w.draw()
}

// why says what is waited for.
func (w *waiter) why(held []string, before int) string {
	text := "a GPU"
	if w.claim.Count > 1 {
		text = fmt.Sprintf("%d GPUs", w.claim.Count)
	}
	if before > 0 {
		held = append(held, fmt.Sprintf("%d before it in the queue", before))
	}
	return text + ": " + strings.Join(held, "; ")
}

const ticketPrefix = "ticket-"

// before counts those who wait since before this one, and collects the devices that they could have. Tickets of the dead are removed.
func (w *waiter) before() (count int, taken map[string]bool, err error) {
	taken = map[string]bool{}
	numbers, err := w.tickets()
	if err != nil {
		return 0, nil, err
	}
	for _, n := range numbers {
		if w.ticket != nil && n >= w.number {
			break
		}
		f, err := w.open(ticketPrefix + strconv.Itoa(n))
		if err != nil {
			return 0, nil, err
		}
		dead, err := try(f)
		if err != nil {
			return 0, nil, errors.Join(err, f.Close())
		}
		if dead {
			_ = os.Remove(f.Name()) // another user's stays, and does no harm
			_ = f.Close()
			continue
		}
		var c claim
		read(f, &c)
		_ = f.Close()
		count++
		for _, uuid := range c.Devices {
			taken[uuid] = true
		}
	}
	return count, taken, nil
}

// tickets returns the numbers of all tickets, sorted.
func (w *waiter) tickets() ([]int, error) {
	entries, err := os.ReadDir(w.dir)
	if err != nil {
		return nil, fmt.Errorf("looking at who waits for GPUs: %w", err)
	}
	var numbers []int
	for _, e := range entries {
		if text, ok := strings.CutPrefix(e.Name(), ticketPrefix); ok {
			if n, err := strconv.Atoi(text); err == nil && n > 0 {
				numbers = append(numbers, n)
			}
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// draw makes this waiter's ticket, after all others.
func (w *waiter) draw() error {
	if w.ticket != nil {
		return nil
	}
	numbers, err := w.tickets()
	if err != nil {
		return err
	}
	n := 1
	if len(numbers) > 0 {
		n = numbers[len(numbers)-1] + 1
	}
	f, err := w.open(ticketPrefix + strconv.Itoa(n))
	if err != nil {
		return err
	}
	if ok, err := try(f); err != nil || !ok {
		return errors.Join(errors.New("a new ticket for GPUs is locked already"), err, f.Close())
	}
	w.ticket, w.number = f, n
	return write(f, w.claim)
}

// leave gives the ticket back.
func (w *waiter) leave() {
	if w.ticket == nil {
		return
	}
	_ = os.Remove(w.ticket.Name()) // if not, its lock is gone with the file's last descriptor, which is what counts
	_ = w.ticket.Close()
	w.ticket = nil
}
