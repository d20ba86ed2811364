package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/tined/tined/master"
)

func (a *app) eventsCommand() *cobra.Command {
	request := master.EventsRequest{Follow: true}
	since := ""
	asJSON := false
	name := a.program.Name
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Show what happens, as it happens",
		Long: `Events prints what has happened to the server, the last 256 events first, and goes on with
what comes, until ^C or until the server ends: reloads and their refusals, upgrades, children
that begin to serve, end, hang, or are in a crash loop, scaling, and what operators have set.
Each has a number; --since N begins after that one. After an upgrade the new master's events
follow, numbered from 1. Whoever reads too slowly is told with the kind gap how many were
missed. With --json each is one JSON object on a line.
The status is 3 when no master is running.`,
		Example: fmt.Sprintf(`  %[1]s events
  %[1]s events --follow=false
  %[1]s events --json --since 40`, name),
		Args: func(cmd *cobra.Command, args []string) (err error) {
			if !cmd.Flags().Changed("since") {
				return noArguments(cmd, args)
			}
			if request.Since, err = strconv.ParseUint(since, 10, 64); err != nil {
				return failure(exitUsage, "--since %q is no event; write its number, or 0 for all that are kept", since)
			}
			return noArguments(cmd, args)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.ask(func(c *master.Client) error {
				return followEvents(cmd.Context(), c, request, func(e master.Event) error {
					if asJSON {
						text, err := json.Marshal(e)
						if err != nil {
							return err
						}
						return a.printf("%s\n", text)
					}
					return a.printf("%s\n", eventText(e))
				})
			})
		},
	}
	flags := cmd.Flags()
	flags.BoolVarP(&request.Follow, "follow", "f", true, "go on with what comes; --follow=false ends after what is kept")
	flags.StringVar(&since, "since", "", "begin after the event `N`")
	flags.BoolVar(&asJSON, "json", false, "print JSON, one object a line")
	noFlagCompletion(cmd, "since")
	return cmd
}

// followEvents calls take with each event, also with those of the master that an upgrade puts in the place of the one that was asked: it counts
// them from 1 again.
func followEvents(ctx context.Context, c *master.Client, request master.EventsRequest, take func(master.Event) error) error {
	for {
		last := ""
		err := c.Events(ctx, request, func(e master.Event) error {
			last = e.Kind
			return take(e)
		})
		if err != nil || !request.Follow || last != master.EventUpgrade {
			return err
		}
		request.Since = 0
	}
}

// eventText is an event for people, on one line.
func eventText(e master.Event) string {
	who := ""
	if e.Child != nil {
		who = fmt.Sprintf("child %d (pid %d): ", *e.Child, e.Pid)
	}
	at := ""
	if !e.Time.IsZero() {
		at = e.Time.Local().Format("2006-01-02 15:04:05.000")
	}
	return fmt.Sprintf("%-23s  %4d  %-14s  %s%s", at, e.ID, e.Kind, who, e.Message)
}
