package child

import "testing"

// The engine keeps to what all pollers promise, so it runs on each. (The whole suite does with: go test ./child -poller=select.)
func TestOtherPollers(t *testing.T) {
	defer func(m string) { *mechanism = m }(*mechanism)
	for _, m := range []string{"poll", "select"} {
		*mechanism = m
		t.Run(m, func(t *testing.T) {
			if m == "select" && highestDescriptor() > 800 {
				t.Skip("too many descriptors are open for select")
			}
			for name, test := range map[string]func(*testing.T){
				"bodies":                  TestEchoesBodies,
				"order":                   TestPipelineKeepsOrder,
				"pipelined":               TestThousandPipelined,
				"depth":                   TestPipelineDepthPausesReading,
				"partial head":            TestPartialHeadDoesNotSpin,
				"streams":                 TestStreamPausesBetweenFlushes,
				"slow reader":             TestSlowReaderStopsTheProducer,
				"slow reader of a source": TestSlowReaderHoldsNoWorker,
				"unread body":             TestUnreadBodyStopsTheClient,
				"expect":                  TestExpectContinue,
				"too large":               TestBodyTooLarge,
				"detach":                  TestDetach,
				"drain":                   TestDrain,
				"accept queue":            TestLongAcceptQueue,
			} {
				t.Run(name, test)
			}
		})
	}
}
