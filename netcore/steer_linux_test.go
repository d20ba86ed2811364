package netcore

import (
	"net"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// group is n shards of one address, listening in their order.
func group(t *testing.T, n int) (shards []int, at Endpoint) {
	t.Helper()
	first, at := loopback(t, ListenOptions{ReusePort: true})
	shards = append(shards, first)
	for range n - 1 {
		fd, _ := listenAt(t, at, ListenOptions{ReusePort: true})
		shards = append(shards, fd)
	}
	return shards, at
}

// connectMany makes connections and counts at which shard each arrived.
func connectMany(t *testing.T, at Endpoint, shards []int, connections int) (counts []int) {
	t.Helper()
	counts = make([]int, len(shards))
	for range connections {
		client, err := net.Dial("tcp", at.String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = client.Close() }()
	}
	fds := make([]unix.PollFd, len(shards))
	for i, fd := range shards {
		fds[i] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	}
	for arrived := 0; arrived < connections; {
		if n, err := unix.Poll(fds, int(patience.Milliseconds())); err != nil && err != unix.EINTR || n == 0 && err == nil {
			t.Fatalf("%d of %d connections have arrived: %v", arrived, connections, err)
		}
		for i := range fds {
			if fds[i].Revents == 0 {
				continue
			}
			conn, _, err := Accept(shards[i])
			if err != nil {
				t.Fatal(err)
			}
			_ = Close(conn)
			counts[i]++
			arrived++
		}
	}
	return counts
}

// many connections leave none of 4 shards empty: the chance of it is below one in 10^24.
const many = 200

func TestSteer(t *testing.T) {
	shards, at := group(t, 4)
	if counts := connectMany(t, at, shards, many); slices.Contains(counts, 0) {
		t.Errorf("not steered: %v", counts)
	}
	if err := Steer(shards[3], 2); err != nil { // by any of the group
		t.Fatal(err)
	}
	if counts := connectMany(t, at, shards, many); counts[0] == 0 || counts[1] == 0 || counts[2] != 0 || counts[3] != 0 {
		t.Errorf("steered to the first 2: %v", counts)
	}
	if err := Steer(shards[0], 1); err != nil { // in place of the first program
		t.Fatal(err)
	}
	if counts := connectMany(t, at, shards, many); counts[0] != many {
		t.Errorf("steered to the first: %v", counts)
	}
	for range 2 { // the second time nothing is to be taken away
		if err := Unsteer(shards[1]); err != nil {
			t.Fatal(err)
		}
		if counts := connectMany(t, at, shards, many); slices.Contains(counts, 0) {
			t.Errorf("unsteered: %v", counts)
		}
	}
}

// TestSteerFollowsTheOrderOfListening: the one of bind does not count.
func TestSteerFollowsTheOrderOfListening(t *testing.T) {
	late, err := Bind(tcp("127.0.0.1:0"), ListenOptions{ReusePort: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeLater(late) })
	at, err := Local(late)
	if err != nil {
		t.Fatal(err)
	}
	early, _ := listenAt(t, at, ListenOptions{ReusePort: true})
	if err := StartListening(late, ListenOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := Steer(late, 1); err != nil {
		t.Fatal(err)
	}
	if counts := connectMany(t, at, []int{early, late}, 20); counts[1] != 0 {
		t.Errorf("%v", counts)
	}
}

// TestSteerThenClose is scaling down: the tail is closed, the head goes on; what joins later is not reached before the program is gone.
func TestSteerThenClose(t *testing.T) {
	shards, at := group(t, 4)
	if err := Steer(shards[0], 2); err != nil {
		t.Fatal(err)
	}
	closeNow(t, shards[3])
	closeNow(t, shards[2])
	shards = shards[:2]
	if counts := connectMany(t, at, shards, many); slices.Contains(counts, 0) {
		t.Errorf("after the tail is closed: %v", counts)
	}
	grown, _ := listenAt(t, at, ListenOptions{ReusePort: true})
	shards = append(shards, grown)
	if counts := connectMany(t, at, shards, many); counts[2] != 0 {
		t.Errorf("steered to the first 2, a third has joined: %v", counts)
	}
	if err := Unsteer(grown); err != nil {
		t.Fatal(err)
	}
	if counts := connectMany(t, at, shards, many); slices.Contains(counts, 0) {
		t.Errorf("unsteered: %v", counts)
	}
}

// TestLeaveToHash is what Unsteer does on a kernel that cannot detach, and why an index beyond the group is no error.
func TestLeaveToHash(t *testing.T) {
	shards, at := group(t, 4)
	if err := Steer(shards[0], 1); err != nil {
		t.Fatal(err)
	}
	if err := leaveToHash(shards[0]); err != nil {
		t.Fatal(err)
	}
	if counts := connectMany(t, at, shards, many); slices.Contains(counts, 0) {
		t.Errorf("%v", counts)
	}
}

func TestSteerErrors(t *testing.T) {
	shards, _ := group(t, 1)
	wantErrno(t, Steer(shards[0], 0), unix.EINVAL)
	wantErrno(t, Steer(-1, 1), unix.EBADF)
	wantErrno(t, Unsteer(-1), unix.EBADF)
	alone, _ := loopback(t, ListenOptions{})
	wantErrno(t, Steer(alone, 1), unix.EINVAL) // without SO_REUSEPORT there is no group
	bound, err := Bind(tcp("127.0.0.1:0"), ListenOptions{ReusePort: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = Close(bound) }()
	wantErrno(t, Steer(bound, 1), unix.EINVAL)
}
