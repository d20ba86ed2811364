package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// What comes back from a call is counted as what it is, and what the end cuts off is no failure.
func TestSleepersCount(t *testing.T) {
	ended, end := context.WithCancel(t.Context())
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Get("seconds") {
		case "1.500":
			w.WriteHeader(status)
		case "2.000":
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
		case "3.000":
			end()
			<-r.Context().Done()
		}
	}))
	defer server.Close()
	s := &sleepers{url: server.URL + "/?seconds="}
	s.client.Transport = &http.Transport{DialContext: dialForReset}
	s.call(ended, 1500*time.Millisecond)
	s.call(ended, 2*time.Second)
	for _, status = range []int{http.StatusServiceUnavailable, http.StatusInternalServerError} {
		s.call(ended, 1500*time.Millisecond)
	}
	s.call(ended, 3*time.Second)
	if r := s.report; r.Calls != 5 || r.Answered != 1 || r.Refused != 1 || r.Failed != 2 || !strings.Contains(r.Failure, "503") {
		t.Errorf("%+v", r)
	}
}
