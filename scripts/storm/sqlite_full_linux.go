package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// roomSize is that of the disk that fills, in bytes: the log of what is written before the next checkpoint has room in it.
	roomSize = 512 << 20
	// fullTime is how long it is full, fullBound how long it may take until writes are refused, and until they are done again.
	fullTime  = 2 * time.Second
	fullBound = 5 * time.Second
	// envRoom marks a program whose mounts are its own.
	envRoom = "TINED_STORM_ROOM"
)

// ownMounts makes this program one whose mounts nobody else sees, and which go with its last process: it runs itself anew in a mount namespace.
// It returns at once in that.
func ownMounts() error {
	if os.Getenv(envRoom) != "" {
		return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	// A namespace is a thread's, and execve leaves of all threads the one that calls it.
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("-full needs a mount namespace: %w (run it as root)", err)
	}
	return fmt.Errorf("run %s anew: %w", self, syscall.Exec(self, os.Args, append(os.Environ(), envRoom+"=1")))
}

// mountRoom mounts a small disk on a folder.
func mountRoom(folder string) error {
	if err := unix.Mount("storm", folder, "tmpfs", 0, fmt.Sprintf("size=%d", roomSize)); err != nil {
		return fmt.Errorf("mount a disk of %d MiB: %w", roomSize>>20, err)
	}
	return nil
}

// ballast takes all the room that is left in a folder, and what comes free, until stop is closed. Then it gives all of it back.
func ballast(folder string, stop <-chan struct{}) error {
	path := filepath.Join(folder, "ballast")
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer os.Remove(path)
	defer f.Close()
	block := make([]byte, 1<<20)
	for {
		_, err := f.Write(block)
		if err == nil {
			continue
		}
		if !errors.Is(err, syscall.ENOSPC) {
			return err
		}
		block = block[:4<<10] // a page: not even that is left
		select {
		case <-stop:
			return nil
		case <-time.After(time.Millisecond):
		}
	}
}

// fill fills the disk under the writers, and frees it again.
func (s *sqlStorm) fill(folder string) error {
	time.Sleep(time.Second)
	s.phase("the disk fills")
	s.full.Store(true)
	free := make(chan struct{})
	given := make(chan error, 1)
	go func() { given <- ballast(folder, free) }()
	begin, before := time.Now(), s.jury.kindCount(sqlWrites, answeredFull)
	for s.jury.kindCount(sqlWrites, answeredFull) == before && time.Since(begin) < fullBound {
		time.Sleep(time.Millisecond)
	}
	refusals := s.jury.kindCount(sqlWrites, answeredFull) > before
	s.bar("full: the first 507 after, ms", time.Since(begin).Milliseconds(), fullBound.String(), refusals)
	reads := s.jury.kindCount(sqlReads, answeredWell)
	time.Sleep(fullTime)
	reads = s.jury.kindCount(sqlReads, answeredWell) - reads
	s.bar("full: reads that were answered", reads, "some", reads > 0)
	s.phase("there is room again")
	done := s.jury.kindCount(sqlWrites, answeredWell)
	close(free)
	if err := <-given; err != nil {
		return err
	}
	begin = time.Now()
	for s.jury.kindCount(sqlWrites, answeredWell) <= done && time.Since(begin) < fullBound {
		time.Sleep(time.Millisecond)
	}
	s.bar("full: written again after, ms", time.Since(begin).Milliseconds(), fullBound.String(), s.jury.kindCount(sqlWrites, answeredWell) > done)
	time.Sleep(time.Second) // what was refused while there was no room is answered
	s.full.Store(false)
	return nil
}

// fillAgain fills the disk as often as there is time for.
func (s *sqlStorm) fillAgain(folder string) error {
	for begin := time.Now(); ; {
		if err := s.fill(folder); err != nil || time.Since(begin) >= s.over {
			return err
		}
	}
}
