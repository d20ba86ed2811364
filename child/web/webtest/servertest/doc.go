// Package servertest runs a program as it is served: with a master and children in processes of their own, for the tests of what package
// webtest cannot show, which is everything that depends on processes: shared state, hooks, kills, drains.
//
// The test binary is the program. TestMain hands its main function over, and each Start runs it again:
//
//	func TestMain(m *testing.M) { servertest.Main(m, main) }
//
//	func TestVisitsAreCountedTogether(t *testing.T) {
//		s := servertest.Start(t, servertest.Options{Children: 2})
//		s.Get("/visit")
//		s.Kill(0)
//		if got := s.Get("/visit"); got != "2\n" {
//			t.Errorf("the second visit is %q", got)
//		}
//	}
//
// A server listens on a free port of loopback, has a directory of its own, and ends with its test, whatever becomes of the test: passed,
// failed, panicked, or killed together with the test binary. When the test has failed, the server's log is printed.
//
// A package that is no main can have a main function for its tests: one that registers handlers and calls tined.Main.
package servertest
